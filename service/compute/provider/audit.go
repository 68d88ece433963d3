package provider

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// Bounds of what is given to auditors.
const (
	maxShown   = 4 // leaves whose inputs one auditor can fetch: those that it asked for last. It runs one after the other
	maxAuditor = 2 * compute.Seats
	maxSkipped = 24 // epochs for which a tree is looked for
)

// auditBucket keeps the leaves of each tree that was committed to, and whose jobs they are, for
// compute.KeepInputs epochs: u64 epoch ‖ root → committed.
var auditBucket = []byte("audit")

// committed is a tree of leaves.
type committed struct {
	_      struct{} `cbor:",toarray"`
	Leaves []compute.Leaf
	Orders []types.Hash // of each
}

func auditKey(e types.Epoch, root types.Hash) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(e)), root[:]...)
}

// keepTrees writes down what a claim commits to in an epoch, before anybody hears of it.
func keepTrees(tx *bbolt.Tx, c *claim, epoch types.Epoch) error {
	for i := range c.trees {
		if err := put(tx, auditBucket, auditKey(epoch, c.results[i].Root), &c.trees[i]); err != nil {
			return err
		}
	}
	return nil
}

// tree returns what was committed to under a root from an epoch on, nil for nothing that is kept.
func (b *books) tree(from, now types.Epoch, root types.Hash) (c *committed, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		for e := now; e+1 > from && c == nil && e+maxSkipped > now; e-- {
			if c, err = decode[committed](tx.Bucket(auditBucket).Get(auditKey(e, root))); err != nil || e == 0 {
				return err
			}
		}
		return nil
	})
	return c, err
}

// forgetTrees forgets trees of before an epoch.
func (b *books) forgetTrees(before types.Epoch) error {
	var old [][]byte
	err := b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(auditBucket).Cursor()
		for k, _ := c.First(); k != nil && bytes.Compare(k, auditKey(before, types.Hash{})) < 0; k, _ = c.Next() {
			old = append(old, bytes.Clone(k))
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return b.write(func(tx *bbolt.Tx) error {
		for _, k := range old {
			if err := tx.Bucket(auditBucket).Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// audited is the epoch before which nothing is kept for audits any more. Epochs without a tally do not pass:
// what was committed to in them counts in the next that has one. d.mu is held.
func (d *device) audited() types.Epoch {
	now := min(d.now(), d.tallied()+1)
	return now - min(now, compute.KeepInputs)
}

// awaited reports whether a public job's leaf was not committed to yet, and may be: then what the job read has
// to stay. Its session is there, and no claim that was handed in reaches its units.
func (d *device) awaited(j *job) bool {
	s := j.session
	d.mu.Lock()
	handed, pruned, key := uint64(0), s.Pruned, s.key.leaf(j.order.Index)
	there := d.sessions[s.key] == s && s.class == compute.Wasm && !d.past(s)
	for _, h := range s.Handed {
		handed = max(handed, h.Units)
	}
	d.mu.Unlock()
	if !there || j.order.Index < pruned {
		return false
	}
	before, found := uint64(0), false
	_ = d.books.db.View(func(tx *bbolt.Tx) error { // fails only when it is closed
		st, err := decode[stub](tx.Bucket(leafBucket).Get(key))
		if err == nil && st != nil {
			before, found = st.Before, st.Signed.Leaf.Mode == compute.Public
		}
		return nil
	})
	return found && before >= handed
}

// auditors is what drawn verifiers may fetch.
type auditors struct {
	mu    sync.Mutex // guards what follows
	epoch types.Epoch
	panel []types.Key // of the epoch; nil until it is known
	shown map[types.Key][]*shownJob
}

// shownJob is a job whose leaf an auditor was shown.
type shownJob struct {
	order  types.Hash
	call   *compute.Call
	blobs  map[types.Hash][]byte // what is in memory: the job, the list of files, and inputs that rode along
	inputs map[types.Hash]uint64 // those on disk, with their sizes
}

// drawn refuses who was not drawn to audit this device in the current epoch.
func (d *device) drawn(ctx context.Context, from types.Key) error {
	epoch := d.now()
	d.audits.mu.Lock()
	if d.audits.epoch != epoch {
		d.audits.epoch, d.audits.panel, d.audits.shown = epoch, nil, map[types.Key][]*shownJob{}
	}
	panel := d.audits.panel
	d.audits.mu.Unlock()
	if panel == nil {
		drawn, err := d.host.Panel(ctx, compute.ForAudit)
		if err != nil {
			return types.Refuse(types.DeviceBusy, "compute: who was drawn to audit is not known yet: %v", err)
		}
		panel, _ = compute.Panel(drawn)
		if panel == nil {
			panel = []types.Key{} // too few to decide anything
		}
		d.audits.mu.Lock()
		if d.audits.epoch == epoch {
			d.audits.panel = panel
		}
		d.audits.mu.Unlock()
	}
	if !slices.Contains(panel, from) {
		return types.Refuse(compute.WitnessNotDrawn, "compute: %v was not drawn to audit this device in epoch %d", from, epoch)
	}
	return nil
}

// show answers an auditor who asks for a leaf.
func (d *device) show(ctx context.Context, r *role.Request) ([]byte, error) {
	q, err := compute.DecodeShow(r.Body)
	if err != nil {
		return nil, err
	}
	if now := d.now(); q.Epoch != now {
		return nil, types.Refuse(types.DeviceBusy, "compute: a leaf that epoch %d draws, in epoch %d", q.Epoch, now)
	}
	if err := d.drawn(ctx, r.From); err != nil {
		return nil, err
	}
	tree, err := d.leafDrawn(q)
	if err != nil {
		return nil, err
	}
	t, err := compute.NewTree(tree.Leaves)
	if err != nil {
		return nil, err
	}
	leaf := tree.Leaves[q.Index]
	out := &compute.Shown{Leaf: leaf, Path: t.Prove(int(q.Index))}
	if leaf.Mode != compute.Public {
		return out.Encode(), nil
	}
	j, err := d.shownJob(tree.Orders[q.Index])
	if err != nil {
		return nil, err
	}
	list := j.call.Files.Encode()
	out.Files = types.Sum(list)
	j.blobs[out.Files] = list
	d.audits.mu.Lock()
	defer d.audits.mu.Unlock()
	if len(d.audits.shown) >= maxAuditor && d.audits.shown[r.From] == nil {
		return nil, types.Refuse(types.DeviceBusy, "compute: %d auditors in one epoch", len(d.audits.shown))
	}
	jobs := slices.DeleteFunc(d.audits.shown[r.From], func(old *shownJob) bool { return old.order == j.order })
	jobs = append(jobs, j)
	d.audits.shown[r.From] = jobs[max(0, len(jobs)-maxShown):]
	return out.Encode(), nil
}

// leafDrawn returns the tree of a leaf, if this device committed to it and the current epoch's seed draws it.
func (d *device) leafDrawn(q *compute.Show) (*committed, error) {
	e, err := evidence.Decode(q.Results, d.chain)
	if err != nil {
		return nil, err
	}
	if e.Author != d.key || e.Category != types.Compute || e.Kind != compute.KindResults || !e.Verify() {
		return nil, types.Refuse(compute.LeafNotDrawn, "compute: an envelope that is none of this device's results")
	}
	r, err := compute.DecodeResults(e.Body)
	if err != nil {
		return nil, err
	}
	tree, err := d.books.tree(e.Epoch-min(e.Epoch, 1), d.now(), r.Root)
	if err != nil {
		return nil, err
	}
	n := d.view.Load()
	switch {
	case n.Seed.IsZero() || !n.Challenged || n.Tallied+1 != n.Epoch: // a notice that says more is on its way
		return nil, types.Refuse(types.DeviceBusy, "compute: what epoch %d draws is not known yet", n.Epoch)
	case tree == nil || int(q.Index) >= len(tree.Leaves) || tree.Leaves[0].Session != r.Session:
		return nil, types.Refuse(types.UnknownBlob, "compute: leaf %d of results that this device does not have (any more)", q.Index)
	}
	state, err := compute.DecodeState(n.Line)
	if err != nil {
		return nil, err
	}
	if !compute.Drawn(n.Seed, e.Hash, q.Index, compute.Chance(state.Passed)) {
		return nil, types.Refuse(compute.LeafNotDrawn, "compute: epoch %d does not draw leaf %d", n.Epoch, q.Index)
	}
	return tree, nil
}

// shownJob returns what an auditor may fetch of a job.
func (d *device) shownJob(order types.Hash) (*shownJob, error) {
	var raw []byte
	err := d.books.db.View(func(tx *bbolt.Tx) error {
		raw = bytes.Clone(tx.Bucket(callBucket).Get(order[:]))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("compute: read journal: %w", err)
	}
	if raw == nil {
		return nil, types.Refuse(types.UnknownBlob, "compute: the job of order %v is not here any more", order)
	}
	call, err := compute.DecodeCall(raw)
	if err != nil {
		return nil, fmt.Errorf("compute: journal: order %v: %w", order, err)
	}
	j := &shownJob{order: order, call: call, blobs: map[types.Hash][]byte{call.Order.Order.Job: call.Job.Encode()}, inputs: map[types.Hash]uint64{}}
	for _, in := range call.Inputs {
		if len(in.Data) > 0 {
			j.blobs[in.Hash] = in.Data
		} else {
			j.inputs[in.Hash] = in.Size
		}
	}
	return j, nil
}

// blobs is what auditors fetch by hash. Of one of them that is at most all that the device keeps, twice.
func (p *Provider) blobs() *role.Blobs {
	return &role.Blobs{From: role.Verifiers, Each: int64(min(p.cfg.Disk, 1<<62)), Open: p.openBlob}
}

func (p *Provider) openBlob(ctx context.Context, _ role.Host, from types.Key, hash types.Hash) (*role.Blob, error) {
	d := p.device.Load()
	if d == nil || !d.begin() {
		return nil, types.Refuse(types.DeviceBusy, "compute: the device does not run")
	}
	defer d.work.Done()
	if err := d.drawn(ctx, from); err != nil {
		return nil, err
	}
	d.audits.mu.Lock()
	jobs := slices.Clone(d.audits.shown[from])
	d.audits.mu.Unlock()
	for _, j := range jobs {
		if b, ok := j.blobs[hash]; ok {
			return &role.Blob{ReaderAt: bytes.NewReader(b), Size: int64(len(b))}, nil
		}
		if size, ok := j.inputs[hash]; ok {
			f, err := d.inputs.Open(hash)
			if err != nil {
				return nil, types.Refuse(types.UnknownBlob, "compute: input %v is not here any more", hash)
			}
			return &role.Blob{ReaderAt: io.NewSectionReader(f, 0, int64(size)), Size: int64(size), Close: f.Close}, nil
		}
	}
	return nil, types.Refuse(types.UnknownBlob, "compute: %v of no job whose leaf was shown", hash)
}
