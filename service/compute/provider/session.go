package provider

import (
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// session is one of a payer's sessions here. One job uses it at a time, so that leaves end in the order of
// their numbers.
type session struct {
	key     sessionKey
	account *account
	ask     *receipt.SignedAsk
	class   types.Class
	io      sync.Mutex // held by who writes tab to the disk; taken before device.mu

	// Guarded by device.mu. tab changes only by who holds io, too.
	tab
	live    *job      // nil if none runs
	jobs    int       // that are kept
	last    time.Time // when an order came; later than any deadline of before a restart
	newest  *receipt.Signed
	written bool // it is in the journal
}

// account is a payer's account, over all of its sessions here. Guarded by device.mu.
type account struct {
	id       types.Account
	trust    trust
	sessions map[*session]bool
	jobs     int           // that are kept
	open     int           // of these, whose end the gateway does not have
	free     time.Duration // what it had for nothing in this epoch
	paid     time.Duration // what it paid for in this epoch
}

// cost returns what units of a class cost at a price, with what was there before them.
func cost(before types.U128, units, price uint64, class types.Class) types.Credit {
	sum, err := before.Add(types.Mul64(units, price))
	if err != nil {
		return 1<<64 - 1
	}
	full, err := sum.MulDiv(1, compute.Scale(class))
	amount, fits := full.Uint64()
	if err != nil || !fits {
		return 1<<64 - 1
	}
	return types.Credit(amount)
}

// inTime turns units of a class into nanoseconds of one slot.
func inTime(units uint64, class types.Class) uint64 {
	t, err := types.U64(units).MulDiv(uint64(time.Second), compute.Second(class))
	n, fits := t.Uint64()
	if err != nil || !fits {
		return 1<<64 - 1
	}
	return n
}

// inUnits turns nanoseconds of one slot into units of a class.
func inUnits(t uint64, class types.Class) uint64 {
	u, err := types.U64(t).MulDiv(compute.Second(class), uint64(time.Second))
	n, fits := u.Uint64()
	if err != nil || !fits {
		return 1<<64 - 1
	}
	return n
}

func less(a, b uint64) uint64 { return a - min(a, b) }

// used is what the session's jobs have used so far.
func (s *session) used() uint64 {
	if s.live == nil {
		return s.Ended
	}
	return s.Ended + s.live.used.Load()
}

// price is that of the job that runs, or ran last.
func (s *session) price() uint64 {
	if s.live != nil {
		return s.live.order.Price
	}
	return s.Price
}

// worth is what that costs.
func (s *session) worth() types.Credit { return cost(s.Cost, s.used()-s.Ended, s.price(), s.class) }

// amount is what the newest receipt says.
func (s *session) amount() types.Credit {
	if s.newest == nil {
		return 0
	}
	return s.newest.Receipt.Amount
}

// opened reports whether the session has reached the least that opens one.
func (s *session) opened(least types.Credit) bool { return s.amount() >= max(least, 1) }

// owes is what an account has not paid for yet, in nanoseconds of one slot.
func (a *account) owes() (t uint64) {
	t = a.trust.Debt
	for s := range a.sessions {
		t += inTime(less(s.used(), s.Covered), s.class)
	}
	return t
}

// grant lets the account's jobs run on as far as it may owe. Each gets an equal part; what one was given and
// has not used stays its. It is called whenever something was paid, or a job began or ended. device.mu is held.
func (a *account) grant() {
	given, owed, n := a.trust.Debt, a.trust.Debt, uint64(0)
	for s := range a.sessions {
		if s.live == nil {
			given += inTime(less(s.Ended, s.Covered), s.class)
			owed += inTime(less(s.Ended, s.Covered), s.class)
			continue
		}
		n++
		given += inTime(less(s.Ended+s.live.allowed, s.Covered), s.class)
	}
	if n == 0 {
		return
	}
	share := less(a.trust.Window, owed) / n
	for s := range a.sessions {
		j := s.live
		if j == nil {
			continue
		}
		// What is covered may end before this job begins: then it begins with a debt.
		debt := inTime(less(s.Ended, s.Covered), s.class)
		target := less(s.Covered, s.Ended) + inUnits(less(share, debt), s.class)
		more := min(less(target, j.allowed), inUnits(less(a.trust.Window, given), s.class))
		if more == 0 {
			continue
		}
		given += inTime(more, s.class)
		j.allow(j.allowed + more)
	}
}

// grow notes what an account paid, and widens what it may owe, by a third each time it has paid for as much. An
// eighth of what it pays makes good for jobs that ended before they were paid for. It reports whether trust
// changed in a way that is worth keeping.
func (a *account) grow(paid uint64) bool {
	a.paid += time.Duration(min(paid, uint64(time.Hour)))
	a.trust.Debt = less(a.trust.Debt, paid/8)
	if a.trust.Window >= mostTrust {
		return false
	}
	if a.trust.Since += paid; a.trust.Since < a.trust.Window {
		return false
	}
	a.trust.Since, a.trust.Window = 0, min(a.trust.Window/3*4, mostTrust)
	return true
}

// shrink is for an account that did not pay.
func (a *account) shrink() { a.trust.Window, a.trust.Since = firstTrust, 0 }

// receipt takes in a receipt of a job's session. It is on the disk before it counts.
func (d *device) receipt(j *job, raw []byte) error {
	signed, err := receipt.Decode(raw, d.chain)
	if err != nil {
		return err
	}
	s, r := j.session, &signed.Receipt
	switch {
	case r.Payer != s.key.payer || r.Session != s.key.id || r.Device != d.key || r.Category != types.Compute || r.Terms != s.ask.Ask.Hash():
		return types.Refuse(types.SessionMismatch, "compute: a receipt of session %s for %v", r.Session, r.Device)
	case r.First > d.now() || r.First > s.ask.Ask.Until:
		return types.Refuse(types.WrongEpoch, "compute: a receipt of a session that begins with epoch %d", r.First)
	case !signed.VerifyPayer():
		return types.Refuse(types.BadSignature, "compute: a receipt that %v did not sign", r.Payer)
	}
	units, fits := r.Units.Uint64()
	if bound, err := r.Units.MulDiv(s.ask.Ask.Price, compute.Scale(s.class)); err != nil || bound.Cmp(types.U64(uint64(r.Amount))) < 0 {
		return types.Refuse(types.OverPrice, "compute: a receipt of %d for %s units", r.Amount, r.Units)
	}
	payer, err := d.host.Payer(d.ctx, r.Payer) // known since the order, so it does not wait
	if err != nil && types.ReasonOf(err) != types.UnknownKey {
		return err
	}
	s.io.Lock()
	defer s.io.Unlock()
	d.mu.Lock()
	if old := s.newest; old != nil {
		o := &old.Receipt
		switch {
		case *r == *o:
			d.mu.Unlock()
			return nil
		case r.Amount < o.Amount || r.Units.Cmp(o.Units) < 0 || r.Seq <= o.Seq || r.First != o.First:
			d.mu.Unlock()
			return types.Refuse(types.FallingTotals, "compute: receipt %d of session %s, %s units for %d, after %d, %s for %d", r.Seq, r.Session, r.Units, r.Amount,
				o.Seq, o.Units, o.Amount)
		}
	}
	// One for more than was done could not be handed in before that is done, if ever.
	if used := s.used(); !fits || units > used {
		d.mu.Unlock()
		return types.Refuse(compute.NoResult, "compute: a receipt for %s units, the session has used %d", r.Units, used)
	}
	next := s.tab
	next.Receipt = signed.Encode()
	if units <= s.Ended || s.class == compute.Model { // a tally asks for no leaves of that one
		next.Whole = next.Receipt
	}
	next.Seen = d.now()
	if err == nil && d.backed(s, r.Amount, &payer) {
		next.Covered = max(s.Covered, s.covers(units, r.Amount))
	}
	paid := inTime(next.Covered-s.Covered, s.class)
	a := s.account
	grew := a.grow(paid)
	line := a.trust
	d.mu.Unlock()
	err = d.books.write(func(tx *bbolt.Tx) error {
		if grew {
			if err := put(tx, trustBucket, a.id[:], &line); err != nil {
				return err
			}
		}
		return put(tx, sessionBucket, s.key.bytes(), &next)
	})
	if err != nil {
		return err
	}
	d.cfg.at("paid")
	d.mu.Lock()
	defer d.mu.Unlock()
	s.tab, s.newest = next, signed
	a.grant()
	d.wake()
	return nil
}

// covers returns for how many units a receipt pays: those that it says, or fewer if its amount is less than
// they cost at the jobs' prices. device.mu is held.
func (s *session) covers(units uint64, amount types.Credit) uint64 {
	owed := types.Credit(0)
	if units >= s.Ended {
		owed = cost(s.Cost, units-s.Ended, s.price(), s.class)
	} else if before, err := s.Cost.Sub(types.Mul64(s.Ended-units, s.price())); err == nil {
		owed = cost(before, 0, 0, s.class)
	}
	if amount >= owed {
		return units
	}
	short, err := types.Mul64(uint64(owed-amount), compute.Scale(s.class)).MulDiv(1, s.price())
	missing, fits := short.Uint64()
	if err != nil || !fits {
		return 0
	}
	return less(units, missing+1)
}

// counted is what tallies are taken to have of a session. device.mu is held.
func (d *device) counted(s *session) (c types.Credit) {
	for _, h := range s.Handed {
		if h.Epoch <= d.tallied() {
			c = max(c, h.Amount)
		}
	}
	return c
}

// backed reports whether there is money behind a session's receipt of an amount, beside what the account's
// others here say. device.mu is held.
func (d *device) backed(s *session, amount types.Credit, p *role.Payer) bool {
	key, all := types.Credit(0), types.Credit(0)
	for other := range s.account.sessions {
		pending := other.amount()
		if other == s {
			pending = amount
		}
		pending -= min(pending, d.counted(other))
		if all += pending; other.key.payer == s.key.payer {
			key += pending
		}
	}
	return key <= p.Limit-min(p.Limit, p.Spent) && all <= p.Balance
}
