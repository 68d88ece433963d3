package energy

import (
	"testing"

	"github.com/cairn-network/cairn/core/tally"
)

// TestUnevenDay: on a day that treated the neighbours unevenly (a front at noon: some look east, and some west), the upper one of them says what
// the sky allowed. It counts for no more than half as much again as the median, and a little: a fifth of the neighbours cannot excuse everything.
func TestUnevenDay(t *testing.T) {
	limits := DefaultThresholds()
	day := func(cheat uint64, cut Thresholds, others ...uint64) *State {
		c := &crossing{rules: With(cut), market: DefaultRules(), shine: map[shineAt]uint64{}, peers: newPeers(&cut, nil)}
		c.rules.limits = cut
		place := PlaceOf(home, 0)
		k := uint64(noon) / 900
		at := place.day(k)
		for i, y := range others {
			c.peers.add(home, byYield, at, standing{owner: uint32(i), k: k, value: y})
			c.peers.add(home, byBase, at, standing{owner: uint32(i), k: k, value: y})
		}
		s := &State{Base: 10_000, FirstBase: 10_000, PeerEnvelope: 8_000, Day: at}
		s.Site = solar("x")
		s.Site.PDC = 1000
		m := &member{device: &tally.Device{Cell: home}, owner: 99, zone: home.Parent(3), place: &place, state: s}
		c.compare(m, &segment{day: at, k: k, pv: cheat, flows: []Flow{{K: k, PV: cheat, Accepted: cheat}}})
		return s
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

// TestSlackOfWeakRoofs: what a day may stray is a share of what a clear day could give the roof, and not so many Wh per kW: else a roof that
// gives four tenths of its neighbours' could add a quarter to each day for ever.
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
