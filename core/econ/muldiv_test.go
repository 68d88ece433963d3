package econ

import (
	"errors"
	"math/big"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

const top = ^uint64(0)

func bigU128(x types.U128) *big.Int {
	b := new(big.Int).SetUint64(x.Hi)
	return b.Lsh(b, 64).Or(b, new(big.Int).SetUint64(x.Lo))
}

// quoBig is the rule under test in other words: ⌊n/d⌋, 0 for a zero d, and whether it fits in so many bits.
func quoBig(n, d *big.Int, bits int) (*big.Int, bool) {
	if d.Sign() == 0 {
		return new(big.Int), true
	}
	q := new(big.Int).Quo(n, d)
	return q, q.BitLen() <= bits
}

func product(xs ...uint64) *big.Int {
	p := big.NewInt(1)
	for _, x := range xs {
		p.Mul(p, new(big.Int).SetUint64(x))
	}
	return p
}

func FuzzMulDiv(f *testing.F) {
	for _, s := range [][3]uint64{{0, 0, 0}, {1, 1, 0}, {top, top, top}, {top, top, top - 1}, {top, 2, 1}, {7, 3, 2}, {1e15, Wad, Wad + 1}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, a, b, c uint64) {
		got, err := MulDiv(a, b, c)
		check(t, types.U64(got), err, product(a, b), product(c), 64)
	})
}

func FuzzMulDivBig(f *testing.F) {
	f.Add(top, top, top, top, top, top, top, top)
	f.Add(top, top, top, top, top, top, top, uint64(1))
	f.Add(uint64(1)<<63, uint64(1)<<63, uint64(1)<<63, top, uint64(1)<<63, uint64(1)<<63, uint64(1)<<63, uint64(1))
	f.Add(uint64(3), uint64(5), uint64(7), uint64(1), uint64(2), uint64(2), uint64(0), uint64(1))
	f.Add(uint64(1e15), uint64(502_000_000), uint64(1e4), uint64(1), uint64(9600), uint64(1e9), uint64(1), uint64(1))
	f.Fuzz(func(t *testing.T, a, b, c, d, v, w, x, y uint64) {
		got, err := MulDivBig([]uint64{a, b, c, d}, []uint64{v, w, x, y})
		check(t, types.U64(got), err, product(a, b, c, d), product(v, w, x, y), 64)
	})
}

func FuzzMulDivU128(f *testing.F) {
	f.Add(top, top, top, top, top, top)
	f.Add(top, top, uint64(0), uint64(1), uint64(0), uint64(1))
	f.Add(uint64(1), uint64(0), top, top, uint64(1)<<63, uint64(1))
	f.Add(uint64(0), uint64(9), uint64(0), uint64(9), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, ah, al, bh, bl, ch, cl uint64) {
		a, b, c := types.U128{Hi: ah, Lo: al}, types.U128{Hi: bh, Lo: bl}, types.U128{Hi: ch, Lo: cl}
		got, err := MulDivU128(a, b, c)
		check(t, got, err, new(big.Int).Mul(bigU128(a), bigU128(b)), bigU128(c), 128)
	})
}

func check(t *testing.T, got types.U128, err error, n, d *big.Int, bits int) {
	t.Helper()
	want, fits := quoBig(n, d, bits)
	switch {
	case !fits && !errors.Is(err, types.EconRange):
		t.Errorf("%s / %s: %s, %v; want %s", n, d, got, err, types.EconRange)
	case fits && (err != nil || bigU128(got).Cmp(want) != 0):
		t.Errorf("%s / %s: %s, %v; want %s", n, d, got, err, want)
	}
}

// FuzzQuo compares division of 256 by up to 256 bits, rounded both ways.
func FuzzQuo(f *testing.F) {
	f.Add(top, top, top, top, uint64(0), top, uint64(1)<<63, top)
	f.Add(uint64(0), uint64(1)<<63, uint64(1)<<63-1, uint64(0), top, uint64(1)<<63, uint64(0), uint64(0)) // a trial digit two too large
	f.Add(uint64(0), uint64(0), uint64(0), uint64(1)<<63, uint64(1), uint64(0), uint64(1)<<63, uint64(0))
	f.Add(uint64(3), uint64(0), uint64(1)<<63, uint64(1)<<63-1, uint64(1), uint64(0), uint64(1)<<63, uint64(0))
	f.Add(uint64(1), uint64(2), uint64(3), uint64(4), uint64(5), uint64(6), uint64(0), uint64(0))
	f.Add(uint64(0), uint64(top-1), top, uint64(1)<<63, top, uint64(1)<<63, uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, n0, n1, n2, n3, d0, d1, d2, d3 uint64) {
		n, d := u256{n0, n1, n2, n3}, u256{d0, d1, d2, d3}
		want, _ := quoBig(big256(n), big256(d), 256)
		if got := quo(n, d); big256(got).Cmp(want) != 0 {
			t.Errorf("%s / %s = %s, want %s", big256(n), big256(d), big256(got), want)
		}
		var c calc
		up := c.quoUp(n, d)
		if d != (u256{}) {
			want = new(big.Int).Neg(want.Div(new(big.Int).Neg(big256(n)), big256(d)))
		}
		sum := new(big.Int).Add(big256(n), big256(d))
		if fits := want.IsUint64() && sum.BitLen() <= 256; fits && (c.over || up != want.Uint64()) || !want.IsUint64() && !c.over {
			t.Errorf("⌈%s / %s⌉ = %d (over %t), want %s", big256(n), big256(d), up, c.over, want)
		}
	})
}

func big256(u u256) *big.Int {
	b := new(big.Int)
	for i := len(u) - 1; i >= 0; i-- {
		b.Lsh(b, 64).Or(b, new(big.Int).SetUint64(u[i]))
	}
	return b
}

func TestCalcNeverForgets(t *testing.T) {
	for name, step := range map[string]func(*calc){
		"mul":  func(c *calc) { c.mul(top, top, top, top, 2) },
		"quo":  func(c *calc) { c.quo(c.mul(top, 2), c.mul(1)) },
		"up":   func(c *calc) { c.quoUp(u256{top, top, top, top}, u256{2}) },
		"div":  func(c *calc) { c.div(top, 2, 1) },
		"add":  func(c *calc) { c.add(top, 1) },
		"wide": func(c *calc) { c.mulU(types.MaxU128, top, top, 2) },
	} {
		var c calc
		step(&c)
		c.add(1, 1)
		if err := c.err("step"); !errors.Is(err, types.EconRange) {
			t.Errorf("%s: %v, want %s", name, err, types.EconRange)
		}
	}
	var c calc
	if c.quoSat(c.mul(top, 2), c.mul(1)) != top || c.quoSat(c.mul(9), c.mul(2)) != 4 || c.over {
		t.Error("quoSat does not saturate")
	}
}

func BenchmarkMulDivU128(b *testing.B) {
	x, y, z := types.U128{Hi: 77, Lo: top}, types.U128{Hi: 66, Lo: 5}, types.U128{Hi: 99, Lo: 9}
	for b.Loop() {
		if _, err := MulDivU128(x, y, z); err != nil {
			b.Fatal(err)
		}
	}
}
