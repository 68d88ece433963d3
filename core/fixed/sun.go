package fixed

import (
	"math/bits"

	"github.com/cairn-network/cairn/core/types"
)

// The sun's course: angles at 2000-01-01 12:00 UTC, and what they grow by in a second.
const (
	j2000 = 946_728_000 // Unix seconds

	longitudeThen, longitudeRate Turn = 0xc770_2f54_e0d3_2beb, 0x88_1a2a_dfbc // L: 280.460° + 0.9856474° a day
	anomalyThen, anomalyRate     Turn = 0xfe3d_fc73_3bf0_2982, 0x88_1880_a4bf // g: 357.528° + 0.9856003° a day
	siderealThen, siderealRate   Turn = 0xc770_4c26_51d6_eae6, 0xc2b6_5f31_042d

	tilt       Turn = 23_436 << 64 / 360_000 // ε
	eccentric1      = 1_915 << 64 / 360_000  // 1.915° as a turn
	eccentric2      = 20 << 64 / 360_000     // 0.020°

	distance0 = 100_014 << fine / 100_000 // 1.00014
	distance1 = 1_671 << fine / 100_000
	distance2 = 14 << fine / 100_000
)

var sinTilt, cosTilt = tilt.sincos()

// Sun is where the sun stands, seen from the earth's centre.
type Sun struct {
	Direction types.Vector // a unit vector within 2⁻⁵⁸, in the frame of places: the sun is in the zenith there
	Distance  Num          // astronomical units
}

// SunAt returns where the sun stands at a Unix second. Any second is good; errors are stated for 1970 to 2100.
func SunAt(unix int64) Sun {
	s := Turn(unix) - j2000
	g := anomalyThen + anomalyRate*s
	sin1, cos1 := g.sincos()
	sin2, cos2 := (2 * g).sincos()
	λ := longitudeThen + longitudeRate*s + Turn(product(eccentric1, sin1)) + Turn(product(eccentric2, sin2))
	sinλ, cosλ := λ.sincos()
	sinθ, cosθ := (siderealThen + siderealRate*s).sincos()

	// In the equator's plane, x towards the spring equinox; then turned back by what the earth has turned.
	across := product(cosTilt, sinλ)
	return Sun{
		Direction: types.Vector{
			vector(product(cosλ, cosθ) + product(across, sinθ)),
			vector(product(across, cosθ) - product(cosλ, sinθ)),
			vector(product(sinTilt, sinλ)),
		},
		Distance: coarse(distance0 - product(distance1, cos1) - product(distance2, cos2)),
	}
}

// vector rounds a component in 2⁻⁶² to those of a types.Vector, 2⁻⁶⁰.
func vector(x int64) int64 { return (x + 2) >> 2 }

// CosZenith returns the cosine of the angle between the sun and the zenith of a place: the sine of the sun's
// elevation, above 0 by day. It is within 10⁻⁸ of the formulas of the package comment for a unit vector. Of any
// vector it is the scalar product.
func (s *Sun) CosZenith(place types.Vector) Num {
	// Three products below 2¹²⁴, in 2⁻¹²⁰.
	const shift = 120 - point
	hi, lo := int64(1)<<(shift-1-64), uint64(0)
	for i, x := range place {
		h, l := signedMul(x, s.Direction[i])
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi += h + int64(carry)
	}
	return Num(hi >> (shift - 64))
}

// Longitude returns how far east of Greenwich a place is, and 0 at the poles. Negative is west:
// int64(Longitude(v)) is in [−½, ½) of a turn, in 2⁻⁶⁴.
func Longitude(place types.Vector) Turn { return Atan2(place[1], place[0]) }
