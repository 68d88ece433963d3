package types

import (
	"fmt"
	"math/bits"
	"strconv"
)

// Cell is a place: an H3 index (h3geo.org) of a hexagon, or of one of twelve pentagons, at resolution 0 (4
// million km²) to 15 (0.9 m²). The zero Cell means none. It prints and parses as lower-case hexadecimal, as
// h3-js writes it, and is a plain unsigned integer in CBOR, where any value decodes: whoever takes a cell from
// outside asks Valid. Parents come from its bits alone, so a place and its coarser cells cannot disagree.
//
// Bits, from the highest: 0, mode 1 (4 bits), reserved 0 (3), resolution (4), base cell 0…121 (7), then fifteen
// digits of 3 bits, one per resolution from 1: 0 is the middle child, 1…6 the six around it, 7 says unused.
type Cell uint64

// MaxResolution is the finest resolution of a cell; its hexagons have edges of 0.6 m.
const MaxResolution = 15

const (
	cellHead  = 0b0_0001_000 // the top 8 bits: mode cell, nothing reserved
	baseCells = 122
	noDigit   = 7

	// Digits are numbered so that bit 2 stands for the i axis of the grid, bit 1 for j and bit 0 for k.
	digitK  = 1
	digitI  = 4
	digitIK = 5
)

// ParseCell reads a cell in hexadecimal and refuses an index that is not valid.
func ParseCell(s string) (Cell, error) {
	x, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("types: cell %.20q: not hexadecimal of 64 bits", s)
	}
	c := Cell(x)
	if !c.Valid() || c.String() != s {
		return 0, fmt.Errorf("types: cell %q: not an H3 cell in lower case", s)
	}
	return c, nil
}

// String returns c in lower-case hexadecimal without leading zeros.
func (c Cell) String() string { return strconv.FormatUint(uint64(c), 16) }

// MarshalText implements encoding.TextMarshaler.
func (c Cell) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It takes valid cells, and "0" for none.
func (c *Cell) UnmarshalText(text []byte) error {
	if string(text) == "0" {
		*c = 0
		return nil
	}
	parsed, err := ParseCell(string(text))
	if err == nil {
		*c = parsed
	}
	return err
}

// Resolution returns 0 to 15.
func (c Cell) Resolution() int { return int(c >> 52 & 15) }

// BaseCell returns the number of the resolution-0 cell that c descends from: 0 to 121 for a valid cell.
func (c Cell) BaseCell() int { return int(c >> 45 & 127) }

// digit returns the place of c's ancestor of resolution res ≥ 1 among its parent's children.
func (c Cell) digit(res int) int { return int(c >> (3 * (MaxResolution - res)) & 7) }

func (c *Cell) setDigit(res, digit int) {
	shift := 3 * (MaxResolution - res)
	*c = *c&^(7<<shift) | Cell(digit)<<shift
}

// firstDigit returns the first digit that is not 0, or 0 where there is none; it is what pentagons depend on.
func (c Cell) firstDigit() int {
	for res := 1; res <= c.Resolution(); res++ {
		if d := c.digit(res); d != 0 {
			return d
		}
	}
	return 0
}

// Valid reports whether c is a cell that exists. A pentagon has no child 1; its index is the deleted subsequence.
func (c Cell) Valid() bool {
	if c>>56 != cellHead || c.BaseCell() >= baseCells {
		return false
	}
	for res := 1; res <= MaxResolution; res++ {
		if used := res <= c.Resolution(); used == (c.digit(res) == noDigit) {
			return false
		}
	}
	return !isPentagonBase(c.BaseCell()) || c.firstDigit() != digitK
}

// IsPentagon reports whether the valid cell c has five neighbours.
func (c Cell) IsPentagon() bool { return isPentagonBase(c.BaseCell()) && c.firstDigit() == 0 }

// Parent returns the cell of resolution res that holds c by index, which is c itself at its own resolution, and
// 0 where res is finer than c or out of range.
func (c Cell) Parent(res int) Cell {
	if res < 0 || res > c.Resolution() {
		return 0
	}
	unused := Cell(1)<<(3*(MaxResolution-res)) - 1
	return c&^(15<<52) | Cell(res)<<52 | unused
}

// Contains reports whether d is c or descends from it.
func (c Cell) Contains(d Cell) bool { return c != 0 && d.Parent(c.Resolution()) == c }

// isPentagonBase is asked with seven bits from an index, so the bound is part of the question.
func isPentagonBase(base int) bool {
	return base < baseCells && homes[base].place == atCorner
}

// newCell returns the cell of resolution res in a base cell whose digits are all 0.
func newCell(base, res int) Cell {
	return Cell(cellHead)<<56 | Cell(res)<<52 | Cell(base)<<45 | (1<<(3*(MaxResolution-res)) - 1)
}

// Vector is a direction from the earth's centre: a unit vector in 2⁻⁶⁰, x towards latitude 0, longitude 0, y
// towards longitude 90° east, z towards the north pole, as H3 has them (on a sphere, so latitude is geodetic
// latitude unchanged).
type Vector [3]int64

// One is the length of a Vector.
const One = 1 << 60

// EarthRadius is the sphere's radius in metres: WGS 84 authalic, rounded. H3 uses 6371007.180918475.
const EarthRadius = 6_371_007

// Chord2 returns the squared length of the chord between v and w, in 2⁻¹²⁰ of the squared radius. It grows with
// distance, so it is what to compare by.
func (v Vector) Chord2(w Vector) U128 {
	var sum U128
	for i := range v {
		d := v[i] - w[i]
		if d < 0 {
			d = -d
		}
		// Three squares below 2¹²² each: no overflow for unit vectors, and none to fear for three of 2¹²⁴.
		sq := Mul64(uint64(d), uint64(d))
		lo, carry := bits.Add64(sum.Lo, sq.Lo, 0)
		hi, _ := bits.Add64(sum.Hi, sq.Hi, carry)
		sum = U128{hi, lo}
	}
	return sum
}

// Distance returns the length of the chord between v and w in millimetres, rounded down. It is below the way
// along the ground by less than 1 mm at 9 km, 1 m at 99 km, and 1 part in 1,000 at 990 km.
func (v Vector) Distance(w Vector) uint64 {
	hi, lo := bits.Mul64(v.Chord2(w).Sqrt(), EarthRadius*1000)
	return hi<<4 | lo>>60
}
