package fuel

import (
	"testing"
)

const (
	empty = blockEmpty
	i32t  = byte(i32)
)

// TestCost holds what things cost to the profile, to the unit.
func TestCost(t *testing.T) {
	page := []byte{0}
	for _, c := range []struct {
		name string
		w    wasm
		used int64
	}{
		{"nothing", simplest(), 0},
		{"instructions", simplest(i32c(1), i32c(2), op(opI32Add), op(opDrop)), 4},
		{"nop", simplest(op(opNop)), 1},
		{"block and end do nothing", simplest(op(opBlock), []byte{empty}, op(opNop), op(opEnd)), 1},
		{"a block that is left early", simplest(op(opBlock), []byte{empty}, op(opBr, 0), op(opNop), op(opNop), op(opEnd), op(opNop)), 2},
		{"br_if, not taken", simplest(op(opBlock), []byte{empty}, i32c(0), op(opBrIf, 0), op(opNop), op(opEnd), op(opNop)), 4},
		{"br_if, taken", simplest(op(opBlock), []byte{empty}, i32c(1), op(opBrIf, 0), op(opNop), op(opEnd), op(opNop)), 3},
		{"if", simplest(i32c(1), op(opIf), []byte{empty}, op(opNop), op(opElse), op(opNop), op(opNop), op(opEnd), op(opNop)), 4},
		{"else", simplest(i32c(0), op(opIf), []byte{empty}, op(opNop), op(opElse), op(opNop), op(opNop), op(opEnd), op(opNop)), 5},
		{"return", simplest(op(opReturn), op(opNop)), 1},
		{"br_table", simplest(op(opBlock), []byte{empty}, i32c(7), op(opBrTable, 1, 1, 0), op(opEnd), op(opNop)), 3},
		{"ten rounds", wasm{types: []string{">"}, funcs: []fn{{locals: []byte{1, 1, i32t}, code: cat(i32c(10), op(opLocalSet, 0),
			op(opLoop), []byte{empty}, op(opLocalGet, 0), i32c(1), op(opI32Sub), op(opLocalTee, 0), op(opBrIf, 0), op(opEnd))}}}, 1 + 2 + 10*5},
		{"locals", wasm{types: []string{">"}, funcs: []fn{{locals: []byte{2, 5, i32t, 3, byte(f64)}}}}, 8},
		{"a call", wasm{types: []string{">", "ii>"}, funcs: []fn{{code: cat(i32c(1), i32c(2), op(opCall, 1))}, {typ: 1, code: op(opNop)}}}, 4},
		{"memory.grow", simplest(i32c(3), op(opMemoryGrow, 0), op(opDrop)), 3 + 3*CostPage},
		{"memory.grow, refused", simplest(i32c(1000), op(opMemoryGrow, 0), op(opDrop)), 3 + 1000*CostPage},
		{"memory.fill", simplest(i32c(0), i32c(1), i32c(800), op(opPrefix, 11), page, op(opNop)), 5 + 100},
		{"memory.copy", simplest(i32c(0), i32c(1), i32c(807), op(opPrefix, 10), page, page), 4 + 100},
		{"memory.init", wasm{types: []string{">"}, counted: true, datas: [][]byte{cat([]byte{1}, appendBytes(nil, make([]byte, 80)))},
			funcs: []fn{{code: cat(i32c(0), i32c(0), i32c(80), op(opPrefix, 8, 0), page, op(opPrefix, 9, 0))}}}, 5 + 10},
		{"table.fill", wasm{types: []string{">"}, tables: [][]byte{{byte(funcref), 0, 50}},
			funcs: []fn{{code: cat(i32c(0), op(opRefNull), []byte{byte(funcref)}, i32c(50), op(opPrefix, 17, 0))}}}, 4 + 50},
		{"table.grow", wasm{types: []string{">"}, tables: [][]byte{{byte(externref), 0, 0}},
			funcs: []fn{{code: cat(op(opRefNull), []byte{byte(externref)}, i32c(9), op(opPrefix, 15, 0), op(opDrop))}}}, 4 + 9},
		{"a WASI call", wasm{types: []string{">", ">i"}, imports: []string{"sched_yield 1"}, funcs: []fn{{code: cat(op(opCall, 0), op(opDrop))}}}, 2 + CostCall},
		{"args_get", wasm{types: []string{">", "ii>i"}, imports: []string{"args_get 1"}, funcs: []fn{{code: cat(i32c(0), i32c(0), op(opCall, 0), op(opDrop))}}}, 4 + CostCall + MaxArgs/8},
		{"random_get", wasm{types: []string{">", "ii>i"}, imports: []string{"random_get 1"}, funcs: []fn{{code: cat(i32c(0), i32c(80), op(opCall, 0), op(opDrop))}}}, 4 + CostCall + 10},
		{"random_get that fails", wasm{types: []string{">", "ii>i"}, imports: []string{"random_get 1"}, funcs: []fn{{code: cat(i32c(0), i32c(8<<20), op(opCall, 0), op(opDrop))}}}, 4 + CostCall + 1<<20},
		{"a path that is too long", wasm{types: []string{">", "iii>i"}, imports: []string{"path_unlink_file 1"}, globals: [][]byte{cat([]byte{i32t, 1}, i32c(0), []byte{opEnd})},
			exports: [][]byte{export("g0", 3, 0)}, funcs: []fn{{code: cat(i32c(3), i32c(0), i32c(4097), op(opCall, 0), op(opGlobalSet, 0))}}}, 5 + CostCall + 512},
		{"a start function", wasm{types: []string{">"}, start: []byte{1}, funcs: []fn{{code: op(opNop)}, {code: cat(op(opNop), op(opNop))}}}, 3},
		// A list of two buffers, of 0 and of 800 bytes, at 16; the count goes to 8.
		{"fd_write", wasm{types: []string{">", "iiii>i"}, imports: []string{"fd_write 1"}, datas: [][]byte{cat([]byte{0}, i32c(16), []byte{opEnd, 16},
			[]byte{0, 0, 0, 0, 0, 0, 0, 0}, []byte{0, 0, 0, 0, 0x20, 3, 0, 0})},
			funcs: []fn{{code: cat(i32c(1), i32c(16), i32c(2), i32c(8), op(opCall, 0), op(opDrop))}}}, 6 + CostCall + 2 + 100},
		{"fd_write that fails", wasm{types: []string{">", "iiii>i"}, imports: []string{"fd_write 1"},
			funcs: []fn{{code: cat(i32c(9), i32c(16), i32c(2), i32c(8), op(opCall, 0), op(opDrop))}}}, 6 + CostCall + 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := metered(t, c.w, plenty)
			if o.trap != "" || o.used != c.used {
				t.Errorf("used %d (%s), want %d", o.used, o.trap, c.used)
			}
			if c.name == "a path that is too long" && o.globals[0] != errNameTooLong {
				t.Errorf("it returned %d", o.globals[0])
			}
			if o.depth != 0 {
				t.Errorf("depth %d is left", o.depth)
			}
			if c.used > 0 {
				if o := metered(t, c.w, c.used); o.trap != "" {
					t.Errorf("with just enough fuel: %s", o.trap)
				}
				if o := metered(t, c.w, c.used-1); o.trap == "" || o.used <= c.used-1 {
					t.Errorf("with too little fuel it used %d: %q", o.used, o.trap)
				}
			}
		})
	}
}

// TestExhausted: nothing runs for ever, whichever way it goes round.
func TestExhausted(t *testing.T) {
	for _, c := range []struct {
		name string
		w    wasm
	}{
		{"loop", simplest(op(opLoop), []byte{empty}, op(opBr, 0), op(opEnd))},
		{"br_if", simplest(op(opLoop), []byte{empty}, i32c(1), op(opBrIf, 0), op(opEnd))},
		{"br_table", simplest(op(opLoop), []byte{empty}, i32c(5), op(opBrTable, 1, 0, 0), op(opEnd))},
		{"from a block inside", simplest(op(opLoop), []byte{empty}, op(opBlock), []byte{empty}, op(opBr, 1), op(opEnd), op(opEnd))},
		{"loops in loops", simplest(op(opLoop), []byte{empty}, op(opLoop), []byte{empty}, op(opBr, 1), op(opEnd), op(opEnd))},
		{"behind unreachable code", simplest(op(opBlock), []byte{empty}, op(opBr, 0), op(opUnreachable), op(opEnd), op(opLoop), []byte{empty}, op(opBr, 0), op(opEnd))},
		{"the start function", wasm{types: []string{">"}, start: []byte{1}, funcs: []fn{{}, {code: cat(op(opLoop), []byte{empty}, op(opBr, 0), op(opEnd))}}}},
		{"calls in a loop", wasm{types: []string{">"}, funcs: []fn{{code: cat(op(opLoop), []byte{empty}, op(opCall, 1), op(opBr, 0), op(opEnd))}, {}}}},
		{"WASI calls in a loop", wasm{types: []string{">", ">i"}, imports: []string{"sched_yield 1"},
			funcs: []fn{{code: cat(op(opLoop), []byte{empty}, op(opCall, 0), op(opDrop), op(opBr, 0), op(opEnd))}}}},
		// The callee uses up the fuel: the caller must see it, though it keeps what is left in a local.
		{"by a callee", wasm{types: []string{">"}, funcs: []fn{{code: cat(op(opLoop), []byte{empty}, op(opCall, 1), op(opBr, 0), op(opEnd))},
			{locals: []byte{1, 0xe8, 7, i32t}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			const fuel = 1_000_000
			o := metered(t, c.w, fuel)
			if o.trap == "" || o.used <= fuel || o.used > fuel+2000 {
				t.Errorf("used %d of %d: %q", o.used, fuel, o.trap)
			}
		})
	}
}

// TestDepth: calls that never return end at the same depth everywhere, and before the engine's stack does.
// Without the weight of a frame the last two would overflow it, at a depth that differs from machine to
// machine.
func TestDepth(t *testing.T) {
	// 900 locals and 900 operands that live across the call.
	load := func(at int) []byte { return cat(i32c(int32(at)), op(opI32Load, 2, 0)) }
	wide := cat()
	for i := range 900 {
		wide = cat(wide, load(4*i), op(opLocalSet, uint64(i)))
	}
	for i := range 900 {
		wide = cat(wide, load(4000+4*i))
	}
	wide = cat(wide, op(opCall, 0))
	for i := range 900 {
		wide = cat(wide, op(opLocalGet, uint64(i)), op(opI32Add), op(opLocalSet, uint64(i)))
	}
	for i := range 900 {
		wide = cat(wide, i32c(0), op(opLocalGet, uint64(i)), op(0x36, 2, 0))
	}
	// Values that live across one call each, in a long function.
	long := cat()
	for i := range 4_000 {
		long = cat(long, i32c(0), load(4*i), op(opCall, 1), op(0x36, 2, 0))
	}
	for _, c := range []struct {
		name string
		w    wasm
	}{
		{"itself", simplest(op(opCall, 0))},
		{"through a table", wasm{types: []string{">"}, tables: [][]byte{{byte(funcref), 0, 1}}, elems: [][]byte{cat([]byte{0}, i32c(0), []byte{opEnd, 1, 0})},
			funcs: []fn{{code: cat(i32c(0), op(opCallIndirect, 0, 0))}}}},
		{"each other", wasm{types: []string{">"}, funcs: []fn{{code: op(opCall, 1)}, {code: op(opCall, 0)}}}},
		{"many locals", wasm{types: []string{">"}, funcs: []fn{{locals: []byte{1, 0xe8, 7, i32t}, code: wide}}}},
		{"a long function", wasm{types: []string{">"}, funcs: []fn{{code: cat(op(opCall, 2), long)}, {}, {code: op(opCall, 0)}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := metered(t, c.w, plenty)
			if o.depth <= MaxDepth || o.trap != "wasm error: unreachable" {
				t.Errorf("depth %d: %q", o.depth, o.trap)
			}
		})
	}
}

// TestRefused: memory that is refused is counted, and what is given is not.
func TestRefused(t *testing.T) {
	if o := metered(t, simplest(i32c(63), op(opMemoryGrow, 0), op(opDrop)), plenty); o.refused != 0 || len(o.memory) != 64<<16 {
		t.Errorf("refused %d, %d bytes", o.refused, len(o.memory))
	}
	if o := metered(t, simplest(i32c(64), op(opMemoryGrow, 0), op(opDrop), i32c(65), op(opMemoryGrow, 0), op(opDrop)), plenty); o.refused != 2 || o.trap != "" {
		t.Errorf("refused %d: %q", o.refused, o.trap)
	}
}
