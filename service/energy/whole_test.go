package energy

import (
	"testing"
)

// whole is what a meter shows whose registers in coarse count in whole kWh.
func whole(r Record, coarse Mask) Record {
	for i := range r.Wh {
		if coarse.Has(Register(i)) {
			r.Wh[i] -= r.Wh[i] % Whole
		}
	}
	return r
}

// shows runs a home for some days whose meters show whole kWh of some registers, and returns its sums. bend may
// change what flows.
func shows(t *testing.T, site Site, coarse Mask, days int, bend func(hour uint64, f *flows)) (*State, uint64) {
	t.Helper()
	w := newWorld(t)
	w.time = start
	d := w.device("d", site)
	d.wh[Export], d.wh[PV] = 61_234, 123_456
	d.hand(whole(d.record(w.done()), coarse))
	made := uint64(0)
	for hour := range uint64(24 * days) {
		w.step()
		var list []Record
		for n := range uint64(4) {
			k := w.done() - 3 + n
			f := d.sunny(k, 120)
			if site.PV.IsZero() {
				f.imp = 0
			}
			if bend != nil {
				bend(hour%24, &f)
			}
			made += f.pv
			list = append(list, whole(d.read(k, f), coarse))
		}
		d.hand(list...)
	}
	w.step()
	w.step()
	return d.state(), made
}

// TestWhole: what a home feeds in counts although its meter shows whole kWh, up to a step, and nothing of it is
// held against the home.
func TestWhole(t *testing.T) {
	one := Site{Technology: Solar, PDC: 8000, PAC: 6000, Grid: meterOf("d", "grid")}
	for name, c := range map[string]struct {
		site   Site
		coarse Mask
	}{
		"export":       {solar("d"), 1 << Export},
		"both of grid": {solar("d"), 1<<Export | 1<<Import},
		"pv":           {solar("d"), 1 << PV},
		"all":          {solar("d"), 1<<Export | 1<<Import | 1<<PV},
		"one meter":    {one, 1<<Export | 1<<Import},
	} {
		fine, _ := shows(t, c.site, 0, 4, nil)
		s, _ := shows(t, c.site, c.coarse, 4, nil)
		sold := func(s *State) uint64 { return s.Sums.Sealed + s.Sums.Uncertified + s.Lots.Total() }
		if sold(fine) == 0 || sold(s)+3*Whole < sold(fine) {
			t.Errorf("%s: %d Wh can be sold, %d of what counts in Wh: %+v", name, sold(s), sold(fine), s.Sums)
		}
		if lost := s.Sums.Conservation + s.Sums.AboveSky + s.Sums.Origin; lost > 2*Whole || s.Alarms != 0 || s.Sums.Lapsed > 0 {
			t.Errorf("%s: %d of %d Wh are lost, alarms %b: %+v", name, lost, s.Sums.Exported, s.Alarms, s.Sums)
		}
	}
}

// TestWholeCheat: who shows whole kWh gains no more by it than a step: what is sold was made.
func TestWholeCheat(t *testing.T) {
	all := Mask(1<<Export | 1<<PV | 1<<Import)
	for name, c := range map[string]struct {
		most uint64
		bend func(hour uint64, f *flows)
	}{
		// All that is made is used in the house, and the grid's power is fed in at night, from a battery that
		// nobody meters.
		"buys by day, sells by night": {4*Whole + Whole, func(hour uint64, f *flows) {
			f.exp = 0
			if hour < 3 {
				f.exp = Whole
			}
		}},
		"sells what nobody made": {Whole, func(_ uint64, f *flows) { *f = flows{exp: Whole} }},
		"a night full of sun": {2 * Whole, func(hour uint64, f *flows) {
			if *f = (flows{}); hour < 3 || hour > 21 {
				*f = flows{exp: Whole, pv: Whole}
			}
		}},
	} {
		s, made := shows(t, solar("d"), all, 4, c.bend)
		sold := s.Sums.Sealed + s.Lots.Total() + s.Sums.Lapsed + s.Sums.Community
		if sold > c.most || sold > made+Whole {
			t.Errorf("%s: %d Wh can be sold, at most %d: %+v", name, sold, c.most, s.Sums)
		}
	}
}

// TestFineStands: a register that counts finely and happens to stand at a whole kWh is not taken for a coarse one.
func TestFineStands(t *testing.T) {
	w := newWorld(t)
	w.time = noon
	d := w.device("d", solar("d"))
	d.wh[Export], d.wh[PV] = 5000, 7001
	d.hand(d.record(w.done()))
	w.step()
	d.hand(d.read(w.done()-3, flows{exp: 500, pv: 300}))
	w.step()
	w.step()
	if s := d.state(); s.Sums.Conservation != 500 || s.Unshown != 0 || s.Unlit != 0 {
		t.Errorf("%+v", s.Sums)
	}
}
