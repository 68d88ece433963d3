package network

import (
	"testing"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/manifest"
)

// network.json and manifest.json name a block that the chain still has, however long the network runs.
func testTrustMovesOn(t *testing.T, n *Network) {
	pin := func() client.Pin {
		at, err := ReadAddresses(n.cfg.Home)
		if err != nil {
			t.Fatal(err)
		}
		joins, err := manifest.Load(n.cfg.Home)
		if err != nil {
			t.Fatal(err)
		}
		trust, err := client.ParsePin(at.Trust)
		if err != nil || joins.Manifest.Block.Height < trust.Height || joins.Manifest.Verifiers == nil {
			t.Errorf("manifest.json: %v, %d verifiers; network.json: %q", joins.Manifest.Block, len(joins.Manifest.Verifiers), at.Trust)
		}
		p, err := client.ParsePin(at.Trust)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	before := pin()
	if err := n.chains[0].WaitHeight(t.Context(), int64(before.Height)+1); err != nil {
		t.Fatal(err)
	}
	head, err := n.Ledger().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.believe(t.Context(), head); err != nil {
		t.Fatal(err)
	}
	if after := pin(); after.Height <= before.Height || after.Height != head.Height || after.Hash != head.Hash {
		t.Errorf("%v, then %v at block %d", before, after, head.Height)
	}
	if trustBlocks*2 > localRetain {
		t.Errorf("a block that is named for %d blocks and more may be gone: %d are kept", trustBlocks, localRetain)
	}
}
