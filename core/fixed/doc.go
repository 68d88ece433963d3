// Package fixed is arithmetic with fractions for verification rules: the same bits on every machine, which
// floating point does not promise. It knows roots, angles, exponentials and logarithms, and where the sun
// stands.
//
// # Numbers
//
// A Num is an int64 that counts 2⁻³⁰: ±8.6·10⁹ in steps of 9.3·10⁻¹⁰. Sums and differences are those of Go.
// Products and quotients go through 128 bits (Mul, Div), round once, and stop at Least and Most where the
// result does not fit; nothing here panics, for any input. Constants are written as a fraction of One, which Go
// computes exactly before it rounds:
//
//	const slope = 1_002_432 * fixed.One / 1_000_000 // 1.002432
//
// A Turn is an angle: 2⁶⁴ are once around, so adding angles wraps as angles do, and an angle that grows with
// time is one multiplication. An int64 converts to the turn it is modulo a whole one; int64(turn) is that angle
// in [−½, ½).
//
//	const tilt fixed.Turn = 23_436 << 64 / 360_000       // 23.436°
//	angle := start + perSecond*fixed.Turn(seconds)       // modulo a whole turn
//
// # Errors
//
// A unit is 2⁻³⁰. Each bound is tested against arbitrary precision.
//
//	Mul, Div    ½ unit                          halves away from zero
//	Sqrt        below 1 unit, never above       exact for squares
//	Sin, Cos    ½ unit + 2⁻⁶¹                   exact at multiples of a quarter turn
//	Atan2       2⁻⁶² turns                      exact at multiples of an eighth
//	Exp         ½ unit + 2⁻⁵⁶ of the result
//	Log         ½ unit + 2⁻⁵⁶
//
// Inside, series run in 2⁻⁶⁴: plain Taylor series after a reduction of the range, long enough that what is left
// out is below that.
//
// # The sun
//
// SunAt says where the sun stands at a Unix second: its direction in the frame of types.Vector, so that the
// cosine of its zenith angle at a place, which is the sine of its elevation, is one scalar product
// (Sun.CosZenith), and its distance. The elevation is geometric: without refraction, to the middle of the disc.
// It is the low-precision formula of the Astronomical Almanac (page C5) with the sun's mean longitude L, mean
// anomaly g and Greenwich's mean sidereal time θ as turns of the seconds s since 2000-01-01 12:00 UTC:
//
//	λ = L + 1.915°·sin g + 0.020°·sin 2g       ecliptic longitude
//	ε = 23.436°                                obliquity, as it is in the 2020s
//	R = 1.00014 − 0.01671·cos g − 0.00014·cos 2g   distance in astronomical units
//
// The arithmetic is within 10⁻⁸ of these formulas. The formulas are within 0.013° of an almanac's elevation
// from 2024 to 2032 and within 0.016° from 1970 to 2100, which counts UTC as UT1 (0.9 s are 0.004°) and leaves
// out parallax (0.0024°).
package fixed
