package fixed

import "math/bits"

// Turn is an angle in units of 2⁻⁶⁴ of a whole turn, modulo one.
type Turn uint64

const (
	quarter Turn = 1 << 62
	eighth  Turn = 1 << 61

	quarterPi = 0xc90f_daa2_2168_c235 // π/4 in 2⁻⁶⁴
	perRadian = 0x28be_60db_9391_054a // 1/2π, the turns in a radian, in 2⁻⁶⁴
	tan22     = 0x6a09_e667_f3bc_c909 // tan of 22.5°, √2 − 1, in 2⁻⁶⁴
)

// fine is how many bits stand behind the point of the values that are computed with before they are rounded to a Num.
const fine = 62

// Sin returns the sine of t.
func Sin(t Turn) Num {
	sin, _ := t.sincos()
	return coarse(sin)
}

// Cos returns the cosine of t.
func Cos(t Turn) Num {
	_, cos := t.sincos()
	return coarse(cos)
}

// coarse rounds a value in 2⁻⁶² to a Num.
func coarse(x int64) Num { return Num((x + 1<<(fine-point-1)) >> (fine - point)) }

// product returns x·y in 2⁻⁶², rounded down, of factors in 2⁻⁶² of at most 1.
func product(x, y int64) int64 {
	hi, lo := signedMul(x, y)
	return hi<<(64-fine) | int64(lo>>fine)
}

// signedMul returns the 128 bits of x·y.
func signedMul(x, y int64) (hi int64, lo uint64) {
	h, lo := bits.Mul64(uint64(x), uint64(y))
	// The product of two's complements is too large by 2⁶⁴ times the other factor for each negative one.
	return int64(h) - x>>63&y - y>>63&x, lo
}

// The coefficients of Taylor's series in 2⁻⁶⁴, the last one first and without the first, which is 1 in all of
// them. Of sine and cosine the signs alternate.
var (
	sines = [...]uint64{
		1 << 64 / 121_645_100_408_832_000, 1 << 64 / 355_687_428_096_000, 1 << 64 / 1_307_674_368_000, 1 << 64 / 6_227_020_800,
		1 << 64 / 39_916_800, 1 << 64 / 362_880, 1 << 64 / 5_040, 1 << 64 / 120, 1 << 64 / 6,
	} // 1/19!, 1/17! … 1/3!
	cosines = [...]uint64{
		1 << 64 / 6_402_373_705_728_000, 1 << 64 / 20_922_789_888_000, 1 << 64 / 87_178_291_200, 1 << 64 / 479_001_600,
		1 << 64 / 3_628_800, 1 << 64 / 40_320, 1 << 64 / 720, 1 << 64 / 24, 1 << 64 / 2,
	} // 1/18!, 1/16! … 1/2!
)

// sincos returns sine and cosine in 2⁻⁶², within 2⁻⁶¹.
func (t Turn) sincos() (sin, cos int64) {
	// Of each octant the near end is folded onto the angles from 0° to 45°.
	octant, a := t>>61, uint64(t<<3)
	if octant&1 == 1 {
		a = ^a // short by 2⁻⁶⁷ turns, so that 45° fits
	}
	x := high(a, quarterPi)
	x2 := high(x, x)
	var s, c uint64
	for i := range sines {
		s = sines[i] - high(x2, s)
		c = cosines[i] - high(x2, c)
	}
	sin = int64((x - high(x, high(x2, s))) >> 2)
	cos = 1<<fine - int64(high(x2, c)>>2)
	if (octant+1)&2 != 0 {
		sin, cos = cos, sin
	}
	if octant&4 != 0 {
		sin = -sin
	}
	if (octant+2)&4 != 0 {
		cos = -cos
	}
	return sin, cos
}

// Atan2 returns the angle from the x axis to the point x, y, whatever their common scale, and 0 for the origin.
func Atan2(y, x int64) Turn {
	ax, ay := Num(x).abs(), Num(y).abs()
	near, far := min(ax, ay), max(ax, ay)
	var t Turn
	switch {
	case near == 0:
	case near == far:
		t = eighth
	default:
		q, _ := bits.Div64(near, 0, far)
		t = atan(q)
	}
	if ay > ax {
		t = quarter - t
	}
	if x < 0 {
		t = 2*quarter - t
	}
	if y < 0 {
		t = -t
	}
	return t
}

// atan returns the angle with the tangent q, in 2⁻⁶⁴.
func atan(q uint64) Turn {
	if q <= tan22 {
		return series(q)
	}
	// atan q = 45° − atan((1−q)/(1+q)), whose series is short.
	u, _ := bits.Div64(-q>>1, 0, 1<<63|q>>1)
	return eighth - series(u)
}

// series returns u − u³/3 + u⁵/5 − … as a turn; 27 terms suffice up to tan22.
func series(u uint64) Turn {
	u2 := high(u, u)
	var sum uint64
	for n := uint64(53); n >= 3; n -= 2 {
		sum = ^uint64(0)/n - high(u2, sum)
	}
	return Turn(high(u-high(u, high(u2, sum)), perRadian))
}
