package tally

import (
	"fmt"

	"github.com/cairn-network/cairn/core/econ"
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
	Blocks        []BlockHash  // ascending: from 100 before the first block of epoch PreviousEpoch+1, at most MaxBlocks, to the cut
	Params        []Params     // ascending by category
	MinOpening    types.Credit // what the first receipt of a session must be worth
}

// MaxBlocks bounds the block hashes of a frame: after skips of that many blocks, older anchors are taken on the
// word of those who acknowledged them.
const MaxBlocks = 50_000

// FrameStart returns the first block of a frame: from age blocks before the first block after the previous
// header's epoch, and at most MaxBlocks up to the cut.
func FrameStart(first, cut, age uint64) uint64 {
	from := uint64(1)
	if first > age {
		from = first - age
	}
	if cut >= from && cut-from >= MaxBlocks {
		from = cut - MaxBlocks + 1
	}
	return from
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
	Quota     uint64       // network-ordered units per device and epoch, for each time that its bond is what its categories demand
	Threshold uint64       // T of the density rule; 0 turns it off
	Hex       uint8        // resolution at which density is counted
	Bond      types.Ustone // what a device of the category must hold for each quota; half of that for the first one to count
	Penalty   types.Ustone // what one proof of misconduct adds to a device's penalty, for each quota
	// Rules are the category's own rules, which the chain governs without reading them: canonical CBOR of the
	// category's, at most MaxRules long. Empty stands for those of the Spec (Spec.Params.Rules). What a Verify
	// cannot read must not stop it: it takes its defaults instead (Verifier.CheckRules).
	Rules []byte
}

// MaxRules bounds a category's own rules, in bytes. Longer ones count as none.
const MaxRules = 16 << 10

// Settlement is what the chain made of one epoch: totals only, no price.
type Settlement = econ.Settlement

// Emission is what one category mints in an epoch, and the weight that shares it.
type Emission = econ.Share

// maxFrame bounds an encoded frame, in bytes: the block hashes of about a hundred thousand blocks.
const maxFrame = 4 << 20

// Encode returns the encoding of f.
func (f *Frame) Encode() []byte { return types.Encode(f) }

// Hash is what the header shows of f.
func (f *Frame) Hash() types.Hash { return types.Sum(f.Encode()) }

// DecodeFrame reads a frame; every other encoding is refused.
func DecodeFrame(raw []byte) (*Frame, error) {
	f := new(Frame)
	if err := types.DecodeLimit(raw, f, maxFrame); err != nil {
		return nil, fmt.Errorf("tally: frame: %w", err)
	}
	return f, nil
}
