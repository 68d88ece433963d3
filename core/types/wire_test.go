package types

import (
	"bytes"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"
)

// TestCursor: what is written by hand is what Encode writes, and reads back.
func TestCursor(t *testing.T) {
	type all struct {
		_ struct{} `cbor:",toarray"`
		N uint64
		S []byte
		T string
		B bool
		U U128
		H Hash
	}
	rapid.Check(t, func(t *rapid.T) {
		v := all{N: drawWord(t, "n"), S: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "s"), T: rapid.String().Draw(t, "t"),
			B: rapid.Bool().Draw(t, "b"), U: U128{Hi: drawWord(t, "hi"), Lo: drawWord(t, "lo")}, H: Sum([]byte{1})}
		b := AppendText(AppendBytes(AppendUint([]byte{MajorArray | 6}, v.N), v.S), v.T)
		b = AppendBytes(AppendU128(AppendBool(b, v.B), v.U), v.H[:])
		if want := Encode(v); !bytes.Equal(b, want) {
			t.Fatalf("%x, want %x", b, want)
		}
		c := NewCursor(b)
		var h Hash
		if n := c.Array(6); n != 6 || c.U64() != v.N || !bytes.Equal(c.Bytes(), v.S) || string(c.Text(len(b))) != v.T || c.Bool() != v.B || c.U128() != v.U {
			t.Fatalf("%x reads back differently", b)
		}
		if c.Fixed(h[:]); c.End() != nil || h != v.H {
			t.Fatalf("%x: %v", b, c.Err())
		}
		for _, bad := range [][]byte{b[:len(b)-1], append(b[:len(b):len(b)], 0)} {
			c := NewCursor(bad)
			c.Array(6)
			c.U64()
			c.Bytes()
			c.Text(len(b))
			c.Bool()
			c.U128()
			c.Fixed(h[:])
			if c.End() == nil {
				t.Fatalf("%x reads", bad)
			}
		}
	})
}

// TestCursorRefuses: other forms of a value are refused.
func TestCursorRefuses(t *testing.T) {
	for _, s := range []string{"1817", "1900ff", "1a0000ffff", "1b00000000ffffffff", "1c", "1f", "20", "40", "", "18", "f6",
		"c24100", "c2", "c249000000000000000001", "3b", "c2490100000000000000"} {
		b, _ := hex.DecodeString(s)
		c := NewCursor(b)
		c.U128()
		if c.End() == nil {
			t.Errorf("%s reads as a number", s)
		}
	}
	for _, s := range []string{"41", "5803010203", "58ff", "5f", "60", "590001ff"} {
		b, _ := hex.DecodeString(s)
		c := NewCursor(b)
		c.Bytes()
		if c.End() == nil {
			t.Errorf("%s reads as bytes", s)
		}
	}
}
