package customer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// bucket is the name under which the keys of objects without an S3 bucket are wrapped.
const bucket = "default"

// profiles by name.
var profiles = map[string]pipeline.Profile{pipeline.Lab.Name: pipeline.Lab, pipeline.Std.Name: pipeline.Std, pipeline.Deep.Name: pipeline.Deep}

// about is what a customer says of an object: its name, its content type, "" for none, and its size, below 0
// for none.
type about struct {
	name, kind string
	size       int64
}

// put stores what src yields and returns once enough devices have countersigned every segment.
func (a *account) put(ctx context.Context, src io.Reader, as about, p pipeline.Profile) (ObjectID, *object, error) {
	var id ObjectID
	rand.Read(id[:])
	o, err := a.putAs(ctx, id, src, as, p)
	return id, o, err
}

// putAs stores under an id that no object has.
func (a *account) putAs(ctx context.Context, id ObjectID, src io.Reader, as about, p pipeline.Profile) (*object, error) {
	place, most, err := a.place(ctx, p, as.size)
	if err != nil {
		return nil, err
	}
	src = &within{src, most.bytes, most}
	up := newUpload(a, id, p, place)
	manifest, err := up.run(ctx, func(emit pipeline.Emit) (*pipeline.Manifest, error) {
		return a.coder.Encode(ctx, src, p, a.secret.Bucket(bucket), emit)
	})
	if err != nil {
		return nil, fmt.Errorf("storage: put %s: %w", as.name, err)
	}
	o := &object{Name: as.name, Type: as.kind, Profile: p.Name, Created: uint64(time.Now().Unix()), Bytes: manifest.Size, Payer: a.wallet.Payer()}
	for _, h := range place {
		o.Devices = append(o.Devices, h.key)
	}
	for at := range up.missing {
		o.setAbsent(at[0], at[1])
	}
	if err := a.books.putObject(id, o, manifest.Encode()); err != nil {
		up.abandon()
		return nil, err
	}
	return a.finish(ctx, id, o), nil
}

// download is one object on its way back. It is the pipeline's Fetcher.
type download struct {
	account *account
	object  *object
	k       int
	holders []*holder // by slot
	slow    []time.Duration
	mu      sync.Mutex // guards slow
}

var _ pipeline.Fetcher = (*download)(nil)

// Order puts devices that answered fast first, and leaves out slots that nobody holds.
func (d *download) Order(index int, seg pipeline.Segment) []int {
	slots := make([]int, 0, len(seg.Shards))
	for slot := range seg.Shards {
		if !d.object.absent(index, slot) && (len(d.holders) <= slot || d.holders[slot] != nil) {
			slots = append(slots, slot)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// Data slots first among equals: they need no decoding. The sort is stable and the list short.
	for i := 1; i < len(slots); i++ {
		for j := i; j > 0 && d.slow[slots[j]] < d.slow[slots[j-1]]/2; j-- {
			slots[j], slots[j-1] = slots[j-1], slots[j]
		}
	}
	return slots
}

// Shard reads a whole shard, and pays if it is the one.
func (d *download) Shard(ctx context.Context, index int, seg pipeline.Segment, slot int, into *pipeline.Incoming) error {
	return d.timed(slot, func() error {
		return d.holders[slot].read(ctx, uint64(into.Len()), func(ctx context.Context, dev *device, id types.SessionID) error {
			return dev.read(ctx, id, seg.Shards[slot], into)
		})
	})
}

// Slice reads a part of a shard with its proof, and pays if that proves it.
func (d *download) Slice(ctx context.Context, index int, seg pipeline.Segment, slot, offset, length int) ([]byte, error) {
	var proof []byte
	err := d.timed(slot, func() error {
		return d.holders[slot].read(ctx, uint64(length), func(ctx context.Context, dev *device, id types.SessionID) (err error) {
			proof, err = dev.slice(ctx, id, seg.Shards[slot], seg.ShardLength(d.k), offset, length)
			return err
		})
	})
	if err != nil {
		return nil, err // and it may still be coming
	}
	return proof, nil
}

// timed remembers how long a device takes; one that fails counts as very slow.
func (d *download) timed(slot int, f func() error) error {
	start := time.Now()
	err := f()
	took := time.Since(start)
	if err != nil && !errors.Is(err, context.Canceled) { // of whose answer was not needed any more, only the time counts
		took = max(10*took, time.Minute)
	}
	d.mu.Lock()
	d.slow[slot] = (3*d.slow[slot] + took) / 4
	d.mu.Unlock()
	return err
}

// download prepares reading an object.
func (a *account) download(o *object, m *pipeline.Manifest) (*download, error) {
	d := &download{account: a, object: o, k: int(m.K), slow: make([]time.Duration, len(o.Devices))}
	for _, key := range o.Devices {
		h, err := a.holder(key)
		if err != nil { // what the books say of it is damaged: the others are enough, perhaps
			a.log.Error("storage: holding", "device", key, "err", err)
			h = nil
		}
		d.holders = append(d.holders, h)
	}
	return d, nil
}

// forget deletes an object whose record is damaged. Where its shards were, nothing says: each device that keeps
// something of the account's is told to drop those that the manifest names. Where that is damaged too, they
// stay.
func (c *Customer) forget(ctx context.Context, w role.Wallet, id ObjectID) error {
	a, err := c.account(w)
	if err != nil {
		return err
	}
	m, err := a.books.shape(id)
	if err != nil {
		a.log.Error("storage: an object is deleted whose shards nobody can tell", "object", id, "err", err)
		return a.books.deleteObject(id)
	}
	var ids []types.Hash
	for _, seg := range m.Segments {
		ids = append(ids, seg.Shards...)
	}
	for _, other := range c.market.Wallets() {
		if other.Account() != w.Account() {
			continue
		}
		side, err := c.account(other)
		if err != nil {
			return err
		}
		devices, err := a.books.sessions(other.Payer())
		if err != nil {
			return err
		}
		for _, key := range devices {
			h, err := side.holder(key)
			if err == nil {
				err = h.drop(ctx, ids) // of which it has the fewest: it passes over the others
			}
			if err != nil {
				a.log.Warn("storage: delete", "device", key, "err", err)
			}
		}
	}
	return a.books.deleteObject(id)
}

// read returns length bytes of an object from offset on, to be closed. Nothing is asked of a device before it
// returns.
func (a *account) read(ctx context.Context, id ObjectID, o *object, offset, length int64) (io.ReadCloser, error) {
	manifest, err := a.books.shape(id)
	if err != nil {
		return nil, err
	}
	d, err := a.download(o, manifest)
	if err != nil {
		return nil, err
	}
	coder := a.coder
	if mask, err := a.books.foreign(id); err != nil {
		return nil, err
	} else if mask != nil {
		coder = a.coder.For(*mask, a.share)
	}
	return coder.Open(ctx, manifest, a.secret.Bucket(bucket), uint64(offset), uint64(length), d)
}

// delete has every device drop its shards, and then forgets the object. Devices that cannot be reached are told
// later: what they hold stays in the holding until tend gets through.
func (a *account) delete(ctx context.Context, id ObjectID, o *object) error {
	if mask, err := a.books.foreign(id); err != nil || mask != nil { // its shards are not this gateway's to let go
		return errors.Join(err, a.books.deleteObject(id))
	}
	manifest, err := a.books.shape(id)
	if err != nil {
		return err
	}
	var group errgroup.Group
	for slot, key := range o.Devices {
		ids := make([]types.Hash, 0, len(manifest.Segments))
		for i, seg := range manifest.Segments {
			if !o.absent(i, slot) {
				ids = append(ids, seg.Shards[slot])
			}
		}
		group.Go(func() error {
			h, err := a.holder(key)
			if err == nil {
				err = h.drop(ctx, ids)
			}
			if err != nil {
				a.log.Warn("storage: delete", "device", key, "err", err)
			}
			return nil
		})
	}
	group.Wait()
	return a.books.deleteObject(id)
}
