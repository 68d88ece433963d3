package bus

import (
	"slices"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// MaxPayers bounds how many payers one query names.
const MaxPayers = 256

// PayersQuery asks what payers can still pay.
type PayersQuery struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Region types.Region
	Payers []types.Key // ascending, at least one, at most MaxPayers
}

func (q *PayersQuery) chainID() string { return q.Chain }

func (q *PayersQuery) check() error {
	if n := len(q.Payers); n == 0 || n > MaxPayers {
		return tooMany("payers", n, MaxPayers)
	}
	for i := range q.Payers[1:] {
		if slices.Compare(q.Payers[i][:], q.Payers[i+1][:]) >= 0 {
			return misplaced("payers")
		}
	}
	return nil
}

// Payers is a verifier's sealed answer to a PayersQuery. Grants and purchases are as of the start of Epoch,
// what was spent as of the tally of Tallied, so honest verifiers give the same line; a line counts once more
// than two thirds of power gave it.
type Payers struct {
	_       struct{} `cbor:",toarray"`
	Chain   string
	Region  types.Region
	Epoch   types.Epoch
	Tallied types.Epoch // of the region's newest accepted header; 0 for none
	Lines   []PayerLine // one for each payer of the query, in its order
}

// PayerLine is what is known of one payer. Of a key that nobody granted only Key is set.
type PayerLine struct {
	_       struct{} `cbor:",toarray"`
	Key     types.Key
	Account types.Account
	Limit   types.Credit // of the key, in total
	Expiry  types.Epoch
	Spent   types.Credit // by the key, in total
	Ordered types.Credit // of Spent: by orders, not by receipts
	Balance types.Credit // B − S of the account in the region
}

// Paid returns what the key's receipts have spent: what they promise beyond that, no tally has counted yet.
func (l *PayerLine) Paid() types.Credit { return l.Spent - min(l.Spent, l.Ordered) }

func (p *Payers) domain() string  { return "payers" }
func (p *Payers) chainID() string { return p.Chain }

func (p *Payers) check() error {
	if n := len(p.Lines); n > MaxPayers {
		return tooMany("payers", n, MaxPayers)
	}
	return nil
}

// LineQuery asks for a device's line in the state after the region's accepted header of epoch Tallied.
type LineQuery struct {
	_       struct{} `cbor:",toarray"`
	Chain   string
	Region  types.Region
	Device  types.Key
	Tallied types.Epoch
}

func (q *LineQuery) chainID() string { return q.Chain }
func (q *LineQuery) check() error    { return nil }

// MaxInline bounds a category's line that a Line carries itself, in bytes. Longer ones travel by hash (ServeBlobs).
const MaxInline = 16 << 10

// Line is a verifier's sealed answer to a LineQuery. All of it follows from the state, so honest verifiers give
// the same; it counts once more than two thirds of power gave it. A device without a line has Seq 0 and no
// Lines.
type Line struct {
	_       struct{} `cbor:",toarray"`
	Chain   string
	Region  types.Region
	Device  types.Key
	Tallied types.Epoch
	Seq     uint64         // of its newest evidence in the state
	Last    types.Hash     // hash of that
	Lines   []CategoryLine // ascending by category; only those that are not empty
}

// CategoryLine is a category's own line for the device (tally.Output.State).
type CategoryLine struct {
	_        struct{} `cbor:",toarray"`
	Category types.Category
	Blob     Blob
	State    []byte // if it is at most MaxInline long; else empty
}

func (l *Line) domain() string  { return "line" }
func (l *Line) chainID() string { return l.Chain }

func (l *Line) check() error {
	if n := len(l.Lines); n > MaxCategories {
		return tooMany("lines", n, MaxCategories)
	}
	for i, c := range l.Lines {
		if i > 0 && c.Category <= l.Lines[i-1].Category {
			return misplaced("lines")
		}
		if c.Blob.Size <= MaxInline && BlobOf(c.State) != c.Blob || c.Blob.Size > MaxInline && len(c.State) > 0 {
			return types.Refuse(types.BadEncoding, "a line of %d bytes carries %d", c.Blob.Size, len(c.State))
		}
	}
	return nil
}

// Bounds of what is asked of draws.
const (
	MaxPurpose = 64  // bytes
	MaxDrawn   = 256 // devices of one answer
)

// DrawnQuery asks which devices a witness was drawn for in the current epoch, for one of its category's draws
// (tally.Spec.Draws): those from a place in their order on.
type DrawnQuery struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Region   types.Region
	Epoch    types.Epoch
	Category types.Category
	Purpose  string // at most MaxPurpose
	Witness  types.Key
	From     uint32
}

func (q *DrawnQuery) chainID() string { return q.Chain }

func (q *DrawnQuery) check() error {
	if n := len(q.Purpose); n > MaxPurpose {
		return types.Refuse(types.Oversize, "a purpose of %d bytes, at most %d are taken", n, MaxPurpose)
	}
	return nil
}

// Drawn is a verifier's sealed answer to a DrawnQuery. All of it follows from the registry's view and the seed
// of the epoch, so honest verifiers give the same; it counts once more than two thirds of power gave it.
type Drawn struct {
	_       struct{} `cbor:",toarray"`
	Query   DrawnQuery
	Devices []tally.Device // at most MaxDrawn
	More    bool           // behind the last one
}

func (d *Drawn) domain() string  { return "drawn" }
func (d *Drawn) chainID() string { return d.Query.Chain }

func (d *Drawn) check() error {
	if n := len(d.Devices); n > MaxDrawn {
		return tooMany("devices", n, MaxDrawn)
	}
	return d.Query.check()
}

// PanelQuery asks who was drawn for a device in the current epoch, for one of its category's draws
// (tally.Spec.Draws).
type PanelQuery struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Region   types.Region
	Epoch    types.Epoch
	Category types.Category
	Purpose  string // at most MaxPurpose
	Device   types.Key
}

func (q *PanelQuery) chainID() string { return q.Chain }

func (q *PanelQuery) check() error {
	if n := len(q.Purpose); n > MaxPurpose {
		return types.Refuse(types.Oversize, "a purpose of %d bytes, at most %d are taken", n, MaxPurpose)
	}
	return nil
}

// Panel is a verifier's sealed answer to a PanelQuery. It counts as a Drawn does.
type Panel struct {
	_     struct{} `cbor:",toarray"`
	Query PanelQuery
	Drawn []types.Key // in the order in which they were drawn, at most tally.MaxSeats; none of a device that is not in the view
}

func (p *Panel) domain() string  { return "panel" }
func (p *Panel) chainID() string { return p.Query.Chain }

func (p *Panel) check() error {
	if n := len(p.Drawn); n > tally.MaxSeats {
		return tooMany("witnesses", n, tally.MaxSeats)
	}
	return p.Query.check()
}

// ProofQuery asks for a device's leaf of the newest final header, or of the newest accepted one.
type ProofQuery struct {
	_       struct{} `cbor:",toarray"`
	Chain   string
	Region  types.Region
	Device  types.Key
	Tallied bool // of the newest accepted header; else of the newest final one
}

func (q *ProofQuery) chainID() string { return q.Chain }
func (q *ProofQuery) check() error    { return nil }

// Proof answers a ProofQuery with what a claim needs (ledger.Claim). It carries no signature: Check compares it
// with a root that is believed. A verifier that has no such leaf does not answer.
type Proof struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Epoch  types.Epoch // of the header
	Region types.Region
	Leaf   tally.Leaf
	Proof  merkle.SumProof
}

func (p *Proof) chainID() string { return p.Chain }
func (p *Proof) check() error    { return nil }

// Check refuses, with bad_claim, a leaf that is not the device's or does not lead to root.
func (p *Proof) Check(device types.Key, root Root) error {
	if p.Leaf.Device != device || p.Epoch != root.Epoch {
		return types.Refuse(types.BadClaim, "bus: proof of %v in epoch %d, want %v in epoch %d", p.Leaf.Device, p.Epoch, device, root.Epoch)
	}
	if _, err := p.Proof.Verify(root.Devices, root.Count, p.Leaf.Node()); err != nil {
		return types.Refuse(types.BadClaim, "bus: proof of %v in epoch %d: %v", device, p.Epoch, err)
	}
	return nil
}

// RefusalsQuery asks which of an author's items the tally of an epoch refused.
type RefusalsQuery struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Region types.Region
	Author types.Key
	Epoch  types.Epoch // 0 for the newest accepted header's
}

func (q *RefusalsQuery) chainID() string { return q.Chain }
func (q *RefusalsQuery) check() error    { return nil }

// Refusals is a verifier's sealed answer to a RefusalsQuery.
type Refusals struct {
	_       struct{} `cbor:",toarray"`
	Chain   string
	Region  types.Region
	Author  types.Key
	Epoch   types.Epoch
	Counted uint64    // items of the author that counted
	Refused []Refusal // the first MaxItems, by item
	More    uint64    // how many further ones there are
	Quality []Quality // of a device, ascending by category
}

// Quality is a device's quality in one category, in basis points.
type Quality struct {
	_        struct{} `cbor:",toarray"`
	Category types.Category
	Bp       types.Bp
}

func (r *Refusals) domain() string  { return "refusals" }
func (r *Refusals) chainID() string { return r.Chain }

func (r *Refusals) check() error {
	if n := len(r.Refused); n > MaxItems {
		return tooMany("refusals", n, MaxItems)
	}
	if n := len(r.Quality); n > MaxCategories {
		return tooMany("qualities", n, MaxCategories)
	}
	return checkRefusals(r.Refused)
}

// StateQuery asks for the state after a header.
type StateQuery struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Region types.Region
	Header types.Hash
}

func (q *StateQuery) chainID() string { return q.Chain }
func (q *StateQuery) check() error    { return nil }

// StateAt answers a StateQuery with the names of the state's pages, in order, as a Hashes list; the list and
// each page travel by hash. It carries no signature: the Merkle root over the names is the header's State. A
// verifier that has no such state does not answer.
type StateAt struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Region types.Region
	Header types.Hash
	Pages  Blob
}

func (s *StateAt) chainID() string { return s.Chain }
func (s *StateAt) check() error    { return nil }
