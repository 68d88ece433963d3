package network

import (
	"context"
	"sync"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/provider"
	"github.com/cairn-network/cairn/service/role"
)

// twoFaced is a device that signs garbage to its customers, and commits to what the jobs came to.
type twoFaced struct {
	provider.Executor

	mu     sync.Mutex
	right  map[types.Hash]types.Hash // of a result that it gives, the one that the job came to
	leaves map[types.SessionID]map[uint64]compute.Leaf
	trees  map[types.Hash]*compute.Tree
}

func (d *twoFaced) Run(ctx context.Context, t *provider.Task) (*compute.Result, compute.Files, error) {
	r, f, err := d.Executor.Run(ctx, t)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		right := r.Hash()
		r.Exit = 7
		d.right[r.Hash()] = right
	}
	return r, f, err
}

// twoFacedHost is what its provider is given.
type twoFacedHost struct {
	role.Host
	d *twoFaced
}

func (h *twoFacedHost) Sign(kind string, payload []byte) types.Signature {
	var s struct {
		_     struct{} `cbor:",toarray"`
		Epoch types.Epoch
		Leaf  compute.Leaf
	}
	if kind == compute.DomainLeaf && types.DecodeLimit(payload, &s, 1<<10) == nil {
		h.d.mu.Lock()
		if h.d.leaves[s.Leaf.Session] == nil {
			h.d.leaves[s.Leaf.Session] = map[uint64]compute.Leaf{}
		}
		l := s.Leaf
		if right, ok := h.d.right[l.Result]; ok {
			l.Result = right
		}
		h.d.leaves[l.Session][l.Index] = l
		h.d.mu.Unlock()
	}
	return h.Host.Sign(kind, payload)
}

func (h *twoFacedHost) Submit(ctx context.Context, kind evidence.Kind, body []byte) error {
	if kind == compute.KindResults {
		r, err := compute.DecodeResults(body)
		if err != nil {
			return err
		}
		h.d.mu.Lock()
		var leaves []compute.Leaf
		for i := range uint64(r.Count) {
			leaves = append(leaves, h.d.leaves[r.Session][r.First+i])
		}
		tree, err := compute.NewTree(leaves)
		if err == nil {
			results := tree.Results(r.Before)
			h.d.trees[results.Root] = tree
			body = results.Encode()
		}
		h.d.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return h.Host.Submit(ctx, kind, body)
}

// show shows the leaf that was committed to.
func (d *twoFaced) show(_ context.Context, h role.Host, r *role.Request) ([]byte, error) {
	q, err := compute.DecodeShow(r.Body)
	if err != nil {
		return nil, err
	}
	e, err := evidence.Decode(q.Results, h.Chain())
	if err != nil {
		return nil, err
	}
	results, err := compute.DecodeResults(e.Body)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	tree := d.trees[results.Root]
	if tree == nil {
		return nil, types.Refuse(types.UnknownBlob, "no such tree")
	}
	return (&compute.Shown{Leaf: tree.Leaves[q.Index], Path: tree.Prove(int(q.Index))}).Encode(), nil
}

// TestTwoFaced: a device answers a customer with garbage and commits to the right leaf, of jobs that nobody may run
// again. An auditor to whom it shows the leaf calls it; the gateway, which was stopped meanwhile, has the other one,
// and tells it: the verifier hands both in, and the device pays. One that says the same to both does not.
func TestTwoFaced(t *testing.T) {
	t.Parallel()
	d := &twoFaced{right: map[types.Hash]types.Hash{}, leaves: map[types.SessionID]map[uint64]compute.Leaf{}, trees: map[types.Hash]*compute.Tree{}}
	w := newAudited(t, "conflict-1", func(e provider.Executor) provider.Executor { d.Executor = e; return d }, func(r *role.Provider) {
		run := r.Run
		r.Run = func(ctx context.Context, host role.Host) error { return run(ctx, &twoFacedHost{host, d}) }
		show := r.Requests[compute.KindShow]
		show.Serve = d.show
		r.Requests[compute.KindShow] = show
	})
	const private = "&private=1"
	w.until("the device that asks less has a job", func() bool { return w.run(private) == w.devices[0] })
	w.restart()
	w.until("the device that contradicts itself pays", func() bool {
		s := w.line(w.devices[0])
		if s.Epoch != 0 && s.Results[0].Count+s.Results[1].Count == 0 && s.Faults == 0 { // a slow machine missed an epoch
			w.run(private)
		}
		return s.Faults > 0
	})
	if s := w.line(w.devices[0]); s.Quality != compute.FaultyQuality {
		t.Errorf("%+v", s)
	}
	if s := w.line(w.devices[1]); s.Faults != 0 {
		t.Errorf("%+v", s)
	}
}
