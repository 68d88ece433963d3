// Package testutil is what tests ask of the machine that they run on: clients that others wrote, which `make
// clients` installs. And Guarded is what packages whose parts have locks ask of their own source.
//
// Without one, a test that compares with it is skipped on a developer's machine, and fails where the variable CI is
// set: there a skip would be a comparison that ended without anybody seeing it.
package testutil

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Lacks says that a test does less than it could, since a client is missing; in CI the test fails.
func Lacks(t testing.TB, client string) {
	t.Helper()
	if ci := os.Getenv("CI"); ci != "" && ci != "false" {
		t.Fatalf("%s is missing, and CI=%s: `make clients` installs it", client, ci)
	}
	t.Logf("%s is missing: run `make clients`", client)
}

// Missing skips a test whose client is missing; in CI the test fails.
func Missing(t testing.TB, client string) {
	t.Helper()
	Lacks(t, client)
	t.Skip("without " + client)
}

// Program returns the path of a program.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name)
	}
	return path
}

// File returns the path of a file that a package installs.
func File(t testing.TB, path, client string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		Missing(t, client)
	}
	return path
}

// Node returns the program that runs JavaScript; what a folder's package.json names is installed in it.
func Node(t testing.TB, dir string) string {
	t.Helper()
	File(t, filepath.Join(dir, "node_modules"), "what npm installs in "+dir)
	return Program(t, "node")
}

// Interpreter is Debian's own Python: Debian's modules are not another Python's.
const Interpreter = "/usr/bin/python3"

// Python returns the Python that has some modules.
func Python(t testing.TB, modules ...string) string {
	t.Helper()
	if !HasPython(modules...) {
		Missing(t, "Python's "+strings.Join(modules, " or "))
	}
	return Interpreter
}

// HasPython reports whether Debian's Python has some modules.
func HasPython(modules ...string) bool {
	return exec.Command(Interpreter, "-c", "import "+strings.Join(modules, ", ")).Run() == nil
}
