package tally

import (
	"github.com/cairn-network/cairn/core/types"
)

// Result is what a tally says of its items and devices, beside the header: for status pages and for those whose
// items were refused. Nothing of it is in a later epoch's input.
type Result struct {
	// Reasons holds one reason for each item of the batch; "" is counted. A receipt that was honoured in part
	// is counted.
	Reasons []types.Reason
	// Rejections lists refused items in the order of the batch, then what Cross refused.
	Rejections []Rejection
	// Devices lists what became of each device in each category that looked at it, by device and category.
	Devices []Summarized
	// Outputs are the leaves of the outputs tree.
	Outputs []OutputLeaf
}

// Rejection is a refusal that the author of an item can read.
type Rejection struct {
	Item     types.Hash
	Type     ItemType
	Author   types.Key
	Device   types.Key // the device that it concerns: the author's own, or the one that a report names
	Category types.Category
	Reason   types.Reason
	Proof    bool         // it proves misconduct and took of the bond
	Rest     types.Credit // of a receipt that was honoured in part: what was not
}

// Summarized is one device's epoch in one category.
type Summarized struct {
	Device   types.Key
	Category types.Category
	Counted  uint32 // items
	Refused  uint32
	Paid     types.Credit // honoured in this epoch
	Ordered  types.U128   // network-ordered units that count
	Weight   types.U128
	Quality  types.Bp
}
