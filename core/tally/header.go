package tally

import (
	"fmt"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// Header is what verifiers sign of a tally and what the chain keeps. Its SHA-256 is what is signed.
type Header struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Epoch    types.Epoch
	Region   types.Region
	Round    uint8       // 0 to 3: whose turn it was
	Rules    uint32      // version of the rules
	Frame    types.Hash  // of the Frame
	Previous types.Hash  // of the region's last header that was not voided; zero for the first
	Batch    types.Hash  // of the uncompressed batch
	State    types.Hash  // Merkle root over the pages of the state after the epoch
	Registry types.Hash  // of the registry changes folded in
	Devices  merkle.Node // root of the devices tree; its Sum is Σ amount
	Count    uint64      // leaves of the devices tree
	Outputs  types.Hash  // root of the outputs tree
	OutCount uint64      // its leaves
	Totals   Totals
	Leader   types.Key
	VRF      []byte // the leader's ECVRF proof over seed(e), 80 bytes
}

// Totals are sums over a region. All but Weight are cumulative since genesis; they never fall.
type Totals struct {
	_          struct{}     `cbor:",toarray"`
	Amount     types.Ustone // = Devices.Sum
	Spent      types.Credit // over accounts; = Σ Paid
	Settled    types.Credit // of what was paid, how much was turned into STONE
	Penalty    types.Ustone
	Counted    uint64          // items counted in this epoch
	Refused    uint64          // items refused in this epoch
	Categories []CategoryTotal // ascending by category; only those with something to say
}

// CategoryTotal is the part of one category.
type CategoryTotal struct {
	_        struct{} `cbor:",toarray"`
	Category types.Category
	Paid     types.Credit // cumulative
	Weight   types.U128   // of this epoch
}

// maxHeader bounds an encoded header, in bytes.
const maxHeader = 4096

// Encode returns the encoding of h.
func (h *Header) Encode() []byte { return types.Encode(h) }

// Hash is what verifiers sign, in the domain "header".
func (h *Header) Hash() types.Hash { return types.Sum(h.Encode()) }

// InRound returns the header that the same tally has in another round, whose frame differs in Round, Leader and
// VRF only: a verifier that took in the same batch need not compute it again. Other differences are ErrInput.
func (h *Header) InRound(f *Frame) (*Header, error) {
	same := *f
	same.Round, same.Leader, same.VRF = h.Round, h.Leader, h.VRF
	if same.Hash() != h.Frame {
		return nil, fmt.Errorf("%w: the frame of round %d is of another tally than header %s", ErrInput, f.Round, h.Hash())
	}
	other := *h
	other.Round, other.Leader, other.VRF, other.Frame = f.Round, f.Leader, f.VRF, f.Hash()
	return &other, nil
}

// DecodeHeader reads a header; every other encoding is refused.
func DecodeHeader(raw []byte) (*Header, error) {
	h := new(Header)
	if err := types.DecodeLimit(raw, h, maxHeader); err != nil {
		return nil, fmt.Errorf("tally: header: %w", err)
	}
	return h, nil
}

// Leaf is a device's line in the devices tree: what a claim shows.
type Leaf struct {
	_       struct{} `cbor:",toarray"`
	Device  types.Key
	Amount  types.Ustone // cumulative
	Penalty types.Ustone // cumulative
	Rest    types.Hash   // SHA-256 of the rest of the device's line in the state
}

// Node returns l's node in the devices tree.
func (l *Leaf) Node() merkle.Node {
	return merkle.SumLeaf(uint64(l.Amount), types.Sum(types.Encode(l)))
}
