package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/compute"
)

// blobs are what images are made of.
type blobs map[types.Hash][]byte

func (b blobs) add(p []byte) types.Hash {
	h := types.Sum(p)
	b[h] = p
	return h
}

func (b blobs) open(h types.Hash) (io.ReadCloser, uint64, error) {
	p, ok := b[h]
	if !ok && h != compute.Nothing {
		return nil, 0, types.Refuse(compute.InputMissing, "no %v", h)
	}
	return io.NopCloser(bytes.NewReader(p)), uint64(len(p)), nil
}

type entry struct {
	name, body, link string
	kind             byte
	mode             int64
}

// layer makes a layer, and returns it and SHA-256 of its tar.
func layer(t testing.TB, entries ...entry) (packed []byte, diff types.Hash) {
	t.Helper()
	var plain, zipped bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o755
		}
		if err := w.WriteHeader(&tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(plain.Bytes()); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	return zipped.Bytes(), types.Sum(plain.Bytes())
}

// image makes an image of layers.
func (b blobs) image(t testing.TB, config string, layers ...[]entry) types.Hash {
	t.Helper()
	var list, diffs []string
	for _, l := range layers {
		packed, diff := layer(t, l...)
		list = append(list, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":%d,"digest":"sha256:%v"}`, len(packed), b.add(packed)))
		diffs = append(diffs, fmt.Sprintf(`"sha256:%v"`, diff))
	}
	c := []byte(fmt.Sprintf(`{"os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":[%s]}}`, config, strings.Join(diffs, ",")))
	return b.add([]byte(fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":%d,"digest":"sha256:%v"},"layers":[%s]}`,
		len(c), b.add(c), strings.Join(list, ","))))
}

// busybox makes an image of Debian's static busybox.
func (b blobs) busybox(t testing.TB) types.Hash {
	t.Helper()
	program, err := os.ReadFile(testutil.Program(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	l := []entry{{name: "bin/", kind: tar.TypeDir}, {name: "bin/busybox", body: string(program)}, {name: "tmp/", kind: tar.TypeDir, mode: 0o1777},
		{name: "etc/passwd", body: "root:x:0:0::/:/bin/sh\nworker:x:1000:1001::/:/bin/sh\n", mode: 0o644}}
	for _, a := range []string{"sh", "echo", "cat", "dd", "id", "sleep", "yes", "tail", "true", "ls", "mount", "wget", "ping", "head"} {
		l = append(l, entry{name: "bin/" + a, kind: tar.TypeSymlink, link: "busybox"})
	}
	return b.image(t, `{"Entrypoint":["/bin/sh","-c"],"Cmd":["echo hello"],"Env":["FROM=image","BOTH=image"]}`, l)
}

// engine opens an engine. A machine that can't run containers skips the test; in CI it fails.
func engine(t testing.TB, dir string, egress ...compute.Reach) *Engine {
	t.Helper()
	testutil.Program(t, "runc")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, lacks, err := Open(ctx, dir, 1<<30, egress...)
	if err != nil {
		t.Fatal(err)
	}
	if len(lacks) > 0 {
		testutil.Missing(t, fmt.Sprintf("a machine that can run containers: %v", lacks))
	}
	return e
}

// world is an engine with busybox.
type world struct {
	t     testing.TB
	e     *Engine
	dir   string
	blobs blobs
	image types.Hash
	n     int
}

func newWorld(t testing.TB, egress ...compute.Reach) *world {
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	dir := t.TempDir()
	w := &world{t: t, e: engine(t, dir, egress...), dir: dir, blobs: blobs{}}
	w.image = w.blobs.busybox(t)
	t.Cleanup(func() {
		if err := w.e.Forget(); err != nil {
			t.Error(err)
		}
	})
	if err := w.e.Prepare(t.Context(), w.image, w.blobs.open); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) job(args ...string) *Job {
	w.n++
	return &Job{Order: types.Sum([]byte(fmt.Sprint(w.dir, w.n))), Image: w.image, Args: args, Env: []string{}, Stdin: compute.Nothing, Memory: 64 << 20, Slots: 1, Limit: 10_000, Open: w.blobs.open}
}

// meter allows so much.
type meter struct {
	mu            sync.Mutex
	used, allowed uint64
}

func (m *meter) Used(n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used = n
}

func (m *meter) Allowed() (uint64, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.allowed, nil
}

func (m *meter) allow(n uint64) (used uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.allowed = n
	return m.used
}

// run runs a job to its end.
func (w *world) run(j *Job) (end *Ended, stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	end, err = w.e.Run(w.t.Context(), j, &out, &errs, unmetered{})
	if e := w.e.Release(j.Order); e != nil {
		w.t.Error(e)
	}
	return end, out.String(), errs.String(), err
}

// TestRun: what a container sees, and what comes out of it.
func TestRun(t *testing.T) {
	w := newWorld(t)
	text := []byte("from outside\n")
	for _, c := range []struct {
		name, script string
		change       func(*Job)
		out, errs    string
		exit         uint32
	}{
		{name: "the image's command", out: "hello\n"},
		{name: "streams and exit code", script: "echo out; echo err >&2; exit 7", out: "out\n", errs: "err\n", exit: 7},
		{name: "environment", script: "echo $FROM $BOTH $MINE", change: func(j *Job) { j.Env = []string{"BOTH=job", "MINE=1"} }, out: "image job 1\n"},
		{name: "standard input", script: "cat", change: func(j *Job) { j.Stdin = w.blobs.add(text) }, out: string(text)},
		{name: "files", script: "cat /data/in.txt; echo more >>/data/in.txt; cat /data/in.txt", change: func(j *Job) {
			j.Files = compute.Files{{Path: "data/in.txt", Size: uint64(len(text)), Hash: w.blobs.add(text)}}
		}, out: "from outside\nfrom outside\nmore\n"},
		{name: "files of its own", script: "echo x >/etc/new && cat /etc/new", out: "x\n"},
		{name: "root is nobody", script: "id -u; mount -t tmpfs x /tmp 2>/dev/null || echo no", out: "0\nno\n"},
		{name: "no network", script: "ls /sys/class/net; ping -c1 127.0.0.1 >/dev/null 2>&1 || echo no", out: "lo\nno\n"},
		{name: "no capabilities, no privileges, seccomp", script: "while read a b; do case $a in CapEff:|CapBnd:|NoNewPrivs:|Seccomp:) echo $b;; esac; done </proc/self/status",
			out: "0000000000000000\n0000000000000000\n1\n2\n"},
		{name: "nothing of the machine", script: "ls -d /dev/?da* /run/* 2>/dev/null; (echo 1 >/proc/sys/kernel/panic) 2>/dev/null || echo no", out: "no\n"},
	} {
		j := w.job()
		if c.script != "" {
			j.Args = []string{c.script}
		}
		if c.change != nil {
			c.change(j)
		}
		end, out, errs, err := w.run(j)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if out != c.out || errs != c.errs || end.Exit != c.exit || end.Trap != "" {
			t.Errorf("%s: %q %q %d %s, want %q %q %d", c.name, out, errs, end.Exit, end.Trap, c.out, c.errs, c.exit)
		}
		if end.Used == 0 || end.Used > 2000 {
			t.Errorf("%s: used %d slot·ms", c.name, end.Used)
		}
	}
	if list, err := os.ReadDir(filepath.Join(w.dir, "jobs")); err != nil || len(list) > 0 {
		t.Errorf("left behind: %v, %v", list, err)
	}
	if raw, err := os.ReadFile("/proc/mounts"); err != nil || strings.Contains(string(raw), w.e.run) {
		t.Errorf("mounts are left: %v", err)
	}
}

// TestLimits: a container that takes more than it may have ends with the reason, what it wrote is kept, and
// another one beside it comes to no harm.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	beside := w.job("i=0; while [ $i -lt 30 ]; do i=$((i+1)); sleep 0.1; done; echo fine")
	done := make(chan string, 1)
	go func() {
		var out bytes.Buffer
		end, err := w.e.Run(t.Context(), beside, &out, io.Discard, unmetered{})
		done <- fmt.Sprint(out.String(), end, err)
	}()
	for _, c := range []struct {
		name, script string
		trap         types.Reason
	}{
		{"fork bomb", "echo begun; b() { b | b & }; b; sleep 60", compute.TrapProcesses},
		{"memory hog", "echo begun; tail /dev/zero; sleep 60", compute.TrapMemory},
		{"disk filler", "echo begun; cat /dev/zero >/big; sleep 60", compute.TrapDisk},
		{"shared memory", "echo begun; cat /dev/zero >/dev/shm/big; sleep 60", compute.TrapMemory},
		{"talker", "echo begun; yes", compute.TrapOutput},
		{"endless", "echo begun; while true; do true; done", compute.TrapTime},
	} {
		j := w.job(c.script)
		if c.trap == compute.TrapTime {
			j.Limit = 500
		}
		end, out, _, err := w.run(j)
		if err != nil || end.Trap != c.trap || !strings.HasPrefix(out, "begun\n") {
			t.Errorf("%s: %+v, %v, %.20q; want %s", c.name, end, err, out, c.trap)
		}
		if c.trap == compute.TrapTime && end != nil && end.Used != 500 {
			t.Errorf("%s: used %d, the limit is 500", c.name, end.Used)
		}
		if len(out) > MaxOutput {
			t.Errorf("%s: %d bytes of output", c.name, len(out))
		}
	}
	if got := <-done; !strings.HasPrefix(got, "fine\n&{0  ") {
		t.Errorf("beside it: %q", got)
	}
	if err := w.e.Release(beside.Order); err != nil {
		t.Error(err)
	}
}

// TestCPU: a slot is one core, two are two, however many processes want one.
func TestCPU(t *testing.T) {
	w := newWorld(t)
	j := w.job("echo x; sleep 60")
	j.Slots = 2
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := make(chan error, 1)
	out := writer{wrote: make(chan struct{}, 100)}
	go func() {
		_, err := w.e.Run(ctx, j, &out, io.Discard, unmetered{})
		gone <- err
	}()
	<-out.wrote
	group, file := cgroup{name(j.Order), w.e.group}, "cpu.cfs_quota_us"
	if group.v2 {
		file = "cpu.max"
	}
	if raw, err := os.ReadFile(group.path("cpu", file)); err != nil || !strings.HasPrefix(string(raw), "200000") {
		t.Errorf("%q, %v", raw, err)
	}
	cancel(types.Refuse(compute.TrapCut, "enough"))
	if err := <-gone; types.ReasonOf(err) != compute.TrapCut {
		t.Error(err)
	}
}

// TestPause: a container that is not paid for stands still, and time that it stands still is not counted.
func TestPause(t *testing.T) {
	w := newWorld(t)
	j := w.job("while true; do echo x; sleep 0.05; done")
	m := &meter{allowed: 200}
	var out bytes.Buffer
	done := make(chan *Ended, 1)
	j.Limit = 600
	go func() {
		end, err := w.e.Run(t.Context(), j, &out, io.Discard, m)
		if err != nil {
			t.Error(err)
		}
		done <- end
	}()
	stands := func() uint64 {
		last := uint64(0)
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			time.Sleep(200 * time.Millisecond)
			m.mu.Lock()
			u := m.used
			m.mu.Unlock()
			if u == last && u > 0 {
				return u
			}
			last = u
		}
		t.Fatal("it goes on")
		return 0
	}
	if u := stands(); u < 200 || u > 400 {
		t.Errorf("it stands still at %d, allowed were 200", u)
	}
	m.allow(1 << 60)
	if end := <-done; end == nil || end.Trap != compute.TrapTime || end.Used != 600 {
		t.Errorf("%+v", end)
	}
	if err := w.e.Release(j.Order); err != nil {
		t.Error(err)
	}
}

// TestAdopt: an engine that is opened again, as after kill -9, goes on with a container: all of its output is
// there, once.
func TestAdopt(t *testing.T) {
	w := newWorld(t)
	j := w.job("for i in 1 2 3 4 5 6; do echo $i; sleep 0.2; done; exit 5")
	ctx, stop := context.WithCancel(t.Context())
	var first writer
	first.wrote = make(chan struct{}, 100)
	gone := make(chan error, 1)
	go func() {
		_, err := w.e.Run(ctx, j, &first, io.Discard, unmetered{})
		gone <- err
	}()
	<-first.wrote
	stop() // without a reason
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := w.e.Close(); err != nil {
		t.Error(err)
	}
	w.e = engine(t, w.dir)
	if err := w.e.Sweep(func(o types.Hash) bool { return o == j.Order }); err != nil {
		t.Error(err)
	}
	var out bytes.Buffer
	end, err := w.e.Run(t.Context(), j, &out, io.Discard, unmetered{})
	if err != nil || end.Exit != 5 || out.String() != "1\n2\n3\n4\n5\n6\n" || end.Used < 1000 {
		t.Errorf("%+v %v %q", end, err, out.String())
	}
	// And once more, as if the end had not come into the journal.
	out.Reset()
	if again, err := w.e.Run(t.Context(), j, &out, io.Discard, unmetered{}); err != nil || *again != *end || out.String() != "1\n2\n3\n4\n5\n6\n" {
		t.Errorf("%+v %v %q", again, err, out.String())
	}
}

// TestOrphan: a container whose node does not come back ends, and who asks for it later hears that it is lost.
func TestOrphan(t *testing.T) {
	w := newWorld(t)
	w.e.away = time.Millisecond
	j := w.job("echo x; sleep 60")
	j.Limit = 60_000
	ctx, stop := context.WithCancel(t.Context())
	out := writer{wrote: make(chan struct{}, 100)}
	gone := make(chan error, 1)
	go func() {
		_, err := w.e.Run(ctx, j, &out, io.Discard, unmetered{})
		gone <- err
	}()
	<-out.wrote
	stop()
	if err := w.e.Close(); err != nil || !errors.Is(<-gone, context.Canceled) {
		t.Error(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(w.e.job(j.Order), endFile)); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it runs on")
		}
	}
	w.e = engine(t, w.dir)
	if _, _, _, err := w.run(j); types.ReasonOf(err) != compute.DeviceLost {
		t.Error(err)
	}
}

type writer struct {
	wrote chan struct{}
	buf   bytes.Buffer
}

func (w *writer) Write(p []byte) (int, error) {
	w.wrote <- struct{}{}
	return w.buf.Write(p)
}

// TestKeeperGone: a container whose keeper was killed has no end that anybody knows: it is ended, and lost.
func TestKeeperGone(t *testing.T) {
	w := newWorld(t)
	j := w.job("echo x; sleep 60")
	var out writer
	out.wrote = make(chan struct{}, 100)
	gone := make(chan error, 1)
	go func() {
		_, err := w.e.Run(t.Context(), j, &out, io.Discard, unmetered{})
		gone <- err
	}()
	<-out.wrote
	if err := exec.Command("pkill", "-9", "-x", "-f", keeperName+" "+w.e.job(j.Order)).Run(); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; types.ReasonOf(err) != compute.DeviceLost {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(w.e.run, "state", name(j.Order))); err == nil {
		t.Error("the container is still there")
	}
}

// TestCancel: a container ends where its job is cancelled, also one that stands still.
func TestCancel(t *testing.T) {
	w := newWorld(t)
	for _, allowed := range []uint64{1 << 60, 50} {
		j := w.job("echo x; sleep 60")
		ctx, cancel := context.WithCancelCause(t.Context())
		var out writer
		out.wrote = make(chan struct{}, 100)
		gone := make(chan error, 1)
		m := &meter{allowed: allowed}
		go func() {
			_, err := w.e.Run(ctx, j, &out, io.Discard, m)
			gone <- err
		}()
		<-out.wrote
		for end := time.Now().Add(5 * time.Second); allowed == 50 && m.allow(50) < 50 && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		cancel(types.Refuse(compute.TrapCut, "cancelled"))
		if err := <-gone; types.ReasonOf(err) != compute.TrapCut {
			t.Error(err)
		}
		if err := w.e.Release(j.Order); err != nil {
			t.Error(err)
		}
	}
}

// TestBadProgram: an image that can't be started is the customer's to mend, and costs nothing.
func TestBadProgram(t *testing.T) {
	w := newWorld(t)
	w.image = w.blobs.image(t, `{"Entrypoint":["/no/such"]}`, []entry{{name: "x", body: "x", mode: 0o644}})
	if err := w.e.Prepare(t.Context(), w.image, w.blobs.open); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.run(w.job()); types.ReasonOf(err) != compute.BadImage {
		t.Error(err)
	}
}
