package provider

import (
	"encoding/json"
	"slices"
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

// TestFollow: whatever a counter of 32 bits in any scale counts, in whatever steps that its rating allows, is
// followed to the Wh.
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

const minute = 60_000 // ms

// shown is what a register shows: a value and its power of ten.
type shown struct {
	raw int64
	exp int8
}

func repeat(n int, s ...shown) (list []shown) {
	for range n {
		list = append(list, s...)
	}
	return list
}

func joined(lists ...[]shown) []shown { return slices.Concat(lists...) }

// count follows a register that is read every minute, and returns what was counted: the steps that mean
// something. With restarts the track is written and read again between any two readings.
func count(t *testing.T, list []shown, rating uint64, bits uint8, restarts bool) (wh uint64, absent int) {
	t.Helper()
	tr, last, known := new(track), uint64(0), false
	for i, s := range list {
		v, anew, err := tr.follow("m", counted(s.raw, s.exp, bits), hour+uint64(i)*minute, rating)
		if restarts {
			raw, err := json.Marshal(tr)
			if err != nil {
				t.Fatal(err)
			}
			tr = new(track)
			if err := json.Unmarshal(raw, tr); err != nil {
				t.Fatal(err)
			}
			tr.mend()
		}
		if err != nil {
			absent++
			continue
		}
		if known && !anew {
			if v < last {
				t.Fatalf("reading %d: %d after %d", i, v, last)
			}
			wh += v - last
		}
		last, known = v, true
	}
	return wh, absent
}

// TestSequences are what registers did in the field, and what it comes to. It is the same with a restart after
// every reading.
func TestSequences(t *testing.T) {
	const many = 12 * 60
	at := func(v ...int64) (list []shown) {
		for _, v := range v {
			list = append(list, shown{v, 0})
		}
		return list
	}
	rising := func(n int, from, step int64) (list []shown) {
		for i := range n {
			list = append(list, shown{from + int64(i)*step, 0})
		}
		return list
	}
	for name, c := range map[string]struct {
		list   []shown
		bits   uint8
		want   uint64
		rating uint64
	}{
		"the PIN of an SML meter is lost and given again":                          {list: joined([]shown{{20431059, -1}}, repeat(5, shown{2043, 3}), []shown{{20431069, -1}}), want: 1},
		"the PIN of an SML meter is lost and given again: and for hours":           {list: joined([]shown{{20431059, -1}}, repeat(many, shown{2043, 3}), []shown{{20431069, -1}}), want: 1},
		"the PIN of an SML meter is lost and given again: again and again":         {list: repeat(9, shown{20431059, -1}, shown{2043, 3}, shown{2043, 3}), want: 0},
		"the PIN of an SML meter is lost and given again: and counts on meanwhile": {list: joined([]shown{{20439000, -1}}, repeat(20, shown{2043, 3}), repeat(20, shown{2044, 3}), []shown{{20444000, -1}}), want: 500},
		"the PIN of an SML meter is lost and given again: rounded up":              {list: joined([]shown{{20436000, -1}}, repeat(20, shown{2044, 3}), []shown{{20436010, -1}}, repeat(9, shown{20440000, -1})), want: 400},
		"the PIN is given for the first":                                           {list: joined(repeat(5, shown{2043, 3}), []shown{{20439059, -1}, {20439069, -1}}), want: 1},
		"a scale factor of 3 for a while":                                          {list: joined([]shown{{14676442, 0}}, repeat(4, shown{14676, 3}), []shown{{14676452, 0}}), bits: 32, want: 10},
		"a scale factor out of its mind":                                           {list: []shown{{14676442, 0}, {14676442, 9}, {15, 6}, {14676442, 5}, {14676442, -3}, {14676452, 0}}, bits: 32, want: 10},
		"zero all night":                                                           {list: joined(at(14676442), repeat(5, shown{}), at(14676442)), want: 0},
		"zero all night: for twelve hours":                                         {list: joined(at(14676442), repeat(many, shown{}), at(14676442, 14676443)), want: 1},
		"zero all night: again and again":                                          {list: repeat(5, shown{14676442, 0}, shown{}, shown{}), want: 0},
		"zero at first":                                                            {list: joined(repeat(5, shown{}), repeat(20, shown{14676442, 0}), at(14676443)), want: 1},
		"truly zero at first":                                                      {list: at(0, 0, 0, 3, 5), want: 5},
		"a drop by 1.2 MWh and back":                                               {list: joined(at(2975520), rising(5, 1775520, 1), at(2975530)), want: 10},
		"a drop by 1.2 MWh and back: for twelve hours":                             {list: joined(at(2975520), rising(many, 1775520, 1), at(2975530)), want: many - 16},
		"a drop by 1.2 MWh and back: again and again":                              {list: repeat(20, shown{2975520, 0}, shown{1775520, 0}, shown{1775521, 0}), want: 0},
		"a spike":                                      {list: at(2975520, 999999999, 2975521), want: 1},
		"a spike that stays":                           {list: joined(at(2975520), rising(60, 9975520, 2)), want: (60 - 16) * 2},
		"a spike that stays: and goes":                 {list: joined(at(2975520), rising(60, 9975520, 2), at(2975560)), want: (60-17)*2 + 2},
		"a spike within a tenth":                       {list: at(2975520, 3175520, 2975521), want: 1},
		"garbage":                                      {list: at(2975520, 17, 1<<40, -1, 4294967295, 2975521, 65535, 2975522), want: 2},
		"a small fall":                                 {list: at(2975520, 2975517, 2975519, 2975521), want: 1},
		"a small fall at dusk":                         {list: joined(at(2975520), repeat(many, shown{2975500, 0}), at(2975530)), want: 10},
		"a meter of the same name, used":               {list: joined(at(2975520), rising(60, 500000, 10)), want: (60 - 16) * 10},
		"a meter of the same name, new":                {list: joined(at(2975520), rising(60, 0, 10)), want: (60 - 17) * 10},
		"over at a million kWh":                        {list: at(999_999_990, 999_999_998, 8, 18), want: 28},
		"over at a million kWh: which is read as zero": {list: at(999_999_990, 999_999_998, 0, 8), want: 18},
		"over at ten thousand kWh, in kWh":             {list: []shown{{9998, 3}, {9999, 3}, {0, 3}, {1, 3}}, want: 3000},
		"not over: a new meter at 90 kWh":              {list: joined(at(90_000), at(5, 6)), want: 0},
		"refreshed every five minutes":                 {list: repeat(1, joined(repeat(5, shown{1000, 0}), repeat(5, shown{1333, 0}), repeat(5, shown{1666, 0}))...), rating: 4000, want: 666},
		"at its rating and a quarter":                  {list: rising(60, 1_000_000, 83), rating: 4000, want: 59 * 83},
		"stands still for hours, then goes":            {list: joined(repeat(many, shown{1_000_000, 0}), rising(60, 1_000_000, 66)), rating: 4000, want: 59 * 66},
		"a jump that the night would allow":            {list: joined(repeat(many, shown{1_000_000, 0}), at(1_030_000, 1_000_001)), rating: 4000, want: 1},
	} {
		if c.rating == 0 {
			c.rating = 40_000
		}
		for _, restarts := range []bool{false, true} {
			if got, absent := count(t, c.list, c.rating, c.bits, restarts); got != c.want {
				t.Errorf("%s (restarts: %v): %d Wh counted, want %d; %d of %d readings absent", name, restarts, got, c.want, absent, len(c.list))
			}
		}
	}
}

// TestFallsAnyhow: whatever falls, spikes, zeros and powers of ten are put between the readings of a register,
// no more is counted than flowed.
func TestFallsAnyhow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const rating = 4000
		total := rapid.Int64Range(2_000_000, 1<<40).Draw(t, "start")
		first, at := total, uint64(hour)
		var tr track
		sum, last, known := uint64(0), uint64(0), false
		for range rapid.IntRange(1, 80).Draw(t, "readings") {
			total += rapid.Int64Range(0, rating/60).Draw(t, "step")
			at += minute
			s := shown{total, 0}
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				s = shown{}
			case 1:
				s = shown{total / 1000, 3}
			case 2:
				s = shown{rapid.Int64Range(0, 1<<41).Draw(t, "garbage"), 0}
			}
			v, anew, err := tr.follow("m", counted(s.raw, s.exp, 0), at, rating)
			if err != nil {
				continue
			}
			if known && !anew {
				sum += v - last
			}
			last, known = v, true
		}
		// What one reading of garbage can add is what could have flowed, and a second's correction.
		if flowed := uint64(total - first); sum > flowed+2*rating*5/4 {
			t.Fatalf("%d Wh counted, %d flowed", sum, flowed)
		}
	})
}

// TestConfirm: a register that fell is held until readings have agreed for a while, and another meter is taken
// at its word.
func TestConfirm(t *testing.T) {
	var tr track
	at := uint64(hour)
	read := func(meter string, v int64) (uint64, bool, error) {
		at += 5 * minute
		return tr.follow(meter, counted(v, 0, 0), at, 4000)
	}
	read("m", 1000)
	for i := range confirm {
		if wh, _, err := read("m", int64(5+i)); err == nil {
			t.Fatalf("reading %d: %d", i+1, wh)
		}
	}
	if wh, anew, err := read("m", 8); err != nil || !anew || wh != 8 || !tr.begun(tr.Begun) {
		t.Errorf("%d, %v, %v", wh, anew, err)
	}
	read("m", 100_000)           // not at once …
	for i := range 5 * confirm { // … and falling on and on agrees with nothing
		if wh, _, err := read("m", int64(90_000-1000*i)); err == nil {
			t.Fatalf("falling: %d", wh)
		}
	}
	if wh, anew, err := read("other", 3); err != nil || !anew || wh != 3 {
		t.Errorf("another meter: %d, %v, %v", wh, anew, err)
	}
	for _, v := range []int64{-1, 1 << 50} {
		if wh, _, err := read("third", v); err == nil {
			t.Errorf("%d is taken as %d", v, wh)
		}
	}
}

// TestEarlier: where counters stand that an earlier version kept is read, wraps included.
func TestEarlier(t *testing.T) {
	tr := new(track)
	text := `{"meter":"m","counters":{"c":{"raw":5,"exp":0,"high":4294967296,"at":3600000}},"wh":4294967301,"known":true}`
	if err := json.Unmarshal([]byte(text), tr); err != nil {
		t.Fatal(err)
	}
	tr.mend()
	if wh, anew, err := tr.follow("m", counted(15, 0, 32), hour+minute, 4000); err != nil || anew || wh != 1<<32+15 {
		t.Errorf("%d, %v, %v", wh, anew, err)
	}
	if wh, _, err := tr.follow("m", counted(4294967, 3, 32), hour+2*minute, 4000); err != nil || wh != 1<<32+15 {
		t.Errorf("%d, %v: what a wrap added counts only with its power of ten", wh, err)
	}
	if wh, _, err := tr.follow("m", counted(25, 0, 32), hour+3*minute, 4000); err != nil || wh != 1<<32+25 {
		t.Errorf("%d, %v", wh, err)
	}
}

// TestCoarse: a register in whole kWh is told from one whose digits were left out.
func TestCoarse(t *testing.T) {
	loose := func(v int64, exp int8) []source.Counter {
		c := counted(v, exp, 0)
		c[0].Loose = true
		return c
	}
	for name, c := range map[string]struct {
		list [][]source.Counter
		want uint64
	}{
		"whole kWh":                   {[][]source.Counter{counted(2043, 3, 0)}, 1000},
		"Wh":                          {[][]source.Counter{counted(2043000, 0, 0)}, 0},
		"tenths of a kWh":             {[][]source.Counter{counted(20430, 2, 0)}, 100},
		"zero":                        {[][]source.Counter{counted(0, 3, 0)}, 0},
		"digits left out":             {[][]source.Counter{loose(27, 3)}, 0},
		"digits left out, then given": {[][]source.Counter{loose(27, 3), loose(27001, 0)}, 0},
		"never any digits":            {[][]source.Counter{loose(27, 3), loose(28, 3), loose(29, 3)}, 1000},
	} {
		var tr track
		for i, list := range c.list {
			if _, _, err := tr.follow("m", list, hour+uint64(i)*hour, 4000); err != nil {
				t.Fatal(name, err)
			}
		}
		if got := tr.coarse(); got != c.want {
			t.Errorf("%s: steps of %d Wh, want %d", name, got, c.want)
		}
	}
}
