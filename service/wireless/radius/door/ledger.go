package door

import (
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
	"github.com/cairn-network/cairn/service/wireless/radius"
)

const (
	maxPayers = 1 << 10
	maxOpen   = 8 // sessions of receipts of one payer that are remembered

	signsStill = 3 * radius.Interim * time.Second // whoever signed so lately and is short counts otherwise
)

// Payer is what a door counts of one payer.
type Payer struct {
	Key    types.Key                  `cbor:"1,keyasint"`
	Count  uint64                     `cbor:"2,keyasint"` // bytes that access points counted
	Units  uint64                     `cbor:"3,keyasint"` // bytes that the payer signed for, in all sessions of receipts
	Limit  uint64                     `cbor:"4,keyasint"` // W
	At     int64                      `cbor:"5,keyasint"` // when it signed last, in Unix seconds
	Opened map[types.SessionID]opened `cbor:"6,keyasint"`
}

// opened is one session of receipts.
type opened struct {
	_     struct{} `cbor:",toarray"`
	Units uint64
	Seq   uint64
}

func newPayer(key types.Key) *Payer {
	return &Payer{Key: key, Limit: wireless.LimitOf(wireless.WiFi).First, Opened: map[types.SessionID]opened{}}
}

// Check returns nil while the payer may be served, or why not: unpaid_limit, or count_dispute where it signs and counts
// less.
func (p *Payer) Check(now time.Time) error {
	due := p.Count / 100 * 98
	if due <= p.Units || due-p.Units <= p.Limit {
		return nil
	}
	if now.Sub(time.Unix(p.At, 0)) < signsStill {
		return types.Refuse(wireless.CountDispute, "the payer signed for %d bytes, and the access points counted %d: more than 2 %% and %d apart",
			p.Units, p.Count, p.Limit)
	}
	return types.Refuse(wireless.UnpaidLimit, "the payer signed for %d bytes of %d, and at most %d may be unpaid", p.Units, p.Count, p.Limit)
}

// take takes a receipt in that belongs to this device and payer, and reports whether it says something new.
func (p *Payer) take(s *receipt.Signed, price uint64, epoch types.Epoch, now time.Time) (bool, error) {
	r := &s.Receipt
	units, small := r.Units.Uint64()
	if !small || units > 1<<62 {
		return false, types.Refuse(types.Oversize, "a receipt for %v bytes", r.Units)
	}
	o, known := p.Opened[r.Session]
	if known && r.Seq <= o.Seq {
		if r.Seq == o.Seq && units == o.Units {
			return false, nil // again
		}
		return false, types.Refuse(types.StaleSeq, "receipt %d of session %s after %d", r.Seq, r.Session, o.Seq)
	}
	if units < o.Units {
		return false, types.Refuse(types.FallingTotals, "a receipt for %d bytes after one for %d", units, o.Units)
	}
	if r.Session.Expiry() < epoch {
		return false, types.Refuse(types.SessionExpired, "session %s ended with epoch %d", r.Session, r.Session.Expiry())
	}
	if amount, err := wireless.Amount(units, price); err != nil || r.Amount != amount {
		return false, types.Refuse(wireless.Overpriced, "%d micro-credits for %d bytes at %d, want %d", r.Amount, units, price, amount)
	}
	if !known {
		for id := range p.Opened {
			if id.Expiry() < epoch {
				delete(p.Opened, id)
			}
		}
		if len(p.Opened) >= maxOpen {
			return false, types.Refuse(types.OverQuota, "%d sessions of receipts are open", maxOpen)
		}
	}
	grown := units - o.Units
	if grown >= p.Limit/2 {
		p.Limit = wireless.LimitOf(wireless.WiFi).Next(p.Limit)
	}
	p.Units += grown
	p.Opened[r.Session] = opened{Units: units, Seq: r.Seq}
	p.At = now.Unix()
	return true, nil
}
