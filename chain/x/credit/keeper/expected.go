package keeper

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/core/econ"
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

// Economy holds the numbers that governance may move. x/reward is it.
type Economy interface {
	Economy(context.Context) (econ.Params, error)
}

// Bank moves coins. x/bank is it.
type Bank interface {
	GetSupply(context.Context, string) sdk.Coin
	GetBalance(context.Context, sdk.AccAddress, string) sdk.Coin
	SendCoinsFromAccountToModule(context.Context, sdk.AccAddress, string, sdk.Coins) error
	SendCoinsFromModuleToModule(context.Context, string, string, sdk.Coins) error
	MintCoins(context.Context, string, sdk.Coins) error
	BurnCoins(context.Context, string, sdk.Coins) error
}
