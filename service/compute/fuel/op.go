package fuel

// valtype is a value's type as modules write it; unknown is any type, in code that is never reached.
type valtype byte

const (
	unknown   valtype = 0
	i32       valtype = 0x7f
	i64       valtype = 0x7e
	f32       valtype = 0x7d
	f64       valtype = 0x7c
	v128      valtype = 0x7b
	funcref   valtype = 0x70
	externref valtype = 0x6f
)

func (t valtype) ref() bool { return t == funcref || t == externref }

func (t valtype) String() string {
	switch t {
	case i32:
		return "i32"
	case i64:
		return "i64"
	case f32:
		return "f32"
	case f64:
		return "f64"
	case funcref:
		return "funcref"
	case externref:
		return "externref"
	}
	return "any"
}

func letter(b byte) valtype {
	switch b {
	case 'i':
		return i32
	case 'l':
		return i64
	case 'f':
		return f32
	case 'd':
		return f64
	}
	return unknown
}

const (
	opUnreachable  = 0x00
	opNop          = 0x01
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opSelectT      = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opI32Load      = 0x28
	opI64Store32   = 0x3e
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32Eqz       = 0x45
	opI32Eq        = 0x46
	opI32GtS       = 0x4a
	opI32GtU       = 0x4b
	opI64LtS       = 0x53
	opF32Eq        = 0x5b
	opF64Eq        = 0x61
	opF64Ge        = 0x66
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI64Sub       = 0x7d
	opI64Mul       = 0x7e
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opPrefix       = 0xfc

	blockEmpty = 0x40
)

// signature is what an instruction without branches takes and leaves.
type signature struct{ in, out string }

// simple are the instructions from 0x45 to 0xc4, which have no immediates.
var simple = func() (t [256]signature) {
	set := func(from, to int, in, out string) {
		for op := from; op <= to; op++ {
			t[op] = signature{in, out}
		}
	}
	set(0x45, 0x45, "i", "i")  // i32.eqz
	set(0x46, 0x4f, "ii", "i") // i32 comparisons
	set(0x50, 0x50, "l", "i")
	set(0x51, 0x5a, "ll", "i")
	set(0x5b, 0x60, "ff", "i")
	set(0x61, 0x66, "dd", "i")
	set(0x67, 0x69, "i", "i")  // clz, ctz, popcnt
	set(0x6a, 0x78, "ii", "i") // i32 arithmetic
	set(0x79, 0x7b, "l", "l")
	set(0x7c, 0x8a, "ll", "l")
	set(0x8b, 0x91, "f", "f") // abs, neg, ceil, floor, trunc, nearest, sqrt
	set(0x92, 0x98, "ff", "f")
	set(0x99, 0x9f, "d", "d")
	set(0xa0, 0xa6, "dd", "d")
	set(0xa7, 0xa7, "l", "i") // conversions
	set(0xa8, 0xa9, "f", "i")
	set(0xaa, 0xab, "d", "i")
	set(0xac, 0xad, "i", "l")
	set(0xae, 0xaf, "f", "l")
	set(0xb0, 0xb1, "d", "l")
	set(0xb2, 0xb3, "i", "f")
	set(0xb4, 0xb5, "l", "f")
	set(0xb6, 0xb6, "d", "f")
	set(0xb7, 0xb8, "i", "d")
	set(0xb9, 0xba, "l", "d")
	set(0xbb, 0xbb, "f", "d")
	set(0xbc, 0xbc, "f", "i") // reinterpretations
	set(0xbd, 0xbd, "d", "l")
	set(0xbe, 0xbe, "i", "f")
	set(0xbf, 0xbf, "l", "d")
	set(0xc0, 0xc1, "i", "i") // sign extension
	set(0xc2, 0xc4, "l", "l")
	return t
}()

// access is a load or a store: 0x28 to 0x3e.
type access struct {
	signature
	align uint32 // log2 of the bytes
}

var accesses = [...]access{
	{signature{"i", "i"}, 2}, {signature{"i", "l"}, 3}, {signature{"i", "f"}, 2}, {signature{"i", "d"}, 3},
	{signature{"i", "i"}, 0}, {signature{"i", "i"}, 0}, {signature{"i", "i"}, 1}, {signature{"i", "i"}, 1},
	{signature{"i", "l"}, 0}, {signature{"i", "l"}, 0}, {signature{"i", "l"}, 1}, {signature{"i", "l"}, 1}, {signature{"i", "l"}, 2}, {signature{"i", "l"}, 2},
	{signature{"ii", ""}, 2}, {signature{"il", ""}, 3}, {signature{"if", ""}, 2}, {signature{"id", ""}, 3},
	{signature{"ii", ""}, 0}, {signature{"ii", ""}, 1},
	{signature{"il", ""}, 0}, {signature{"il", ""}, 1}, {signature{"il", ""}, 2},
}

// saturating are 0xfc 0 to 7: truncations that do not trap.
var saturating = [...]signature{{"f", "i"}, {"f", "i"}, {"d", "i"}, {"d", "i"}, {"f", "l"}, {"f", "l"}, {"d", "l"}, {"d", "l"}}

// makesNaN says what an operation makes a NaN of whose bits engines choose, or unknown where it makes none.
func makesNaN(op byte) valtype {
	switch {
	case op >= 0x8d && op <= 0x97, op == 0xb6: // ceil … max; demote
		return f32
	case op >= 0x9b && op <= 0xa5, op == 0xbb: // the same; promote
		return f64
	}
	return unknown
}

// hidesNaN says whether an operation shows nothing of the bits of a NaN on top of the stack: it compares,
// truncates, or makes a NaN itself, which is canonical then.
func hidesNaN(op byte) bool {
	return makesNaN(op) != unknown || op >= opF32Eq && op <= opF64Ge || op >= 0xa8 && op <= 0xab || op >= 0xae && op <= 0xb1
}

// hidesBoth is hidesNaN of operations with two operands, for the lower one.
func hidesBoth(op byte) bool { return hidesNaN(op) && len(simple[op].in) == 2 }
