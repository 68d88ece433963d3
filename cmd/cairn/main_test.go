package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/network"
)

// TestMain makes the test binary the program itself, for tests that run it as its users do.
func TestMain(m *testing.M) {
	if os.Getenv("CAIRN_TEST_EXEC") != "" {
		os.Unsetenv("CAIRN_TEST_EXEC")
		main()
		return
	}
	os.Exit(m.Run())
}

// program runs one command line of cairn in a home.
func program(ctx context.Context, home string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "CAIRN_TEST_EXEC=1", "CAIRN_HOME="+home)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// cairn runs a command line that must succeed, and returns what it printed.
func cairn(t *testing.T, home string, args ...string) []byte {
	t.Helper()
	out, err := try(t, home, args...)
	if err != nil {
		t.Fatalf("cairn %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func try(t *testing.T, home string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := program(ctx, home, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%w\n%s", err, stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// parse decodes the last line that a command printed.
func parse[T any](t *testing.T, out []byte) T {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var v T
	if err := json.Unmarshal(lines[len(lines)-1], &v); err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	return v
}

// start runs `cairn up` until the test ends or stop is called, and returns once network.json is there and the first round is done.
func start(t *testing.T, home string) (cmd *exec.Cmd, wait func() error) {
	t.Helper()
	cmd = program(context.Background(), home, "up", "--listen", "127.0.0.1:0", "--json")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait = sync.OnceValue(cmd.Wait)
	t.Cleanup(func() {
		cmd.Process.Kill()
		wait()
	})
	summary := make(chan error, 1)
	go func() {
		var s network.Summary
		summary <- json.NewDecoder(stdout).Decode(&s)
	}()
	select {
	case err := <-summary:
		if err != nil {
			cmd.Process.Kill()
			wait()
			t.Fatalf("up: %v\n%s", err, stderr.Bytes())
		}
	case <-time.After(3 * time.Minute):
		cmd.Process.Kill()
		wait()
		t.Fatalf("up: no first round within three minutes\n%s", stderr.Bytes())
	}
	return cmd, wait
}

// TestKill kills `cairn up` without warning at random moments under load and starts it again: what was stored is intact, nothing
// that was acknowledged is lost, nothing is counted twice, and the books balance.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	kills := 3
	if os.Getenv("CAIRN_SOAK") != "" {
		kills = 10
	}
	home := t.TempDir()
	type stored struct {
		id      string
		content []byte
	}
	var files []stored
	rng := rand.New(rand.NewPCG(1, 2))
	for k := range kills {
		cmd, wait := start(t, home)
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() { // load: files one after the other, as fast as they go
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				content := make([]byte, 1+rng.IntN(3<<20))
				for j := range content {
					content[j] = byte(rng.Uint32())
				}
				path := filepath.Join(t.TempDir(), fmt.Sprintf("file-%d-%d", k, i))
				if err := os.WriteFile(path, content, 0o600); err != nil {
					return
				}
				out, err := try(t, home, "store", "put", path, "--json")
				if err != nil {
					continue // it was killed on the way: not acknowledged, so nothing is promised
				}
				files = append(files, stored{parse[object](t, out).ID, content})
			}
		}()
		time.Sleep(time.Duration(2000+rng.IntN(15000)) * time.Millisecond)
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		wait()
		close(stop)
		<-done
		t.Logf("kill %d: %d files acknowledged so far", k+1, len(files))
	}
	if len(files) == 0 {
		t.Fatal("nothing was stored under load")
	}
	cmd, wait := start(t, home)
	for _, f := range files {
		out := filepath.Join(t.TempDir(), "back")
		cairn(t, home, "store", "get", f.id, out)
		if back, err := os.ReadFile(out); err != nil || !bytes.Equal(back, f.content) {
			t.Errorf("file %s of %d bytes came back changed: %v", f.id, len(f.content), err)
		}
		os.Remove(out)
	}
	settled(t, home)
	cairn(t, home, "down")
	if err := wait(); err != nil {
		t.Errorf("down: %v", err)
	}
	if cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("up ended with %v", cmd.ProcessState)
	}
}

// settled checks the books: they balance, and every device's claimed money is at most what it earned.
func settled(t *testing.T, home string) {
	t.Helper()
	cairn(t, home, "claim", "--all", "--json")
	if s := parse[Supply](t, cairn(t, home, "supply", "--json")); !s.Balanced {
		t.Errorf("%+v", s)
	}
	for _, d := range parse[[]explorer.Device](t, cairn(t, home, "device", "list", "--json")) {
		if d.Claimed > d.Earned {
			t.Errorf("%s claimed %d of %d", d.Device, d.Claimed, d.Earned)
		}
	}
}

// TestRefusesPlainly gives the program what it cannot work with: one line says what failed, the next what to do.
func TestRefusesPlainly(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "nobody")
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"store", "put", "/does/not/exist"}, 1, []string{"no network runs here", "try: make up"}},
		{[]string{"store", "put"}, 2, []string{"want 1 arguments (FILE)", "try: cairn store put --help"}},
		{[]string{"device", "list", "--nonsense"}, 2, []string{"unknown flag", "try: cairn device list --help"}},
		{[]string{"credit", "buy", "much"}, 2, []string{"want STONE with at most six decimals"}},
		{[]string{"claim"}, 2, []string{"name devices, or --all"}},
		{[]string{"tally", "verify"}, 2, []string{"which --epoch?"}},
		{[]string{"up", "--validators", "99"}, 2, []string{"1 to 16 validators"}},
		{[]string{"up", "--home", "/proc/cairn"}, 1, []string{"/proc", "try: Choose another with --home"}},
	} {
		cmd := program(t.Context(), nowhere, c.args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != c.code {
			t.Errorf("cairn %s: %v, want exit status %d\n%s", strings.Join(c.args, " "), err, c.code, stderr.Bytes())
		}
		for _, want := range c.want {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("cairn %s: %q does not say %q", strings.Join(c.args, " "), stderr.String(), want)
			}
		}
		if lines := strings.Count(strings.TrimSpace(stderr.String()), "\n") + 1; lines > 3 {
			t.Errorf("cairn %s: %d lines:\n%s", strings.Join(c.args, " "), lines, stderr.Bytes())
		}
	}
}
