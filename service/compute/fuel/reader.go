package fuel

import (
	"unicode/utf8"

	"github.com/cairn-network/cairn/core/types"
)

// refusal is what decoding panics with. Rewrite recovers it.
type refusal struct{ err error }

// reader reads a module from b[at:end]. It panics with a refusal where the bytes end or are not what they must be.
type reader struct {
	b       []byte
	at, end int
}

func (r *reader) refuse(at int, reason types.Reason, format string, args ...any) {
	panic(refusal{types.Refuse(reason, "at byte %d: "+format, append([]any{at}, args...)...)})
}

func (r *reader) bad(at int, format string, args ...any) { r.refuse(at, BadModule, format, args...) }

func (r *reader) more() bool { return r.at < r.end }

func (r *reader) byte() byte {
	if r.at >= r.end {
		r.bad(r.at, "the module or section ends too early")
	}
	r.at++
	return r.b[r.at-1]
}

// peek returns the next byte, or 0 where there is none.
func (r *reader) peek() byte {
	if r.at >= r.end {
		return 0
	}
	return r.b[r.at]
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.end-r.at) {
		r.bad(r.at, "%d bytes are announced, and %d are left", n, r.end-r.at)
	}
	r.at += int(n)
	return r.b[r.at-int(n) : r.at]
}

// u32 reads an unsigned number of up to 5 bytes. Longer than needed is fine, as linkers write; longer than 5 is not.
func (r *reader) u32() uint32 {
	if r.at < r.end && r.b[r.at] < 0x80 {
		r.at++
		return uint32(r.b[r.at-1])
	}
	at, v := r.at, uint32(0)
	for shift := 0; ; shift += 7 {
		b := r.byte()
		if shift == 28 && b > 0x0f {
			r.bad(at, "a number is longer than 32 bits")
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

// signed reads a signed number of the given bits (32, 33 or 64).
func (r *reader) signed(bits int) int64 {
	at, v := r.at, int64(0)
	for shift := 0; ; shift += 7 {
		b := r.byte()
		if left := bits - shift; left < 7 {
			// The last byte: the bits beyond the number repeat its sign.
			if over := int8(b<<1) >> left; b >= 0x80 || over != 0 && over != -1 {
				r.bad(at, "a number is longer than %d bits", bits)
			}
		}
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if shift+7 < 64 {
				v = v << (64 - shift - 7) >> (64 - shift - 7)
			}
			return v
		}
	}
}

// count reads how many items follow, each at least a byte long.
func (r *reader) count(what string, limit int) int {
	at := r.at
	n := r.u32()
	if uint64(n) > uint64(limit) {
		r.refuse(at, TooLarge, "%d %s, at most %d", n, what, limit)
	}
	if uint64(n) > uint64(r.end-r.at) {
		r.bad(at, "%d %s do not fit into %d bytes", n, what, r.end-r.at)
	}
	return int(n)
}

func (r *reader) name() string {
	at := r.at
	b := r.bytes(r.u32())
	if !utf8.Valid(b) {
		r.bad(at, "a name is not UTF-8")
	}
	return string(b)
}

// index reads a number below n.
func (r *reader) index(what string, n int) uint32 {
	at := r.at
	i := r.u32()
	if uint64(i) >= uint64(n) {
		r.bad(at, "%s %d of %d", what, i, n)
	}
	return i
}

// appendU and appendS write numbers in the shortest form.
func appendU(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendS(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c < 0x40 || v == -1 && c >= 0x40 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendBytes(b, v []byte) []byte { return append(appendU(b, uint64(len(v))), v...) }
