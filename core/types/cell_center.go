package types

import "math/bits"

// How the grid lies on the sphere, in integers.
//
// H3 puts a hexagonal grid on each face of an icosahedron and projects it from the centre (gnomonic). Three
// facts make this exact in small integers:
//
// A grid position on a face is an Eisenstein integer a + bω, where ω turns by 120°: the i axis is 1, j is ω, k
// is ω². One resolution finer multiplies by 2 − ω (to an odd resolution) or by 3 + ω (to an even one); both
// have norm 7, and together they are 7. So the centre of every cell is a point of the grid of a resolution 16,
// in which a face's centre and its corners are 2·7⁸ apart.
//
// On the plane of a face, with corners A, B, C, such a point is αA + βB + γC with integers α + β + γ = 6·7⁸.
// Seen from the centre of the sphere only the ratio counts, so its direction is this very sum of three
// fixed-point vectors, scaled to length 1.
//
// The grid goes on over the edges of a face as if the next face were folded flat. Folded flat, the corner D
// across the edge AB is A + B − C. A negative γ therefore means that the point lies beyond AB, as (α + γ)A + (β
// + γ)B − γD.

// scale is 7⁸: what one step of the resolution-0 grid is in the grid of resolution 16.
const scale = 5_764_801

// eisenstein is a + bω with ω² = −1 − ω.
type eisenstein struct{ a, b int64 }

func (x eisenstein) add(y eisenstein) eisenstein { return eisenstein{x.a + y.a, x.b + y.b} }
func (x eisenstein) sub(y eisenstein) eisenstein { return eisenstein{x.a - y.a, x.b - y.b} }
func (x eisenstein) mul(y eisenstein) eisenstein {
	bb := x.b * y.b
	return eisenstein{x.a*y.a - bb, x.a*y.b + x.b*y.a - bb}
}
func (x eisenstein) times(n int64) eisenstein { return eisenstein{x.a * n, x.b * n} }

// finer[res&1] is what positions are multiplied by from resolution res−1 to res, coarser the conjugate, which
// leads back after a division by 7.
var (
	finer   = [2]eisenstein{{3, 1}, {2, -1}}
	coarser = [2]eisenstein{{2, -1}, {3, 1}}

	steps    = [7]eisenstein{{0, 0}, {-1, -1}, {0, 1}, {-1, 0}, {1, 0}, {0, -1}, {1, 1}} // by digit
	turnLeft = eisenstein{1, 1}                                                          // 60° counter-clockwise
	turnBack = eisenstein{0, -1}                                                         // 60° clockwise
)

// sevens[n] is 7ⁿ.
var sevens = [9]int64{1, 7, 49, 343, 2401, 16807, 117649, 823543, scale}

// step16 returns one step of the grid of resolution res in the grid of resolution 16.
func step16(res int) eisenstein {
	if res%2 == 1 {
		return finer[0].times(sevens[(MaxResolution-res)/2])
	}
	return eisenstein{sevens[(16-res)/2], 0}
}

// point is a grid point as a sum of three corners of a face: Σ weight·corner, the weights adding up to 6·7⁸.
type point struct {
	corner [3]uint8
	weight [3]int64
}

// onFace returns position z, in the grid of resolution 16, from the centre of a face.
func onFace(face uint8, z eisenstein) point {
	return point{faces[face], [3]int64{2*scale + 2*z.a - z.b, 2*scale + 2*z.b - z.a, 2*scale - z.a - z.b}}
}

// position returns p as a position from the centre of a face, and whether p is written in the corners of that face.
func (p point) position(face uint8) (eisenstein, bool) {
	var w [3]int64
	for i, c := range faces[face] {
		j := p.slot(c)
		if j < 0 {
			return eisenstein{}, false
		}
		w[i] = p.weight[j]
	}
	return eisenstein{(w[0] - w[2]) / 3, (w[1] - w[2]) / 3}, true
}

func (p point) slot(corner uint8) int {
	for i, c := range p.corner {
		if c == corner {
			return i
		}
	}
	return -1
}

// unfold writes p in the corners of the face across the edge that slot i is not on. Twice is where it began.
func (p point) unfold(i int) point {
	j, k := (i+1)%3, (i+2)%3
	both := adjacent[p.corner[j]] & adjacent[p.corner[k]] &^ (1 << p.corner[i])
	g := p.weight[i]
	p.corner[i] = uint8(bits.TrailingZeros16(both))
	p.weight[i], p.weight[j], p.weight[k] = -g, p.weight[j]+g, p.weight[k]+g
	return p
}

// settle unfolds p until it lies on the face that it is written in. Around a corner four faces may have to be passed.
func (p point) settle() point {
	for range 5 {
		least := 2
		for i := range 2 {
			if p.weight[i] < p.weight[least] {
				least = i
			}
		}
		if p.weight[least] >= 0 {
			break
		}
		p = p.unfold(least)
	}
	return p
}

// direction returns the unit vector towards p.
func (p point) direction() Vector {
	// The sum is at most 6·7⁸ < 2²⁶ long and at least 0.79 of that: 24 bits less leave 2⁶⁰·⁷ to 2⁶¹·¹.
	var v Vector
	var norm U128
	for i := range v {
		v[i] = dot(p.weight, [3]int64{vertices[p.corner[0]][i], vertices[p.corner[1]][i], vertices[p.corner[2]][i]}, 24)
		sq := square(v[i])
		lo, carry := bits.Add64(norm.Lo, sq.Lo, 0)
		hi, _ := bits.Add64(norm.Hi, sq.Hi, carry)
		norm = U128{hi, lo}
	}
	length := norm.Sqrt()
	for i, x := range v {
		v[i] = ratio(x, One, length)
	}
	return v
}

// Center returns the direction of the centre of c, within 10⁻¹⁷ of what exact arithmetic on H3's icosahedron
// gives, and less than a micrometre on the ground from what H3 computes in floating point. An invalid cell has
// the zero vector.
func (c Cell) Center() Vector {
	if !c.Valid() {
		return Vector{}
	}
	h := homes[c.BaseCell()]
	z := c.offset()
	if h.place != atCorner {
		return onFace(h.face, steps[h.place].times(scale).add(z)).settle().direction()
	}
	// Around a pentagon the plane has six sectors and the sphere five. The digits leave out direction k (1):
	// what begins with ik (5), and of what begins with i (4) the half towards it, lies one sector further on.
	first := c.firstDigit()
	if first == digitIK || first == digitI && z.b < 0 {
		z = z.mul(turnBack)
	}
	return onFace(h.face, eisenstein{2 * scale, 0}.add(z)).settle().direction()
}

// offset returns where c is relative to its base cell, in the grid of resolution 16.
func (c Cell) offset() eisenstein {
	var z eisenstein
	res := c.Resolution()
	for r := 1; r <= res; r++ {
		z = z.mul(finer[r&1]).add(steps[c.digit(r)])
	}
	return z.mul(step16(res))
}

// adjacent[n] has a bit for each of the five corners next to corner n.
var adjacent = neighbours()

func neighbours() (adj [12]uint16) {
	for _, f := range faces {
		for i, c := range f {
			adj[c] |= 1<<f[(i+1)%3] | 1<<f[(i+2)%3]
		}
	}
	return adj
}

// square returns x².
func square(x int64) U128 {
	if x < 0 {
		x = -x
	}
	return Mul64(uint64(x), uint64(x))
}

// ratio returns x·mul/div, rounded to the nearest. The result must fit.
func ratio(x int64, mul, div uint64) int64 {
	neg := x < 0
	if neg {
		x = -x
	}
	hi, lo := bits.Mul64(uint64(x), mul)
	lo, carry := bits.Add64(lo, div/2, 0)
	q, _ := bits.Div64(hi+carry, lo, div)
	if neg {
		return -int64(q)
	}
	return int64(q)
}

// dot returns the sum of the three products, divided by 2^shift (1 to 63) and rounded. The result must fit.
func dot(x, y [3]int64, shift uint) int64 {
	hi, lo := uint64(0), uint64(1)<<(shift-1)
	for i := range x {
		h, l := bits.Mul64(uint64(x[i]), uint64(y[i]))
		// The product of two's complements is short by the other factor for each negative one.
		if x[i] < 0 {
			h -= uint64(y[i])
		}
		if y[i] < 0 {
			h -= uint64(x[i])
		}
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi, _ = bits.Add64(hi, h, carry)
	}
	return int64(hi<<(64-shift) | lo>>shift)
}
