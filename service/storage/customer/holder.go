package customer

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
)

// defaultLifetime is how many epochs ahead sessions expire: the most that the protocol takes, less room for clocks.
const defaultLifetime = receipt.MaxExpiry - 24

// holder is one device as one payer's keeper of shards: the holding with all its revisions, the ladder, and
// what is read. One commit is under way at a time.
type holder struct {
	holding
	pool     *pool
	lifetime types.Epoch // of a new session

	// mu guards the holding, former and apart; it is held while a commit is under way.
	mu sync.Mutex
	// The session before this one, while there are shards that move do not have yet.
	former *holding
	lapsed bool          // nothing is agreed on in former any more: the device has ended it, or differs
	queue  queue         // what waits to be committed
	breaks atomic.Uint64 // how often device and books came apart

	// reading, which is the holding's, also guards what follows; it is taken after mu.
	unpaid  uint64          // bytes received since the last receipt
	resumed bool            // the egress session is of this run, or its newest receipt was asked for
	newest  *receipt.Signed // waits to be published
	pending sync.WaitGroup  // flushes and reads that are under way
	reads   chan struct{}
}

// maxReads is how many shards are read from one device at once: what is unpaid stays below what it serves on trust.
const maxReads = 2

func openHolder(wallet role.Wallet, market role.Market, b *books, p *pool, key types.Key, lifetime types.Epoch) (*holder, error) {
	h := &holder{
		holding: holding{wallet: wallet, market: market, books: b, key: key, log: market.Log(), in: &current, reading: new(sync.Mutex)},
		pool:    p, lifetime: lifetime, reads: make(chan struct{}, maxReads),
	}
	if err := h.load(); err != nil {
		return nil, err
	}
	old := h.holding
	old.in = &former
	if err := old.load(); err != nil {
		return nil, err
	}
	if old.shards.Len() > 0 || old.state.Ask != nil {
		h.former = &old
	}
	n, lapsed, err := b.breaks(wallet.Payer(), key)
	h.breaks.Store(n)
	h.lapsed = lapsed
	return h, err
}

// ask returns the device's live ask of a class, or the one of the session where it offers nothing now.
func (h *holder) ask(ctx context.Context, class types.Class, old *receipt.SignedAsk) (*receipt.SignedAsk, error) {
	offers, _, err := h.market.Offers(ctx, role.Want{Class: class, Device: h.key})
	if err != nil {
		return nil, err
	}
	if len(offers) > 0 {
		return offers[0].Ask, nil
	}
	if old != nil {
		return old, nil
	}
	return nil, types.Refuse(storage.AskExpired, "device %v", h.key)
}

// connect returns the connection to the device.
func (h *holder) connect(ctx context.Context) (*device, error) {
	h.reading.Lock()
	old := h.state.Ask
	h.reading.Unlock()
	ask, err := h.ask(ctx, storage.Hold, old)
	if err != nil {
		return nil, err
	}
	return h.pool.get(h.wallet, ask)
}

// change has the device hold what appending and deleting leave. Where device and books have come apart, or the
// session has ended, it goes on in a new one. mu is held.
func (h *holder) change(ctx context.Context, appends []storage.Shard, deletes []types.Hash) error {
	d, err := h.connect(ctx)
	if err != nil {
		return err
	}
	for range 3 {
		if err = h.try(ctx, d, appends, deletes); err == nil {
			break
		}
		if !h.mend(ctx, d, err) {
			return err
		}
	}
	if err != nil {
		return err
	}
	if h.former != nil {
		// The device lets go of what no session of its names: what can be kept is kept at once.
		if err := h.move(ctx, d); err != nil {
			h.log.Info("storage: move to a new session", "device", h.key, "err", err)
		}
	}
	if err := h.cover(ctx, d); err != nil {
		// The device holds what it was to hold, and waits two epochs for a ladder: tend tries again in the next.
		h.log.Info("storage: sign a ladder", "device", h.key, "err", err)
	}
	return nil
}

// try is change in the present sessions. Appends that are held already, and deletions of what is not, are none.
func (h *holder) try(ctx context.Context, d *device, appends []storage.Shard, deletes []types.Hash) error {
	if err := h.settle(ctx, d); err != nil {
		return err
	}
	if err := h.renew(ctx); err != nil {
		return err
	}
	if h.former != nil && len(deletes) > 0 {
		if err := h.shed(ctx, d, deletes); err != nil {
			return err
		}
	}
	if len(appends) > 0 && h.shunned() {
		return types.Refuse(storage.RootMismatch, "storage: %v came apart from its books %d times", h.key, h.breaks.Load())
	}
	if len(appends) == 0 && h.state.Holding.Holding.Revision == 0 {
		return nil
	}
	if err := h.open(ctx); err != nil {
		return err
	}
	for len(appends)+len(deletes) > 0 {
		a, r := min(len(appends), storage.MaxCommitOps/2), min(len(deletes), storage.MaxCommitOps/2)
		if err := h.step(ctx, d, operations(h.shards, appends[:a], deletes[:r])); err != nil {
			return err
		}
		appends, deletes = appends[a:], deletes[r:]
	}
	return nil
}

// open begins a session under the device's ask, where there is none.
func (h *holder) open(ctx context.Context) error {
	if h.state.Ask != nil && h.state.Holding.Holding.Revision > 0 {
		return nil
	}
	ask, err := h.ask(ctx, storage.Hold, nil)
	if err != nil {
		return err
	}
	now := h.market.Notice().Epoch
	expiry := now + h.lifetime
	h.reading.Lock()
	h.state.Ask = ask
	h.reading.Unlock()
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

// tend keeps the device paid: it settles what is open, drops what is queued, moves what a session that ends
// soon holds to a new one, and renews ladders when half of them is used.
func (h *holder) tend(ctx context.Context) error {
	if err := h.dropQueued(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state.Ask == nil && h.former == nil {
		return nil
	}
	d, err := h.connect(ctx)
	if err != nil {
		return err
	}
	if err := h.look(ctx, d, &h.holding); err != nil && !h.mend(ctx, d, err) {
		return err
	}
	if err := h.renew(ctx); err != nil {
		return err
	}
	if h.former == nil {
		return nil
	}
	if !h.lapsed {
		if err := h.look(ctx, d, h.former); errors.Is(err, errApart) {
			h.lapse(err)
		} else if err != nil {
			return err
		}
	}
	return h.move(ctx, d)
}

// look checks a session and keeps it paid.
func (h *holder) look(ctx context.Context, d *device, in *holding) error {
	if in.state.Holding.Holding.Revision == 0 {
		return nil
	}
	if _, err := in.check(ctx, d); err != nil {
		return err
	}
	return in.cover(ctx, d)
}

// drop has the device delete shards. What it cannot be told now is told later, by tend.
func (h *holder) drop(ctx context.Context, ids []types.Hash) error {
	if err := h.books.queueDrops(h.wallet.Payer(), h.key, ids); err != nil {
		return err
	}
	return h.dropQueued(ctx)
}

// dropQueued tells the device what it has yet to drop, a commit's worth at a time. A shard that is about to be
// held leaves the queue before it is committed, so the queue is read while no commit is under way.
func (h *holder) dropQueued(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		ids, err := h.books.toDrop(h.wallet.Payer(), h.key, storage.MaxCommitOps/2)
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := h.change(ctx, nil, ids); err != nil {
			return err
		}
		if err := h.books.dropped(h.wallet.Payer(), h.key, ids); err != nil {
			return err
		}
	}
}
