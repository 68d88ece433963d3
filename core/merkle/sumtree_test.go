package merkle

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

// naive is what a SumTree must equal: the leaves, everything recomputed.
type naive []Node

func (n naive) total() (sum uint64, ok bool) {
	ok = true
	for _, l := range n {
		ok = ok && sum+l.Sum >= sum
		sum += l.Sum
	}
	return sum, ok
}

func drawLeaf(t *rapid.T) Node {
	sum := rapid.OneOf(
		rapid.Uint64Range(0, 3), // empty leaves are what Find has to step over
		rapid.Uint64Range(0, 1<<40),
		rapid.Uint64Range(1<<62, 1<<64-1), // soon overflows
	).Draw(t, "sum")
	return SumLeaf(sum, types.Hash{rapid.Byte().Draw(t, "data")})
}

func TestSumTreeEqualsNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := naive{}
		for range rapid.IntRange(0, 40).Draw(t, "first") {
			if l := drawLeaf(t); l.Sum <= 1<<40 {
				model = append(model, l)
			}
		}
		tree, err := NewSumTree(model)
		if err != nil {
			t.Fatal(err)
		}
		// try applies a change to the model, and says whether the tree must refuse it.
		try := func(change func(naive) naive, err error) {
			next := change(append(naive(nil), model...))
			if _, ok := next.total(); ok != (err == nil) {
				t.Fatalf("fits: %t, error: %v", ok, err)
			} else if ok {
				model = next
			} else if !errors.Is(err, ErrSum) {
				t.Fatal(err)
			}
		}
		index := func() int { return rapid.IntRange(0, len(model)-1).Draw(t, "index") }
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				l := drawLeaf(t)
				try(func(n naive) naive { return append(n, l) }, tree.Append(l))
			},
			"set": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("empty")
				}
				i, l := index(), drawLeaf(t)
				try(func(n naive) naive { n[i] = l; return n }, tree.Set(i, l))
			},
			"remove": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("empty")
				}
				i := index()
				tree.Remove(i)
				try(func(n naive) naive { n[i] = n[len(n)-1]; return n[:len(n)-1] }, nil)
			},
			"replace by proof": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("empty")
				}
				i, l := index(), drawLeaf(t)
				got, err := tree.Proof(i).Replace(tree.Root(), uint64(len(model)), model[i], l)
				try(func(n naive) naive { n[i] = l; return n }, err)
				if err == nil {
					if err := tree.Set(i, l); err != nil || got != tree.Root() {
						t.Fatalf("replaced: %v, set: %v, %v", got, tree.Root(), err)
					}
				}
			},
			"": func(t *rapid.T) { same(t, tree, model) },
		})
	})
}

// same compares everything that a tree answers.
func same(t *rapid.T, tree *SumTree, model naive) {
	want, err := SumRoot(model)
	if err != nil || tree.Root() != want || tree.Len() != len(model) {
		t.Fatalf("root %v of %d, want %v of %d, %v", tree.Root(), tree.Len(), want, len(model), err)
	}
	start := uint64(0)
	for i, l := range model {
		if tree.Leaf(i) != l {
			t.Fatalf("leaf %d is %v, want %v", i, tree.Leaf(i), l)
		}
		got, err := tree.Proof(i).Verify(want, uint64(len(model)), l)
		if err != nil || got != start {
			t.Fatalf("leaf %d starts at %d, %v, want %d", i, got, err, start)
		}
		if l.Sum > 0 {
			for _, pos := range []uint64{start, start + l.Sum/2, start + l.Sum - 1} {
				if j, s, ok := tree.Find(pos); !ok || j != i || s != start {
					t.Fatalf("position %d is in leaf %d at %d, %t, want %d at %d", pos, j, s, ok, i, start)
				}
			}
		}
		start += l.Sum
	}
	if i, _, ok := tree.Find(start); ok {
		t.Fatalf("position %d, the total, is in leaf %d", start, i)
	}
}

// FuzzSumProof decodes a proof from anything. What verifies must be the proof that the tree itself gives.
func FuzzSumProof(f *testing.F) {
	for n := 1; n <= 9; n++ {
		_, sum := leaves(n)
		for i := range sum {
			p, _ := SumProve(sum, i)
			f.Add(types.Encode(p), byte(n-1), byte(i))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, n, i byte) {
		var p SumProof
		if types.Decode(raw, &p) != nil {
			return
		}
		_, sum := leaves(int(n%32) + 1)
		leaf := sum[int(i)%len(sum)]
		root, _ := SumRoot(sum)
		if _, err := p.Verify(root, uint64(len(sum)), leaf); err != nil {
			return
		}
		honest, _ := SumProve(sum, int(i)%len(sum))
		if !bytes.Equal(types.Encode(p), types.Encode(honest)) {
			t.Fatalf("%d leaves, leaf %d: verified %v, the proof is %v", len(sum), i, p, honest)
		}
	})
}

// FuzzProof is FuzzSumProof for the plain tree.
func FuzzProof(f *testing.F) {
	for n := 1; n <= 9; n++ {
		plain, _ := leaves(n)
		for i := range plain {
			f.Add(types.Encode(Prove(plain, i)), byte(n-1), byte(i))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, n, i byte) {
		var p Proof
		if types.Decode(raw, &p) != nil {
			return
		}
		plain, _ := leaves(int(n%32) + 1)
		j := int(i) % len(plain)
		if p.Verify(Root(plain), uint64(len(plain)), plain[j]) != nil {
			return
		}
		if !bytes.Equal(types.Encode(p), types.Encode(Prove(plain, j))) {
			t.Fatalf("%d leaves, leaf %d: verified %v", len(plain), j, p)
		}
	})
}
