package explorer

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Proof shows what a device had earned as of a final header, with all that is needed to check it against the
// chain: docs/proof.md says how. Hashes and bytes are hexadecimal, sums are decimal strings of base units.
type Proof struct {
	Epoch    types.Epoch  `json:"epoch"`
	Region   types.Region `json:"region"`
	Header   string       `json:"header"` // as verifiers signed it; its SHA-256 is what the chain shows
	Leaf     Leaf         `json:"leaf"`
	Index    uint64       `json:"index"` // of the leaf
	Count    uint64       `json:"count"` // of leaves
	Siblings []Sibling    `json:"siblings"`
}

// Leaf is a device's line in the devices tree.
type Leaf struct {
	Device  types.Key    `json:"device"`
	Amount  types.Ustone `json:"amount,string"`  // cumulative
	Penalty types.Ustone `json:"penalty,string"` // cumulative
	Rest    types.Hash   `json:"rest"`           // SHA-256 of the rest of the device's line in the state
}

// Sibling is one node beside the way from the leaf to the root, from the leaf upwards.
type Sibling struct {
	Sum  uint64     `json:"sum,string"`
	Hash types.Hash `json:"hash"`
}

// Claim returns the proof as a ledger takes it.
func (p *Proof) Claim() ledger.Claim {
	c := ledger.Claim{
		Epoch: p.Epoch, Region: p.Region,
		Leaf:  tally.Leaf{Device: p.Leaf.Device, Amount: p.Leaf.Amount, Penalty: p.Leaf.Penalty, Rest: p.Leaf.Rest},
		Proof: merkle.SumProof{Index: p.Index, Count: p.Count},
	}
	for _, s := range p.Siblings {
		c.Proof.Siblings = append(c.Proof.Siblings, merkle.Node{Sum: s.Sum, Hash: s.Hash})
	}
	return c
}

// proof fetches a proof with the header that it leads to.
func (x *Explorer) proof(r *http.Request) (*Proof, error) {
	c, err := x.leaf(r)
	if err != nil {
		return nil, err
	}
	h, err := x.ledger.Header(r.Context(), c.Epoch, c.Region)
	if err != nil {
		return nil, fmt.Errorf("header of epoch %d: %w", c.Epoch, err)
	}
	p := &Proof{
		Epoch: c.Epoch, Region: c.Region, Header: hex.EncodeToString(h.Raw), Index: c.Proof.Index, Count: c.Proof.Count, Siblings: []Sibling{},
		Leaf: Leaf{Device: c.Leaf.Device, Amount: c.Leaf.Amount, Penalty: c.Leaf.Penalty, Rest: c.Leaf.Rest},
	}
	for _, s := range c.Proof.Siblings {
		p.Siblings = append(p.Siblings, Sibling{s.Sum, s.Hash})
	}
	return p, nil
}

// leaf asks the verifiers for a device's leaf.
func (x *Explorer) leaf(r *http.Request) (*ledger.Claim, error) {
	device, err := types.ParseKey(r.PathValue("device"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errNotFound)
	}
	return x.tallies.Claim(r.Context(), device)
}

// Claim is a claim as cairn.tally.v1.Claim writes it in JSON: what a wallet puts into MsgClaim.
type Claim struct {
	Epoch    types.Epoch  `json:"epoch,string"`
	Region   types.Region `json:"region"`
	Leaf     []byte       `json:"leaf"`
	Index    uint64       `json:"index,string"`
	Siblings []byte       `json:"siblings"`
}

func (x *Explorer) claim(r *http.Request) (*Claim, error) {
	c, err := x.leaf(r)
	if err != nil {
		return nil, err
	}
	out := &Claim{Epoch: c.Epoch, Region: c.Region, Leaf: types.Encode(&c.Leaf), Index: c.Proof.Index}
	for _, s := range c.Proof.Siblings {
		out.Siblings = append(binary.BigEndian.AppendUint64(out.Siblings, s.Sum), s.Hash[:]...)
	}
	return out, nil
}
