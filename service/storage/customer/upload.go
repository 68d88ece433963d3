package customer

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// commitEvery is how many bytes a device stages of one object before it is asked to hold them. What is staged
// is kept for two epochs only and in bounded room, so a large object, or one that comes slowly, is committed
// part by part: from then on the device is paid for it.
const commitEvery = 16 << 20

// staged is a shard on a device's disk that no session holds yet.
type staged struct {
	segment int
	shard   storage.Shard
}

// upload is one object on its way to its devices.
type upload struct {
	account *account
	id      ObjectID
	profile pipeline.Profile
	slots   []slot

	mu      sync.Mutex      // guards what follows, and the slots but for their holders
	missing map[[2]int]bool // (segment, slot) that was not staged, or not committed
	absent  map[int]int     // by segment: how many of its shards are missing
	parts   uint64          // that were noted in the books
}

// slot is what an upload has with one device.
type slot struct {
	holder *holder
	fresh  []staged     // staged since the last commit
	bytes  uint64       // of them
	since  types.Epoch  // in which staging the first of them began
	sent   []types.Hash // that the device was asked to hold
	failed error        // why it takes no more
	late   int          // segments that others had to wait for it
}

func newUpload(a *account, id ObjectID, p pipeline.Profile, holders []*holder) *upload {
	u := &upload{account: a, id: id, profile: p, slots: make([]slot, len(holders)), missing: map[[2]int]bool{}, absent: map[int]int{}}
	for i, h := range holders {
		u.slots[i].holder = h
	}
	return u
}

// run stores what encode hands to emit, and keeps what is staged meanwhile, however long that takes. What it
// leaves on devices when it fails is dropped.
func (u *upload) run(ctx context.Context, encode func(emit pipeline.Emit) (*pipeline.Manifest, error)) (*pipeline.Manifest, error) {
	over, kept := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(kept)
		u.keep(ctx, over)
	}()
	manifest, err := encode(u.segment)
	close(over)
	<-kept
	if err == nil {
		err = u.commit(ctx, func(*slot) bool { return true })
	}
	if err != nil {
		u.abandon()
		return nil, err
	}
	return manifest, nil
}

// keep commits what was staged in an epoch when that has ended.
func (u *upload) keep(ctx context.Context, over <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		now := u.account.market.Notice().Epoch
		_ = u.commit(ctx, func(s *slot) bool { return s.since < now }) // what it comes to is seen by the next segment
	}
}

// segment stages the shards of one segment, all at once. It succeeds with the profile's count of devices; the
// others get a moment more, so that a slow device is not left out of every object.
func (u *upload) segment(ctx context.Context, index int, seg pipeline.Segment, shards [][]byte) error {
	begun := u.account.market.Notice().Epoch
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	type outcome struct {
		slot int
		err  error
	}
	results := make(chan outcome, len(shards))
	for i := range shards {
		go func() { results <- outcome{i, u.stage(ctx, i, seg.Shards[i], shards[i])} }()
	}
	good := 0
	for range shards {
		r := <-results // shards are the pipeline's again when this returns: every sender must be done
		u.mu.Lock()
		s := &u.slots[r.slot]
		if r.err == nil {
			good++
			if len(s.fresh) == 0 || begun < s.since {
				s.since = begun
			}
			s.fresh = append(s.fresh, staged{index, storage.Shard{ID: seg.Shards[r.slot], Bytes: uint64(len(shards[r.slot]))}})
			s.bytes += uint64(len(shards[r.slot]))
		} else {
			u.miss(index, r.slot)
			cut := ctx.Err() != nil
			if cut {
				s.late++
			}
			if s.failed == nil && (!cut || s.late >= patience) {
				s.failed = r.err
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
	return u.commit(context.WithoutCancel(ctx), func(s *slot) bool { return s.bytes >= commitEvery })
}

// The slowest devices get grace after enough have answered; who needed more that often is left out of the rest
// of the object.
const (
	grace    = 2 * time.Second
	patience = 3
)

// miss notes that no device has a shard. mu is held.
func (u *upload) miss(segment, slot int) {
	if at := [2]int{segment, slot}; !u.missing[at] {
		u.missing[at] = true
		u.absent[segment]++
	}
}

func (u *upload) stage(ctx context.Context, at int, id types.Hash, shard []byte) error {
	u.mu.Lock()
	s := &u.slots[at]
	err, fresh := s.failed, len(s.fresh)
	u.mu.Unlock()
	if err != nil {
		return err // it failed before: no object waits for it twice
	}
	d, err := s.holder.connect(ctx)
	if err != nil {
		return err
	}
	err = d.stage(ctx, id, shard)
	if types.ReasonOf(err) != storage.Full || fresh == 0 {
		return err
	}
	// It may be the room for what is staged that is full, not the disk.
	if err := u.commit(ctx, func(other *slot) bool { return other == s }); err != nil {
		return err
	}
	return d.stage(ctx, id, shard)
}

func (u *upload) why() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	errs := make([]error, len(u.slots))
	for i := range u.slots {
		errs[i] = u.slots[i].failed
	}
	return errors.Join(errs...)
}

// commit asks the devices of those slots to hold what they have staged. What a device does not countersign
// counts as missing. It fails as soon as some segment can not be held by enough devices any more.
func (u *upload) commit(ctx context.Context, which func(*slot) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	type batch struct {
		slot   int
		fresh  []staged
		shards []storage.Shard
	}
	var batches []batch
	var parts []part
	u.mu.Lock()
	for i := range u.slots {
		s := &u.slots[i]
		if len(s.fresh) == 0 || !which(s) {
			continue
		}
		b := batch{slot: i, fresh: s.fresh, shards: make([]storage.Shard, len(s.fresh))}
		p := part{Payer: u.account.wallet.Payer(), Device: s.holder.key}
		for at, f := range s.fresh {
			b.shards[at] = f.shard
			p.Shards = append(p.Shards, f.shard.ID)
		}
		s.sent = append(s.sent, p.Shards...)
		s.fresh, s.bytes = nil, 0
		batches, parts = append(batches, b), append(parts, p)
	}
	first := u.parts
	u.parts += uint64(len(parts))
	u.mu.Unlock()
	if len(batches) > 0 {
		if err := u.account.books.noteParts(u.id, first, parts); err != nil {
			return err
		}
	}
	var group errgroup.Group
	for _, b := range batches {
		group.Go(func() error {
			h := u.slots[b.slot].holder
			err := h.commit(ctx, b.shards)
			if err == nil {
				return nil
			}
			u.account.log.Warn("storage: commit", "device", h.key, "err", err)
			u.mu.Lock()
			defer u.mu.Unlock()
			if s := &u.slots[b.slot]; s.failed == nil {
				s.failed = err
			}
			for _, f := range b.fresh {
				u.miss(f.segment, b.slot)
			}
			return nil
		})
	}
	_ = group.Wait() // each failure is noted
	u.mu.Lock()
	defer u.mu.Unlock()
	for segment, n := range u.absent {
		if held := u.profile.N - n; held < u.profile.Success {
			errs := make([]error, len(u.slots))
			for i := range u.slots {
				errs[i] = u.slots[i].failed
			}
			return types.Refuse(storage.TooFewDevices, "segment %d: %d of %d devices countersigned, %d are needed: %v", segment, held, u.profile.N, u.profile.Success, errors.Join(errs...))
		}
	}
	return nil
}

// abandon has the devices drop what they were asked to hold: it belongs to no object. What was only staged goes
// by itself.
func (u *upload) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	var group errgroup.Group
	for i := range u.slots {
		s := &u.slots[i]
		if len(s.sent) == 0 {
			continue
		}
		group.Go(func() error {
			if err := s.holder.drop(ctx, s.sent); err != nil {
				u.account.log.Warn("storage: abandon", "device", s.holder.key, "err", err)
			}
			return nil
		})
	}
	_ = group.Wait() // what failed is tried again by tend
	if u.parts > 0 {
		if err := u.account.books.forgetParts(u.id); err != nil {
			u.account.log.Warn("storage: abandon", "object", u.id, "err", err)
		}
	}
}
