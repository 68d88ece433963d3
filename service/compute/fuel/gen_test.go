package fuel

import (
	"encoding/binary"
	"math/rand/v2"
)

// gen makes valid modules out of bytes: what a byte stands for depends on where it is read, and behind the last
// all are 0. The modules end by themselves: loops and functions count down a global of theirs.
type gen struct {
	bytes  []byte
	exact  bool // nothing shows which bits a NaN has, so that the module does the same with fuel as without
	types  []string
	locals string   // types of the function's
	labels []string // what a branch to each open block takes, the innermost last
	result string
	work   int
}

// source makes n bytes of a seed.
func source(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b
}

func (g *gen) n(k int) int {
	if len(g.bytes) == 0 {
		return 0
	}
	b := g.bytes[0]
	g.bytes = g.bytes[1:]
	return int(b) % k
}

func (g *gen) any(s string) byte { return s[g.n(len(s))] }

func (g *gen) u64() (v uint64) {
	for range 8 {
		v = v<<8 | uint64(g.n(256))
	}
	return v
}

const (
	values = "ilfd"
	tables = 8 // entries
	budget = 300
)

// module makes one. Globals: 0 what is left of the budget, 1 to 4 one of each type. Functions: 0 is _start.
func (g *gen) module() wasm {
	g.types = []string{">", "i>i", ">l", "fd>d", "ld>f", "il>il", "i>", "d>fi", ">dl"}
	w := wasm{types: g.types, counted: true, memory: []byte{1, 1, 3}}
	w.tables = [][]byte{{byte(funcref), 0, tables}}
	w.globals = [][]byte{cat([]byte{i32t, 1}, appendS([]byte{opI32Const}, budget), []byte{opEnd})}
	for i := range values {
		t := letter(values[i])
		w.globals = append(w.globals, cat([]byte{byte(t), 1}, g.constant(values[i]), []byte{opEnd}))
	}
	for i := range 5 {
		w.exports = append(w.exports, export("g"+string(rune('0'+i)), 3, i))
	}
	w.datas = [][]byte{cat([]byte{0}, i32c(100), []byte{opEnd}, appendBytes(nil, source(uint64(g.n(256)), 64))), cat([]byte{1}, appendBytes(nil, source(9, 32)))}
	var funcs []byte
	for i := range len(g.types) {
		w.funcs = append(w.funcs, g.function(i))
		funcs = append(funcs, byte(i))
	}
	w.elems = [][]byte{cat([]byte{0}, i32c(0), []byte{opEnd}, appendBytes(nil, funcs[:tables])), cat([]byte{1, 0}, appendBytes(nil, funcs))}
	if g.n(4) == 0 {
		w.start = []byte{0}
	}
	return w
}

func arity(typ string) (in, out string) {
	for i := range len(typ) {
		if typ[i] == '>' {
			return typ[:i], typ[i+1:]
		}
	}
	return typ, ""
}

func (g *gen) function(i int) fn {
	in, out := arity(g.types[i])
	g.locals, g.result, g.labels, g.work = in, out, nil, 60
	f := fn{typ: i}
	var groups [][]byte
	for range 3 {
		t := g.any(values)
		groups = append(groups, []byte{2, byte(letter(t))})
		g.locals += string(t) + string(t)
	}
	// The last two make NaNs canonical where the module does so itself.
	f.locals = vec(append(groups, []byte{1, byte(f32)}, []byte{1, byte(f64)})...)
	g.labels = []string{out}
	f.code = g.guard()
	for range 1 + g.n(6) {
		f.code = cat(f.code, g.statement(4))
	}
	f.code = cat(f.code, g.operands(out, 4))
	return f
}

// guard takes one from the budget, and traps where nothing is left.
func (g *gen) guard() []byte {
	return cat(op(opGlobalGet, 0), i32c(1), op(opI32Sub), op(opGlobalSet, 0), op(opGlobalGet, 0), op(opI32Eqz), op(opIf), []byte{empty}, op(opUnreachable), op(opEnd))
}

func (g *gen) operands(types string, depth int) (out []byte) {
	for i := range len(types) {
		out = cat(out, g.value(types[i], depth))
	}
	return out
}

func (g *gen) constant(t byte) []byte {
	switch t {
	case 'i':
		return i32c([]int32{0, 1, -1, 31, 1 << 30, -1 << 31, int32(g.n(256))}[g.n(7)])
	case 'l':
		return i64c([]int64{0, 1, -1, 63, 1 << 62, -1 << 63, int64(g.n(256))}[g.n(7)])
	case 'f':
		bits := []uint32{0, 0x80000000, 0x3f800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x4f000000, 0x00000001, uint32(g.n(256)) << 23, 0x7fa12345}
		return binary.LittleEndian.AppendUint32([]byte{opF32Const}, bits[g.n(len(bits))])
	}
	bits := []uint64{0, 1 << 63, 0x3ff0000000000000, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x43e0000000000000, 1, uint64(g.n(256)) << 54, 0xfff4000000012345}
	return binary.LittleEndian.AppendUint64([]byte{opF64Const}, bits[g.n(len(bits))])
}

// shown is a value whose bits are seen.
func (g *gen) shown(t byte, depth int) []byte { return g.hide(t, g.value(t, depth)) }

// hide makes a NaN canonical, where the module is to be exact.
func (g *gen) hide(t byte, v []byte) []byte {
	n := uint64(len(g.locals))
	switch {
	case !g.exact || t == 'i' || t == 'l':
		return v
	case t == 'f':
		return cat(v, op(opLocalTee, n), []byte{opF32Const, 0, 0, 0xc0, 0x7f}, op(opLocalGet, n), op(opLocalGet, n), op(opF32Eq), op(opSelect))
	}
	return cat(v, op(opLocalTee, n+1), []byte{opF64Const, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f}, op(opLocalGet, n+1), op(opLocalGet, n+1), op(opF64Eq), op(opSelect))
}

func (g *gen) address(depth int) []byte {
	v := g.value('i', depth)
	if g.n(20) == 0 {
		return v
	}
	return cat(v, i32c(0xfff), []byte{0x71})
}

// local finds one of a type, or -1.
func (g *gen) local(t byte) int {
	first := g.n(max(1, len(g.locals)))
	for i := range len(g.locals) {
		if j := (first + i) % len(g.locals); g.locals[j] == t {
			return j
		}
	}
	return -1
}

func (g *gen) offset() []byte { return appendU(nil, uint64(g.n(64))) }

// loads and stores: by type, instructions that leave or take it.
var (
	loads  = map[byte][]byte{'i': {0x28, 0x2c, 0x2d, 0x2e, 0x2f}, 'l': {0x29, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35}, 'f': {0x2a}, 'd': {0x2b}}
	stores = map[byte][]byte{'i': {0x36, 0x3a, 0x3b}, 'l': {0x37, 0x3c, 0x3d, 0x3e}, 'f': {0x38}, 'd': {0x39}}
)

// leaving are the simple instructions that leave a type.
var leaving = func() map[byte][]int {
	m := map[byte][]int{}
	for i, s := range simple {
		if s.out != "" {
			m[s.out[0]] = append(m[s.out[0]], i)
		}
	}
	for i, s := range saturating {
		m[s.out[0]] = append(m[s.out[0]], 256+i)
	}
	return m
}()

// value makes code that leaves one value of type t.
func (g *gen) value(t byte, depth int) []byte {
	if g.work--; depth <= 0 || g.work < 0 {
		if l := g.local(t); l >= 0 && g.n(2) == 0 {
			return op(opLocalGet, uint64(l))
		}
		return g.constant(t)
	}
	switch g.n(13) {
	case 0:
		return g.constant(t)
	case 1:
		if l := g.local(t); l >= 0 {
			return op(opLocalGet, uint64(l))
		}
		return g.value(t, depth-1)
	case 2, 3, 4, 5, 6:
		return g.simple(t, depth)
	case 7:
		a := loads[t]
		o := a[g.n(len(a))]
		return cat(g.address(depth-1), []byte{o, byte(g.n(int(accesses[o-opI32Load].align) + 1))}, g.offset())
	case 8:
		return cat(g.value(t, depth-1), g.value(t, depth-1), g.value('i', depth-1), op(opSelect))
	case 9:
		return g.block(string(t), depth)
	case 10:
		for i, typ := range g.types {
			if in, out := arity(typ); out == string(t) {
				return cat(g.operands(in, depth-1), g.call(i))
			}
		}
		return cat(op(opMemorySize, 0))
	case 11:
		if l := g.local(t); l >= 0 {
			return cat(g.value(t, depth-1), op(opLocalTee, uint64(l)))
		}
		return g.constant(t)
	}
	for i := range values {
		if values[i] == t {
			return op(opGlobalGet, uint64(i+1))
		}
	}
	return nil
}

func (g *gen) call(i int) []byte {
	if g.n(3) == 0 && i < tables {
		return cat(i32c(int32(g.target(i))), op(opCallIndirect, uint64(i), 0))
	}
	return op(opCall, uint64(i))
}

// target is an entry of the table to call as type i: the right one mostly, or of another type, or past the end.
func (g *gen) target(i int) int {
	if g.n(4) > 0 {
		return i
	}
	return g.n(tables + 1)
}

func (g *gen) simple(t byte, depth int) []byte {
	all := leaving[t]
	i := all[(g.n(256)+g.n(256))%len(all)]
	if i >= 256 {
		return cat(g.operands(saturating[i-256].in, depth-1), []byte{opPrefix, byte(i - 256)})
	}
	s := simple[i]
	switch {
	case i >= 0xbc && i <= 0xbf: // what is inside is seen
		return cat(g.shown(s.in[0], depth-1), []byte{byte(i)})
	case i == 0x98 || i == 0xa6: // copysign shows the sign of the second
		return cat(g.value(t, depth-1), g.shown(t, depth-1), []byte{byte(i)})
	case i >= 0xa8 && i <= 0xb1 && len(s.in) == 1 && (s.in == "f" || s.in == "d") && g.n(4) > 0:
		return g.constant(t) // most truncations trap
	}
	return cat(g.operands(s.in, depth-1), []byte{byte(i)})
}

// block makes a block, a loop or an if that leaves out, or nothing.
func (g *gen) block(out string, depth int) []byte {
	typ := []byte{empty}
	if out != "" {
		typ = []byte{byte(letter(out[0]))}
	}
	kind := g.n(4)
	body := func(label string) []byte {
		g.labels = append(g.labels, label)
		var code []byte
		for range g.n(3) {
			code = cat(code, g.statement(depth-1))
		}
		code = cat(code, g.operands(out, depth-1))
		g.labels = g.labels[:len(g.labels)-1]
		return code
	}
	switch kind {
	case 0:
		return cat(op(opLoop), typ, g.guard(), body(""), op(opEnd))
	case 1:
		return cat(g.value('i', depth-1), op(opIf), typ, body(out), op(opElse), body(out), op(opEnd))
	case 2:
		if out == "" {
			return cat(g.value('i', depth-1), op(opIf), typ, body(out), op(opEnd))
		}
	}
	return cat(op(opBlock), typ, body(out), op(opEnd))
}

// inside makes code inside one more block, which leaves nothing.
func (g *gen) inside(make func() []byte) []byte {
	g.labels = append(g.labels, "")
	code := make()
	g.labels = g.labels[:len(g.labels)-1]
	return code
}

// statement makes code that leaves nothing.
func (g *gen) statement(depth int) []byte {
	if g.work--; depth <= 0 || g.work < 0 {
		return op(opNop)
	}
	switch g.n(16) {
	case 0, 1:
		t := g.any(values)
		if l := g.local(t); l >= 0 {
			return cat(g.value(t, depth), op(opLocalSet, uint64(l)))
		}
	case 2:
		i := g.n(len(values))
		return cat(g.shown(values[i], depth), op(opGlobalSet, uint64(i+1)))
	case 3, 4:
		t := g.any(values)
		a := stores[t]
		o := a[g.n(len(a))]
		return cat(g.address(depth-1), g.shown(t, depth), []byte{o, byte(g.n(int(accesses[o-opI32Load].align) + 1))}, g.offset())
	case 5, 6:
		return g.block("", depth)
	case 7:
		k := g.n(len(g.labels))
		ts := g.labels[len(g.labels)-1-k]
		code := g.value('i', depth-1)
		return cat(code, op(opIf), []byte{empty}, g.inside(func() []byte { return g.operands(ts, depth-1) }), op(opBr, uint64(k+1)), op(opEnd))
	case 8:
		k := g.n(len(g.labels))
		ts := g.labels[len(g.labels)-1-k]
		code := cat(g.operands(ts, depth-1), g.value('i', depth-1), op(opBrIf, uint64(k)))
		for range len(ts) {
			code = append(code, opDrop)
		}
		return code
	case 9:
		var same []uint64
		k := g.n(len(g.labels))
		ts := g.labels[len(g.labels)-1-k]
		for i, l := range g.labels {
			if l == ts {
				same = append(same, uint64(len(g.labels)-i)) // inside one more block
			}
		}
		taken := g.inside(func() []byte { return cat(g.operands(ts, depth-1), g.value('i', depth-1)) })
		code := cat(op(opBlock), []byte{empty}, taken, []byte{opBrTable}, appendU(nil, uint64(len(same)-1)))
		for _, l := range same {
			code = appendU(code, l)
		}
		return cat(code, op(opEnd))
	case 10:
		if g.n(4) == 0 {
			code := g.value('i', depth-1)
			leave := g.inside(func() []byte { return cat(g.operands(g.result, depth-1), op(opReturn), g.statement(depth-1)) })
			return cat(code, op(opIf), []byte{empty}, leave, op(opEnd))
		}
	case 11:
		i := g.n(len(g.types))
		in, out := arity(g.types[i])
		code := cat(g.operands(in, depth-1), g.call(i))
		for range len(out) {
			code = append(code, opDrop)
		}
		return code
	case 12:
		return cat(g.value('i', depth-1), i32c(3), []byte{0x71}, op(opMemoryGrow, 0), op(opDrop))
	case 13:
		n := cat(g.value('i', depth-1), i32c(0x7f), []byte{0x71})
		switch g.n(6) {
		case 0:
			return cat(g.address(depth-1), g.address(depth-1), n, []byte{opPrefix, 10, 0, 0})
		case 1:
			return cat(g.address(depth-1), g.value('i', depth-1), n, []byte{opPrefix, 11, 0})
		case 2:
			return cat(g.address(depth-1), i32c(int32(g.n(40))), i32c(int32(g.n(8))), []byte{opPrefix, 8, 1, 0})
		case 3:
			return cat(i32c(int32(g.n(8))), i32c(int32(g.n(8))), i32c(int32(g.n(4))), []byte{opPrefix, 14, 0, 0})
		case 4:
			return cat(i32c(int32(g.n(8))), i32c(int32(g.n(8))), i32c(int32(g.n(3))), []byte{opPrefix, 12, 1, 0})
		}
		return cat(i32c(int32(g.n(8))), op(opRefFunc, uint64(g.n(len(g.types)))), op(opTableSet, 0))
	case 14:
		if g.n(30) == 0 {
			return cat(op(opUnreachable), op(opDrop), g.statement(depth-1))
		}
		return cat(g.value(g.any(values), depth), op(opDrop))
	}
	return op(opNop)
}
