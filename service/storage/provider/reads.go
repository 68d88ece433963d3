package provider

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
)

// Bounds of egress sessions. Beyond them a new one is refused with storage.full until an old one has expired.
const (
	maxReads        = 1 << 16
	maxReadsAccount = 64
)

// readKey names an egress session.
type readKey struct {
	payer types.Key
	id    types.SessionID
}

func (k readKey) bytes() []byte { return append(k.payer[:len(k.payer):len(k.payer)], k.id[:]...) }

// reader is an account that reads.
type reader struct {
	trust    trust
	busy     uint64 // bytes that are being served
	sessions []*reading
}

// reads is what is served, and what was signed for it.
type reads struct {
	flushing sync.Mutex // one flush at a time; taken before mu

	mu       sync.Mutex // guards what follows
	sessions map[readKey]*reading
	readers  map[types.Account]*reader
	changed  map[readKey]bool
	asks     map[types.Hash]receipt.Ask // the device's own, of both classes
}

func (r *reads) init() {
	r.sessions, r.readers = map[readKey]*reading{}, map[types.Account]*reader{}
	r.changed, r.asks = map[readKey]bool{}, map[types.Hash]receipt.Ask{}
}

func (r *reads) load(tx *bbolt.Tx) error {
	return errors.Join(
		all(tx, trustBucket, nil, func(k []byte, t *trust) error {
			r.readers[types.Account(k)] = &reader{trust: *t}
			return nil
		}),
		all(tx, readBucket, nil, func(_ []byte, s *reading) error {
			r.sessions[readKey{s.Payer, s.ID}] = s
			a := r.reader(s.Account, 0)
			a.sessions = append(a.sessions, s)
			return nil
		}),
		all(tx, askBucket, nil, func(k []byte, s *receipt.SignedAsk) error {
			r.asks[types.Hash(k)] = s.Ask
			return nil
		}),
	)
}

func (r *reads) addAsk(hash types.Hash, ask receipt.Ask) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks[hash] = ask
}

// reader returns an account's line. mu is held.
func (r *reads) reader(account types.Account, limit uint64) *reader {
	a := r.readers[account]
	if a == nil {
		a = &reader{trust: trust{Limit: limit, Next: limit}}
		r.readers[account] = a
	}
	return a
}

// open returns a payer's egress session. mu is held.
func (r *reads) open(key readKey, payer *role.Payer, limit uint64, now types.Epoch) (*reading, *reader, error) {
	a := r.reader(payer.Account, limit)
	if s := r.sessions[key]; s != nil {
		return s, a, nil
	}
	switch {
	case key.id.Expiry() < now:
		return nil, nil, types.Refuse(types.SessionExpired, "storage: session %s in epoch %d", key.id, now)
	case key.id.Expiry() > now+receipt.MaxExpiry:
		return nil, nil, types.Refuse(types.WrongEpoch, "storage: session %s expires more than %d epochs ahead", key.id, receipt.MaxExpiry)
	case len(r.sessions) >= maxReads || len(a.sessions) >= maxReadsAccount:
		return nil, nil, types.Refuse(storage.Full, "storage: %d sessions read, %d of this account", len(r.sessions), len(a.sessions))
	}
	s := &reading{ID: key.id, Payer: key.payer, Account: payer.Account}
	r.sessions[key] = s
	a.sessions = append(a.sessions, s)
	return s, a, nil
}

// unsettled is the amount that an account has signed and the tally has not counted yet.
func (a *reader) unsettled(tallied types.Epoch) (sum types.Credit) {
	for _, s := range a.sessions {
		if s.Newest == nil {
			continue
		}
		sum += s.Newest.Receipt.Amount
		if tallied >= s.Paid.Epoch {
			sum -= s.Paid.Amount
		}
	}
	return sum
}

// admit lets a payer read n bytes, or refuses with unpaid. done must follow.
func (d *device) admit(key readKey, payer *role.Payer, n uint64) error {
	v := d.news.Load()
	r := &d.reads
	r.mu.Lock()
	defer r.mu.Unlock()
	_, a, err := r.open(key, payer, d.cfg.Unpaid, v.Epoch)
	if err != nil {
		return err
	}
	if owed := a.trust.Served + a.busy - min(a.trust.Signed, a.trust.Served+a.busy); owed+n > a.trust.Limit {
		return types.Refuse(storage.Unpaid, "storage: %d bytes were served and not signed for, at most %d may be", owed, a.trust.Limit)
	}
	if due := a.unsettled(v.Tallied); due > 0 && due > min(payer.Balance, payer.Limit-min(payer.Spent, payer.Limit)) {
		return types.Refuse(storage.Unpaid, "storage: %d micro-credits are signed for, the account has %d", due, payer.Balance)
	}
	a.busy += n
	return nil
}

// done ends what admit began: of n bytes, served ones went out.
func (d *device) done(key readKey, account types.Account, n, served uint64) {
	r := &d.reads
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.readers[account]
	a.busy -= n
	a.trust.Served += served
	if s := r.sessions[key]; s != nil {
		s.Served += served
		r.changed[key] = true
	}
}

// take takes a receipt on for what was read. One that says no more than another before it is thrown away:
// receipts overtake each other.
func (d *device) take(signed *receipt.Signed, payer *role.Payer) error {
	v, rc := d.news.Load(), &signed.Receipt
	r := &d.reads
	r.mu.Lock()
	ask, ok := r.asks[rc.Terms]
	r.mu.Unlock()
	switch {
	case !ok || ask.Class != storage.Egress:
		return types.Refuse(types.UnknownAsk, "storage: receipt of session %s: no ask of this device for reading", rc.Session)
	case rc.Category != types.Storage || rc.Device != d.key:
		return types.Refuse(types.SessionMismatch, "storage: receipt for %v", rc.Device)
	case d.session(rc.Session) != nil:
		return types.Refuse(types.SessionMismatch, "storage: session %s holds", rc.Session)
	case rc.First > min(v.Epoch, ask.Until):
		return types.Refuse(types.WrongEpoch, "storage: receipt of session %s: it begins in epoch %d, the ask ends with %d", rc.Session, rc.First, ask.Until)
	}
	amount, err := storage.Amount(rc.Units, ask.Price)
	if err != nil {
		return err
	}
	if amount != rc.Amount {
		return types.Refuse(storage.PriceMismatch, "storage: %s bytes cost %d micro-credits, the receipt says %d", rc.Units, amount, rc.Amount)
	}
	if !signed.VerifyPayer() {
		return types.Refuse(types.BadSignature, "storage: receipt of session %s", rc.Session)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := readKey{rc.Payer, rc.Session}
	s, a, err := r.open(key, payer, d.cfg.Unpaid, v.Epoch)
	if err != nil {
		return err
	}
	before := types.U128{}
	if old := s.Newest; old != nil {
		before = old.Receipt.Units
		switch {
		case old.Receipt.Terms != rc.Terms:
			return types.Refuse(types.SessionMismatch, "storage: session %s has another ask", rc.Session)
		case rc.Units.Cmp(before) <= 0:
			return nil
		case rc.Seq <= old.Receipt.Seq || rc.Amount < old.Receipt.Amount:
			return types.Refuse(types.FallingTotals, "storage: receipt %d of session %s after %d", rc.Seq, rc.Session, old.Receipt.Seq)
		}
	}
	if due := a.unsettled(v.Tallied) + rc.Amount - min(rc.Amount, amountOf(s.Newest)); due > min(payer.Balance, payer.Limit-min(payer.Spent, payer.Limit)) {
		return types.Refuse(types.OverBudget, "storage: %d micro-credits are signed for, the account has %d", due, payer.Balance)
	}
	more, _ := rc.Units.Sub(before)
	s.Newest = signed
	r.changed[key] = true
	a.earn(more)
	return nil
}

// newest returns the newest receipt of a session, or nil.
func (r *reads) newest(key readKey) *receipt.Signed {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sessions[key]; s != nil {
		return s.Newest
	}
	return nil
}

// forgive lets each account off a shard that was served and not signed for. Customers sign for what arrived:
// without this, connections that broke would add up until nothing could be read any more.
func (r *reads) forgive() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.readers {
		t := &a.trust
		off := min(t.Served-min(t.Served, t.Signed), storage.MaxShard)
		if off == 0 {
			continue
		}
		t.Served -= off
		for _, s := range a.sessions {
			r.changed[readKey{s.Payer, s.ID}] = true
		}
	}
}

func amountOf(s *receipt.Signed) types.Credit {
	if s == nil {
		return 0
	}
	return s.Receipt.Amount
}

// earn counts bytes that an account signed for: with each limit paid, twice as much may be owed.
func (a *reader) earn(units types.U128) {
	more, ok := units.Uint64()
	t := &a.trust
	if !ok || t.Signed+more < more {
		more = ^t.Signed // far more than can be served
	}
	t.Signed += more
	for t.Limit < maxTrust && t.Signed >= t.Next {
		t.Limit = min(2*t.Limit, maxTrust)
		t.Next += t.Limit
	}
}

// flush writes down what changed. Nobody waits for the disk meanwhile but other flushes.
func (r *reads) flush(b *books) error {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	type line struct {
		key           readKey
		account       types.Account
		session, sums []byte
	}
	var lines []line
	r.mu.Lock()
	for key := range r.changed {
		if s := r.sessions[key]; s != nil {
			lines = append(lines, line{key, s.Account, types.Encode(s), types.Encode(&r.readers[s.Account].trust)})
		}
	}
	clear(r.changed)
	r.mu.Unlock()
	if len(lines) == 0 {
		return nil
	}
	err := b.update(func(tx *bbolt.Tx) error {
		for _, l := range lines {
			if err := errors.Join(tx.Bucket(readBucket).Put(l.key.bytes(), l.session), tx.Bucket(trustBucket).Put(l.account[:], l.sums)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil { // once more, next time
		r.mu.Lock()
		for _, l := range lines {
			r.changed[l.key] = true
		}
		r.mu.Unlock()
	}
	return err
}

// collectReads hands in the newest receipt of each egress session, once an epoch, late in it.
func (d *device) collectReads(ctx context.Context, v *news) error {
	if d.agenda.read || !d.agenda.late(v) {
		return nil
	}
	d.agenda.read = true
	var errs []error
	for _, s := range d.reads.due(v) {
		signed := *s.Newest
		if err := d.host.SubmitReceipt(ctx, &signed); err != nil {
			errs = append(errs, err)
			continue
		}
		d.reads.handed(readKey{s.Payer, s.ID}, &signed.Receipt, v.Epoch)
	}
	d.reads.forgive()
	errs = append(errs, d.reads.expire(d.books, v.Epoch))
	return errors.Join(append(errs, d.reads.flush(d.books))...)
}

// due returns copies of the sessions with something to hand in, most valuable first.
func (r *reads) due(v *news) (list []reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sessions {
		if amount := amountOf(s.Newest); amount > s.Paid.Amount && amount >= v.MinOpening {
			list = append(list, *s)
		}
	}
	slices.SortFunc(list, func(a, b reading) int {
		return cmp.Or(cmp.Compare(amountOf(b.Newest)-b.Paid.Amount, amountOf(a.Newest)-a.Paid.Amount), cmp.Compare(string(a.ID[:]), string(b.ID[:])))
	})
	return list[:min(len(list), allReads)]
}

// handed notes a receipt as handed in.
func (r *reads) handed(key readKey, rc *receipt.Receipt, epoch types.Epoch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sessions[key]; s != nil {
		s.Paid = paid{Units: rc.Units, Amount: rc.Amount, Seq: rc.Seq, Epoch: epoch}
		r.changed[key] = true
	}
}

// expire forgets sessions that can no longer be paid, and asks under which nothing can be.
func (r *reads) expire(b *books, now types.Epoch) error {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone [][]byte
	for key, s := range r.sessions {
		if key.id.Expiry()+grace < now {
			gone = append(gone, key.bytes())
			delete(r.sessions, key)
			delete(r.changed, key)
			a := r.readers[s.Account]
			a.sessions = slices.DeleteFunc(a.sessions, func(o *reading) bool { return o == s })
		}
	}
	var lapsed []types.Hash
	for hash, ask := range r.asks {
		if ask.Until+receipt.MaxExpiry+storage.Linger < now {
			lapsed = append(lapsed, hash)
			delete(r.asks, hash)
		}
	}
	if len(gone)+len(lapsed) == 0 {
		return nil
	}
	return b.update(func(tx *bbolt.Tx) error {
		var err error
		for _, key := range gone {
			err = errors.Join(err, tx.Bucket(readBucket).Delete(key))
		}
		for _, hash := range lapsed {
			err = errors.Join(err, tx.Bucket(askBucket).Delete(hash[:]))
		}
		return err
	})
}
