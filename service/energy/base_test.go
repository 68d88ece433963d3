package energy

import (
	"testing"

	"github.com/cairn-network/cairn/core/tally"
	"pgregory.net/rapid"
)

// TestBaseFollows: a base follows what the days show, slowly; an outage teaches nothing; and no patience brings it above its bound.
func TestBaseFollows(t *testing.T) {
	limits := DefaultThresholds()
	s := new(State)
	for range limits.Ratios - 1 {
		s.learn(9_000, &limits)
	}
	if s.Base != 0 {
		t.Fatalf("a base of %d after %d days", s.Base, len(s.Ratios))
	}
	s.learn(9_000, &limits)
	if s.Base != 9_000 || s.FirstBase != 9_000 {
		t.Fatalf("base %d, first %d", s.Base, s.FirstBase)
	}
	for range 100 { // winter: the neighbours' roofs look south
		s.learn(6_500, &limits)
	}
	if s.Base != 6_500 {
		t.Errorf("base %d after a winter at 6,500", s.Base)
	}
	for range 100 {
		s.learn(500, &limits)
	}
	if s.Base != 6_500 {
		t.Errorf("base %d after an outage", s.Base)
	}
	for range 10_000 { // a cheat, a little more each day
		s.learn(uint16(min(uint64(s.Base)*11/10, 1<<16-1)), &limits)
	}
	if s.Base != 13_500 {
		t.Errorf("base %d, that of patient cheats ends at 13,500", s.Base)
	}
	limits.BaseMost = 1 << 20
	for range 10_000 {
		s.learn(uint16(min(uint64(s.Base)*11/10, 1<<16-1)), &limits)
	}
	if s.Base < 50_000 {
		t.Errorf("base %d without its bound: the test shows nothing", s.Base)
	}
}

// TestBaseSteps: whatever days show, the base moves by BaseStep a day at most, and stays above 0.
func TestBaseSteps(t *testing.T) {
	limits := DefaultThresholds()
	rapid.Check(t, func(t *rapid.T) {
		s := new(State)
		for _, ratio := range rapid.SliceOfN(rapid.Uint16(), 1, 120).Draw(t, "ratios") {
			before := int(s.Base)
			s.learn(ratio, &limits)
			if len(s.Ratios) > limits.Ratios {
				t.Fatalf("%d ratios are kept", len(s.Ratios))
			}
			if step := int(s.Base) - before; before > 0 && (s.Base == 0 || max(step, -step) > max(before/200, 1)) {
				t.Fatalf("from %d to %d on a day of %d", before, s.Base, ratio)
			}
		}
	})
}

// TestRunAhead: what a device runs ahead of its neighbours adds up, falls when it stays behind, and never below 0.
func TestRunAhead(t *testing.T) {
	limits := DefaultThresholds()
	s := new(State)
	s.Site.PDC = 2_000
	for i, day := range []struct{ wh, ahead uint64 }{{9_200, 0}, {9_600, 200}, {10_000, 600}, {9_000, 500}, {20_000, 5_900}, {0, 1_300}, {0, 0}} {
		s.runAhead(2_000, 9_000, &limits) // what it was at noon does not matter
		s.runAhead(4_000, day.wh, &limits)
		if uint64(s.AheadNow) != day.ahead {
			t.Errorf("day %d: ahead by %d, want %d", i, s.AheadNow, day.ahead)
		}
		if s.alarm(&limits) != (day.ahead > 1_500) {
			t.Errorf("day %d: alarm %v", i, s.alarm(&limits))
		}
		s.Ahead = s.AheadNow
	}
}

// TestAltitude: no place is higher for the bound than the thresholds believe.
func TestAltitude(t *testing.T) {
	bright := func(altitude uint8, rules Verifier) uint64 {
		j := &judge{in: &tally.Input{Device: &tally.Device{Cell: home}}, rules: rules, state: &State{Site: Site{Altitude: altitude}}}
		return uint64(j.brightest(noon / 900))
	}
	everest := New()
	everest.limits.Altitude = MaxAltitude
	if low, high := bright(30, New()), bright(90, New()); low != high || high <= bright(29, New()) {
		t.Errorf("at 3,000 m %d, at 9,000 m %d", low, high)
	}
	if honest, liar := bright(4, everest), bright(90, everest); liar < honest*3/2 {
		t.Errorf("at 400 m %d, at 9,000 m %d: the ceiling is not needed", honest, liar)
	}
}

// TestHourlyReadings: a meter that is read once an hour makes an envelope too, and loses nothing to it.
func TestHourlyReadings(t *testing.T) {
	limits := DefaultThresholds()
	limits.Commissioning = 4
	w := newWorld(t)
	w.rules = With(limits)
	d := w.device("hourly", solar("hourly"))
	for range 8 * 24 {
		var sum flows
		k := w.done()
		for i := range uint64(4) {
			f := d.sunny(k+i, 0)
			sum.pv, sum.exp = sum.pv+f.pv, sum.exp+f.exp
		}
		d.hand(d.read(k+3, sum))
		w.step()
	}
	s := d.state()
	if s.Commissioned < 4 || s.Peak < 2_500 || s.Peak > 3_500 {
		t.Errorf("%d days of commissioning, peak %d, want about 3,000", s.Commissioned, s.Peak)
	}
	if s.Sums.AboveSky != 0 || s.Sums.Sealed == 0 {
		t.Errorf("%+v", s.Sums)
	}
}
