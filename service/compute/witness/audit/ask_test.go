package audit

import (
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// TestTold: of what anybody tells an auditor, what proves a fault of a leaf that it called is handed in, once; all else
// comes to nothing.
func TestTold(t *testing.T) {
	w := newWorld(t, 3, nil)
	var s *seat
	for _, s = range w.seats {
		break
	}
	key := w.device.TLS()
	claim := func(leaf compute.Leaf) *compute.Committed {
		tree, err := compute.NewTree([]compute.Leaf{leaf})
		if err != nil {
			t.Fatal(err)
		}
		e := evidence.Sign(key, evidence.Payload{Chain: s.Chain(), Epoch: w.Epoch(), Category: types.Compute, Kind: compute.KindResults, Seq: 9, Body: tree.Results(0).Encode()})
		return &compute.Committed{Results: e.Raw, Leaf: leaf, Path: tree.Prove(0)}
	}
	sign := func(by types.PrivateKey, epoch types.Epoch, leaf compute.Leaf) *compute.SignedLeaf {
		l := &compute.SignedLeaf{Epoch: epoch, Leaf: leaf}
		l.Signature = by.Sign(compute.DomainLeaf, s.Chain(), l.Payload())
		return l
	}
	leaf := compute.Leaf{Session: types.NewSessionID(500, [12]byte{9}), Job: types.Hash{1}, Result: types.Hash{2}, Fuel: 10, Mode: compute.Private}
	other, elsewhere := leaf, leaf
	other.Result[0]++
	elsewhere.Index = 3
	fault := func(a *compute.SignedLeaf) []byte {
		return (&compute.Other{Device: w.device.Key(), Signed: *a}).Encode()
	}
	r := &round{host: s.Verifier, log: s.Log(), asked: newAsked()}
	r.begun.Epoch = w.Epoch()
	target := &target{}
	target.device.Key = w.device.Key()
	r.asked.add(target, claim(leaf))
	r.asked.add(target, claim(leaf)) // shown twice
	if len(r.asked.list) != 1 {
		t.Fatal(len(r.asked.list))
	}
	told := make(chan role.Called)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.hearAll(t.Context(), told)
	}()
	nothing := [][]byte{
		nil, []byte("nonsense"), make([]byte, role.MaxTell),
		fault(sign(key, w.Epoch(), leaf)),                               // no contradiction
		fault(sign(types.NewPrivateKey([32]byte{7}), w.Epoch(), other)), // not signed by the device
		fault(sign(key, w.Epoch(), elsewhere)),                          // was not called
		fault(sign(key, 1<<40, other)),                                  // would not count
		(&compute.Other{Signed: *sign(key, w.Epoch(), other)}).Encode(), // of another device
	}
	for i := range 20_000 {
		told <- role.Called{Body: nothing[i%len(nothing)]}
	}
	if n := len(w.reports(compute.KindFault)); n != 0 {
		t.Errorf("%d faults of nothing", n)
	}
	for range 1000 {
		told <- role.Called{Body: fault(sign(key, w.Epoch(), other))}
	}
	close(told)
	<-done
	list := w.reports(compute.KindFault)
	if len(list) != 1 {
		t.Fatalf("%d faults", len(list))
	}
	if f, err := compute.DecodeFault(list[0].Body); err != nil || f.Prove(s.Chain()) != compute.ResultConflict {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestCallTurns: leaves are called in turn, again after longer and longer pauses; many do not keep the last from being called.
func TestCallTurns(t *testing.T) {
	a := newAsked()
	target := &target{}
	const n = 512
	for i := range uint64(n) {
		a.add(target, &compute.Committed{Results: []byte{byte(i), byte(i >> 8)}, Leaf: compute.Leaf{Index: i}})
	}
	heard := map[string]int{}
	now := a.list[0].next.Add(callFirst)
	calls := 0
	for end := now.Add(10 * time.Minute); now.Before(end); {
		body, wait := a.due(now)
		if body != nil {
			calls++
			if heard[string(body)]++; calls == n && len(heard) != n {
				t.Errorf("of %d calls the first %d are of %d leaves", n, calls, len(heard))
			}
		}
		now = now.Add(wait)
	}
	for body, n := range heard {
		if n < 3 || n > 10 {
			t.Fatalf("%x is called %d times in ten minutes", body, n)
		}
	}
}
