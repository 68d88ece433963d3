package energy

import (
	"bytes"
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// freeze is the last one of a device or a meter.
type freeze struct {
	Until uint32 // nothing is accepted before this day
	On    uint32 // the day whose alarm made it
	For   uint8  // days
}

// mark is what a meter has against it, whichever device reads it: else a freeze would be left behind by whoever
// registers another device.
type mark struct {
	meter  types.Hash
	cell   types.Cell // in whose line it is: that of the device of which the last alarm was seen
	day    uint32     // the last day of which an alarm was seen …
	open   bool       // … and which still runs: the alarm may go away
	alarms uint8      // bit i: there was one i days before day
	freeze
}

// maxMarks bounds the marks in a cell's line. Those that end first go.
const maxMarks = 1024

// freeze returns what the alarms of a day (bit 0) and those before it make of the last freeze, or that they are
// not enough.
func (t *Thresholds) freeze(alarms uint8, day uint32, last freeze) (freeze, bool) {
	if bits.OnesCount8(alarms&uint8(1<<min(t.AlarmDays, window)-1)) < t.Alarms {
		return last, false
	}
	length := t.Freeze
	if last.For > 0 && day-min(day, last.On) <= t.FreezeAgain {
		length = min(2*uint32(last.For), t.FreezeMost)
	}
	return freeze{Until: day + 1 + length, On: day, For: uint8(min(length, 255))}, true
}

// upTo returns the alarms with those of a day as bit 0.
func (k *mark) upTo(day uint32) uint8 {
	if day < k.day {
		return k.alarms >> min(k.day-day, 8)
	}
	return uint8(uint64(k.alarms) << min(day-k.day, 8) & (1<<window - 1))
}

// note takes over whether there is an alarm on a day, which may run still. It goes away only as long as the day
// runs for the device that had it.
func (k *mark) note(day uint32, alarm, open bool) {
	if alarm && day > k.day {
		k.alarms, k.day, k.open = k.upTo(day), day, false
	}
	bit := uint8(1) << min(k.day-min(day, k.day), window) & (1<<window - 1)
	switch {
	case alarm:
		if day == k.day {
			k.open = open && (k.open || k.alarms&bit == 0)
		}
		k.alarms |= bit
	case day == k.day && k.open:
		k.alarms &^= bit
		k.open = false
	}
}

// settle makes what was seen final. Another device has the meter now, so nobody will close the day for the one
// that had it, and the last alarm may have been one too many.
func (k *mark) settle(t *Thresholds) {
	k.open = false
	if f, ok := t.freeze(k.alarms, k.day, k.freeze); ok {
		k.freeze, k.alarms = f, 0
	}
}

// end returns the day from which on the mark says nothing any more.
func (k *mark) end(t *Thresholds) uint32 {
	end, last := uint32(0), *k
	if last.settle(t); last.For > 0 {
		end = last.Until + t.FreezeAgain
	}
	if last.alarms != 0 {
		end = max(end, last.day+t.AlarmDays)
	}
	return end
}

// ledger is all marks of the region, by meter.
type ledger struct {
	limits *Thresholds
	marks  map[types.Hash]*mark
}

// newLedger takes the marks out of the cells' lines. Of one meter there is one; were there more, that of the
// last cell would count.
func newLedger(limits *Thresholds, cells map[types.Cell]*cellState) *ledger {
	l := &ledger{limits: limits, marks: map[types.Hash]*mark{}}
	for _, cell := range slices.Sorted(maps.Keys(cells)) {
		c := cells[cell]
		for i := range c.marks {
			c.marks[i].cell = cell
			l.marks[c.marks[i].meter] = &c.marks[i]
		}
		c.marks = nil
	}
	return l
}

// write puts the marks that still say something into the cells' lines.
func (l *ledger) write(cells map[types.Cell]*cellState, today uint32) {
	for _, k := range l.marks {
		if k.end(l.limits) <= today {
			continue
		}
		if cells[k.cell] == nil {
			cells[k.cell] = new(cellState)
		}
		cells[k.cell].marks = append(cells[k.cell].marks, *k)
	}
	byMeter := func(a, b mark) int { return bytes.Compare(a.meter[:], b.meter[:]) }
	for _, c := range cells {
		slices.SortFunc(c.marks, byMeter)
		if len(c.marks) > maxMarks {
			slices.SortStableFunc(c.marks, func(a, b mark) int { return cmp.Compare(b.end(l.limits), a.end(l.limits)) })
			c.marks = c.marks[:maxMarks]
			slices.SortFunc(c.marks, byMeter)
		}
	}
}

// of returns the marks of a device's meters. A device that lacks one of them has none.
func (l *ledger) of(s *State) []*mark {
	if s.Taken || len(l.marks) == 0 {
		return nil
	}
	var list []*mark
	for _, meter := range s.Site.meterIDs() {
		if k := l.marks[meter]; k != nil {
			list = append(list, k)
		}
	}
	return list
}

// inherit freezes each device as its meters are.
func (c *crossing) inherit() {
	if len(c.ledger.marks) == 0 || !c.rules.on(ruleMarks) {
		return
	}
	for i := range c.members {
		m := &c.members[i]
		s := m.state
		fresh := m.waited || slices.Contains(s.Since[:], c.in.Epoch)
		for _, k := range c.ledger.of(s) {
			if fresh {
				k.settle(&c.rules.limits)
			}
			s.Frozen = max(s.Frozen, k.Until)
			if k.On > s.FrozeOn {
				s.FrozeOn, s.FrozeFor = k.On, k.For
			}
		}
	}
}

// note holds the alarm of the day that runs against the device's meters. From the moment on in which a site is
// declared on a day with an alarm, the alarm is not of that site's meters, but of those that it had: nobody's
// meter is frozen by being named.
func (c *crossing) note(m *member, alarm, open bool) {
	s := m.state
	if s.Taken || s.Alarms&1 != 0 || !c.rules.on(ruleMarks) {
		return
	}
	for _, meter := range s.Site.meterIDs() {
		k := c.ledger.marks[meter]
		if k == nil {
			if !alarm {
				continue
			}
			k = &mark{meter: meter}
			c.ledger.marks[meter] = k
		}
		if alarm {
			k.cell = m.device.Cell
		}
		k.note(s.Day, alarm, open)
	}
}

// freeze freezes a device, and its meters that had the alarm, if that of the day that closes is one too many.
// Alarms that froze are forgotten.
func (c *crossing) freeze(m *member) {
	s := m.state
	marks, alarms := c.ledger.of(s), s.Alarms
	for _, k := range marks {
		alarms |= k.upTo(s.Day)
	}
	f, ok := c.rules.limits.freeze(alarms, s.Day, freeze{Until: s.Frozen, On: s.FrozeOn, For: s.FrozeFor})
	if !ok {
		return
	}
	s.Frozen, s.FrozeOn, s.FrozeFor, s.Alarms = f.Until, f.On, f.For, 0
	for _, k := range marks {
		if k.upTo(s.Day)&1 == 0 {
			continue
		}
		if f.Until > k.Until {
			k.freeze = f
		}
		if k.day <= s.Day {
			k.alarms, k.open = 0, false
		}
	}
}
