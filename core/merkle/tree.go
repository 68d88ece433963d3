package merkle

import (
	"crypto/sha256"

	"github.com/cairn-network/cairn/core/types"
)

// Tree is a plain tree that is kept for many proofs: 64 bytes for each leaf. It never changes, and may be read
// by many goroutines at once.
type Tree struct {
	// levels[0] are the leaves' nodes, the last level is the root alone. An empty tree has no level.
	levels [][]types.Hash
}

// NewTree returns the tree over leaves, which are digests already.
func NewTree(leaves []types.Hash) *Tree {
	t := &Tree{}
	if len(leaves) == 0 {
		return t
	}
	level := make([]types.Hash, len(leaves))
	for i, h := range leaves {
		level[i] = hashLeaf(h)
	}
	t.levels = append(t.levels, level)
	for below := level; len(below) > 1; below = level {
		level = make([]types.Hash, (len(below)+1)/2)
		for j := range level {
			if 2*j+1 == len(below) {
				level[j] = below[2*j] // promoted
			} else {
				level[j] = hashNode(below[2*j], below[2*j+1])
			}
		}
		t.levels = append(t.levels, level)
	}
	return t
}

// Len returns the number of leaves.
func (t *Tree) Len() int {
	if len(t.levels) == 0 {
		return 0
	}
	return len(t.levels[0])
}

// Root returns the root, which is what Root returns for the same leaves.
func (t *Tree) Root() types.Hash {
	if len(t.levels) == 0 {
		return sha256.Sum256(nil)
	}
	return t.levels[len(t.levels)-1][0]
}

// Proof returns the proof of leaf i, as Prove does. It panics if there is no such leaf, as an index expression would.
func (t *Tree) Proof(i int) Proof {
	_ = t.levels[0][i]
	p := Proof{Index: uint64(i), Count: uint64(t.Len())}
	for _, level := range t.levels[:len(t.levels)-1] {
		if sib := i ^ 1; sib < len(level) {
			p.Siblings = append(p.Siblings, level[sib])
		}
		i /= 2
	}
	return p
}
