package tally

import (
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// Spec is what a category declares of itself. It is data: two verifiers with one rules version hold the same Spec.
type Spec struct {
	Category types.Category
	Name     string // one short word: storage
	Classes  []Class
	Kinds    []Kind
	Quota    Quota      // of one device's evidence in one epoch; beyond it nothing is acknowledged
	Witness  Quota      // of one author's reports in one epoch, apart from its own evidence; zero: as Quota
	Drawn    Candidates // of whom the witnesses are
	Draws    []Draw     // of witnesses, for each of its devices in every epoch; at most MaxDraws
	// Params are what a tally goes by of which the chain says nothing; its parameters replace them, and an empty
	// Rules among those stands for this one. Category and Quota are left out here: see Defaults.
	Params  Params
	Economy Economy
	// MaxState bounds a device's line of the category, in bytes. A longer one is a mistake of Verify: what it
	// found is dropped, and the device's items of the epoch are refused with econ_range.
	MaxState int
	// ProofDelay is how many epochs after the fact a proof of misconduct can still arrive; unbonding waits for it.
	ProofDelay types.Epoch
	Reasons    []types.ReasonInfo
}

// Class is one service of a category, with its unit.
type Class struct {
	Class types.Class
	Name  string // hold
	Unit  string // byte·epoch
	Scale uint64 // prices are micro-credits per Scale units: amount ≤ ⌊units · price / Scale⌋
}

// Kind is one kind of evidence.
type Kind struct {
	Kind       evidence.Kind
	Name       string
	Cumulative bool // counts also in a later batch, if its own epoch was skipped
	Witness    bool // spoken by a verifier or a drawn device about another device, not by the device itself
}

// Quota bounds what one author may hand in during one epoch.
type Quota struct {
	Count uint32 // items
	Bytes uint32 // of their encodings
}

// Economy are the figures that economics needs. They are said here alone: a chain starts with them (Genesis), and
// then governs them.
type Economy struct {
	Reference types.Credit // micro-credits that PriceUnit units are worth
	PriceUnit uint64       // pu
	Quota     uint64       // most network-ordered units of a device in an epoch, for each bond that it holds; 0: the network orders nothing
}

// Defaults are the parameters of a tally of which the chain says nothing.
func (s *Spec) Defaults() Params {
	p := s.Params
	p.Category, p.Quota = s.Category, s.Economy.Quota
	return p
}

// Genesis are the category's parameters of a chain that starts now: dense if a threshold is among the defaults.
func (s *Spec) Genesis() econ.Category {
	return econ.NewCategory(s.Category, s.Economy.PriceUnit, s.Economy.Quota, s.Economy.Reference, s.Params.Threshold > 0)
}

// Reports is the quota of one author's reports.
func (s *Spec) Reports() Quota {
	if s.Witness == (Quota{}) {
		return s.Quota
	}
	return s.Witness
}

// Verifier is a category as a tally knows it: what it declares, and what its evidence proves. Its functions
// must be deterministic, must not keep anything between calls, and must not depend on the order of devices.
// Everything handed to them is read-only.
type Verifier struct {
	Spec *Spec
	// Verify judges one device's items of one epoch. It never fails: what is wrong is refused with a reason. It
	// is called for every device that is registered for the category and has a line (Input.State) or items, be
	// it only an ask; for a device that left the registry only where a report names it, and then only verdicts
	// and state count. An output that breaks its bounds (MaxState, Quality, numbers of verdicts, unknown
	// classes) is dropped, and the device's items are refused with econ_range.
	Verify func(*Input) *Output

	// Cross is for categories that must compare devices (neighbours, clearing); nil for others. It runs once
	// per region after all Verify calls and after receipts were budgeted. An output that breaks its bounds (a
	// fill beyond what its order reserved, a device that is not registered, the line of a device without a
	// Summary) is dropped as a whole, and recorded with econ_range.
	Cross func(*CrossInput) *CrossOutput
	// Subject is for categories with witnesses; nil for others. It says whom a witness's report is about, so
	// that the tally can bring it there.
	Subject func(*evidence.Envelope) (types.Key, error)
	// CheckRules is for categories that have rules of their own (Params.Rules); nil for others. It says what is
	// wrong with some before anybody puts them in force. nil and empty ones are the defaults.
	CheckRules func(rules []byte) error
}

// Input is what Verify sees of one device.
type Input struct {
	Chain      string
	Epoch      types.Epoch
	Region     types.Region
	Seed       types.Hash // seed(e): challenges come from it
	Challenged bool       // whether challenges of this epoch bind
	Time       uint64     // Unix seconds of the epoch's first block
	Params     Params
	Registry   Registry
	Panel      *Panel   // draws the epoch's witnesses; nil for a category without
	Device     *Device  // never nil
	Totals     []uint64 // the category's sums over the region as of the last tally (Output.Totals); nil at first

	Evidence []*evidence.Envelope // the device's own, by sequence number, structure checked
	Reports  []*evidence.Envelope // witnesses' about this device, by author and sequence number
	Receipts []*ReceiptItem       // by payer and session, one per session
	// Asks are the device's, of this batch, by hash: those that receipts name, lapsed ones too, and those
	// handed in for themselves. An ask has no number, so anybody who saw one can hand it in again: where only
	// the newest counts, the category has a number in its Terms, and keeps it in State.
	Asks  []*receipt.Ask
	State []byte // the category's line for this device, as the last Verify left it; nil at first
	// Opened reports whether the tally has a session as this device's, or has it no more because it expired.
	// One of an Opening that it doesn't report was refused: nothing will ever be paid for it, and the category
	// forgets it.
	Opened func(SessionKey) bool
}

// ReceiptItem is a receipt that passed the protocol's own checks.
type ReceiptItem struct {
	Receipt *receipt.Receipt
	Account types.Account // who pays
	Class   types.Class   // of the ask
	Price   uint64        // of the ask
	// What the session has been paid so far.
	Units  types.U128
	Amount types.Credit
	Opened bool // the session was opened in an earlier epoch; else this receipt opens it
}

// Output is what Verify found.
type Output struct {
	// Evidence and Reports hold one verdict for each of the input's: "" is accepted. nil accepts all.
	Evidence []Verdict
	Reports  []Verdict
	// Receipts holds one reason for each of the input's: "" is accepted. nil accepts all.
	Receipts []types.Reason
	// Asks holds one reason for each of the input's: "" is accepted. nil accepts all. Receipts may name a
	// refused ask.
	Asks []types.Reason
	// Open lists sessions that co-signed evidence opens, Close those it ends. An opening does nothing where the
	// session is open or closed already, the payer has no grant, or the id expires more than receipt.MaxExpiry
	// epochs ahead, and its evidence is refused where the session is another's, or where too few credits are
	// behind it: the least opening amount for each session of the account that was not paid as much.
	// Input.Opened tells in the next epoch. What a Close names takes no more receipts; it is remembered until
	// it expires.
	Open  []Opening
	Close []SessionKey
	// Ordered are units that the network ordered, not a customer: they earn weight.
	Ordered []Ordered
	Quality types.Bp // of the device in this category, 0 to 10,000
	Totals  []uint64 // this device's part of the category's sums over the region, at most 8
	Summary []byte   // for Cross
	State   []byte   // the category's new line for this device; nil forgets it
}

// Verdict is the judgement on one item.
type Verdict struct {
	Reason types.Reason // "" is accepted
	Proof  bool         // the item proves misconduct: it takes of the bond
}

// SessionKey names a session: an id belongs to its payer.
type SessionKey struct {
	_     struct{} `cbor:",toarray"`
	Payer types.Key
	ID    types.SessionID
}

// Opening opens a session without a first payment.
type Opening struct {
	Session  SessionKey
	Terms    types.Hash // the ask
	Class    types.Class
	Price    uint64
	Evidence int // which of the input's it is that opens
}

// Ordered is network-ordered work of one class in one epoch.
type Ordered struct {
	Class types.Class
	Units types.U128
}

// Summary is what Verify left of one device for Cross.
type Summary struct {
	Device  *Device
	Summary []byte
}

// LiveOrder is an order in force, with what it may still spend.
type LiveOrder struct {
	Order    *receipt.Order
	Account  types.Account
	Units    types.U128   // so far
	Amount   types.Credit // so far
	Reserved types.Credit // what it may spend in this epoch
}

// CellState is the category's line for one cell.
type CellState struct {
	_     struct{} `cbor:",toarray"`
	Cell  types.Cell
	State []byte
}

// CrossInput is what Cross sees of the region.
type CrossInput struct {
	Chain     string
	Epoch     types.Epoch
	Region    types.Region
	Seed      types.Hash
	Time      uint64
	Params    Params
	Registry  Registry
	Summaries []Summary    // by cell and device
	Orders    []*LiveOrder // by account and session
	Cells     []CellState  // ascending
}

// CrossOutput is what Cross found.
type CrossOutput struct {
	Fills   []Fill      // what orders buy
	Cells   []CellState // ascending; replaces the input's
	Ordered []CrossOrdered
	Outputs []OutputData  // leaves of the outputs tree, in an order of the category's own
	States  []DeviceState // ascending by device: lines that replace what Verify left (Output.State)
}

// OutputData is a leaf of the outputs tree. Where a leaf has to stand for much, it holds a digest, and Detail
// is what that is of.
type OutputData struct {
	Data   []byte // what the tree holds, at most MaxOutput bytes
	Detail []byte // not in the tree, but kept and served beside it, at most MaxOutput bytes; nil for none
}

// Bounds of what one Cross puts out: a category keeps below them, or all of its Cross is dropped.
const (
	MaxOutputs     = 1 << 20   // leaves
	MaxOutput      = 64 << 10  // bytes of a Data, and of a Detail
	MaxOutputBytes = 512 << 20 // of all Data and Detail together
)

// DeviceState is the category's line for one device, which only a comparison could establish.
type DeviceState struct {
	Device types.Key // it has a Summary
	State  []byte    // at most MaxState; nil forgets the line
}

// Fill pays a device out of an order.
type Fill struct {
	Session SessionKey
	Device  types.Key
	Units   types.U128
	Amount  types.Credit
}

// CrossOrdered is network-ordered work that only a comparison could establish.
type CrossOrdered struct {
	Device  types.Key
	Class   types.Class
	Units   types.U128
	Quality types.Bp
}
