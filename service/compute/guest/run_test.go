package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// until waits for something that other processes do.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// first is a writer that says what is written to it first.
type first struct {
	once sync.Once
	text chan string
}

func (f *first) Write(p []byte) (int, error) {
	f.once.Do(func() { f.text <- string(p) })
	return len(p), nil
}

// state is a process's: R runs, S waits, T is stopped, "" is gone.
func state(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	if s := string(rest[:1]); s != "Z" && s != "X" {
		return s
	}
	return ""
}

func loop(h types.Hash) Job {
	return Job{Module: h, Args: []string{"guest", "loop"}, Fuel: plenty, Pages: 64}
}

func start(t testing.TB, p *Pool, j Job) *Run {
	t.Helper()
	r, err := p.Start(context.Background(), j)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPause: output comes while a job runs; at what it may use it stops, goes on when it may use more, and is ended.
func TestPause(t *testing.T) {
	p := pool(t, Config{})
	j := loop(prepare(t, p, guestC(t)))
	out := &first{text: make(chan string, 1)}
	j.Stdout, j.Allow = out, 50_000_000
	r := start(t, p, j)
	if s := <-out.text; s != "looping" {
		t.Errorf("it wrote %q", s)
	}
	pid := r.c.cmd.Process.Pid
	for _, more := range []uint64{100_000_000, 200_000_000} {
		until(t, "the job pauses", func() bool { return !r.Paused().IsZero() && state(pid) == "T" })
		at := r.Used()
		if at < more/2 {
			t.Errorf("it paused at %d", at)
		}
		r.Allow(more)
		until(t, "it goes on", func() bool { return r.Used() > at })
	}
	until(t, "the job pauses", func() bool { return !r.Paused().IsZero() })
	used := r.Used()
	r.Cancel()
	res, err := r.Wait()
	if err != nil || res.Trap != compute.TrapCut || res.Fuel < used || res.Fuel > plenty/2 {
		t.Errorf("%+v, %v", res, err)
	}
	until(t, "the process is gone", func() bool { return state(pid) == "" })
}

// TestUnpaid: a pause ends.
func TestUnpaid(t *testing.T) {
	p := pool(t, Config{})
	j := loop(prepare(t, p, guestC(t)))
	j.Allow, j.Patience = 1_000_000, time.Millisecond
	res, err := start(t, p, j).Wait()
	if !errors.Is(err, compute.Unpaid) || res == nil || res.Trap != compute.TrapCut || res.Fuel < j.Allow {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestCancel: at once, whether it has begun or not; and closing the pool ends all.
func TestCancel(t *testing.T) {
	p := pool(t, Config{Jobs: 3})
	j := loop(prepare(t, p, guestC(t)))
	a, b := start(t, p, j), start(t, p, j)
	a.Cancel()
	if res, err := a.Wait(); err != nil || res.Trap != compute.TrapCut {
		t.Errorf("%+v, %v", res, err)
	}
	p.Close()
	if res, err := b.Wait(); !errors.Is(err, ErrChild) || res != nil {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := p.Start(context.Background(), j); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed pool: %v", err)
	}
}

// TestBusy: no more jobs at a time than there are places.
func TestBusy(t *testing.T) {
	p := pool(t, Config{Jobs: 1})
	j := loop(prepare(t, p, guestC(t)))
	r := start(t, p, j)
	ctx, cancel := context.WithCancel(context.Background())
	waits := make(chan error)
	go func() {
		_, err := p.Start(ctx, j)
		waits <- err
	}()
	select {
	case err := <-waits:
		t.Errorf("a second job began: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.Cancel()
	<-r.Done()
	do(t, p, Job{Module: j.Module})
}

// TestSink: a job whose output cannot be kept ends, with that error.
func TestSink(t *testing.T) {
	p := pool(t, Config{})
	j := loop(prepare(t, p, guestC(t)))
	r, w := io.Pipe()
	full := errors.New("no space")
	r.CloseWithError(full)
	j.Stdout = w
	if _, err := start(t, p, j).Wait(); !errors.Is(err, full) {
		t.Error(err)
	}
}

// TestSpare: a child that somebody ended is replaced.
func TestSpare(t *testing.T) {
	p := pool(t, Config{})
	h := prepare(t, p, guestC(t))
	do(t, p, Job{Module: h})
	for range 2 {
		until(t, "a child is ready", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.idle) == 1 })
		c := p.idle[0]
		c.cmd.Process.Kill()
		<-c.done
		if r := do(t, p, Job{Module: h}); r.Exit != 7 {
			t.Errorf("%+v", r.Result)
		}
	}
}

// TestCache: modules are kept over a restart, are made once, and make room for others.
func TestCache(t *testing.T) {
	dir := t.TempDir()
	p := pool(t, Config{Dir: dir})
	c := guestC(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { prepare(t, p, c) })
	}
	wg.Wait()
	h := prepare(t, p, c)
	size := p.bytes
	p.Close()
	p = pool(t, Config{Dir: dir, Cache: size + 1000})
	if !p.Prepared(h) || p.bytes != size {
		t.Fatalf("it was forgotten: %d bytes, %d before", p.bytes, size)
	}
	do(t, p, Job{Module: h})
	other := append(bytes.Clone(c), 0, 2, 1, 'x') // a custom section more
	second := prepare(t, p, other)
	if p.Prepared(h) || !p.Prepared(second) {
		t.Errorf("the module that was used longest ago is there: %v, the new one: %v", p.Prepared(h), p.Prepared(second))
	}
	if _, err := p.Start(context.Background(), Job{Module: h}); types.ReasonOf(err) != compute.InputMissing {
		t.Error(err)
	}
	do(t, p, Job{Module: second})
}

// TestProbe: nothing succeeds that must not. Left open, everything does: the attempts are worth something.
func TestProbe(t *testing.T) {
	lacks, err := Probe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lacks {
		if !strings.HasPrefix(l.Name, "landlock") { // an older kernel; seccomp holds all the same
			t.Errorf("%s: %s", l.Name, l.Text)
		}
	}
	open, err := probe(context.Background(), true)
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, l := range open {
		names += l.Name + " "
	}
	if names != "files network programs signals code memory " {
		t.Errorf("left open: %s", names)
	}
}

// parent is a process that runs jobs and is killed.
func parent() {
	dir := os.Getenv("GUEST_PARENT")
	if dir == "" {
		return
	}
	wasm, err := os.ReadFile(dir + "/guest.wasm")
	if err != nil {
		panic(err)
	}
	p, err := Open(Config{Dir: dir + "/modules", Jobs: 2})
	if err != nil {
		panic(err)
	}
	h, err := p.Prepare(context.Background(), wasm)
	if err != nil {
		panic(err)
	}
	var runs []*Run
	for _, allow := range []uint64{0, 1000} {
		j := loop(h)
		j.Allow = allow
		r, err := p.Start(context.Background(), j)
		if err != nil {
			panic(err)
		}
		runs = append(runs, r)
	}
	for runs[0].Used() == 0 || runs[1].Paused().IsZero() {
		time.Sleep(time.Millisecond)
	}
	fmt.Println(runs[0].c.cmd.Process.Pid, runs[1].c.cmd.Process.Pid)
	select {}
}

// TestOrphans: children die with their parent, those that pause too.
func TestOrphans(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/guest.wasm", guestC(t), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), "GUEST_PARENT="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var runs, pauses int
	fmt.Sscan(line, &runs, &pauses)
	until(t, "one runs and one has stopped", func() bool { return state(runs) != "" && state(pauses) == "T" })
	cmd.Process.Kill()
	cmd.Wait()
	until(t, "the job that ran is gone", func() bool { return state(runs) == "" })
	until(t, "the job that paused is gone", func() bool { return state(pauses) == "" })
}
