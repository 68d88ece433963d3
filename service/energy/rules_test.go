package energy

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

// TestLocalRules: on one machine an epoch is an hour, and the first begins at ten in the morning.
func TestLocalRules(t *testing.T) {
	const began = 1_800_000_123
	raw := LocalRules(LocalCell, began, 8000)
	if err := New().CheckRules(raw); err != nil {
		t.Fatal(err)
	}
	clock := clockOf(raw)
	place := PlaceOf(LocalCell, 0)
	at := clock.At(began)
	if place.at == (types.Vector{}) || (int64(at)+place.ahead)%86400 != 10*3600 {
		t.Errorf("it begins at %d of the solar day", (int64(at)+place.ahead)%86400)
	}
	if got := clock.Done(began+80) - clock.Done(began); got != 10*3600/lot.Interval {
		t.Errorf("ten epochs are %d intervals", got)
	}
	for _, epoch := range []uint64{0, 1, 3_600_000, 1 << 63} {
		if err := New().CheckRules(LocalRules(LocalCell, 1<<63, epoch)); err != nil {
			t.Errorf("an epoch of %d ms: %v", epoch, err)
		}
	}
}

// TestClock: time stands still before it began, and stops at its end instead of starting over.
func TestClock(t *testing.T) {
	c := Clock{Chain: 100, Energy: 5000, Rate: 3}
	for chain, want := range map[uint64]uint64{0: 5000, 100: 5000, 101: 5003, 1<<64 - 1: 1<<64 - 1} {
		if got := c.At(chain); got != want {
			t.Errorf("at %d: %d, want %d", chain, got, want)
		}
	}
	if got := (Clock{}).At(77); got != 77 {
		t.Errorf("in production: %d", got)
	}
}

// TestBrokenRules: what cannot be read is replaced by the default, in part where a part can be read, and never
// stops a tally.
func TestBrokenRules(t *testing.T) {
	r := DefaultRules()
	r.Clock = Clock{Chain: 1, Energy: 2, Rate: 3}
	r.Zones[0].FeedIn = 301 // above every ceiling
	if err := New().CheckRules(r.Encode()); err == nil {
		t.Error("a feed-in tariff above the ceiling is taken")
	}
	got := rulesOf(r.Encode())
	want := DefaultRules()
	want.Clock = r.Clock
	if !bytes.Equal(got.Encode(), want.Encode()) || clockOf(r.Encode()) != r.Clock {
		t.Errorf("%+v", got)
	}
	for _, raw := range [][]byte{nil, {1}, {0x82, 0x83, 1}, bytes.Repeat([]byte{0x82}, maxRules+1)} {
		if got := rulesOf(raw); !bytes.Equal(got.Encode(), DefaultRules().Encode()) {
			t.Errorf("%x: %+v", raw[:min(len(raw), 8)], got)
		}
	}
	if z := DefaultRules().Zone(home.Parent(3)); z.Cell != 0 || z.Ceiling(1<<40) != 300 {
		t.Errorf("%+v", z)
	}
}

// TestClockMilli: milliseconds agree with seconds at each of them, and never go back.
func TestClockMilli(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Clock{
			Chain: rapid.Uint64Range(0, 1<<33).Draw(t, "chain"), Energy: rapid.Uint64Range(0, 1<<33).Draw(t, "energy"),
			Rate: rapid.Uint32Range(0, 1000).Draw(t, "rate"),
		}
		at := rapid.Uint64Range(0, 1<<34).Draw(t, "second")
		ms := rapid.Uint64Range(0, 1000).Draw(t, "ms")
		if got := c.AtMilli(1000 * at); got != 1000*c.At(at) {
			t.Fatalf("second %d: %d ms, want %d s", at, got, c.At(at))
		}
		got, next := c.AtMilli(1000*at+ms), 1000*c.At(at+1)
		if at >= c.Chain && got != 1000*c.At(at)+ms*uint64(max(c.Rate, 1)) || at < c.Chain && got != 1000*c.Energy && ms < 1000 || got > next {
			t.Fatalf("second %d and %d ms: %d ms, after %d", at, ms, got, 1000*c.At(at))
		}
	})
	if got := (Clock{Rate: 1 << 31}).AtMilli(1<<64 - 1); got != 1<<64-1 {
		t.Errorf("the end of time is %d", got)
	}
}
