package tunnel

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

const (
	price = 100_000
	piece = 32 << 10
)

var (
	payerKey  = types.NewPrivateKey([32]byte{1})
	deviceKey = types.NewPrivateKey([32]byte{2})
	now       = time.Unix(1_700_000_000, 0)
)

func terms(n byte) Terms {
	return Terms{
		Chain: "cairn-test", Session: types.NewSessionID(9, [12]byte{n}), Payer: payerKey.Public(), Device: deviceKey.Public(),
		Ask: types.Hash{7}, Price: price, First: 1,
	}
}

func sign(r *receipt.Receipt) types.Signature { return r.Sign(payerKey) }

// disk keeps what a device would still have after a crash.
type disk struct {
	balance Balance
	last    *receipt.Signed
	broken  error
}

func (d *disk) keep(b Balance, r *receipt.Signed) error {
	if d.broken != nil {
		return d.broken
	}
	d.balance, d.last = b, r
	return nil
}

// flow has pieces relayed until the device refuses or most bytes have been: of so many of hundred the customer's count
// knows. It returns how many bytes the device relayed.
func flow(t *testing.T, p *Payer, s *Session, b *Bill, most uint64, known int) (relayed uint64, err error) {
	t.Helper()
	for relayed < most {
		if err = p.Take(piece, now); err != nil {
			return relayed, err
		}
		relayed += piece
		if !b.Add(piece * known / 100) {
			continue
		}
		r, err := b.Sign()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Receive(r, 1, now); err != nil {
			t.Fatal(err)
		}
	}
	return relayed, nil
}

// TestHonest: receipts as bytes flow keep the tunnel open, and W grows to its most.
func TestHonest(t *testing.T) {
	var d disk
	p := NewPayer(Balance{}, d.keep)
	s, b := p.NewSession(terms(1), nil), NewBill(terms(1), 0, 1<<60, sign)
	got, err := flow(t, p, s, b, 512<<20, 100)
	if err != nil || got != 512<<20 {
		t.Fatalf("%d bytes: %v", got, err)
	}
	last, err := b.Sign()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Receive(last, 1, now); err != nil {
		t.Fatal(err)
	}
	if have := p.Balance(); have.Count != 512<<20 || have.Units != have.Count || have.Limit != credit.Most || d.balance != have {
		t.Errorf("%+v, on disk %+v", have, d.balance)
	}
	if last.Receipt.Amount != 53_687 {
		t.Errorf("512 MiB cost %d", last.Receipt.Amount)
	}
	if r, err := b.Sign(); r != nil || err != nil {
		t.Errorf("signed again for nothing: %v, %v", r, err)
	}
}

// TestPayerGone: whoever never signs gets W, whatever sessions it opens, and no more after a restart.
func TestPayerGone(t *testing.T) {
	var d disk
	p := NewPayer(Balance{}, d.keep)
	var lost uint64
	for p.Take(piece, now) == nil {
		lost += piece
	}
	if lost*98/100 > credit.First || lost < credit.First {
		t.Errorf("%d bytes lost, W is %d", lost, credit.First)
	}
	for n := range byte(100) {
		p.NewSession(terms(n), nil)
		if err := p.Take(piece, now); types.ReasonOf(err) != wireless.UnpaidLimit {
			t.Fatalf("session %d: %v", n, err)
		}
	}
	if err := NewPayer(p.Balance(), d.keep).Take(piece, now); types.ReasonOf(err) != wireless.UnpaidLimit {
		t.Errorf("after a restart: %v", err)
	}
}

// TestUndercounts: a payer that signs for a part of what it had is served W beyond it, and then sees both counts.
func TestUndercounts(t *testing.T) {
	for _, known := range []int{99, 90, 50} {
		p := NewPayer(Balance{}, new(disk).keep)
		s, b := p.NewSession(terms(1), nil), NewBill(terms(1), 0, 1<<60, sign)
		got, err := flow(t, p, s, b, 4<<30, known)
		have := p.Balance()
		if known == 99 {
			if err != nil {
				t.Errorf("within 2 %%: %v", err)
			}
			continue
		}
		unpaid := got*98/100 - have.Units
		if types.ReasonOf(err) != wireless.CountDispute || unpaid > have.Limit {
			t.Errorf("%d %%: %v; %d relayed, %d signed", known, err, got, have.Units)
		}
		t.Logf("signs for %d %%: %d bytes relayed, %d unpaid of W %d: %v", known, got, unpaid, have.Limit, err)
		if err := p.Take(piece, now.Add(2*signsStill)); types.ReasonOf(err) != wireless.UnpaidLimit {
			t.Errorf("silent since: %v", err)
		}
	}
}

// TestInflates: a device that counts twice what it relays is paid what the customer counted.
func TestInflates(t *testing.T) {
	p := NewPayer(Balance{}, new(disk).keep)
	s, b := p.NewSession(terms(1), nil), NewBill(terms(1), 0, 1<<60, sign)
	var carried uint64
	for {
		if p.Take(2*piece, now) != nil {
			break
		}
		carried += piece
		if b.Add(piece) {
			r, _ := b.Sign()
			if err := s.Receive(r, 1, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	if have := p.Balance(); have.Units > carried || have.Count != 2*carried {
		t.Errorf("relayed %d, claimed %d, paid %d", carried, have.Count, have.Units)
	} else {
		t.Logf("relayed %d, claimed %d, paid %d", carried, have.Count, have.Units)
	}
}

// TestReceipts: what is replayed, moved, changed or of somebody else changes nothing.
func TestReceipts(t *testing.T) {
	var d disk
	p := NewPayer(Balance{}, d.keep)
	s, b := p.NewSession(terms(1), nil), NewBill(terms(1), 0, 1<<60, sign)
	next := func(n int) *receipt.Signed {
		b.Add(n)
		r, err := b.Sign()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, second := next(600<<10), next(600<<10)
	for _, r := range []*receipt.Signed{first, second, second} {
		if err := s.Receive(r, 1, now); err != nil {
			t.Fatal(err)
		}
	}
	was := p.Balance()
	altered := func(change func(*receipt.Receipt)) *receipt.Signed {
		c := receipt.Receipt{
			Chain: second.Receipt.Chain, Category: types.Wireless, Session: second.Receipt.Session, Payer: second.Receipt.Payer,
			Device: second.Receipt.Device, Terms: second.Receipt.Terms, Units: types.U64(2 << 20), Seq: 3, First: 1,
		}
		c.Amount, _ = wireless.Amount(2<<20, price)
		change(&c)
		return &receipt.Signed{Receipt: c, PayerSig: c.Sign(payerKey)}
	}
	for what, c := range map[string]struct {
		r    *receipt.Signed
		want types.Reason
	}{
		"an old one":      {first, types.StaleSeq},
		"another session": {altered(func(r *receipt.Receipt) { r.Session = terms(2).Session }), types.BadArgument},
		"another device":  {altered(func(r *receipt.Receipt) { r.Device = payerKey.Public() }), types.BadArgument},
		"another payer":   {altered(func(r *receipt.Receipt) { r.Payer = deviceKey.Public() }), types.BadArgument},
		"another chain":   {altered(func(r *receipt.Receipt) { r.Chain = "other" }), types.BadArgument},
		"other terms":     {altered(func(r *receipt.Receipt) { r.Terms = types.Hash{8} }), wireless.TermsUnknown},
		"too cheap":       {altered(func(r *receipt.Receipt) { r.Amount-- }), wireless.Overpriced},
		"too dear":        {altered(func(r *receipt.Receipt) { r.Amount++ }), wireless.Overpriced},
		"falling":         {altered(func(r *receipt.Receipt) { r.Units = types.U64(1) }), types.FallingTotals},
		"huge":            {altered(func(r *receipt.Receipt) { r.Units = types.MaxU128 }), types.Oversize},
		"unsigned":        {&receipt.Signed{Receipt: altered(func(*receipt.Receipt) {}).Receipt}, types.BadSignature},
	} {
		if err := s.Receive(c.r, 1, now); types.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
	good := altered(func(*receipt.Receipt) {})
	if err := s.Receive(good, 10, now); types.ReasonOf(err) != types.SessionExpired {
		t.Errorf("after the session: %v", err)
	}
	if p.Balance() != was {
		t.Errorf("%+v, was %+v", p.Balance(), was)
	}

	// What is not on disk does not count, and what is goes on after a restart.
	d.broken = errors.New("disk full")
	if err := s.Receive(good, 1, now); !errors.Is(err, d.broken) || p.Balance() != was {
		t.Errorf("not on disk: %v, %+v", err, p.Balance())
	}
	d.broken = nil
	p = NewPayer(d.balance, d.keep)
	s = p.NewSession(terms(1), d.last)
	if err := s.Receive(first, 1, now); types.ReasonOf(err) != types.StaleSeq {
		t.Errorf("an old one after a restart: %v", err)
	}
	if err := s.Receive(good, 1, now); err != nil || p.Balance().Units != 2<<20 {
		t.Errorf("after a restart: %v, %+v", err, p.Balance())
	}
}

// TestWait: who is held up goes on as soon as a receipt comes, and is refused when none does.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPayer(Balance{}, new(disk).keep)
		s, b := p.NewSession(terms(1), nil), NewBill(terms(1), 0, 1<<60, sign)
		if err := p.Take(int(credit.First), now); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		done := make(chan error)
		go func() { done <- p.Wait(ctx, 1<<20) }()
		synctest.Wait()
		b.Add(int(credit.First))
		r, _ := b.Sign()
		if err := s.Receive(r, 1, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := p.Wait(ctx, 2<<20); types.ReasonOf(err) != wireless.CountDispute {
			t.Errorf("no receipt: %v", err)
		}
	})
}

// TestBudget: a session never costs more than its customer said.
func TestBudget(t *testing.T) {
	b := NewBill(terms(1), 0, 10, sign)
	b.Add(100_000)
	if r, err := b.Sign(); err != nil || r.Receipt.Amount != 10 {
		t.Fatalf("%v, %v", r, err)
	}
	b.Add(10_000)
	if r, err := b.Sign(); types.ReasonOf(err) != types.OverBudget || r != nil {
		t.Errorf("%v, %v", r, err)
	}
}
