package keeper_test

import (
	"encoding/binary"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

func blockHash(height uint64) core.Hash {
	return core.Sum([]byte("block"), binary.BigEndian.AppendUint64(nil, height))
}

// blocks returns the hashes that are kept from a block on, in as many queries as it takes.
func (f *fixture) blocks(from uint64) (list []string) {
	f.t.Helper()
	for {
		res, err := f.query.Blocks(f.ctx, &types.QueryBlocksRequest{From: from + uint64(len(list)), Limit: 100})
		if status.Code(err) == codes.NotFound {
			return list
		}
		f.must(err)
		list = append(list, res.Hashes...)
	}
}

// TestBlocks: the state has the hashes of all blocks that a tally may name which can still be made or
// recomputed, through a skip, an appeal and what is built on it, in every region; and no more than one epoch's
// blocks beyond.
func TestBlocks(t *testing.T) {
	f := setup(t, 2)
	for e := core.Epoch(1); e <= 30; e++ {
		f.toRound(e, 0)
		for r := range core.Region(2) {
			if r == 1 && e > 9 && e < 20 {
				continue // region 1 skips
			}
			f.commit("", f.commitMsg(f.header(e, r, 0, nil), 0, 1, 2, 3))
		}
		var from uint64 = 1 << 62
		head := uint64(f.ctx.BlockHeight())
		for r := range uint32(2) {
			list, err := f.query.Headers(f.ctx, &types.QueryHeadersRequest{Region: r})
			f.must(err)
			final := uint64(0)
			for _, h := range list.Headers {
				if h.Status == types.Status_STATUS_FINAL {
					final = max(final, h.Epoch)
				}
			}
			from = min(from, tally.FrameStart(final*20+1, (final+1)*20, evidence.MaxAnchorAge))
		}
		kept := f.blocks(from)
		if from == 1 {
			kept = f.blocks(2) // the fixture's first block has no hash
			from = 2
		}
		if uint64(len(kept)) != head-from+1 {
			t.Fatalf("epoch %d, block %d: %d hashes from block %d on", e, head, len(kept), from)
		}
		for i, hash := range kept {
			if hash != blockHash(from+uint64(i)).String() {
				t.Fatalf("block %d: %s", from+uint64(i), hash)
			}
		}
		if from > 25 && len(f.blocks(from-21)) > 0 && (e <= 20 || e > 26) { // between: what the skip had kept goes, a few with each block
			t.Fatalf("epoch %d: more than an epoch's blocks are kept before block %d", e, from)
		}
		ep, err := f.k.Epochs.Get(f.ctx, uint64(e)+1)
		f.must(err)
		if want := blockHash(uint64(e)*20 + 1); core.Hash(ep.Hash) != want {
			t.Fatalf("epoch %d begins with block %x", e+1, ep.Hash)
		}
	}
	if _, err := f.query.Blocks(f.ctx, &types.QueryBlocksRequest{From: 1}); status.Code(err) != codes.NotFound {
		t.Fatalf("a block that is forgotten: %v", err)
	}
	g, err := f.k.ExportGenesis(f.ctx)
	f.must(err)
	for what, spoil := range map[string]func(*types.GenesisState){
		"half a hash":          func(g *types.GenesisState) { g.Blocks = g.Blocks[:len(g.Blocks)-16] },
		"blocks to come":       func(g *types.GenesisState) { g.BlocksFrom += 40 },
		"a block of height 0":  func(g *types.GenesisState) { g.BlocksFrom = 0 },
		"blocks and no epochs": func(g *types.GenesisState) { g.Epochs = nil },
	} {
		bad := *g
		spoil(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s is taken in", what)
		}
	}
}
