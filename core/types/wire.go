package types

import "encoding/binary"

// Encode and Decode go through reflection. What there are millions of (receipts, records of a tally's state) is
// written and read by hand with the functions below, to the same bytes; tests hold each such type against
// Encode.

// Major types of CBOR (RFC 8949 §3.1), shifted into place, for AppendHead and Cursor.Head.
const (
	MajorUint  = 0 << 5
	MajorBytes = 2 << 5
	MajorText  = 3 << 5
	MajorArray = 4 << 5
)

// Simple values of CBOR (RFC 8949 §3.3).
const (
	cborFalse = 0xf4
	cborTrue  = 0xf5

	// CBORNull is null, in one byte.
	CBORNull = 0xf6
)

// AppendHead appends the head of a value of a major type (MajorUint and so on): its number, in the shortest form.
func AppendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

// AppendUint appends an unsigned integer.
func AppendUint[T ~uint8 | ~uint16 | ~uint32 | ~uint64](b []byte, n T) []byte {
	return AppendHead(b, MajorUint, uint64(n))
}

// AppendBytes appends a byte string.
func AppendBytes(b, s []byte) []byte { return append(AppendHead(b, MajorBytes, uint64(len(s))), s...) }

// AppendText appends a text string, which must be UTF-8.
func AppendText(b []byte, s string) []byte {
	return append(AppendHead(b, MajorText, uint64(len(s))), s...)
}

// AppendBool appends a Boolean.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, cborTrue)
	}
	return append(b, cborFalse)
}

// AppendU128 appends u as MarshalCBOR does.
func AppendU128(b []byte, u U128) []byte {
	if u.Hi == 0 {
		return AppendUint(b, u.Lo)
	}
	e, _ := u.MarshalCBOR() // cannot fail
	return append(b, e...)
}

// Cursor reads what the functions above wrote, and refuses every other form of it. After an error it returns
// zeros, so only End needs to be looked at. It never copies.
type Cursor struct {
	b   []byte
	err error
}

// NewCursor returns a cursor over b.
func NewCursor(b []byte) Cursor { return Cursor{b: b} }

// Len returns how many bytes are left; 0 after an error.
func (c *Cursor) Len() int { return len(c.b) }

// Err returns ErrEncoding after the first thing that was refused.
func (c *Cursor) Err() error { return c.err }

// Fail makes the cursor refuse what it read last.
func (c *Cursor) Fail() { c.err, c.b = ErrEncoding, nil }

// Head reads the head of a value of a major type.
func (c *Cursor) Head(major byte) uint64 {
	if len(c.b) == 0 || c.b[0]&0xe0 != major {
		c.Fail()
		return 0
	}
	low := c.b[0] & 31
	if low < 24 {
		c.b = c.b[1:]
		return uint64(low)
	}
	if low > 27 {
		c.Fail()
		return 0
	}
	size := 1 << (low - 24)
	if len(c.b) < 1+size {
		c.Fail()
		return 0
	}
	var n uint64
	for _, x := range c.b[1 : 1+size] {
		n = n<<8 | uint64(x)
	}
	least := uint64(24)
	if size > 1 {
		least = 1 << (4 * size)
	}
	if n < least {
		c.Fail()
		return 0
	}
	c.b = c.b[1+size:]
	return n
}

// Uint reads an unsigned integer of at most max.
func (c *Cursor) Uint(max uint64) uint64 {
	n := c.Head(MajorUint)
	if n > max {
		c.Fail()
		return 0
	}
	return n
}

// U64 reads an unsigned integer.
func (c *Cursor) U64() uint64 { return c.Head(MajorUint) }

// Bytes reads a byte string, which stays part of what is read.
func (c *Cursor) Bytes() []byte {
	n := c.Head(MajorBytes)
	if n > uint64(len(c.b)) {
		c.Fail()
		return nil
	}
	s := c.b[:n:n]
	c.b = c.b[n:]
	return s
}

// Fixed reads a byte string of exactly len(dst) bytes.
func (c *Cursor) Fixed(dst []byte) {
	s := c.Bytes()
	if c.err == nil && len(s) != len(dst) {
		c.Fail()
	}
	copy(dst, s)
}

// Bool reads a Boolean.
func (c *Cursor) Bool() bool {
	if len(c.b) == 0 || c.b[0] != cborTrue && c.b[0] != cborFalse {
		c.Fail()
		return false
	}
	v := c.b[0] == cborTrue
	c.b = c.b[1:]
	return v
}

// U128 reads what AppendU128 wrote.
func (c *Cursor) U128() U128 {
	if len(c.b) == 0 || c.b[0] != 0xc2 {
		return U64(c.U64())
	}
	n := 0
	if len(c.b) > 1 {
		n = 2 + int(c.b[1]&31)
	}
	var u U128
	if n < 2 || n > len(c.b) || u.UnmarshalCBOR(c.b[:n]) != nil {
		c.Fail()
		return U128{}
	}
	c.b = c.b[n:]
	return u
}

// Text reads a text string of at most max bytes. It does not check that it is UTF-8: callers compare it.
func (c *Cursor) Text(max int) []byte {
	n := c.Head(MajorText)
	if n > uint64(min(max, len(c.b))) {
		c.Fail()
		return nil
	}
	s := c.b[:n:n]
	c.b = c.b[n:]
	return s
}

// Array reads the head of an array of at most max elements and returns their number.
func (c *Cursor) Array(max int) int {
	n := c.Head(MajorArray)
	if n > uint64(max) {
		c.Fail()
		return 0
	}
	return int(n)
}

// End reports an error unless everything was read.
func (c *Cursor) End() error {
	if c.err == nil && len(c.b) != 0 {
		c.err = ErrEncoding
	}
	return c.err
}
