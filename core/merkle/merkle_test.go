package merkle

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cairn-network/cairn/core/types"
)

var ignoreEmpty = cmpopts.EquateEmpty()

func TestEveryLeafProves(t *testing.T) {
	for n := 1; n <= 70; n++ {
		plain, sum := leaves(n)
		root := Root(plain)
		sumRoot, _ := SumRoot(sum)
		start := uint64(0)
		for i := range n {
			if err := Prove(plain, i).Verify(root, uint64(n), plain[i]); err != nil {
				t.Errorf("%d leaves: %v", n, err)
			}
			p, _ := SumProve(sum, i)
			if got, err := p.Verify(sumRoot, uint64(n), sum[i]); err != nil || got != start {
				t.Errorf("%d leaves: leaf %d starts at %d, %v, want %d", n, i, got, err, start)
			}
			start += sum[i].Sum
		}
	}
}

// TestForgedProofs holds each way of bending a true proof against the verifier.
func TestForgedProofs(t *testing.T) {
	other := SumLeaf(5, types.Sum([]byte("other")))
	forge := map[string]func(p *SumProof, leaf *Node) bool{
		"truncated":         func(p *SumProof, _ *Node) bool { p.Siblings = p.Siblings[:len(p.Siblings)-1]; return true },
		"first cut":         func(p *SumProof, _ *Node) bool { p.Siblings = p.Siblings[1:]; return true },
		"extended":          func(p *SumProof, _ *Node) bool { p.Siblings = append(p.Siblings, other); return true },
		"extended by empty": func(p *SumProof, _ *Node) bool { p.Siblings = append(p.Siblings, Node{}); return true },
		"reordered": func(p *SumProof, _ *Node) bool {
			slices.Reverse(p.Siblings)
			return len(p.Siblings) > 1
		},
		"changed hash": func(p *SumProof, _ *Node) bool { p.Siblings[0].Hash[31] ^= 1; return true },
		"changed sum":  func(p *SumProof, _ *Node) bool { p.Siblings[0].Sum++; return true },
		// One leaf claims more and its sibling less: the total and the root's sum stay.
		"moved sum": func(p *SumProof, leaf *Node) bool {
			if p.Siblings[0].Sum == 0 {
				return false
			}
			p.Siblings[0].Sum--
			leaf.Sum++
			return true
		},
		"leaf's sum":    func(_ *SumProof, leaf *Node) bool { leaf.Sum++; return true },
		"other leaf":    func(_ *SumProof, leaf *Node) bool { *leaf = other; return true },
		"index below":   func(p *SumProof, _ *Node) bool { p.Index--; return true },
		"index above":   func(p *SumProof, _ *Node) bool { p.Index++; return true },
		"index beyond":  func(p *SumProof, _ *Node) bool { p.Index += p.Count; return true },
		"count claimed": func(p *SumProof, _ *Node) bool { p.Count++; return true },
		"no count":      func(p *SumProof, _ *Node) bool { p.Count = 0; return true },
		"overflow":      func(p *SumProof, _ *Node) bool { p.Siblings[0].Sum = 1<<64 - 1; return p.Index > 1 },
		// The inner node above the leaf shown as a leaf, with the rest of the path.
		"node as leaf": func(p *SumProof, leaf *Node) bool {
			l, r := *leaf, p.Siblings[0]
			if p.Index%2 == 1 {
				l, r = r, l
			}
			*leaf, _ = join(l, r)
			p.Siblings, p.Index = p.Siblings[1:], p.Index/2
			return true
		},
	}
	for name, bend := range forge {
		tried := 0
		for _, n := range []int{2, 3, 5, 8, 13} {
			plain, sum := leaves(n)
			root, _ := SumRoot(sum)
			for i := range n {
				p, _ := SumProve(sum, i)
				leaf := sum[i]
				if !bend(&p, &leaf) {
					continue
				}
				tried++
				if _, err := p.Verify(root, uint64(n), leaf); !errors.Is(err, ErrProof) {
					t.Errorf("%s, leaf %d of %d: %v", name, i, n, err)
				}
				if _, err := p.Replace(root, uint64(n), leaf, other); !errors.Is(err, ErrProof) {
					t.Errorf("%s, leaf %d of %d: replaced: %v", name, i, n, err)
				}
				// The same for the plain tree, where the forgery says something about hashes or positions.
				pp := Proof{Index: p.Index, Count: p.Count, Siblings: Prove(plain, i).Siblings}
				h := plain[i]
				switch name {
				case "node as leaf":
					l, r := hashLeaf(h), pp.Siblings[0]
					if i%2 == 1 {
						l, r = r, l
					}
					h, pp.Siblings = hashNode(l, r), pp.Siblings[1:]
				case "other leaf":
					h = other.Hash
				case "truncated", "first cut":
					pp.Siblings = pp.Siblings[1:]
				case "extended":
					pp.Siblings = append(pp.Siblings, other.Hash)
				case "reordered":
					slices.Reverse(pp.Siblings)
				case "changed hash":
					pp.Siblings[0][0] ^= 0x80
				case "changed sum", "moved sum", "leaf's sum", "overflow", "extended by empty":
					continue
				}
				if err := pp.Verify(Root(plain), uint64(n), h); !errors.Is(err, ErrProof) {
					t.Errorf("plain, %s, leaf %d of %d: %v", name, i, n, err)
				}
			}
		}
		if tried < 8 {
			t.Errorf("%s: only %d forgeries tried", name, tried)
		}
	}
}

// TestRootSumCounts: the total beside the root's hash is part of what a proof is held against.
func TestRootSumCounts(t *testing.T) {
	for n := 1; n <= 5; n++ {
		_, sum := leaves(n)
		root, _ := SumRoot(sum)
		p, _ := SumProve(sum, n-1)
		root.Sum++
		if _, err := p.Verify(root, uint64(n), sum[n-1]); !errors.Is(err, ErrProof) {
			t.Errorf("%d leaves: a root with another total: %v", n, err)
		}
	}
	leaf := SumLeaf(7, types.Hash{1})
	more := leaf
	more.Sum++
	if _, err := (SumProof{Count: 1}).Verify(leaf, 1, more); !errors.Is(err, ErrProof) {
		t.Errorf("a single leaf with another sum: %v", err)
	}
}

// TestNodeIsNoLeaf: the digest of two children, put in a tree as data, does not give the tree that has those
// children.
func TestNodeIsNoLeaf(t *testing.T) {
	plain, sum := leaves(4)
	inner := []types.Hash{
		hashNode(hashLeaf(plain[0]), hashLeaf(plain[1])),
		hashNode(hashLeaf(plain[2]), hashLeaf(plain[3])),
	}
	if Root(inner) == Root(plain) {
		t.Error("plain: two nodes pass for leaves")
	}
	l, _ := join(sum[0], sum[1])
	r, _ := join(sum[2], sum[3])
	short, _ := SumRoot([]Node{SumLeaf(l.Sum, l.Hash), SumLeaf(r.Sum, r.Hash)})
	long, _ := SumRoot(sum)
	if short == long {
		t.Error("sum: two nodes pass for leaves")
	}
	// As nodes they do lead to the same root (that is how ranges merge), so the count must be what tells trees apart.
	p := SumProof{Index: 0, Count: 2, Siblings: []Node{r}}
	if _, err := p.Verify(long, 2, l); err != nil {
		t.Errorf("the attack that the count prevents is not real: %v", err)
	}
	if _, err := p.Verify(long, 4, l); !errors.Is(err, ErrProof) {
		t.Errorf("a node of a tree of 4 passes for a leaf: %v", err)
	}
	// The last leaf of three looks like the second of two: only the trusted count keeps its index true.
	plain, _ = leaves(3)
	q := Prove(plain, 2)
	q.Index, q.Count = 1, 2
	if err := q.Verify(Root(plain), 3, plain[2]); !errors.Is(err, ErrProof) {
		t.Errorf("leaf 2 of 3 passes for leaf 1: %v", err)
	}
}

func TestSumOverflow(t *testing.T) {
	a, b := SumLeaf(1<<63, types.Hash{1}), SumLeaf(1<<63, types.Hash{2})
	for _, set := range [][]Node{{a, b}, {a, SumLeaf(0, types.Hash{}), b}, {a, a, b, b}} {
		if _, err := SumRoot(set); !errors.Is(err, ErrSum) {
			t.Errorf("root over %d leaves: %v", len(set), err)
		}
		if _, err := NewSumTree(set); !errors.Is(err, ErrSum) {
			t.Errorf("tree over %d leaves: %v", len(set), err)
		}
	}
	if _, err := SumProve([]Node{a, b, a}, 2); !errors.Is(err, ErrSum) {
		t.Errorf("proof: %v", err)
	}
	most := SumLeaf(1<<63-1, types.Hash{3})
	tree, err := NewSumTree([]Node{a, most})
	if err != nil {
		t.Fatal(err)
	}
	root := tree.Root()
	if root.Sum != 1<<64-1 {
		t.Fatalf("sum %d", root.Sum)
	}
	if err := tree.Append(SumLeaf(1, types.Hash{4})); !errors.Is(err, ErrSum) {
		t.Errorf("append: %v", err)
	}
	if err := tree.Set(1, b); !errors.Is(err, ErrSum) {
		t.Errorf("set: %v", err)
	}
	if tree.Root() != root || tree.Len() != 2 {
		t.Error("a refused change left its mark")
	}
	if _, err := tree.Proof(1).Replace(root, 2, most, b); !errors.Is(err, ErrSum) {
		t.Errorf("replace: %v", err)
	}
}

// TestSumRangesMerge splits a tree into ranges of every power of two.
func TestSumRangesMerge(t *testing.T) {
	_, sum := leaves(300)
	for _, n := range []int{1, 2, 7, 64, 65, 255, 256, 300} {
		want, _ := SumRoot(sum[:n])
		for size := 1; size <= 512; size *= 2 {
			var parts []Node
			for part := range slices.Chunk(sum[:n], size) {
				root, err := SumRoot(part)
				if err != nil {
					t.Fatal(err)
				}
				parts = append(parts, root)
			}
			if got, err := SumRoot(parts); err != nil || got != want {
				t.Errorf("%d leaves in ranges of %d: %v, %v, want %v", n, size, got, err, want)
			}
		}
	}
}

// TestEncodingSize holds the size of a proof at a million leaves, and its exact round trip.
func TestEncodingSize(t *testing.T) {
	const n = 1_000_000
	p := SumProof{Index: n / 3, Count: n}
	for range 20 {
		p.Siblings = append(p.Siblings, Node{Sum: 1<<64 - 1, Hash: types.Hash{1}})
	}
	if _, err := walk(p.Index, p.Count, n, len(p.Siblings)); err != nil {
		t.Fatal(err)
	}
	b := types.Encode(p)
	if len(b) > 1024 {
		t.Errorf("%d bytes", len(b))
	}
	var back SumProof
	if err := types.Decode(b, &back); err != nil || !slices.Equal(back.Siblings, p.Siblings) {
		t.Errorf("decoded %v, %v", back, err)
	}
	if node := types.Encode(Node{Sum: 24}); len(node) != 1+2+34 || node[0] != 0x82 {
		t.Errorf("node encodes as %x", node)
	}
}

func BenchmarkSumRootMillion(b *testing.B) {
	set := make([]Node, 1_000_000)
	for i := range set {
		set[i] = SumLeaf(uint64(i), types.Hash{byte(i)})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := SumRoot(set); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSumTreeMillion(b *testing.B) {
	set := make([]Node, 1_000_000)
	for i := range set {
		set[i] = SumLeaf(uint64(i), types.Hash{byte(i)})
	}
	tree, _ := NewSumTree(set)
	root := tree.Root()
	p := tree.Proof(333_333)
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Verify(root, 1_000_000, set[333_333]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("set", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = tree.Set(333_333, set[1])
		}
	})
	b.Run("find", func(b *testing.B) {
		for b.Loop() {
			tree.Find(root.Sum / 3)
		}
	})
}
