package bus

import (
	"bytes"
	"encoding/binary"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Bounds of what is asked of outputs.
const (
	MaxPrefix  = 128             // bytes
	MaxLeaves  = 256             // of one answer
	MaxMatches = 1 << 16         // leaves with one prefix that are shown; of more, only their number is told
	maxPath    = 64              // siblings of a leaf
	MaxShown   = MaxMessage >> 1 // bytes of data and details in one answer, beyond which no further leaf goes into it
)

// OutputsQuery asks for the outputs of a header (tally.Result.Outputs): those of a category whose data starts
// with Prefix.
//
// With Of zero every verifier answers with OutputsSum: how many there are, and which. Once it is known, from
// enough of them, one of them is asked for the leaves themselves, page by page.
type OutputsQuery struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Region   types.Region
	Header   types.Hash
	Category types.Category
	Prefix   []byte // at most MaxPrefix
	Of       types.Key
	From     uint64 // leaves of a lower index are left out
}

func (q *OutputsQuery) chainID() string { return q.Chain }

func (q *OutputsQuery) check() error {
	if n := len(q.Prefix); n > MaxPrefix {
		return tooMany("bytes of a prefix", n, MaxPrefix)
	}
	return nil
}

// OutputsSum is a verifier's sealed answer to an OutputsQuery of everybody. A verifier that does not keep the
// header's outputs does not answer. All of it follows from the header's inputs, so honest verifiers give the
// same; leaves are proven one by one, but that none is left out, and what their details are, only what more
// than a third of power says can show.
type OutputsSum struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Region   types.Region
	Header   types.Hash
	Category types.Category
	Prefix   []byte
	Count    uint64     // of the leaves
	Which    types.Hash // Which of them
}

// Leaf names a leaf with what no header proves of it.
type Leaf struct {
	Index  uint64
	Detail types.Hash // SHA-256 of its detail
}

// Which returns the SHA-256 of leaves, ascending by index: of each the index as u64 (big endian), and the hash
// of its detail.
func Which(leaves []Leaf) types.Hash {
	raw := make([]byte, 0, len(leaves)*(8+len(types.Hash{})))
	for i := range leaves {
		raw = append(binary.BigEndian.AppendUint64(raw, leaves[i].Index), leaves[i].Detail[:]...)
	}
	return types.Sum(raw)
}

func (s *OutputsSum) domain() string  { return "outputs" }
func (s *OutputsSum) chainID() string { return s.Chain }

func (s *OutputsSum) check() error {
	if n := len(s.Prefix); n > MaxPrefix {
		return tooMany("bytes of a prefix", n, MaxPrefix)
	}
	return nil
}

// Outputs is the sealed answer of one verifier to an OutputsQuery of its own. Check holds each leaf against the
// header; the seal keeps others from answering in its place.
type Outputs struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Region types.Region
	Header types.Hash
	Leaves []Output // ascending by index, at most MaxLeaves
	More   bool     // there are further ones: ask from the index after the last
}

// Output is one leaf with its proof.
type Output struct {
	_        struct{} `cbor:",toarray"`
	Index    uint64
	Data     []byte
	Detail   []byte
	Siblings []types.Hash
}

// Leaf returns what Which takes of an output.
func (o *Output) Leaf() Leaf { return Leaf{o.Index, types.Sum(o.Detail)} }

func (o *Outputs) domain() string  { return "outputs_page" }
func (o *Outputs) chainID() string { return o.Chain }

func (o *Outputs) check() error {
	if n := len(o.Leaves); n > MaxLeaves {
		return tooMany("outputs", n, MaxLeaves)
	}
	for i := range o.Leaves {
		l := &o.Leaves[i]
		if i > 0 && l.Index <= o.Leaves[i-1].Index {
			return misplaced("outputs")
		}
		if len(l.Data) > tally.MaxOutput || len(l.Detail) > tally.MaxOutput || len(l.Siblings) > maxPath {
			return types.Refuse(types.Oversize, "output %d of %d and %d bytes, with %d siblings", l.Index, len(l.Data), len(l.Detail), len(l.Siblings))
		}
	}
	return nil
}

// Check refuses, with bad_claim, leaves that q did not ask for, or that are not h's.
func (o *Outputs) Check(q *OutputsQuery, h *tally.Header) error {
	if o.Header != q.Header || o.Region != q.Region {
		return types.Refuse(types.BadClaim, "bus: outputs of header %s, want %s", o.Header, q.Header)
	}
	for i := range o.Leaves {
		l := &o.Leaves[i]
		if l.Index < q.From || !bytes.HasPrefix(l.Data, q.Prefix) {
			return types.Refuse(types.BadClaim, "bus: output %d was not asked for", l.Index)
		}
		if err := h.VerifyOutput(q.Category, l.Data, l.Index, l.Siblings); err != nil {
			return types.Refuse(types.BadClaim, "bus: %v", err)
		}
	}
	return nil
}

// OrderQuery asks for the order of a session in the state after a header.
type OrderQuery struct {
	_       struct{} `cbor:",toarray"`
	Chain   string
	Region  types.Region
	Header  types.Hash
	Session tally.SessionKey
}

func (q *OrderQuery) chainID() string { return q.Chain }
func (q *OrderQuery) check() error    { return nil }

// OrderAt is a verifier's sealed answer to an OrderQuery. A page that is shown proves itself against the header
// (tally.RecordProof.Order), whoever shows it; that there is none counts once more than two thirds of power
// said so. A verifier that has no such state does not answer.
type OrderAt struct {
	_       struct{} `cbor:",toarray"`
	Chain   string
	Region  types.Region
	Header  types.Hash
	Session tally.SessionKey
	Proof   *tally.RecordProof // null if there is no such order
}

func (o *OrderAt) domain() string  { return "order_at" }
func (o *OrderAt) chainID() string { return o.Chain }

func (o *OrderAt) check() error {
	if o.Proof != nil && (len(o.Proof.Page) > tally.MaxRecordProof || len(o.Proof.Siblings) > maxPath) {
		return types.Refuse(types.Oversize, "a page of %d bytes, with %d siblings", len(o.Proof.Page), len(o.Proof.Siblings))
	}
	return nil
}
