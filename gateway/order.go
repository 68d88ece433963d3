package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Bounds of the book of orders. At them Order refuses: over_quota, until some were counted or given up, and
// order_limit, until sessions have ended.
const (
	maxOpen       = 16_384                 // orders that no tally has counted yet
	maxOpenEach   = tally.MaxNewOrder      // of one payer: what a batch takes
	maxKnown      = 1 << 18                // sessions with an order
	maxKnownEach  = 16 * receipt.MaxOrders // of one payer: what a state remembers
	settleWorkers = 8                      // orders that are looked for in a tally at a time
)

var orderedBucket = []byte("orders") // payer ‖ session → ordered

// ordered is the newest order of a session on disk.
type ordered struct {
	_       struct{}     `cbor:",toarray"`
	Raw     []byte       // receipt.SignedOrder
	Kept    types.Epoch  // in whose batch more than two thirds of power keep it; 0 until then
	Counted bool         // a tally shows it
	Refused types.Reason // why it was given up; "" if it was not
}

// item is an order as it is handed in.
type item = agent.Item[tally.SessionKey]

// order is one that no tally has counted yet.
type order struct {
	item *item
	seq  uint64
	kept types.Epoch
}

// book hands in what this gateway's wallets order until enough verifiers keep it, and then watches until a
// tally has counted it. Everything in it is on disk before anybody hears of it. All methods are safe for
// concurrent use.
type book struct {
	market  *market
	db      *bbolt.DB
	waiting *agent.Outbox[tally.SessionKey] // those of open that are handed in
	news    chan struct{}                   // there is a notice
	wait    time.Duration                   // before an order is sent again, doubled at each try up to a minute

	mu    sync.Mutex // guards what follows, writing orderedBucket, and changes of waiting
	open  map[tally.SessionKey]*order
	known map[types.Key]int // sessions on disk, by payer
	total int               // of known
}

func sessionBytes(key tally.SessionKey) []byte { return slices.Concat(key.Payer[:], key.ID[:]) }

// openBook reads the orders that are on disk.
func openBook(m *market, db *bbolt.DB) (*book, error) {
	b := &book{market: m, db: db, waiting: agent.NewOutbox[tally.SessionKey](), news: make(chan struct{}, 1), wait: 2 * time.Second,
		open: map[tally.SessionKey]*order{}, known: map[types.Key]int{}}
	err := db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(orderedBucket)
		if err != nil {
			return err
		}
		return bucket.ForEach(func(k, v []byte) error {
			var rec ordered
			if err := types.Decode(v, &rec); err != nil {
				return err
			}
			s, err := receipt.DecodeOrder(rec.Raw, m.chain)
			if err != nil {
				return err
			}
			b.known[s.Order.Payer]++
			b.total++
			if !rec.Counted && rec.Refused == "" {
				b.add(s, rec.Raw, rec.Kept)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: read orders: %w", err)
	}
	return b, nil
}

// add takes an order up, in place of the session's earlier one. mu is held, or nobody else knows b.
func (b *book) add(s *receipt.SignedOrder, raw []byte, kept types.Epoch) {
	key := keyOf(s)
	b.drop(b.open[key])
	i := &item{Item: bus.Item{Type: bus.Order, Raw: raw}, Expiry: s.Order.Session.Expiry() - 1, Own: key}
	i.Hash = i.Item.Hash()
	b.open[key] = &order{item: i, seq: s.Order.Seq, kept: kept}
	if kept == 0 {
		b.waiting.Add(i)
	}
}

// drop lets go of an order, if there is one. mu is held.
func (b *book) drop(o *order) {
	if o != nil {
		b.waiting.Remove(o.item.Hash)
		delete(b.open, o.item.Own)
	}
}

func keyOf(s *receipt.SignedOrder) tally.SessionKey {
	return tally.SessionKey{Payer: s.Order.Payer, ID: s.Order.Session}
}

// record reads a session's order; nil if there is none.
func (b *book) record(key tally.SessionKey) (*ordered, error) {
	var rec *ordered
	err := b.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(orderedBucket).Get(sessionBytes(key))
		if v == nil {
			return nil
		}
		rec = new(ordered)
		return types.Decode(v, rec)
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: order of session %v: %w", key.ID, err)
	}
	return rec, nil
}

// put writes a session's order. mu is held.
func (b *book) put(key tally.SessionKey, rec *ordered) error {
	err := b.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(orderedBucket).Put(sessionBytes(key), types.Encode(rec)) })
	if err != nil {
		return fmt.Errorf("gateway: note order of session %v: %w", key.ID, err)
	}
	return nil
}

// note changes what is on disk of an order, unless a later one of its session took its place. mu is held.
func (b *book) note(o *order, change func(*ordered)) error {
	rec, err := b.record(o.item.Own)
	if err != nil || rec == nil || types.Sum(rec.Raw) != o.item.Hash {
		return err // a later one took its place
	}
	change(rec)
	return b.put(o.item.Own, rec)
}

// take stores an order and has it handed in. opening is what a session's first order must be worth.
func (b *book) take(s *receipt.SignedOrder, opening types.Credit) error {
	raw, key := s.Encode(), keyOf(s)
	b.mu.Lock()
	defer b.mu.Unlock()
	before, err := b.record(key)
	if err != nil {
		return err
	}
	if before == nil {
		switch {
		case s.Order.Cap == 0 || s.Order.Cap < opening:
			return types.Refuse(types.SessionOpening, "gateway: a first order of %d micro-credits, at least %d are asked for", s.Order.Cap, max(opening, 1))
		case b.known[key.Payer] >= maxKnownEach || b.total >= maxKnown:
			return types.Refuse(types.OrderLimit, "gateway: %d sessions of this payer have orders, %d in all", b.known[key.Payer], b.total)
		}
	} else {
		old, err := receipt.DecodeOrder(before.Raw, b.market.chain)
		if err != nil {
			return err
		}
		switch {
		case slices.Equal(before.Raw, raw):
			return nil
		case s.Order.Seq <= old.Order.Seq:
			return types.Refuse(types.StaleSeq, "gateway: order %d of session %v after %d", s.Order.Seq, key.ID, old.Order.Seq)
		case s.Order.Category != old.Order.Category:
			return types.Refuse(types.SessionMismatch, "gateway: session %v is of %s", key.ID, old.Order.Category)
		}
	}
	if b.open[key] == nil {
		each := 0
		for other := range b.open {
			if other.Payer == key.Payer {
				each++
			}
		}
		if each >= maxOpenEach || len(b.open) >= maxOpen {
			return types.Refuse(types.OverQuota, "gateway: %d orders of this payer wait, %d in all", each, len(b.open))
		}
	}
	if err := b.put(key, &ordered{Raw: raw}); err != nil {
		return err
	}
	if before == nil {
		b.known[key.Payer]++
		b.total++
	}
	b.add(s, raw, 0)
	return nil
}

// ack takes a verifier's answer in. The one that makes it enough says in which epoch's batch an order is, so
// one that names an epoch which is not there yet is as good as none: nobody would look for the order again.
func (b *book) ack(a *bus.Ack, verifier types.Key) error {
	now := b.market.Notice()
	if a.Epoch == 0 || a.Epoch > max(now.Epoch, now.Tallied)+1 { // they may see the next epoch's first block before this gateway does
		return types.Refuse(types.WrongEpoch, "gateway: ack of %v for epoch %d, in epoch %d", verifier, a.Epoch, now.Epoch)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	kept, refused, err := b.waiting.Acked(a, verifier, b.market.agent.Pin().Set)
	errs := []error{err}
	var gone []agent.Refused[tally.SessionKey]
	for _, r := range refused {
		if r.Reason == types.StaleSeq { // so it may have counted, and only the acks were lost: the tally will say
			kept = append(kept, r.Item)
		} else {
			gone = append(gone, r)
		}
	}
	for _, i := range kept {
		if o := b.open[i.Own]; o != nil && o.item == i {
			o.kept = a.Epoch
			errs = append(errs, b.note(o, func(rec *ordered) { rec.Kept = a.Epoch }))
		}
	}
	for _, r := range gone {
		if o := b.open[r.Own]; o != nil && o.item == r.Item {
			errs = append(errs, b.giveUp(o, r.Reason))
		}
	}
	return errors.Join(errs...)
}

// giveUp notes why an order does not count. mu is held.
func (b *book) giveUp(o *order, reason types.Reason) error {
	b.drop(o)
	b.market.log.Info("gateway: an order does not count", "payer", o.item.Own.Payer, "session", o.item.Own.ID, "seq", o.seq, "reason", reason)
	return b.note(o, func(rec *ordered) { rec.Refused = reason })
}

// kept lists the orders that are in a batch of an epoch up to e.
func (b *book) kept(e types.Epoch) (list []order) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.open {
		if o.kept != 0 && o.kept <= e {
			list = append(list, *o)
		}
	}
	slices.SortFunc(list, func(a, b order) int { return slices.Compare(a.item.Hash[:], b.item.Hash[:]) })
	return list
}

// follow watches over what is kept, with each notice, until ctx ends.
func (b *book) follow(ctx context.Context) {
	var epoch types.Epoch
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.news:
		}
		if now := b.market.Notice().Epoch; now != epoch {
			if err := b.expire(now); err != nil {
				b.market.log.Error("gateway: orders", "err", err)
			}
			epoch = now
		}
		tip, err := b.market.tip(ctx)
		if err == nil && tip != nil {
			err = b.settle(ctx, tip)
		}
		if err != nil && ctx.Err() == nil {
			b.market.log.Debug("gateway: what became of orders is not to be had", "err", err) // the next notice tries again
		}
	}
}

// settle looks for kept orders in the newest tally, and notes what became of them. One that it neither counted
// nor refused is handed in again: the header that had it was voided.
func (b *book) settle(ctx context.Context, tip *tally.Header) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(settleWorkers)
	for _, o := range b.kept(tip.Epoch) {
		group.Go(func() error { return b.settleOne(ctx, tip, &o) })
	}
	return group.Wait()
}

func (b *book) settleOne(ctx context.Context, tip *tally.Header, kept *order) error {
	counted, err := b.market.quorum().Order(ctx, tip, kept.item.Own)
	if err != nil {
		return err
	}
	done := counted != nil && counted.Seq >= kept.seq
	var reason types.Reason
	if !done {
		if reason, err = b.market.refusal(ctx, tip, kept); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.open[kept.item.Own]
	switch {
	case o == nil || o.item != kept.item: // a later one took its place
		return nil
	case done:
		b.drop(o)
		return b.note(o, func(rec *ordered) { rec.Counted = true })
	case reason != "":
		return b.giveUp(o, reason)
	}
	o.kept = 0
	b.waiting.Add(o.item)
	return b.note(o, func(rec *ordered) { rec.Kept = 0 })
}

// expire gives up what can no longer count in epoch e, and forgets sessions that ended two epochs before.
func (b *book) expire(e types.Epoch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, i := range b.waiting.Expire(e) {
		if o := b.open[i.Own]; o != nil && o.item == i {
			errs = append(errs, b.giveUp(o, types.SessionExpired))
		}
	}
	err := b.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(orderedBucket)
		var gone [][]byte
		err := bucket.ForEach(func(k, _ []byte) error {
			if types.SessionID(k[len(types.Key{}):]).Expiry()+2 < e {
				gone = append(gone, slices.Clone(k))
			}
			return nil
		})
		for _, k := range gone {
			payer, id := types.Key(k[:len(types.Key{})]), types.SessionID(k[len(types.Key{}):])
			b.drop(b.open[tally.SessionKey{Payer: payer, ID: id}])
			if b.known[payer]--; b.known[payer] == 0 {
				delete(b.known, payer)
			}
			b.total--
			err = errors.Join(err, bucket.Delete(k))
		}
		return err
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("gateway: forget orders: %w", err))
	}
	return errors.Join(errs...)
}

// Order implements role.Market.
func (m *categoryMarket) Order(ctx context.Context, signed *receipt.SignedOrder) error {
	n := m.Notice()
	if n.Epoch == 0 {
		return types.Refuse(types.BusUnavailable, "gateway: no block was seen yet")
	}
	if err := role.CheckOrder(signed, m.chain, m.Region(), m.category, n.Epoch); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	w, err := m.store.byPayer(signed.Order.Payer)
	if err != nil {
		return err
	}
	if _, err := m.opened(ctx, w); err != nil {
		return err
	}
	return m.book.take(signed, n.MinOpening)
}

// OrderState implements role.Market.
func (m *categoryMarket) OrderState(ctx context.Context, session tally.SessionKey) (role.OrderState, error) {
	var out role.OrderState
	tip, err := m.tip(ctx)
	if err != nil {
		return out, err
	}
	if tip != nil {
		out.Tallied = tip.Epoch
		state, err := m.quorum().Order(ctx, tip, session)
		if err != nil {
			return out, err
		}
		if state != nil {
			out.Of(state)
		}
	}
	rec, err := m.book.record(session)
	if err != nil || rec == nil {
		return out, err
	}
	mine, err := receipt.DecodeOrder(rec.Raw, m.chain)
	if err != nil {
		return out, fmt.Errorf("gateway: order of session %v: %w", session.ID, err)
	}
	switch {
	case out.Counted(mine.Order.Seq):
	case rec.Counted && !out.Known: // it ended without having bought anything, and the tally forgot it
		out.Known, out.Seq, out.Ended = true, mine.Order.Seq, true
	case rec.Counted:
	case rec.Refused != "":
		out.Refused = rec.Refused
	default:
		out.Waiting = mine.Order.Seq
	}
	return out, nil
}
