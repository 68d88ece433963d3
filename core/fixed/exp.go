package fixed

import "math/bits"

const (
	ln2   = 0xb172_17f7_d1cf_79ac // ln 2 in 2⁻⁶⁴
	log2e = 0x5c5_51d9            // 1/ln 2 in 2⁻²⁶
	sqrt2 = 0x5a82_7999_fcef_3242 // √2 in 2⁻⁶²

	expLeast = -22 * One // e⁻²² is below ¼ unit
	expMost  = 23 * One  // e²³ does not fit
)

// exponentials are the coefficients of Taylor's series from 1/19! to 1/2!, in 2⁻⁶⁴.
var exponentials = [...]uint64{
	1 << 64 / 121_645_100_408_832_000, 1 << 64 / 6_402_373_705_728_000, 1 << 64 / 355_687_428_096_000, 1 << 64 / 20_922_789_888_000,
	1 << 64 / 1_307_674_368_000, 1 << 64 / 87_178_291_200, 1 << 64 / 6_227_020_800, 1 << 64 / 479_001_600, 1 << 64 / 39_916_800,
	1 << 64 / 3_628_800, 1 << 64 / 362_880, 1 << 64 / 40_320, 1 << 64 / 5_040, 1 << 64 / 720, 1 << 64 / 120, 1 << 64 / 24,
	1 << 64 / 6, 1 << 64 / 2,
}

// Exp returns e to the power of x. What does not fit is Most.
func (x Num) Exp() Num {
	switch {
	case x < expLeast:
		return 0
	case x > expMost:
		return Most
	}
	// e^x = 2^k·e^r with r from 0 to ln 2. The fraction of x in 2⁻⁶⁴ less that of k·ln 2 is r, unless k is off
	// by one.
	k := int64(x) * log2e >> (point + 26)
	r := uint64(x)<<(64-point) - uint64(k)*ln2
	switch {
	case r > 7<<61: // a little below 0
		k--
		r += ln2
	case r >= ln2:
		k++
		r -= ln2
	}
	const most = 63 - point - 1 // 2^most·e^r may still fit
	if k > most {
		return Most
	}
	var sum uint64
	for _, c := range exponentials {
		sum = c + high(r, sum)
	}
	m := 1<<63 | (r+high(high(r, r), sum))>>1 // e^r in 2⁻⁶³
	// Down to 2⁻³⁰, with the last bit for rounding: a shift of 64 or more leaves 0.
	m >>= uint(most - k)
	return signed(m>>1+m&1, false)
}

// Log returns the natural logarithm of x, and Least where x is not above 0.
func (x Num) Log() Num {
	if x <= 0 {
		return Least
	}
	// x = m·2^e with m, in 2⁻⁶², from √½ to √2.
	n := bits.Len64(uint64(x))
	m, e := uint64(x)<<(63-n), int64(n-1-point)
	if m > sqrt2 {
		m, e = m>>1, e+1
	}
	// ln m = 2·(s + s³/3 + s⁵/5 + …) with s = (m−1)/(m+1), which is below 0.172.
	below := m < 1<<fine
	d := m - 1<<fine
	if below {
		d = -d
	}
	s, _ := bits.Div64(d, 0, m+1<<fine)
	s2 := high(s, s)
	var sum uint64
	for i := uint64(25); i >= 3; i -= 2 {
		sum = ^uint64(0)/i + high(s2, sum)
	}
	// In 2⁻⁵⁸, where 33·ln 2 fits.
	ln := int64((s + high(s, high(s2, sum))) >> 5)
	if below {
		ln = -ln
	}
	const behind = 58
	hi, lo := bits.Mul64(uint64(max(e, -e)), ln2)
	whole := int64(hi<<behind | lo>>(64-behind))
	if e < 0 {
		whole = -whole
	}
	return Num((whole + ln + 1<<(behind-point-1)) >> (behind - point))
}
