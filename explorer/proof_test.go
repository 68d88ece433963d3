package explorer

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/ledger"
)

// tree is a final tally of n devices, as a chain keeps its header and a verifier its leaves.
type tree struct {
	chain
	digests
	leaves []tally.Leaf
	header *tally.Header
}

func newTree(t *testing.T, n int) *tree {
	t.Helper()
	x := new(tree)
	var nodes []merkle.Node
	for i := range n {
		l := tally.Leaf{Device: key(byte(i + 1)), Amount: types.Ustone(i) * 1_000_003, Penalty: types.Ustone(i % 3), Rest: types.Sum([]byte{byte(i)})}
		x.leaves = append(x.leaves, l)
		nodes = append(nodes, l.Node())
	}
	root, err := merkle.SumRoot(nodes)
	if err != nil {
		t.Fatal(err)
	}
	x.header = &tally.Header{Chain: "cairn-test-1", Epoch: 300, Devices: root, Count: uint64(n), VRF: []byte{1}}
	return x
}

func (x *tree) Header(context.Context, types.Epoch, types.Region) (*ledger.Header, error) {
	return &ledger.Header{Epoch: 300, Status: ledger.Final, Raw: x.header.Encode(), Hash: x.header.Hash()}, nil
}

func (x *tree) Claim(_ context.Context, device types.Key) (*ledger.Claim, error) {
	var nodes []merkle.Node
	at := -1
	for i := range x.leaves {
		if nodes = append(nodes, x.leaves[i].Node()); x.leaves[i].Device == device {
			at = i
		}
	}
	p, err := merkle.SumProve(nodes, at)
	return &ledger.Claim{Epoch: 300, Leaf: x.leaves[at], Proof: p}, err
}

// TestProof: what is served has stable names, leads to the header, and is checked by the program in
// docs/proof.md, which refuses each way to lie.
func TestProof(t *testing.T) {
	page, err := os.ReadFile("../docs/proof.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(page), "```js\n")
	program, _, ok := strings.Cut(program, "```")
	if !ok {
		t.Fatal("docs/proof.md has no program")
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "check.mjs")
	if err := os.WriteFile(script, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(proof []byte) (string, error) {
		file := filepath.Join(dir, "proof.json")
		if err := os.WriteFile(file, proof, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "node", script, file).CombinedOutput()
		return string(out), err
	}
	_, missing := exec.LookPath("node")
	x := newTree(t, 7)
	e := newExplorer(t, "", &x.chain, nil)
	e.ledger, e.tallies = x, x
	h := e.Handler()
	for _, i := range []int{0, 5, 6} { // the last one is promoted twice
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/api/proof/"+x.leaves[i].Device.String(), nil))
		for _, name := range []string{`"epoch":300`, `"header":"`, `"leaf":{"device":"did:key:z6Mk`, `"amount":"`, `"siblings":[{"sum":"`} {
			if !strings.Contains(w.Body.String(), name) {
				t.Errorf("no %s in %s", name, w.Body)
			}
		}
		var p Proof
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		c := p.Claim()
		if _, err := c.Proof.Verify(x.header.Devices, x.header.Count, c.Leaf.Node()); err != nil || c.Leaf != x.leaves[i] {
			t.Errorf("leaf %d: %v", i, err)
		}
		if missing != nil {
			continue
		}
		out, err := check(w.Body.Bytes())
		if err != nil || !strings.Contains(out, x.header.Hash().String()) {
			t.Errorf("leaf %d: %v\n%s", i, err, out)
		}
		for lie, edit := range map[string]func(*Proof){
			"amount":   func(p *Proof) { p.Leaf.Amount++ },
			"device":   func(p *Proof) { p.Leaf.Device = key(99) },
			"index":    func(p *Proof) { p.Index ^= 1 },
			"sibling":  func(p *Proof) { p.Siblings[0].Sum++ },
			"too many": func(p *Proof) { p.Siblings = append(p.Siblings, Sibling{}) },
			"epoch":    func(p *Proof) { p.Epoch++ },
		} {
			var bad Proof
			json.Unmarshal(w.Body.Bytes(), &bad)
			edit(&bad)
			raw, _ := json.Marshal(&bad)
			if out, err := check(raw); err == nil || !strings.Contains(out, "NOT PROVEN") {
				t.Errorf("leaf %d with another %s: %s", i, lie, out)
			}
		}
	}
	if missing != nil {
		testutil.Missing(t, "node, for the program in docs/proof.md,")
	}
}
