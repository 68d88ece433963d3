package fuel

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// float is one of the two float types: its letter, and how tests write and see it.
type float struct {
	t           byte
	constant    byte
	bits        int
	reinterpret byte
	store       byte
	copysign    byte
	neg, abs    byte
	add         byte
	nan, sign   uint64
	one, odd    uint64 // 1, and a negative NaN that is not canonical
}

var floats = []float{
	{'f', opF32Const, 32, 0xbc, 0x38, 0x98, 0x8c, 0x8b, 0x92, 0x7fc00000, 1 << 31, 0x3f800000, 0xffa12345},
	{'d', opF64Const, 64, 0xbd, 0x39, 0xa6, 0x9a, 0x99, 0xa0, 0x7ff8000000000000, 1 << 63, 0x3ff0000000000000, 0xfff4000000012345},
}

func (f float) push(bits uint64) []byte {
	if f.bits == 32 {
		return binary.LittleEndian.AppendUint32([]byte{f.constant}, uint32(bits))
	}
	return binary.LittleEndian.AppendUint64([]byte{f.constant}, bits)
}

// TestNaN: whatever makes a NaN, and wherever its bits are seen, they are the canonical ones.
func TestNaN(t *testing.T) {
	for _, f := range floats {
		other := floats[0]
		if f.t == 'f' {
			other = floats[1]
		}
		for o := range simple {
			if makesNaN(byte(o)) != letter(f.t) {
				continue
			}
			from := f
			if simple[o].in == string(other.t) {
				from = other // promote and demote
			}
			var made [][]byte
			switch len(simple[o].in) {
			case 1:
				made = append(made, cat(from.push(from.odd), []byte{byte(o)}))
			case 2:
				made = append(made, cat(f.push(f.odd), f.push(f.one), []byte{byte(o)}), cat(f.push(f.one), f.push(f.odd), []byte{byte(o)}), cat(f.push(f.odd), f.push(f.nan), []byte{byte(o)}))
			}
			for i, x := range made {
				seen(t, f, fmt.Sprintf("0x%x %d", o, i), x)
			}
		}
		// Made of numbers: the processor chooses the sign then, and x86 chooses another than Arm.
		inf := f.nan &^ (f.nan & -f.nan)
		seen(t, f, "sqrt(-1)", cat(f.push(f.one|f.sign), []byte{map[byte]byte{'f': 0x91, 'd': 0x9f}[f.t]}))
		seen(t, f, "0/0", cat(f.push(0), f.push(0), []byte{f.add + 3}))
		seen(t, f, "inf-inf", cat(f.push(inf), f.push(inf), []byte{f.add + 1}))
	}
}

// seen looks at what x leaves, in each way in which a module can.
func seen(t *testing.T, f float, name string, x []byte) {
	t.Helper()
	typ, bits := string(f.t), "i"
	load := []byte{opI32Load, 2, 0}
	if f.bits == 64 {
		bits, load = "l", []byte{0x29, 3, 0}
	}
	re := []byte{f.reinterpret}
	for _, c := range []struct {
		how  string
		code []byte
		want uint64
	}{
		{"bits", cat(x, re), f.nan},
		{"through a local", cat(x, op(opLocalSet, 0), op(opLocalGet, 0), re), f.nan},
		{"through a call", cat(x, op(opCall, 2), re), f.nan},
		{"out of a call", cat(op(opCall, 3), re), f.nan},
		{"out of a block", cat(op(opBlock), []byte{byte(letter(f.t))}, x, op(opEnd), re), f.nan},
		{"by a branch", cat(op(opBlock), []byte{byte(letter(f.t))}, x, op(opBr, 0), op(opEnd), re), f.nan},
		{"through select", cat(x, f.push(0), i32c(1), op(opSelect), re), f.nan},
		{"under a literal", cat(x, f.push(0), op(opDrop), re), f.nan},
		{"through memory", cat(i32c(0), x, []byte{f.store, 2, 0}, i32c(0), load), f.nan},
		{"its sign", cat(f.push(f.one), x, []byte{f.copysign}, re), f.one},
		{"its sign changed", cat(x, []byte{f.neg}, re), f.nan | f.sign},
		{"abs", cat(x, []byte{f.abs}, re), f.nan},
		{"as the left of copysign", cat(x, f.push(f.sign), []byte{f.copysign}, re), f.nan | f.sign},
		{"added to", cat(x, f.push(f.one), []byte{f.add}, re), f.nan},
		{"added", cat(f.push(f.one), x, []byte{f.add}, re), f.nan},
		{"over another", cat(x, x, []byte{f.add}, re), f.nan},
	} {
		w := wasm{types: []string{">" + bits, ">", typ + ">" + typ, ">" + typ}, globals: [][]byte{cat([]byte{byte(letter(bits[0])), 1}, map[byte][]byte{'i': i32c(0), 'l': i64c(0)}[bits[0]], []byte{opEnd})},
			exports: [][]byte{export("g0", 3, 0)},
			funcs: []fn{{typ: 1, code: cat(op(opCall, 1), op(opGlobalSet, 0))}, {locals: []byte{1, 1, byte(letter(f.t))}, code: c.code},
				{typ: 2, code: op(opLocalGet, 0)}, {typ: 3, code: x}}}
		b := rewrite(t, w.bytes())
		if o := execute(t, interpreter(), b, plenty); o.trap != "" || o.globals[0] != c.want {
			t.Errorf("%s, %s: %x, want %x (%s)", name, c.how, o.globals[0], c.want, o.trap)
		}
	}
}

// TestBits: what only moves a NaN leaves its bits alone, as programs that hide pointers in NaNs need.
func TestBits(t *testing.T) {
	f := floats[1]
	w := wasm{types: []string{">", "d>d"}, globals: [][]byte{cat([]byte{byte(i64), 1}, i64c(0), []byte{opEnd})}, exports: [][]byte{export("g0", 3, 0)},
		funcs: []fn{{locals: []byte{1, 1, byte(f64)}, code: cat(i32c(0), f.push(f.odd), op(opLocalTee, 0), op(opCall, 1), []byte{0x39, 3, 0}, i32c(0), []byte{0x2b, 3, 0},
			f.push(0), i32c(1), op(opSelect), []byte{f.neg, f.neg, f.reinterpret}, op(opGlobalSet, 0))}, {typ: 1, code: op(opLocalGet, 0)}}}
	if o := metered(t, w, plenty); o.globals[0] != f.odd {
		t.Errorf("%x, want %x", o.globals[0], f.odd)
	}
}
