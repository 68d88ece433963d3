package main

import (
	"os"
	"os/exec"
	"testing"
)

// TestBuilds compiles the node for what homes have: 64- and 32-bit ARM, and old PCs, on which an int has 32 bits.
func TestBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("each machine's standard library is compiled at first")
	}
	for _, arch := range []string{"arm64", "arm", "386"} {
		t.Run(arch, func(t *testing.T) {
			cmd := exec.Command("go", "build", "-o", os.DevNull, ".")
			cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("go build: %v\n%s", err, out)
			}
		})
	}
}
