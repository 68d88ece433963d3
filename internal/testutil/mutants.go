package testutil

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Mutant is a rule broken on purpose: the rule; a file of the package in which a text is replaced by another; that
// text and the other one; and the tests that hold the rule, of which one must fail.
type Mutant [5]string

// Mutants breaks each rule in a copy of its file and sees the tests that hold it fail. A rule whose breaking nobody
// notices has no test. The tests get args.
func Mutants(t *testing.T, broken []Mutant, args ...string) {
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range broken {
		rule, file, before, after, tests := m[0], m[1], m[2], m[3], m[4]
		t.Run(rule, func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(src), before); n != 1 {
				t.Fatalf("%s holds %q %d times", file, before, n)
			}
			copied := filepath.Join(t.TempDir(), fmt.Sprintf("mutant%d.go", i))
			if err := os.WriteFile(copied, []byte(strings.Replace(string(src), before, after, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			overlay, _ := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(dir, file): copied}})
			config := filepath.Join(t.TempDir(), "overlay.json")
			if err := os.WriteFile(config, overlay, 0o644); err != nil {
				t.Fatal(err)
			}
			command := append([]string{"test", "-vet=off", "-overlay", config, "-run", tests, "."}, args...)
			out, err := exec.Command("go", command...).CombinedOutput()
			if err == nil {
				t.Errorf("nobody notices")
			} else if !strings.Contains(string(out), "--- FAIL") && !strings.Contains(string(out), "panic:") {
				t.Errorf("not a failing test: %.1000s", out)
			}
		})
	}
}
