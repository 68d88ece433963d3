package storage

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// naive is what Shards must equal: every revision's list in full.
type naive struct {
	at   []uint64
	list [][]Shard
}

func (n *naive) now() []Shard { return n.list[len(n.list)-1] }

func rootOf(t *rapid.T, list []Shard) merkle.Node {
	nodes := make([]merkle.Node, len(list))
	for i := range list {
		nodes[i] = merkle.SumLeaf(list[i].Bytes, list[i].ID)
	}
	root, err := merkle.SumRoot(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestShardsEqualsNaive: two sides that apply the same operations, undo them and look back, against plain lists.
func TestShardsEqualsNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := NewShards(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		model := &naive{at: []uint64{0}, list: [][]Shard{nil}}
		next := uint64(0)
		shard := func() Shard {
			next++
			id := types.Sum(binary.BigEndian.AppendUint64(nil, next))
			return Shard{ID: id, Bytes: rapid.Uint64Range(1, MaxShard).Draw(t, "bytes")}
		}
		t.Repeat(map[string]func(*rapid.T){
			"commit": func(t *rapid.T) {
				list := slices.Clone(model.now())
				var ops []Op
				for range rapid.IntRange(1, 6).Draw(t, "ops") {
					slot := 0
					if len(list) > 0 {
						slot = rapid.IntRange(0, len(list)-1).Draw(t, "slot")
					}
					switch kind := OpKind(rapid.IntRange(1, 4).Draw(t, "kind")); {
					case kind == OpDelete && len(list) > 0:
						ops = append(ops, Op{Kind: OpDelete, Slot: uint64(slot), Shard: list[slot]})
						list[slot] = list[len(list)-1]
						list = list[:len(list)-1]
					case kind == OpLose && len(list) > 0 && list[slot] != (Shard{}):
						ops = append(ops, Op{Kind: OpLose, Slot: uint64(slot), Shard: list[slot]})
						list[slot] = Shard{}
					default:
						ops = append(ops, Op{Kind: OpAppend, Slot: uint64(len(list)), Shard: shard()})
						list = append(list, ops[len(ops)-1].Shard)
					}
				}
				revision := s.Revision() + rapid.Uint64Range(1, 3).Draw(t, "step")
				if rapid.Bool().Draw(t, "spoil") {
					bad := append(slices.Clone(ops), Op{Kind: OpDelete, Slot: uint64(len(list)), Shard: shard()})
					if err := s.Commit(revision, bad); !errors.Is(err, ErrOp) {
						t.Fatalf("a commit with a bad operation: %v", err)
					}
					return
				}
				if err := s.Commit(revision, ops); err != nil {
					t.Fatal(err)
				}
				model.at, model.list = append(model.at, revision), append(model.list, list)
			},
			"undo": func(t *rapid.T) {
				err := s.Undo()
				if len(model.at) == 1 {
					if !errors.Is(err, ErrPast) {
						t.Fatalf("undo of nothing: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				model.at, model.list = model.at[:len(model.at)-1], model.list[:len(model.list)-1]
			},
			"forget": func(t *rapid.T) {
				i := rapid.IntRange(0, len(model.at)-1).Draw(t, "revision")
				s.Forget(model.at[i])
				model.at, model.list = model.at[i:], model.list[i:]
			},
			"lose": func(t *rapid.T) {
				var slots []int
				for i, x := range model.now() {
					if x != (Shard{}) && len(slots) < 3 {
						slots = append(slots, i)
					}
				}
				if len(slots) == 0 {
					t.Skip("nothing to lose")
				}
				l, err := NewLoss(types.SessionID{}, s, slots)
				if err != nil {
					t.Fatal(err)
				}
				list, root := slices.Clone(model.now()), rootOf(t, model.now())
				for i, lost := range l.Slots {
					proof := lost.Path.proof(lost.Slot, uint64(len(list)))
					if root, err = proof.Replace(root, uint64(len(list)), lost.Shard.node(), Shard{}.node()); err != nil {
						t.Fatal(err)
					}
					list[slots[i]] = Shard{}
				}
				if root != rootOf(t, list) {
					t.Fatalf("the loss leads to %v, want %v", root, rootOf(t, list))
				}
				model.at, model.list = append(model.at, s.Revision()), append(model.list, list)
			},
			"": func(t *rapid.T) {
				for i := range model.at {
					err := s.AsOf(model.at[i], func() error {
						list := model.list[i]
						if s.Len() != len(list) || s.Root() != rootOf(t, list) || s.Revision() != model.at[i] {
							t.Fatalf("revision %d: %d shards, root %v; want %d, %v", s.Revision(), s.Len(), s.Root(), len(list), rootOf(t, list))
						}
						for slot, x := range s.All() {
							if x != list[slot] {
								t.Fatalf("slot %d is %v, want %v", slot, x, list[slot])
							}
							if at, ok := s.Slot(x.ID); x != (Shard{}) && (!ok || at != slot) {
								t.Fatalf("shard %s is in slot %d, %t; want %d", x.ID, at, ok, slot)
							}
						}
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				again, err := NewShards(s.Revision(), model.now())
				if err != nil || again.Root() != s.Root() {
					t.Fatalf("loaded anew: %v, %v; want %v", again.Root(), err, s.Root())
				}
			},
		})
	})
}

func TestShardsRefuses(t *testing.T) {
	a, b := Shard{ID: types.Hash{1}, Bytes: 5}, Shard{ID: types.Hash{2}, Bytes: 6}
	for name, ops := range map[string][]Op{
		"append at a wrong slot":     {{Kind: OpAppend, Slot: 2, Shard: b}},
		"append twice":               {{Kind: OpAppend, Slot: 1, Shard: a}},
		"append no bytes":            {{Kind: OpAppend, Slot: 1, Shard: Shard{ID: types.Hash{3}}}},
		"append too large":           {{Kind: OpAppend, Slot: 1, Shard: Shard{ID: types.Hash{3}, Bytes: MaxShard + 1}}},
		"delete another shard":       {{Kind: OpDelete, Slot: 0, Shard: b}},
		"delete with another length": {{Kind: OpDelete, Slot: 0, Shard: Shard{ID: a.ID, Bytes: 6}}},
		"delete beyond the end":      {{Kind: OpDelete, Slot: 1, Shard: b}},
		"lose twice":                 {{Kind: OpLose, Slot: 0, Shard: a}, {Kind: OpLose, Slot: 0}},
		"unknown":                    {{Kind: 9, Slot: 0, Shard: a}},
	} {
		s, err := NewShards(4, []Shard{a})
		if err != nil {
			t.Fatal(err)
		}
		before := s.Root()
		if err := s.Commit(5, ops); !errors.Is(err, ErrOp) {
			t.Errorf("%s: %v", name, err)
		}
		if s.Root() != before || s.Revision() != 4 || s.Len() != 1 {
			t.Errorf("%s: left something behind", name)
		}
	}
	s, _ := NewShards(4, []Shard{a})
	if err := s.Commit(4, nil); !errors.Is(err, ErrOp) {
		t.Errorf("a commit to the same revision: %v", err)
	}
	if err := s.AsOf(3, func() error { return nil }); !errors.Is(err, ErrPast) {
		t.Errorf("a view of a revision never seen: %v", err)
	}
	if _, err := NewLoss(types.SessionID{}, s, []int{0, 0}); !errors.Is(err, ErrOp) || s.Revision() != 4 || s.At(0) != a {
		t.Errorf("a loss of one slot twice: %v", err)
	}
	if _, err := NewShards(1, []Shard{a, a}); !errors.Is(err, ErrOp) {
		t.Errorf("one shard twice: %v", err)
	}
	full, _ := NewShards(1, nil)
	full.ops = maxPast
	if err := full.Commit(2, []Op{full.Append(0, a)}); !errors.Is(err, ErrPast) {
		t.Errorf("a commit beyond what can be undone: %v", err)
	}
}
