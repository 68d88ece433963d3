package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// begin runs a job beside the test until stop is called. It returns when the job has written something.
func (w *world) begin(j *Job) (gone <-chan error, stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancelCause(w.t.Context())
	out, ended := writer{wrote: make(chan struct{}, 1000)}, make(chan error, 1)
	go func() {
		_, err := w.e.Run(ctx, j, &out, io.Discard, unmetered{})
		ended <- err
	}()
	select {
	case <-out.wrote:
	case err := <-ended:
		w.t.Fatal("it ended before it wrote anything: ", err)
	}
	return ended, func() { cancel(types.Refuse(compute.TrapCut, "enough")) }
}

// server is a job that serves its files with busybox's httpd.
func (w *world) server() *Job {
	page := []byte("a page\n")
	j := w.job("busybox httpd -p 8080 -h /www; echo begun; sleep 60")
	j.Files = compute.Files{{Path: "www/index.html", Size: uint64(len(page)), Hash: w.blobs.add(page)}}
	j.Limit = 60_000
	return j
}

// get asks a server in a container for its page.
func (w *world) get(j *Job) (string, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return w.e.Dial(ctx, j.Order, 8080) }
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	res, err := client.Get("http://container/")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return string(raw), err
}

// TestDoor: a server in a container is reached through its own door alone; where nobody listens, or there is no such
// container, the reason says so.
func TestDoor(t *testing.T) {
	w := newWorld(t)
	j, other := w.server(), w.job("echo begun; sleep 60")
	gone, stop := w.begin(j)
	_, stopOther := w.begin(other)
	defer stopOther()
	if page, err := w.get(j); page != "a page\n" {
		t.Errorf("%q, %v", page, err)
	}
	if c, err := w.e.Dial(t.Context(), j.Order, 8081); types.ReasonOf(err) != compute.PortClosed {
		t.Errorf("a port on which nobody listens: %v %v", c, err)
	}
	if c, err := w.e.Dial(t.Context(), other.Order, 8080); types.ReasonOf(err) != compute.PortClosed {
		t.Errorf("the port of another container: %v %v", c, err)
	}
	if c, err := w.e.Dial(t.Context(), types.Hash{1}, 8080); types.ReasonOf(err) != compute.NotRunning {
		t.Errorf("no container: %v %v", c, err)
	}
	// What listens on the machine itself is not in reach of a container's door.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := uint16(l.Addr().(*net.TCPAddr).Port)
	if c, err := w.e.Dial(t.Context(), j.Order, at); types.ReasonOf(err) != compute.PortClosed {
		t.Errorf("a port of the machine: %v %v", c, err)
	}
	stop()
	if err := <-gone; types.ReasonOf(err) != compute.TrapCut {
		t.Error(err)
	}
	if c, err := w.e.Dial(t.Context(), j.Order, 8080); types.ReasonOf(err) != compute.NotRunning {
		t.Errorf("a container that has ended: %v %v", c, err)
	}
}

// TestDoorAdopted: the door is the keeper's, so a node that is started again finds it.
func TestDoorAdopted(t *testing.T) {
	w := newWorld(t)
	j := w.server()
	ctx, stop := context.WithCancel(t.Context())
	out, gone := writer{wrote: make(chan struct{}, 100)}, make(chan error, 1)
	go func() {
		_, err := w.e.Run(ctx, j, &out, io.Discard, unmetered{})
		gone <- err
	}()
	<-out.wrote
	stop() // without a reason
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := w.e.Close(); err != nil {
		t.Error(err)
	}
	w.e = engine(t, w.dir)
	if page, err := w.get(j); page != "a page\n" {
		t.Errorf("%q, %v", page, err)
	}
}

// TestDoorStands: one that stands still takes connections, and answers when it goes on.
func TestDoorStands(t *testing.T) {
	w := newWorld(t)
	j := w.server()
	m := &meter{allowed: 1 << 60}
	out := writer{wrote: make(chan struct{}, 100)}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(types.Refuse(compute.TrapCut, "enough"))
	go func() { _, _ = w.e.Run(ctx, j, &out, io.Discard, m) }()
	<-out.wrote
	m.allow(1)
	group := cgroup{name(j.Order), w.e.group}
	for end := time.Now().Add(10 * time.Second); !group.frozen(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not stand still")
		}
	}
	c, err := w.e.Dial(t.Context(), j.Order, 8080)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	m.allow(1 << 60)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if raw, err := io.ReadAll(c); err != nil || !bytes.HasSuffix(raw, []byte("a page\n")) {
		t.Errorf("%q, %v", raw, err)
	}
}

// TestDoorOwner: nobody but root can open the door of a container, its own user least of all.
func TestDoorOwner(t *testing.T) {
	w := newWorld(t)
	j := w.server()
	_, stop := w.begin(j)
	defer stop()
	door := w.e.run + "/" + name(j.Order) + "/" + doorFile
	if info, err := os.Stat(door); err != nil || info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("%v %v", info, err)
	}
}
