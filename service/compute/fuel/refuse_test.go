package fuel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestRefuse: what the profile leaves out is refused, with the reason, and where it matters with the byte.
func TestRefuse(t *testing.T) {
	func2 := func(typ string, locals []byte, code ...[]byte) wasm {
		return wasm{types: []string{">", typ}, funcs: []fn{{}, {typ: 1, locals: locals, code: cat(code...)}}}
	}
	raw := func(id byte, content ...byte) wasm { w := simplest(); w.raw = sec(id, content); return w }
	instr := func(code ...byte) wasm { return simplest(code) }
	importing := func(name, typ string) wasm {
		return wasm{types: []string{">", typ}, imports: []string{name + " 1"}, funcs: []fn{{}}}
	}
	with := func(change func(w *wasm)) wasm { w := simplest(); change(&w); return w }
	global := func(code ...byte) wasm {
		return with(func(w *wasm) { w.globals = [][]byte{cat([]byte{i32t, 0}, code)} })
	}
	for _, c := range []struct {
		name string
		m    []byte
		want types.Reason
		says string
	}{
		{"empty", nil, BadModule, "at byte 0"},
		{"a component", []byte{0, 'a', 's', 'm', 13, 0, 1, 0}, BadModule, "at byte 0"},
		{"no _start", header, BadModule, "_start"},
		{"no memory", func() []byte { w := simplest(); w.none = true; return w.bytes() }(), BadModule, "memory"},
		{"cut off", simplest().bytes()[:20], BadModule, ""},
		{"bytes behind", append(simplest().bytes(), 1), BadModule, ""},
		{"a section twice", append(simplest().bytes(), sec(secType, []byte{0})...), BadModule, "second time"},
		{"section 77", raw(77).bytes(), BadModule, "at byte 8: section 77"},
		{"tags", raw(secTag, 0).bytes(), FeatureDenied, "exceptions"},
		{"a custom section without a name", raw(secCustom, 5, 'a').bytes(), BadModule, "at byte 11"},

		{"env", bytes.Replace(importing("sched_yield", ">i").bytes(), []byte(wasi), []byte("wasi_snapshot_preview2"), 1), ImportDenied, "preview2"},
		{"thread_spawn", importing("thread_spawn", ">i").bytes(), ImportDenied, "no such function"},
		{"another type", importing("fd_write", "iii>i").bytes(), ImportDenied, "fd_write"},
		{"another type of the same length", importing("clock_time_get", "iii>i").bytes(), ImportDenied, "clock_time_get"},
		{"proc_exit that returns", importing("proc_exit", "i>i").bytes(), ImportDenied, "proc_exit"},
		{"a memory", with(func(w *wasm) {
			w.raw = sec(secImport, vec(cat([]byte{22}, []byte(wasi), []byte{7}, []byte("fd_read"), []byte{2, 0, 1})))
		}).bytes(), ImportDenied, "no such function"},

		{"SIMD", instr(0xfd, 12).bytes(), FeatureDenied, "SIMD"},
		{"v128", func2("i>", []byte{1, 1, byte(v128)}).bytes(), FeatureDenied, "SIMD"},
		{"threads", instr(0xfe, 3, 0).bytes(), FeatureDenied, "threads"},
		{"shared memory", with(func(w *wasm) { w.memory = []byte{3, 1, 1} }).bytes(), FeatureDenied, "threads"},
		{"memory64", with(func(w *wasm) { w.memory = []byte{4, 1} }).bytes(), FeatureDenied, "64-bit"},
		{"two memories", bytes.Replace(simplest().bytes(), []byte{secMemory, 3, 1, 0, 1}, []byte{secMemory, 5, 2, 0, 1, 0, 1}, 1), FeatureDenied, "2 memories"},
		{"tail call", instr(0x12, 0).bytes(), FeatureDenied, "tail calls"},
		{"try", instr(0x06, 0x40).bytes(), FeatureDenied, "exceptions"},
		{"call_ref", instr(0x14, 0).bytes(), FeatureDenied, "references"},
		{"extended constants", global(cat(i32c(1), i32c(1), op(opI32Add), op(opEnd))...).bytes(), FeatureDenied, "several"},

		// What the module was not given it may not name: a type or global more, a function behind its own, a
		// local that is ours.
		{"the fuel", simplest(op(opGlobalGet, 0), op(opDrop)).bytes(), BadModule, "global 0 of 0"},
		{"setting it", simplest(i64c(1), op(opGlobalSet, 0)).bytes(), BadModule, "global 0 of 0"},
		{"the depth", simplest(i32c(1), op(opGlobalSet, 1)).bytes(), BadModule, "global 1 of 0"},
		{"exporting it", with(func(w *wasm) { w.exports = [][]byte{export("x", 3, 0)} }).bytes(), BadModule, "global 0 of 0"},
		{"a name of it", with(func(w *wasm) { w.exports = [][]byte{export(Fuel, 0, 0)} }).bytes(), BadModule, "cairn:"},
		{"a wrapper", simplest(op(opCall, 1)).bytes(), BadModule, "function 1 of 1"},
		{"a wrapper in a table", with(func(w *wasm) {
			w.tables, w.elems = [][]byte{{byte(funcref), 0, 1}}, [][]byte{cat([]byte{0}, i32c(0), []byte{opEnd, 1, 1})}
		}).bytes(), BadModule, "function 1 of 1"},
		{"a scratch local", simplest(op(opLocalGet, 0), op(opDrop)).bytes(), BadModule, "local 0 of 0"},
		{"the label around", simplest(op(opBr, 1)).bytes(), BadModule, "label 1 of 1"},
		{"a type behind", simplest(op(opBlock), []byte{1}, op(opEnd)).bytes(), BadModule, "type 1 of 1"},
		{"what the fuel's global is", global(op(opGlobalGet, 1)...).bytes(), BadModule, "global"},

		{"an operand is missing", simplest(op(opDrop)).bytes(), BadModule, "operand is missing"},
		{"an operand of a block outside", simplest(i32c(1), op(opBlock), []byte{empty}, op(opDrop), op(opEnd)).bytes(), BadModule, "operand is missing"},
		{"another type", simplest(i64c(1), op(opI32Eqz), op(opDrop)).bytes(), BadModule, "operand is i64, and i32 is needed"},
		{"operands left", simplest(i32c(1)).bytes(), BadModule, "left over"},
		{"a result is missing", func2(">i", nil).bytes(), BadModule, "operand is missing"},
		{"if without else", simplest(i32c(1), op(opIf), []byte{i32t}, i32c(1), op(opEnd), op(opDrop)).bytes(), BadModule, "without else"},
		{"else without if", simplest(op(opBlock), []byte{empty}, op(opElse), op(opEnd)).bytes(), BadModule, "else without if"},
		{"a constant is set", with(func(w *wasm) {
			w.globals, w.funcs[0].code = [][]byte{cat([]byte{i32t, 0}, i32c(0), op(opEnd))}, cat(i32c(0), op(opGlobalSet, 0))
		}).bytes(), BadModule, "constant"},
		{"alignment", simplest(i32c(0), op(opI32Load, 3, 0), op(opDrop)).bytes(), BadModule, "alignment"},
		{"memory.init unannounced", simplest(i32c(0), i32c(0), i32c(0), op(opPrefix, 8, 0, 0)).bytes(), BadModule, "announce"},
		{"ref.func undeclared", wasm{types: []string{">"}, funcs: []fn{{code: cat(op(opRefFunc, 1), op(opDrop))}, {}}}.bytes(), BadModule, "declares"},
		{"a body too many", bytes.Replace(simplest().bytes(), []byte{secFunction, 2, 1, 0}, []byte{secFunction, 3, 2, 0, 0}, 1), BadModule, "have a body"},
		{"the code ends too early", with(func(w *wasm) { w.funcs[0].code = []byte{opBlock, empty} }).bytes(), BadModule, "ends too early"},
		{"code behind the end", simplest(op(opEnd)).bytes(), BadModule, "more than it needs"},

		{"a number of 6 bytes", instr(opLocalGet, 0x80, 0x80, 0x80, 0x80, 0x80, 0).bytes(), BadModule, "32 bits"},
		{"a number of 33 bits", instr(opLocalGet, 0xff, 0xff, 0xff, 0xff, 0x1f).bytes(), BadModule, "32 bits"},
		{"a constant of 33 bits", instr(opI32Const, 0xff, 0xff, 0xff, 0xff, 0x0f).bytes(), BadModule, "32 bits"},
		{"a constant of 65 bits", instr(opI64Const, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1).bytes(), BadModule, "64 bits"},

		{"2^32-1 locals", func2(">", []byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f, i32t}).bytes(), TooLarge, "1000 locals"},
		{"1,001 locals", func2(">", []byte{1, 0xe9, 7, i32t}).bytes(), TooLarge, "1000 locals"},
		{"with parameters", func2("i>", []byte{1, 0xe8, 7, i32t}).bytes(), TooLarge, "1000 locals"},
		{"257 parameters", func2(strings.Repeat("i", 257)+">", nil).bytes(), TooLarge, "257 parameters"},
		{"1,001 operands", simplest(bytes.Repeat(i32c(0), 1001)).bytes(), TooLarge, "1000 operands"},
		{"a table of 2^32-1", with(func(w *wasm) { w.tables = [][]byte{{byte(funcref), 0, 0xff, 0xff, 0xff, 0xff, 0x0f}} }).bytes(), TooLarge, "table"},
		{"five tables", with(func(w *wasm) { w.tables = bytes.SplitAfter([]byte(strings.Repeat("\x70\x00\x01", 5)), []byte{1})[:5] }).bytes(), TooLarge, "5 tables"},
		{"65,537 pages", with(func(w *wasm) { w.memory = []byte{0, 0x81, 0x80, 4} }).bytes(), TooLarge, "memory"},
		{"too many types announced", raw(secType, 0xff, 0xff, 0xff, 0xff, 0x0f).bytes(), TooLarge, "types"},
		{"types that are not there", raw(secType, 0xff, 1).bytes(), BadModule, "do not fit"},
		{"nested blocks", simplest(bytes.Repeat([]byte{opBlock, empty}, 60_000)).bytes(), TooLarge, "in each other"},
		{"targets", simplest(i32c(0), []byte{opBrTable, 0xf1, 0xff, 3}, make([]byte, 65_522)).bytes(), TooLarge, "targets"},
		{"33 MiB", make([]byte, 33<<20), TooLarge, "at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := Rewrite(c.m)
			if types.ReasonOf(err) != c.want || out != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s and %q", err, c.want, c.says)
			}
		})
	}
}

// TestTaken: what compilers write that looks odd.
func TestTaken(t *testing.T) {
	long := []byte{0x80, 0x80, 0x80, 0x80, 0} // a number that a linker filled in
	for _, c := range []struct {
		name string
		w    wasm
	}{
		{"call_indirect with a table's number of five bytes", wasm{types: []string{">"}, tables: [][]byte{{byte(funcref), 1, 1, 1}},
			funcs: []fn{{code: cat(op(opBlock), []byte{empty}, op(opBr, 0), i32c(0), []byte{opCallIndirect, 0}, long, op(opEnd))}}}},
		{"a call with a number of five bytes", wasm{types: []string{">"}, funcs: []fn{{code: cat([]byte{opCall, 0x81, 0x80, 0x80, 0x80, 0})}, {}}}},
		{"custom sections", func() wasm {
			w := simplest()
			w.raw = cat(sec(secCustom, cat([]byte{4}, []byte("name"), make([]byte, 99))), sec(secCustom, []byte{1, 'x'}))
			return w
		}()},
		{"many results", wasm{types: []string{">", ">ild"}, funcs: []fn{{code: cat(op(opCall, 1), op(opDrop), op(opDrop), op(opDrop))},
			{typ: 1, code: cat(i32c(1), i64c(1), floats[1].push(0), op(opReturn))}}}},
		{"code that is never reached", simplest(op(opBlock), []byte{empty}, op(opBr, 0), op(opI32Add), op(opDrop), op(opSelect), op(opDrop), op(opEnd), op(opReturn), op(opI64Mul), op(opDrop))},
		{"an exported import, in a table and by reference", wasm{types: []string{">", ">i"}, imports: []string{"sched_yield 1"}, exports: [][]byte{export("y", 0, 0)},
			tables: [][]byte{{byte(funcref), 0, 1}}, elems: [][]byte{cat([]byte{0}, i32c(0), []byte{opEnd, 1, 0})},
			funcs: []fn{{code: cat(op(opRefFunc, 0), op(opDrop), i32c(0), op(opCallIndirect, 1, 0), op(opDrop))}}}},
		{"ref.func of _start, with a start function", wasm{types: []string{">"}, start: []byte{1}, funcs: []fn{{code: cat(op(opRefFunc, 0), op(opDrop))}, {}}}},
		{"elements of every kind", wasm{types: []string{">"}, tables: [][]byte{{byte(funcref), 0, 9}, {byte(externref), 0, 9}}, elems: [][]byte{
			cat([]byte{0}, i32c(0), []byte{opEnd, 1, 0}), {1, 0, 1, 0}, cat([]byte{2, 0}, i32c(1), []byte{opEnd, 0, 1, 0}), {3, 0, 1, 0},
			cat([]byte{4}, i32c(0), []byte{opEnd, 1, opRefFunc, 0, opEnd}), {5, byte(externref), 1, opRefNull, byte(externref), opEnd},
			cat([]byte{6, 1}, i32c(1), []byte{opEnd, byte(externref), 1, opRefNull, byte(externref), opEnd}), {7, byte(funcref), 1, opRefFunc, 0, opEnd}},
			funcs: []fn{{}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if o := metered(t, c.w, plenty); o.trap != "" {
				t.Error(o.trap)
			}
		})
	}
	if o := metered(t, wasm{types: []string{">", ">i"}, imports: []string{"sched_yield 1"}, tables: [][]byte{{byte(funcref), 0, 1}},
		elems: [][]byte{cat([]byte{0}, i32c(0), []byte{opEnd, 1, 0})}, funcs: []fn{{code: cat(i32c(0), op(opCallIndirect, 1, 0), op(opDrop))}}}, plenty); o.used != 3+CostCall {
		t.Errorf("an import called through a table costs %d", o.used)
	}
}

// TestHostile: modules that are made to be slow or large take memory by their length, not by what they
// announce. The rule against types with many operands is what bounds time: each case would look at more than
// 10⁹ of them.
func TestHostile(t *testing.T) {
	many := strings.Repeat("i", 256)
	targets := cat([]byte{opBrTable}, appendU(nil, 65_000), make([]byte, 65_001))
	results := cat(bytes.Repeat(i32c(0), 256), i32c(0), targets)
	deep := cat(bytes.Repeat([]byte{opBlock, empty}, 49_000), bytes.Repeat([]byte{opEnd}, 49_000))
	var functions []fn
	for range 150_000 {
		functions = append(functions, fn{})
	}
	for _, c := range []struct {
		name string
		w    wasm
		want types.Reason
	}{
		{"blocks that pass 256 operands", wasm{types: []string{">", many + ">" + many}, funcs: []fn{{code: cat(bytes.Repeat(i32c(0), 256),
			bytes.Repeat([]byte{opBlock, 1, opEnd}, 1_500_000), bytes.Repeat([]byte{opDrop}, 256))}}}, TooLarge},
		{"targets that pass 256 operands", wasm{types: []string{">", ">" + many}, funcs: []fn{{}, {typ: 1, code: bytes.Repeat(cat(op(opBlock), []byte{1}, results, op(opEnd), op(opReturn)), 60)}}}, TooLarge},
		{"calls that return 256", wasm{types: []string{">", many + ">" + many}, funcs: []fn{{code: cat(bytes.Repeat(i32c(0), 256), bytes.Repeat([]byte{opCall, 1}, 2_000_000))}, {typ: 1, code: op(opUnreachable)}}}, TooLarge},
		{"fuel at every instruction", simplest(bytes.Repeat(cat(i32c(0), op(opBrIf, 0)), 400_000)), TooLarge},
		{"the same in many functions", func() wasm {
			w := wasm{types: []string{">"}}
			for range 60 {
				w.funcs = append(w.funcs, fn{code: bytes.Repeat(cat(i32c(0), op(opBrIf, 0)), 130_000)})
			}
			return w
		}(), TooLarge},
		{"deep nesting", simplest(deep), ""},
		// What wazero would compile for minutes.
		{"loops in loops", simplest(cat(bytes.Repeat([]byte{opLoop, empty}, 1_200), bytes.Repeat([]byte{opEnd}, 1_200))), TooLarge},
		{"many blocks", simplest(bytes.Repeat(cat(op(opLoop), []byte{empty}, op(opEnd)), 23_000)), TooLarge},
		{"many calls", simplest(bytes.Repeat(op(opCall, 0), 180_000)), TooLarge},
		{"many functions", wasm{types: []string{">"}, funcs: functions}, ""},
		{"8 MiB of nop", simplest(bytes.Repeat([]byte{opNop}, 7_000_000)), ""},
		{"data", wasm{types: []string{">"}, funcs: []fn{{}}, datas: [][]byte{cat([]byte{0}, i32c(0), []byte{opEnd}, appendBytes(nil, make([]byte, 8<<20)))}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.w.bytes()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Rewrite(b)
			runtime.ReadMemStats(&after)
			if types.ReasonOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 8*MaxOutput {
				t.Errorf("%d bytes were needed for a module of %d", used, len(b))
			}
		})
	}
}

// TestVersion: what is made of a module changes with Version only, for it is kept by it.
func TestVersion(t *testing.T) {
	h := sha256.New()
	for seed := range uint64(20) {
		h.Write(rewrite(t, (&gen{bytes: source(seed, 1500)}).module().bytes()))
	}
	if got := hex.EncodeToString(h.Sum(nil)[:8]); Version != 1 || got != "d6b475ee623a1716" {
		t.Errorf("%s in version %d: raise Version, and write this down", got, Version)
	}
}

// FuzzRewrite: whatever the bytes are, they are refused with a reason or become a module that can be told from
// one that was rewritten.
func FuzzRewrite(f *testing.F) {
	for seed := range uint64(10) {
		f.Add((&gen{bytes: source(seed, 500)}).module().bytes())
	}
	f.Add(simplest().bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := Rewrite(b)
		if err != nil {
			if types.ReasonOf(err) == "" {
				t.Fatalf("%v carries no reason", err)
			}
			return
		}
		if again, err := Rewrite(out); types.ReasonOf(err) != BadModule || again != nil {
			t.Fatalf("a module that was rewritten is taken again: %v", err)
		}
		if !valid(t, out) {
			t.Fatal("what was made of a module that was taken is not valid")
		}
	})
}

// TestDamaged: a bit that is changed somewhere makes no module that is taken and not valid.
func TestDamaged(t *testing.T) {
	taken := 0
	for seed := range uint64(6) {
		b := (&gen{bytes: source(seed, 600)}).module().bytes()
		noise := source(seed+100, 8*40)
		for i := range 40 {
			v := binary.LittleEndian.Uint64(noise[8*i:])
			damaged := bytes.Clone(b)
			damaged[8+v>>8%uint64(len(b)-8)] ^= 1 << (v % 8)
			out, err := Rewrite(damaged)
			if err != nil {
				if types.ReasonOf(err) == "" {
					t.Fatalf("%v carries no reason", err)
				}
				continue
			}
			if taken++; !valid(t, out) {
				t.Errorf("seed %d, change %d: taken, and not valid", seed, i)
			}
		}
	}
	if taken == 0 {
		t.Error("every change was refused: nothing was looked at")
	}
}

func ExampleRewrite() {
	_, err := Rewrite([]byte("#!/bin/sh"))
	fmt.Println(err)
	// Output: at byte 0: no WebAssembly module of version 1: compute.bad_module
}
