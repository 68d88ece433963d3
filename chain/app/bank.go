package app

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"
)

// Bank is the SDK's bank, telling x/credit's ledger of supply each time coins are minted or burned. Every
// module is given this one, so that genesis + minted − burned is the supply whoever acted: a slash of stake, a
// burned deposit, an emission.
type Bank struct {
	bankkeeper.BaseKeeper
	ledger *ledger
}

// ledger is set after the keepers exist that need the bank themselves.
type ledger struct {
	recorder interface {
		RecordMint(context.Context, string, sdk.Coins) error
		RecordBurn(context.Context, string, sdk.Coins) error
	}
}

// MintCoins mints into a module's account and records it.
func (b Bank) MintCoins(ctx context.Context, module string, amount sdk.Coins) error {
	if err := b.BaseKeeper.MintCoins(ctx, module, amount); err != nil {
		return err
	}
	return b.ledger.recorder.RecordMint(ctx, module, amount)
}

// BurnCoins burns from a module's account and records it.
func (b Bank) BurnCoins(ctx context.Context, module string, amount sdk.Coins) error {
	if err := b.BaseKeeper.BurnCoins(ctx, module, amount); err != nil {
		return err
	}
	return b.ledger.recorder.RecordBurn(ctx, module, amount)
}
