package energy

import (
	"testing"

	"github.com/cairn-network/cairn/core/tally"
)

// compared is a device of a base on a June day of which it made so much, and neighbours so much to their bases,
// all in Wh per kW.
func compared(limits Thresholds, base uint16, made uint64, others ...uint64) *State {
	c := &crossing{rules: verifier{limits: limits}, market: DefaultRules(), shine: map[shineAt]uint64{}, peers: newPeers(&limits, nil)}
	place := PlaceOf(home, 0)
	k := uint64(noon) / 900
	at := place.day(k)
	for i, y := range others {
		c.peers.add(home, byYield, at, standing{owner: uint32(i), k: k, value: y})
		c.peers.add(home, byBase, at, standing{owner: uint32(i), k: k, value: y})
	}
	s := &State{Base: base, FirstBase: base, PeerEnvelope: 8_000, Day: at}
	s.Site = solar("x")
	s.Site.PDC = 1000
	m := &member{device: &tally.Device{Cell: home}, owner: 99, zone: home.Parent(3), place: &place, state: s}
	c.compare(m, &segment{day: at, k: k, pv: made, flows: []Flow{{K: k, PV: made, Accepted: made}}})
	return s
}

// TestUnevenDay: on a day that treated the neighbours unevenly (a front at noon: some look east, and some
// west), the upper one of them says what the sky allowed. It counts for no more than half as much again as the
// median, and a little: a fifth of the neighbours cannot excuse everything.
func TestUnevenDay(t *testing.T) {
	limits := DefaultThresholds()
	day := func(made uint64, limits Thresholds, others ...uint64) *State {
		return compared(limits, 10_000, made, others...)
	}
	mixed := []uint64{2_000, 2_100, 2_200, 2_300, 3_900, 4_000, 4_100, 4_200, 2_400, 2_350} // four of ten look west
	if s := day(4_000, limits, mixed...); s.Over || s.Cut > 0 {
		t.Errorf("a roof that looks west is cut by %d, over: %v", s.Cut, s.Over)
	}
	median := limits
	median.Upper = 5_000
	if s := day(4_000, median, mixed...); !s.Over || s.Cut == 0 {
		t.Error("held to the median it is not cut: the test shows nothing")
	}
	even := []uint64{3_900, 4_000, 4_100, 4_000, 4_000, 3_950, 4_050, 4_000, 4_000, 4_000}
	if s := day(6_000, limits, even...); !s.Over {
		t.Error("half as much again on an even day is no alarm")
	}
	ring := []uint64{4_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000, 15_000, 15_000, 15_000} // three of ten excuse each other
	if s := day(12_000, limits, ring...); !s.Over || s.Cut == 0 {
		t.Error("a ring of three of ten neighbours excuses three times the day")
	}
	snow := []uint64{0, 10, 20, 10, 0, 10, 4_000, 4_000, 3_900, 4_100} // on most roofs
	if s := day(4_000, limits, snow...); s.Over || s.Cut > 0 {
		t.Error("a roof without snow is held to those under snow")
	}
	if limits.Dark = 0; !day(4_000, limits, snow...).Over {
		t.Error("without Dark it is not held to them either: the test shows nothing")
	}
}

// TestSlackOfWeakRoofs: what a day may stray is a share of what a clear day could give the roof, and not so
// many Wh per kW: else a roof that gives four tenths of its neighbours' could add a quarter to each day for
// ever.
func TestSlackOfWeakRoofs(t *testing.T) {
	limits := DefaultThresholds()
	weeks := func(base uint16, clear uint64) int {
		s := &State{Base: base}
		s.Site.PDC = 1000
		s.Clear = clip(clear)
		likely := 5_000 * uint64(base) / 10_000
		for day := range 60 {
			s.runAhead(likely, likely*5/4, &limits)
			if s.alarm(&limits) {
				return day + 1
			}
			s.Ahead = s.AheadNow
		}
		return 60
	}
	whole, weak := weeks(10_000, 11_000), weeks(4_000, 11_000*4_000/10_000)
	if whole != weak || weak > 7 {
		t.Errorf("×1.25 is noticed on day %d, on a weak roof on day %d", whole, weak)
	}
	if fixed := weeks(4_000, 11_000); fixed < 2*weak {
		t.Errorf("with the slack of a whole roof on day %d: the test shows nothing", fixed)
	}
}

// TestSlackOfDays: the same in one comparison: of a roof that gives four tenths, a day of 140 % is an alarm as
// on a whole one, and what a clear day could give it is four tenths.
func TestSlackOfDays(t *testing.T) {
	limits := DefaultThresholds()
	others := []uint64{4_000, 4_000, 4_000, 4_000, 4_000, 4_000}
	whole, weak := compared(limits, 10_000, 5_600, others...), compared(limits, 4_000, 2_240, others...)
	if !whole.Over || !weak.Over {
		t.Errorf("over: %v, on a weak roof %v", whole.Over, weak.Over)
	}
	if d := int(whole.Clear)*4/10 - int(weak.Clear); d < -1 || d > 1 || whole.Clear < 8_000 {
		t.Errorf("a clear day gives %d, a weak roof %d", whole.Clear, weak.Clear)
	}
	if honest := compared(limits, 4_000, 2_000, others...); honest.Over {
		t.Error("a day of 125 % is over")
	}
}

// TestShine: the sum of the bound over a day is that of the formulas, longer in summer.
func TestShine(t *testing.T) {
	place := PlaceOf(home, 0)
	day := place.day(uint64(noon) / 900)
	summer, winter := place.shine(day), place.shine(day+182)
	sum := 0.0
	for k := int64(day)*96 - 48; k < int64(day)*96+144; k++ {
		if place.Day(k*900) == int64(day) {
			_, b := place.Bound(k * 900)
			sum += float64(b) / (1 << 30) / 4
		}
	}
	if d := float64(summer) - sum; d > 1 || d < -1 || winter*3/2 > summer {
		t.Errorf("%d and %d Wh/m², want %v in summer", summer, winter, sum)
	}
}
