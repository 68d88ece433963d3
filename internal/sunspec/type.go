package sunspec

import (
	"fmt"
	"math/bits"
)

// Type is how a point is written. All are big-endian, in words of 16 bits.
type Type uint8

// The types of points, with the value that says "not implemented".
const (
	Uint16  Type = iota // 0xffff
	Int16               // 0x8000
	Uint32              // 0xffffffff
	Uint64              // 0xffffffffffffffff
	Acc32               // 0: a counter that goes over from 2³²−1 to 0
	Enum16              // 0xffff
	Bits16              // 0xffff
	Bits32              // 0xffffffff
	Float32             // not a number
	Scale               // 0x8000: a power of ten, -10 to 10, for the points that name it
	Text                // no characters: padded with zero bytes
	Pad                 // 0x8000
)

// typeForms are the types' names, in tables and for people, their words and their bits of "not implemented".
var typeForms = [...]struct {
	name  string
	words int
	none  uint64
}{
	Uint16: {"uint16", 1, 0xffff}, Int16: {"int16", 1, 0x8000}, Uint32: {"uint32", 2, 0xffffffff}, Uint64: {"uint64", 4, 1<<64 - 1},
	Acc32: {"acc32", 2, 0}, Enum16: {"enum16", 1, 0xffff}, Bits16: {"bits16", 1, 0xffff}, Bits32: {"bits32", 2, 0xffffffff},
	Float32: {"float32", 2, 0x7fc00000}, Scale: {"sf", 1, 0x8000}, Text: {"string", 0, 0}, Pad: {"pad", 1, 0x8000},
}

// String returns the type's name.
func (t Type) String() string {
	if int(t) < len(typeForms) {
		return typeForms[t].name
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Number is a decimal: Mantissa · 10^Exp.
type Number struct {
	Mantissa int64
	Exp      int8
}

// Floor returns n in units of 10^exp, rounded down; false if it does not fit.
func (n Number) Floor(exp int8) (int64, bool) {
	v := n.Mantissa
	for e := int(n.Exp); e > int(exp); e-- {
		if v > (1<<63-1)/10 || v < -(1<<63-1)/10 {
			return 0, false
		}
		v *= 10
	}
	for e := int(n.Exp); e < int(exp) && v != 0 && v != -1; e++ {
		q := v / 10
		if v%10 < 0 {
			q--
		}
		v = q
	}
	return v, true
}

// Times returns n·m; false if it does not fit.
func (n Number) Times(m Number) (Number, bool) {
	hi, lo := bits.Mul64(abs(n.Mantissa), abs(m.Mantissa))
	exp := int(n.Exp) + int(m.Exp)
	if hi != 0 || lo > 1<<63-1 || exp < -128 || exp > 127 {
		return Number{}, false
	}
	if v := int64(lo); n.Mantissa < 0 == (m.Mantissa < 0) {
		return Number{v, int8(exp)}, true
	} else {
		return Number{-v, int8(exp)}, true
	}
}

func abs(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}
