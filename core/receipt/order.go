package receipt

import (
	"fmt"

	"github.com/cairn-network/cairn/core/types"
)

// Order is a payer's ceiling for what is priced only after it is measured; the tally computes units and amount.
// It acts from the epoch after it was counted; a later one of the session replaces it, and a cap at or below
// what is spent cancels it.
type Order struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Region   types.Region // whose tally counts it; no other does
	Category types.Category
	Session  types.SessionID
	Payer    types.Key
	Rule     uint16       // which of the category's rules prices it
	Selector []byte       // what it buys: the category's own CBOR, at most MaxTerms
	Limit    uint64       // the highest price, in micro-credits per scale of the class's unit
	Most     types.U128   // units per interval, at most
	Cap      types.Credit // micro-credits in total
	Seq      uint64
	First    types.Epoch
}

// SignedOrder is an order with its payer's signature.
type SignedOrder struct {
	_         struct{} `cbor:",toarray"`
	Order     Order
	Signature types.Signature
}

// Sign returns o, signed by its payer.
func (o Order) Sign(payer types.PrivateKey) *SignedOrder {
	return &SignedOrder{Order: o, Signature: payer.Sign("order", o.Chain, types.Encode(&o))}
}

// Encode returns the encoding of s.
func (s *SignedOrder) Encode() []byte { return types.Encode(s) }

// Verify reports whether the payer signed.
func (s *SignedOrder) Verify() bool {
	return s.Order.Payer.Verify("order", s.Order.Chain, types.Encode(&s.Order), s.Signature)
}

// DecodeOrder reads a signed order of chain. It checks form, not the signature.
func DecodeOrder(raw []byte, chain string) (*SignedOrder, error) {
	s := new(SignedOrder)
	if err := types.DecodeLimit(raw, s, maxAsk); err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	if s.Order.Chain != chain {
		return nil, types.Refuse(types.WrongChain, "order: chain %.50q, want %q", s.Order.Chain, chain)
	}
	if len(s.Order.Selector) > MaxTerms {
		return nil, types.Refuse(types.Oversize, "order: a selector of %d bytes, at most %d are taken", len(s.Order.Selector), MaxTerms)
	}
	return s, nil
}
