package types

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
)

// ErrOverflow: the result of an unsigned operation does not fit, or would be negative.
var ErrOverflow = errors.New("types: unsigned overflow")

// U128 is an unsigned integer below 2¹²⁸: Hi·2⁶⁴ + Lo. It counts units, which may be as small as a byte for an epoch.
//
// The zero value is 0, and two values are equal exactly when == says so. It prints and parses in decimal (also
// in JSON, as a string), and encodes as RFC 8949 demands: see MarshalCBOR.
type U128 struct{ Hi, Lo uint64 }

// MaxU128 is 2¹²⁸ − 1.
var MaxU128 = U128{Hi: 1<<64 - 1, Lo: 1<<64 - 1}

// U64 returns x as a U128.
func U64(x uint64) U128 { return U128{Lo: x} }

// Mul64 returns x·y, which always fits.
func Mul64(x, y uint64) U128 {
	hi, lo := bits.Mul64(x, y)
	return U128{hi, lo}
}

// IsZero reports whether u is 0.
func (u U128) IsZero() bool { return u == U128{} }

// Cmp returns −1, 0 or +1 as u is below, equal to or above v.
func (u U128) Cmp(v U128) int {
	if c := cmp.Compare(u.Hi, v.Hi); c != 0 {
		return c
	}
	return cmp.Compare(u.Lo, v.Lo)
}

// Uint64 returns u, and whether it fits.
func (u U128) Uint64() (uint64, bool) { return u.Lo, u.Hi == 0 }

// Add returns u + v, or ErrOverflow.
func (u U128) Add(v U128) (U128, error) {
	lo, carry := bits.Add64(u.Lo, v.Lo, 0)
	hi, carry := bits.Add64(u.Hi, v.Hi, carry)
	if carry != 0 {
		return U128{}, fmt.Errorf("%s + %s: %w", u, v, ErrOverflow)
	}
	return U128{hi, lo}, nil
}

// Sub returns u − v, or ErrOverflow where v is above u.
func (u U128) Sub(v U128) (U128, error) {
	lo, borrow := bits.Sub64(u.Lo, v.Lo, 0)
	hi, borrow := bits.Sub64(u.Hi, v.Hi, borrow)
	if borrow != 0 {
		return U128{}, fmt.Errorf("%s - %s: %w", u, v, ErrOverflow)
	}
	return U128{hi, lo}, nil
}

// MulDiv returns ⌊u · mul / div⌋ with an exact intermediate product, or ErrOverflow where the result does not
// fit or div is 0.
func (u U128) MulDiv(mul, div uint64) (U128, error) {
	// The product has three words p2, p1, p0; it is divided as on paper, a word at a time.
	h1, p0 := bits.Mul64(u.Lo, mul)
	p2, l1 := bits.Mul64(u.Hi, mul)
	p1, carry := bits.Add64(l1, h1, 0)
	p2 += carry // cannot overflow: the high word of a product is at most 2⁶⁴ − 2
	if p2 >= div {
		return U128{}, fmt.Errorf("%s * %d / %d: %w", u, mul, div, ErrOverflow)
	}
	hi, rem := bits.Div64(p2, p1, div)
	lo, _ := bits.Div64(rem, p0, div)
	return U128{hi, lo}, nil
}

// ten19 is the largest power of ten that a word holds.
const ten19 = 10_000_000_000_000_000_000

// String returns u in decimal.
func (u U128) String() string {
	if u.Hi == 0 {
		return strconv.FormatUint(u.Lo, 10)
	}
	// 2¹²⁸ < 10³⁹, so at most three groups of 19 digits.
	q1, r1 := u.Hi/ten19, u.Hi%ten19
	q0, low := bits.Div64(r1, u.Lo, ten19)
	if q1 == 0 {
		return fmt.Sprintf("%d%019d", q0, low)
	}
	high, mid := bits.Div64(q1, q0, ten19)
	if high == 0 {
		return fmt.Sprintf("%d%019d", mid, low)
	}
	return fmt.Sprintf("%d%019d%019d", high, mid, low)
}

// ParseU128 reads the decimal that String prints: digits only, no leading zero.
func ParseU128(s string) (U128, error) {
	if s == "" || len(s) > 39 || len(s) > 1 && s[0] == '0' {
		return U128{}, fmt.Errorf("types: u128 %.50q: want 1 to 39 digits without a leading zero", s)
	}
	var u U128
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return U128{}, fmt.Errorf("types: u128 %q: %q is not a digit", s, s[i])
		}
		tens, err := u.MulDiv(10, 1)
		if err == nil {
			u, err = tens.Add(U64(uint64(d)))
		}
		if err != nil {
			return U128{}, fmt.Errorf("types: u128 %q: %w", s, ErrOverflow)
		}
	}
	return u, nil
}

// MarshalText implements encoding.TextMarshaler.
func (u U128) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *U128) UnmarshalText(text []byte) error {
	parsed, err := ParseU128(string(text))
	if err == nil {
		*u = parsed
	}
	return err
}

// CBOR initial bytes (RFC 8949, sections 3.1 and 3.4.3).
const (
	cborUint8    = 24   // major type 0, the value in the next byte; 25, 26, 27: in 2, 4, 8 bytes
	cborBytes    = 0x40 // major type 2, length in the low five bits
	cborBigCount = 0xc2 // tag 2: unsigned bignum
)

// MarshalCBOR encodes u in the preferred serialization of RFC 8949, section 3.4.3: the shortest unsigned
// integer up to 2⁶⁴ − 1, and above it tag 2 with a byte string of 9 to 16 bytes that does not begin with zero.
func (u U128) MarshalCBOR() ([]byte, error) {
	b := make([]byte, 1, 18)
	switch x := u.Lo; {
	case u.Hi != 0:
		var full [16]byte
		binary.BigEndian.PutUint64(full[:8], u.Hi)
		binary.BigEndian.PutUint64(full[8:], u.Lo)
		sig := full[bits.LeadingZeros64(u.Hi)/8:]
		b[0] = cborBigCount
		return append(append(b, cborBytes|byte(len(sig))), sig...), nil
	case x < cborUint8:
		b[0] = byte(x)
		return b, nil
	case x <= 0xff:
		b[0] = cborUint8
		return append(b, byte(x)), nil
	case x <= 0xffff:
		b[0] = cborUint8 + 1
		return binary.BigEndian.AppendUint16(b, uint16(x)), nil
	case x <= 0xffff_ffff:
		b[0] = cborUint8 + 2
		return binary.BigEndian.AppendUint32(b, uint32(x)), nil
	default:
		b[0] = cborUint8 + 3
		return binary.BigEndian.AppendUint64(b, x), nil
	}
}

// UnmarshalCBOR decodes exactly what MarshalCBOR produces and refuses every other form of the same number.
func (u *U128) UnmarshalCBOR(b []byte) error {
	parsed, ok := decodeU128(b)
	if !ok {
		return fmt.Errorf("types: u128 from CBOR %.20x: not an unsigned integer in preferred serialization", b)
	}
	*u = parsed
	return nil
}

func decodeU128(b []byte) (U128, bool) {
	switch {
	case len(b) == 0:
		return U128{}, false
	case b[0] == cborBigCount:
		if len(b) < 2+9 || len(b) > 2+16 || b[1] != cborBytes|byte(len(b)-2) || b[2] == 0 {
			return U128{}, false
		}
		var full [16]byte
		copy(full[16-(len(b)-2):], b[2:])
		return U128{binary.BigEndian.Uint64(full[:8]), binary.BigEndian.Uint64(full[8:])}, true
	case len(b) == 1:
		return U128{Lo: uint64(b[0])}, b[0] < cborUint8
	case b[0] < cborUint8 || b[0] > cborUint8+3 || len(b) != 1+1<<(b[0]-cborUint8):
		return U128{}, false
	}
	var word [8]byte
	copy(word[8-(len(b)-1):], b[1:])
	x := binary.BigEndian.Uint64(word[:])
	// The shortest form: the value must not fit in half the bytes (one byte: in the initial byte).
	least := uint64(cborUint8)
	if n := len(b) - 1; n > 1 {
		least = 1 << (4 * n)
	}
	return U128{Lo: x}, x >= least
}

// Sqrt returns ⌊√u⌋.
func (u U128) Sqrt() uint64 {
	const most = 1<<64 - 1
	if u.Hi >= most-1 {
		if u.Hi == most || u.Lo > 0 {
			return most // most² = 2¹²⁸ − 2⁶⁵ + 1
		}
		return most - 1
	}
	if u.IsZero() {
		return 0
	}
	// Newton's method falls to the root from any start that is not below it.
	n := bits.Len64(u.Lo)
	if u.Hi != 0 {
		n = 64 + bits.Len64(u.Hi)
	}
	x := uint64(most)
	if n <= 126 {
		x = 1 << ((n + 1) / 2)
	}
	for {
		q, _ := bits.Div64(u.Hi, u.Lo, x) // x ≥ ⌊√u⌋ > u.Hi, or u.Hi is 0
		if q >= x {
			return x
		}
		x = q + (x-q)/2
	}
}
