package tunnel

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

// credit is W of the class.
var credit = wireless.LimitOf(wireless.Tunnel)

const (
	maxBytes   = 1 << 60 // of an account; far beyond any line, and sums cannot overflow
	signsStill = time.Minute
)

// Balance is what a device keeps of an account across restarts.
type Balance struct {
	Account types.Account `cbor:"1,keyasint"`
	Count   uint64        `cbor:"2,keyasint"` // bytes relayed
	Units   uint64        `cbor:"3,keyasint"` // bytes signed for
	Limit   uint64        `cbor:"4,keyasint"` // W; 0 stands for the first
}

// Payer is an account as a device counts it, over all its sessions. It may be used by many goroutines.
type Payer struct {
	// keep puts the balance and the receipt on disk. Nothing counts before that.
	keep func(Balance, *receipt.Signed) error

	mu      sync.Mutex
	b       Balance
	signed  time.Time     // when a receipt came last
	changed chan struct{} // closed when a receipt has come
}

// NewPayer returns an account with the balance that was kept last. keep puts a balance on disk, with the receipt that
// changed it: it has to return only when both are there.
func NewPayer(b Balance, keep func(Balance, *receipt.Signed) error) *Payer {
	if b.Limit < credit.First {
		b.Limit = credit.First
	}
	return &Payer{keep: keep, b: b, changed: make(chan struct{})}
}

// Balance returns what is counted now.
func (p *Payer) Balance() Balance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b
}

// Take counts n bytes that are about to be relayed. It refuses, and counts nothing, where more than W would be unpaid
// then: with count_dispute if the payer signs and counts less, and else with unpaid_limit.
func (p *Payer) Take(n int, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(n, now)
}

func (p *Payer) take(n int, now time.Time) error {
	count := p.b.Count + uint64(max(n, 0))
	if count > maxBytes {
		return types.Refuse(wireless.UnpaidLimit, "the account has had %d bytes, which is the most that is counted", p.b.Count)
	}
	due := count/100*98 + count%100*98/100
	if due <= p.b.Units || due-p.b.Units <= p.b.Limit {
		p.b.Count = count
		return nil
	}
	if p.b.Units > 0 && now.Sub(p.signed) < signsStill {
		return types.Refuse(wireless.CountDispute, "the device counted %d bytes and the payer signed for %d: more than 2 %% and %d apart",
			p.b.Count, p.b.Units, p.b.Limit)
	}
	return types.Refuse(wireless.UnpaidLimit, "the device counted %d bytes and the payer signed for %d: at most %d may be unpaid",
		p.b.Count, p.b.Units, p.b.Limit)
}

// Wait is Take that waits for a receipt until ctx ends.
func (p *Payer) Wait(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		err := p.take(n, time.Now())
		changed := p.changed
		p.mu.Unlock()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}

// Terms are what a session was opened under.
type Terms struct {
	Chain   string
	Session types.SessionID
	Payer   types.Key
	Device  types.Key
	Ask     types.Hash
	Price   uint64 // micro-credits for wireless.Scale bytes
	First   types.Epoch
}

// Session is one session of a payer's at a device: receipts of it.
type Session struct {
	Terms Terms
	payer *Payer

	mu    sync.Mutex
	units uint64
	seq   uint64
}

// NewSession opens a session of the payer's, or goes on with one behind the receipt that was kept last (nil for none).
func (p *Payer) NewSession(t Terms, last *receipt.Signed) *Session {
	s := &Session{Terms: t, payer: p}
	if last != nil {
		s.units, _ = last.Receipt.Units.Uint64()
		s.seq = last.Receipt.Seq
	}
	return s
}

// Receive takes a receipt in that a stranger sent. It counts once it is on disk. A repeated one changes nothing.
func (s *Session) Receive(r *receipt.Signed, epoch types.Epoch, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, t := &r.Receipt, &s.Terms
	units, small := c.Units.Uint64()
	switch {
	case c.Chain != t.Chain || c.Category != types.Wireless || c.Session != t.Session || c.Payer != t.Payer || c.Device != t.Device || c.First != t.First:
		return types.Refuse(types.BadArgument, "a receipt of another session: %s of %s", c.Session, c.Payer)
	case c.Terms != t.Ask:
		return types.Refuse(wireless.TermsUnknown, "a receipt under %s, and the session is under %s", c.Terms, t.Ask)
	case !small || units > maxBytes:
		return types.Refuse(types.Oversize, "a receipt for %v bytes", c.Units)
	case c.Session.Expiry() < epoch:
		return types.Refuse(types.SessionExpired, "session %s ended with epoch %d", c.Session, c.Session.Expiry())
	case !r.VerifyPayer():
		return types.Refuse(types.BadSignature, "receipt %d of session %s", c.Seq, c.Session)
	case c.Seq == s.seq && units == s.units && c.Seq > 0:
		return nil
	case c.Seq <= s.seq:
		return types.Refuse(types.StaleSeq, "receipt %d of session %s after %d", c.Seq, c.Session, s.seq)
	case units < s.units:
		return types.Refuse(types.FallingTotals, "a receipt for %d bytes after one for %d", units, s.units)
	}
	if amount, err := wireless.Amount(units, t.Price); err != nil || c.Amount != amount {
		return types.Refuse(wireless.Overpriced, "%d micro-credits for %d bytes at %d, want %d", c.Amount, units, t.Price, amount)
	}
	if err := s.payer.pay(units-s.units, r, now); err != nil {
		return err
	}
	s.units, s.seq = units, c.Seq
	return nil
}

func (p *Payer) pay(grown uint64, r *receipt.Signed, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.b
	next.Units += grown
	if next.Units > maxBytes {
		return types.Refuse(types.Oversize, "receipts for %d bytes", next.Units)
	}
	if grown >= p.b.Limit/2 {
		next.Limit = credit.Next(p.b.Limit)
	}
	if err := p.keep(next, r); err != nil {
		return err
	}
	p.b, p.signed = next, now
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}
