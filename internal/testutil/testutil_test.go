package testutil

import (
	"runtime"
	"testing"
)

// fake is a test that notes how it ends.
type fake struct {
	testing.TB
	end string
}

func (f *fake) Helper()             {}
func (f *fake) Logf(string, ...any) {}
func (f *fake) Skip(...any)         { f.stop("skipped") }

func (f *fake) Fatalf(string, ...any) { f.stop("failed") }

func (f *fake) stop(how string) {
	f.end = how
	runtime.Goexit()
}

// TestMissing: without a client a test is skipped here, and fails in CI.
func TestMissing(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped", "false": "skipped", "true": "failed", "1": "failed"} {
		t.Setenv("CI", ci)
		for what, ask := range map[string]func(testing.TB){
			"program": func(t testing.TB) { Program(t, "no-such-program") },
			"file":    func(t testing.TB) { File(t, "/no/such/file", "a library") },
			"npm":     func(t testing.TB) { Node(t, "no-such-folder") },
			"module":  func(t testing.TB) { Python(t, "no_such_module") },
		} {
			f := new(fake)
			done := make(chan struct{})
			go func() {
				defer close(done)
				ask(f)
			}()
			<-done
			if f.end != want {
				t.Errorf("CI=%q, a %s is missing: %q, want %q", ci, what, f.end, want)
			}
		}
	}
}
