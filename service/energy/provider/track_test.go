package provider

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/service/energy/provider/source"
)

func counted(raw int64, exp int8, bits uint8) []source.Counter {
	return []source.Counter{{Path: "c", Value: Number{Mantissa: raw, Exp: exp}, Scale: Number{Mantissa: 1}, Bits: bits}}
}

const hour = 3_600_000 // ms

// TestWrapOrReset: a fall is a wrap if, and only if, the step fits a quarter more than what can have flowed.
func TestWrapOrReset(t *testing.T) {
	for name, c := range map[string]struct {
		from, to int64
		exp      int8
		bits     uint8
		rating   uint64
		wraps    bool
	}{
		"fits":                  {1<<32 - 3000, 1999, 0, 32, 4000, true},
		"a quarter above":       {1<<32 - 3000, 2000, 0, 32, 4000, true},
		"too much":              {1<<32 - 3000, 2100, 0, 32, 4000, false},
		"zeroed at midlife":     {1 << 31, 0, 0, 32, 4000, false},
		"tenths fit":            {1<<32 - 30000, 20000, -1, 32, 4000, true},
		"tenths, too much":      {1<<32 - 30000, 21000, -1, 32, 4000, false},
		"does not go over":      {1<<32 - 3000, 1000, 0, 0, 4000, false},
		"a smaller counter":     {99_000 & (1<<16 - 1), 10, 0, 16, 100_000, true},
		"nothing flows so soon": {1<<32 - 3000, 1000, 0, 32, 1, false},
	} {
		var tr track
		if _, _, err := tr.follow("m", counted(c.from, c.exp, c.bits), hour, c.rating); err != nil {
			t.Fatal(err)
		}
		wh, began, err := tr.follow("m", counted(c.to, c.exp, c.bits), 2*hour, c.rating)
		if (err == nil) != c.wraps || began {
			t.Errorf("%s: %d, %v, %v", name, wh, began, err)
		}
	}
}

// TestFollow: whatever a counter of 32 bits in any scale counts, in whatever steps that its rating allows, is followed to the Wh.
func TestFollow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		exp := int8(rapid.IntRange(-3, 3).Draw(t, "exp"))
		total := rapid.Int64Range(1, 1<<33).Draw(t, "start")
		unit := func(v int64) (wh int64) { wh, _ = Number{Mantissa: v, Exp: exp}.Floor(0); return wh }
		var tr track
		first := total &^ (1<<32 - 1) // wraps before the first reading are nobody's
		at, rating := uint64(hour), uint64(1_000_000_000)
		for range rapid.IntRange(1, 30).Draw(t, "readings") {
			wh, began, err := tr.follow("m", counted(total&(1<<32-1), exp, 32), at, rating)
			if err != nil || began || int64(wh) != unit(total-first) {
				t.Fatalf("%d·10^%d: %d Wh, want %d (%v, %v)", total, exp, wh, unit(total-first), began, err)
			}
			step := rapid.Int64Range(0, 1<<20).Draw(t, "step")
			total += step
			at += hour * 1000
		}
	})
}

// TestConfirm: a register that fell is held until readings agree, and another meter is taken at its word.
func TestConfirm(t *testing.T) {
	var tr track
	read := func(meter string, v int64) (uint64, bool, error) {
		return tr.follow(meter, counted(v, 0, 0), hour, 4000)
	}
	read("m", 1000)
	for i := range confirm {
		if wh, _, err := read("m", int64(5+i)); err == nil {
			t.Fatalf("reading %d: %d", i+1, wh)
		}
	}
	if wh, began, err := read("m", 8); err != nil || !began || wh != 8 {
		t.Errorf("%d, %v, %v", wh, began, err)
	}
	read("m", 1000)
	for i := range 5 * confirm { // falling on and on agrees with nothing
		if wh, _, err := read("m", int64(900-i)); err == nil {
			t.Fatalf("falling: %d", wh)
		}
	}
	if wh, began, err := read("other", 3); err != nil || !began || wh != 3 {
		t.Errorf("another meter: %d, %v, %v", wh, began, err)
	}
	for _, v := range []int64{-1, 1 << 50} {
		if wh, _, err := read("third", v); err == nil {
			t.Errorf("%d is taken as %d", v, wh)
		}
	}
}
