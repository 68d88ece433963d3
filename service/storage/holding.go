package storage

import (
	"fmt"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// Domains in which this category signs (types.SigningBytes); receipts and asks have their own.
const (
	DomainHolding = "storage/holding" // the payer, over Holding.Payload
	DomainHeld    = "storage/held"    // the device, over the same bytes, when everything in the holding is on its disk
)

// Bounds of a holding and of what it holds.
const (
	MaxShard  = 1 << 20 // bytes of one shard
	MaxShards = 1 << 32 // leaves of one session's tree
	MaxBytes  = 1 << 48 // bytes of one session
	maxBody   = 1024    // bytes of an encoded SignedHolding or Release
)

// Holding is what one account has one device keep in one session: the co-signed statement that binds both. The
// payer signs it; a device that hands it in (kind KindHolding) thereby agrees. It says what is held from now
// on, so a later revision replaces it, and the device may leave out revisions in between.
type Holding struct {
	_        struct{} `cbor:",toarray"`
	Device   types.Key
	Session  types.SessionID
	Account  types.Account
	Payer    types.Key  // the account's session key: it signs this and the session's receipts
	Ask      types.Hash // the device's ask, of class Hold
	Price    uint64     // of that ask: micro-credits per Scale byte·epochs, below MaxPrice
	Revision uint64     // from 1; the higher one counts
	Root     types.Hash // of the sum tree over the shards, in slot order
	Shards   uint64     // leaves of that tree
	Bytes    uint64     // their sum
	Until    types.Epoch
}

// SignedHolding is a holding with its payer's signature: the body of evidence of kind KindHolding.
type SignedHolding struct {
	_         struct{} `cbor:",toarray"`
	Holding   Holding
	Signature types.Signature
}

// Payload is what payer and device sign, each in a domain of its own.
func (h *Holding) Payload() []byte { return types.Encode(h) }

// Node returns the root of the holding's tree with its sum.
func (h *Holding) Node() merkle.Node { return merkle.Node{Sum: h.Bytes, Hash: h.Root} }

// Encode returns the body of evidence that s makes.
func (s *SignedHolding) Encode() []byte { return types.Encode(s) }

// Verify reports whether the payer signed for a device of chain.
func (s *SignedHolding) Verify(chain string) bool {
	return s.Holding.Payer.Verify(DomainHolding, chain, s.Holding.Payload(), s.Signature)
}

// VerifyHeld reports whether the device countersigned h.
func (h *Holding) VerifyHeld(chain string, sig types.Signature) bool {
	return h.Device.Verify(DomainHeld, chain, h.Payload(), sig)
}

// DecodeHolding reads the body of a holding and checks its form, not the signature.
func DecodeHolding(body []byte) (*SignedHolding, error) {
	s := new(SignedHolding)
	if err := types.DecodeLimit(body, s, maxBody); err != nil {
		return nil, fmt.Errorf("storage: holding: %w", err)
	}
	if err := s.Holding.check(); err != nil {
		return nil, err
	}
	return s, nil
}

// check says whether the terms can be those of any session.
func (h *Holding) check() error {
	switch {
	case h.Revision == 0:
		return types.Refuse(HoldingStale, "storage: holding: revisions count from 1")
	case h.Price >= MaxPrice:
		return types.Refuse(UnitsOverflow, "storage: holding: price %d, want below %d", h.Price, uint64(MaxPrice))
	case h.Bytes > MaxBytes || h.Shards > MaxShards:
		return types.Refuse(HoldingTerms, "storage: holding: %d bytes in %d shards, at most %d in %d", h.Bytes, h.Shards, uint64(MaxBytes), uint64(MaxShards))
	case h.Shards == 0 && (h.Bytes != 0 || h.Root != emptyRoot.Hash):
		return types.Refuse(HoldingTerms, "storage: holding: no shards, but %d bytes and root %s", h.Bytes, h.Root)
	case h.Until > h.Session.Expiry():
		return types.Refuse(HoldingTerms, "storage: holding: until %d, after the session's expiry %d", h.Until, h.Session.Expiry())
	}
	return nil
}

// emptyRoot is the root of a holding of no shards.
var emptyRoot, _ = merkle.SumRoot(nil)

// Release is the body of evidence of kind KindRelease: the device stops holding a session. Unless the holding's
// Until has passed, that costs what is retained.
type Release struct {
	_       struct{} `cbor:",toarray"`
	Session types.SessionID
}

// Encode returns the body of evidence that r makes.
func (r *Release) Encode() []byte { return types.Encode(r) }

// DecodeRelease reads the body of a release.
func DecodeRelease(body []byte) (*Release, error) {
	r := new(Release)
	if err := types.DecodeLimit(body, r, maxBody); err != nil {
		return nil, fmt.Errorf("storage: release: %w", err)
	}
	return r, nil
}

// Terms are the terms of the category's asks, of both classes: where the device is, and how far it trusts.
type Terms struct {
	_       struct{} `cbor:",toarray"`
	Address string   // host:port of the device's transfer protocol, at most MaxAddress bytes
	Unpaid  uint64   // bytes it serves an account before the first receipt, and beyond the last one at first
}

// MaxAddress bounds Terms.Address: a host name, a colon and a port.
const MaxAddress = 253 + 6

// Encode returns the terms as an ask carries them.
func (t *Terms) Encode() []byte { return types.Encode(t) }

// DecodeTerms reads the terms of an ask of this category.
func DecodeTerms(raw []byte) (*Terms, error) {
	t := new(Terms)
	if err := types.DecodeLimit(raw, t, receipt.MaxTerms); err != nil {
		return nil, fmt.Errorf("storage: terms: %w", err)
	}
	if t.Address == "" || len(t.Address) > MaxAddress {
		return nil, types.Refuse(types.BadEncoding, "storage: terms: an address of %d bytes, want 1 to %d", len(t.Address), MaxAddress)
	}
	return t, nil
}
