package keeper

import (
	"context"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// Changes returns all pages of the query.
func (k Keeper) Changes(ctx context.Context, e core.Epoch, r core.Region) (out []tally.Change, err error) {
	req := &types.QueryChangesRequest{Epoch: uint64(e), Region: uint32(r)}
	for {
		res, err := NewQueryServer(k).Changes(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, raw := range res.Changes {
			var c tally.Change
			if err := core.Decode(raw, &c); err != nil {
				return nil, err
			}
			out = append(out, c)
		}
		if len(res.Next) == 0 {
			return out, nil
		}
		req.After = res.Next
	}
}
