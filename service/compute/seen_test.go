package compute

import (
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// TestSeen: what an auditor calls of a leaf fits into a call, says where it is, and shows the commitment; not that to
// another leaf, in another place, of other fuel, or by somebody else.
func TestSeen(t *testing.T) {
	const maxCall = 1 << 10 // role.MaxCall
	chain := strings.Repeat("c", 50)
	device := types.NewPrivateKey([32]byte{1})
	session := types.NewSessionID(1<<40, [12]byte{1})
	var leaves []Leaf
	for i := range uint64(MaxLeaves) {
		leaves = append(leaves, Leaf{Session: session, Index: 1<<40 + i, Job: types.Hash{1}, Result: types.Hash{2}, Fuel: 1 << 50, Mode: Private})
	}
	tree, err := NewTree(leaves)
	if err != nil {
		t.Fatal(err)
	}
	e := evidence.Sign(device, evidence.Payload{Chain: chain, Epoch: 1 << 40, Category: types.Compute, Kind: KindResults, Seq: 1 << 40, Prev: types.Hash{1},
		Anchor: evidence.Anchor{Height: 1 << 40, Hash: [16]byte{1}}, Body: tree.Results(1 << 60).Encode()})
	for _, i := range []int{0, 100, 255} {
		c := &Committed{Results: e.Raw, Leaf: leaves[i], Path: tree.Prove(i)}
		raw := c.Seen().Encode()
		if len(raw) > maxCall {
			t.Errorf("%d bytes", len(raw))
		}
		s, at, err := DecodeSeen(raw, chain)
		if err != nil || at != (Place{device.Public(), session, 1<<40 + uint64(i)}) || !s.Verify(chain, at.Device) {
			t.Errorf("%+v, %v", at, err)
		}
		for name, bend := range map[string]func(s *Seen){
			"hash": func(s *Seen) { s.Hash[0]++ }, "fuel": func(s *Seen) { s.Fuel++ }, "place": func(s *Seen) { s.Path.Index ^= 1 },
			"signature": func(s *Seen) {
				s.Results = append([]byte{}, s.Results...)
				s.Results[len(s.Results)-1]++
			},
		} {
			s, at, err := DecodeSeen(raw, chain)
			if err != nil {
				t.Fatal(err)
			}
			if bend(s); s.Verify(chain, at.Device) {
				t.Errorf("another %s", name)
			}
		}
		if s.Verify(chain, types.NewPrivateKey([32]byte{2}).Public()) {
			t.Error("of another device")
		}
	}
}
