package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-network/cairn/service/energy"
)

// Config is one meter of a site.
type Config struct {
	Role         Role   `json:"role" doc:"What it measures: grid, pv or battery."`
	Map          string `json:"map" doc:"Which of its values are which register: sunspec, dsmr, sml, tasmota, shelly, or the path of a file of your own."`
	Address      string `json:"address" doc:"Where it is: tcp://HOST:PORT, rtu:///dev/ttyUSB0?speed=9600&parity=none (Modbus), serial:///dev/ttyUSB0?speed=115200 (P1, SML) or mqtt://[USER:PASSWORD@]HOST:PORT/TOPIC."`
	Unit         uint8  `json:"unit,omitempty" doc:"Modbus: the number of the unit behind the address; 0 is 1."`
	Channel      *uint8 `json:"channel,omitempty" doc:"Which one, from 0, where there are several: the clamp of a Shelly, the how many-th device with such registers behind a Modbus unit, the how many-th meter in a Tasmota message. Without this the first; of a Shelly 3EM of the first generation all together."`
	Reverse      bool   `json:"reverse,omitempty" doc:"true where it is wired the other way round: what it calls import is export, and what it calls charge is discharge."`
	Rating       uint32 `json:"rating_w" doc:"The most that flows through it, in W. A register that rises faster than a quarter above this is not believed; one that falls has gone over if the step fits it."`
	Manufacturer string `json:"manufacturer,omitempty" doc:"Its maker, where the meter does not say it."`
	Model        string `json:"model,omitempty" doc:"Its model, where the meter does not say it."`
	Serial       string `json:"serial,omitempty" doc:"Its serial number, where the meter does not say it."`

	// Timeout bounds a request to a Modbus device. Default 3 s.
	Timeout time.Duration `json:"-"`
}

// channel is which of several is read; the first unless it is set.
func (c *Config) channel() uint8 {
	if c.Channel == nil {
		return 0
	}
	return *c.Channel
}

// reader is what a protocol implements.
type reader interface {
	read(ctx context.Context) (Fields, []error, error)
	sent(Fields) []string // names some of what the device says
	close() error
}

// Open makes the source that c describes. It does not reach for the meter yet.
func Open(c Config) (Source, error) {
	m, err := LoadMap(c.Map)
	if err != nil {
		return nil, err
	}
	if c.Role.Registers() == nil || m.Roles[c.Role] == nil {
		return nil, fmt.Errorf("source: map %s has no role %.20q", c.Map, c.Role)
	}
	if c.Rating == 0 {
		return nil, fmt.Errorf("source: rating_w of %s: set what flows through the meter at most", c.Address)
	}
	if entry := m.Roles[c.Role][energy.PV.String()]; c.Reverse && c.Role == PV && len(entry.Back) == 0 {
		return nil, fmt.Errorf("source: map %s: pv cannot be reversed", c.Map)
	}
	u, err := url.Parse(c.Address)
	if err != nil {
		return nil, fmt.Errorf("source: address: %w", err)
	}
	if strings.Contains(c.Address, "#") {
		return nil, fmt.Errorf("source: address %s: a # means nothing here", u.Redacted())
	}
	if c.Timeout == 0 {
		c.Timeout = 3 * time.Second
	}
	var r reader
	switch m.Protocol {
	case "sunspec":
		r, err = newModbus(c, u, m)
	case "dsmr", "sml":
		r, err = newStream(u, m.Protocol)
	case "mqtt":
		r, err = newMQTT(u, m, c.Map)
	}
	if err != nil {
		return nil, fmt.Errorf("source: %s: %w", u.Redacted(), err)
	}
	s := &mapped{cfg: c, m: m, reader: r}
	s.choice = choice{channel: c.Channel, reverse: c.Reverse, all: m.Channel == "all" && !m.apart(u.Path)}
	return s, nil
}

// apart reports whether the channels of the device of a topic are never added up.
func (m *Map) apart(topic string) bool {
	name := path.Base(topic)
	return slices.ContainsFunc(m.Apart, func(head string) bool { return strings.HasPrefix(name, head) })
}

// mapped is a reader with its map.
type mapped struct {
	cfg    Config
	m      *Map
	reader reader
	choice choice
	last   Fields // of the last reading
}

// Read reads the fields and maps them.
func (s *mapped) Read(ctx context.Context) (*Reading, error) {
	fields, bad, err := s.reader.read(ctx)
	if err != nil {
		return nil, err
	}
	return s.reading(fields, bad)
}

// reading maps fields.
func (s *mapped) reading(fields Fields, bad []error) (*Reading, error) {
	s.last = fields
	r := s.m.read(s.cfg.Role, fields, &s.choice)
	r.Bad = bad
	if s.cfg.channel() > 0 && s.m.Protocol == "mqtt" && r.Meter.Serial != "" {
		r.Meter.Serial = fmt.Sprintf("%s/%d", r.Meter.Serial, s.cfg.channel()) // another channel is another meter
	}
	for _, reg := range s.cfg.Role.Registers() {
		if r.Counters[reg] == nil && r.Sent == nil {
			r.Sent = some(s.reader.sent(fields))
		}
	}
	r.Meter = Meter{cmp.Or(s.cfg.Manufacturer, r.Meter.Manufacturer), cmp.Or(s.cfg.Model, r.Meter.Model), cmp.Or(s.cfg.Serial, r.Meter.Serial)}
	if r.Meter.Serial == "" {
		return nil, errors.Join(append([]error{errors.New("source: the meter says no serial number: set it")}, bad...)...)
	}
	if r.At.IsZero() {
		r.At = time.Now()
	}
	return r, nil
}

// maxSent bounds what is listed of what a device says.
const maxSent = 24

// some returns the first names of a list, and how many more there are.
func some(list []string) []string {
	slices.Sort(list)
	if n := len(list); n > maxSent {
		list = append(list[:maxSent:maxSent], fmt.Sprintf("and %d more", n-maxSent))
	}
	return list
}

// numbers lists the paths of what is a number.
func numbers(fields Fields) (list []string) {
	for path, f := range fields {
		if f.Number != nil {
			list = append(list, fmt.Sprintf("%.80s", path))
		}
	}
	return list
}

// Close ends the connection.
func (s *mapped) Close() error { return s.reader.close() }

// number reads a number of an address's query.
func number(u *url.URL, name string, otherwise uint) (uint, error) {
	text := u.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	v, err := strconv.ParseUint(text, 10, 24)
	if err != nil {
		return 0, fmt.Errorf("%s %.20q: want a number", name, text)
	}
	return uint(v), nil
}
