package provider

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// snapshot copies a device's disk as it is, as a power cut would leave it: nothing is closed before.
func snapshot(d *device, to string) error {
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(d.dir, path)
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case rel == "journal.db":
			return nil
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		out, err := os.Create(filepath.Join(to, rel))
		if err == nil {
			_, err = io.Copy(out, in)
			err = errors.Join(err, out.Close())
		}
		return errors.Join(err, in.Close())
	})
	return errors.Join(err, d.books.db.View(func(tx *bbolt.Tx) error { return tx.CopyFile(filepath.Join(to, "journal.db"), 0o600) }))
}

// TestCrash: the power fails at each point of a job's life. The job ends once for the customer, is charged
// once, and no output that the gateway has comes again.
func TestCrash(t *testing.T) {
	for _, step := range []string{"accepted", "running", "paid", "ended"} {
		t.Run(step, func(t *testing.T) {
			var w *world
			disk := t.TempDir()
			crash, back := make(chan struct{}), make(chan struct{})
			once := sync.OnceFunc(func() {
				if err := snapshot(w.now(), disk); err != nil {
					t.Error(err)
				}
				close(crash)
				<-back
			})
			w = newWorld(t, func(c *Config) {
				c.step = func(name string) {
					if name == step {
						once()
					}
				}
			})
			s := w.session(100)
			c := w.callWith(s, bytes.Repeat([]byte("in"), 1000), nil, "out:first ", "burn:1500000000", "cat", "err:e", "burn:500000000", "out:last")
			answer := make(chan types.Reason, 1)
			go func() {
				_, reason := w.ask(s, c)
				answer <- reason
			}()
			select {
			case <-crash:
			case <-time.After(20 * time.Second):
				t.Fatal("never")
			}
			stopped := make(chan error, 1)
			go func() { stopped <- w.device.Stop() }()
			for w.now() != nil {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(5 * time.Millisecond) // its work is being cancelled: what it still does is not on the disk that counts
			close(back)
			if err := <-stopped; err != nil {
				t.Fatal(err)
			}
			<-answer
			w.device.SetDir(disk)
			w.cfg.step = nil
			w.start()
			j := w.runCall(s, c) // the customer does not know whether it was accepted, and brings it again
			e := w.end(j)
			want := "first " + string(bytes.Repeat([]byte("in"), 1000)) + "last"
			if j.out[1].String() != want || j.out[2].String() != "e" || j.twice != 0 {
				t.Errorf("output of %d bytes, want %d; %d came twice", j.out[1].Len(), len(want), j.twice)
			}
			if e.Result == nil || e.Leaf.Leaf.Fuel != 2_000_000_000 || e.Leaf.Leaf.Index != 0 {
				t.Errorf("%+v", e.Leaf.Leaf)
			}
			w.end(w.run(s, "burn:1"))
			w.settled()
			for range 3 {
				w.Next()
			}
			w.clean(types.Superseded)
			if got := w.tallied(); got != 2000 {
				t.Errorf("the tally has %d, want 2000", got)
			}
		})
	}
}

// TestGatewayAway: a gateway that goes away in the middle costs the device what may be owed, and gets the rest
// when it is back in time.
func TestGatewayAway(t *testing.T) {
	w := newWorld(t, nil)
	s := w.session(100)
	j := w.run(s, "out:a", "burn:300000000", "wait:gone", "burn:5000000000", "out:b")
	w.until(j, "it is paid", func() bool { return j.paid == 300_000_000 && j.out[1].Len() == 1 })
	w.waitPaid(j)
	w.stop()
	before := w.exec.total()
	close(w.exec.gate("gone"))
	d := w.now()
	dj := d.jobs[j.order.Hash()]
	for end := time.Now().Add(20 * time.Second); !d.standing(dj); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not stand still")
		}
	}
	got := w.exec.total() - before
	t.Logf("ran while the gateway was away: %.3f s", float64(got)/1e9)
	if got > 1_334_000_000 {
		t.Errorf("%d units", got)
	}
	w.serve(w.addr)
	e := w.end(j)
	if e.Result == nil || j.out[1].String() != "ab" || j.twice != 0 {
		t.Errorf("%+v, %q", e, j.out[1].String())
	}
}

// TestGatewayGone: a gateway that does not come back, or does not know the job any more, leaves nothing behind.
func TestGatewayGone(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.patience = 100 * time.Millisecond })
	s := w.session(100)
	j := w.run(s, "burn:20000000000")
	w.until(j, "it is paid", func() bool { return j.paid > 0 })
	w.mu.Lock()
	delete(w.jobs, j.order.Hash())
	w.mu.Unlock()
	w.stop()
	w.serve(w.addr)
	w.settled()
	d := w.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slots != 0 || d.outBytes != 0 || len(d.jobs) != 0 {
		t.Errorf("%d slots, %d bytes, %d jobs", d.slots, d.outBytes, len(d.jobs))
	}
}

// TestInputs: a gateway that gives other bytes than it named, or none, pays nothing and gets nothing; after
// some minutes of that in an epoch its orders are refused.
func TestInputs(t *testing.T) {
	w := newWorld(t, nil)
	s := w.session(100)
	big := bytes.Repeat([]byte("b"), 1000)
	run := func(with []byte) *compute.Ended {
		c := w.callWith(s, big, nil, "cat")
		w.mu.Lock()
		if w.inputs[types.Sum(big)] = with; with == nil {
			delete(w.inputs, types.Sum(big))
		}
		w.mu.Unlock()
		return w.end(w.runCall(s, c))
	}
	lie := bytes.Clone(big)
	lie[7]++
	for name, c := range map[string]struct {
		with []byte
		want types.Reason
	}{"a lie": {lie, compute.DigestMismatch}, "another length": {big[:999], compute.DigestMismatch}, "nothing": {nil, compute.InputMissing}} {
		e := run(c.with)
		if e.Reason != c.want || e.Leaf.Leaf.Fuel != 0 {
			t.Errorf("%s: %s, %+v", name, e.Reason, e.Leaf.Leaf)
		}
	}
	w.exec.bad = compute.BadModule
	if e := run(big); e.Reason != compute.BadModule || e.Message == "" {
		t.Errorf("%+v", e)
	}
	w.exec.bad = ""
	if e := run(big); e.Result == nil {
		t.Errorf("%+v", e)
	}
	w.exec.bad = compute.BadModule
	n := 0
	for ; n < 400; n++ {
		w.settled()
		j, reason := w.ask(s, w.call(s))
		if reason == compute.Policy {
			break
		}
		w.end(j)
	}
	t.Logf("%d jobs that can't be run were tried for one account in one epoch", n)
	if n > int(freeTime/foul) {
		t.Errorf("%d jobs", n)
	}
	w.exec.bad = ""
	w.Next()
	w.end(w.run(s, "out:x"))
}

// TestLimits: a job ends at its bounds, and what it used up to there is charged; one that fails for the
// device's own reasons is free.
func TestLimits(t *testing.T) {
	w := newWorld(t, nil)
	s := w.session(100)
	e := w.end(w.runCall(s, w.callWith(s, nil, func(c *compute.Call) { c.Job.Limit = 500_000_000 }, "burn:900000000")))
	if e.Result == nil || e.Result.Trap != compute.TrapFuel || e.Leaf.Leaf.Fuel != 500_000_000 {
		t.Errorf("%+v", e)
	}
	e = w.end(w.run(s, "trap"))
	if e.Result == nil || e.Result.Trap != compute.TrapGuest {
		t.Errorf("%+v", e)
	}
	e = w.end(w.run(s, "fail"))
	if e.Reason != compute.DeviceLost || e.Leaf.Leaf.Fuel != 0 {
		t.Errorf("%+v", e)
	}
}

// TestKeep: what a job wrote goes when the gateway has it, and what a private one read; what a public one read
// when nobody can audit it any more. Over restarts, too.
func TestKeep(t *testing.T) {
	w := newWorld(t, nil)
	s := w.session(100)
	big := bytes.Repeat([]byte("b"), 1000)
	w.end(w.runCall(s, w.callWith(s, big, func(c *compute.Call) { c.Order.Order.Mode = compute.Private }, "burn:2000000000", "cat")))
	w.settled()
	count := func() (jobs int, bytes uint64, dirs int) {
		list, err := os.ReadDir(filepath.Join(w.device.Dir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		d := w.now()
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.jobs), d.outBytes + d.pinnedBytes, len(list)
	}
	if jobs, bytes, dirs := count(); jobs != 0 || bytes != 0 || dirs != 0 {
		t.Errorf("private: %d jobs, %d bytes, %d folders", jobs, bytes, dirs)
	}
	w.end(w.runCall(s, w.callWith(s, big, nil, "burn:2000000000", "cat")))
	w.settled()
	for i := range 4 { // its leaf is committed to in the next epoch and the one after: until then, and three epochs more
		if jobs, bytes, dirs := count(); jobs != 1 || bytes != 1000 || dirs != 0 {
			t.Errorf("public, after %d epochs: %d jobs, %d bytes, %d folders", i, jobs, bytes, dirs)
		}
		w.Next()
		if err := w.device.Stop(); err != nil {
			t.Fatal(err)
		}
		w.start()
	}
	for range 4 {
		w.Next()
	}
	if jobs, bytes, dirs := count(); jobs != 0 || bytes != 0 || dirs != 0 {
		t.Errorf("public, at last: %d jobs, %d bytes, %d folders", jobs, bytes, dirs)
	}
	w.clean(types.Superseded)
}

// TestOpen: a gateway that never says that it has the ends of its jobs keeps so many of them open, and no more.
func TestOpen(t *testing.T) {
	w := newWorld(t, nil)
	w.hold = true
	s := w.session(100)
	n := 0
	for ; n < 3*maxOpenAccount; n++ {
		j, reason := w.ask(s, w.call(s, "out:x"))
		if reason == compute.Busy {
			break
		}
		w.end(j)
	}
	if n != maxOpenAccount {
		t.Errorf("%d jobs", n)
	}
	w.mu.Lock()
	w.hold = false
	w.mu.Unlock()
	w.stop()
	w.serve(w.addr)
	w.settled()
	w.end(w.run(s, "out:y"))
}

// TestAway: a job whose gateway is away for too long ends, also if it uses nothing.
func TestAway(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.away = 100 * time.Millisecond })
	s := w.session(100)
	j := w.run(s, "burn:1000000", "wait:never")
	w.until(j, "it runs", func() bool { return j.used > 0 })
	w.waitPaid(j)
	w.stop()
	d := w.now()
	dj := d.jobs[j.order.Hash()]
	select {
	case <-dj.done:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
	w.serve(w.addr)
	if e := w.end(j); e.Leaf.Leaf.Mode != compute.Cut || e.Leaf.Leaf.Fuel != 1_000_000 {
		t.Errorf("%+v", e)
	}
}

// TestDisk: an order whose inputs have no room is refused, and what others need no more makes some.
func TestDisk(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Disk = 128 << 20 })
	s := w.session(100)
	big := make([]byte, 40<<20)
	order := func(b byte) *compute.Call {
		big[0] = b
		return w.callWith(s, bytes.Clone(big), func(c *compute.Call) { c.Order.Order.Mode = compute.Private }, "wait:a")
	}
	j := w.runCall(s, order(1))
	other := w.session(100)
	c := order(2)
	c.Order.Order.Session, c.Order.Order.Index = other.id, 0
	c.Order.Signature = w.market.Sign(compute.DomainOrder, c.Order.Order.Payload())
	if _, reason := w.ask(other, c); reason != compute.NoSpace {
		t.Errorf("%q, want no_space", reason)
	}
	close(w.exec.gate("a"))
	w.end(j)
	w.settled()
	w.end(w.runCall(s, order(3)))
}

// TestPlaces: nobody keeps others out by being first: not with ends that its gateway does not take, and not
// with sessions.
func TestPlaces(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.open, c.sessions, c.quiet = 6, 8, time.Millisecond })
	bad := w.gate("bad", 1<<40)
	bad.hold = true
	for range 6 {
		s := bad.session(maxExpiry)
		bad.end(bad.run(s, "out:x"))
	}
	bad.stop()
	newcomer := func(what string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			s := w.session(100)
			j, reason := w.ask(s, w.callWith(s, nil, func(c *compute.Call) { c.Order.Order.Mode = compute.Private }, "burn:1000000000"))
			if reason == "" {
				w.end(j)
				return
			}
			if reason != compute.Busy || time.Now().After(end) {
				t.Fatalf("%s: %q", what, reason)
			}
		}
	}
	newcomer("ends")
	for i := range 6 { // of sessions that earn, none has to go
		newcomer(fmt.Sprint("session ", i))
		if n := len(w.now().sessions); n > 8 {
			t.Fatalf("%d sessions", n)
		}
	}
}
