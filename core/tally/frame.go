package tally

import (
	"github.com/cairn-network/cairn/core/types"
)

// Frame holds what a tally takes in that is neither state nor batch. Its hash is in the header.
type Frame struct {
	_             struct{} `cbor:",toarray"`
	Chain         string
	Epoch         types.Epoch
	Region        types.Region
	Round         uint8
	Leader        types.Key
	VRF           []byte
	Seed          types.Hash // seed(e)
	Challenged    bool       // whether header(e−1) was accepted in rounds 0 to 2, so that challenges of e bind
	Time          uint64     // Unix seconds of the epoch's first block
	Previous      types.Hash // the region's last header; zero for none
	PreviousEpoch types.Epoch
	PreviousRound uint8
	Fold          *Settlement  // of Previous, to fold; nil if there is none
	Blocks        []BlockHash  // ascending: from 100 before the epoch's first block to the cut
	Params        []Params     // ascending by category
	MinOpening    types.Credit // what the first receipt of a session must be worth
}

// BlockHash is one block's height and hash.
type BlockHash struct {
	_      struct{} `cbor:",toarray"`
	Height uint64
	Hash   types.Hash
}

// Params are the parameters of one category that the tally uses.
type Params struct {
	_         struct{} `cbor:",toarray"`
	Category  types.Category
	Quota     uint64       // network-ordered units per device and epoch
	Threshold uint64       // T of the density rule; 0 turns it off
	Hex       uint8        // resolution at which density is counted
	Bond      types.Ustone // what a device of the category must hold for its ordered units to count, twice over
	Penalty   types.Ustone // what one proof of misconduct adds to a device's penalty
}

// Settlement is what the chain made of one epoch: totals only, no price (econ.Settlement, as the tally folds it).
type Settlement struct {
	_        struct{}     `cbor:",toarray"`
	Owed     types.Credit // O: paid and not settled, over all regions
	Settled  types.Credit // F: of that, what is settled now
	Supplier types.Ustone // U: what F pays to devices
	Emission []Emission   // ascending by category
}

// Emission is what one category mints in an epoch, and the weight that shares it.
type Emission struct {
	_        struct{} `cbor:",toarray"`
	Category types.Category
	Amount   types.Ustone // E_c over all regions
	Weight   types.U128   // W_c over all regions
}
