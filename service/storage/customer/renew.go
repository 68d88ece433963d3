package customer

import (
	"context"
	"errors"
	"slices"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// A session ends some day, and now and then a device is no longer where its books were: it was restored from an
// old copy of its disk, or lost it. Then what it holds moves to a new session. The old one, called former,
// stays in the books until every shard of it is in the new one or known to be gone. The bytes do not travel:
// the device has them on its disk, and a commit may name what is there.
//
// As long as both sides agree on the former session, each batch of shards is appended to the new one before it
// is deleted from the former, so that there is no moment in which nobody has to prove it, and the former one
// ends clean, with no bytes. Where they do not agree, nothing can be said about the former session any more.
// The device is paid under the ladder that it has as long as it goes on proving, which it cannot if it told the
// truth.

// maxBreaks is how often a device may come apart from its books. Each time costs the customer up to a ladder
// under the session that was given up; at the last, the device gets no further shards.
const maxBreaks = 3

// shunned reports whether the device gets no further shards.
func (h *holder) shunned() bool { return h.breaks.Load() >= maxBreaks }

// renewBefore is how many epochs before its end a session is renewed: an eighth of its life.
func (h *holder) renewBefore() types.Epoch { return max(2, h.lifetime/8) }

// renew retires a session that ends soon, if the device has an ask for the next one.
func (h *holder) renew(ctx context.Context) error {
	held := &h.state.Holding.Holding
	if held.Revision == 0 {
		return nil
	}
	now, expiry := h.market.Notice().Epoch, held.Session.Expiry()
	switch {
	case expiry < now:
		return h.retire(true, 0)
	case now+h.renewBefore() < expiry || h.former != nil:
		return nil
	}
	if _, err := h.ask(ctx, storage.Hold, nil); err != nil {
		return nil // it takes nothing on: the session lasts as long as it lasts
	}
	h.log.Info("storage: renew a session", "device", h.key, "expires", expiry, "bytes", held.Bytes)
	return h.retire(false, 0)
}

// mend reports whether what failed for err can be tried again, since what stood in the way is cleared: a
// session that cannot go on was retired, or losses were applied. mu is held.
func (h *holder) mend(ctx context.Context, d *device, err error) bool {
	breaks := uint64(0)
	switch types.ReasonOf(err) {
	case storage.SessionClosed, types.SessionExpired:
	case storage.RootMismatch, storage.SessionUnknown, types.UnknownAsk, storage.HoldingTerms:
		if h.shunned() {
			return false
		}
		before := h.state.Holding.Holding.Revision
		if before == 0 {
			return false
		}
		if !errors.Is(err, errApart) {
			if _, err = h.check(ctx, d); err != nil && !errors.Is(err, errApart) {
				return false
			}
			if err == nil && h.state.Holding.Holding.Revision != before {
				return true // it has declared losses meanwhile, or held more than was known
			}
		}
		breaks = 1
		h.log.Warn("storage: a device and the books have come apart; what it still has moves to a new session", "device", h.key, "err", err)
	default:
		return false
	}
	if err := h.retire(true, breaks); err != nil {
		h.log.Error("storage: retire a session", "device", h.key, "err", err)
		return false
	}
	return true
}

// retire makes the session the former one. lapsed says that nothing is agreed on in it any more. When there is
// a former one already, both lapse together. mu is held.
func (h *holder) retire(lapsed bool, breaks uint64) error {
	old := h.holding
	old.in, old.stray = &former, nil
	h.reading.Lock()
	state := *h.state
	h.reading.Unlock()
	state.Pending, state.Egress = nil, egress{}
	old.state = &state
	if before := h.former; before != nil {
		lapsed = true
		list := make([]storage.Shard, 0, old.shards.Len()+before.shards.Len())
		for _, from := range []*storage.Shards{old.shards, before.shards} {
			for _, shard := range from.All() {
				_, twice := old.shards.Slot(shard.ID)
				if shard != (storage.Shard{}) && (from == old.shards || !twice) {
					list = append(list, shard)
				}
			}
		}
		var err error
		if old.shards, err = storage.NewShards(state.Holding.Holding.Revision, list); err != nil {
			return err
		}
	}
	list := make([]storage.Shard, 0, old.shards.Len())
	for _, shard := range old.shards.All() {
		list = append(list, shard)
	}
	h.reading.Lock()
	defer h.reading.Unlock()
	fresh := &session{Ask: h.state.Ask, Egress: h.state.Egress}
	empty, err := storage.NewShards(0, nil)
	if err != nil {
		return err
	}
	if err := h.books.retire(h.wallet.Payer(), h.key, fresh, &state, list, h.breaks.Load()+breaks, lapsed); err != nil {
		return err
	}
	h.breaks.Add(breaks)
	h.state, h.shards, h.stray, h.pays, h.former, h.lapsed = fresh, empty, nil, coverage{}, &old, lapsed
	return nil
}

// lapse gives up agreeing on the former session.
func (h *holder) lapse(err error) {
	h.log.Warn("storage: a device and the books have come apart over a session that ends", "device", h.key, "err", err)
	h.lapsed = true
}

// move has the new session hold what the former one did, a batch at a time, until that is empty. What the
// device does not have any more counts as lost. mu is held.
func (h *holder) move(ctx context.Context, d *device) error {
	old := h.former
	moved := false
	for {
		var batch []storage.Shard
		for _, shard := range old.shards.All() {
			if shard != (storage.Shard{}) && len(batch) < storage.MaxCommitOps/2 {
				batch = append(batch, shard)
			}
		}
		if len(batch) == 0 {
			break
		}
		if err := h.open(ctx); err != nil {
			return err
		}
		lost := map[types.Hash]bool{}
		if err := h.adopt(ctx, d, batch, lost); err != nil {
			return err
		}
		if len(lost) > 0 {
			h.log.Warn("storage: a device has lost shards", "device", h.key, "shards", len(lost))
			if err := h.books.markAbsent(h.wallet.Payer(), h.key, lost, h.market.Notice().Epoch); err != nil {
				return err
			}
		}
		ids := make([]types.Hash, len(batch))
		for i, shard := range batch {
			ids[i] = shard.ID
		}
		moved = true
		if err := h.shed(ctx, d, ids); err != nil {
			return err
		}
	}
	if err := h.books.dismiss(h.wallet.Payer(), h.key); err != nil {
		return err
	}
	h.former, h.lapsed = nil, false
	if !moved {
		return nil
	}
	h.log.Info("storage: a new session holds what the former one did", "device", h.key, "bytes", h.state.Holding.Holding.Bytes)
	return h.cover(ctx, d)
}

// adopt appends shards that the device should have on its disk. Those that it does not have are found by halves.
func (h *holder) adopt(ctx context.Context, d *device, shards []storage.Shard, lost map[types.Hash]bool) error {
	err := h.step(ctx, d, operations(h.shards, shards, nil))
	if types.ReasonOf(err) != storage.NoShard {
		return err
	}
	if err := h.settle(ctx, d); err != nil {
		return err
	}
	if len(shards) == 1 {
		lost[shards[0].ID] = true
		return nil
	}
	for _, half := range [][]storage.Shard{shards[:len(shards)/2], shards[len(shards)/2:]} {
		if err := h.adopt(ctx, d, half, lost); err != nil {
			return err
		}
	}
	return nil
}

// shed deletes shards from the former session: in agreement with the device, or where there is none, from the
// books alone.
func (h *holder) shed(ctx context.Context, d *device, ids []types.Hash) error {
	old := h.former
	for part := range slices.Chunk(ids, storage.MaxCommitOps/2) {
		if !h.lapsed {
			err := old.settle(ctx, d)
			if err == nil {
				err = old.step(ctx, d, operations(old.shards, nil, part))
			}
			switch types.ReasonOf(err) {
			case "":
				if err != nil {
					return err
				}
				continue
			case storage.RootMismatch, storage.SessionClosed, types.SessionExpired, storage.SessionUnknown, types.UnknownAsk, storage.HoldingTerms:
				h.lapse(err)
			default:
				return err
			}
		}
		ops := operations(old.shards, nil, part)
		if len(ops) == 0 {
			continue
		}
		next := old.state.Holding
		next.Holding.Revision++
		old.state.Pending = &pending{Ops: ops, Holding: next}
		if err := old.done(h.market.Notice().Epoch); err != nil {
			return err
		}
	}
	return nil
}
