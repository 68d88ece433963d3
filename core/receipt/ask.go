package receipt

import (
	"fmt"

	"github.com/cairn-network/cairn/core/types"
)

// Ask is a device's signed offer. It is refreshed before it lapses; receipts refer to it by hash.
type Ask struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Device   types.Key
	Category types.Category
	Class    types.Class
	Cell     types.Cell
	Price    uint64      // micro-credits per scale of the class's unit
	Capacity types.U128  // in the class's unit, what the device takes on in one epoch
	Terms    []byte      // the category's own CBOR, at most MaxTerms
	Until    types.Epoch // the last epoch in which a session may open under it
}

// SignedAsk is an ask with its device's signature.
type SignedAsk struct {
	_         struct{} `cbor:",toarray"`
	Ask       Ask
	Signature types.Signature
}

// maxAsk bounds an encoded SignedAsk, in bytes.
const maxAsk = MaxTerms + 512

// Sign returns a, signed by its device.
func (a Ask) Sign(device types.PrivateKey) *SignedAsk {
	return &SignedAsk{Ask: a, Signature: device.Sign("ask", a.Chain, types.Encode(&a))}
}

// Hash names the ask: SHA-256 of its encoding without the signature.
func (a *Ask) Hash() types.Hash { return types.Sum(types.Encode(a)) }

// Encode returns the encoding of s.
func (s *SignedAsk) Encode() []byte { return types.Encode(s) }

// Verify reports whether the device signed.
func (s *SignedAsk) Verify() bool {
	return s.Ask.Device.Verify("ask", s.Ask.Chain, types.Encode(&s.Ask), s.Signature)
}

// DecodeAsk reads a signed ask of chain. It checks form, not the signature.
func DecodeAsk(raw []byte, chain string) (*SignedAsk, error) {
	s := new(SignedAsk)
	if err := types.DecodeLimit(raw, s, maxAsk); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	if s.Ask.Chain != chain {
		return nil, types.Refuse(types.WrongChain, "ask: chain %.50q, want %q", s.Ask.Chain, chain)
	}
	if len(s.Ask.Terms) > MaxTerms {
		return nil, types.Refuse(types.Oversize, "ask: terms of %d bytes, at most %d are taken", len(s.Ask.Terms), MaxTerms)
	}
	return s, nil
}
