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
	conf    modbus.ClientConfiguration
	unit    uint8
	channel int             // which of the unit's devices that have the role's models
	models  []uint16        // that the map reads
	holds   []uint16        // of these, that the role's registers are in, in the order of the map's paths
	paths   map[string]bool // the points that the map reads
	client  *modbus.ModbusClient
	places  []sunspec.Place // nil before the first walk
	broken  error           // how the blocks broke off; nil if they ended
	hurt    bool            // a request on this connection failed otherwise than by a refusal
	walked  time.Time
}

// again is after how long a walk is repeated that did not end and found nothing that the map reads.
const again = 10 * time.Minute

func newModbus(c Config, u *url.URL, m *Map) (*modbusSource, error) {
	s := &modbusSource{unit: max(c.Unit, 1), channel: int(c.channel()), paths: map[string]bool{}}
	for _, path := range m.paths(c.Role) {
		s.paths[path] = true
		n, err := modelOf(path)
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", c.Map, err)
		}
		if !slices.Contains(s.models, n) {
			s.models = append(s.models, n)
		}
	}
	for _, reg := range c.Role.Registers() {
		for _, path := range m.Roles[c.Role][reg.String()].Path {
			if n, err := modelOf(terms(path)[0]); err == nil && !slices.Contains(s.holds, n) {
				s.holds = append(s.holds, n)
			}
		}
	}
	var err error
	s.conf, err = modbusConf(u, c.Timeout)
	return s, err
}

// modelOf returns the model of a path: "103/W" is of 103.
func modelOf(path string) (uint16, error) {
	id, _, _ := strings.Cut(path, "/")
	n, err := strconv.ParseUint(id, 10, 16)
	if err != nil || sunspec.ModelOf(uint16(n)) == nil {
		return 0, fmt.Errorf("path %.40q: no model %.20q is known", path, id)
	}
	return uint16(n), nil
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
	words, err := s.client.ReadRegisters(address, count, modbus.HOLDING_REGISTER)
	s.hurt = s.hurt || err != nil && !refused(err)
	return words, err
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
	s.client, s.hurt = client, false
	if s.places != nil {
		return nil // the walk before ended the connection, and found what there is
	}
	places, err := sunspec.Walk(s)
	if err != nil && len(places) == 0 {
		return errors.Join(err, s.close())
	}
	s.places, s.broken, s.walked = places, err, time.Now()
	if s.hurt {
		client.Close() // an answer may come late: it is not to be taken for that of another request
		s.client = nil
		return s.open()
	}
	return nil
}

// device returns which of the unit's devices is read: of those with models that hold the role's registers, the
// one that the channel says, and how many there are. Those of the sort that the map names first, inverters or
// meters, come first. It is -1 for none.
func (s *modbusSource) device() (device, found int) {
	var first, others []int
	for d := range s.devices() {
		has, preferred := false, false
		for _, p := range s.places {
			if p.Device == d && slices.Contains(s.holds, p.ID) {
				has, preferred = true, preferred || isMeter(p.ID) == isMeter(s.holds[0])
			}
		}
		if preferred {
			first = append(first, d)
		} else if has {
			others = append(others, d)
		}
	}
	order := append(first, others...)
	if s.channel >= len(order) {
		return -1, len(order)
	}
	return order[s.channel], len(order)
}

// read reads each model of the device that the map names, in one request each. A model that the device refuses
// is left out and named among what is bad; any other fault ends the connection.
func (s *modbusSource) read(ctx context.Context) (Fields, []error, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	begin := time.Now()
	if err := s.open(); err != nil {
		return nil, nil, err
	}
	device, found := s.device()
	if device < 0 {
		err := fmt.Errorf("sunspec: unit %d has %d devices with what is to be read, and channel is %d; its models are %s", s.unit, found, s.channel,
			strings.Join(s.sent(nil), ", "))
		if s.broken != nil && time.Since(s.walked) > again {
			return nil, nil, errors.Join(err, s.broken, s.close())
		}
		return nil, nil, errors.Join(err, s.broken)
	}
	fields := Fields{}
	var bad []error
	for _, place := range s.places {
		if place.Device != device || !slices.Contains(s.models, place.ID) {
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
	if sn, ok := fields["1/SN"]; ok && s.mixed(device) {
		sn.Text += "/meter"
		fields["1/SN"] = sn
	}
	at := begin.Add(time.Since(begin) / 2)
	for path, f := range fields {
		f.At = at
		fields[path] = f
	}
	return fields, bad, nil
}

// mixed reports whether a device's meter is read that has no name of its own: the Common block before it is
// that of an inverter, which is another meter of a site.
func (s *modbusSource) mixed(device int) bool {
	inverter, meter := false, false
	for _, p := range s.places {
		if ours := slices.Contains(s.holds, p.ID); p.Device == device {
			inverter = inverter || isInverter(p.ID) && !ours
			meter = meter || isMeter(p.ID) && ours
		}
	}
	return inverter && meter
}

func isInverter(id uint16) bool { return id >= 101 && id <= 103 || id >= 111 && id <= 113 || id == 701 }
func isMeter(id uint16) bool    { return id >= 201 && id <= 204 || id >= 211 && id <= 214 }

// sent lists the unit's models.
func (s *modbusSource) sent(Fields) (list []string) {
	for _, p := range s.places {
		list = append(list, fmt.Sprintf("model %d", p.ID))
	}
	return list
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
	s.client, s.places, s.broken = nil, nil, nil
	if c == nil {
		return nil
	}
	return c.Close()
}
