package merkle

import (
	"crypto/sha256"
	"fmt"
	"math/bits"
)

// SumTree is a sum tree that changes: leaves are added, replaced and removed, and root, proofs and positions
// are found in O(log n). It keeps all nodes, 80 bytes for each leaf. A SumTree is not safe for concurrent use.
type SumTree struct {
	// levels[0] are the leaves, the last level is the root alone. A level of n nodes lies under one of ⌈n/2⌉;
	// the last node of an odd level appears above itself unchanged. An empty tree has no level.
	levels [][]Node
}

// NewSumTree returns the tree over leaves, which it copies, or ErrSum.
func NewSumTree(leaves []Node) (*SumTree, error) {
	t := &SumTree{}
	if len(leaves) == 0 {
		return t, nil
	}
	t.levels = append(t.levels, append([]Node(nil), leaves...))
	for below := t.levels[0]; len(below) > 1; {
		level := make([]Node, (len(below)+1)/2)
		for j := range level {
			n, err := above(below, j)
			if err != nil {
				return nil, fmt.Errorf("tree of %d leaves: %w", len(leaves), err)
			}
			level[j] = n
		}
		t.levels = append(t.levels, level)
		below = level
	}
	return t, nil
}

// above returns node j of the level above below.
func above(below []Node, j int) (Node, error) {
	if 2*j+1 == len(below) {
		return below[2*j], nil
	}
	return join(below[2*j], below[2*j+1])
}

// Len returns the number of leaves.
func (t *SumTree) Len() int {
	if len(t.levels) == 0 {
		return 0
	}
	return len(t.levels[0])
}

// Leaf returns leaf i. It panics if there is no such leaf, as an index expression would; so do Set, Remove and Proof.
func (t *SumTree) Leaf(i int) Node { return t.levels[0][i] }

// Root returns the root, which is what SumRoot returns for the same leaves.
func (t *SumTree) Root() Node {
	if len(t.levels) == 0 {
		return Node{Hash: sha256.Sum256(nil)}
	}
	return t.levels[len(t.levels)-1][0]
}

// Append adds a leaf at the end. With ErrSum it changes nothing.
func (t *SumTree) Append(leaf Node) error {
	if _, carry := bits.Add64(t.Root().Sum, leaf.Sum, 0); carry != 0 {
		return fmt.Errorf("append leaf %d: %w", t.Len(), ErrSum)
	}
	if len(t.levels) == 0 {
		t.levels = append(t.levels, nil)
	}
	t.levels[0] = append(t.levels[0], leaf)
	t.mend(t.Len() - 1)
	return nil
}

// Set replaces leaf i. With ErrSum it changes nothing.
func (t *SumTree) Set(i int, leaf Node) error {
	if _, carry := bits.Add64(t.Root().Sum-t.Leaf(i).Sum, leaf.Sum, 0); carry != 0 {
		return fmt.Errorf("set leaf %d: %w", i, ErrSum)
	}
	t.levels[0][i] = leaf
	t.mend(i)
	return nil
}

// Remove takes leaf i away; the last leaf fills the hole.
func (t *SumTree) Remove(i int) {
	leaves, last := t.levels[0], t.Len()-1
	leaves[i] = leaves[last]
	t.levels[0] = leaves[:last]
	if last == 0 {
		t.levels = nil
		return
	}
	t.mend(last - 1) // the new right edge
	if i < last-1 {
		t.mend(i)
	}
}

// mend makes every level as long as the one below demands and recomputes the nodes above leaf i. The caller has
// made sure that the total does not overflow, so no part of it does.
func (t *SumTree) mend(i int) {
	k := 0
	for ; len(t.levels[k]) > 1; k++ {
		if k+1 == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		below, level := t.levels[k], t.levels[k+1]
		if n := (len(below) + 1) / 2; n > len(level) {
			level = append(level, Node{}) // only Append lengthens, by one leaf, and i is its path
		} else {
			level = level[:n]
		}
		i /= 2
		level[i], _ = above(below, i)
		t.levels[k+1] = level
	}
	t.levels = t.levels[:k+1]
}

// Proof returns the proof of leaf i against Root.
func (t *SumTree) Proof(i int) SumProof {
	_ = t.Leaf(i)
	p := SumProof{Index: uint64(i), Count: uint64(t.Len())}
	for _, level := range t.levels[:len(t.levels)-1] {
		if sib := i ^ 1; sib < len(level) {
			p.Siblings = append(p.Siblings, level[sib])
		}
		i /= 2
	}
	return p
}

// Find returns the leaf that covers pos, counted from the left: start ≤ pos < start + its sum. ok is false
// where pos is not below the total. A leaf of sum 0 covers nothing.
func (t *SumTree) Find(pos uint64) (i int, start uint64, ok bool) {
	if pos >= t.Root().Sum {
		return 0, 0, false
	}
	for k := len(t.levels) - 2; k >= 0; k-- {
		i *= 2
		if left := t.levels[k][i].Sum; pos-start >= left {
			start += left
			i++
		}
	}
	return i, start, true
}
