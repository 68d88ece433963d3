package energy

import (
	"testing"

	"pgregory.net/rapid"
)

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
