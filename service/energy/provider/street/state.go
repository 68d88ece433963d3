package street

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/cairn-network/cairn/core/types"
)

// saved is a street between two runs, as JSON.
type saved struct {
	Begin int64       `json:"begin"` // Config.Begin: a state is of one street
	Seed  uint64      `json:"seed"`
	At    int64       `json:"at"` // the Unix second of energy time, a full minute
	Homes []savedHome `json:"homes"`
}

type savedHome struct {
	PV     uint64      `json:"pv_j"`
	Load   uint64      `json:"load_j"`
	Export uint64      `json:"export_j"`
	Import uint64      `json:"import_j"`
	In     uint64      `json:"charge_j"`
	Out    uint64      `json:"discharge_j"`
	Stored uint64      `json:"stored_j"`
	Units  []savedUnit `json:"units"`
}

type savedUnit struct {
	Swaps  int       `json:"swaps"`
	Offset [2]uint64 `json:"offset_j"`
}

// Save returns the street's state: what a street of the same Config goes on from after Restore.
func (s *Street) Save() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	out := saved{Begin: s.cfg.Begin, Seed: s.cfg.Seed, At: s.min}
	for _, h := range s.homes {
		// The battery has done the minute that runs already.
		stored := h.stored - h.power.in*minute*efficiency/100 + h.power.out*minute
		v := savedHome{h.sum.pv, h.sum.load, h.sum.exp, h.sum.imp, h.sum.in, h.sum.out, stored, nil}
		for _, u := range h.units() {
			v.Units = append(v.Units, savedUnit{u.swaps, u.offset})
		}
		out.Homes = append(out.Homes, v)
	}
	raw, err := json.MarshalIndent(&out, "", "  ")
	if err != nil {
		panic(err) // numbers alone
	}
	return append(raw, '\n')
}

// Restore takes a state over that Save returned. Homes that it does not know begin at zero.
func (s *Street) Restore(raw []byte) error {
	var in saved
	if err := json.Unmarshal(raw, &in); err != nil {
		return fmt.Errorf("street: state: %w", err)
	}
	if in.Begin != s.cfg.Begin || in.Seed != s.cfg.Seed || in.At < in.Begin || in.At%minute != 0 || len(in.Homes) > len(s.homes) {
		return fmt.Errorf("street: the state is of another street: it began at %d with seed %d and %d homes, this one at %d with seed %d and %d",
			in.Begin, in.Seed, len(in.Homes), s.cfg.Begin, s.cfg.Seed, len(s.homes))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, v := range in.Homes {
		h := s.homes[i]
		if len(v.Units) != len(h.units()) || v.Stored > uint64(h.Storage)*3600 {
			return fmt.Errorf("street: state: home %d is another one", h.Number)
		}
		h.sum, h.stored = flow{v.PV, v.Load, v.Export, v.Import, v.In, v.Out}, v.Stored
		for j, u := range h.units() {
			u.swaps, u.offset = v.Units[j].Swaps, v.Units[j].Offset
			u.number()
		}
	}
	s.at, s.min = in.At, in.At
	s.decide()
	return nil
}

// units returns the units that the home has, in order.
func (h *Home) units() []*Unit {
	var out []*Unit
	for id := byte(UnitInverter); id <= UnitBattery; id++ {
		if u := h.unit(id); u != nil {
			out = append(out, u)
		}
	}
	return out
}

// solarAhead returns how many seconds the mean sun of a place is ahead of that of Greenwich.
func solarAhead(at types.Vector) int64 {
	return int64(math.Atan2(float64(at[1]), float64(at[0])) / (2 * math.Pi) * 86400)
}
