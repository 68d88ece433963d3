package street

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/geo"
)

const (
	minute = 60 // seconds for which power stays as it is

	// catchUp is how much of what it slept through a street makes up for, in seconds. Beyond that, nobody was
	// at home.
	catchUp = 7 * 86400

	// MaxHomes bounds a street.
	MaxHomes = 64
)

// The units' numbers on a home's bus.
const (
	UnitInverter = 1
	UnitGrid     = 2
	UnitBattery  = 3
)

// Config says what street it is.
type Config struct {
	Homes    []Profile  // Profiles returns some
	Cell     types.Cell // where they stand
	Altitude uint8      // hundreds of metres
	Seed     uint64     // of clouds and habits
	// Now tells energy time, in Unix milliseconds. Where it goes back, the street waits.
	Now func() int64
	// Begin is the Unix second of energy time at which all counters were zero.
	Begin int64
	// Hold has the registers show, in the half of a quarter hour around each boundary, what they show at the
	// boundary: for clocks that run so fast that two readings are never of the same second.
	Hold bool
	// Recording replaces the models of sky and household; nil for none.
	Recording *Recording
	// Listen returns the listener of a home, numbered from 1; nil takes a free port of the loopback address.
	Listen func(home int) (net.Listener, error)
}

// Profiles returns the profiles of n homes.
func Profiles(n int) []Profile {
	out := make([]Profile, n)
	for i := range out {
		out[i] = profiles[i%len(profiles)]
	}
	return out
}

// Street is a row of homes. All methods of a street, its homes and its units can be called from anywhere.
type Street struct {
	cfg       Config
	up        geo.Vector
	ahead     int64 // seconds that the sun's time is ahead of Greenwich's
	altitude  uint8
	recording *Recording
	homes     []*Home

	listeners []net.Listener
	serving   sync.WaitGroup

	mu  sync.Mutex // guards what follows, and all of homes and units that changes
	at  int64      // the Unix second that the registers show
	min int64      // … and the minute that power was last decided for
}

// Open brings a street up; its homes answer until Close.
func Open(cfg Config) (*Street, error) {
	if len(cfg.Homes) == 0 || len(cfg.Homes) > MaxHomes {
		return nil, fmt.Errorf("street: %d homes, want 1 to %d", len(cfg.Homes), MaxHomes)
	}
	if !cfg.Cell.Valid() || cfg.Now == nil || cfg.Begin < 0 {
		return nil, errors.New("street: a street needs a place, a clock and a beginning")
	}
	if cfg.Listen == nil {
		cfg.Listen = func(int) (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
	}
	cfg.Begin -= cfg.Begin % lot.Interval
	center := cfg.Cell.Center()
	s := &Street{cfg: cfg, up: geo.Float(center), altitude: cfg.Altitude, recording: cfg.Recording, ahead: solarAhead(center), at: cfg.Begin, min: cfg.Begin}
	for i, p := range cfg.Homes {
		s.homes = append(s.homes, s.home(i+1, p))
	}
	s.decide()
	for _, h := range s.homes {
		l, err := cfg.Listen(h.Number)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("street: home %d: %w", h.Number, err)
		}
		h.address = l.Addr().String()
		s.listeners = append(s.listeners, l)
		s.serving.Go(func() { h.serve(l) })
	}
	return s, nil
}

// Close ends all connections.
func (s *Street) Close() {
	for _, l := range s.listeners {
		l.Close()
	}
	s.serving.Wait()
}

// Homes returns the homes, in order.
func (s *Street) Homes() []*Home { return s.homes }

func (s *Street) home(number int, p Profile) *Home {
	h := &Home{Profile: p, Number: number, street: s, panels: s.up.Facing(p.Tilt, p.Azimuth)}
	add := func(k kind, base uint16, maker, model string) *Unit {
		u := &Unit{home: h, kind: k, base: base, maker: maker, model: model}
		if p.Tenths {
			u.scale = -1
		}
		u.number()
		// A register at 0 says that it is not there (acc32), and meters have a past.
		for c := range u.offset {
			u.offset[c] = (1 + uint64(20e6*s.draw("past", number, int64(k)<<8|int64(c)))) * 3600
		}
		return u
	}
	if p.PDC > 0 {
		h.Inverter = add(panels, p.Base, "Cairn Street", fmt.Sprintf("Roof %d", p.PAC))
	}
	h.Grid = add(grid, 40000, "Cairn Street", "Meter 3")
	if p.PDC == 0 && p.Storage == 0 {
		h.Grid.offset[Given] = 0
	}
	if p.Storage > 0 {
		h.Battery = add(battery, 40000, "Cairn Street", fmt.Sprintf("Cellar %d", p.Storage))
	}
	return h
}

// unit returns the unit of a number, nil for none.
func (h *Home) unit(id byte) *Unit {
	switch id {
	case UnitInverter:
		return h.Inverter
	case UnitGrid:
		return h.Grid
	case UnitBattery:
		return h.Battery
	}
	return nil
}

// shown returns the energy time that the registers show now: with Hold, the nearest boundary of a quarter hour.
func (s *Street) shown() int64 {
	now := s.cfg.Now() / 1000
	if s.cfg.Hold {
		now = (now + lot.Interval/2) / lot.Interval * lot.Interval
	}
	return now
}

// advance lets time pass up to now.
func (s *Street) advance() {
	now := s.shown()
	if now <= s.at {
		return
	}
	if now-s.min > catchUp {
		s.min = now - now%minute - catchUp
		s.decide()
	}
	for now-s.min >= minute {
		for _, h := range s.homes {
			h.sum.add(&h.power, minute)
		}
		s.min += minute
		s.decide()
	}
	s.at = now
}

// decide decides what flows in the minute that begins.
func (s *Street) decide() {
	var l light
	if s.recording == nil {
		l = lightAt(s.up, s.min, s.clear(s.min))
	}
	for _, h := range s.homes {
		h.begin(s.min, &l)
	}
}

// sum returns what flowed through a home until the time that is shown, in joules.
func (s *Street) sum(h *Home) flow {
	f := h.sum
	f.add(&h.power, uint64(s.at-s.min))
	return f
}
