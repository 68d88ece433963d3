package customer

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

const (
	// lifetime is for how many epochs a session is opened. What a device is owed it can hand in for one header more.
	lifetime = 168
	// leastLeft is how many epochs a session has left for it to take another job.
	leastLeft = 4
	// publishEvery is how often receipts that follow each other are shown to the payer's other devices.
	publishEvery = time.Second
)

// sessionOf says whose sessions they are.
type sessionOf struct {
	payer, device types.Key
	class         types.Class
}

// sessions are those of a wallet at a device, for a class. One job uses one at a time, so that leaves end in
// the order of their numbers.
type sessions struct {
	mu     sync.Mutex
	loaded bool
	list   []*line
}

// line is a session in use.
type line struct {
	of sessionOf
	io sync.Mutex // held by who writes the session to the disk, from when it is read; taken before a job's lock

	mu        sync.Mutex
	session   session
	ask       *receipt.SignedAsk // nil until a device has accepted its first order
	busy      bool
	published time.Time
}

// take returns a session for one more job at a price, which is the caller's until give.
func (c *Customer) take(of sessionOf, price uint64, now types.Epoch) (*line, error) {
	c.mu.Lock()
	all := c.paying[of]
	if all == nil {
		all = &sessions{}
		c.paying[of] = all
	}
	c.mu.Unlock()
	all.mu.Lock()
	defer all.mu.Unlock()
	if !all.loaded {
		list, err := c.books.sessions(of.payer, of.device, of.class, now)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			// One that a job of before the restart uses has it as busy already (resume).
			ask, err := receipt.DecodeAsk(s.Ask, c.market.Chain())
			if err != nil || all.has(s.ID) {
				continue
			}
			all.list = append(all.list, &line{of: of, session: *s, ask: ask})
		}
		all.loaded = true
	}
	kept := all.list[:0]
	var found *line
	for _, l := range all.list {
		l.mu.Lock()
		over := l.session.Over || l.session.ID.Expiry() < now+leastLeft
		if !l.busy && (over || l.ask == nil) {
			l.mu.Unlock()
			continue // forgotten here; the books forget it when it expires
		}
		if found == nil && !l.busy && !over && l.ask != nil && l.ask.Ask.Price >= price {
			l.busy = true
			found = l
		}
		l.mu.Unlock()
		kept = append(kept, l)
	}
	all.list = kept
	if found != nil {
		return found, nil
	}
	l := &line{of: of, busy: true, session: session{ID: newSession(now + lifetime), First: now}}
	all.list = append(all.list, l)
	return l, nil
}

func (s *sessions) has(id types.SessionID) bool {
	for _, l := range s.list {
		if l.session.ID == id {
			return true
		}
	}
	return false
}

// resume returns the session of a job that a device accepted before the gateway was stopped.
func (c *Customer) resume(of sessionOf, id types.SessionID, now types.Epoch) (*line, error) {
	list, err := c.books.sessions(of.payer, of.device, of.class, now)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if s.ID != id {
			continue
		}
		ask, err := receipt.DecodeAsk(s.Ask, c.market.Chain())
		if err != nil {
			return nil, fmt.Errorf("compute: session %v: %w", id, err)
		}
		l := &line{of: of, session: *s, ask: ask, busy: true}
		c.mu.Lock()
		defer c.mu.Unlock()
		all := c.paying[of]
		if all == nil {
			all = &sessions{}
			c.paying[of] = all
		}
		all.list = append(all.list, l)
		return l, nil
	}
	return nil, types.Refuse(types.SessionExpired, "compute: session %v", id)
}

// give returns a session to those that may be used. One is over where a device may have begun a job of which
// there is no leaf: the next leaf would leave a gap.
func (l *line) give(over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
	l.session.Over = l.session.Over || over
}

func newSession(expiry types.Epoch) types.SessionID {
	id := newID()
	return types.NewSessionID(expiry, [12]byte(id[:12]))
}

// ceiling is the price of a session that begins with a job at a price: room for jobs that cost more later.
func ceiling(price uint64) uint64 {
	if price >= 1<<62 {
		return price
	}
	return 1 << (bits.Len64(price) + 1)
}

// owe returns a receipt for so many units more, at a price: nil if they do not make a credit more.
func (c *Customer) owe(l *line, wallet role.Wallet, units, price uint64) (*receipt.Signed, types.Credit, error) {
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.session
	var err error
	if s.Units, err = s.Units.Add(types.U64(units)); err != nil {
		return nil, 0, fmt.Errorf("compute: units: %w", err)
	}
	if s.Cost, err = s.Cost.Add(types.Mul64(units, price)); err != nil {
		return nil, 0, fmt.Errorf("compute: cost: %w", err)
	}
	full, err := s.Cost.MulDiv(1, compute.Scale(l.of.class))
	amount, ok := full.Uint64()
	if err != nil || !ok {
		return nil, 0, types.Refuse(types.OverPrice, "compute: %s units cost too much", s.Units)
	}
	more := types.Credit(amount) - s.Amount
	s.Amount = types.Credit(amount)
	if units == 0 {
		return nil, 0, nil
	}
	s.Seq++
	// What is signed is on disk before it is sent: the totals of a session never fall.
	if err := c.books.putSession(l.of.payer, l.of.device, l.of.class, &s); err != nil {
		return nil, 0, err
	}
	l.session = s
	return c.sign(l, wallet), more, nil
}

// newest returns the receipt that was signed last, once more: it is the same.
func (c *Customer) newest(l *line, wallet role.Wallet) *receipt.Signed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.sign(l, wallet)
}

// sign signs for what the session's totals are. l.mu is held.
func (c *Customer) sign(l *line, wallet role.Wallet) *receipt.Signed {
	s := &l.session
	r := receipt.Receipt{
		Chain: c.market.Chain(), Category: types.Compute, Session: s.ID, Payer: l.of.payer, Device: l.of.device, Terms: l.ask.Ask.Hash(),
		Units: s.Units, Amount: s.Amount, Seq: s.Seq, First: s.First,
	}
	return &receipt.Signed{Receipt: r, PayerSig: wallet.Sign("receipt", r.Bytes())}
}

// show has the payer's other devices see a receipt, now and then while a job runs and at its end.
func (c *Customer) show(ctx context.Context, l *line, signed *receipt.Signed, last bool) {
	l.mu.Lock()
	due := last || time.Since(l.published) >= publishEvery
	if due {
		l.published = time.Now()
	}
	l.mu.Unlock()
	if !due {
		return
	}
	c.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := c.market.Publish(ctx, signed); err != nil {
			c.log.Debug("compute: publish a receipt", "err", err)
		}
	})
}
