package merkle

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// ErrSum: the leaves add up to 2⁶⁴ or more.
var ErrSum = errors.New("merkle: sum overflows 64 bits")

// Node is a node of a sum tree: a leaf (SumLeaf), an inner node, or the root.
type Node struct {
	_    struct{} `cbor:",toarray"`
	Sum  uint64   // of all leaves below, in the unit of the tree's user
	Hash types.Hash
}

// SumProof shows that a node is leaf number Index of the Count leaves under a root. At a million leaves its
// encoding stays below 1 KiB.
type SumProof struct {
	_        struct{} `cbor:",toarray"`
	Index    uint64
	Count    uint64
	Siblings []Node // from the leaf upwards; levels where the node is promoted have none
}

// SumLeaf returns the leaf that holds sum and commits to data.
func SumLeaf(sum uint64, data types.Hash) Node {
	var b [1 + 8 + 32]byte
	b[0] = leafPrefix
	binary.BigEndian.PutUint64(b[1:], sum)
	copy(b[9:], data[:])
	return Node{Sum: sum, Hash: sha256.Sum256(b[:])}
}

// SumRoot returns the root of the sum tree over leaves, or ErrSum.
//
// Instead of leaves it takes, equally, the roots of consecutive ranges of them, where every range has the same
// power-of-two number of leaves and only the last may have fewer: ranges can be hashed apart and their roots
// merged.
func SumRoot(leaves []Node) (Node, error) {
	switch len(leaves) {
	case 0:
		return Node{Hash: sha256.Sum256(nil)}, nil
	case 1:
		return leaves[0], nil
	}
	k := split(len(leaves))
	left, err := SumRoot(leaves[:k])
	if err != nil {
		return Node{}, err
	}
	right, err := SumRoot(leaves[k:])
	if err != nil {
		return Node{}, err
	}
	return join(left, right)
}

// SumProve returns the proof of leaf i, hashing all leaves; a SumTree answers many of these faster. It panics
// if there is no such leaf, as an index expression would.
func SumProve(leaves []Node, i int) (SumProof, error) {
	_ = leaves[i]
	p := SumProof{Index: uint64(i), Count: uint64(len(leaves))}
	for len(leaves) > 1 {
		k := split(len(leaves))
		other := leaves[k:]
		if i < k {
			leaves = leaves[:k]
		} else {
			other, leaves, i = leaves[:k], other, i-k
		}
		sib, err := SumRoot(other)
		if err != nil {
			return SumProof{}, err
		}
		p.Siblings = append(p.Siblings, sib)
	}
	slices.Reverse(p.Siblings)
	return p, nil
}

// Verify checks that p shows leaf as number p.Index of the count leaves under root, and returns start, the sum
// of all leaves to its left: the leaf covers the positions start ≤ pos < start + leaf.Sum. The caller takes
// root and count from one signed source, never from whoever sent the proof, and makes leaf itself with SumLeaf.
// All other outcomes are ErrProof.
func (p SumProof) Verify(root Node, count uint64, leaf Node) (start uint64, err error) {
	got, start, err := p.climb(count, leaf)
	if err != nil {
		return 0, err
	}
	if got != root {
		return 0, fmt.Errorf("leaf %d of %d: root differs: %w", p.Index, count, ErrProof)
	}
	return start, nil
}

// Replace verifies p as Verify does, for the leaf old, and returns the root of the same tree with new in its
// place; ErrSum if the new total overflows. It needs no other part of the tree. Proofs of other leaves made
// before are then stale: of several replacements, each proof is made from the tree that the one before left.
func (p SumProof) Replace(root Node, count uint64, old, new Node) (Node, error) {
	if _, err := p.Verify(root, count, old); err != nil {
		return Node{}, err
	}
	if _, carry := bits.Add64(root.Sum-old.Sum, new.Sum, 0); carry != 0 {
		return Node{}, fmt.Errorf("replace leaf %d of %d: %w", p.Index, count, ErrSum)
	}
	got, _, err := p.climb(count, new)
	return got, err
}

// climb returns the root to which p leads from leaf, and the sum on the left.
func (p SumProof) climb(count uint64, leaf Node) (root Node, start uint64, err error) {
	steps, err := walk(p.Index, p.Count, count, len(p.Siblings))
	if err != nil {
		return Node{}, 0, err
	}
	n := leaf
	for i, sib := range p.Siblings {
		left, right := n, sib
		if steps>>i&1 != 0 {
			left, right = sib, n
			start += sib.Sum // at most the node's sum, which join checks
		}
		if n, err = join(left, right); err != nil {
			return Node{}, 0, fmt.Errorf("leaf %d of %d: %w: %w", p.Index, count, err, ErrProof)
		}
	}
	return n, start, nil
}

// join returns the inner node above left and right.
func join(left, right Node) (Node, error) {
	sum, carry := bits.Add64(left.Sum, right.Sum, 0)
	if carry != 0 {
		return Node{}, ErrSum
	}
	var b [1 + 2*(8+32)]byte
	b[0] = nodePrefix
	binary.BigEndian.PutUint64(b[1:], left.Sum)
	copy(b[9:], left.Hash[:])
	binary.BigEndian.PutUint64(b[41:], right.Sum)
	copy(b[49:], right.Hash[:])
	return Node{Sum: sum, Hash: sha256.Sum256(b[:])}, nil
}
