package provider

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/spool"
)

// leaver is a module that writes "hi" into a new file called a.
func leaver() []byte {
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	section := func(id byte, body ...[]byte) []byte {
		b := slices.Concat(body...)
		return append([]byte{id, byte(len(b))}, b...)
	}
	const i32, i64 = 0x7f, 0x7e
	body := []byte{0, // no locals
		// path_open(3, 0, 32, 1, create, fd_write, 0, 0, 48)
		0x41, 3, 0x41, 0, 0x41, 32, 0x41, 1, 0x41, 1, 0x42, 0xc0, 0, 0x42, 0, 0x41, 0, 0x41, 48, 0x10, 1, 0x1a,
		0x41, 48, 0x28, 2, 0, 0x41, 0, 0x41, 1, 0x41, 20, 0x10, 0, 0x1a, // fd_write(what is at 48, 0, 1, 20)
		0x0b}
	memory := append([]byte{8, 0, 0, 0, 3, 0, 0, 0}, "hi\n"...)
	memory = append(memory, make([]byte, 32-len(memory))...)
	memory = append(memory, 'a')
	return slices.Concat(
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(1, []byte{3, 0x60, 4, i32, i32, i32, i32, 1, i32, 0x60, 0, 0, 0x60, 9, i32, i32, i32, i32, i32, i64, i64, i32, i32, 1, i32}),
		section(2, []byte{2}, name("wasi_snapshot_preview1"), name("fd_write"), []byte{0, 0}, name("wasi_snapshot_preview1"), name("path_open"), []byte{0, 2}),
		section(3, []byte{1, 1}),
		section(5, []byte{1, 0, 1}),
		section(7, []byte{2}, name("memory"), []byte{2, 0}, name("_start"), []byte{0, 2}),
		section(10, []byte{1, byte(len(body))}, body),
		section(11, []byte{1, 0, 0x41, 0, 0x0b}, []byte{byte(len(memory))}, memory),
	)
}

// leftOf is what came of the files of a job.
func (g *gateway) leftOf(j *ordered) (compute.Files, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var files compute.Files
	if raw := j.out[spool.List].Bytes(); len(raw) > 0 {
		var err error
		if files, err = compute.DecodeLeft(raw); err != nil {
			g.w.t.Error(err)
		}
	}
	return files, j.out[spool.Files].String()
}

// TestLeft: the gateway gets the files that a job left before its end, as the result names them; a device that
// is stopped meanwhile goes on where it was; and they go when the gateway has them.
func TestLeft(t *testing.T) {
	w := newWorld(t, nil)
	w.hold = true
	s := w.session(100)
	text := strings.Repeat("\x00", 500_000)
	j := w.run(s, "zero:a=500000", "burn:1000000", "left:b/c=xyz", "left:empty=")
	e := w.end(j)
	check := func() {
		t.Helper()
		files, bytes := w.leftOf(j)
		if len(files) != 3 || files.Root() != e.Result.Output || bytes != text+"xyz" {
			t.Errorf("%d bytes of %v, the result has %v", len(bytes), files, e.Result.Output)
		}
	}
	check()
	if err := w.device.Stop(); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock() // the gateway has lost half of them
	j.out[spool.Files].Truncate(12345)
	w.hold, j.twice = false, 0
	w.mu.Unlock()
	w.start()
	w.settled()
	check()
	if j.twice != 0 {
		t.Errorf("%d bytes came again", j.twice)
	}
	d := w.now()
	d.mu.Lock()
	kept := d.outBytes
	d.mu.Unlock()
	if list, err := os.ReadDir(filepath.Join(w.device.Dir(), "out")); err != nil || len(list) != 0 || kept != 0 {
		t.Errorf("%v and %d bytes are kept, %v", list, kept, err)
	}
	// One that could not be run leaves none.
	if e := w.end(w.run(s, "left:a=b", "fail")); e.Reason != compute.DeviceLost {
		t.Errorf("%+v", e)
	}
}

// TestLeftFound: what the job found and left as it was is not sent, also where it wrote the same anew.
func TestLeftFound(t *testing.T) {
	w := newWorld(t, nil)
	s := w.session(100)
	in := []byte("found")
	c := w.callWith(s, in, func(c *compute.Call) {
		c.Files = compute.Files{{Path: "a", Size: 5, Hash: types.Sum(in)}, {Path: "b", Size: 5, Hash: types.Sum(in)}}
		c.Job.Input = c.Files.Root()
	}, "left:a", "left:b=found", "left:c=found")
	j := w.runCall(s, c)
	w.end(j)
	files, bytes := w.leftOf(j)
	if len(files) != 3 || bytes != "found" {
		t.Errorf("%q of %v", bytes, files)
	}
	if list, total := files.Lay(c.Files); !list[0].Found || !list[1].Found || list[2].Found || total != 5 {
		t.Errorf("%+v", list)
	}
}

// TestLeftRoom: gateways that never take what their jobs left do not fill the disk for others; a job whose files
// find no room, in what they may have or on the disk, says so.
func TestLeftRoom(t *testing.T) {
	const mib = 1 << 20
	w := newWorld(t, func(c *Config) { c.Disk = 2 * (6*2*maxStream + 20*mib) })
	hog := w.gate("hog", 1<<40)
	hog.hold = true
	s := hog.session(100)
	w.exec.gate("late")
	full := "left:full=" + strings.Repeat("x", 1000)
	fill := func(n int) []string { return []string{"zero:a=" + strconv.Itoa(n*mib)} }
	for range 8 { // each 20 MiB
		hog.end(hog.run(s, fill(20)...))
	}
	d := w.now()
	d.mu.Lock()
	before := d.outBytes
	d.mu.Unlock()
	if before < 160*mib || before > d.cfg.Disk/2 {
		t.Fatalf("%d bytes of %d", before, d.cfg.Disk/2)
	}
	mine := w.session(100)
	if e := w.end(w.run(mine, fill(100)...)); e.Reason != compute.NoSpace { // hog is there, and has its time
		t.Errorf("%+v", e)
	}
	hog.stop()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		d.mu.Lock()
		away := 0
		for _, j := range d.jobs {
			if j.open && j.silent.Load() != 0 {
				away++
			}
		}
		d.mu.Unlock()
		if away >= 8 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the device does not see that the gateway is away")
		}
	}
	mine = w.session(100)
	if e := w.end(w.run(mine, fill(100)...)); e.Result == nil {
		t.Errorf("%+v", e)
	}
	if e := w.end(w.run(mine, fill(255)...)); e.Reason != compute.NoSpace { // more than there can be
		t.Errorf("%+v", e)
	}
	// A disk on which no byte finds room.
	mine = w.session(100)
	j := w.run(mine, "wait:late", full)
	if err := os.Symlink("/dev/full", filepath.Join(w.device.Dir(), "out", j.order.Hash().String(), spool.Files.String())); err != nil {
		t.Fatal(err)
	}
	close(w.exec.gate("late"))
	if e := w.end(j); e.Reason != compute.NoSpace {
		t.Errorf("%+v", e)
	}
}
