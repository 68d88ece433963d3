package tally

import (
	"encoding/binary"
	"errors"

	"github.com/cairn-network/cairn/core/types"
)

// The state is made of small records, millions of them, so their deterministic CBOR is written and read by hand. Tests hold
// every record against types.Encode of the same struct.

// Major types of CBOR (RFC 8949 §3.1), shifted into place.
const (
	majorUint  = 0 << 5
	majorBytes = 2 << 5
	majorText  = 3 << 5
	majorArray = 4 << 5
	majorMap   = 5 << 5

	cborFalse = 0xf4
	cborTrue  = 0xf5
	cborNull  = 0xf6
)

func appendHead(b []byte, major byte, n uint64) []byte {
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

func appendUint[T ~uint8 | ~uint16 | ~uint32 | ~uint64](b []byte, n T) []byte {
	return appendHead(b, majorUint, uint64(n))
}

func appendBytes(b, s []byte) []byte { return append(appendHead(b, majorBytes, uint64(len(s))), s...) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, cborTrue)
	}
	return append(b, cborFalse)
}

func appendU128(b []byte, u types.U128) []byte {
	if u.Hi == 0 {
		return appendUint(b, u.Lo)
	}
	e, _ := u.MarshalCBOR() // cannot fail
	return append(b, e...)
}

// errWire is what a cursor reports; callers say what they were reading.
var errWire = errors.New("not the one encoding")

// cursor reads what the functions above wrote, and refuses every other form of it. After an error it returns zeros, so only
// err needs to be looked at in the end.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail() {
	c.err, c.b = errWire, nil
}

// head reads the head of a value of a major type: its number, in the shortest form.
func (c *cursor) head(major byte) uint64 {
	if len(c.b) == 0 || c.b[0]&0xe0 != major {
		c.fail()
		return 0
	}
	low := c.b[0] & 31
	if low < 24 {
		c.b = c.b[1:]
		return uint64(low)
	}
	if low > 27 {
		c.fail()
		return 0
	}
	size := 1 << (low - 24)
	if len(c.b) < 1+size {
		c.fail()
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
		c.fail()
		return 0
	}
	c.b = c.b[1+size:]
	return n
}

// uint reads an unsigned integer of at most max.
func (c *cursor) uint(max uint64) uint64 {
	n := c.head(majorUint)
	if n > max {
		c.fail()
		return 0
	}
	return n
}

func (c *cursor) u64() uint64 { return c.head(majorUint) }

// bytes reads a byte string, which stays part of what is read.
func (c *cursor) bytes() []byte {
	n := c.head(majorBytes)
	if n > uint64(len(c.b)) {
		c.fail()
		return nil
	}
	s := c.b[:n:n]
	c.b = c.b[n:]
	return s
}

// fixed reads a byte string of exactly len(dst) bytes.
func (c *cursor) fixed(dst []byte) {
	s := c.bytes()
	if c.err == nil && len(s) != len(dst) {
		c.fail()
	}
	copy(dst, s)
}

func (c *cursor) bool() bool {
	if len(c.b) == 0 || c.b[0] != cborTrue && c.b[0] != cborFalse {
		c.fail()
		return false
	}
	v := c.b[0] == cborTrue
	c.b = c.b[1:]
	return v
}

func (c *cursor) u128() types.U128 {
	if len(c.b) == 0 || c.b[0] != 0xc2 {
		return types.U64(c.u64())
	}
	n := 0
	if len(c.b) > 1 {
		n = 2 + int(c.b[1]&31)
	}
	var u types.U128
	if n < 2 || n > len(c.b) || u.UnmarshalCBOR(c.b[:n]) != nil {
		c.fail()
		return types.U128{}
	}
	c.b = c.b[n:]
	return u
}

// array reads the head of an array of at most max elements and returns their number.
func (c *cursor) array(max int) int {
	n := c.head(majorArray)
	if n > uint64(max) {
		c.fail()
		return 0
	}
	return int(n)
}

// end reports an error unless everything was read.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) != 0 {
		c.err = errWire
	}
	return c.err
}
