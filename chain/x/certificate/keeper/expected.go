package keeper

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Tallies knows epochs, and which headers can no longer change. x/tally is it.
type Tallies interface {
	// Epoch returns the current epoch, from 1.
	Epoch(context.Context) (types.Epoch, error)
	// FinalHeader returns a final header; types.NotFinal if it is not (yet), or not any more.
	FinalHeader(context.Context, types.Epoch, types.Region) (*tally.Header, error)
}

// Devices knows whose devices are. x/device is it.
type Devices interface {
	// Owner returns a device's owner now, also after it left the registry; types.UnknownAuthor if there never
	// was such a device.
	Owner(context.Context, types.Key) (sdk.AccAddress, error)
}
