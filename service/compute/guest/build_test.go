package guest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
)

// built is a guest that is compiled once for all tests.
type built struct {
	once sync.Once
	wasm []byte
	text string
}

func (b *built) get(t testing.TB, command string, args ...string) []byte {
	t.Helper()
	b.once.Do(func() {
		dir, err := os.MkdirTemp("", "guest")
		if err != nil {
			b.text = err.Error()
			return
		}
		defer os.RemoveAll(dir)
		out := filepath.Join(dir, "out.wasm")
		cmd := exec.Command(command, append([]string{"-o", out}, args...)...)
		if command == "go" {
			cmd = exec.Command(command, append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", out}, args...)...)
			cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
		}
		if said, err := cmd.CombinedOutput(); err != nil {
			b.text = string(said) + err.Error()
			return
		}
		b.wasm, _ = os.ReadFile(out)
	})
	if b.wasm == nil {
		t.Fatalf("building a guest with %s: %s", command, b.text)
	}
	return b.wasm
}

var builtC, builtRust, builtGo, builtBench built

// there skips a test for which a file of a client is missing.
func there(t testing.TB, file, client string) string {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		testutil.Missing(t, client)
	}
	return file
}

func guestC(t testing.TB) []byte { return compileC(t, &builtC, "testdata/guest.c") }

func compileC(t testing.TB, b *built, source string) []byte {
	t.Helper()
	clang := testutil.Program(t, "clang")
	testutil.Program(t, "wasm-ld")
	there(t, "/usr/lib/wasm32-wasi/libc.a", "wasi-libc")
	return b.get(t, clang, "--target=wasm32-wasi", "-O2", "-s", source)
}

func guestRust(t testing.TB) []byte {
	t.Helper()
	there(t, "/usr/lib/rustlib/wasm32-wasi", "libstd-rust-dev-wasm32")
	return builtRust.get(t, there(t, "/usr/bin/rustc", "rustc"), "--target=wasm32-wasi", "-O", "-C", "strip=symbols", "testdata/guest.rs")
}

func guestGo(t testing.TB) []byte {
	t.Helper()
	return builtGo.get(t, "go", "./testdata/pack")
}

// v8Job is a job for V8.
type v8Job struct {
	Module string            `json:"module"`
	Dir    string            `json:"dir"`
	Args   []string          `json:"args"`
	Env    map[string]string `json:"env"`
	Stdin  string            `json:"stdin"`
	Fuel   uint64            `json:"fuel"`
}

type v8Result struct {
	Exit           uint32
	Trap           bool
	Fuel           uint64
	Ns             float64
	Stdout, Stderr string
}

// inV8 runs jobs in V8.
func inV8(t testing.TB, jobs ...v8Job) (results []v8Result) {
	t.Helper()
	cmd := exec.Command(testutil.Program(t, "node"), "--no-warnings", "testdata/v8.cjs")
	in, _ := json.Marshal(jobs)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("V8: %v\n%s", err, errs.String())
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		var r v8Result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	if len(results) != len(jobs) {
		t.Fatalf("V8 ran %d of %d jobs", len(results), len(jobs))
	}
	return results
}

// rewritten is the file of a prepared module.
func rewritten(p *Pool, wasm []byte) string { return filepath.Join(p.path(sum(wasm)), moduleFile) }
