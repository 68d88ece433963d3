package storage

import (
	"fmt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// Prices and units.
const (
	Scale    = 1 << 40 // prices are micro-credits per Scale units, in both classes
	MaxPrice = 1 << 40 // a price is below it
	maxHi    = 1 << 24 // units are below 2⁸⁸: the high word of one that is not
)

// Rungs of a full ladder, and how many must be unused for a device to take on new shards.
const (
	Rungs       = 168
	SpareRungs  = 24
	maxLadder   = 1024 + Rungs*(2+64)
	signReceipt = "receipt"
)

// Amount returns ⌊units·price/Scale⌋ micro-credits, which is what a receipt of either class shows beside its
// units. It refuses units of 2⁸⁸ or more, a price of MaxPrice or more, and an amount beyond 64 bits.
func Amount(units types.U128, price uint64) (types.Credit, error) {
	if units.Hi >= maxHi || price >= MaxPrice {
		return 0, types.Refuse(UnitsOverflow, "storage: %s units at price %d", units, price)
	}
	full, err := units.MulDiv(price, Scale)
	amount, ok := full.Uint64()
	if err != nil || !ok {
		return 0, types.Refuse(UnitsOverflow, "storage: %s units at price %d", units, price)
	}
	return types.Credit(amount), nil
}

// Ladder pays a device while its customer sleeps: receipts of one session, each one epoch's bytes above the
// last, in one message. What makes the receipts follows from the first, so only signatures are listed. The
// device hands in the highest that is payable (Session.Payable) and keeps the rest; the tally refuses one that
// is ahead of the proof.
//
// A customer climbs from the units that the tally last accepted, and signs a new ladder when the bytes change.
// Ladders do not replace each other: when bytes shrink, what is no longer retained can be more than the new,
// flatter ladder reaches, so a device keeps the old one until its top is paid (Best). For the same reason every
// rung's Seq is 0: units order the receipts of a held session, and a rung of the older ladder may follow one of
// the newer.
type Ladder struct {
	_          struct{}          `cbor:",toarray"`
	From       receipt.Receipt   // rung 0, not signed: where the ladder stands
	Step       uint64            // units between rungs: the session's bytes
	Price      uint64            // of the session
	Signatures []types.Signature // of rungs 1, 2, …, at most Rungs, by the payer
}

// NewLadder signs a full ladder above from, of which Amount and Seq are set. sign signs in a domain of the
// payer's. A ladder whose top does not fit is refused with UnitsOverflow.
func NewLadder(from receipt.Receipt, step, price uint64, sign func(kind string, payload []byte) types.Signature) (*Ladder, error) {
	l := &Ladder{From: from, Step: step, Price: price, Signatures: make([]types.Signature, Rungs)}
	l.From.Seq = 0
	var err error
	if l.From.Amount, err = Amount(from.Units, price); err != nil {
		return nil, err
	}
	if _, err := Amount(l.Units(Rungs), price); err != nil {
		return nil, err
	}
	for i := range l.Signatures {
		r := l.receipt(i + 1)
		l.Signatures[i] = sign(signReceipt, r.Bytes())
	}
	return l, nil
}

// Units returns those of a rung: From.Units + i·Step.
func (l *Ladder) Units(rung int) types.U128 {
	return plus(l.From.Units, types.Mul64(l.Step, uint64(rung)))
}

// receipt returns what a rung says.
func (l *Ladder) receipt(rung int) receipt.Receipt {
	r := l.From
	r.Units = l.Units(rung)
	r.Amount, _ = Amount(r.Units, l.Price) // fits: the top one does
	return r
}

// Top is the number of the highest rung.
func (l *Ladder) Top() int { return len(l.Signatures) }

// Rung returns receipt number i, from 1 to Top, as its payer signed it. It panics on any other.
func (l *Ladder) Rung(i int) *receipt.Signed {
	return &receipt.Signed{Receipt: l.receipt(i), PayerSig: l.Signatures[i-1]}
}

// Highest returns the highest rung of at most payable units, or 0 if there is none.
func (l *Ladder) Highest(payable types.U128) int {
	if payable.Cmp(l.Units(1)) < 0 {
		return 0
	}
	if l.Step == 0 {
		return l.Top()
	}
	n, err := minus(payable, l.From.Units).MulDiv(1, l.Step)
	if k, ok := n.Uint64(); err == nil && ok && k < uint64(l.Top()) {
		return int(k)
	}
	return l.Top()
}

// Unused is how many rungs are above payable.
func (l *Ladder) Unused(payable types.U128) int { return l.Top() - l.Highest(payable) }

// Best returns the highest receipt of at most payable units that any of the ladders holds, or nil. All are of
// one session.
func Best(ladders []*Ladder, payable types.U128) *receipt.Signed {
	var best *Ladder
	rung, units := 0, types.U128{}
	for _, l := range ladders {
		if i := l.Highest(payable); i > 0 && (best == nil || l.Units(i).Cmp(units) > 0) {
			best, rung, units = l, i, l.Units(i)
		}
	}
	if best == nil {
		return nil
	}
	return best.Rung(rung)
}

// Verify reports whether the payer signed every rung. It takes one signature check for each.
func (l *Ladder) Verify() bool {
	for i := 1; i <= l.Top(); i++ {
		if !l.Rung(i).VerifyPayer() {
			return false
		}
	}
	return true
}

// Fits says whether the ladder pays under session s of device: same payer, ask and price.
func (l *Ladder) Fits(s *Session, device types.Key) error {
	f := &l.From
	if f.Category != types.Storage || f.Session != s.ID || f.Payer != s.Payer || f.Device != device || f.Terms != s.Ask || l.Price != s.Price {
		return types.Refuse(HoldingTerms, "storage: ladder of session %s: not the session's payer, device, ask or price", f.Session)
	}
	return nil
}

// Encode returns the encoding of l.
func (l *Ladder) Encode() []byte { return types.Encode(l) }

// DecodeLadder reads a ladder of chain: its form, not its signatures.
func DecodeLadder(raw []byte, chain string) (*Ladder, error) {
	l := new(Ladder)
	if err := types.DecodeLimit(raw, l, maxLadder); err != nil {
		return nil, fmt.Errorf("storage: ladder: %w", err)
	}
	if l.From.Chain != chain {
		return nil, types.Refuse(types.WrongChain, "storage: ladder: chain %.50q, want %q", l.From.Chain, chain)
	}
	if n := len(l.Signatures); n == 0 || n > Rungs || l.From.Seq != 0 {
		return nil, types.Refuse(types.BadEncoding, "storage: ladder: %d rungs, want 1 to %d; number %d, want 0", n, Rungs, l.From.Seq)
	}
	if amount, err := Amount(l.From.Units, l.Price); err != nil || amount != l.From.Amount {
		return nil, types.Refuse(PriceMismatch, "storage: ladder: %s units at price %d are not %d", l.From.Units, l.Price, l.From.Amount)
	}
	if _, err := Amount(l.Units(l.Top()), l.Price); err != nil {
		return nil, fmt.Errorf("storage: ladder: top: %w", err)
	}
	return l, nil
}
