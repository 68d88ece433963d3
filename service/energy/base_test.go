package energy

import (
	"testing"

	"github.com/cairn-network/cairn/core/tally"
	"pgregory.net/rapid"
)

// TestBaseFollows: a base follows what the days show, slowly; an outage teaches nothing; and no patience brings
// it above its bound.
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
	if s.Base != 22_500 {
		t.Errorf("base %d, that of patient cheats ends at 22,500", s.Base)
	}
	limits.BaseMost = 1 << 20
	for range 10_000 {
		s.learn(uint16(min(uint64(s.Base)*11/10, 1<<16-1)), &limits)
	}
	if s.Base < 50_000 {
		t.Errorf("base %d without its bound: the test shows nothing", s.Base)
	}
}

// TestBaseSteps: whatever days show, the base moves by BaseRise or BaseFall a day at most, and stays above 0.
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
			if step := int(s.Base) - before; before > 0 && (s.Base == 0 || step > max(before/100, 1) || -step > max(before/200, 1)) {
				t.Fatalf("from %d to %d on a day of %d", before, s.Base, ratio)
			}
		}
	})
}

// TestRunAhead: what a device runs ahead of its neighbours adds up, falls when it stays behind, and never below 0.
func TestRunAhead(t *testing.T) {
	limits := DefaultThresholds()
	limits.AheadShare, limits.AheadClear = 11_500, 1_500
	s := new(State)
	s.Site.PDC, s.Clear = 2_000, 10_000
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
	bright := func(altitude uint8, rules verifier) uint64 {
		j := &judge{in: &tally.Input{Device: &tally.Device{Cell: home}}, rules: rules, state: &State{Site: Site{Altitude: altitude}}}
		return uint64(j.brightest(noon / 900))
	}
	plain := verifier{limits: DefaultThresholds()}
	everest := plain
	everest.limits.Altitude = MaxAltitude
	if low, high := bright(30, plain), bright(90, plain); low != high || high <= bright(29, plain) {
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
	w.rules = verifier{limits: limits}
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

// TestBaseOfDeadPanels: days on which panels were dead teach no base, be they most of the first ones; without
// Alive, the base would be 1 bp, and each day to come an alarm.
func TestBaseOfDeadPanels(t *testing.T) {
	base := func(alive uint64) uint16 {
		v := newVillage(t, 0, solar("dead"))
		v.rules.limits.Alive = alive
		v.rules.limits.AliveYield = min(alive, v.rules.limits.AliveYield)
		v.days(20, func(k uint64) flows { f := v.sun(v.cheat, k); return flows{pv: f.pv / 50, exp: f.exp / 50} })
		if s := v.cheat.state(); alive > 0 && (s.Base != 0 || s.Commissioned != 0) {
			t.Errorf("dead panels have a base of %d and %d days of commissioning", s.Base, s.Commissioned)
		}
		v.days(8, func(k uint64) flows { return v.sun(v.cheat, k) })
		s := v.cheat.state()
		if flagged := s.Alarms != 0 || s.FrozeFor > 0; flagged != (alive == 0) {
			t.Errorf("alive above %d bp: alarms %b, frozen for %d days, base %d", alive, s.Alarms, s.FrozeFor, s.Base)
		}
		return s.Base
	}
	if got := base(DefaultThresholds().Alive); got < 9_000 || got > 11_000 {
		t.Errorf("a base of %d, want about 10,000", got)
	}
	if got := base(0); got > 5_000 {
		t.Errorf("a base of %d without the rule: the test shows nothing", got)
	}
}

// TestBaseOfUnevenDays: a roof that is held back on two days of three (its feed-in is limited, or trees stand
// before it) is held to what it gives on the third. A median would call each of these a day of 167 % of the
// usual.
func TestBaseOfUnevenDays(t *testing.T) {
	limits := DefaultThresholds()
	s := new(State)
	for i := range 60 {
		s.learn([]uint16{6_000, 6_000, 10_000}[i%3], &limits)
	}
	if s.Base != 10_000 {
		t.Errorf("a base of %d", s.Base)
	}
}

// TestRepaired: half of the panels were dead while a base was learnt. Days with an alarm teach what the
// neighbours make, and no more: without that, the device would be frozen for ever.
func TestRepaired(t *testing.T) {
	limits := DefaultThresholds()
	days := func(again uint64, ratio uint16) (n int, s *State) {
		limits.AnewBase = again
		s = &State{Base: 5_000, FirstBase: 5_000}
		for ; n < 400 && uint64(s.Base) < 9_900; n++ {
			s.learn(limits.lesson(ratio, true), &limits)
		}
		return n, s
	}
	for _, ratio := range []uint16{10_000, 12_000} {
		if n, s := days(10_000, ratio); n > 100 || s.Base > 10_000 {
			t.Errorf("after %d days at %d the base is %d", n, ratio, s.Base)
		}
		if n, s := days(0, ratio); n < 400 {
			t.Errorf("without the rule the base is %d after %d days: the test shows nothing", s.Base, n)
		}
	}
	if got := limits.lesson(12_000, false); got != 12_000 {
		t.Errorf("a day without an alarm teaches %d", got)
	}
}

// TestEnvelopeOfWinter: who was commissioned when little could be seen (in winter, or with a dead string) may
// still reach what half of the neighbours may; but does not lift theirs.
func TestEnvelopeOfWinter(t *testing.T) {
	limits := DefaultThresholds()
	s := &State{Commissioned: uint8(limits.Commissioning), Peak: 3_000, PeerEnvelope: 7_000}
	if got := s.Envelope(&limits); got != 7_000 {
		t.Errorf("envelope %d, the neighbours' is 7,000", got)
	}
	if got := s.shown(&limits); got != 3_300 {
		t.Errorf("%d were shown", got)
	}
	s.Peak = 9_900
	if got := s.Envelope(&limits); got != 10_000 {
		t.Errorf("envelope %d, at most 10,000", got)
	}
	if s.PeerEnvelope = 5_000; s.Envelope(&limits) != 7_500 {
		t.Errorf("envelope %d, at most half as much again as the neighbours'", s.Envelope(&limits))
	}
}

// TestThaw: what goes on while a device is frozen is no new alarm: a few days that somebody filled with
// nonsense cost a week, not a month.
func TestThaw(t *testing.T) {
	v := newVillage(t, 0, solar("gaps"))
	v.settle()
	v.days(5, func(uint64) flows { return flows{pv: 500, exp: 500} }) // a straight line, day and night
	v.days(1, func(k uint64) flows { return v.sun(v.cheat, k) })
	s := v.cheat.state()
	if s.FrozeFor != 7 {
		t.Errorf("frozen for %d days", s.FrozeFor)
	}
	for v.cheat.state().Frozen > v.cheat.state().Day {
		v.days(1, func(k uint64) flows { return v.sun(v.cheat, k) })
	}
	if s := v.cheat.state(); s.FrozeFor != 7 || s.Alarms != 0 {
		t.Errorf("frozen for %d days, alarms %b", s.FrozeFor, s.Alarms)
	}
	// The same device frozen: the day that runs is above all bounds, and no alarm; the day after the freeze it
	// is one.
	limits := DefaultThresholds()
	day := &State{Day: 99, Frozen: 100, Over: true}
	if day.alarm(&limits) {
		t.Error("an alarm while frozen")
	}
	if day.Day++; !day.alarm(&limits) {
		t.Error("no alarm after the freeze")
	}
}

// TestBaseOfSeasons: on a street of roofs that look east and west, a steep one that looks south makes more than
// twice the median in winter at 52 degrees. Its base follows; held to half as much again as in summer, it would
// be an alarm each clear day.
func TestBaseOfSeasons(t *testing.T) {
	winter := func(most uint64) uint16 {
		limits := DefaultThresholds()
		limits.BaseMost = most
		s := &State{Base: 10_400, FirstBase: 10_400}
		for day := range 120 {
			s.learn(uint16(10_400+day*100), &limits)
		}
		return s.Base
	}
	if got := winter(DefaultThresholds().BaseMost); got < 20_000 {
		t.Errorf("a base of %d of days of 22,000", got)
	}
	if got := winter(15_000); got != 15_600 {
		t.Errorf("a base of %d: the test shows nothing", got)
	}
}
