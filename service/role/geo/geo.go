// Package geo is directions from the earth's centre in floating point: for degrees that a person types, for simulated
// roofs, and for studies. What is signed or tallied never uses it: that is whole numbers (types.Vector, core/fixed).
package geo

import (
	"math"

	"github.com/cairn-network/cairn/core/types"
)

// Direction returns where a place lies, in degrees north and east.
func Direction(latitude, longitude float64) types.Vector {
	φ, λ := latitude*math.Pi/180, longitude*math.Pi/180
	unit := func(x float64) int64 { return int64(math.Round(x * types.One)) }
	return types.Vector{unit(math.Cos(φ) * math.Cos(λ)), unit(math.Cos(φ) * math.Sin(λ)), unit(math.Sin(φ))}
}

// Vector is a types.Vector of length 1.
type Vector [3]float64

// Float returns a direction in floating point.
func Float(v types.Vector) Vector {
	return Vector{float64(v[0]) / types.One, float64(v[1]) / types.One, float64(v[2]) / types.One}
}

// Dot is the cosine of the angle between two directions.
func (v Vector) Dot(w Vector) float64 { return v[0]*w[0] + v[1]*w[1] + v[2]*w[2] }

// Level returns east and north at a place. At a pole every way is south, and both are zero.
func (v Vector) Level() (east, north Vector) {
	level := math.Hypot(v[0], v[1])
	if level == 0 {
		return Vector{}, Vector{}
	}
	east = Vector{-v[1] / level, v[0] / level, 0}
	north = Vector{-v[2] * east[1], v[2] * east[0], level}
	return east, north
}

// Facing returns where a panel looks that stands at a place, tilted by so many degrees towards an azimuth in degrees:
// 90 is east, 180 south. At a pole it looks up.
func (v Vector) Facing(tilt, azimuth float64) Vector {
	east, north := v.Level()
	if east == (Vector{}) {
		return v
	}
	sinT, cosT := math.Sincos(tilt * math.Pi / 180)
	sinA, cosA := math.Sincos(azimuth * math.Pi / 180)
	var out Vector
	for i := range out {
		out[i] = cosT*v[i] + sinT*(cosA*north[i]+sinA*east[i])
	}
	return out
}
