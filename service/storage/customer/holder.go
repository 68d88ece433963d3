package customer

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
)

// lifetime is how many epochs ahead sessions expire: the most that the protocol takes, less room for clocks.
const lifetime = receipt.MaxExpiry - 24

// holder is one device as one payer's keeper of shards: the holding with all its revisions, the ladder, and what is read. One commit
// is under way at a time.
type holder struct {
	wallet role.Wallet
	market role.Market
	books  *books
	pool   *pool
	key    types.Key // the device
	log    *slog.Logger

	// mu guards the holding; it is held while a commit is under way.
	mu     sync.Mutex
	state  *session
	shards *storage.Shards

	reading sync.Mutex // guards what follows and state.Egress; taken after mu
	unpaid  uint64     // bytes received since the last receipt
	// Bytes asked for in the egress session; zero before the first.
	requested types.U128
	newest    *receipt.Signed // waits to be published
	pending   sync.WaitGroup  // flushes that are under way
	reads     chan struct{}
}

// maxReads is how many shards are read from one device at once: what is unpaid stays below what it serves on trust.
const maxReads = 2

func openHolder(wallet role.Wallet, market role.Market, b *books, p *pool, key types.Key) (*holder, error) {
	h := &holder{wallet: wallet, market: market, books: b, pool: p, key: key, log: market.Log(), reads: make(chan struct{}, maxReads)}
	state, list, err := b.session(wallet.Payer(), key)
	if err != nil {
		return nil, err
	}
	if state == nil {
		state = new(session)
	}
	h.state = state
	if h.shards, err = storage.NewShards(state.Holding.Holding.Revision, list); err != nil {
		return nil, fmt.Errorf("storage: books: holding with %v: %w", key, err)
	}
	return h, nil
}

// ask returns the device's live ask of a class, or the one of the session where it offers nothing now.
func (h *holder) ask(ctx context.Context, class types.Class, old *receipt.SignedAsk) (*receipt.SignedAsk, error) {
	offers, _, err := h.market.Offers(ctx, types.Storage, class)
	if err != nil {
		return nil, err
	}
	for i := range offers {
		if offers[i].Ask.Ask.Device == h.key {
			return offers[i].Ask, nil
		}
	}
	if old != nil {
		return old, nil
	}
	return nil, types.Refuse(storage.AskExpired, "device %v", h.key)
}

// connect returns the connection to the device.
func (h *holder) connect(ctx context.Context) (*device, error) {
	ask, err := h.ask(ctx, storage.Hold, h.state.Ask)
	if err != nil {
		return nil, err
	}
	return h.pool.get(h.wallet, ask)
}

// commit has the device hold what appending and deleting leave. It returns once the device has countersigned and the books say so.
func (h *holder) commit(ctx context.Context, appends []storage.Shard, deletes []types.Hash) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.connect(ctx)
	if err != nil {
		return err
	}
	if err := h.settle(ctx, d); err != nil {
		return err
	}
	if err := h.open(ctx); err != nil {
		return err
	}
	for len(appends)+len(deletes) > 0 {
		a, r := min(len(appends), storage.MaxCommitOps/2), min(len(deletes), storage.MaxCommitOps/2)
		err := h.step(ctx, d, operations(h.shards, appends[:a], deletes[:r]))
		if types.ReasonOf(err) == storage.RootMismatch {
			// The device has declared losses meanwhile: apply them, and try on top of that.
			if err = h.settle(ctx, d); err == nil {
				err = h.step(ctx, d, operations(h.shards, appends[:a], deletes[:r]))
			}
		}
		if err != nil {
			return err
		}
		appends, deletes = appends[a:], deletes[r:]
	}
	return h.climb(ctx, d)
}

// open begins a session under the device's ask, where there is none or the old one ends soon. Shards of an old session stay where
// they are until renew moves them.
func (h *holder) open(ctx context.Context) error {
	if h.state.Ask != nil && h.state.Holding.Holding.Revision > 0 {
		return nil
	}
	ask, err := h.ask(ctx, storage.Hold, nil)
	if err != nil {
		return err
	}
	now := h.market.Notice().Epoch
	expiry := now + lifetime
	h.state.Ask = ask
	h.state.Since = now
	h.state.Holding.Holding = storage.Holding{
		Device: h.key, Session: newSession(expiry), Account: h.wallet.Account(), Payer: h.wallet.Payer(),
		Ask: ask.Ask.Hash(), Price: ask.Ask.Price, Until: expiry,
	}
	return nil
}

func newSession(expiry types.Epoch) types.SessionID {
	var random [12]byte
	rand.Read(random[:])
	return types.NewSessionID(expiry, random)
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
	for i, shard := range appends {
		ops = append(ops, storage.Op{Kind: storage.OpAppend, Slot: uint64(n + i), Shard: shard})
	}
	return ops
}

// step commits one revision. The intent is on disk before the device hears of it, and the outcome before anybody else does.
func (h *holder) step(ctx context.Context, d *device, ops []storage.Op) error {
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
	if err := h.books.putSession(h.wallet.Payer(), h.key, h.state, nil, h.shards.Len()); err != nil {
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
func (h *holder) done(now types.Epoch) error {
	p := h.state.Pending
	before := h.state.Holding.Holding.Bytes
	if err := h.shards.Commit(p.Holding.Holding.Revision, p.Ops); err != nil {
		return err
	}
	h.shards.Forget(p.Holding.Holding.Revision)
	h.state.Owed, _ = h.state.Owed.Add(types.Mul64(before, uint64(now-min(now, h.state.Since))))
	h.state.Since = now
	h.state.Holding, h.state.Pending = p.Holding, nil
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
	return h.books.putSession(h.wallet.Payer(), h.key, h.state, touched, h.shards.Len())
}

// settle finds out what became of a commit whose answer was lost, and applies what the device has declared lost.
func (h *holder) settle(ctx context.Context, d *device) error {
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
		return types.Refuse(storage.RootMismatch, "storage: %v stands at revision %d with root %s, want %d with %s", h.key, status.Revision, status.Root, held.Revision, held.Root)
	}
	h.state.Pending = nil
	return nil
}

// lose applies the losses that the device has declared since the newest holding. What it shows has to lead to where it says it stands. That
// the tally knows of them too, nothing shows here: a device that hides its losses from the tally fails its challenges.
func (h *holder) lose(ctx context.Context, d *device, status *storage.SessionStatus) error {
	held := h.state.Holding.Holding
	touched := map[uint64]storage.Shard{}
	var err error
	for err == nil && held.Revision < status.Revision {
		var list storage.Losses
		if list, err = d.losses(ctx, held.Session, held.Revision); err != nil {
			break
		}
		if len(list) == 0 {
			err = types.Refuse(storage.RootMismatch, "storage: %v stands at revision %d and shows nothing after %d", h.key, status.Revision, held.Revision)
		}
		for _, loss := range list {
			if err = h.shards.Commit(loss.Revision, loss.Ops); err != nil {
				err = fmt.Errorf("%w: %w", err, storage.RootMismatch)
				break
			}
			held.Revision = loss.Revision
			for _, op := range loss.Ops {
				touched[op.Slot] = storage.Shard{}
				h.log.Warn("storage: a device has lost a shard", "device", h.key, "shard", op.Shard.ID)
			}
		}
	}
	root := h.shards.Root()
	if err == nil && (held.Revision != status.Revision || root.Hash != status.Root) {
		err = types.Refuse(storage.RootMismatch, "storage: %v: its losses lead to root %s at revision %d, it stands at %s", h.key, root.Hash, held.Revision, status.Root)
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
	return h.books.putSession(h.wallet.Payer(), h.key, h.state, touched, h.shards.Len())
}

// climb gives the device a fresh ladder.
func (h *holder) climb(ctx context.Context, d *device) error {
	held := &h.state.Holding.Holding
	if held.Revision == 0 || held.Bytes == 0 {
		return nil
	}
	status, err := d.session(ctx, held.Session)
	if err != nil {
		return err
	}
	now := h.market.Notice().Epoch
	most, _ := h.state.Owed.Add(types.Mul64(held.Bytes, uint64(now+1-min(now, h.state.Since))))
	from := receipt.Receipt{
		Chain: h.market.Chain(), Category: types.Storage, Session: held.Session, Payer: held.Payer, Device: h.key,
		Terms: held.Ask, Units: status.Units, Seq: uint64(now)<<20 | held.Revision%(1<<12)<<8, First: h.state.Since,
	}
	if from.Units.Cmp(most) > 0 {
		from.Units = most // more than it can have earned is not believed
	}
	ladder, err := storage.NewLadder(from, held.Bytes, held.Price, h.wallet.Sign)
	if err != nil {
		return err
	}
	return d.ladder(ctx, ladder)
}

// tend keeps the device paid: it settles what is open, drops what is queued, and renews the ladder when half of it is used.
func (h *holder) tend(ctx context.Context) error {
	if err := h.dropQueued(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state.Ask == nil {
		return nil
	}
	d, err := h.connect(ctx)
	if err != nil {
		return err
	}
	if err := h.settle(ctx, d); err != nil {
		return err
	}
	status, err := d.session(ctx, h.state.Holding.Holding.Session)
	if err != nil {
		return err
	}
	if h.state.Holding.Holding.Revision > 0 && status.Revision > h.state.Holding.Holding.Revision {
		if err := h.lose(ctx, d, status); err != nil {
			return err
		}
	}
	if status.Unused >= storage.Rungs/2 {
		return nil
	}
	return h.climb(ctx, d)
}

// drop has the device delete shards. What it cannot be told now is told later, by tend.
func (h *holder) drop(ctx context.Context, ids []types.Hash) error {
	if err := h.books.queueDrops(h.wallet.Payer(), h.key, ids); err != nil {
		return err
	}
	return h.dropQueued(ctx)
}

// dropQueued tells the device what it has yet to drop, a commit's worth at a time.
func (h *holder) dropQueued(ctx context.Context) error {
	for {
		ids, err := h.books.toDrop(h.wallet.Payer(), h.key, storage.MaxCommitOps/2)
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := h.commit(ctx, nil, ids); err != nil {
			return err
		}
		if err := h.books.dropped(h.wallet.Payer(), h.key, ids); err != nil {
			return err
		}
	}
}
