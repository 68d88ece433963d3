package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/node/command"
	"github.com/cairn-network/cairn/service/all/provider"
)

// TestMain makes the test binary the programs themselves, for tests that run them as their users do.
func TestMain(m *testing.M) {
	device := func() {
		os.Exit(command.Run(context.Background(), command.New(provider.Devices()), os.Args[1:], os.Stderr))
	}
	if name := os.Getenv("CAIRN_TEST_EXEC"); name != "" {
		os.Unsetenv("CAIRN_TEST_EXEC")
		if name == "cairn-node" {
			device()
		}
		main()
		return
	}
	flag.Set("test.parallel", fmt.Sprint(max(4, runtime.GOMAXPROCS(0)))) // networks wait most of the time; -parallel overrides it
	testscript.Main(m, map[string]func(){"cairn": main, "cairn-node": device})
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
	limit := 3 * time.Minute
	if soak {
		limit = 15 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
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

// start runs `cairn up` until the test ends or stop is called, and returns once network.json is there and the
// first round is done.
func start(t *testing.T, home string, args ...string) (cmd *exec.Cmd, wait func() error) {
	t.Helper()
	cmd, wait, ready := launch(t, home, args...)
	select {
	case err := <-ready:
		if err != nil {
			cmd.Process.Kill()
			t.Fatalf("up: %v: %v\n%s", err, wait(), cmd.Stderr)
		}
	case <-time.After(3 * time.Minute):
		cmd.Process.Kill()
		wait()
		t.Fatalf("up: no first round within three minutes\n%s", cmd.Stderr)
	}
	return cmd, wait
}

// summaryFields are what scripts may rely on of `cairn up --json`.
var summaryFields = []string{"api", "chain_id", "claimed_ustone", "counted", "devices", "epochs", "header", "height", "page", "refused", "rest", "rpc"}

// launch runs `cairn up`, and says on ready when the first round is done, or that it will not be.
func launch(t *testing.T, home string, args ...string) (cmd *exec.Cmd, wait func() error, ready <-chan error) {
	t.Helper()
	cmd = program(context.Background(), home, append([]string{"up", "--listen", "127.0.0.1:0", "--json"}, args...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = new(bytes.Buffer)
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
		var s map[string]any
		err := json.NewDecoder(stdout).Decode(&s)
		if have := slices.Sorted(maps.Keys(s)); err == nil && !slices.Equal(have, summaryFields) {
			err = fmt.Errorf("it printed fields %v, want %v", have, summaryFields)
		}
		summary <- err
	}()
	return cmd, wait, summary
}

// newHome makes a home. If the test fails, it shows what the log of the network there complains about.
func newHome(t *testing.T) string {
	home := t.TempDir()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		raw, _ := os.ReadFile(filepath.Join(home, "cairn.log"))
		var lines []string
		for line := range strings.Lines(string(raw)) {
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
				lines = append(lines, line)
			}
		}
		t.Logf("the network's complaints:\n%s", strings.Join(lines[max(0, len(lines)-40):], ""))
	})
	return home
}

// load stores files one after the other, as fast as they go, and remembers what was acknowledged.
type load struct {
	home  string
	rng   *rand.Rand
	files []stored
}

type stored struct {
	id      string
	content []byte
}

// run stores until stop is closed.
func (l *load) run(t *testing.T, stop <-chan struct{}) {
	path := filepath.Join(t.TempDir(), "file")
	for {
		select {
		case <-stop:
			return
		default:
		}
		content := make([]byte, 1+l.rng.IntN(3<<20))
		for i := range content {
			content[i] = byte(l.rng.Uint32())
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Error(err)
			return
		}
		out, err := try(t, l.home, "store", "put", path, "--json")
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue // it was killed on the way: not acknowledged, so nothing is promised
		}
		var o struct{ ID string }
		if err := json.Unmarshal(out, &o); err != nil {
			t.Errorf("%v in: %s", err, out)
			return
		}
		l.files = append(l.files, stored{o.ID, content})
	}
}

// back fetches every file and compares.
func (l *load) back(t *testing.T) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "back")
	for _, f := range l.files {
		cairn(t, l.home, "store", "get", f.id, out, "--force")
		if back, err := os.ReadFile(out); err != nil || !bytes.Equal(back, f.content) {
			t.Errorf("file %s of %d bytes came back changed: %v", f.id, len(f.content), err)
		}
	}
}

// TestKill kills `cairn up` without warning at random moments under load and starts it again: what was stored
// is intact, nothing that was acknowledged is lost, nothing is counted twice, and the books balance. Then it is
// stopped, and goes on once more. `make soak` kills ten times. Every second kill does not wait for the start to
// be over.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	t.Parallel()
	kills := 3
	if soak {
		kills = 10
	}
	blocks := []string{"--block-time", "250ms"}
	l, moments := &load{home: newHome(t), rng: rand.New(rand.NewPCG(1, 2))}, rand.New(rand.NewPCG(3, 4))
	for k := range kills {
		var cmd *exec.Cmd
		var wait func() error
		if k%2 == 0 {
			cmd, wait = start(t, l.home, blocks...)
		} else {
			cmd, wait, _ = launch(t, l.home, blocks...)
		}
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			l.run(t, stop)
		}()
		time.Sleep(time.Duration(500+moments.IntN(12000)) * time.Millisecond)
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		wait()
		close(stop)
		<-done
		t.Logf("kill %d: %d files acknowledged so far", k+1, len(l.files))
	}
	if len(l.files) == 0 {
		t.Fatal("nothing was stored under load")
	}
	for range 2 {
		_, wait := start(t, l.home, blocks...)
		l.back(t)
		settled(t, l.home)
		cairn(t, l.home, "down")
		if err := wait(); err != nil {
			t.Errorf("down: %v", err)
		}
	}
}

// settled checks the books: they balance, every device's claimed money is at most what it earned, totals never
// fell, and the newest tallies are what their batches give.
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
	tallies := parse[[]explorer.Tally](t, cairn(t, home, "tally", "list", "--limit", "1000", "--json")) // the newest first
	seen := map[types.Epoch]bool{}
	var paid types.Credit
	var amount types.Ustone
	for i, tally := range slices.Backward(tallies) {
		if seen[tally.Epoch] {
			t.Errorf("epoch %d is listed twice", tally.Epoch)
		}
		seen[tally.Epoch] = true
		if tally.Status != ledger.Accepted && tally.Status != ledger.Final {
			continue
		}
		if tally.Paid < paid || tally.Amount < amount {
			t.Errorf("epoch %d: paid %d after %d, amount %d after %d", tally.Epoch, tally.Paid, paid, tally.Amount, amount)
		}
		paid, amount = tally.Paid, tally.Amount
		if i < 5 {
			cairn(t, home, "tally", "verify", "--epoch", fmt.Sprint(tally.Epoch)) // exits 0 only if equal
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
		{[]string{"up", "--validators", "99"}, 2, []string{"99 validators", "1 to 16", "try: cairn up --help"}},
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
