package guest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/compute"
)

func sum(b []byte) types.Hash { return types.Sum(b) }

// given is a file of a job's input.
func given(path string, content []byte) File {
	return File{compute.File{Path: path, Size: uint64(len(content)), Hash: types.Sum(content)}, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

// sources are real files: those of this repository's design of the category and its neighbours.
func sources(t testing.TB) (files []File) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".md") || len(files) == 60 {
			return err
		}
		b, err := os.ReadFile(path)
		files = append(files, given("in/"+filepath.ToSlash(strings.TrimPrefix(path, "../")), b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// TestGuests: guests in C, Rust and Go come to the same output, exit, fuel and files here and in V8, and wabt
// takes their modules.
func TestGuests(t *testing.T) {
	p := pool(t, Config{Spare: 2})
	text := given("in/text", []byte("so foul and fair a day I have not seen\n"))
	type guest struct {
		name string
		wasm []byte
		job  Job
		in   string
		want string // a part of stdout
		exit uint32
	}
	c := guestC(t)
	guests := []guest{
		{"C", c, Job{Args: []string{"guest", "hello", "two words"}, Env: []string{"GREETING=good day"}}, "first\nsecond", "line: second", 7},
		{"C with files", c, Job{Args: []string{"guest", "files"}, Files: []File{text}}, "", ". .. c capitals d e z 39 0\n", 0},
		{"Rust", guestRust(t), Job{Args: []string{"words", "write"}, Files: []File{text}}, "a b a c a b", "0.083 and", 9},
		{"Go", nil, Job{Args: []string{"pack"}, Files: sources(t)}, "", "bits a byte", 0},
	}
	if testing.Short() {
		guests = guests[:3] // a Go guest takes long to compile under the race detector
	} else {
		guests[3].wasm = guestGo(t)
	}
	var jobs []v8Job
	var here []ran
	var left []map[string]string
	for _, g := range guests {
		h := prepare(t, p, g.wasm)
		j := g.job.stdin(g.in)
		j.Module = h
		out := map[string]string{}
		j.Output = func(f compute.File, content io.Reader) error {
			if content == nil {
				return nil
			}
			b, err := io.ReadAll(content)
			out[f.Path] = string(b)
			return err
		}
		r := do(t, p, j)
		if r.left.Root() != r.Output || len(r.left) < len(j.Files) {
			t.Errorf("%s: %d files are left, of another root than the result's", g.name, len(r.left))
		}
		if r.Exit != g.exit || r.Trap != "" || !strings.Contains(r.stdout, g.want) {
			t.Errorf("%s: exit %d %s, stdout %q stderr %q", g.name, r.Exit, r.Trap, r.stdout, r.stderr)
		}
		here, left = append(here, r), append(left, out)
		v := v8Job{Module: rewritten(p, g.wasm), Dir: t.TempDir(), Args: j.Args, Env: map[string]string{}, Stdin: g.in, Fuel: plenty}
		for _, e := range j.Env {
			name, value, _ := cut(e)
			v.Env[name] = value
		}
		for _, f := range j.Files {
			path := filepath.Join(v.Dir, "root", f.Path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			content, _ := f.Content()
			b, _ := io.ReadAll(content)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		jobs = append(jobs, v)
	}
	if got := left[1]["out/capitals"]; got != "SO FOUL AND FAIR A DAY I HAVE NOT SEEN\n" {
		t.Errorf("the C guest left %q", got)
	}
	if len(guests) > 3 {
		unpack(t, left[3]["out.tar.gz"], guests[3].job.Files)
	}
	validate := testutil.Program(t, "wasm-validate")
	for i, v := range inV8(t, jobs...) {
		name, h := guests[i].name, here[i]
		if v.Exit != h.Exit || v.Trap || v.Stdout != h.stdout || v.Stderr != h.stderr {
			t.Errorf("%s: V8 has exit %d\n%q\n%q\nand here exit %d\n%q\n%q", name, v.Exit, v.Stdout, v.Stderr, h.Exit, h.stdout, h.stderr)
		}
		if v.Fuel != h.Fuel {
			t.Errorf("%s: V8 counts %d fuel, and here it is %d", name, v.Fuel, h.Fuel)
		}
		for path, content := range left[i] {
			if b, err := os.ReadFile(filepath.Join(jobs[i].Dir, "root", path)); err != nil || string(b) != content {
				t.Errorf("%s: V8 left another %s (%v)", name, path, err)
			}
		}
		if said, err := exec.Command(validate, jobs[i].Module).CombinedOutput(); err != nil {
			t.Errorf("%s: wabt: %s", name, said)
		}
	}
}

// unpack compares what the Go guest packed with what it was given.
func unpack(t *testing.T, packed string, want []File) {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	for _, f := range want {
		h, err := r.Next()
		if err != nil || h.Name != f.Path {
			t.Fatalf("%v, want %s: %v", h, f.Path, err)
		}
		b, err := io.ReadAll(r)
		if err != nil || types.Sum(b) != f.Hash {
			t.Fatalf("%s has other bytes: %v", f.Path, err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("more was packed: %v", err)
	}
}

// TestEnds: each way in which a job can end, with what it costs, twice the same.
func TestEnds(t *testing.T) {
	p := pool(t, Config{Spare: 2})
	h := prepare(t, p, guestC(t))
	for _, c := range []struct {
		args string
		fuel uint64
		trap types.Reason
		exit uint32
		out  string
	}{
		{"loop", 20_000_000, compute.TrapFuel, 0, "looping\n"},
		{"trap", 0, compute.TrapGuest, 0, "before\n"},
		{"deep", 0, compute.TrapGuest, 0, ""},
		{"memory", 0, compute.TrapMemory, 0, ""},
		{"polite", 0, "", 3, ""},
		{"output", 0, compute.TrapOutput, 0, strings.Repeat("x", MaxStream)},
		{"calls 3000", 0, "", 0, ""},
		{"opens", 0, "", 0, "1023\n"},
		{"fill", 0, "", 0, "256 1\n"},
		{"nothing", 0, "", 2, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			j := Job{Module: h, Args: append([]string{"guest"}, strings.Fields(c.args)...), Fuel: c.fuel}
			a := do(t, p, j)
			if a.Trap != c.trap || a.Exit != c.exit || c.args != "polite" && a.stdout != c.out {
				t.Errorf("exit %d, trap %q, stdout %.100q stderr %.100q", a.Exit, a.Trap, a.stdout, a.stderr)
			}
			if c.trap == compute.TrapFuel && a.Fuel != c.fuel {
				t.Errorf("it costs %d fuel, not the limit", a.Fuel)
			}
			if a.Fuel == 0 {
				t.Error("it cost nothing")
			}
			if c.fuel == 0 && c.args != "polite" && c.args != "output" {
				j.Fuel = 0
			}
			if b := do(t, p, j); b.Hash() != a.Hash() {
				t.Errorf("the second run came to\n%+v, the first to\n%+v", b.Result, a.Result)
			}
		})
	}
	// More memory than the job has from the beginning.
	if r := do(t, p, Job{Module: h, Pages: 1}); r.Trap != compute.TrapMemory || r.Fuel != 0 {
		t.Errorf("with a page of memory: %q, %d fuel", r.Trap, r.Fuel)
	}
}

// TestInputs: what is refused before anything runs, and what a job is given wrongly.
func TestInputs(t *testing.T) {
	p := pool(t, Config{})
	h := prepare(t, p, guestC(t))
	wrong := given("a", []byte("abc"))
	wrong.Hash[0]++
	short := given("a", []byte("abc"))
	short.Size = 4
	for _, c := range []struct {
		name string
		job  Job
		want types.Reason
	}{
		{"another module", Job{Module: types.Hash{1}}, compute.InputMissing},
		{"fuel", Job{Module: h, Fuel: compute.MaxFuel + 1}, compute.TooLarge},
		{"pages", Job{Module: h, Pages: compute.MaxPages + 1}, compute.TooLarge},
		{"arguments", Job{Module: h, Args: []string{strings.Repeat("a", maxText)}}, compute.TooLarge},
		{"a zero byte", Job{Module: h, Args: []string{"a\x00b"}}, types.BadArgument},
		{"environment", Job{Module: h, Env: []string{"A"}}, types.BadArgument},
		{"a path above", Job{Module: h, Files: []File{given("../a", nil)}}, compute.TooLarge},
		{"the same path twice", Job{Module: h, Files: []File{given("a", nil), given("a", nil)}}, compute.TooLarge},
		{"a file that is a folder", Job{Module: h, Files: []File{given("a/b", nil), given("a", nil)}}, compute.TooLarge},
		{"257 MiB", Job{Module: h, Files: []File{{File: compute.File{Path: "a", Size: 257 << 20}}}}, compute.TooLarge},
		{"other bytes", Job{Module: h, Files: []File{wrong}}, compute.DigestMismatch},
		{"fewer bytes", Job{Module: h, Files: []File{short}}, ""},
		{"less stdin", Job{Module: h, Stdin: strings.NewReader("a"), Size: 2}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := p.Start(context.Background(), c.job)
			if err == nil {
				_, err = r.Wait()
			}
			if err == nil || types.ReasonOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := p.Prepare(context.Background(), []byte("no module")); types.ReasonOf(err) != compute.BadModule || !strings.Contains(err.Error(), "at byte 0") {
		t.Errorf("no module: %v", err)
	}
	if _, err := p.Prepare(context.Background(), make([]byte, 33<<20)); types.ReasonOf(err) != compute.TooLarge {
		t.Errorf("33 MiB: %v", err)
	}
}
