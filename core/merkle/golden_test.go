package merkle

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
)

// digest is leaf i of testdata/trees.json, and amount its sum.
func digest(i int) types.Hash {
	return types.Sum(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

func amount(i int) uint64 { return uint64(i) * uint64(i) * 1000003 % (1 << 40) }

func leaves(n int) (plain []types.Hash, sum []Node) {
	for i := range n {
		plain = append(plain, digest(i))
		sum = append(sum, SumLeaf(amount(i), digest(i)))
	}
	return plain, sum
}

// TestGolden compares with trees that a naive program in another language made from the definition in RFC 9162.
func TestGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/trees.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		About string
		Trees []struct {
			Count   int
			Root    types.Hash
			Sum     uint64
			SumRoot types.Hash `json:"sum_root"`
			Proofs  []struct {
				Index       int
				Start       uint64
				Siblings    []types.Hash
				SumSiblings []Node `json:"sum_siblings"`
			}
		}
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	for _, g := range golden.Trees {
		plain, sum := leaves(g.Count)
		root := Root(plain)
		if kept := NewTree(plain); root != g.Root || kept.Root() != g.Root || kept.Len() != g.Count {
			t.Errorf("%d leaves: root %s, that of a kept tree of %d %s, want %s", g.Count, root, kept.Len(), kept.Root(), g.Root)
		}
		sumRoot, err := SumRoot(sum)
		if want := (Node{Sum: g.Sum, Hash: g.SumRoot}); err != nil || sumRoot != want {
			t.Errorf("%d leaves: sum root %v, %v, want %v", g.Count, sumRoot, err, want)
		}
		count := uint64(g.Count)
		for _, want := range g.Proofs {
			i := want.Index
			p := Prove(plain, i)
			if diff := cmp.Diff(Proof{Index: uint64(i), Count: count, Siblings: want.Siblings}, p, ignoreEmpty); diff != "" {
				t.Errorf("proof of leaf %d of %d (-want +got):\n%s", i, g.Count, diff)
			}
			if err := p.Verify(root, count, plain[i]); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(p, NewTree(plain).Proof(i), ignoreEmpty); diff != "" {
				t.Errorf("proof of leaf %d of a kept tree of %d (-want +got):\n%s", i, g.Count, diff)
			}
			s, err := SumProve(sum, i)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(SumProof{Index: uint64(i), Count: count, Siblings: want.SumSiblings}, s, ignoreEmpty); diff != "" {
				t.Errorf("sum proof of leaf %d of %d (-want +got):\n%s", i, g.Count, diff)
			}
			if start, err := s.Verify(sumRoot, count, sum[i]); err != nil || start != want.Start {
				t.Errorf("leaf %d of %d starts at %d, %v, want %d", i, g.Count, start, err, want.Start)
			}
		}
	}
	if len(golden.Trees) < 20 {
		t.Errorf("only %d golden trees", len(golden.Trees))
	}
}
