package evidence

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/cairn-network/cairn/core/types"
)

// reader reads the deterministic CBOR of a payload. Every envelope passes here, so it is written out instead of
// left to a library; the tests hold it against one. It refuses whatever is not the shortest form.
type reader struct {
	b   []byte
	bad bool
}

// head reads a head of major type and returns its argument.
func (r *reader) head(major byte) uint64 {
	if r.bad || len(r.b) == 0 || r.b[0]>>5 != major {
		r.bad = true
		return 0
	}
	info := r.b[0] & 0x1f
	r.b = r.b[1:]
	if info < 24 {
		return uint64(info)
	}
	width := 1 << (info - 24)
	if info > 27 || len(r.b) < width {
		r.bad = true
		return 0
	}
	var wide [8]byte
	copy(wide[8-width:], r.b)
	r.b = r.b[width:]
	v := binary.BigEndian.Uint64(wide[:])
	if width == 1 && v < 24 || width > 1 && v>>(4*width) == 0 {
		r.bad = true // a shorter head holds it
	}
	return v
}

// entry reads the key of the next field, and its value's head of major type.
func (r *reader) entry(key uint64, major byte) uint64 {
	if r.head(0) != key {
		r.bad = true
	}
	return r.head(major)
}

// take returns the next n bytes.
func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// fixed reads a byte string of exactly len(out) bytes into out, after its head said n.
func (r *reader) fixed(out []byte, n uint64) {
	if n != uint64(len(out)) {
		r.bad = true
		return
	}
	copy(out, r.take(n))
}

const (
	uintType  = 0
	bytesType = 2
	textType  = 3
	arrayType = 4
	mapType   = 5
)

// fields is how many a payload has.
const fields = 8

// decodePayload reads b into p; p.Body and p.Chain are copies or parts of b.
func decodePayload(b []byte, p *Payload) error {
	r := &reader{b: b}
	if n := r.head(mapType); n > fields && !r.bad {
		return types.Refuse(types.UnknownField, "evidence: a payload of %d fields, want %d", n, fields)
	} else if n != fields {
		r.bad = true
	}
	chain := r.take(r.entry(1, textType))
	category, kind := r.entry(2, uintType), r.entry(3, uintType)
	p.Epoch, p.Seq = types.Epoch(r.entry(4, uintType)), r.entry(5, uintType)
	r.fixed(p.Prev[:], r.entry(6, bytesType))
	if r.entry(7, arrayType) != 2 {
		r.bad = true
	}
	p.Anchor.Height = r.head(uintType)
	r.fixed(p.Anchor.Hash[:], r.head(bytesType))
	p.Body = r.take(r.entry(8, bytesType))
	if r.bad || len(r.b) != 0 || category > 1<<16-1 || kind > 1<<16-1 || !utf8.Valid(chain) {
		return types.Refuse(types.BadEncoding, "evidence: the payload is not deterministic CBOR of its %d fields", fields)
	}
	p.Chain, p.Category, p.Kind = string(chain), types.Category(category), Kind(kind)
	return nil
}
