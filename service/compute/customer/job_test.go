package customer

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role/roletest"
)

func newWorld(t *testing.T) (*roletest.World, *roletest.Market) {
	w := roletest.New(t, compute.New())
	m := w.Market("customer", 1_000_000)
	w.Next()
	w.Next()
	return w, m
}

// TestJob: a job runs at the best device, at the price of the next one, and is paid by what it used.
func TestJob(t *testing.T) {
	w, m := newWorld(t)
	a := newDevice(t, w, "a", 4, honest)
	newDevice(t, w, "b", 6, honest)
	g := newGateway(t, m)
	g.sees(2)
	id := g.submit("name=hi&arg=-x&arg=y&env=A%3Db")
	r := g.result(id)
	if r.State != Done || r.Exit == nil || *r.Exit != 7 || r.Fuel != 3_000_000_000 || r.Device != a.Key().String() || r.Price != 6 || r.Paid != 18 || r.Tries != 1 {
		t.Errorf("%+v", r)
	}
	first := a.last().Session
	if got := a.last(); got.Amount != 18 || got.Units != types.U64(3_000_000_000) || got.Seq != 2 {
		t.Errorf("receipt %+v", got)
	}
	var out []byte
	g.call("GET", "/jobs/"+id+"/logs?offset=2", nil, &out)
	if string(out) != "llo\n" {
		t.Errorf("logs %q", out)
	}
	// The next job goes on in the same session: its receipt is for both.
	r = g.result(g.submit(""))
	if got := a.last(); r.Paid != 18 || got.Amount != 36 || got.Session != first {
		t.Errorf("second job: %+v, receipt %+v", r, got)
	}
	var list []JobState
	if g.call("GET", "/jobs", nil, &list); len(list) != 2 || list[1].Name != "hi" {
		t.Errorf("list %+v", list)
	}
}

// TestCheats: whatever a device says of the end but the truth, the customer gets the job done once, by another
// one, and pays for nothing that it did not order.
func TestCheats(t *testing.T) {
	for name, p := range map[string]play{
		"another output": ending(func(r *run, e *compute.Ended) {
			e.Result.Stdout = types.Sum([]byte("hello!"))
			e.Leaf = r.leaf(compute.Leaf{Session: e.Leaf.Leaf.Session, Index: e.Leaf.Leaf.Index, Job: e.Leaf.Leaf.Job, Result: e.Result.Hash(), Fuel: r.fuel, Mode: compute.Public})
		}),
		"another result than it signed": ending(func(_ *run, e *compute.Ended) { e.Result.Exit = 0 }),
		"more fuel than the limit": ending(func(r *run, e *compute.Ended) {
			e.Result.Fuel = 1 << 60
			e.Leaf = r.leaf(compute.Leaf{Session: e.Leaf.Leaf.Session, Index: e.Leaf.Leaf.Index, Job: e.Leaf.Leaf.Job, Result: e.Result.Hash(), Fuel: 1 << 60, Mode: compute.Public})
		}),
		"a leaf with more fuel than the result": ending(func(r *run, e *compute.Ended) {
			l := e.Leaf.Leaf
			l.Fuel++
			e.Leaf = r.leaf(l)
		}),
		"another job": ending(func(r *run, e *compute.Ended) {
			l := e.Leaf.Leaf
			l.Job[0]++
			e.Leaf = r.leaf(l)
		}),
		"another session": ending(func(r *run, e *compute.Ended) {
			l := e.Leaf.Leaf
			l.Session[15]++
			e.Leaf = r.leaf(l)
		}),
		"an unsigned leaf": ending(func(_ *run, e *compute.Ended) { e.Leaf.Signature[0]++ }),
		"as private": ending(func(r *run, e *compute.Ended) {
			l := e.Leaf.Leaf
			l.Mode = compute.Private
			e.Leaf = r.leaf(l)
		}),
		"cut, though nobody cancelled": ending(func(r *run, e *compute.Ended) {
			l := e.Leaf.Leaf
			l.Mode, l.Result = compute.Cut, types.Hash{}
			e.Leaf, e.Result = r.leaf(l), nil
		}),
		"it could not be run": ending(func(_ *run, e *compute.Ended) {
			e.Leaf, e.Result, e.Reason = nil, nil, compute.BadModule
		}),
		"nonsense": func(r *run) error {
			s, _, err := r.join()
			if err != nil {
				return err
			}
			return s.Write(link.Frame{Kind: link.End, Data: []byte("nonsense")})
		},
		"output with a gap": func(r *run) error {
			s, _, err := r.join()
			if err != nil {
				return err
			}
			return s.Write(link.Frame{Kind: link.Output, Stream: uint8(spool.Stdout), Offset: 1 << 40, Data: []byte("x")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := newWorld(t)
			bad := newDevice(t, w, "bad", 1, p)
			good := newDevice(t, w, "good", 5, honest)
			g := newGateway(t, m)
			g.sees(2)
			r := g.result(g.submit(""))
			if r.State != Done || r.Device != good.Key().String() || r.Tries != 2 || bad.accepted.Load() != 1 {
				t.Fatalf("%+v, accepted %d times", r, bad.accepted.Load())
			}
			if r.Paid != 15 {
				t.Errorf("paid %d, want 15: nothing to %s", r.Paid, short(bad.Key()))
			}
			// Whoever ended a job so ranks behind for the next one.
			if r := g.result(g.submit("")); r.Device != good.Key().String() && name != "output with a gap" && name != "nonsense" {
				t.Logf("the next job goes to the bad device again, at a price that makes up for it: %+v", r)
			}
		})
	}
}

// TestLost: a device that goes away in the middle is left after five seconds, and what it wrote is not in the
// way of the next one.
func TestLost(t *testing.T) {
	w, m := newWorld(t)
	newDevice(t, w, "lost", 1, func(r *run) error {
		s, _, err := r.join()
		if err != nil {
			return err
		}
		r.out = []byte("hello, I am about to go awa")
		_ = r.write(s, 0)
		_ = s.Write(link.Frame{Kind: link.State, Offset: 1_000_000_000})
		_ = r.await(s, link.Receipt)
		s.Close()
		return errPlay
	})
	newDevice(t, w, "good", 5, honest)
	g := newGateway(t, m)
	g.sees(2)
	start := time.Now()
	id := g.submit("")
	var logs []byte
	g.call("GET", "/jobs/"+id+"/logs?follow=1", nil, &logs)
	r := g.result(id)
	if r.State != Done || r.Tries != 2 || r.Paid != 15+5 { // a second's work of the lost one, at the price of the next
		t.Errorf("%+v", r)
	}
	if took := time.Since(start); took < lostAfter || took > 3*lostAfter {
		t.Errorf("it took %v", took)
	}
	if len(logs) == 0 {
		t.Error("no logs")
	}
}

// TestRestart: a gateway that was stopped in the middle of a job goes on with it where it was, and its device
// is paid once.
func TestRestart(t *testing.T) {
	w, m := newWorld(t)
	again := make(chan struct{})
	a := newDevice(t, w, "a", 4, func(r *run) error {
		s, _, err := r.join()
		if err != nil {
			return err
		}
		if err := s.Write(link.Frame{Kind: link.Output, Stream: uint8(spool.Stdout), Data: []byte("hel")}); err != nil {
			return err
		}
		_ = s.Write(link.Frame{Kind: link.State, Offset: 1_000_000_000})
		_ = r.await(s, link.Receipt)
		close(again)
		<-s.Closed()
		s, at, err := r.join()
		if err != nil {
			return err
		}
		defer s.Close()
		if at != 3 {
			t.Errorf("the gateway lacks output from %d on, want 3", at)
		}
		_ = r.write(s, at)
		return r.finish(s, r.ended())
	})
	g := newGateway(t, m)
	g.sees(1)
	id := g.submit("")
	<-again
	g.stop()
	g = newGateway(t, m)
	r := g.result(id)
	if r.State != Done || r.Tries != 1 || r.Paid != 12 {
		t.Errorf("%+v", r)
	}
	if last := a.last(); last.Amount != 12 || last.Units != types.U64(3_000_000_000) {
		t.Errorf("last receipt %+v", last)
	}
	var out []byte
	g.call("GET", "/jobs/"+id+"/logs", nil, &out)
	if string(out) != "hello\n" {
		t.Errorf("logs %q", out)
	}
}

// TestNobody: who finds no device reads how many were passed over for which reason.
func TestNobody(t *testing.T) {
	w, m := newWorld(t)
	g := newGateway(t, m)
	var p struct {
		Reason  types.Reason   `json:"reason"`
		Message string         `json:"message"`
		Passed  map[string]int `json:"passed_over"`
	}
	status := g.call("POST", "/jobs", module, &p)
	if status != http.StatusServiceUnavailable || p.Reason != compute.NoMatch || len(p.Passed) != 0 || !strings.Contains(p.Message, "no device offers") {
		t.Errorf("nobody there: %d %+v", status, p)
	}
	newDevice(t, w, "dear", 1_000_000, honest)
	busy := newDevice(t, w, "busy", 3, honest)
	busy.answer = func(*compute.Order) types.Reason { return compute.Busy }
	g.sees(2)
	if g.call("POST", "/jobs", module, &p); p.Passed["price"] != 1 || p.Passed["device_compute.busy"] != 1 || len(p.Passed) != 2 {
		t.Errorf("too dear and busy: %+v", p)
	}
	if jobs := (*g).running; len(jobs) != 0 {
		t.Errorf("%d jobs go on", len(jobs))
	}
	var list []JobState
	if g.call("GET", "/jobs", nil, &list); len(list) != 0 {
		t.Errorf("jobs that found nobody are listed: %+v", list)
	}
}

// TestDoor: what can't run is refused at once, with what is wrong with it, and a key makes one job of two requests.
func TestDoor(t *testing.T) {
	w, m := newWorld(t)
	d := newDevice(t, w, "a", 4, honest)
	g := newGateway(t, m)
	g.sees(1)
	for _, c := range []struct {
		name, path, body, kind string
		want                   types.Reason
	}{
		{"no module", "/jobs", "", "application/wasm", "gateway.bad_request"},
		{"no WebAssembly", "/jobs", "#!/bin/sh", "application/x-www-form-urlencoded", compute.BadModule},
		{"half a module", "/jobs", string(module[:30]), "application/wasm", compute.BadModule},
		{"an input that is nowhere", "/jobs?stdin=" + strings.Repeat("ab", 32), string(module), "", compute.InputMissing},
		{"no hash", "/jobs?stdin=x", string(module), "", "gateway.bad_request"},
		{"env without a value", "/jobs?env=A", string(module), "", "gateway.bad_request"},
		{"more fuel than there is", "/jobs?limit=100000000001", string(module), "", "gateway.bad_request"},
		{"a path that leads out", "/jobs?file=../x:" + compute.Nothing.String(), string(module), "", types.BadEncoding},
		{"unknown JSON", "/jobs", `{"code":"00","x":1}`, "application/json", "gateway.bad_request"},
	} {
		var p struct{ Reason types.Reason }
		status := g.call("POST", c.path, []byte(c.body), &p, "Content-Type", c.kind)
		if p.Reason != c.want || status < 400 || status >= 500 {
			t.Errorf("%s: %d %s, want %s", c.name, status, p.Reason, c.want)
		}
	}
	if d.accepted.Load() != 0 {
		t.Error("a device was asked")
	}
	var a, b Placement
	g.call("POST", "/jobs", module, &a, "Idempotency-Key", "k")
	if status := g.call("POST", "/jobs", module, &b, "Idempotency-Key", "k"); status != http.StatusOK || a.ID != b.ID || d.accepted.Load() != 1 {
		t.Errorf("%d: jobs %s and %s", status, a.ID, b.ID)
	}
	g.result(a.ID)
	if status := g.call("GET", "/jobs/"+strings.Repeat("0", 32), nil, nil); status != http.StatusNotFound {
		t.Errorf("a job that there is not: %d", status)
	}
	g.call("DELETE", "/jobs/"+a.ID, nil, nil)
	if status := g.call("GET", "/jobs/"+a.ID, nil, nil); status != http.StatusNotFound {
		t.Errorf("a forgotten job: %d", status)
	}
	if n := g.inputs.Bytes(); n != uint64(len(module))+uint64(len("#!/bin/sh"))+30 {
		t.Errorf("%d bytes of inputs", n)
	}
}

// TestCancel: a cancelled job ends at its device, and costs what was paid by then.
func TestCancel(t *testing.T) {
	w, m := newWorld(t)
	going := make(chan struct{})
	newDevice(t, w, "a", 4, func(r *run) error {
		s, at, err := r.join()
		if err != nil {
			return err
		}
		defer s.Close()
		_ = r.write(s, at)
		_ = s.Write(link.Frame{Kind: link.State, Offset: 1_000_000_000})
		if err := r.await(s, link.Receipt); err != nil {
			return err
		}
		close(going)
		if err := r.await(s, link.Cancel); err != nil {
			return err
		}
		o := &r.call.Order.Order
		return r.finish(s, &compute.Ended{Leaf: r.leaf(compute.Leaf{Session: o.Session, Index: o.Index, Job: o.Job, Fuel: 1_000_000_000, Mode: compute.Cut})})
	})
	g := newGateway(t, m)
	g.sees(1)
	id := g.submit("")
	<-going
	var s JobState
	if g.call("DELETE", "/jobs/"+id, nil, &s); s.State != Cancelled || s.Paid != 4 {
		t.Errorf("%+v", s)
	}
	// A device that does not answer keeps nobody waiting.
	newDevice(t, w, "b", 1, func(r *run) error {
		s, _, err := r.join()
		if err != nil {
			return err
		}
		<-s.Closed()
		return nil
	})
	g.sees(2)
	id = g.submit("")
	s = JobState{}
	if g.call("DELETE", "/jobs/"+id, nil, &s); s.State != Cancelled || s.Paid != 0 {
		t.Errorf("a device that does not listen: %+v", s)
	}
}

// TestKept: what is kept of jobs that have ended is bounded, the oldest go first, and their outputs with them.
func TestKept(t *testing.T) {
	w, m := newWorld(t)
	newDevice(t, w, "a", 4, honest)
	g := newGateway(t, m)
	g.sees(1)
	var ids []string
	for range 4 {
		id := g.submit("")
		g.result(id)
		ids = append(ids, id)
		time.Sleep(2 * time.Millisecond) // they end in different milliseconds
	}
	g.stop()
	for _, c := range []struct {
		cfg  Config
		left int
	}{
		{Config{Kept: 3}, 3}, {Config{Outputs: 2 * uint64(len("hello\n"))}, 2}, {Config{Keep: time.Nanosecond}, 0},
	} {
		g := newGateway(t, m, c.cfg)
		var list []JobState
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { // it sweeps when it begins
			if g.call("GET", "/jobs", nil, &list); len(list) == c.left || time.Now().After(end) {
				break
			}
		}
		g.stop()
		files, err := os.ReadDir(filepath.Join(m.Dir(), "jobs"))
		if err != nil || len(list) != c.left || len(files) != c.left {
			t.Errorf("%+v: %d jobs are listed, %d have outputs, want %d: %v", c.cfg, len(list), len(files), c.left, err)
		}
		for i, s := range list {
			if s.ID != ids[len(ids)-1-i] {
				t.Errorf("job %d is %s", i, s.ID)
			}
		}
	}
}

// TestMarket: who looks for a device sees what each asks, what a job would cost there, and why it would be
// passed over.
func TestMarket(t *testing.T) {
	w, m := newWorld(t)
	newDevice(t, w, "cheap", 4, honest)
	newDevice(t, w, "dear", 1_000, honest)
	busy := newDevice(t, w, "busy", 3, honest)
	g := newGateway(t, m)
	g.sees(3)
	g.book.Take(busy.Key(), compute.Wasm, 1<<16)
	var list []MarketAsk
	if status := g.call("GET", "/market?class=wasm&limit=3000000000&price=100", nil, &list); status != http.StatusOK || len(list) != 3 {
		t.Fatalf("%d %+v", status, list)
	}
	for i, want := range []MarketAsk{{Price: 3, Cost: 9, Passed: "capacity"}, {Price: 4, Cost: 12, Free: 16}, {Price: 1_000, Cost: 3_000, Free: 16, Passed: "price"}} {
		if got := list[i]; got.Price != want.Price || got.Cost != want.Cost || got.Free != want.Free || got.Passed != want.Passed || got.Class != "wasm" {
			t.Errorf("place %d: %+v, want %+v", i, got, want)
		}
	}
	if status := g.call("GET", "/market?class=abacus", nil, nil); status != http.StatusBadRequest {
		t.Errorf("%d", status)
	}
	// A job that finds nobody says how many for which reason: too dear, busy.
	var p struct {
		Message string         `json:"message"`
		Passed  map[string]int `json:"passed_over"`
	}
	if g.call("POST", "/jobs?price=3", module, &p); p.Passed["capacity"] != 1 || p.Passed["price"] != 2 || !strings.Contains(p.Message, "1 capacity, 2 price") {
		t.Errorf("%+v", p)
	}
}

// TestEndedBeforeKept: a device that is paid, and has ended, before the disk has that it accepted is paid once, and what was
// signed is what the disk says afterwards. One that did nothing is done with as well.
func TestEndedBeforeKept(t *testing.T) {
	for name, p := range map[string]play{"paid": honest, "nothing to pay": func(r *run) error {
		r.fuel = 0
		s, at, err := r.join()
		if err != nil {
			return err
		}
		defer s.Close()
		if err := r.write(s, at); err != nil {
			return err
		}
		return r.finish(s, r.ended())
	}} {
		t.Run(name, func(t *testing.T) {
			w, m := newWorld(t)
			a := newDevice(t, w, "a", 4, p)
			kept := make(chan struct{})
			g := newGateway(t, m, Config{step: func(string) {
				select {
				case <-kept:
				case <-time.After(300 * time.Millisecond): // long enough for the device to dial in, charge and end
				}
			}})
			g.sees(1)
			id := g.submit("")
			close(kept)
			r := g.result(id)
			list, err := g.books.sessions(m.Payer(), a.Key(), compute.Wasm, w.Epoch())
			var last receipt.Receipt
			if name == "paid" {
				last = a.last()
			}
			if err != nil || len(list) != 1 || list[0].Amount != r.Paid || list[0].Amount != last.Amount || list[0].Seq != last.Seq {
				t.Errorf("paid %d, receipt %+v, on disk %+v, %v", r.Paid, last, list, err)
			}
		})
	}
}
