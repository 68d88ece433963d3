package fuel

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/tetratelabs/wazero"
)

// TestRandom: modules of all kinds do the same with fuel as without, and the same with fuel in the compiler as
// in the interpreter.
func TestRandom(t *testing.T) {
	ended, trapped := 0, map[string]int{}
	for seed := range uint64(100) {
		o := compare(t, source(seed, 1500))
		if o.trap == "" {
			ended++
		}
		trapped[o.trap]++
	}
	t.Logf("%v", trapped)
	if ended < 20 || len(trapped) < 4 {
		t.Errorf("%d ended without a trap, and these traps were met: %v", ended, trapped)
	}
}

func FuzzRandom(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(source(seed, 1500))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 1<<14 {
			compare(t, b)
		}
	})
}

// compare runs the module that b stands for in every way that wazero has, and returns what it came to with fuel.
func compare(t testing.TB, b []byte) outcome {
	t.Helper()
	exact := (&gen{bytes: b, exact: true}).module()
	plain := exact
	if plain.start = nil; exact.start != nil {
		// Without fuel the start function runs as the instance is made: call it first here too.
		starter := fn{code: cat(op(opCall, 0), op(opCall, 0))}
		plain.funcs = append(slices.Clone(plain.funcs), starter)
	}
	with := rewrite(t, exact.bytes())
	want := run(t, compiler(), plain, exact.start != nil)
	got := execute(t, compiler(), with, plenty)
	if got.trap != want.trap || !bytes.Equal(got.memory, want.memory) || !slices.Equal(got.globals, want.globals) {
		t.Fatalf("with fuel: %q %x\nwithout: %q %x\nmemory is the same: %v", got.trap, got.globals, want.trap, want.globals, bytes.Equal(got.memory, want.memory))
	}
	same(t, got, execute(t, interpreter(), with, plenty))

	// Not exact: NaNs come of many operations, and are seen. Engines agree on them only since they are made
	// canonical.
	loose := rewrite(t, (&gen{bytes: b}).module().bytes())
	same(t, execute(t, compiler(), loose, plenty), execute(t, interpreter(), loose, plenty))

	// Out of fuel half way, both stop at the same place.
	if half := got.used / 2; half > 0 {
		a, b := execute(t, compiler(), with, half), execute(t, interpreter(), with, half)
		if same(t, a, b); a.used <= half {
			t.Fatalf("used %d of %d: %q", a.used, half, a.trap)
		}
	}
	return got
}

// run runs a module without fuel, whose start function is called by its last if it has one.
func run(t testing.TB, engine wazero.RuntimeConfig, w wasm, starts bool) outcome {
	if starts {
		b := w.bytes()
		// _start is the first export.
		from := cat(appendBytes(nil, []byte("_start")), []byte{0, 0})
		to := cat(appendBytes(nil, []byte("_start")), []byte{0, byte(len(w.funcs) - 1)})
		return execute(t, engine, bytes.Replace(b, from, to, 1), 0)
	}
	return execute(t, engine, w.bytes(), 0)
}

func same(t testing.TB, a, b outcome) {
	t.Helper()
	if a.trap != b.trap || a.used != b.used || a.depth != b.depth || a.refused != b.refused || !bytes.Equal(a.memory, b.memory) || !slices.Equal(a.globals, b.globals) {
		t.Fatalf("the compiler: %q fuel %d depth %d %x\nthe interpreter: %q fuel %d depth %d %x\nmemory is the same: %v",
			a.trap, a.used, a.depth, a.globals, b.trap, b.used, b.depth, b.globals, bytes.Equal(a.memory, b.memory))
	}
}

// v8 runs each module of a folder and prints a line of JSON for it.
const v8 = `
const fs = require("fs"), crypto = require("crypto");
for (const name of fs.readdirSync(process.argv[1]).sort()) {
  const {exports: e} = new WebAssembly.Instance(new WebAssembly.Module(fs.readFileSync(process.argv[1] + "/" + name)));
  const fuel = 1n << 40n, out = {trap: false};
  e["cairn:fuel"].value = fuel;
  try { e._start(); } catch (err) { out.trap = true; }
  out.used = Number(fuel - e["cairn:fuel"].value);
  out.depth = e["cairn:depth"].value;
  out.globals = [0, 1, 2].map(i => BigInt.asUintN(64, BigInt(e["g" + i].value)).toString(16));
  const bits = new DataView(new ArrayBuffer(16));
  bits.setFloat32(0, e.g3.value); bits.setFloat64(8, e.g4.value);
  out.memory = crypto.createHash("sha256").update(new Uint8Array(e.memory.buffer)).digest("hex");
  console.log(JSON.stringify(out));
}`

// TestRandomV8: V8 counts the same fuel, and leaves the same memory.
func TestRandomV8(t *testing.T) {
	node := testutil.Program(t, "node")
	dir := t.TempDir()
	var want []string
	const modules = 120
	for seed := range uint64(modules) {
		b := rewrite(t, (&gen{bytes: source(seed, 1500)}).module().bytes())
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d", seed)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		o := execute(t, compiler(), b, plenty)
		sum := sha256.Sum256(o.memory)
		globals := []string{}
		for i, g := range o.globals[:3] {
			if i < 2 {
				g = uint64(int64(int32(g)))
			}
			globals = append(globals, fmt.Sprintf("%x", g))
		}
		line, _ := json.Marshal(map[string]any{"trap": o.trap != "", "used": o.used, "depth": o.depth, "globals": globals, "memory": hex.EncodeToString(sum[:])})
		want = append(want, string(line))
	}
	out, err := exec.Command(node, "-e", v8, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != modules {
		t.Fatalf("%d lines", len(lines))
	}
	for i, l := range lines {
		var m map[string]any
		if err := json.Unmarshal([]byte(l), &m); err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(m); string(got) != want[i] {
			t.Errorf("seed %d: V8 has\n%s, and wazero\n%s", i, got, want[i])
		}
	}
}

// TestRandomValid: wabt takes what is made of them.
func TestRandomValid(t *testing.T) {
	validate := testutil.Program(t, "wasm-validate")
	dir := t.TempDir()
	for seed := range uint64(60) {
		path := filepath.Join(dir, "m.wasm")
		if err := os.WriteFile(path, rewrite(t, (&gen{bytes: source(seed, 3000)}).module().bytes()), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(validate, path).CombinedOutput(); err != nil {
			t.Fatalf("seed %d: %s", seed, out)
		}
	}
}
