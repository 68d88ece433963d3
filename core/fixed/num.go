package fixed

import (
	"math/bits"

	"github.com/cairn-network/cairn/core/types"
)

// Num is a number in units of 2⁻³⁰.
type Num int64

// One, and what results stop at.
const (
	One   Num = 1 << point
	Most  Num = 1<<63 - 1
	Least Num = -1 << 63
)

// point is how many bits of a Num stand behind the point.
const point = 30

// abs returns |x|, which an int64 could not hold for Least.
func (x Num) abs() uint64 {
	if x < 0 {
		return -uint64(x)
	}
	return uint64(x)
}

// signed returns ±m, or what comes closest.
func signed(m uint64, negative bool) Num {
	m = min(m, 1<<63)
	if negative {
		return Num(-m)
	}
	return Num(min(m, 1<<63-1))
}

// Mul returns x·y, rounded to the nearest, halves away from zero. What does not fit is Most or Least.
func (x Num) Mul(y Num) Num {
	hi, lo := bits.Mul64(x.abs(), y.abs())
	lo, carry := bits.Add64(lo, 1<<(point-1), 0)
	hi += carry // at most 2⁶² before
	m := hi<<(64-point) | lo>>point
	if hi>>point != 0 {
		m = 1 << 63
	}
	return signed(m, x^y < 0)
}

// Div returns x/y, rounded to the nearest, halves away from zero. What does not fit is Most or Least, and so is
// a division by zero, by the sign of x; 0/0 is 0. The quotient of two integers is that of the same integers as
// Nums.
func (x Num) Div(y Num) Num {
	n, d := x.abs(), y.abs()
	hi, lo := n>>(64-point), n<<point
	switch {
	case n == 0:
		return 0
	case d == 0:
		return signed(1<<63, x < 0)
	case hi >= d:
		return signed(1<<63, x^y < 0)
	}
	q, rem := bits.Div64(hi, lo, d)
	if rem >= d-rem && q < 1<<63 {
		q++
	}
	return signed(q, x^y < 0)
}

// Sqrt returns √x, rounded down, and 0 for a negative x.
func (x Num) Sqrt() Num {
	if x <= 0 {
		return 0
	}
	return Num(types.U128{Hi: uint64(x) >> (64 - point), Lo: uint64(x) << point}.Sqrt())
}

// high returns ⌊x·y/2⁶⁴⌋: the product of two fractions in 2⁻⁶⁴.
func high(x, y uint64) uint64 {
	hi, _ := bits.Mul64(x, y)
	return hi
}
