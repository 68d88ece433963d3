package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/guest"
	"github.com/cairn-network/cairn/service/role"
)

// failed checks that the device has paid for a failed audit, in the tally that ends the present epoch.
func (w *world) failed(reason types.Reason, reports int) {
	w.t.Helper()
	w.Next()
	if s := w.line(); s.Faults != 1 || s.Quality != compute.FaultyQuality || s.Passed != 0 || s.Suspended != w.State().Epoch()+24 {
		w.t.Errorf("%+v", s)
	}
	if r := w.refused(); len(r) != 1 || r[reason] != reports {
		w.t.Errorf("%v, want %d %s", r, reports, reason)
	}
}

// TestWrong: a device that charges a unit too much, or gives an output that is not the job's, is found out by
// all who were drawn, and pays in rank and weight.
func TestWrong(t *testing.T) {
	for name, cheat := range map[string]*dishonest{
		"fuel": {change: func(r *compute.Result) { r.Fuel++ }},
		"exit": {change: func(r *compute.Result) { r.Exit = 7 }},
		// It gives up early, and says that the fuel was used up: who runs the job with no more than that would agree.
		"lazy": {lazy: 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 5, cheat)
			w.everybody(Config{})
			w.run(text, "")
			w.due()
			members, f := w.panel()
			if f != 2 {
				t.Fatal(f)
			}
			for _, a := range w.audits(len(members)) {
				if a.Agrees() || a.Withheld || a.Result.IsZero() {
					t.Errorf("%+v", a)
				}
			}
			w.failed(compute.ResultWrong, len(members))
		})
	}
}

// TestWithheld: a device that does not show a leaf, does not give an input, gives another one, or is not there
// has withheld it.
func TestWithheld(t *testing.T) {
	for name, c := range map[string]struct {
		bend func(w *world)
		leaf bool // it is shown
		late bool // it is asked again for a part of the epoch
	}{
		"input": {func(w *world) {
			open := w.device.Blobs.Open
			w.device.Blobs.Open = func(ctx context.Context, h role.Host, from types.Key, hash types.Hash) (*role.Blob, error) {
				if hash == types.Sum(text) {
					return nil, types.Refuse(types.UnknownBlob, "lost")
				}
				return open(ctx, h, from, hash)
			}
		}, true, false},
		"garbage": {func(w *world) {
			open := w.device.Blobs.Open
			w.device.Blobs.Open = func(ctx context.Context, h role.Host, from types.Key, hash types.Hash) (*role.Blob, error) {
				if hash == types.Sum(text) {
					return &role.Blob{ReaderAt: bytes.NewReader(text[1:]), Size: int64(len(text) - 1)}, nil
				}
				return open(ctx, h, from, hash)
			}
		}, true, false},
		"another leaf": {func(w *world) {
			h := w.device.Requests[compute.KindShow]
			serve := h.Serve
			h.Serve = func(ctx context.Context, host role.Host, r *role.Request) ([]byte, error) {
				raw, err := serve(ctx, host, r)
				if s, bad := compute.DecodeShown(raw); err == nil && bad == nil {
					s.Leaf.Mode = compute.Private // it is none of the auditors' business, it says
					raw = s.Encode()
				}
				return raw, err
			}
			w.device.Requests[compute.KindShow] = h
		}, false, false},
		"silent": {func(w *world) { w.device.Requests = nil }, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 4, nil)
			w.everybody(Config{})
			w.run(text, "")
			c.bend(w)
			w.due()
			members, f := w.panel()
			if f != 1 {
				t.Fatal(f)
			}
			if c.late {
				w.Tell()
				w.Tell()
				if n := len(w.reports(compute.KindAudit)); n != 0 {
					t.Errorf("%d reports at once", n)
				}
				w.Late()
			}
			for _, a := range w.audits(len(members)) {
				if !a.Withheld || (a.Leaf != nil) != c.leaf {
					t.Errorf("%+v", a)
				}
			}
			w.failed(compute.ResultWithheld, len(members))
		})
	}
}

// lie has a verifier report what is not so about the one leaf that is drawn.
func (w *world) lie(s *seat, body func(*compute.Audit)) {
	w.t.Helper()
	n := w.Notice()
	p, err := newPlan(w.t.Context(), s.Verifier, &n, 256)
	if err != nil {
		w.t.Fatal(err)
	}
	target := p.targets[w.device.Key()]
	l := &leaf{target: target, results: target.results[0]}
	a := &compute.Audit{Device: w.device.Key(), Results: l.results.envelope.Raw, Place: l.place()}
	body(a)
	if err := s.SubmitOnce(w.t.Context(), n.Epoch, compute.KindAudit, l.name(), a.Encode()); err != nil {
		w.t.Fatal(err)
	}
}

// TestLiar: one auditor who lies changes nothing, whether he was drawn first or later: the others look, and the
// device passes.
func TestLiar(t *testing.T) {
	for name, seat := range map[string]int{"the first": 0, "a later one": 2} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 5, nil)
			w.run(text, "")
			w.due()
			members, _ := w.panel()
			for i, s := range members {
				if i != seat {
					s.audit(Config{})
				}
			}
			w.lie(members[seat], func(a *compute.Audit) { a.Withheld = true })
			agree := 0
			for _, a := range w.audits(len(members)) {
				if a.Agrees() {
					agree++
				}
			}
			if agree != len(members)-1 {
				t.Errorf("%d agree", agree)
			}
			w.Next()
			if s := w.line(); s.Faults != 0 || s.Passed != 1 || s.Quality <= compute.FirstQuality {
				t.Errorf("%+v", s)
			}
			if r := w.refused(); len(r) != 0 {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestKilled: an auditor that is killed in the middle of a job, or before or after its report is on disk, goes
// on when it runs again, and has reported once.
func TestKilled(t *testing.T) {
	for _, where := range []string{"running", "found", "reported"} {
		t.Run(where, func(t *testing.T) {
			w := newWorld(t, 5, nil)
			w.run(text, "")
			w.due()
			members, _ := w.panel()
			first := members[0]
			reached, block := make(chan struct{}), make(chan struct{})
			first.audit(Config{step: func(at string) {
				if at == where {
					close(reached)
					<-block
				}
			}})
			w.Tell()
			<-reached
			done := make(chan struct{})
			go func() { first.stop(); close(done) }()
			w.until("it is told to stop", func() bool { return !first.Listening() })
			close(block)
			<-done
			want := 0
			if where == "reported" {
				want = 1
			}
			if n := len(w.reports(compute.KindAudit)); n != want {
				t.Fatalf("%d reports, want %d", n, want)
			}
			ran, rest := make(chan struct{}, 16), make(chan struct{}, 1)
			first.audit(Config{step: func(at string) {
				switch at {
				case "running":
					ran <- struct{}{}
				case "rest":
					select {
					case rest <- struct{}{}:
					default:
					}
				}
			}})
			w.Tell()
			<-rest
			if a := w.audits(1)[0]; !a.Agrees() {
				t.Errorf("%+v", a)
			}
			if where == "reported" && len(ran) > 0 {
				t.Error("it ran again what it has reported")
			}
			w.Next()
			if s := w.line(); s.Passed != 1 {
				t.Errorf("%+v", s)
			}
			if r := w.refused(); len(r) != 0 {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestStrangers: who was not drawn is shown nothing and given nothing, nor is a leaf that the seed does not
// draw, or in another epoch.
func TestStrangers(t *testing.T) {
	w := newWorld(t, 7, nil)
	w.run(text, "")
	w.due()
	members, _ := w.panel()
	drawn := map[types.Key]bool{}
	for _, s := range members {
		drawn[s.Key()] = true
	}
	n := w.Notice()
	p, err := newPlan(t.Context(), members[0].Verifier, &n, 256)
	if err != nil {
		t.Fatal(err)
	}
	q := &compute.Show{Epoch: n.Epoch, Results: p.targets[w.device.Key()].results[0].envelope.Raw}
	ask := func(s *seat, q *compute.Show) (*compute.Shown, error) {
		raw, err := s.Ask(t.Context(), role.Question{Device: w.device.Key(), Kind: compute.KindShow, Body: q.Encode()})
		if err != nil {
			return nil, err
		}
		return compute.DecodeShown(raw)
	}
	fetch := func(s *seat) error {
		_, err := s.Fetch(t.Context(), role.Fetch{Device: w.device.Key(), Hash: types.Sum(text), Most: 1 << 20, Path: t.TempDir() + "/x"})
		return err
	}
	if err := fetch(members[0]); types.ReasonOf(err) != types.UnknownBlob {
		t.Errorf("before a leaf was shown: %v", err)
	}
	if s, err := ask(members[1], q); err != nil || s.Leaf.Mode != compute.Public {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := fetch(members[1]); err != nil {
		t.Error(err)
	}
	if err := fetch(members[0]); types.ReasonOf(err) != types.UnknownBlob {
		t.Errorf("who was not shown the leaf: %v", err)
	}
	for key, s := range w.seats {
		if drawn[key] {
			continue
		}
		if _, err := ask(s, q); types.ReasonOf(err) != compute.WitnessNotDrawn {
			t.Errorf("a leaf, for a stranger: %v", err)
		}
		if err := fetch(s); types.ReasonOf(err) != compute.WitnessNotDrawn {
			t.Errorf("an input, for a stranger: %v", err)
		}
	}
	for what, c := range map[string]struct {
		q    compute.Show
		want types.Reason
	}{
		"of another epoch":  {compute.Show{Epoch: n.Epoch - 1, Results: q.Results}, types.DeviceBusy},
		"that is not there": {compute.Show{Epoch: n.Epoch, Results: q.Results, Index: 1}, types.UnknownBlob},
		"of nothing":        {compute.Show{Epoch: n.Epoch}, types.BadEncoding},
	} {
		if _, err := ask(members[0], &c.q); types.ReasonOf(err) != c.want {
			t.Errorf("a leaf %s: %v, want %s", what, err, c.want)
		}
	}
}

// hog is an Executor whose jobs do what guests could do to an auditor, and then runs the others.
type hog struct {
	Executor
	fail func(j *compute.Job) error
}

func (h hog) Run(ctx context.Context, j *compute.Job, files compute.Files, fuel uint64, open func(types.Hash) (io.ReadCloser, int64, error)) (*compute.Result, error) {
	if err := h.fail(j); err != nil {
		return nil, err
	}
	return h.Executor.Run(ctx, j, files, fuel, open)
}

// TestTooMuch: what is too much for an auditor is left out and nothing is said of the device: a job of more
// memory or fuel than it has, a sandbox that died, more leaves than it audits. The others are audited.
func TestTooMuch(t *testing.T) {
	for name, cfg := range map[string]Config{
		"memory": {Memory: 32 << 20},
		"fuel":   {Fuel: 800_000},
		"leaves": {Leaves: 1},
		"sandbox": {Open: func(ctx context.Context, dir string) (Executor, []guest.Lack, error) {
			e, lacks, err := openGuests(ctx, dir)
			return hog{e, func(j *compute.Job) error {
				if j.Pages > 512 {
					return guest.ErrChild
				}
				return nil
			}}, lacks, err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 5, nil)
			w.run(text, "&pages=1024")
			w.run(text, "&pages=16")
			w.due()
			members, _ := w.panel()
			rest := make(chan struct{}, 1)
			cfg.step = func(at string) {
				if at == "rest" {
					select {
					case rest <- struct{}{}:
					default:
					}
				}
			}
			members[0].audit(cfg)
			w.Tell()
			<-rest // all is done that there is
			if a := w.audits(1)[0]; !a.Agrees() {
				t.Errorf("%+v", a)
			}
			w.Next()
			if s := w.line(); s.Passed != 1 || s.Faults != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// measured is an Executor that notes the fuel it is given for jobs of much memory.
type measured struct {
	Executor
	most *atomic.Uint64
}

func (m measured) Run(ctx context.Context, j *compute.Job, files compute.Files, fuel uint64, open func(types.Hash) (io.ReadCloser, int64, error)) (*compute.Result, error) {
	if j.Pages == bombPages {
		m.most.Store(max(m.most.Load(), fuel))
	}
	return m.Executor.Run(ctx, j, files, fuel, open)
}

const bombPages = 255

// bomb returns a module whose program does that for ever.
func bomb(forever ...byte) []byte {
	body := append(append([]byte{0, 0x03, 0x40}, forever...), 0x0c, 0, 0x0b, 0x0b) // loop … br 0
	m := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00")
	return append(append(m, 0x0a, byte(len(body)+2), 1, byte(len(body))), body...)
}

// TestBombs: programs that never end, or take all the memory there is, hold an auditor by what their device was
// paid for and no longer. Whoever charged less than that for them is found out as for any other program, and jobs beside them
// are audited.
func TestBombs(t *testing.T) {
	for name, forever := range map[string][]byte{
		"loop":   nil,
		"memory": {0x41, 1, 0x40, 0, 0x1a},                                        // memory.grow by a page
		"stores": {0x41, 1, 0x40, 0, 0x41, 16, 0x74, 0x41, 0xff, 1, 0x36, 0, 0x0}, // and write there
	} {
		for cheat, lazy := range map[string]uint64{"honest": 0, "lazy": 1_000_000} {
			t.Run(name+"/"+cheat, func(t *testing.T) {
				w := newWorld(t, 5, &dishonest{lazy: lazy})
				count := w.module
				w.module = bomb(forever...)
				w.run(nil, fmt.Sprintf("&pages=%d&limit=20000000", bombPages))
				w.module = count
				w.run(text, "&limit=20000000")
				w.due()
				members, _ := w.panel()
				wrong := 0
				var most atomic.Uint64
				members[0].audit(Config{Open: func(ctx context.Context, dir string) (Executor, []guest.Lack, error) {
					e, lacks, err := openGuests(ctx, dir)
					return measured{e, &most}, lacks, err
				}})
				for _, a := range w.audits(2) {
					if !a.Agrees() {
						wrong++
					}
				}
				if n := most.Load(); n == 0 || lazy > 0 && n > 2*lazy {
					t.Errorf("an auditor gave it %d fuel", n)
				}
				if want := min(1, int(lazy)); wrong != want {
					t.Errorf("%d leaves are wrong, want %d", wrong, want)
				}
			})
		}
	}
}

// TestSandboxDies: a sandbox that died once says nothing about a job, which is run again.
func TestSandboxDies(t *testing.T) {
	w := newWorld(t, 5, nil)
	w.run(text, "")
	w.due()
	members, _ := w.panel()
	times := 0
	members[0].audit(Config{Open: func(ctx context.Context, dir string) (Executor, []guest.Lack, error) {
		e, lacks, err := openGuests(ctx, dir)
		return hog{e, func(*compute.Job) error {
			if times++; times < sandboxTries {
				return guest.ErrChild
			}
			return nil
		}}, lacks, err
	}})
	if a := w.audits(1)[0]; !a.Agrees() {
		t.Errorf("%+v", a)
	}
}

// TestLack: on a machine that can't hold strangers' programs nothing is audited, and the reason is said once.
func TestLack(t *testing.T) {
	w := newWorld(t, 5, nil)
	w.run(text, "")
	w.due()
	members, _ := w.panel()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	asked := make(chan struct{})
	go func() {
		done <- New(Config{Open: func(context.Context, string) (Executor, []guest.Lack, error) {
			close(asked)
			return nil, []guest.Lack{{Name: "seccomp", Text: "the kernel does not filter system calls"}}, nil
		}}).Run(ctx, members[0].Verifier)
	}()
	<-asked
	w.Late()
	w.Tell()
	if n := len(w.reports(compute.KindAudit)); n != 0 || members[0].Listening() {
		t.Errorf("%d reports", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
