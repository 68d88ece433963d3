package customer

import (
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// commit is what a device shows an auditor of a leaf that it has committed to.
func commit(t *testing.T, key types.PrivateKey, leaf compute.Leaf) *compute.Committed {
	t.Helper()
	tree, err := compute.NewTree([]compute.Leaf{leaf})
	if err != nil {
		t.Fatal(err)
	}
	e := evidence.Sign(key, evidence.Payload{Chain: roletest.Chain, Epoch: 2, Category: types.Compute, Kind: compute.KindResults, Seq: 1, Body: tree.Results(0).Encode()})
	return &compute.Committed{Results: e.Raw, Leaf: leaf, Path: tree.Prove(0)}
}

// TestClaims: a gateway tells an auditor who calls a leaf of a commitment the other one that the device has signed to
// it, after a restart too; and nothing where they are the same, where the device did not commit to it, or of what it
// never had.
func TestClaims(t *testing.T) {
	w, m := newWorld(t)
	auditor := w.Verifier("auditor")
	told := auditor.Told(t.Context())
	var bad *compute.SignedLeaf
	d := newDevice(t, w, "a", 4, honest)
	g := newGateway(t, m)
	g.sees(1)
	id := mustID(t, g.submitted())
	rec, err := g.books.get(m.Account(), id)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := compute.DecodeLeaf(rec.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(c *compute.Committed) *compute.Fault {
		t.Helper()
		g.compare(t.Context(), role.Called{By: auditor.Key(), Body: c.Seen().Encode()})
		select {
		case said := <-told:
			o, err := compute.DecodeOther(said.Body)
			if err != nil {
				t.Fatal(err)
			}
			return &compute.Fault{Device: o.Device, Conflict: &compute.Conflict{A: compute.Claim{Signed: &o.Signed}, B: compute.Claim{Committed: c}}}
		default:
			return nil
		}
	}
	other := signed.Leaf
	other.Result[0]++
	stranger := roletest.Key("stranger")
	unknown := other
	unknown.Index = 77
	for name, c := range map[string]*compute.Committed{
		"the same": commit(t, d.TLS(), signed.Leaf), "of another device": commit(t, stranger, other), "never had": commit(t, d.TLS(), unknown),
		"not in the tree": func() *compute.Committed {
			c := commit(t, d.TLS(), signed.Leaf)
			c.Leaf = other
			return c
		}(),
		"not signed": func() *compute.Committed {
			c := commit(t, d.TLS(), other)
			c.Results[len(c.Results)-1]++ // the end of the signature
			return c
		}(),
	} {
		if f := ask(c); f != nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
	g.stop()
	g = newGateway(t, m)
	f := ask(commit(t, d.TLS(), other))
	if f == nil || f.Device != d.Key() || f.Prove(roletest.Chain) != compute.ResultConflict {
		t.Fatalf("%+v", f)
	}
	// A leaf by which the job did not end was signed all the same.
	bad = signed
	bad.Leaf.Index, bad.Epoch = 5, 3
	bad.Signature = d.Sign(compute.DomainLeaf, bad.Payload())
	g.claimed(bad, &try{Device: d.Key(), Session: bad.Leaf.Session, Index: 5})
	g.claimed(bad, &try{Device: d.Key(), Session: bad.Leaf.Session, Index: 6}) // not of that job
	if list, err := g.books.claims(d.Key(), bad.Leaf.Session, 5); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	// However many a device signs of one job, two are kept.
	for i := range byte(100) {
		bad.Leaf.Result[1] = i
		bad.Signature = d.Sign(compute.DomainLeaf, bad.Payload())
		g.claimed(bad, &try{Device: d.Key(), Session: bad.Leaf.Session, Index: 5})
	}
	if list, err := g.books.claims(d.Key(), bad.Leaf.Session, 5); err != nil || len(list) != mostSaid {
		t.Errorf("%d, %v", len(list), err)
	}
	bad.Epoch, bad.Leaf.Index = 1<<40, 8
	bad.Signature = d.Sign(compute.DomainLeaf, bad.Payload())
	g.claimed(bad, &try{Device: d.Key(), Session: bad.Leaf.Session, Index: 8})
	if err := g.books.forgetClaims(2 + claimTime); err != nil {
		t.Fatal(err)
	}
	if list, _ := g.books.claims(d.Key(), bad.Leaf.Session, 5); len(list) != mostSaid {
		t.Errorf("%d are kept", len(list))
	}
	if list, _ := g.books.claims(d.Key(), bad.Leaf.Session, 8); len(list) != 0 {
		t.Errorf("%d are kept of a time to come", len(list))
	}
	if list, _ := g.books.claims(d.Key(), signed.Leaf.Session, 0); len(list) != 0 {
		t.Errorf("%d are kept that are too old", len(list))
	}
}

// submitted is a job that has ended.
func (g *gateway) submitted() string {
	id := g.submit("")
	g.result(id)
	return id
}

// TestCalledFast: what verifiers call does not hold up whoever hears it, however much it is.
func TestCalledFast(t *testing.T) {
	c := New(Config{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1_000_000 {
			c.called(role.Called{Body: []byte("x")})
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
	}
	if len(c.questions) != cap(c.questions) {
		t.Error(len(c.questions))
	}
}

// TestTimeToCome: a device that signs for a time to come is left, since nobody could show that it contradicts itself;
// one that is only told of an epoch before the gateway is, is waited for.
func TestTimeToCome(t *testing.T) {
	at := func(epoch types.Epoch, before func()) play {
		return func(r *run) error {
			for {
				s, at, err := r.join()
				if err != nil {
					return err
				}
				_ = r.write(s, at)
				e := r.ended()
				l := &compute.SignedLeaf{Epoch: epoch, Leaf: e.Leaf.Leaf}
				l.Signature = r.d.Sign(compute.DomainLeaf, l.Payload())
				e.Leaf = l
				if before != nil {
					before()
				}
				err = r.finish(s, e)
				s.Close()
				if err == nil || r.ctx.Err() != nil {
					return err
				}
			}
		}
	}
	t.Run("for ever", func(t *testing.T) {
		t.Parallel()
		w, m := newWorld(t)
		bad := newDevice(t, w, "bad", 1, at(1<<40, nil))
		good := newDevice(t, w, "good", 5, honest)
		g := newGateway(t, m, Config{Patience: 500 * time.Millisecond})
		g.sees(2)
		id := g.submitted()
		rec, err := g.books.get(m.Account(), mustID(t, id))
		if err != nil || len(rec.Tries) != 2 || rec.Tries[0].Device != bad.Key() || rec.Tries[0].Reason != types.WrongEpoch || rec.Tries[1].Device != good.Key() {
			t.Errorf("%+v, %v", rec, err)
		}
	})
	t.Run("a little ahead", func(t *testing.T) {
		t.Parallel()
		w, m := newWorld(t)
		var once sync.Once
		d := newDevice(t, w, "a", 4, at(w.Epoch()+2, func() { once.Do(func() { go w.Next() }) }))
		g := newGateway(t, m)
		g.sees(1)
		if r := g.result(g.submit("")); r.State != Done || r.Tries != 1 || r.Device != d.Key().String() {
			t.Errorf("%+v", r)
		}
	})
}
