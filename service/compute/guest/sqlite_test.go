package guest

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/compute"
)

var builtSQL built

// guestSQL is SQLite, unchanged, with a main of ours: 250,000 lines of C. Its source comes with a Go module that
// tools requires.
func guestSQL(t testing.TB) []byte {
	t.Helper()
	clang := testutil.Program(t, "clang")
	testutil.Program(t, "wasm-ld")
	there(t, "/usr/lib/wasm32-wasi/libc.a", "wasi-libc")
	cmd := exec.Command("go", "mod", "download", "-json", "github.com/mattn/go-sqlite3")
	cmd.Dir = "../../../tools"
	out, err := cmd.Output()
	var module struct{ Dir, Version string }
	if err != nil || json.Unmarshal(out, &module) != nil || module.Dir == "" {
		testutil.Missing(t, "the module github.com/mattn/go-sqlite3, with SQLite's source")
	}
	// Optimizing takes 20 seconds. Without, clang makes functions of more locals than the profile has: of what it
	// would optimize, registers are enough.
	return builtSQL.get(t, clang, "--target=wasm32-wasi", "-O1", "-Xclang", "-disable-llvm-passes", "-s", "-I"+module.Dir,
		"-DSQLITE_THREADSAFE=0", "-DSQLITE_OMIT_LOAD_EXTENSION", "-DSQLITE_OMIT_WAL", "-D_WASI_EMULATED_GETPID",
		"testdata/sql.c", filepath.Join(module.Dir, "sqlite3-binding.c"), "-lwasi-emulated-getpid")
}

// native is Debian's own SQLite, another version of it: it runs SQL on a file.
func native(t *testing.T, path, sql string) string {
	t.Helper()
	out, err := exec.Command(testutil.Program(t, "sqlite3"), path, sql).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3: %v: %s", err, out)
	}
	return string(out)
}

// TestSQLite: a program of weight runs as a job on real files. It reads a database that another program made, and
// writes ones that another program finds whole; V8 comes to the same output, files and fuel.
func TestSQLite(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long to compile under the race detector")
	}
	wasm := guestSQL(t)
	dir := t.TempDir()
	native(t, filepath.Join(dir, "in.db"), `CREATE TABLE words (word TEXT PRIMARY KEY, n INT); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL
		SELECT i+1 FROM c WHERE i < 5000) INSERT INTO words SELECT printf('word %05d', i*7919%5003), i FROM c`)
	raw, err := os.ReadFile(filepath.Join(dir, "in.db"))
	if err != nil {
		t.Fatal(err)
	}
	const sql = `PRAGMA a.integrity_check;
		CREATE TABLE sums (last TEXT, n INT, sum INT);
		INSERT INTO sums SELECT substr(word, -1), count(*), sum(n) FROM a.words GROUP BY 1;
		BEGIN; DELETE FROM sums; ROLLBACK;
		CREATE INDEX by_sum ON sums (sum);
		DELETE FROM a.words WHERE n % 2; UPDATE a.words SET word = upper(word) WHERE n < 100;
		SELECT count(*), sum(n), sum(sum) FROM sums; SELECT total(n), max(word) FROM a.words;`
	p := pool(t, Config{Spare: 1})
	left := map[string]string{}
	j := Job{Args: []string{"sql", "out.db", "in.db"}, Files: []File{given("in.db", raw)}}.stdin(sql)
	j.Module = prepare(t, p, wasm)
	j.Output = func(f compute.File, content io.Reader) error {
		if content == nil {
			return nil
		}
		b, err := io.ReadAll(content)
		left[f.Path] = string(b)
		return err
	}
	r := do(t, p, j)
	if r.Exit != 0 || r.Trap != "" || r.stdout != "ok\n10|5000|12502500\n6252500.0|word 05001\n" {
		t.Fatalf("exit %d %s: %q %q", r.Exit, r.Trap, r.stdout, r.stderr)
	}
	if len(left) != 2 {
		t.Errorf("%d files are left", len(left))
	}
	t.Logf("%d bytes of module, %d fuel", len(wasm), r.Fuel)
	for name, want := range map[string]string{
		"out.db": "ok\n10|5000|12502500\n", "in.db": "ok\n49\n2500|6252500|2500\n",
	} {
		path := filepath.Join(dir, "left-"+name)
		if err := os.WriteFile(path, []byte(left[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		query := "PRAGMA integrity_check; SELECT count(*), sum(n), sum(sum) FROM sums"
		if name == "in.db" {
			query = "PRAGMA integrity_check; SELECT count(*) FROM words WHERE word GLOB 'WORD*'; " +
				"SELECT count(*), sum(n), count(DISTINCT word) FROM words"
		}
		if got := native(t, path, query); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	v := v8Job{Module: rewritten(p, wasm), Dir: t.TempDir(), Args: j.Args, Env: map[string]string{}, Stdin: sql, Fuel: plenty}
	if err := os.Mkdir(filepath.Join(v.Dir, "root"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.Dir, "root", "in.db"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	got := inV8(t, v)[0]
	if got.Exit != r.Exit || got.Trap || got.Stdout != r.stdout || got.Stderr != r.stderr || got.Fuel != r.Fuel {
		t.Errorf("V8: exit %d, %q %q, %d fuel; here %q, %d", got.Exit, got.Stdout, got.Stderr, got.Fuel, r.stdout, r.Fuel)
	}
	for name, content := range left {
		if b, err := os.ReadFile(filepath.Join(v.Dir, "root", name)); err != nil || string(b) != content {
			t.Errorf("V8 left another %s (%v)", name, err)
		}
	}
}
