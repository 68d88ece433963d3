package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/simonvetter/modbus"

	"github.com/cairn-network/cairn/internal/sunspec"
)

// modbusSource reads a SunSpec device.
type modbusSource struct {
	conf   modbus.ClientConfiguration
	unit   uint8
	models []uint16        // that the map reads
	paths  map[string]bool // … and which of their points
	client *modbus.ModbusClient
	places []sunspec.Place // nil before the first walk
}

func newModbus(c Config, u *url.URL, m *Map) (*modbusSource, error) {
	s := &modbusSource{unit: max(c.Unit, 1), paths: map[string]bool{}}
	for _, path := range m.paths(c.Role) {
		s.paths[path] = true
		id, _, _ := strings.Cut(path, "/")
		n, err := strconv.ParseUint(id, 10, 16)
		if err != nil || sunspec.ModelOf(uint16(n)) == nil {
			return nil, fmt.Errorf("map %s: path %.40q: no model %.20q is known", c.Map, path, id)
		}
		if !slices.Contains(s.models, uint16(n)) {
			s.models = append(s.models, uint16(n))
		}
	}
	var err error
	s.conf, err = modbusConf(u, c.Timeout)
	return s, err
}

// modbusConf turns an address into the transport's configuration.
func modbusConf(u *url.URL, timeout time.Duration) (modbus.ClientConfiguration, error) {
	conf := modbus.ClientConfiguration{Timeout: timeout, Logger: log.New(io.Discard, "", 0)}
	switch {
	case u.Scheme == "tcp" && u.Host != "":
		conf.URL = "tcp://" + u.Host
		if u.Port() == "" {
			conf.URL += ":502"
		}
	case u.Scheme == "rtu" && u.Path != "":
		conf.URL = "rtu://" + u.Path
		var err error
		if conf.Speed, err = number(u, "speed", 9600); err != nil {
			return conf, err
		}
		switch u.Query().Get("parity") {
		case "", "none":
			conf.Parity, conf.StopBits = modbus.PARITY_NONE, 1
		case "even":
			conf.Parity, conf.StopBits = modbus.PARITY_EVEN, 1
		case "odd":
			conf.Parity, conf.StopBits = modbus.PARITY_ODD, 1
		default:
			return conf, fmt.Errorf("parity %.20q: want none, even or odd", u.Query().Get("parity"))
		}
	default:
		return conf, errors.New("want tcp://HOST:PORT or rtu:///DEVICE")
	}
	return conf, nil
}

// Read implements sunspec.Reader.
func (s *modbusSource) Read(address, count uint16) ([]uint16, error) {
	return s.client.ReadRegisters(address, count, modbus.HOLDING_REGISTER)
}

// exceptions are a device's refusals: it is there, and the connection is sound.
var exceptions = []error{
	modbus.ErrIllegalFunction, modbus.ErrIllegalDataAddress, modbus.ErrIllegalDataValue, modbus.ErrServerDeviceFailure, modbus.ErrAcknowledge,
	modbus.ErrServerDeviceBusy, modbus.ErrMemoryParityError, modbus.ErrGWPathUnavailable, modbus.ErrGWTargetFailedToRespond,
}

func refused(err error) bool {
	return slices.ContainsFunc(exceptions, func(e error) bool { return errors.Is(err, e) })
}

// open connects and walks, unless that was done.
func (s *modbusSource) open() error {
	if s.client != nil {
		return nil
	}
	conf := s.conf
	client, err := modbus.NewClient(&conf)
	if err != nil {
		return err
	}
	if err := client.SetUnitId(s.unit); err != nil {
		return err
	}
	if err := client.Open(); err != nil {
		return err
	}
	s.client = client
	if s.places, err = sunspec.Walk(s); err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

// read reads each model that the map names, in one request each. A model that the device refuses is left out and named among what is bad;
// any other fault ends the connection.
func (s *modbusSource) read(ctx context.Context) (Fields, []error, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	begin := time.Now()
	if err := s.open(); err != nil {
		return nil, nil, err
	}
	fields := Fields{}
	var bad []error
	for _, place := range s.places {
		if !slices.Contains(s.models, place.ID) {
			continue
		}
		block, err := sunspec.ReadBlock(s, place)
		if refused(err) {
			bad = append(bad, err)
			continue
		}
		if err != nil {
			return nil, nil, errors.Join(err, s.close())
		}
		s.take(fields, block)
	}
	at := begin.Add(time.Since(begin) / 2)
	for path, f := range fields {
		f.At = at
		fields[path] = f
	}
	return fields, bad, nil
}

// take enters the points of a block that the map names. Of two blocks of one model the first counts.
func (s *modbusSource) take(fields Fields, b *sunspec.Block) {
	for _, p := range b.Model.Points {
		path := fmt.Sprintf("%d/%s", b.Model.ID, p.Name)
		if _, known := fields[path]; known || !s.paths[path] {
			continue
		}
		if text, ok := b.Text(p.Name); ok {
			fields[path] = Field{Text: text}
		} else if n, ok := b.Number(p.Name); ok {
			f := Field{Number: &n}
			if p.Type == sunspec.Acc32 {
				f.Bits = 32
			}
			fields[path] = f
		}
	}
}

func (s *modbusSource) close() error {
	c := s.client
	s.client, s.places = nil, nil
	if c == nil {
		return nil
	}
	return c.Close()
}
