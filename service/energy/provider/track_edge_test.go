package provider

import (
	"errors"
	"testing"

	"github.com/cairn-network/cairn/service/energy/provider/source"
)

// odd returns what kind of oddity an error is.
func odd(err error) string {
	var o *oddity
	if errors.As(err, &o) {
		return o.kind
	}
	return ""
}

// TestAllow: a quarter above what the rating makes in the time since the last reading, for a minute longer, and
// for as long as the register stood still before it.
func TestAllow(t *testing.T) {
	for name, c := range map[string]struct {
		s          series
		at, rating uint64
		want       uint64
	}{
		"an hour":                       {series{At: hour, Moved: hour}, 2 * hour, 3600, 61*60*5/4 + 1},
		"an hour after it stood still":  {series{At: hour, Moved: hour - 10*minute}, 2 * hour, 3600, 71*60*5/4 + 1},
		"… for longer than is believed": {series{At: 10 * hour, Moved: hour}, 11 * hour, 3600, 76*60*5/4 + 1},
		"at once":                       {series{At: hour, Moved: hour}, hour, 3600, 60*5/4 + 1},
		"a clock that went back":        {series{At: hour, Moved: hour}, minute, 3600, 60*5/4 + 1},
		"without a rating":              {series{At: hour, Moved: hour}, 2 * hour, 0, 1},
		"more than there can be":        {series{}, 1 << 63, 1 << 40, most},
		"more than fits":                {series{}, 1 << 40, 1 << 23, most},
	} {
		if got := c.s.allow(c.at, c.rating); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestFits reaches the lowest and the highest value that can follow.
func TestFits(t *testing.T) {
	for name, c := range map[string]struct {
		was, step uint64 // of the reading before, and of this one
		low, high uint64
	}{
		"in whole Wh":       {1, 1, 10_000 - dip, 10_000 + 4576},
		"in kWh":            {1000, 1000, 10_000 - 999, 10_000 + 4576 + 999},
		"in kWh from now":   {1, 1000, 10_000 - 999, 10_000 + 4576 + 999},
		"in kWh until now":  {1000, 1, 10_000 - 999, 10_000 + 4576 + 999},
		"in steps of 10 Wh": {10, 10, 10_000 - dip, 10_000 + 4576 + 9},
	} {
		s := series{Known: true, Wh: 10_000, Step: c.was, At: hour, Moved: hour}
		fits := func(wh uint64) bool { return s.fits(&reading{wh: wh, step: c.step}, 2*hour, 3600) }
		if !fits(c.low) || fits(c.low-1) || !fits(c.high) || fits(c.high+1) {
			t.Errorf("%s: %v %v at the lower end, %v %v at the upper", name, fits(c.low-1), fits(c.low), fits(c.high), fits(c.high+1))
		}
	}
}

// TestAdd: what a reading that fits changes.
func TestAdd(t *testing.T) {
	s := series{}
	add := func(wh, step, at uint64, loose bool) bool {
		return s.add(&reading{wh: wh, step: step, loose: loose}, at, 3600)
	}
	want := func(what string, wh, step, finest, base, moved uint64) {
		t.Helper()
		if s.Wh != wh || s.Step != step || s.Finest != finest || s.Base != base || s.Moved != moved {
			t.Errorf("%s: %+v", what, s)
		}
	}
	add(5000, 1000, hour, false)
	want("the first", 5000, 1000, 1000, 1000, hour)
	add(6000, 1000, 2*hour, false)
	want("the next", 6000, 1000, 1000, 1000, 2*hour)
	// The most that can have flowed since is 4576 Wh, and 999 that the one before was rounded down by; the rest
	// is what this one was rounded up by.
	add(6000+4576+999, 1000, 3*hour, false)
	want("as much as can be", 11_575, 1000, 1000, 1000, 3*hour)
	add(11_575+4576+1000, 1000, 4*hour, false)
	want("a Wh more", 11_575, 1000, 1000, 1000, 3*hour)
	if add(11_575, 1000, 4*hour, false) || add(11_000, 1000, 4*hour, false) {
		t.Error("nothing is begun anew")
	}
	want("a fall", 11_575, 1000, 1000, 1000, 3*hour)
	if add(11_575, 100, 4*hour, true) || s.Base != 1000 {
		t.Error("that it shows fewer zeros says nothing of a loose one")
	}
	want("the same, finer", 11_575, 100, 100, 1000, 3*hour)
	if !add(11_600, 1, 5*hour, false) {
		t.Error("what began coarse and is fine now begins anew")
	}
	want("finer", 11_600, 1, 1, 1, 5*hour)

	s = series{}
	add(5000, 10, hour, false)
	if add(5000, 10, hour, false) || add(5005, 1, 2*hour, false) {
		t.Error("what began in steps of 10 Wh does not begin anew")
	}
	want("from tens to ones", 5005, 1, 1, 10, 2*hour)
}

// TestWrapBounds: what a counter that shows less than before has gone over from.
func TestWrapBounds(t *testing.T) {
	other := int8(1)
	for name, c := range map[string]struct {
		was     counter
		raw     int64
		exp     int8
		bits    uint8
		allowed uint64
		want    int64 // what wraps have added
	}{
		"as much as is allowed":            {counter{Raw: 1<<16 - 10}, 10, 0, 16, 20, 1 << 16},
		"a Wh more":                        {counter{Raw: 1<<16 - 10}, 11, 0, 16, 20, 0},
		"again":                            {counter{Raw: 1<<16 - 10, High: 1 << 16, HighExp: new(int8)}, 10, 0, 16, 20, 2 << 16},
		"counted otherwise before":         {counter{Raw: 1<<16 - 10, High: 1 << 16, HighExp: &other}, 10, 0, 16, 20, 1 << 16},
		"nines":                            {counter{Raw: 99_999_990}, 10, 0, 0, 20, 100_000_000},
		"a one and zeros are no nines":     {counter{Raw: 10_000_000}, 10, 0, 0, 20, 0},
		"seven nines":                      {counter{Raw: 9_999_990}, 10, 0, 0, 20, 10_000_000},
		"six nines":                        {counter{Raw: 999_990}, 10, 0, 0, 20, 0},
		"six nines of ten":                 {counter{Raw: 999_999, Exp: 1}, 1, 1, 0, 20, 1_000_000},
		"62 bits":                          {counter{Raw: 1<<62 - 10}, 10, 0, 62, 20, 1 << 62},
		"62 bits again":                    {counter{Raw: 1<<62 - 10, High: 1 << 62, HighExp: new(int8)}, 10, 0, 62, 20, 1 << 62},
		"more bits than there can be":      {counter{Raw: 1<<62 - 10}, 10, 0, 63, 20, 0},
		"more bits than a number has here": {counter{Raw: 1<<62 - 10}, 10, 0, 64, 20, 0},
	} {
		now := counter{Raw: c.raw, Exp: c.exp, High: c.was.High, HighExp: c.was.HighExp}
		now.wrap(&source.Counter{Scale: Number{Mantissa: 1}, Bits: c.bits}, &c.was, c.allowed)
		if now.High != c.want {
			t.Errorf("%s: %d, want %d", name, now.High, c.want)
		}
	}
}

// TestReadRefuses: sums that no register shows, and signs that none has.
func TestReadRefuses(t *testing.T) {
	list := func(scale int64, raw ...int64) (out []source.Counter) {
		for i, v := range raw {
			out = append(out, source.Counter{Path: string(rune('a' + i)), Value: Number{Mantissa: v}, Scale: Number{Mantissa: scale}})
		}
		return out
	}
	var s series
	for _, good := range [][]source.Counter{list(1, most), list(1, most-5, 5), list(1, 0, 0)} {
		if _, err := s.read(good, hour, 1); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range [][]source.Counter{list(1, most+1), list(1, most, 1), list(1, -1), list(-1, -5), list(-1, 5)} {
		if r, err := s.read(bad, hour, 1); err == nil {
			t.Errorf("%+v is read as %d Wh", bad, r.wh)
		}
	}
	// A counter that counts in tens from now on shows a tenth: it has not gone over.
	var tr track
	tr.follow("m", counted(9_999_990, 0, 0), hour, 3600)
	if wh, _, err := tr.follow("m", counted(5, 1, 0), 2*hour, 3600); odd(err) != oddFell {
		t.Errorf("%d, %v", wh, err)
	}
}

// TestDoubt: what does not fit is said, and begins anew only if it goes on, without a break, for long enough
// and often enough.
func TestDoubt(t *testing.T) {
	var tr track
	at := uint64(hour)
	say := func(raw int64, after uint64) (uint64, bool, error) {
		at += after
		return tr.follow("m", counted(raw, 0, 32), at, 3600)
	}
	say(5_000_000, 0)
	if _, _, err := say(1000, minute); odd(err) != oddFell {
		t.Errorf("a fall: %v", err)
	}
	if _, _, err := say(9_000_000, minute); odd(err) != oddRose {
		t.Errorf("a rise: %v", err)
	}
	// Enough time, and one reading too few.
	for i := range 3 {
		if wh, anew, err := say(1000, 10*minute); err == nil || anew {
			t.Fatalf("reading %d is believed: %d", i, wh)
		}
	}
	// One that fits in between: they have to begin again.
	if _, anew, err := say(5_000_001, minute); err != nil || anew || tr.Next != nil {
		t.Fatalf("%v, %v, %+v", anew, err, tr.Next)
	}
	// Enough readings, and a moment too little time.
	for i, after := range []uint64{minute, 5 * minute, 5 * minute, 5*minute - 1} {
		if wh, anew, err := say(1000, after); err == nil || anew {
			t.Fatalf("reading %d is believed: %d", i, wh)
		}
	}
	if wh, anew, err := say(1000, 1); err != nil || !anew || wh != 1000 || tr.Begun != 1 {
		t.Fatalf("%d, %v, %v, %+v", wh, anew, err, tr)
	}
	// What neither goes on from this nor from what was before is doubted.
	if _, _, err := say(1_000_000, minute); odd(err) != oddRose {
		t.Errorf("%v", err)
	}
	if wh, anew, err := say(5_000_002, minute); err != nil || !anew || wh != 5_000_002 || tr.Begun != 2 {
		t.Errorf("it returned: %d, %v, %v", wh, anew, err)
	}
	if wh, anew, err := tr.follow("another", counted(7, 0, 32), at+minute, 3600); err != nil || !anew || wh != 7 || tr.Begun != 3 {
		t.Errorf("another meter: %d, %v, %v, begun %d times", wh, anew, err, tr.Begun)
	}
}

// TestCoarseOfValues: of a register whose zeros may have been left out it takes three values to say that it is
// coarse.
func TestCoarseOfValues(t *testing.T) {
	for values, want := range map[uint32]uint64{2: 0, 3: 1000} {
		tr := track{series: series{Known: true, Wh: 5000, Finest: 1000, Loose: true, Values: values}}
		if got := tr.coarse(); got != want {
			t.Errorf("after %d values: %d", values, got)
		}
	}
}

// TestMend: what an earlier version kept, which knew less, goes on.
func TestMend(t *testing.T) {
	tr := track{series: series{Known: true, Wh: 50, Counters: map[string]counter{"a": {Raw: 20, At: 7}, "b": {Raw: 30, At: 9}, "c": {At: 8}}}}
	tr.mend()
	if tr.At != 9 || tr.Moved != 9 || tr.Step != 1 || tr.Finest != 1 || tr.Base != 1 || tr.Values != 1 {
		t.Errorf("%+v", tr.series)
	}
	full := track{series: series{Known: true, Wh: 50, At: 20, Moved: 15, Step: 10, Finest: 5, Base: 100, Values: 4, Counters: map[string]counter{"a": {Raw: 50, At: 9}}}}
	before := full.series
	if full.mend(); full.At != before.At || full.Moved != before.Moved || full.Step != before.Step || full.Base != before.Base || full.Values != before.Values {
		t.Errorf("%+v", full.series)
	}
}
