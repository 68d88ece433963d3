package energy

import (
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/fixed"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

// closing is a day that a device's flows ended.
type closing struct {
	day   uint32
	alarm bool
	share uint64 // of what was accepted, how much came out of the battery, in bp, rounded up
}

// segment is a run of a device's flows on one day, with what production had come to at its end.
type segment struct {
	day   uint32
	flows []Flow
	k     uint64 // of the last flow
	pv    uint64
}

// segments cuts a device's flows by solar days. A flow never belongs to a day before the one that runs.
func (m *member) segments() []segment {
	var out []segment
	day, pv := m.state.Day, m.state.PV
	for i := range m.flows {
		f := &m.flows[i]
		d := max(m.place.day(f.K), day)
		if d > day {
			day, pv = d, 0
		}
		pv = min(pv+f.PV, maxVirtual)
		if n := len(out); n == 0 || out[n-1].day != d {
			out = append(out, segment{day: d, flows: m.flows[i:i]})
		}
		s := &out[len(out)-1]
		s.flows = s.flows[:len(s.flows)+1]
		s.k, s.pv = f.K, pv
	}
	return out
}

// yield returns what pv Wh are of pdc watts, in Wh per kW.
func yield(pv uint64, pdc uint32) uint64 {
	if pdc == 0 {
		return 0
	}
	return min(pv*1000/uint64(pdc), 1<<40) // pv is at most 2⁵⁰
}

// known reports whether a device can be held up to its neighbours: two meters, commissioned.
func (s *State) known(t *Thresholds) bool {
	return s.meters() == 2 && s.Site.PDC > 0 && int(s.Commissioned) >= t.Commissioning
}

// live takes a device's flows over into its days: compares, cuts, closes.
func (c *crossing) live(m *member) {
	s := m.state
	if env, ok := c.peers.median(m.device.Cell, byEnvelope, 0, 0, m.owner); ok {
		s.PeerEnvelope = uint16(env)
	} else {
		s.PeerEnvelope = 0
	}
	for i := range m.parts {
		part := &m.parts[i]
		if part.day > s.Day {
			if s.Records > 0 {
				m.closings = append(m.closings, c.close(m, part.day))
			}
			s.Day = part.day
		}
		if s.Taken || part.day < s.Frozen {
			sum := &s.Sums.Frozen
			if s.Taken {
				sum = &s.Sums.Taken
			}
			for i := range part.flows {
				more(sum, part.flows[i].Accepted)
				part.flows[i].Accepted, part.flows[i].Battery = 0, 0
			}
		}
		c.compare(m, part)
		for i := range part.flows {
			s.count(&part.flows[i], &c.rules.limits)
		}
	}
	if len(m.parts) > 0 {
		c.note(m, s.alarm(&c.rules.limits), true)
	}
}

// count adds a flow to the day.
func (s *State) count(f *Flow, t *Thresholds) {
	s.Records = min(s.Records+1, dayRecords)
	s.PV = min(s.PV+f.PV, maxVirtual)
	s.Excess = min(s.Excess+f.Excess, s.PV)
	s.Bright = s.Bright || f.Bright
	s.Sold = min(s.Sold+f.Accepted, maxVirtual)
	s.Battery = min(s.Battery+f.Battery, s.Sold)
	if int(s.Commissioned) < t.Commissioning {
		s.Peak = max(s.Peak, f.Ratio)
	}
}

// compare holds a device's day so far against that of its neighbours, and cuts what is above.
func (c *crossing) compare(m *member, part *segment) {
	s, t := m.state, &c.rules.limits
	if s.meters() != 2 || s.Site.PDC == 0 {
		return
	}
	day, ok := c.neighbours(m, part)
	s.PeerDay = clip(day.yield)
	own := uint64(s.Base)
	if own == 0 {
		own = c.newBase(s)
	}
	if !ok || day.base == 0 || own == 0 || !c.rules.on(rulePeers) {
		return
	}
	clear := c.clearDay(m, part.day)
	// Of most neighbours the panels are covered: those that are not have nobody to be held up to.
	if day.base*econ.Bps < clear*t.Dark {
		return
	}
	upper := min(max(day.upper, day.base), (day.base*t.UpperMost+clear*t.UpperMore)/econ.Bps)
	clear = clear * own / econ.Bps
	s.Clear = clip(clear)
	if s.Base > 0 && s.Day >= s.Frozen && c.rules.on(ruleAhead) {
		s.runAhead((day.base+upper)/2*own/econ.Bps, part.pv, t) // below 2¹⁸ · 2¹⁶
	}
	usual := upper * own / econ.Bps * t.PeerShare / econ.Bps
	s.Over = part.pv > (usual+clear*t.PeerClear/econ.Bps)*uint64(s.Site.PDC)/1000
	most := (usual + clear*t.CutClear/econ.Bps) * uint64(s.Site.PDC) / 1000
	if part.pv <= most {
		return
	}
	cut := part.pv - most
	fresh := cut - min(cut, s.Cut)
	s.Cut = max(s.Cut, cut)
	for i := len(part.flows) - 1; i >= 0 && fresh > 0; i-- {
		f := &part.flows[i]
		n := min(fresh, f.Accepted)
		f.Accepted -= n
		f.Battery = min(f.Battery, f.Accepted)
		fresh -= n
		more(&s.Sums.PeerCap, n)
	}
}

// newBase returns what the base of a device is taken for that has not learnt its own: else who declares its
// site anew all the time would never be held against anybody. Who was frozen lately is not to gain by beginning
// anew.
func (c *crossing) newBase(s *State) uint64 {
	t := &c.rules.limits
	if s.FrozeFor > 0 && s.Day-min(s.Day, s.FrozeOn) <= t.FreezeAgain && c.rules.on(ruleAnew) {
		return t.AnewBase
	}
	return t.NewBase
}

// clearDay returns what a clear day could give a usual neighbour, in Wh per kW: what the sun's bound comes to
// over the day, times the neighbours' envelope. It is the measure of how far days may stray: what clouds move
// is a share of it, in winter as in summer.
func (c *crossing) clearDay(m *member, day uint32) uint64 {
	env := uint64(m.state.PeerEnvelope)
	if env == 0 {
		env = c.rules.limits.Envelope
	}
	at := shineAt{m.zone, day}
	sum, known := c.shine[at]
	if !known {
		sum = m.place.shine(day)
		c.shine[at] = sum
	}
	return sum * env / econ.Bps
}

// shineAt is a day under a zone's sky.
type shineAt struct {
	zone types.Cell
	day  uint32
}

// shine returns what the sun's bound comes to over a solar day, in Wh/m²: the sum of the bounds at the
// beginnings of its intervals, by 4.
func (p *Place) shine(day uint32) uint64 {
	k := (int64(day)*meanDay - p.ahead + lot.Interval - 1) / lot.Interval
	sum := fixed.Num(0)
	for range meanDay / lot.Interval {
		_, b := p.Bound(k * lot.Interval)
		sum += b
		k++
	}
	return uint64(max(sum, 0)) >> 32
}

// neighbourDay is what neighbours made of a day so far.
type neighbourDay struct {
	yield uint64 // the median, in Wh per kW
	base  uint64 // the median of what each made to its own base
	upper uint64 // the upper one of these
}

// neighbours returns what the neighbours made, where there are enough.
func (c *crossing) neighbours(m *member, part *segment) (d neighbourDay, ok bool) {
	cell, owner := m.device.Cell, m.owner
	d.yield, ok = c.peers.median(cell, byYield, part.day, part.k, owner)
	if ok {
		d.base, d.upper, _ = c.peers.middle(cell, byBase, part.day, part.k, owner)
		d.base, d.upper = min(d.base, 1<<16-1), min(d.upper, 1<<16-1)
		return d, true
	}
	if part.day < c.today(m) {
		if past, ok := c.peers.remembered(cell, part.day); ok {
			return neighbourDay{uint64(past.Yield), uint64(past.Base), uint64(past.Upper)}, true
		}
	}
	// Where nobody is commissioned yet, a base is learnt from those who are learning theirs: else a place where
	// all begin together would learn none before the season has changed.
	d.yield, ok = c.peers.median(cell, byAny, part.day, part.k, owner)
	return d, ok
}

// today returns the day in which a device's last interval that is over lies.
func (c *crossing) today(m *member) uint32 { return m.place.day(c.done - min(c.done, 1)) }

// close ends the day that runs and begins another.
func (c *crossing) close(m *member, next uint32) closing {
	s, t := m.state, &c.rules.limits
	out := closing{day: s.Day, alarm: s.alarm(t), share: shareBp(s.Battery, s.Sold)}
	if s.Bright && s.alive(t) {
		if int(s.Commissioned) < min(t.Commissioning, 255) {
			s.Commissioned++
		}
		if ratio := s.ratio(); ratio > 0 {
			s.learn(t.lesson(ratio, out.alarm), t)
		}
	}
	c.note(m, out.alarm, false)
	if s.Ahead = s.AheadNow; out.alarm {
		s.Ahead = 0
		s.Alarms |= 1
		if c.rules.on(ruleFreeze) {
			c.freeze(m)
		}
	}
	passed := next - s.Day // at least 1
	s.Alarms = uint8(uint64(s.Alarms) << min(passed, window) & (1<<window - 1))
	for range min(passed, window) {
		copy(s.Counts[1:], s.Counts[:])
		s.Counts[0], s.Records = s.Records, 0
	}
	s.Records, s.PV, s.Excess, s.Cut, s.Over, s.PeerDay, s.Clear, s.AheadNow, s.Bright, s.Sold, s.Battery = 0, 0, 0, 0, false, 0, 0, s.Ahead, false, 0, 0
	return out
}

// runAhead adds the day so far to what the device ran ahead of its neighbours: what one day's weather explains,
// a week's does not. It is Page's one-sided cumulative sum ("Continuous inspection schemes", Biometrika 41
// (1954)).
func (s *State) runAhead(likely, pv uint64, t *Thresholds) {
	ahead := uint64(s.Ahead) + yield(pv, s.Site.PDC)
	s.AheadNow = clip(ahead - min(ahead, likely*t.AheadShare/econ.Bps))
}

// ratio returns the day to the neighbours' median day, in bp; 0 without neighbours.
func (s *State) ratio() uint16 {
	if s.PeerDay == 0 || s.meters() != 2 {
		return 0
	}
	return clip(yield(s.PV, s.Site.PDC) * econ.Bps / uint64(s.PeerDay))
}

// lesson returns what a day's ratio teaches. With an alarm it is no more than what the neighbours make, but it
// is that: panels that were repaired, or that the sun comes round to in spring, are not held for ever to what
// they made before.
func (t *Thresholds) lesson(ratio uint16, alarm bool) uint16 {
	if alarm {
		return uint16(min(uint64(ratio), t.AnewBase))
	}
	return ratio
}

// alive reports whether the day shows anything of what the panels can do: under snow, or behind an inverter
// that is off, they give next to nothing, and who learns from that takes every day to come for a cheat.
func (s *State) alive(t *Thresholds) bool {
	if s.meters() != 2 {
		return true
	}
	if s.PeerDay > 0 {
		return uint64(s.ratio()) >= t.Alive
	}
	return yield(s.PV, s.Site.PDC) >= t.AliveYield
}

// learn takes a day's ratio to the neighbours' median day over. The first Ratios of them make the device's
// base; from then on it follows the upper quartile of the last Ratios, slowly: what roofs give of one sky
// changes with the seasons, as they look in different directions, and with what holds them back on some days
// and not on others. A day without half of the usual teaches nothing.
func (s *State) learn(ratio uint16, t *Thresholds) {
	if s.Base > 0 && ratio < s.Base/2 {
		return
	}
	n := min(t.Ratios, maxRatios)
	if len(s.Ratios) >= n {
		s.Ratios = s.Ratios[len(s.Ratios)-n+1:]
	}
	s.Ratios = append(s.Ratios[:len(s.Ratios):len(s.Ratios)], ratio)
	if len(s.Ratios) < n {
		return
	}
	sorted := slices.Clone(s.Ratios)
	slices.Sort(sorted)
	upper := uint64(max(sorted[(n-1)*3/4], 1))
	if s.Base == 0 {
		s.Base, s.FirstBase = uint16(upper), uint16(upper)
		return
	}
	base := uint64(s.Base)
	rise, fall := max(base*t.BaseRise/econ.Bps, 1), max(base*t.BaseFall/econ.Bps, 1)
	base = min(max(upper, base-min(fall, base-1)), base+rise, max(uint64(s.FirstBase)*t.BaseMost/econ.Bps, t.AnewBase))
	s.Base = uint16(max(min(base, 1<<16-1), 1))
}

// alarm reports whether the day that runs cannot have been as it was reported. While a device is frozen nothing
// is accepted of it, so there is nothing to be gained and no new alarm: else what was wrong for some days, and
// went on while it was frozen, would freeze it for months.
func (s *State) alarm(t *Thresholds) bool {
	if s.Alarms&1 != 0 || s.Day < s.Frozen {
		return s.Alarms&1 != 0
	}
	return s.Over || s.AheadNow > 0 && s.Clear > 0 && uint64(s.AheadNow)*econ.Bps > uint64(s.Clear)*t.AheadClear ||
		s.Excess*econ.Bps > s.PV*t.SkyShare && yield(s.Excess, s.Site.PDC) > t.SkyYield
}

// shareBp returns ⌈10⁴ · part / all⌉.
func shareBp(part, all uint64) uint64 {
	if all == 0 {
		return 0
	}
	return (part*econ.Bps + all - 1) / all
}
