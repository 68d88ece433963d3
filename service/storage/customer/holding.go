package customer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
)

// holding is one session with a device: its revisions, and the list of what the device holds under it. Its
// holder's mu guards it.
type holding struct {
	wallet role.Wallet
	market role.Market
	books  *books
	key    types.Key // the device
	log    *slog.Logger
	in     *tables // where the books have it

	reading *sync.Mutex // guards state.Egress and state.Ask; see holder
	state   *session
	shards  *storage.Shards
	stray   *pending // the last commit that the device had not applied when it was asked: it may yet arrive
	pays    coverage
}

// errApart: device and books disagree about a session, and no revision that both have signed leads out of that.
var errApart = errors.New("device and books have come apart")

func (h *holding) apart(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errApart, types.Refuse(storage.RootMismatch, "storage: %v: %s", h.key, fmt.Sprintf(format, args...)))
}

// keep writes the session and the slots that changed into the books.
func (h *holding) keep(touched map[uint64]storage.Shard) error {
	h.reading.Lock()
	state := *h.state // while it is written, a read may go on
	h.reading.Unlock()
	return h.books.putSession(h.in, h.wallet.Payer(), h.key, &state, touched, h.shards.Len())
}

// check settles what is open, and compares where the device says it stands with the books. The status is that
// of the session as it is then.
func (h *holding) check(ctx context.Context, d *device) (*storage.SessionStatus, error) {
	if err := h.settle(ctx, d); err != nil {
		return nil, err
	}
	status, err := d.session(ctx, h.state.Holding.Holding.Session)
	if err != nil {
		return nil, err
	}
	held := &h.state.Holding.Holding
	switch {
	case held.Revision == 0:
	case status.Revision > held.Revision:
		err = h.lose(ctx, d, status)
	case status.Revision < held.Revision || status.Root != held.Root:
		err = h.apart("stands at revision %d with root %s, signed revision %d with %s", status.Revision, status.Root, held.Revision, held.Root)
	}
	if err == nil {
		h.saw(status)
	}
	return status, err
}

// operations lists deletions, then appends, with the slots that each finds.
func operations(s *storage.Shards, appends []storage.Shard, deletes []types.Hash) []storage.Op {
	ops := make([]storage.Op, 0, len(appends)+len(deletes))
	moved, slots, n := map[int]storage.Shard{}, map[types.Hash]int{}, s.Len()
	at := func(slot int) storage.Shard {
		if shard, ok := moved[slot]; ok {
			return shard
		}
		return s.At(slot)
	}
	for _, id := range deletes {
		slot, ok := slots[id]
		if !ok {
			if slot, ok = s.Slot(id); !ok {
				continue // it was lost, or never arrived
			}
		}
		ops = append(ops, storage.Op{Kind: storage.OpDelete, Slot: uint64(slot), Shard: at(slot)})
		n--
		if last := at(n); slot != n {
			moved[slot], slots[last.ID] = last, slot
		}
	}
	for _, shard := range appends {
		if _, ok := s.Slot(shard.ID); ok {
			continue // an attempt before this one got so far
		}
		ops = append(ops, storage.Op{Kind: storage.OpAppend, Slot: uint64(n), Shard: shard})
		n++
	}
	return ops
}

// step commits one revision. The intent is on disk before the device hears of it, and the outcome before
// anybody else does.
func (h *holding) step(ctx context.Context, d *device, ops []storage.Op) error {
	if len(ops) == 0 {
		return nil
	}
	now := h.market.Notice().Epoch
	old := h.state.Holding.Holding
	if err := h.shards.Commit(old.Revision+1, ops); err != nil {
		return err
	}
	next := old
	root := h.shards.Root()
	next.Revision, next.Root, next.Shards, next.Bytes = old.Revision+1, root.Hash, uint64(h.shards.Len()), root.Sum
	signed := storage.SignedHolding{Holding: next, Signature: h.wallet.Sign(storage.DomainHolding, next.Payload())}
	if err := h.shards.Undo(); err != nil {
		return err
	}
	h.state.Pending = &pending{Ops: ops, Holding: signed}
	if err := h.keep(nil); err != nil {
		return err
	}
	request := &storage.Commit{Ops: ops, Holding: signed}
	if old.Revision == 0 {
		request.Ask = h.state.Ask
	}
	done, err := d.commit(ctx, request)
	if err != nil {
		return err // pending stays: settle finds out what became of it
	}
	if done.Revision != next.Revision || !next.VerifyHeld(h.market.Chain(), done.Signature) {
		return types.Refuse(storage.RootMismatch, "storage: %v countersigned something else", h.key)
	}
	return h.done(now)
}

// done enters the pending commit as held.
func (h *holding) done(now types.Epoch) error {
	p := h.state.Pending
	before := h.state.Holding.Holding.Bytes
	if err := h.shards.Commit(p.Holding.Holding.Revision, p.Ops); err != nil {
		return err
	}
	h.shards.Forget(p.Holding.Holding.Revision)
	h.state.Owed, _ = h.state.Owed.Add(types.Mul64(before, uint64(now-min(now, h.state.Since))))
	h.state.Since = now
	h.state.Holding, h.state.Pending, h.stray = p.Holding, nil, nil
	touched := map[uint64]storage.Shard{}
	for _, op := range p.Ops {
		touched[op.Slot] = storage.Shard{}
	}
	for slot := range touched {
		if slot < uint64(h.shards.Len()) {
			touched[slot] = h.shards.At(int(slot))
		}
	}
	for slot := uint64(h.shards.Len()); slot < uint64(h.shards.Len()+len(p.Ops)); slot++ {
		touched[slot] = storage.Shard{} // what deletions moved away from the end
	}
	return h.keep(touched)
}

// load reads the session from the books.
func (h *holding) load() error {
	state, list, err := h.books.session(h.in, h.wallet.Payer(), h.key)
	if err != nil {
		return err
	}
	if state == nil {
		state = new(session)
	}
	h.state = state
	if h.shards, err = storage.NewShards(state.Holding.Holding.Revision, list); err != nil {
		return fmt.Errorf("storage: books: holding with %v: %w", h.key, err)
	}
	return nil
}

// settle finds out what became of a commit whose answer was lost, and applies what the device has declared lost.
func (h *holding) settle(ctx context.Context, d *device) error {
	p, held := h.state.Pending, &h.state.Holding.Holding
	if p == nil {
		return nil
	}
	status, err := d.session(ctx, p.Holding.Holding.Session)
	if err != nil {
		return err
	}
	if status.Revision == p.Holding.Holding.Revision && status.Root == p.Holding.Holding.Root {
		return h.done(h.market.Notice().Epoch)
	}
	if o := h.stray; o != nil && status.Revision == o.Holding.Holding.Revision && status.Root == o.Holding.Holding.Root {
		h.state.Pending = o
		return h.done(h.market.Notice().Epoch)
	}
	if status.Revision > held.Revision {
		list, err := d.losses(ctx, held.Session, held.Revision)
		if err != nil {
			return err
		}
		if len(list) > 0 && list[0].Revision == p.Holding.Holding.Revision+1 {
			if err := h.done(h.market.Notice().Epoch); err != nil { // it was held, and then something of it was lost
				return err
			}
		}
		return h.lose(ctx, d, status)
	}
	if status.Revision != held.Revision || held.Revision > 0 && status.Root != held.Root {
		return h.apart("stands at revision %d with root %s, signed revision %d with %s", status.Revision, status.Root, held.Revision, held.Root)
	}
	h.stray, h.state.Pending = p, nil
	return nil
}

// lose applies the losses that the device has declared since the newest holding. What it shows has to lead to
// where it says it stands. That the tally knows of them too, nothing shows here: a device that hides its losses
// from the tally fails its challenges.
func (h *holding) lose(ctx context.Context, d *device, status *storage.SessionStatus) error {
	held := h.state.Holding.Holding
	touched := map[uint64]storage.Shard{}
	lost := map[types.Hash]bool{}
	var err error
	for err == nil && held.Revision < status.Revision {
		var list storage.Losses
		if list, err = d.losses(ctx, held.Session, held.Revision); err != nil {
			break
		}
		if len(list) == 0 {
			err = h.apart("stands at revision %d and shows nothing after %d", status.Revision, held.Revision)
			break
		}
		for _, loss := range list {
			if err = h.shards.Commit(loss.Revision, loss.Ops); err != nil {
				err = h.apart("%v", err)
				break
			}
			held.Revision = loss.Revision
			for _, op := range loss.Ops {
				touched[op.Slot], lost[op.Shard.ID] = storage.Shard{}, true
				h.log.Warn("storage: a device has lost a shard", "device", h.key, "shard", op.Shard.ID)
			}
		}
	}
	root := h.shards.Root()
	if err == nil && (held.Revision != status.Revision || root.Hash != status.Root) {
		err = h.apart("its losses lead to root %s at revision %d, it stands at %s", root.Hash, held.Revision, status.Root)
	}
	if err != nil {
		for h.shards.Revision() > h.state.Holding.Holding.Revision && err != nil {
			if undo := h.shards.Undo(); undo != nil {
				return undo
			}
		}
		return err
	}
	now := h.market.Notice().Epoch
	h.state.Owed, _ = h.state.Owed.Add(types.Mul64(held.Bytes, uint64(now-min(now, h.state.Since))))
	h.state.Since = now
	h.shards.Forget(held.Revision)
	held.Root, held.Bytes = root.Hash, root.Sum
	// The device's own step: no holding of the payer's says so until the next one.
	h.state.Holding = storage.SignedHolding{Holding: held}
	h.state.Pending = nil
	if err := h.keep(touched); err != nil {
		return err
	}
	return h.books.markAbsent(held.Payer, h.key, lost, now)
}

// coverage is what the ladders of a session pay beyond what was payable in an epoch, at least: what is payable
// changes with the epoch.
type coverage struct {
	epoch types.Epoch
	units types.U128
}

// saw notes what a device says of a session.
func (h *holding) saw(status *storage.SessionStatus) {
	h.pays = coverage{h.market.Notice().Epoch, types.Mul64(status.Bytes, status.Unused)}
}

// reaches reports whether ladders are known to pay what is held for half a ladder's epochs.
func (h *holding) reaches() bool {
	return h.pays.epoch == h.market.Notice().Epoch && h.pays.units.Cmp(types.Mul64(h.state.Holding.Holding.Bytes, storage.Rungs/2)) >= 0
}

// cover gives the device a fresh ladder where those that it has pay for less than half of a ladder's epochs. So
// ladders are signed when time has used them up, and each time that the bytes have doubled, however many
// commits that takes.
func (h *holding) cover(ctx context.Context, d *device) error {
	held := &h.state.Holding.Holding
	if held.Revision == 0 || held.Bytes == 0 || h.reaches() {
		return nil
	}
	status, err := d.session(ctx, held.Session)
	if err != nil {
		return err
	}
	if h.saw(status); h.reaches() {
		return nil
	}
	return h.climb(ctx, d, status)
}

// climb gives the device a fresh ladder, from the units that it last handed in to what is payable in a full
// ladder's epochs from now.
func (h *holding) climb(ctx context.Context, d *device, status *storage.SessionStatus) error {
	held := &h.state.Holding.Holding
	now := h.market.Notice().Epoch
	most, _ := h.state.Owed.Add(types.Mul64(held.Bytes, uint64(now+1-min(now, h.state.Since))))
	from := receipt.Receipt{
		Chain: h.market.Chain(), Category: types.Storage, Session: held.Session, Payer: held.Payer, Device: h.key,
		Terms: held.Ask, Units: status.Units, Seq: uint64(now)<<20 | held.Revision%(1<<12)<<8, First: h.state.Since,
	}
	if from.Units.Cmp(most) > 0 {
		from.Units = most // more than it can have earned is not believed
	}
	payable := status.Promised
	if payable.Cmp(most) > 0 {
		payable = most
	}
	step := held.Bytes
	if behind, err := payable.Sub(from.Units); err == nil { // what is not worth a credit is never handed in, and can be many epochs' units
		if more, err := behind.MulDiv(1, storage.Rungs); err == nil {
			if n, ok := more.Uint64(); ok {
				step += n
			}
		}
	}
	ladder, err := storage.NewLadder(from, step, held.Price, h.wallet.Sign)
	if err != nil {
		return err
	}
	if err := d.ladder(ctx, ladder); err != nil {
		return err
	}
	if ahead, err := ladder.Units(ladder.Top()).Sub(payable); err == nil {
		h.pays = coverage{now, ahead}
	}
	return nil
}
