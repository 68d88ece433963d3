package econ

import (
	"errors"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/google/go-cmp/cmp"
)

func TestReduce(t *testing.T) {
	p := Six()
	for _, c := range []struct {
		prices []uint64
		want   uint64
		reason types.Reason
	}{
		{[]uint64{100_00, 100_00}, 0, types.PricePaused},
		{[]uint64{102_00, 100_00, 101_00}, 101_00, ""},
		{[]uint64{1, 100_00, 101_00, 1 << 63}, 100_00, ""},
		{[]uint64{98_50, 100_00, 101_50}, 100_00, ""},                // 150 bp off is kept
		{[]uint64{50_00, 60_00, 100_00, 100_10, 100_20}, 100_10, ""}, // the median of what is left
	} {
		got, err := Reduce(&p, c.prices)
		if types.ReasonOf(err) != c.reason || c.reason == "" && got != c.want {
			t.Errorf("%v gives %d, %v; want %d, %q", c.prices, got, err, c.want, c.reason)
		}
	}
}

func TestMedians(t *testing.T) {
	reports := []Report{{100, 7, 1}, {300, 9, 1}, {200, 8, 5}}
	for _, c := range []struct{ total, spot, twap uint64 }{
		{7, 200, 8},
		{10, 200, 8}, // 7 of 10 is more than two thirds
		{11, 0, 0},
	} {
		if spot, twap, err := medians(reports, c.total); err != nil || spot != c.spot || twap != c.twap {
			t.Errorf("of %d: %d and %d, %v; want %d and %d", c.total, spot, twap, err, c.spot, c.twap)
		}
	}
	if spot, _, _ := medians([]Report{{1, 1, 2}, {9, 1, 2}}, 4); spot != 1 {
		t.Errorf("the lower of two halves is %d", spot)
	}
	if spot, _, _ := medians([]Report{{1, 1, 2}, {2, 1, 4}}, 6); spot != 2 {
		t.Errorf("two of six outweigh four: %d", spot)
	}
	if spot, _, _ := medians([]Report{{1, 1, 2}}, 3); spot != 0 {
		t.Errorf("exactly two thirds report %d", spot)
	}
	if spot, _, err := medians(nil, 0); spot != 0 || err != nil {
		t.Errorf("nobody reports %d, %v", spot, err)
	}
	if _, _, err := medians([]Report{{1, 1, 1 << 63}, {1, 1, 1 << 63}}, 1); !errors.Is(err, types.EconRange) {
		t.Errorf("power beyond its range: %v", err)
	}
}

// next plays one round in which all verifiers agree.
func next(t *testing.T, f Feed, e types.Epoch, n, spot, twap uint64) Feed {
	t.Helper()
	p := Six()
	f, err := f.Next(&p, e, n, []Report{{spot, twap, 1}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFeed(t *testing.T) {
	var f Feed
	if b := f.Band(0); !b.Paused {
		t.Errorf("a feed without a round sells at %+v", b)
	}
	f = next(t, f, 1, 1, 1_200, 1_200)
	if diff := cmp.Diff(Band{Lo: 1_200, Hi: 1_200}, f.Band(1)); diff != "" {
		t.Error(diff)
	}
	// Spot moves by 119: deviation and mean follow by ⌊119/12⌋ = 9, and the band spans spot and the mean's two
	// deviations.
	f = next(t, f, 1, 2, 1_319, 1_250)
	if f.Ema != 1_209 || f.Dev != 9 {
		t.Errorf("mean %d, deviation %d; want 1,209 and 9", f.Ema, f.Dev)
	}
	if diff := cmp.Diff(Band{Lo: 1_191, Hi: 1_319}, f.Band(2)); diff != "" {
		t.Error(diff)
	}
	f = next(t, f, 1, 3, 1_100, 1_150) // |1,100 − 1,209| = 109: deviation 9 + ⌊100/12⌋ = 17, mean 1,209 − ⌊109/12⌋ = 1,200
	if f.Ema != 1_200 || f.Dev != 17 {
		t.Errorf("mean %d, deviation %d; want 1,200 and 17", f.Ema, f.Dev)
	}
	if diff := cmp.Diff(Band{Lo: 1_100, Hi: 1_234}, f.Band(4)); diff != "" {
		t.Error(diff)
	}
	if !f.Band(5).Paused {
		t.Error("sells two rounds after the last valid one")
	}
	// More than 10 % between spot and mean pauses, and leaves the moving values alone.
	g := next(t, f, 1, 4, 1_101, 1_000)
	if !g.Band(4).Paused || g.Ema != f.Ema || g.Dev != f.Dev || len(g.High) != len(f.High) {
		t.Errorf("a deviating round: %+v", g)
	}
	if g = next(t, f, 1, 4, 1_100, 1_000); g.Band(4).Paused {
		t.Error("10 % pauses already")
	}
	for name, g := range map[string]Feed{
		"an old round": next(t, f, 1, 3, 1, 1), "no spot": next(t, f, 1, 9, 0, 1), "no mean": next(t, f, 1, 9, 1, 0),
	} {
		if diff := cmp.Diff(f, g); diff != "" {
			t.Errorf("%s changes the feed: %s", name, diff)
		}
	}
}

// TestEpochPrice: an epoch's price is the lower median of its high prices, needs six, and is known one epoch longer.
func TestEpochPrice(t *testing.T) {
	var f Feed
	for n := range uint64(5) {
		f = next(t, f, 7, n+1, 1_000, 1_000)
	}
	if p := f.Price(7); p != 0 {
		t.Errorf("five rounds price the epoch at %d", p)
	}
	f = next(t, f, 7, 6, 1_000, 1_090)
	if p := f.Price(7); p != 1_000 {
		t.Errorf("six rounds price the epoch at %d", p)
	}
	for n := range uint64(10) {
		f = next(t, f, 7, n+7, 1_000, 1_090)
	}
	if len(f.High) != RoundsPerEpoch || f.Price(7) != 1_090 {
		t.Errorf("%d rounds, price %d", len(f.High), f.Price(7))
	}
	f = next(t, f, 8, 17, 2_000, 2_000)
	if f.Price(7) != 1_090 || f.Price(8) != 0 || f.Price(6) != 0 {
		t.Errorf("after the epoch: %d, %d, %d", f.Price(7), f.Price(8), f.Price(6))
	}
	if f = next(t, f, 9, 18, 2_000, 2_000); f.Price(7) != 0 {
		t.Errorf("two epochs later: %d", f.Price(7))
	}
}

// TestFeedExtremes: prices at the ends of their range neither panic nor turn around.
func TestFeedExtremes(t *testing.T) {
	f := next(t, Feed{}, 1, 1, 1<<64-1, 1<<64-1)
	for n := range uint64(40) {
		f = next(t, f, 1, n+2, 1+(n%2)*(1<<64-2), 1+(n%2)*(1<<64-2))
		if b := f.Band(n + 2); b.Lo > b.Hi || b.Hi < f.Spot {
			t.Fatalf("round %d: %+v", n+2, b)
		}
	}
}
