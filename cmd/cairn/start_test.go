package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkStart is what the program costs before it does anything, beside a Go program that does nothing. Both
// are started in turn, and what counts is processor time.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if out, err := exec.Command("go", "build", "-o", empty, source).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"version", []string{"--version"}},
		{"help", []string{"--help"}},
		{"command", []string{"store", "put", "--help"}},
		{"complete", []string{"__complete", "store", ""}},
		{"module", []string{"query", "bank", "--help"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var own, peer time.Duration
			for b.Loop() {
				own += spent(b, program(b.Context(), dir, c.args...))
				peer += spent(b, exec.CommandContext(b.Context(), empty))
			}
			b.ReportMetric(float64(own.Microseconds())/1e3/float64(b.N), "cpu-ms")
			b.ReportMetric(float64(peer.Microseconds())/1e3/float64(b.N), "empty-cpu-ms")
			b.ReportMetric(own.Seconds()/peer.Seconds(), "ratio")
		})
	}
}

// spent runs a program and returns the processor time that it took.
func spent(b *testing.B, cmd *exec.Cmd) time.Duration {
	if err := cmd.Run(); err != nil {
		b.Fatalf("%v: %v", cmd.Args, err)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}
