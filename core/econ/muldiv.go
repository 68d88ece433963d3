package econ

import (
	"fmt"
	"math/bits"

	"github.com/cairn-network/cairn/core/types"
)

// Scales of the package's integers.
const (
	Bps  = 10_000                    // basis points in the whole
	Wad  = 1_000_000_000_000_000_000 // 1 as a decay
	nano = 1_000_000_000             // credits · nano / price = ustone
)

// MulDiv returns ⌊a·b/c⌋ with an exact intermediate product. A zero c gives 0; a result of 2⁶⁴ or more is
// types.EconRange.
func MulDiv(a, b, c uint64) (uint64, error) {
	hi, lo := bits.Mul64(a, b)
	if c == 0 {
		return 0, nil
	}
	if hi >= c {
		return 0, types.Refuse(types.EconRange, "econ: %d * %d / %d", a, b, c)
	}
	q, _ := bits.Div64(hi, lo, c)
	return q, nil
}

// MulDivBig returns ⌊Πnum/Πden⌋. Both products are exact and must stay below 2²⁵⁶. A zero denominator gives 0;
// what leaves the range is types.EconRange.
func MulDivBig(num, den []uint64) (uint64, error) {
	var c calc
	q := c.quo(c.mul(num...), c.mul(den...))
	return q, c.err("%v / %v", num, den)
}

// MulDivU128 returns ⌊a·b/c⌋ for 128-bit integers with a 256-bit intermediate product. A zero c gives 0; a
// result of 2¹²⁸ or more is types.EconRange.
func MulDivU128(a, b, c types.U128) (types.U128, error) {
	q := quo(mul128(a, b), wide(c))
	if q[2]|q[3] != 0 {
		return types.U128{}, types.Refuse(types.EconRange, "econ: %s * %s / %s", a, b, c)
	}
	return types.U128{Hi: q[1], Lo: q[0]}, nil
}

// u256 is an unsigned integer of 256 bits, least significant word first.
type u256 [4]uint64

func wide(x types.U128) u256 { return u256{x.Lo, x.Hi} }

// words is the number of words without leading zeros.
func (u *u256) words() int {
	for i := len(u) - 1; i >= 0; i-- {
		if u[i] != 0 {
			return i + 1
		}
	}
	return 0
}

// times returns u·x mod 2²⁵⁶ and what was carried out.
func (u u256) times(x uint64) (u256, uint64) {
	var carry uint64
	for i := range u {
		hi, lo := bits.Mul64(u[i], x)
		var c uint64
		u[i], c = bits.Add64(lo, carry, 0)
		carry = hi + c // at most 2⁶⁴−2, plus one
	}
	return u, carry
}

// mul128 returns a·b, which always fits.
func mul128(a, b types.U128) u256 {
	low, _ := wide(a).times(b.Lo)
	high, _ := wide(a).times(b.Hi)
	var carry uint64
	for i := 1; i < len(low); i++ {
		low[i], carry = bits.Add64(low[i], high[i-1], carry)
	}
	return low
}

// quo returns ⌊n/d⌋, and 0 for a zero d. It is long division by words (Knuth, The Art of Computer Programming,
// volume 2, 4.3.1, algorithm D) without the refinement of a trial digit, which therefore may be up to two too
// large and is put right afterwards.
func quo(n, d u256) u256 {
	var q u256
	nl, dl := n.words(), d.words()
	switch {
	case dl == 0 || nl < dl:
		return q
	case dl == 1:
		var rem uint64
		for i := nl - 1; i >= 0; i-- {
			q[i], rem = bits.Div64(rem, n[i], d[0])
		}
		return q
	}
	// Normalize: the divisor's highest bit is set. A shift by 64 gives 0 in Go, as wanted here.
	s := uint(bits.LeadingZeros64(d[dl-1]))
	var u [5]uint64
	for i := len(d) - 1; i > 0; i-- {
		d[i] = d[i]<<s | d[i-1]>>(64-s)
		u[i] = n[i]<<s | n[i-1]>>(64-s)
	}
	d[0] <<= s
	u[0], u[4] = n[0]<<s, n[3]>>(64-s)
	for j := nl - dl; j >= 0; j-- {
		q[j] = digit(u[j:j+dl+1], d[:dl])
	}
	return q
}

// digit divides u, which is less than v·2⁶⁴, by v, leaves the remainder in u and returns the quotient. len(u) =
// len(v)+1, and the highest bit of v is set.
func digit(u, v []uint64) uint64 {
	n := len(v)
	q := ^uint64(0)
	if u[n] < v[n-1] {
		q, _ = bits.Div64(u[n], u[n-1], v[n-1])
	}
	var borrow, carry uint64
	for i := range v {
		hi, lo := bits.Mul64(v[i], q)
		var c uint64
		lo, c = bits.Add64(lo, carry, 0)
		carry = hi + c
		u[i], borrow = bits.Sub64(u[i], lo, borrow)
	}
	u[n], borrow = bits.Sub64(u[n], carry, borrow)
	for borrow != 0 {
		q--
		var c uint64
		for i := range v {
			u[i], c = bits.Add64(u[i], v[i], c)
		}
		u[n], c = bits.Add64(u[n], 0, c)
		borrow -= c
	}
	return q
}

// calc does a formula's arithmetic and remembers whether any step left its range, so that formulas read as they
// stand in the design. The zero value is ready; results count only if err returns nil.
type calc struct{ over bool }

// mul returns the product.
func (c *calc) mul(xs ...uint64) u256 { return c.scale(u256{1}, xs...) }

// mulU returns w times the product of xs.
func (c *calc) mulU(w types.U128, xs ...uint64) u256 { return c.scale(wide(w), xs...) }

func (c *calc) scale(p u256, xs ...uint64) u256 {
	for _, x := range xs {
		var carry uint64
		if p, carry = p.times(x); carry != 0 {
			c.over = true
		}
	}
	return p
}

// quo returns ⌊n/d⌋, 0 for a zero d.
func (c *calc) quo(n, d u256) uint64 {
	q := quo(n, d)
	if q[1]|q[2]|q[3] != 0 {
		c.over = true
	}
	return q[0]
}

// quoSat is quo, but a quotient that is too large is 2⁶⁴−1: for limits, which then do not bind.
func (c *calc) quoSat(n, d u256) uint64 {
	q := quo(n, d)
	if q[1]|q[2]|q[3] != 0 {
		return ^uint64(0)
	}
	return q[0]
}

// quoUp returns ⌈n/d⌉, 0 for a zero d.
func (c *calc) quoUp(n, d u256) uint64 {
	if d.words() == 0 {
		return 0
	}
	borrow, carry := uint64(1), uint64(0)
	for i := range n { // n += d − 1
		var w uint64
		w, borrow = bits.Sub64(d[i], 0, borrow)
		n[i], carry = bits.Add64(n[i], w, carry)
	}
	if carry != 0 {
		c.over = true
	}
	return c.quo(n, d)
}

// div returns ⌊a·b/d⌋ through 128 bits.
func (c *calc) div(a, b, d uint64) uint64 {
	q, err := MulDiv(a, b, d)
	if err != nil {
		c.over = true
	}
	return q
}

func (c *calc) add(a uint64, bs ...uint64) uint64 {
	for _, b := range bs {
		var carry uint64
		if a, carry = bits.Add64(a, b, 0); carry != 0 {
			c.over = true
		}
	}
	return a
}

// err returns an error that carries types.EconRange and says what was computed, if any step left its range.
func (c *calc) err(format string, args ...any) error {
	if !c.over {
		return nil
	}
	return types.Refuse(types.EconRange, "econ: %s", fmt.Sprintf(format, args...))
}

// less returns a − b, and 0 where b is above a.
func less[T ~uint64](a, b T) T {
	if a < b {
		return 0
	}
	return a - b
}
