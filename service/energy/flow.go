package energy

import (
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/fixed"
	"github.com/cairn-network/cairn/core/types"
)

// flow judges an interval that is over. Each watt-hour that the export register counted is accepted, netted, or
// counted in one sum of what is withheld.
func (j *judge) flow(v *Interval) Flow {
	s, sums := j.state, &j.state.Sums
	f := Flow{K: v.K, Span: v.Span, Late: v.Late, From: v.From}
	exp, imp, in, out := v.Wh[Export], v.Wh[Import], v.Wh[Charge], v.Wh[Discharge]
	if v.Known&j.needed() != j.needed() || v.Span == 0 {
		f.Span = 0
		more(&sums.Gap, exp)
		if s.drain(out); !v.Known.Has(Discharge) && j.rules.on(ruleStorage) {
			s.Stored = 0 // all may have left it
		}
		return f
	}
	two := s.meters() == 2
	pv := exp
	if two {
		pv = v.Wh[PV]
	}
	f.PV = pv
	tolerance := j.rules.limits.Tolerance
	if v.Whole != 0 {
		tolerance += Whole // what flowed is shown up to a step later
	}
	if two && j.rules.on(ruleConservation) && (pv+imp+out+tolerance < exp+in || exp > pv+out+tolerance) {
		more(&sums.Conservation, exp)
		s.drain(out)
		return f
	}
	bound := j.bound(&f)
	made := s.lit(pv, bound, v.Whole.Has(PV) || !two && v.Whole.Has(Export))
	if !j.rules.on(ruleSky) {
		made = pv
	}
	f.Excess = pv - made
	more(&sums.Produced, made)
	green := made
	direct := made
	if two {
		charged, drawn := s.battery(made, in, out, j.rules.on(ruleStorage))
		direct = made - charged
		green = direct + drawn
	}
	late := two && (v.Whole.Has(Export) || v.Whole.Has(PV))
	if late {
		green += uint64(s.Unshown)
		direct += uint64(s.Unshown)
	}
	eligible := min(exp, green)
	if s.Unshown = 0; late {
		s.Unshown = uint16(min(green-eligible, Whole))
	}
	above := min(exp-eligible, f.Excess)
	more(&sums.AboveSky, above)
	more(&sums.Origin, exp-eligible-above)

	net := exp - min(exp, imp)
	if !j.rules.on(ruleNetting) {
		net = exp
	}
	f.Accepted = min(eligible, net)
	f.Battery = f.Accepted - min(f.Accepted, direct)
	more(&sums.Netted, eligible-f.Accepted)
	f.Import = imp - min(imp, exp)
	return f
}

// lit returns what of pv the sun allows. A register in whole kWh shows with a step what flowed since the one
// before: what the sun allowed meanwhile, up to a step, counts too.
func (s *State) lit(pv, bound uint64, whole bool) uint64 {
	if !whole {
		s.Unlit = 0
		return min(pv, bound)
	}
	bound += uint64(s.Unlit)
	made := min(pv, bound)
	s.Unlit = uint16(min(bound-made, Whole))
	return made
}

// needed returns the registers without which an interval says nothing.
func (j *judge) needed() Mask {
	site := &j.state.Site
	m := Mask(1 << Import)
	if site.PDC > 0 || !site.Battery.IsZero() {
		m |= 1 << Export
	}
	if !site.PV.IsZero() {
		m |= 1 << PV
	}
	if !site.Battery.IsZero() {
		m |= 1<<Charge | 1<<Discharge
	}
	return m
}

// battery follows green energy into the battery and out again: of what the panels made, what went in; of what
// came out, what is green.
func (s *State) battery(made, in, out uint64, on bool) (charged, drawn uint64) {
	if s.Site.Battery.IsZero() {
		return 0, 0
	}
	if !on {
		return 0, out
	}
	charged = min(in, made)
	s.Stored = min(s.Stored+min(charged, MaxStorage)*uint64(s.Site.Efficiency), uint64(s.Site.Storage)*econ.Bps)
	drawn = min(out, s.Stored/econ.Bps)
	s.Stored -= drawn * econ.Bps
	return charged, drawn
}

// drain takes out of the battery what left it in an interval that says nothing else.
func (s *State) drain(out uint64) {
	s.Stored -= min(s.Stored, min(out, MaxStorage)*econ.Bps)
}

// bound returns the most that the panels can have made in the flow's intervals, and notes how close to it
// production came.
func (j *judge) bound(f *Flow) uint64 {
	s := j.state
	if s.Site.PDC == 0 {
		return 0
	}
	env := s.Envelope(&j.rules.limits)
	if !j.rules.on(ruleEnvelope) {
		env = econ.Bps
	}
	most, light, bright := uint64(0), fixed.Num(0), true
	for n := range uint64(f.Span) {
		b := j.brightest(f.K - n)
		most += Limit(uint64(s.Site.PDC), uint64(s.Site.PAC), b, types.Bp(env))
		light += b
		if b > fixed.Num(j.rules.limits.Bright)*fixed.One {
			f.Bright = true
		} else {
			bright = false
		}
	}
	if bright {
		f.Ratio = uint16(min(Performance(f.PV, uint64(s.Site.PDC), light), econ.Bps))
	}
	return most
}

// brightest returns the most that the sun can give at the device's place in interval k.
func (j *judge) brightest(k uint64) fixed.Num {
	if altitude := min(j.state.Site.Altitude, j.rules.limits.Altitude); j.sky == nil || altitude != j.altitude {
		j.sky, j.altitude, j.place = new(Sky), altitude, PlaceOf(j.in.Device.Cell, altitude)
	}
	return j.sky.Most(&j.place, k)
}

// Envelope returns how much of the bound for ideal panels the device's own may reach, in bp: after
// commissioning a little more than they did meanwhile, not less than half of its neighbours may, and never much
// more than they.
func (s *State) Envelope(t *Thresholds) uint64 {
	peers := uint64(s.PeerEnvelope)
	switch {
	case int(s.Commissioned) >= t.Commissioning:
		// What half of the neighbours reach is no wonder, even if it was winter, or a string was dead, while
		// this one was commissioned.
		return max(s.shown(t), peers)
	case peers > 0:
		return min(peers*t.Margin/econ.Bps, econ.Bps)
	}
	return t.Envelope
}

// shown is the envelope that a device has shown while it was commissioned, by which it is one of its
// neighbours' neighbours.
func (s *State) shown(t *Thresholds) uint64 {
	env := min(uint64(s.Peak)*t.Margin/econ.Bps, econ.Bps)
	if s.PeerEnvelope > 0 {
		env = min(env, uint64(s.PeerEnvelope)*t.PeerEnvelope/econ.Bps)
	}
	return env
}
