package keeper

import (
	"encoding/binary"
	"testing"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// BenchmarkProven checks one claim's leaf against a header of a million devices, from the bytes of the message
// on. Limits: 1 KiB for leaf and siblings, and 50 µs.
func BenchmarkProven(b *testing.B) {
	const count, at = 1_000_000, 654_321
	nodes := make([]merkle.Node, count)
	var leaf tally.Leaf
	for i := range nodes {
		l := tally.Leaf{Device: core.Key(core.Sum(binary.BigEndian.AppendUint64(nil, uint64(i)))), Amount: 1 << 40, Penalty: 1 << 30, Rest: core.Hash{1}}
		nodes[i] = l.Node()
		if i == at {
			leaf = l
		}
	}
	tree, err := merkle.NewSumTree(nodes)
	if err != nil {
		b.Fatal(err)
	}
	claim := types.Claim{Epoch: 1 << 20, Leaf: core.Encode(&leaf), Index: at}
	for _, s := range tree.Proof(at).Siblings {
		claim.Siblings = append(binary.BigEndian.AppendUint64(claim.Siblings, s.Sum), s.Hash[:]...)
	}
	h := &tally.Header{Devices: tree.Root(), Count: count}
	ctx := sdk.Context{}.WithGasMeter(storetypes.NewInfiniteGasMeter())
	for b.Loop() {
		if got, err := proven(ctx, h, &claim); err != nil || *got != leaf {
			b.Fatal(got, err)
		}
	}
	b.ReportMetric(float64(claim.Size()), "bytes/proof")
}
