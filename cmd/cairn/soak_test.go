//go:build soak

package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// soak is whether tests may take as long as they like (`make soak`).
const soak = true

// TestGiB stores 1 GiB and fetches it back. The gateway streams: all that the process with the gateway in it
// grows by meanwhile stays under 300 MiB. That process also runs the chain, a verifier and the eight devices
// that take two GiB of shards, so the figure is more than the gateway's own.
func TestGiB(t *testing.T) {
	const size, limit = 1 << 30, 300 << 20
	home := newHome(t)
	cmd, _ := start(t, home)
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	f, err := os.Create(in)
	if err != nil {
		t.Fatal(err)
	}
	source := rand.NewChaCha8([32]byte{1})
	want := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, want), io.LimitReader(source, size)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	watch := watchMemory(t, cmd.Process.Pid)
	begin := time.Now()
	o := parse[struct{ ID string }](t, cairn(t, home, "store", "put", in, "--json"))
	put := time.Since(begin)
	putPeak := watch.peak()
	begin = time.Now()
	cairn(t, home, "store", "get", o.ID, out)
	get := time.Since(begin)
	getPeak := watch.peak()
	watch.stop()
	back, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	have := sha256.New()
	if n, err := io.Copy(have, back); err != nil || n != size || !bytes.Equal(have.Sum(nil), want.Sum(nil)) {
		t.Errorf("%d bytes came back, %x instead of %x: %v", n, have.Sum(nil), want.Sum(nil), err)
	}
	t.Logf("put %.0f MiB/s, get %.0f MiB/s; the process had %d MiB before, %d MiB at most in put, %d MiB in get",
		1024/put.Seconds(), 1024/get.Seconds(), watch.before>>20, putPeak>>20, getPeak>>20)
	if grown := max(putPeak, getPeak) - watch.before; grown > limit {
		t.Errorf("it grew by %d MiB, limit %d", grown>>20, limit>>20)
	}
}

// memory follows how much memory a process has that is its own and not a file's.
type memory struct {
	before int64
	mu     sync.Mutex
	most   int64
	end    chan struct{}
	done   chan struct{}
}

func watchMemory(t *testing.T, pid int) *memory {
	m := &memory{before: anonymous(t, pid), end: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		for {
			select {
			case <-m.end:
				return
			case <-time.After(50 * time.Millisecond):
			}
			now := anonymous(t, pid)
			m.mu.Lock()
			m.most = max(m.most, now)
			m.mu.Unlock()
		}
	}()
	return m
}

// peak is the most since it was asked for last.
func (m *memory) peak() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	most := m.most
	m.most = 0
	return most
}

func (m *memory) stop() {
	close(m.end)
	<-m.done
}

// anonymous reads RssAnon (proc_pid_status(5)).
func anonymous(t *testing.T, pid int) int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("memory is read from /proc")
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			var kib int64
			fmt.Sscan(rest, &kib)
			return kib << 10
		}
	}
	return 0
}
