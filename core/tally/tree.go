package tally

import (
	"bytes"
	"fmt"
	"sort"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// Tree is the devices tree of one state, for proofs. It keeps 80 bytes for each device, and may be read by many
// goroutines at once.
type Tree struct {
	state *State
	keys  []types.Key
	tree  *merkle.SumTree
}

// Tree builds the devices tree of s, whose root and count the header shows.
func (s *State) Tree() (*Tree, error) {
	t := &Tree{state: s}
	var nodes []merkle.Node
	buf := make([]byte, 0, 512)
	for key, line := range s.Lines() {
		t.keys = append(t.keys, key)
		nodes = append(nodes, leafNode(&key, line, buf))
	}
	var err error
	if t.tree, err = merkle.NewSumTree(nodes); err != nil {
		return nil, fmt.Errorf("tally: devices tree of epoch %d: %w", s.Epoch(), err)
	}
	return t, nil
}

// Root returns the tree's root: the header's Devices.
func (t *Tree) Root() merkle.Node { return t.tree.Root() }

// Count returns the number of leaves.
func (t *Tree) Count() uint64 { return uint64(len(t.keys)) }

// Proof returns a device's leaf and its proof, which a claim shows; false for a device without a line.
func (t *Tree) Proof(device types.Key) (Leaf, merkle.SumProof, bool) {
	i := sort.Search(len(t.keys), func(i int) bool { return bytes.Compare(t.keys[i][:], device[:]) >= 0 })
	if i == len(t.keys) || t.keys[i] != device {
		return Leaf{}, merkle.SumProof{}, false
	}
	return t.state.Line(device).Leaf(device), t.tree.Proof(i), true
}

// Rest returns the part of a device's line that its leaf holds by hash: the line's array without the first two
// elements, as an array.
func (l *Line) Rest() []byte { return l.appendRest(l.head(nil, 2)) }

// Leaf returns the leaf of a device's line.
func (l *Line) Leaf(device types.Key) Leaf {
	return Leaf{Device: device, Amount: l.Amount, Penalty: l.Penalty, Rest: types.Sum(l.Rest())}
}

// leafNode returns Leaf(device).Node(), without reflection; buf is scratch space.
func leafNode(device *types.Key, l *Line, buf []byte) merkle.Node {
	buf = l.appendRest(l.head(buf[:0], 2))
	rest := types.Sum(buf)
	buf = types.AppendBytes(append(buf[:0], types.MajorArray|4), device[:])
	buf = types.AppendUint(types.AppendUint(buf, l.Amount), l.Penalty)
	buf = types.AppendBytes(buf, rest[:])
	return merkle.SumLeaf(uint64(l.Amount), types.Sum(buf))
}
