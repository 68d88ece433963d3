package customer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// An object is stored once enough devices have countersigned, and safe to its full measure once all have. What
// is missing is computed anew from any k of the other shards and put on the device that should have it, or the
// whole slot on a device of another owner. A PUT waits for that a while before it answers; what is missing
// then, or is lost later, is made up for in the background.
const (
	finishTime   = 20 * time.Second // that a PUT spends on missing shards before it answers
	finishTries  = 3
	finishPause  = time.Second
	completeMost = 16 // objects in one epoch
	maxWait      = 64 // epochs between two attempts at one object, which double from one on
)

// waiting says when a missing shard is tried again.
type waiting struct{ next, wait types.Epoch }

// finish tries for the shards that an upload left out, within bounds, and returns the object as it is then.
func (a *account) finish(ctx context.Context, id ObjectID, o *object) *object {
	ctx, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	for try := range finishTries {
		if o.complete() {
			break
		}
		if try > 0 {
			select {
			case <-ctx.Done():
				return o
			case <-time.After(finishPause):
			}
		}
		err := a.complete(ctx, id)
		if now, e := a.books.object(id); e == nil && now != nil {
			o = now
		}
		if err != nil {
			a.log.Info("storage: shards are missing", "object", id, "try", try+1, "err", err)
		}
		if errors.Is(err, errNoRoom) || errors.Is(err, errRests) {
			break
		}
	}
	return o
}

// completeSome makes up for missing shards of a few objects whose turn it is.
func (a *account) completeSome(ctx context.Context) {
	now := a.market.Notice().Epoch
	var list []ObjectID
	err := a.books.objects(func(id ObjectID, o *object) error {
		if len(list) < completeMost && o != nil && !o.complete() && o.Payer == a.wallet.Payer() && a.later[id].next <= now {
			list = append(list, id)
		}
		return nil
	})
	if err != nil {
		a.log.Error("storage: objects", "err", err)
	}
	for _, id := range list {
		if ctx.Err() != nil {
			return
		}
		if err := a.complete(ctx, id); err != nil {
			wait := min(maxWait, max(1, 2*a.later[id].wait))
			a.later[id] = waiting{now + wait, wait}
			a.log.Info("storage: shards are missing", "object", id, "again_in_epochs", wait, "err", err)
			continue
		}
		delete(a.later, id)
		a.log.Info("storage: an object has all of its shards again", "object", id)
	}
}

// errNoRoom: neither the device that should have a slot nor another one offers room for it.
var errNoRoom = errors.New("no device of another owner offers room")

// complete puts the shards of an object that no device holds where they should be. One object is worked on once
// at a time.
func (a *account) complete(ctx context.Context, id ObjectID) error {
	select {
	case a.completing <- struct{}{}:
		defer func() { <-a.completing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	o, err := a.books.object(id)
	if err != nil || o == nil {
		return err
	}
	m, err := a.books.shape(id)
	if err != nil {
		return err
	}
	offers, _, err := a.market.Offers(ctx, role.Want{Class: storage.Hold})
	if err != nil {
		return err
	}
	for _, device := range o.Devices { // of many devices the market shows some, and these may not be among them
		if slices.ContainsFunc(offers, func(x role.Offer) bool { return x.Ask.Ask.Device == device }) {
			continue
		}
		own, _, err := a.market.Offers(ctx, role.Want{Class: storage.Hold, Device: device})
		if err != nil {
			return err
		}
		offers = append(offers, own...)
	}
	var errs []error
	for slot := range o.Devices {
		if err := a.completeSlot(ctx, id, o, m, slot, offers); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (a *account) completeSlot(ctx context.Context, id ObjectID, o *object, m *pipeline.Manifest, slot int, offers []role.Offer) error {
	var missing, all []int
	for i := range m.Segments {
		all = append(all, i)
		if o.absent(i, slot) {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	failed := error(errNoRoom)
	now := a.market.Notice().Epoch
	rests := func(device types.Key) bool { return a.books.rests(a.wallet.Payer(), device, now) }
	again := func() error { return a.fill(ctx, id, o, m, slot, o.Devices[slot], missing) }
	takes := a.takes(offers, o.Devices[slot], m, missing)
	// One that has just lost shards is not the first to get them again: another one's whole slot is.
	later := takes && rests(o.Devices[slot])
	if takes && !later {
		if failed = again(); failed == nil {
			return nil
		}
	}
	owners := map[types.Account]bool{}
	for _, offer := range offers {
		if at := slices.Index(o.Devices, offer.Ask.Ask.Device); at >= 0 && at != slot {
			owners[offer.Owner] = true
		}
	}
	for _, offer := range offers {
		device := offer.Ask.Ask.Device
		if owners[offer.Owner] || slices.Contains(o.Devices, device) || rests(device) || !a.takes(offers, device, m, all) {
			continue
		}
		return errors.Join(a.fill(ctx, id, o, m, slot, device, all), ctx.Err())
	}
	switch {
	case !later:
		return failed
	case a.urgent(o, m):
		return again()
	}
	return errRests
}

// errRests: a device has lost shards lately, and there is no other to take them. It gets them again when it has
// rested, or when they are needed.
var errRests = errors.New("the device that should have them has lost some lately")

// urgent reports whether an object has come down to what its profile repairs at.
func (a *account) urgent(o *object, m *pipeline.Manifest) bool {
	for i := range m.Segments {
		held := 0
		for slot := range o.Devices {
			if !o.absent(i, slot) {
				held++
			}
		}
		if held <= profiles[o.Profile].Repair {
			return true
		}
	}
	return false
}

// takes reports whether a device offers room for segments' shards.
func (a *account) takes(offers []role.Offer, device types.Key, m *pipeline.Manifest, segments []int) bool {
	bytes := uint64(0)
	for _, i := range segments {
		bytes += uint64(m.Segments[i].ShardLength(int(m.K)))
	}
	for _, offer := range offers {
		if offer.Ask.Ask.Device == device {
			return offer.Ask.Ask.Capacity.Cmp(types.U64(bytes)) >= 0 && !a.books.shunned(a.wallet.Payer(), device)
		}
	}
	return false
}

// fill computes a slot's shards of segments, has a device hold them, and notes it. Where that is another device
// than before, the one before lets go of what it has of the slot.
func (a *account) fill(ctx context.Context, id ObjectID, o *object, m *pipeline.Manifest, slot int, key types.Key, segments []int) error {
	h, err := a.holder(key)
	if err != nil {
		return err
	}
	d, err := h.connect(ctx)
	if err != nil {
		return err
	}
	from, err := a.download(o, m)
	if err != nil {
		return err
	}
	f := &filling{account: a, id: id, holder: h}
	for _, i := range segments {
		err := a.coder.Rebuild(ctx, m, i, []int{slot}, from, func(slot int, shard []byte) error {
			if err := d.stage(ctx, m.Segments[i].Shards[slot], shard); err != nil {
				return err
			}
			return f.add(ctx, storage.Shard{ID: m.Segments[i].Shards[slot], Bytes: uint64(len(shard))})
		})
		if err != nil {
			return f.fail(err)
		}
	}
	if err := f.commit(ctx); err != nil {
		return f.fail(err)
	}
	before := o.Devices[slot]
	var had []types.Hash
	known, err := a.books.changeObject(id, func(o *object) {
		for i, seg := range m.Segments {
			if key != before && !o.absent(i, slot) {
				had = append(had, seg.Shards[slot])
			}
		}
		o.Devices[slot] = key
		for _, i := range segments {
			o.clearAbsent(i, slot)
		}
	})
	if err != nil {
		return err
	}
	if !known { // it was deleted meanwhile
		return f.fail(nil)
	}
	if err := a.books.forgetParts(id); err != nil {
		return err
	}
	o.Devices[slot] = key
	if len(had) == 0 {
		return nil
	}
	old, err := a.holder(before)
	if err == nil {
		err = old.drop(ctx, had)
	}
	if err != nil {
		a.log.Info("storage: a device is told later what to drop", "device", before, "err", err)
	}
	return nil
}

// filling is a slot of an object on its way to a device. As in an upload, what is staged is committed part by
// part: reading enough to compute a large object's shards can take longer than a device keeps what nobody
// holds.
type filling struct {
	account *account
	id      ObjectID
	holder  *holder
	fresh   []storage.Shard
	bytes   uint64
	since   types.Epoch
	sent    []types.Hash
	parts   uint64
}

func (f *filling) add(ctx context.Context, shard storage.Shard) error {
	now := f.account.market.Notice().Epoch
	if len(f.fresh) == 0 {
		f.since = now
	}
	f.fresh, f.bytes = append(f.fresh, shard), f.bytes+shard.Bytes
	if f.bytes < commitEvery && f.since == now {
		return nil
	}
	return f.commit(ctx)
}

func (f *filling) commit(ctx context.Context) error {
	if len(f.fresh) == 0 {
		return nil
	}
	shards := f.fresh
	p := part{Payer: f.account.wallet.Payer(), Device: f.holder.key}
	for _, shard := range shards {
		p.Shards = append(p.Shards, shard.ID)
	}
	if err := f.account.books.noteParts(f.id, f.parts, []part{p}); err != nil {
		return err
	}
	f.parts++
	f.sent = append(f.sent, p.Shards...)
	f.fresh, f.bytes = nil, 0
	return f.holder.commit(ctx, shards)
}

// fail has the device drop what it holds for nothing, and returns err.
func (f *filling) fail(err error) error {
	if len(f.sent) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	return errors.Join(err, f.holder.drop(ctx, f.sent), f.account.books.forgetParts(f.id))
}
