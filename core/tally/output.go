package tally

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// OutputLeaf is a leaf of the outputs tree, with what its category keeps beside it.
type OutputLeaf struct {
	Category types.Category
	Data     []byte
	Detail   []byte // not in the tree; nil for none
}

// Hash returns the leaf's digest in the outputs tree: SHA-256 of u16 category ‖ data.
func (o *OutputLeaf) Hash() types.Hash { return hashOutput(o.Category, o.Data) }

func hashOutput(c types.Category, data []byte) types.Hash {
	return types.Sum(binary.BigEndian.AppendUint16(nil, uint16(c)), data)
}

func outputHashes(leaves []OutputLeaf) []types.Hash {
	hashes := make([]types.Hash, len(leaves))
	for i := range leaves {
		hashes[i] = leaves[i].Hash()
	}
	return hashes
}

// OutputTree builds the outputs tree over leaves, all of a Result's, in order: for many proofs. Its Root is the
// header's Outputs.
func OutputTree(leaves []OutputLeaf) *merkle.Tree { return merkle.NewTree(outputHashes(leaves)) }

// ProveOutput returns the siblings that prove leaf i of Outputs against the header (Header.VerifyOutput): at
// most 20, 640 bytes, of a million leaves. It hashes all leaves; who proves many keeps an OutputTree. It panics
// if there is no such leaf, as an index expression would.
func (r *Result) ProveOutput(i int) []types.Hash {
	return merkle.Prove(outputHashes(r.Outputs), i).Siblings
}

// VerifyOutput returns nil if siblings prove that data is the category's, at index among all outputs under h.
// The caller takes h from the chain or from a signed source; whether it is final, the caller sees to. All other
// outcomes are merkle.ErrProof.
func (h *Header) VerifyOutput(c types.Category, data []byte, index uint64, siblings []types.Hash) error {
	p := merkle.Proof{Index: index, Count: h.OutCount, Siblings: siblings}
	if err := p.Verify(h.Outputs, h.OutCount, hashOutput(c, data)); err != nil {
		return fmt.Errorf("tally: output of category %d in epoch %d of region %d: %w", c, h.Epoch, h.Region, err)
	}
	return nil
}
