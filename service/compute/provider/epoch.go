package provider

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// turn is what follow remembers.
type turn struct {
	epoch   types.Epoch
	offered bool                        // the epoch's offer was handed in
	paid    bool                        // so was what there was to be paid
	results int                         // handed in, in this epoch
	until   map[types.Class]types.Epoch // of the asks
}

// follow lives through the epochs.
func (d *device) follow(ctx context.Context, begin func()) error {
	notices := d.host.Notices(ctx)
	d.turn.until = map[types.Class]types.Epoch{}
	for {
		select {
		case <-d.remodel:
			if d.now() > 0 {
				delete(d.turn.until, compute.Model)
				d.live(ctx)
			}
		case <-ctx.Done():
			return nil
		case n, ok := <-notices:
			if !ok {
				<-ctx.Done()
				return nil
			}
			d.mu.Lock()
			fresh := d.now() != n.Epoch
			d.view.Store(&n)
			if fresh {
				for _, a := range d.accounts {
					a.free, a.paid = 0, 0
					a.trust.Debt = less(a.trust.Debt, firstTrust) // a second of one slot is forgiven
				}
			}
			d.wake()
			d.mu.Unlock()
			begin()
			d.live(ctx)
		}
	}
}

// live does what a notice calls for. Each part reports its own errors: none keeps the others from being done.
func (d *device) live(ctx context.Context) {
	report := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			d.log.Warn("compute: "+what, "epoch", d.turn.epoch, "err", err)
		}
	}
	t := &d.turn
	fresh := t.epoch != d.now()
	if fresh {
		*t = turn{epoch: d.now(), until: t.until, paid: d.books.epoch(paidKey) == d.now(), offered: d.books.epoch(offeredKey) == d.now()}
	}
	report("offer", d.offer(ctx))
	d.learnPanel(ctx)
	report("hand in", d.collect(ctx))
	if fresh {
		report("forget what is over", d.expire())
	}
}

// offer publishes asks that are new or lapse soon, and hands in how many slots are free.
func (d *device) offer(ctx context.Context) error {
	t := &d.turn
	var errs []error
	for class, e := range d.executors {
		if t.until[class] >= t.epoch+askRefresh {
			continue
		}
		terms := compute.Terms{Profiles: e.Profiles()}
		if o, ok := e.(outward); ok {
			terms.Egress = o.Egress()
		}
		if len(terms.Profiles) == 0 {
			continue // what is published already is withdrawn by what is free of it: nothing (tell)
		}
		until := t.epoch + askEpochs
		_, err := d.host.Offer(ctx, receipt.Ask{
			Chain: d.chain, Device: d.key, Category: types.Compute, Class: class, Price: d.cfg.Prices[class], Capacity: d.capacity(class), Terms: terms.Encode(), Until: until,
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("compute: offer class %d: %w", class, err))
			continue
		}
		t.until[class] = until
	}
	d.mu.Lock()
	free := d.cfg.Slots - min(d.slots, d.cfg.Slots)
	if d.provider.draining.Load() || len(d.executors) == 0 {
		free = 0
	}
	d.tell()
	d.mu.Unlock()
	if !t.offered {
		err := d.host.Submit(ctx, compute.KindOffer, (&compute.Offer{Free: uint16(min(free, 1<<16-1))}).Encode())
		if err == nil {
			d.checks.mu.Lock()
			d.checks.offered = free
			d.checks.mu.Unlock()
			err = d.books.setEpoch(offeredKey, t.epoch)
			t.offered = true
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tell says how much is free. d.mu is held.
func (d *device) tell() {
	free := d.cfg.Slots - min(d.slots-d.resting, d.cfg.Slots)
	for class, e := range d.executors {
		none := len(e.Profiles()) == 0
		if none {
			d.host.Beat(class, types.U128{}, true)
			continue
		}
		d.host.Beat(class, types.Mul64(uint64(free), compute.Slot(class)), d.provider.draining.Load())
	}
}

var (
	paidKey    = []byte("paid")    // the newest epoch in which receipts were handed in
	offeredKey = []byte("offered") // and an offer
)

func (b *books) epoch(key []byte) (e types.Epoch) {
	_ = b.db.View(func(tx *bbolt.Tx) error { // fails only when it is closed
		if v := tx.Bucket(metaBucket).Get(key); len(v) == 8 {
			e = types.Epoch(binary.BigEndian.Uint64(v))
		}
		return nil
	})
	return e
}

func (b *books) setEpoch(key []byte, e types.Epoch) error {
	return b.write(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(key, binary.BigEndian.AppendUint64(nil, uint64(e)))
	})
}

// claim is what one session hands in.
type claim struct {
	s       *session
	signed  *receipt.Signed
	units   uint64
	base    uint64 // what tallies are taken to have
	results []*compute.Results
	trees   []committed  // of the results
	orders  []types.Hash // of the leaves
}

// collect hands in, once an epoch, the receipts that are worth something, after the leaves that they need. The
// next epoch does so again for those of this one: a receipt that a tally did not count, whatever became of it,
// counts then.
func (d *device) collect(ctx context.Context) error {
	t := &d.turn
	if t.paid {
		return nil
	}
	var errs []error
	claims := d.claims()
	for _, c := range claims {
		if len(c.results) == 0 && c.s.class == compute.Wasm { // receipts of other classes need no results
			if err := d.commit(c); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if t.results+len(c.results) > maxResults {
			errs = append(errs, types.Refuse(types.OverQuota, "compute: %d results in one epoch; session %s waits for the next", t.results, c.s.key.id))
			continue
		}
		if err := d.handIn(ctx, c); err != nil {
			return errors.Join(append(errs, err)...) // tried again with the next notice
		}
		t.results += len(c.results)
	}
	err := d.books.setEpoch(paidKey, t.epoch)
	t.paid = err == nil
	return errors.Join(append(errs, err)...)
}

// claims lists what there is to hand in, the most valuable first.
func (d *device) claims() []*claim {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*claim
	for _, s := range d.sessions {
		if len(s.Whole) == 0 || s.key.id.Expiry()+1 < d.now() {
			continue
		}
		signed, err := receipt.Decode(s.Whole, d.chain)
		if err != nil {
			d.log.Error("compute: a receipt of the journal", "session", s.key.id, "err", err)
			continue
		}
		c := &claim{s: s, signed: signed}
		c.units, _ = signed.Receipt.Units.Uint64() // it is at most what the leaves cost
		base, known := s.base(d.tallied())
		c.base = base
		if signed.Receipt.Amount < max(d.least(), 1) || known && c.units <= base || s.handedIn(d.now()) {
			continue
		}
		list = append(list, c)
	}
	value := func(c *claim) types.Credit {
		return c.signed.Receipt.Amount - min(c.signed.Receipt.Amount, d.counted(c.s))
	}
	slices.SortFunc(list, func(a, b *claim) int {
		return cmp.Or(cmp.Compare(value(b), value(a)), slices.Compare(a.s.key.bytes(), b.s.key.bytes()))
	})
	return list[:min(len(list), maxReceipts)]
}

// base returns how many units of a session tallies have, as far as they can be taken to: those of a receipt
// that was handed in in two epochs that have a tally, or one that has been final since.
func (s *session) base(tallied types.Epoch) (units uint64, known bool) {
	for _, h := range s.Handed {
		if h.Epoch < tallied {
			units, known = max(units, h.Units), true
		}
	}
	return units, known
}

func (s *session) handedIn(epoch types.Epoch) bool {
	return slices.ContainsFunc(s.Handed, func(h handed) bool { return h.Epoch == epoch })
}

// commit makes the results that cover a claim: of the leaves from what tallies have on.
func (d *device) commit(c *claim) error {
	var leaves []compute.Leaf
	before, from := uint64(0), len(c.orders)
	flush := func() error {
		if len(leaves) == 0 {
			return nil
		}
		tree, err := compute.NewTree(leaves)
		if err != nil {
			return err
		}
		c.results = append(c.results, tree.Results(before))
		c.trees = append(c.trees, committed{Leaves: leaves, Orders: c.orders[from:]})
		leaves, from = nil, len(c.orders)
		return nil
	}
	prefix := c.s.key.bytes()
	return d.books.db.View(func(tx *bbolt.Tx) error {
		err := all(tx, leafBucket, prefix, prefix, func(_ []byte, st *stub) (bool, error) {
			leaf := st.Signed.Leaf
			if st.Before+leaf.Fuel <= c.base {
				return true, nil
			}
			if st.Before >= c.units {
				return false, nil
			}
			if len(leaves) == 0 {
				before = st.Before
			}
			leaves = append(leaves, leaf)
			c.orders = append(c.orders, st.Order)
			if len(leaves) == compute.MaxLeaves {
				return true, flush()
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		return flush()
	})
}

// handIn hands a claim in. It is noted before: a crash between the two costs an epoch, the other way round a refusal.
func (d *device) handIn(ctx context.Context, c *claim) error {
	s, epoch := c.s, d.turn.epoch
	s.io.Lock()
	defer s.io.Unlock()
	d.mu.Lock()
	next, before := s.tab, s.tab
	next.Handed = slices.Clone(s.Handed)
	base, _ := s.base(d.tallied())
	next.Handed = slices.DeleteFunc(next.Handed, func(h handed) bool { return h.Units < base && h.Epoch < d.view.Load().Final })
	next.Handed = append(next.Handed, handed{Epoch: epoch, Units: c.units, Amount: c.signed.Receipt.Amount})
	line := s.account.trust
	line.Lost = 0
	d.mu.Unlock()
	write := func(t *tab) error {
		return d.books.write(func(tx *bbolt.Tx) error {
			for _, order := range c.orders {
				if err := touch(tx, order, epoch); err != nil {
					return err
				}
			}
			if err := keepTrees(tx, c, epoch); err != nil {
				return err
			}
			if err := put(tx, trustBucket, s.account.id[:], &line); err != nil {
				return err
			}
			return put(tx, sessionBucket, s.key.bytes(), t)
		})
	}
	if err := write(&next); err != nil {
		return err
	}
	d.mu.Lock()
	s.tab = next
	s.account.trust.Lost = 0
	for _, order := range c.orders {
		if j := d.jobs[order]; j != nil {
			j.record.At = epoch
		}
	}
	d.mu.Unlock()
	d.cfg.at("noted")
	err := d.host.KeepAsk(ctx, s.ask)
	for _, r := range c.results {
		if err == nil {
			err = d.host.Submit(ctx, compute.KindResults, r.Encode())
		}
	}
	if err == nil {
		err = d.host.SubmitReceipt(ctx, c.signed)
	}
	if err == nil {
		return nil
	}
	next.Handed = before.Handed
	d.mu.Lock()
	s.Handed = before.Handed
	d.mu.Unlock()
	return errors.Join(fmt.Errorf("compute: session %s: %w", s.key.id, err), write(&next))
}

// touch notes that a job's leaf was committed to.
func touch(tx *bbolt.Tx, order types.Hash, epoch types.Epoch) error {
	r, err := decode[record](tx.Bucket(jobBucket).Get(order[:]))
	if err != nil || r == nil {
		return err
	}
	r.At = epoch
	return put(tx, jobBucket, order[:], r)
}

// expire forgets jobs that nobody can audit or waits for any more, leaves that are paid for good, and sessions
// that have ended.
func (d *device) expire() error {
	d.mu.Lock()
	epoch, audited := d.now(), d.audited()
	var jobs []*job
	for _, j := range d.jobs {
		if j.over() && (j.record.At+giveUp < epoch || j.record.Kept && j.record.At < audited) {
			jobs = append(jobs, j)
		}
	}
	var sessions []*session
	for _, s := range d.sessions {
		sessions = append(sessions, s)
	}
	d.mu.Unlock()
	errs := []error{d.books.forgetTrees(audited), d.forgetGone(epoch)}
	for _, j := range jobs {
		if !d.awaited(j) {
			errs = append(errs, d.forget(j))
		}
	}
	for _, s := range sessions {
		errs = append(errs, d.prune(s, false))
	}
	return errors.Join(append(errs, d.forgetAccounts())...)
}

// forgetGone forgets sessions that were dropped and have expired since: nobody can begin them any more.
func (d *device) forgetGone(now types.Epoch) error {
	d.mu.Lock()
	var old []types.SessionID
	for id := range d.gone {
		if id.Expiry() <= now {
			old = append(old, id)
		}
	}
	d.mu.Unlock()
	if len(old) == 0 {
		return nil
	}
	err := d.books.write(func(tx *bbolt.Tx) error {
		for _, id := range old {
			if err := tx.Bucket(goneBucket).Delete(id[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range old {
		delete(d.gone, id)
	}
	return nil
}

// over reports whether the job has ended. d.mu is held.
func (j *job) over() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// past reports whether nothing of a session can be handed in any more, or nothing will. d.mu is held.
func (d *device) past(s *session) bool {
	return s.key.id.Expiry()+2 < d.now() || !s.opened(d.least()) && d.idle(s)
}

// prune removes a session's leaves that are paid for good, and the session if it has ended, is to be dropped,
// or was left for a day without having reached the least opening.
func (d *device) prune(s *session, dropped bool) error {
	s.io.Lock()
	defer s.io.Unlock()
	d.mu.Lock()
	over := d.past(s) || dropped && !s.opened(d.least())
	gone := over && s.live == nil && s.jobs == 0 && s.written && d.sessions[s.key] == s
	early := s.key.id.Expiry() > d.now()
	gone = gone && (!early || len(d.gone) < maxGone)
	done, _ := s.base(min(d.view.Load().Final, d.tallied()))
	next, a := s.tab, s.account
	line := a.trust
	if gone && !s.opened(d.least()) {
		line.Lost += s.worth()
	}
	d.mu.Unlock()
	prefix := s.key.bytes()
	if gone {
		err := d.books.write(func(tx *bbolt.Tx) error {
			if err := wipe(tx, leafBucket, prefix); err != nil {
				return err
			}
			if err := put(tx, trustBucket, a.id[:], &line); err != nil {
				return err
			}
			if early {
				if err := tx.Bucket(goneBucket).Put(s.key.id[:], []byte{}); err != nil {
					return err
				}
			}
			return tx.Bucket(sessionBucket).Delete(prefix)
		})
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.sessions, s.key)
		delete(d.ids, s.key.id)
		if early {
			d.gone[s.key.id] = true
		}
		delete(a.sessions, s)
		a.trust = line
		return nil
	}
	if done == 0 {
		return nil
	}
	var last uint64
	n := 0
	err := d.books.db.View(func(tx *bbolt.Tx) error {
		return all(tx, leafBucket, prefix, s.key.leaf(next.Pruned), func(_ []byte, st *stub) (bool, error) {
			if st.Before+st.Signed.Leaf.Fuel > done || n == 4096 {
				return false, nil
			}
			last = st.Signed.Leaf.Index
			n++
			return true, nil
		})
	})
	if err != nil || n == 0 {
		return err
	}
	next.Pruned = last + 1
	err = d.books.write(func(tx *bbolt.Tx) error {
		c := tx.Bucket(leafBucket).Cursor()
		end := s.key.leaf(next.Pruned)
		for k, _ := c.Seek(prefix); k != nil && slices.Compare(k, end) < 0; k, _ = c.Seek(prefix) {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return put(tx, sessionBucket, prefix, &next)
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s.tab = next
	return nil
}

// forgetAccounts forgets accounts about which nothing has to be remembered, and beyond maxAccounts those not
// seen for longest.
func (d *device) forgetAccounts() error {
	d.mu.Lock()
	var idle []*account
	for _, a := range d.accounts {
		if len(a.sessions) == 0 && a.jobs == 0 {
			idle = append(idle, a)
		}
	}
	slices.SortFunc(idle, func(a, b *account) int { return cmp.Compare(a.trust.Seen, b.trust.Seen) })
	over := max(0, len(d.accounts)-maxAccounts)
	var gone []*account
	for i, a := range idle {
		if i < over || a.trust.Window <= firstTrust && a.trust.Lost == 0 && a.trust.Debt == 0 {
			gone = append(gone, a)
			delete(d.accounts, a.id)
		}
	}
	d.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	return d.books.write(func(tx *bbolt.Tx) error {
		for _, a := range gone {
			if err := tx.Bucket(trustBucket).Delete(a.id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}
