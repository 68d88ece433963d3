package audit

import (
	"context"
	"sync"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// TestConflict: a device that commits to one leaf twice, each time another one, shows both to whoever was
// drawn, and is caught by the first auditor who sees two, also after a restart: it pays with its bond, whoever
// else saw nothing.
func TestConflict(t *testing.T) {
	w := newWorld(t, 5, nil)
	d := w.Device("contradicts itself")
	var mu sync.Mutex
	trees := map[types.Hash]*compute.Tree{}
	shown := 0
	shows := func() int {
		mu.Lock()
		defer mu.Unlock()
		return shown
	}
	d.Requests = map[string]role.RequestHandler{compute.KindShow: {From: role.Verifiers, Serve: func(_ context.Context, _ role.Host, r *role.Request) ([]byte, error) {
		q, err := compute.DecodeShow(r.Body)
		if err != nil {
			return nil, err
		}
		e, err := evidence.Decode(q.Results, d.Chain())
		if err != nil {
			return nil, err
		}
		results, err := compute.DecodeResults(e.Body)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		shown++
		tree := trees[results.Root]
		return (&compute.Shown{Leaf: tree.Leaves[q.Index], Path: tree.Prove(int(q.Index))}).Encode(), nil
	}}}
	rest := map[types.Key]chan struct{}{}
	start := func() {
		for key, s := range w.seats {
			c := make(chan struct{}, 1)
			rest[key] = c
			s.audit(Config{step: func(at string) {
				if at == "rest" {
					select {
					case c <- struct{}{}:
					default:
					}
				}
			}})
		}
	}
	start()
	session := types.NewSessionID(500, [12]byte{9})
	for i := range 20 {
		tree, err := compute.NewTree([]compute.Leaf{{Session: session, Job: types.Hash{1}, Result: types.Hash{2}, Fuel: 10 + uint64(w.Epoch()), Mode: compute.Private}})
		if err != nil {
			t.Fatal(err)
		}
		r := tree.Results(0)
		mu.Lock()
		trees[r.Root] = tree
		mu.Unlock()
		if err := d.Submit(t.Context(), compute.KindResults, r.Encode()); err != nil {
			t.Fatal(err)
		}
		seen := shows()
		w.Next()
		if i >= compute.AuditDelay {
			w.until("the leaf of the epoch was seen", func() bool { w.Tell(); return shows() > seen })
			panel, err := d.Panel(t.Context(), compute.ForAudit)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-rest[panel[0]]:
			default:
			}
			w.Tell()
			<-rest[panel[0]] // what was seen is remembered
		}
		if len(w.reports(compute.KindFault)) > 0 {
			break
		}
		for _, s := range w.seats { // all of them are started anew
			s.stop()
		}
		start()
	}
	faults := w.reports(compute.KindFault)
	if len(faults) == 0 {
		t.Fatal("nobody saw it")
	}
	f, err := compute.DecodeFault(faults[0].Body)
	if err != nil || f.Device != d.Key() || f.Prove(d.Chain()) != compute.ResultConflict {
		t.Fatalf("%+v, %v", f, err)
	}
	w.Next()
	s, err := compute.DecodeState(w.State().CategoryLine(d.Key(), types.Compute))
	if err != nil || s.Faults != 1 || s.Quality != compute.FaultyQuality {
		t.Errorf("%+v, %v", s, err)
	}
	if r := w.refused(); r[compute.ResultConflict] == 0 || len(r) != 1 {
		t.Errorf("%v", r)
	}
}
