package merkle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// ErrProof: a proof does not lead from its leaf to the root it is held against.
var ErrProof = errors.New("merkle: proof refused")

// Domain separation (RFC 9162, section 2.1.1): no leaf has the preimage of a node.
const (
	leafPrefix = 0x00
	nodePrefix = 0x01
)

// Proof shows that a digest is leaf number Index of the Count leaves under a root.
type Proof struct {
	_        struct{} `cbor:",toarray"`
	Index    uint64
	Count    uint64
	Siblings []types.Hash // from the leaf upwards; levels where the node is promoted have none
}

// Root returns the root of the plain tree over leaves, which are digests already.
func Root(leaves []types.Hash) types.Hash {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return hashLeaf(leaves[0])
	}
	k := split(len(leaves))
	return hashNode(Root(leaves[:k]), Root(leaves[k:]))
}

// Prove returns the proof of leaf i. It panics if there is no such leaf, as an index expression would.
func Prove(leaves []types.Hash, i int) Proof {
	_ = leaves[i]
	p := Proof{Index: uint64(i), Count: uint64(len(leaves))}
	for len(leaves) > 1 {
		k := split(len(leaves))
		if i < k {
			p.Siblings = append(p.Siblings, Root(leaves[k:]))
			leaves = leaves[:k]
		} else {
			p.Siblings = append(p.Siblings, Root(leaves[:k]))
			leaves, i = leaves[k:], i-k
		}
	}
	slices.Reverse(p.Siblings)
	return p
}

// Verify returns nil if p shows that leaf is number p.Index of the count leaves under root. The caller takes
// root and count from one signed source, never from whoever sent the proof. All other outcomes are ErrProof.
func (p Proof) Verify(root types.Hash, count uint64, leaf types.Hash) error {
	steps, err := walk(p.Index, p.Count, count, len(p.Siblings))
	if err != nil {
		return err
	}
	h := hashLeaf(leaf)
	for i, sib := range p.Siblings {
		if steps>>i&1 != 0 {
			h = hashNode(sib, h)
		} else {
			h = hashNode(h, sib)
		}
	}
	if h != root {
		return fmt.Errorf("leaf %d of %d: root differs: %w", p.Index, count, ErrProof)
	}
	return nil
}

// walk checks the position and the number of siblings that a proof claims, and returns the directions of its
// steps: bit i is set where sibling i is on the left.
func walk(index, claimed, count uint64, siblings int) (steps uint64, err error) {
	if claimed != count {
		return 0, fmt.Errorf("for %d leaves instead of %d: %w", claimed, count, ErrProof)
	}
	if index >= count {
		return 0, fmt.Errorf("leaf %d of %d: %w", index, count, ErrProof)
	}
	n := 0
	for i, width := index, count; width > 1; i, width = i/2, width/2+width%2 {
		if i%2 == 1 {
			steps |= 1 << n
		} else if i+1 == width {
			continue // promoted
		}
		n++
	}
	if n != siblings {
		return 0, fmt.Errorf("leaf %d of %d: %d siblings instead of %d: %w", index, count, siblings, n, ErrProof)
	}
	return steps, nil
}

// split returns the largest power of two below n, for n ≥ 2: how many leaves are on the left.
func split(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

func hashLeaf(h types.Hash) types.Hash {
	var b [1 + 32]byte
	b[0] = leafPrefix
	copy(b[1:], h[:])
	return sha256.Sum256(b[:])
}

func hashNode(left, right types.Hash) types.Hash {
	var b [1 + 2*32]byte
	b[0] = nodePrefix
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}
