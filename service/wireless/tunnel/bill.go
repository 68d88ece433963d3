package tunnel

import (
	"sync"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

// Bill is the customer's side of a session. What it counts is the most that it signs for. It may be used by many
// goroutines.
type Bill struct {
	terms Terms
	most  types.Credit // that the session may cost
	sign  func(*receipt.Receipt) types.Signature

	mu    sync.Mutex
	count uint64
	units uint64 // signed for
	seq   uint64
	limit uint64 // W as the device has it, as far as this session can know
}

// NewBill returns a session's bill, with W of the account at the device. sign signs as the payer; the session costs at
// most so much.
func NewBill(t Terms, limit uint64, most types.Credit, sign func(*receipt.Receipt) types.Signature) *Bill {
	return &Bill{terms: t, most: most, sign: sign, limit: min(max(limit, credit.First), credit.Most)}
}

// Add counts n bytes that came or went, and reports whether it is time to sign: W/2 is unpaid.
func (b *Bill) Add(n int) (due bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count += uint64(max(n, 0))
	return b.count-b.units >= b.limit/2
}

// Counted returns how many bytes were counted, and how many signed for.
func (b *Bill) Counted() (count, units uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count, b.units
}

// Sign signs for all that was counted, for nothing beyond it: nil where there is nothing new. It refuses with
// over_budget what costs more than the session may.
func (b *Bill) Sign() (*receipt.Signed, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count == b.units {
		return nil, nil
	}
	amount, err := wireless.Amount(b.count, b.terms.Price)
	if err != nil {
		return nil, err
	}
	if amount > b.most {
		return nil, types.Refuse(types.OverBudget, "%d bytes cost %d micro-credits, and the session may cost %d", b.count, amount, b.most)
	}
	grown := b.count - b.units
	b.seq, b.units = b.seq+1, b.count
	if grown >= b.limit/2 {
		b.limit = credit.Next(b.limit)
	}
	t := &b.terms
	s := &receipt.Signed{Receipt: receipt.Receipt{
		Chain: t.Chain, Category: types.Wireless, Session: t.Session, Payer: t.Payer, Device: t.Device, Terms: t.Ask,
		Units: types.U64(b.units), Amount: amount, Seq: b.seq, First: t.First,
	}}
	s.PayerSig = b.sign(&s.Receipt)
	return s, nil
}
