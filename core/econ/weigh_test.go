package econ

import (
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"pgregory.net/rapid"
)

func TestDensity(t *testing.T) {
	for _, c := range []struct {
		full, x, want uint64
	}{
		{100, 0, 0}, {100, 99, 99}, {100, 100, 100}, {100, 101, 100}, {100, 104, 101}, {100, 400, 175}, {100, 401, 175},
		{100, 1 << 60, 175}, {101, 404, 176}, {0, 5, 0},
	} {
		got, err := Density{On: true, Full: types.U64(c.full)}.count(types.U64(c.x))
		if err != nil || got != types.U64(c.want) {
			t.Errorf("of %d beyond %d count %s, %v; want %d", c.x, c.full, got, err, c.want)
		}
		if got, err := (Density{Full: types.U64(c.full)}).count(types.U64(c.x)); err != nil || got != types.U64(c.x) {
			t.Errorf("off: of %d count %s, %v", c.x, got, err)
		}
	}
	// At the end of the range the quarter carries across words and the triple does not fit.
	half := types.U128{Hi: 1 << 63}
	if got, err := (Density{On: true, Full: half}).count(types.MaxU128); err != nil || got != (types.U128{Hi: 1<<63 | 1<<61 - 1, Lo: 1<<64 - 1}) {
		t.Errorf("of the greatest effort count %s, %v", got, err)
	}
}

func TestWeighRefuses(t *testing.T) {
	for name, es := range map[string][]Effort{
		"quality above the whole": {{types.U64(1), Bps + 1}},
		"effort overflows":        {{types.MaxU128, Bps}},
		"sum overflows":           {{types.U128{Hi: 1 << 63}, 1}, {types.U128{Hi: 1 << 63}, 1}},
	} {
		if ws, err := Weigh(es, Density{}); types.ReasonOf(err) != types.EconRange {
			t.Errorf("%s: %v, %v, want %s", name, ws, err, types.EconRange)
		}
	}
	if ws, err := Weigh(nil, Density{On: true}); len(ws) != 0 || err != nil {
		t.Errorf("an empty cell weighs %v, %v", ws, err)
	}
}

// TestWeighSplit: however the devices of one owner divide what they do in a cell, they weigh no more, over the
// whole range of numbers, and the cell no more than counts.
func TestWeighSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		num := func() types.U128 {
			return types.Mul64(rapid.Uint64Range(0, 1<<50).Draw(t, "a"), rapid.Uint64Range(0, 1<<50).Draw(t, "b"))
		}
		d := Density{On: rapid.Bool().Draw(t, "on"), Full: num()}
		whole := []Effort{{num(), Bps}, {num(), types.Bp(rapid.Uint32Range(0, Bps).Draw(t, "q"))}}
		part, err := MulDivU128(whole[1].Units, types.U64(rapid.Uint64Range(0, 1000).Draw(t, "part")), types.U64(1000))
		if err != nil {
			t.Fatal(err)
		}
		rest, err := whole[1].Units.Sub(part)
		if err != nil {
			t.Fatal(err)
		}
		q := whole[1].Quality
		a, err := Weigh(whole, d)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Weigh([]Effort{whole[0], {part, q}, {rest, q}}, d)
		if err != nil {
			t.Fatal(err)
		}
		two, err := b[1].Add(b[2])
		if err != nil || two.Cmp(a[1]) > 0 || a[0] != b[0] {
			t.Fatalf("%s weighs %s, its parts %s and %s; the neighbour %s and %s", whole[1].Units, a[1], b[1], b[2], a[0], b[0])
		}
	})
}
