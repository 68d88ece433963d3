package storage

import (
	"errors"
	"fmt"
	"iter"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// Shard is one leaf of a holding. The zero Shard is the slot of one that was declared lost.
type Shard struct {
	_     struct{} `cbor:",toarray"`
	ID    types.Hash
	Bytes uint64 // at most MaxShard
}

// node returns the leaf of the holding's sum tree.
func (s Shard) node() merkle.Node { return merkle.SumLeaf(s.Bytes, s.ID) }

// OpKind says what an Op does.
type OpKind uint8

// The operations on a holding.
const (
	OpAppend OpKind = 1 // the shard takes a new slot at the end
	OpDelete OpKind = 2 // the slot goes; the last one fills the hole
	OpLose   OpKind = 3 // the slot becomes {0, 0}: only by a loss in the tally, never in a commit
)

// Op is one change of a holding. It names slot and shard both, so that two sides which drifted apart notice at once.
type Op struct {
	_     struct{} `cbor:",toarray"`
	Kind  OpKind
	Slot  uint64
	Shard Shard // what is appended, or stands in the slot before
}

// ErrOp is wrapped by every operation that does not fit the list it is applied to.
var ErrOp = errors.New("operation does not fit the holding")

// ErrPast: a revision is not, or no longer, among those that Shards can go back to.
var ErrPast = errors.New("revision is not kept")

// maxPast is how many operations Shards keeps to go back by. At the bound Commit refuses until Forget.
const maxPast = 1 << 20

// Shards is the list behind a holding, in slot order, with its sum tree: customer and device each keep one and
// apply the same operations to it, so that both arrive at the same root in O(log n). It remembers earlier
// revisions until told to forget them, since a challenge asks for the revision in the last tally, and a failed
// commit goes back by one.
//
// It takes about 200 bytes of memory for a shard. It is not safe for concurrent use.
type Shards struct {
	revision uint64
	list     []Shard
	slots    map[types.Hash]uint32 // of all but lost ones
	tree     *merkle.SumTree
	past     []step // ascending by revision
	ops      int    // in past
}

// step is one commit, with what it needs to be undone.
type step struct {
	revision uint64 // after it
	before   uint64
	ops      []Op
}

// NewShards returns the list as it stands at a revision; 0 and none for a session that begins.
func NewShards(revision uint64, list []Shard) (*Shards, error) {
	s := &Shards{revision: revision, slots: make(map[types.Hash]uint32, len(list)), list: make([]Shard, 0, len(list))}
	nodes := make([]merkle.Node, 0, len(list))
	for i, shard := range list {
		if shard != (Shard{}) {
			if err := s.fits(shard); err != nil {
				return nil, fmt.Errorf("storage: slot %d: %w", i, err)
			}
			s.slots[shard.ID] = uint32(i)
		}
		s.list = append(s.list, shard)
		nodes = append(nodes, shard.node())
	}
	tree, err := merkle.NewSumTree(nodes)
	if err != nil {
		return nil, fmt.Errorf("storage: %d shards: %w", len(list), err)
	}
	s.tree = tree
	return s, nil
}

// fits says whether shard can be appended.
func (s *Shards) fits(shard Shard) error {
	if shard.Bytes == 0 || shard.Bytes > MaxShard {
		return fmt.Errorf("shard %s of %d bytes, want 1 to %d: %w", shard.ID, shard.Bytes, MaxShard, ErrOp)
	}
	if at, ok := s.slots[shard.ID]; ok {
		return fmt.Errorf("shard %s is in slot %d already: %w", shard.ID, at, ErrOp)
	}
	if uint64(len(s.list)) >= MaxShards-1 {
		return fmt.Errorf("%d shards already: %w", len(s.list), ErrOp)
	}
	return nil
}

// Revision is the number of the current revision, 0 before the first commit.
func (s *Shards) Revision() uint64 { return s.revision }

// Len is the number of slots, lost ones included.
func (s *Shards) Len() int { return len(s.list) }

// Root returns root and total bytes.
func (s *Shards) Root() merkle.Node { return s.tree.Root() }

// At returns what is in a slot. It panics if there is no such slot, as an index expression would.
func (s *Shards) At(slot int) Shard { return s.list[slot] }

// All yields every slot in order, lost ones included.
func (s *Shards) All() iter.Seq2[int, Shard] {
	return func(yield func(int, Shard) bool) {
		for i, shard := range s.list {
			if !yield(i, shard) {
				return
			}
		}
	}
}

// Slot returns where a shard is.
func (s *Shards) Slot(id types.Hash) (slot int, ok bool) {
	at, ok := s.slots[id]
	return int(at), ok
}

// Append returns the operation that appends shard after n further slots.
func (s *Shards) Append(n int, shard Shard) Op {
	return Op{Kind: OpAppend, Slot: uint64(len(s.list) + n), Shard: shard}
}

// Commit applies operations one after the other and moves to revision, which must be higher than the current
// one. If one of them does not fit, none is applied.
func (s *Shards) Commit(revision uint64, ops []Op) error {
	if revision <= s.revision {
		return fmt.Errorf("storage: commit revision %d onto %d: %w", revision, s.revision, ErrOp)
	}
	if s.ops+len(ops) > maxPast {
		return fmt.Errorf("storage: commit revision %d: %d operations wait for a tally: %w", revision, s.ops, ErrPast)
	}
	for i, op := range ops {
		if err := s.apply(op); err != nil {
			s.undo(ops[:i])
			return fmt.Errorf("storage: commit revision %d: operation %d: %w", revision, i, err)
		}
	}
	s.past = append(s.past, step{revision: revision, before: s.revision, ops: append([]Op(nil), ops...)})
	s.ops += len(ops)
	s.revision = revision
	return nil
}

// Undo takes the last commit back.
func (s *Shards) Undo() error {
	if len(s.past) == 0 {
		return fmt.Errorf("storage: undo revision %d: %w", s.revision, ErrPast)
	}
	last := s.past[len(s.past)-1]
	s.undo(last.ops)
	s.past = s.past[:len(s.past)-1]
	s.ops -= len(last.ops)
	s.revision = last.before
	return nil
}

// Forget drops what is needed to go back beyond revision.
func (s *Shards) Forget(revision uint64) {
	n := 0
	for n < len(s.past) && s.past[n].revision <= revision {
		s.ops -= len(s.past[n].ops)
		n++
	}
	s.past = append([]step(nil), s.past[n:]...)
}

// AsOf calls f while the list is as it was at revision, and then brings it back. f must not change it.
func (s *Shards) AsOf(revision uint64, f func() error) error {
	n := len(s.past)
	for s.revisionAt(n) != revision {
		if n--; n < 0 {
			return fmt.Errorf("storage: view revision %d at %d: %w", revision, s.revision, ErrPast)
		}
	}
	back, now := s.past[n:], s.revision
	for i := len(back) - 1; i >= 0; i-- {
		s.undo(back[i].ops)
	}
	s.revision = revision
	err := f()
	for _, st := range back {
		for _, op := range st.ops {
			if err := s.apply(op); err != nil {
				panic(fmt.Errorf("storage: f changed what it viewed: %w", err))
			}
		}
	}
	s.revision = now
	return err
}

// revisionAt is the revision after the first n steps of the past.
func (s *Shards) revisionAt(n int) uint64 {
	if n == len(s.past) {
		return s.revision
	}
	return s.past[n].before
}

// apply does one operation, or nothing.
func (s *Shards) apply(op Op) error {
	if op.Kind == OpAppend {
		if op.Slot != uint64(len(s.list)) {
			return fmt.Errorf("append at slot %d of %d: %w", op.Slot, len(s.list), ErrOp)
		}
		if err := s.fits(op.Shard); err != nil {
			return err
		}
		if s.tree.Root().Sum+op.Shard.Bytes > MaxBytes {
			return fmt.Errorf("%d bytes already: %w", s.tree.Root().Sum, ErrOp)
		}
		if err := s.tree.Append(op.Shard.node()); err != nil {
			return err
		}
		s.slots[op.Shard.ID] = uint32(op.Slot)
		s.list = append(s.list, op.Shard)
		return nil
	}
	if op.Slot >= uint64(len(s.list)) || s.list[op.Slot] != op.Shard {
		return fmt.Errorf("slot %d of %d does not hold %s: %w", op.Slot, len(s.list), op.Shard.ID, ErrOp)
	}
	slot := int(op.Slot)
	switch op.Kind {
	case OpDelete:
		last := len(s.list) - 1
		s.unname(op.Shard)
		if moved := s.list[last]; slot != last {
			s.list[slot] = moved
			s.name(moved, slot)
		}
		s.list = s.list[:last]
		s.tree.Remove(slot)
	case OpLose:
		if op.Shard == (Shard{}) {
			return fmt.Errorf("slot %d is lost already: %w", slot, ErrOp)
		}
		s.unname(op.Shard)
		s.set(slot, Shard{})
	default:
		return fmt.Errorf("operation of kind %d: %w", op.Kind, ErrOp)
	}
	return nil
}

// undo reverts operations that were applied, from the last to the first. A former state fits, so nothing can fail.
func (s *Shards) undo(ops []Op) {
	for i := len(ops) - 1; i >= 0; i-- {
		op, slot := ops[i], int(ops[i].Slot)
		switch op.Kind {
		case OpAppend:
			s.unname(op.Shard)
			s.list = s.list[:slot]
			s.tree.Remove(slot)
		case OpDelete:
			// Whatever filled the hole goes back to the end.
			moved := op.Shard
			if slot < len(s.list) {
				moved = s.list[slot]
			}
			s.list = append(s.list, moved)
			_ = s.tree.Append(moved.node())
			s.name(moved, len(s.list)-1)
			s.set(slot, op.Shard)
			s.name(op.Shard, slot)
		case OpLose:
			s.set(slot, op.Shard)
			s.name(op.Shard, slot)
		}
	}
}

// set replaces what is in a slot by something that the total has room for.
func (s *Shards) set(slot int, shard Shard) {
	s.list[slot] = shard
	_ = s.tree.Set(slot, shard.node())
}

func (s *Shards) name(shard Shard, slot int) {
	if shard != (Shard{}) {
		s.slots[shard.ID] = uint32(slot)
	}
}

func (s *Shards) unname(shard Shard) {
	if shard != (Shard{}) {
		delete(s.slots, shard.ID)
	}
}
