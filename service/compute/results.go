package compute

import (
	"fmt"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// MaxLeaves is how many leaves one Results commits to.
const MaxLeaves = 256

// Results is the body of evidence of kind KindResults: a device commits to a run of leaves of one session. Leaf
// i has the index First + i, and covers the session's units from Before, and what the leaves before it cost,
// on. A device commits to leaves again in every epoch in which a receipt needs them.
type Results struct {
	_       struct{} `cbor:",toarray"`
	Session types.SessionID
	First   uint64     // index of the first leaf
	Before  uint64     // what the session's leaves before First cost
	Root    types.Hash // of the sum tree over the leaves
	Count   uint32     // 1 to MaxLeaves
	Fuel    uint64     // the root's sum
}

// maxResults bounds an encoded Results, in bytes.
const maxResults = 128

// Encode returns the body of evidence that r makes.
func (r *Results) Encode() []byte { return types.Encode(r) }

// End is what the session's leaves cost with the last one of r.
func (r *Results) End() uint64 { return r.Before + r.Fuel }

// DecodeResults reads the body of results.
func DecodeResults(body []byte) (*Results, error) {
	r := new(Results)
	if err := types.DecodeLimit(body, r, maxResults); err != nil {
		return nil, fmt.Errorf("compute: results: %w", err)
	}
	if r.Count == 0 || r.Count > MaxLeaves || r.First+uint64(r.Count) < r.First || r.Before+r.Fuel < r.Before {
		return nil, types.Refuse(types.BadEncoding, "compute: results: %d leaves from %d on, %d after %d fuel", r.Count, r.First, r.Fuel, r.Before)
	}
	return r, nil
}

// Verify reports whether p shows that leaf is one of r's, and what the session's leaves before it cost.
func (r *Results) Verify(leaf *Leaf, p *merkle.SumProof) (before uint64, err error) {
	start, err := p.Verify(merkle.Node{Sum: r.Fuel, Hash: r.Root}, uint64(r.Count), leaf.Node())
	if err != nil {
		return 0, err
	}
	if leaf.Session != r.Session || leaf.Index != r.First+p.Index {
		return 0, fmt.Errorf("leaf %d of session %s at place %d: %w", leaf.Index, leaf.Session, r.First+p.Index, merkle.ErrProof)
	}
	return r.Before + start, nil
}

// Tree is the leaves of one Results.
type Tree struct {
	Leaves []Leaf
	tree   *merkle.SumTree
}

// NewTree makes the tree over 1 to MaxLeaves leaves of one session with ascending indices.
func NewTree(leaves []Leaf) (*Tree, error) {
	if len(leaves) == 0 || len(leaves) > MaxLeaves {
		return nil, fmt.Errorf("compute: results of %d leaves, want 1 to %d", len(leaves), MaxLeaves)
	}
	nodes := make([]merkle.Node, len(leaves))
	for i := range leaves {
		l := &leaves[i]
		if l.Session != leaves[0].Session || l.Index != leaves[0].Index+uint64(i) {
			return nil, fmt.Errorf("compute: results: leaf %d of session %s after leaf %d of %s", l.Index, l.Session, leaves[0].Index, leaves[0].Session)
		}
		if err := l.check(); err != nil {
			return nil, err
		}
		nodes[i] = l.Node()
	}
	tree, err := merkle.NewSumTree(nodes)
	if err != nil {
		return nil, fmt.Errorf("compute: results: %w", err)
	}
	return &Tree{Leaves: leaves, tree: tree}, nil
}

// Results returns what commits to the tree. before is what the session's leaves before it cost.
func (t *Tree) Results(before uint64) *Results {
	root := t.tree.Root()
	return &Results{
		Session: t.Leaves[0].Session, First: t.Leaves[0].Index, Before: before,
		Root: root.Hash, Count: uint32(len(t.Leaves)), Fuel: root.Sum,
	}
}

// Prove returns the proof of leaf i.
func (t *Tree) Prove(i int) merkle.SumProof { return t.tree.Proof(i) }
