package keeper

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/core/types"
)

// Clock tells epochs. x/tally is it.
type Clock interface {
	// Epoch returns the current epoch, from 1.
	Epoch(context.Context) (types.Epoch, error)
}

// Bank moves coins. x/bank is it.
type Bank interface {
	GetSupply(context.Context, string) sdk.Coin
	GetBalance(context.Context, sdk.AccAddress, string) sdk.Coin
	SendCoinsFromModuleToModule(context.Context, string, string, sdk.Coins) error
	MintCoins(context.Context, string, sdk.Coins) error
}
