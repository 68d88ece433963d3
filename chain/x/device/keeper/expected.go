package keeper

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Clock tells epochs. x/tally is it.
type Clock interface {
	// Epoch returns the current epoch, from 1.
	Epoch(context.Context) (types.Epoch, error)
	// Regions returns into how many regions devices are split.
	Regions(context.Context) (uint16, error)
	// Folded returns the epoch up to which no tally will ask for changes of the registry again.
	Folded(context.Context) (types.Epoch, error)
}

// Headers knows which tallies can no longer change. x/tally is it.
type Headers interface {
	// FinalHeader returns a final header; types.NotFinal if it is not (yet).
	FinalHeader(context.Context, types.Epoch, types.Region) (*tally.Header, error)
}

// Economy holds the numbers that governance may move. x/reward is it.
type Economy interface {
	Economy(context.Context) (econ.Params, error)
}

// Market knows the price. x/credit is it.
type Market interface {
	Band(context.Context) (econ.Band, error)
}

// Bank moves coins. x/bank is it.
type Bank interface {
	GetBalance(context.Context, sdk.AccAddress, string) sdk.Coin
	SendCoinsFromAccountToModule(context.Context, sdk.AccAddress, string, sdk.Coins) error
	SendCoinsFromModuleToAccount(context.Context, string, sdk.AccAddress, sdk.Coins) error
	BurnCoins(context.Context, string, sdk.Coins) error
}
