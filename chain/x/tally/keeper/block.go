package keeper

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// Frames name blocks by hash. A node that came by its state from a snapshot, that prunes its blocks, or whose
// chain started from an export does not have the old blocks; the state has the hashes of those that count.

// forgottenBlocks is how many hashes one block forgets at most: more than it adds, so that what a long skip has
// kept goes.
const forgottenBlocks = 4

// noteBlock keeps the hash of the block that begins.
func (k Keeper) noteBlock(ctx context.Context) error {
	c := sdk.UnwrapSDKContext(ctx)
	if len(c.HeaderHash()) != len(core.Hash{}) || c.BlockHeight() <= 0 {
		return nil
	}
	return k.Blocks.Set(ctx, uint64(c.BlockHeight()), c.HeaderHash())
}

// raiseFloor finds the first block that a tally may name which can still be made, appealed or voted on. Once an
// epoch.
func (k Keeper) raiseFloor(ctx sdk.Context) error {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return err
	}
	floor := ^uint64(0)
	for r := range p.Regions {
		first, err := k.firstBlock(ctx, r)
		if err != nil {
			return err
		}
		floor = min(floor, first)
	}
	return k.floor.Set(ctx, floor)
}

// firstBlock returns the first block that a frame of a region may name (core/tally.FrameStart): the frame of
// the region's oldest epoch that can change follows the last final header.
func (k Keeper) firstBlock(ctx context.Context, r uint32) (uint64, error) {
	closed, err := get(ctx, k.closed, r)
	if err != nil {
		return 0, err
	}
	final, err := get(ctx, k.finals, r)
	if err != nil {
		return 0, err
	}
	oldest, err := k.Epochs.Get(ctx, closed+1)
	if err != nil {
		return 0, err
	}
	start, err := k.Epochs.Get(ctx, final+1)
	if errors.Is(err, collections.ErrNotFound) { // out of its retention: the bound of a frame counts
		start, err = types.Epoch{First: 1}, nil
	}
	return tally.FrameStart(start.First, oldest.Cut, evidence.MaxAnchorAge), err
}

// forgetBlocks forgets the oldest hashes below the floor.
func (k Keeper) forgetBlocks(ctx sdk.Context) error {
	floor, err := k.floor.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var old []uint64
	err = k.Blocks.Walk(ctx, nil, func(height uint64, _ []byte) (bool, error) {
		if height >= floor {
			return true, nil
		}
		old = append(old, height)
		return len(old) == forgottenBlocks, nil
	})
	for _, height := range old {
		err = errors.Join(err, k.Blocks.Remove(ctx, height))
	}
	return err
}

// eachBlock calls do for the hashes that are kept from a block on, ascending, up to the first gap or until do
// says to stop.
func (k Keeper) eachBlock(ctx context.Context, from uint64, do func(hash []byte) (stop bool)) error {
	next := from
	return k.Blocks.Walk(ctx, new(collections.Range[uint64]).StartInclusive(from), func(height uint64, hash []byte) (bool, error) {
		if height != next {
			return true, nil
		}
		next++
		return do(hash), nil
	})
}

// importBlocks takes hashes in.
func (k Keeper) importBlocks(ctx context.Context, g *types.GenesisState) error {
	const size = len(core.Hash{})
	for i := 0; i+size <= len(g.Blocks); i += size {
		if err := k.Blocks.Set(ctx, g.BlocksFrom+uint64(i/size), g.Blocks[i:i+size]); err != nil {
			return err
		}
	}
	return nil
}

// exportBlocks writes the newest hashes without a gap.
func (k Keeper) exportBlocks(ctx context.Context, g *types.GenesisState) error {
	return k.Blocks.Walk(ctx, nil, func(height uint64, hash []byte) (bool, error) {
		if height != g.BlocksFrom+uint64(len(g.Blocks)/len(core.Hash{})) {
			g.BlocksFrom, g.Blocks = height, nil
		}
		g.Blocks = append(g.Blocks, hash...)
		return false, nil
	})
}

// Blocks returns the hashes that are kept from a block on.
func (q querier) Blocks(ctx context.Context, req *types.QueryBlocksRequest) (*types.QueryBlocksResponse, error) {
	limit := min(int(req.Limit), maxPage)
	if limit == 0 {
		limit = maxPage
	}
	res := &types.QueryBlocksResponse{From: req.From}
	err := q.eachBlock(ctx, req.From, func(hash []byte) bool {
		res.Hashes = append(res.Hashes, core.Hash(hash).String())
		return len(res.Hashes) == limit
	})
	if err == nil && len(res.Hashes) == 0 {
		err = status.Errorf(codes.NotFound, "hash of block %d", req.From)
	}
	return res, err
}
