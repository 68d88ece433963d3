package keeper

import (
	"context"
	"math"

	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// Changes returns all of ChangesAfter.
func (k Keeper) Changes(ctx context.Context, e core.Epoch, region core.Region) ([]tally.Change, error) {
	list, _, err := k.ChangesAfter(ctx, e, region, nil, math.MaxInt)
	return list, err
}
