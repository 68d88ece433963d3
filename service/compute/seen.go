package compute

import (
	"fmt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// Seen is what an auditor calls of a leaf that a device has shown to it (role.AuditHost.Call): that the device has
// committed to it, and not what it says. Who has another one of that place, signed by the device, tells the auditor
// that (Other): both make a Conflict.
type Seen struct {
	_       struct{} `cbor:",toarray"`
	Results []byte   // the envelope, whole
	Hash    types.Hash
	Fuel    uint64
	Path    merkle.SumProof
}

// Other is a leaf that a device has signed, as it is told an auditor (role.Market.Tell).
type Other struct {
	_      struct{} `cbor:",toarray"`
	Device types.Key
	Signed SignedLeaf
}

// Place is where a device has a leaf.
type Place struct {
	Device  types.Key
	Session types.SessionID
	Index   uint64
}

// Hash names a leaf.
func (l *Leaf) Hash() types.Hash { return types.Sum(types.Encode(l)) }

// Seen is what an auditor calls of a leaf.
func (c *Committed) Seen() *Seen {
	return &Seen{Results: c.Results, Hash: c.Leaf.Hash(), Fuel: c.Leaf.Fuel, Path: c.Path}
}

// Encode returns the encoding of s.
func (s *Seen) Encode() []byte { return types.Encode(s) }

// DecodeSeen reads what an auditor calls, and says where the leaf is. It does not check the commitment.
func DecodeSeen(raw []byte, chain string) (s *Seen, p Place, err error) {
	s = new(Seen)
	if err := types.DecodeLimit(raw, s, maxAudit); err != nil {
		return nil, p, fmt.Errorf("compute: seen: %w", err)
	}
	e, err := evidence.Decode(s.Results, chain)
	if err != nil {
		return nil, p, fmt.Errorf("compute: seen: %w", err)
	}
	r, err := DecodeResults(e.Body)
	if err != nil {
		return nil, p, fmt.Errorf("compute: seen: %w", err)
	}
	return s, Place{e.Author, r.Session, r.First + s.Path.Index}, nil
}

// Verify reports whether device has committed to a leaf of that hash.
func (s *Seen) Verify(chain string, device types.Key) bool {
	e := own(s.Results, chain, device, KindResults)
	if e == nil {
		return false
	}
	r, err := DecodeResults(e.Body)
	if err != nil {
		return false
	}
	_, err = s.Path.Verify(merkle.Node{Sum: r.Fuel, Hash: r.Root}, uint64(r.Count), merkle.SumLeaf(s.Fuel, s.Hash))
	return err == nil
}

// Encode returns the encoding of o.
func (o *Other) Encode() []byte { return types.Encode(o) }

// DecodeOther reads a leaf that was told. It checks form, not the signature.
func DecodeOther(raw []byte) (*Other, error) {
	o := new(Other)
	if err := types.DecodeLimit(raw, o, 2*maxLeaf); err != nil {
		return nil, fmt.Errorf("compute: other: %w", err)
	}
	return o, o.Signed.Leaf.check()
}
