package types

import "math/bits"

// CellAt returns the cell of resolution res (0 to 15) that v points into, as H3 assigns it; points within some
// nanometres of a border may fall on its other side. v may be off unit length by one part in 2²⁰. CellAt
// returns 0 where v is no unit vector or res is out of range.
func CellAt(v Vector, res int) Cell {
	if res < 0 || res > MaxResolution || !v.isUnit() {
		return 0
	}
	face, z := nearest(v, res)
	p := onFace(face, z.mul(step16(res)))

	// Climb to the base cell in the frame of the face that v is on, then describe the same grid point in the
	// frame of the base cell's home: digits count there.
	for r := res; r > 0; r-- {
		z = parent(z, r)
	}
	base, ok := baseAt[onFace(face, z.times(scale)).settle().key()]
	if !ok {
		return 0
	}
	h := homes[base]
	last := h.place == atCorner && p.slot(faces[h.face][1]) < 0 && p.slot(faces[h.face][2]) >= 0
	p, ok = p.toward(h)
	if !ok {
		return 0
	}
	z, _ = p.position(h.face)
	if h.place != atCorner {
		return digits(int(base), res, z.sub(steps[h.place].times(scale)))
	}
	// What lies in the direction that pentagons leave out, and on the last face of the ring what lies one further, is
	// counted one sector to the left; Center turns it back.
	z = z.sub(eisenstein{2 * scale, 0})
	c := digits(int(base), res, z)
	if first := c.firstDigit(); first == digitK || last && first == digitIK {
		c = digits(int(base), res, z.mul(turnLeft))
	}
	return c
}

// isUnit reports whether the length of v is within 1 ± 2⁻²⁰.
func (v Vector) isUnit() bool {
	for _, x := range v {
		if x < -One-One>>19 || x > One+One>>19 {
			return false
		}
	}
	length := Vector{}.Chord2(v).Sqrt()
	return length >= One-One>>20 && length <= One+One>>20
}

// fraction is how many bits a position has below a step of the grid of resolution 16 while it is not yet rounded.
const fraction = 24

// sevenLess is 7 − 3√5 in 2⁻⁶².
const sevenLess = 1345671844724753887

// nearest returns the face that v points into, and the grid point of resolution res nearest to where it meets
// that face's plane.
//
// With p the products of v and the face's corners, the weights of the point (see onFace) are to each other as
// p[i] − (√5 − 2)·Σp, because two corners of a face have the product 1/√5.
func nearest(v Vector, res int) (uint8, eisenstein) {
	var along [12]int64
	for n := range vertices {
		along[n] = dot(v, vertices[n], 60)
	}
	face, best := 0, int64(-1<<63)
	for f, c := range faces {
		if s := along[c[0]] + along[c[1]] + along[c[2]]; s > best {
			face, best = f, s
		}
	}
	c := faces[face]
	div, _ := bits.Mul64(uint64(best)<<2, sevenLess) // Σp·(7 − 3√5) in 2⁻⁶⁰
	z := eisenstein{
		ratio(along[c[0]]-along[c[2]], 2*scale<<fraction, div),
		ratio(along[c[1]]-along[c[2]], 2*scale<<fraction, div),
	}
	// Divide by the step of the resolution: multiply by its conjugate, divide by its norm.
	if res%2 == 1 {
		return uint8(face), round(z.mul(coarser[0]), sevens[(17-res)/2]<<fraction)
	}
	return uint8(face), round(z, sevens[(16-res)/2]<<fraction)
}

// round returns the Eisenstein integer nearest to z/div.
func round(z eisenstein, div int64) eisenstein {
	a, x := floor(z.a, div)
	b, y := floor(z.b, div)
	// x + yω is in the parallelogram of 0, 1, 1+ω and ω, whose short diagonal from 0 to 1+ω parts it into two
	// equilateral triangles. The nearest point is a corner of the triangle; which one is decided by the
	// perpendicular bisectors.
	if x >= y {
		switch {
		case x+y >= div && 2*y >= x:
			return eisenstein{a + 1, b + 1}
		case 2*x-y >= div:
			return eisenstein{a + 1, b}
		}
		return eisenstein{a, b}
	}
	switch {
	case x+y >= div && 2*x >= y:
		return eisenstein{a + 1, b + 1}
	case 2*y-x >= div:
		return eisenstein{a, b + 1}
	}
	return eisenstein{a, b}
}

// floor returns ⌊x/div⌋ and the remainder.
func floor(x, div int64) (q, rem int64) {
	q, rem = x/div, x%div
	if rem < 0 {
		q, rem = q-1, rem+div
	}
	return q, rem
}

// parent returns the grid point of resolution res−1 of which z, of resolution res, is a child.
func parent(z eisenstein, res int) eisenstein { return round(z.mul(coarser[res&1]), 7) }

// toward unfolds p until it is written in the corners of a base cell's home face. p is near the base cell: on
// the home face, across one of its edges, or, for a pentagon, on one of the five faces around it.
func (p point) toward(h home) (point, bool) {
	corners := faces[h.face]
	if h.place != atCorner {
		for i, c := range p.corner {
			if c != corners[0] && c != corners[1] && c != corners[2] {
				p = p.unfold(i)
				break
			}
		}
		_, ok := p.position(h.face)
		return p, ok
	}
	// The five faces lie between consecutive corners of a ring around the pentagon, the home face between the
	// first two. The last goes home over the ring's beginning, all others the other way round.
	if p.slot(corners[0]) < 0 {
		return p, false
	}
	for range 4 {
		if _, ok := p.position(h.face); ok {
			return p, true
		}
		p = p.unfold(p.outer(corners))
	}
	return p, false
}

// outer returns the slot of the corner of p that is furthest along the ring k, j, … around corner i of a
// pentagon's home face.
func (p point) outer(ijk [3]uint8) int {
	if p.slot(ijk[2]) >= 0 {
		for i, c := range p.corner {
			if c != ijk[0] && c != ijk[2] {
				return i
			}
		}
	}
	before, at := ijk[2], ijk[1]
	for range 4 {
		next := uint8(bits.TrailingZeros16(adjacent[ijk[0]] & adjacent[at] &^ (1 << before)))
		if p.slot(at) >= 0 && p.slot(next) >= 0 {
			return p.slot(next)
		}
		before, at = at, next
	}
	return 0
}

// digits returns the cell at z, in the grid of resolution 16 from the centre of its base cell.
func digits(base, res int, z eisenstein) Cell {
	// z is a multiple of the step, so rounding is exact.
	if res%2 == 1 {
		z = round(z.mul(coarser[0]), sevens[(17-res)/2])
	} else {
		z = round(z, sevens[(16-res)/2])
	}
	c := newCell(base, res)
	for r := res; r > 0; r-- {
		up := parent(z, r)
		c.setDigit(r, digitOf(z.sub(up.mul(finer[r&1]))))
		z = up
	}
	return c
}

// digitOf returns the direction of a step.
func digitOf(step eisenstein) int {
	for d, s := range steps {
		if s == step {
			return d
		}
	}
	return noDigit
}

// key names a grid point of resolution 0 independently of the face that it is written in.
func (p point) key() uint64 {
	var k uint64
	for i, c := range p.corner {
		k |= uint64(p.weight[i]/scale) << (4 * c)
	}
	return k
}

// baseAt finds a base cell by its key.
var baseAt = indexBaseCells()

func indexBaseCells() map[uint64]uint8 {
	at := make(map[uint64]uint8, baseCells)
	for n, h := range homes {
		z := eisenstein{2 * scale, 0}
		if h.place != atCorner {
			z = steps[h.place].times(scale)
		}
		at[onFace(h.face, z).settle().key()] = uint8(n)
	}
	return at
}
