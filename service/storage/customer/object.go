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
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// bucket is the name under which the keys of objects without an S3 bucket are wrapped.
const bucket = "default"

// profiles by name.
var profiles = map[string]pipeline.Profile{pipeline.Lab.Name: pipeline.Lab, pipeline.Std.Name: pipeline.Std, pipeline.Deep.Name: pipeline.Deep}

// put stores what src yields and returns once enough devices have countersigned every segment.
func (a *account) put(ctx context.Context, src io.Reader, name string, p pipeline.Profile) (ObjectID, *object, error) {
	var id ObjectID
	rand.Read(id[:])
	o, err := a.putAs(ctx, id, src, name, p)
	return id, o, err
}

// putAs stores under an id that no object has.
func (a *account) putAs(ctx context.Context, id ObjectID, src io.Reader, name string, p pipeline.Profile) (*object, error) {
	place, err := a.place(ctx, p)
	if err != nil {
		return nil, err
	}
	up := &upload{account: a, profile: p, holders: place, held: make([][]storage.Shard, p.N), failed: make([]error, p.N), late: make([]int, p.N), missing: map[[2]int]bool{}}
	manifest, err := a.coder.Encode(ctx, src, p, a.secret.Bucket(bucket), up.segment)
	if err != nil {
		return nil, fmt.Errorf("storage: put %s: %w", name, err)
	}
	if err := up.commit(ctx, len(manifest.Segments)); err != nil {
		up.abandon()
		return nil, fmt.Errorf("storage: put %s: %w", name, err)
	}
	o := &object{Name: name, Profile: p.Name, Created: uint64(time.Now().Unix()), Bytes: manifest.Size, Payer: a.wallet.Payer()}
	for _, h := range place {
		o.Devices = append(o.Devices, h.key)
	}
	for at := range up.missing {
		o.setAbsent(at[0], at[1])
	}
	if err := a.books.putObject(id, o, manifest.Encode()); err != nil {
		return nil, err
	}
	return a.finish(ctx, id, o), nil
}

// upload is one object on its way to its devices.
type upload struct {
	account *account
	profile pipeline.Profile
	holders []*holder // by slot

	mu      sync.Mutex
	held    [][]storage.Shard // by slot: what the device has staged
	failed  []error           // by slot: why it takes no more
	late    []int             // by slot: segments that others had to wait for it
	missing map[[2]int]bool   // (segment, slot) that was not staged, or not committed
}

// segment stages the shards of one segment, all at once. It succeeds with the profile's count of devices; the others get a
// moment more, so that a slow device is not left out of every object.
func (u *upload) segment(ctx context.Context, index int, seg pipeline.Segment, shards [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	type outcome struct {
		slot int
		err  error
	}
	results := make(chan outcome, len(shards))
	for slot := range shards {
		go func() { results <- outcome{slot, u.stage(ctx, slot, seg.Shards[slot], shards[slot])} }()
	}
	good := 0
	for range shards {
		r := <-results // shards are the pipeline's again when this returns: every sender must be done
		u.mu.Lock()
		if r.err == nil {
			good++
			u.held[r.slot] = append(u.held[r.slot], storage.Shard{ID: seg.Shards[r.slot], Bytes: uint64(len(shards[r.slot]))})
		} else {
			u.missing[[2]int{index, r.slot}] = true
			cut := ctx.Err() != nil
			if cut {
				u.late[r.slot]++
			}
			if u.failed[r.slot] == nil && (!cut || u.late[r.slot] >= patience) {
				u.failed[r.slot] = r.err
			}
		}
		u.mu.Unlock()
		if good == u.profile.Success {
			time.AfterFunc(grace, cancel)
		}
	}
	if good < u.profile.Success {
		return types.Refuse(storage.TooFewDevices, "segment %d: %d of %d devices took their shards, %d are needed: %v", index, good, u.profile.N, u.profile.Success, u.why())
	}
	return nil
}

// The slowest devices get grace after enough have answered; who needed more that often is left out of the rest of the object.
const (
	grace    = 2 * time.Second
	patience = 3
)

func (u *upload) stage(ctx context.Context, slot int, id types.Hash, shard []byte) error {
	u.mu.Lock()
	err := u.failed[slot]
	u.mu.Unlock()
	if err != nil {
		return err // it failed before: no object waits for it twice
	}
	d, err := u.holders[slot].connect(ctx)
	if err != nil {
		return err
	}
	return d.stage(ctx, id, shard)
}

func (u *upload) why() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return errors.Join(u.failed...)
}

// commit asks every device to hold what it staged. What a device does not countersign counts as missing.
func (u *upload) commit(ctx context.Context, segments int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	errs := make([]error, u.profile.N)
	var group errgroup.Group
	for slot, h := range u.holders {
		if len(u.held[slot]) == 0 {
			errs[slot] = u.failed[slot]
			continue
		}
		group.Go(func() error {
			errs[slot] = h.commit(ctx, u.held[slot], nil)
			return nil
		})
	}
	group.Wait()
	for slot, err := range errs {
		if err == nil {
			continue
		}
		u.account.log.Warn("storage: commit", "device", u.holders[slot].key, "err", err)
		for segment := range segments {
			u.missing[[2]int{segment, slot}] = true
		}
	}
	absent := make([]int, segments)
	for at := range u.missing {
		absent[at[0]]++
	}
	for segment, n := range absent {
		if held := u.profile.N - n; held < u.profile.Success {
			return types.Refuse(storage.TooFewDevices, "segment %d: %d of %d devices countersigned, %d are needed: %v", segment, held, u.profile.N, u.profile.Success, errors.Join(errs...))
		}
	}
	return nil
}

// abandon has the devices that countersigned drop what belongs to no object.
func (u *upload) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	for slot, h := range u.holders {
		ids := make([]types.Hash, len(u.held[slot]))
		for i, s := range u.held[slot] {
			ids[i] = s.ID
		}
		if err := h.drop(ctx, ids); err != nil {
			u.account.log.Warn("storage: abandon", "device", h.key, "err", err)
		}
	}
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
		if !d.object.absent(index, slot) {
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
		if err != nil {
			return nil, err
		}
		d.holders = append(d.holders, h)
	}
	return d, nil
}

// get writes length bytes of an object from offset on; length below 0 is all.
func (a *account) get(ctx context.Context, id ObjectID, o *object, w io.Writer, offset, length int64) error {
	raw, err := a.books.manifest(id)
	if err != nil {
		return err
	}
	manifest, err := pipeline.DecodeManifest(raw)
	if err != nil {
		return fmt.Errorf("storage: object %v: %w", id, err)
	}
	d, err := a.download(o, manifest)
	if err != nil {
		return err
	}
	if length < 0 {
		return a.coder.Decode(ctx, manifest, a.secret.Bucket(bucket), w, d)
	}
	return a.coder.DecodeRange(ctx, manifest, a.secret.Bucket(bucket), uint64(offset), uint64(length), w, d)
}

// delete has every device drop its shards, and then forgets the object. Devices that cannot be reached are told later: what they
// hold stays in the holding until tend gets through.
func (a *account) delete(ctx context.Context, id ObjectID, o *object) error {
	raw, err := a.books.manifest(id)
	if err != nil {
		return err
	}
	manifest, err := pipeline.DecodeManifest(raw)
	if err != nil {
		return fmt.Errorf("storage: object %v: %w", id, err)
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
