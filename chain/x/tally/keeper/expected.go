package keeper

import (
	"context"
	"time"

	"cosmossdk.io/math"
	sdk "github.com/cosmos/cosmos-sdk/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Registry knows the devices. x/device is it.
type Registry interface {
	// Owner returns the account that a device's claims are paid to; types.UnknownAuthor if there never was such
	// a device.
	Owner(context.Context, types.Key) (sdk.AccAddress, error)
	// Penalize burns of a device's bond what its cumulative penalty has not burned yet, and returns how much
	// that was.
	Penalize(context.Context, types.Key, types.Ustone) (types.Ustone, error)
	// ChangesAfter returns by what the region's devices differ in the view of an epoch from the one before, by
	// key: at most limit, those after one (nil: from the first), and what names the last of them.
	ChangesAfter(ctx context.Context, e types.Epoch, r types.Region, after []byte, limit int) ([]tally.Change, []byte, error)
}

// Credits sells credits and settles them. x/credit is it.
type Credits interface {
	// Settle turns what is owed at the end of an epoch into STONE: Drawn and Burn of the vault, and Mint, are
	// in x/tally's account when it returns. paid is sorted by category.
	Settle(ctx context.Context, e types.Epoch, owed types.Credit, paid []econ.Paid) (econ.Split, error)
	// Void undoes what Settle did for one region: the vault takes its part back from x/tally's account, and its
	// credits are owed again. It returns what is left of the allotment there, which was minted and which
	// x/tally burns.
	Void(context.Context, econ.Allotment) (types.Ustone, error)
	// Bought returns all credits that were ever sold to be spent in a region.
	Bought(context.Context, types.Region) (types.Credit, error)
	// Band returns the price now.
	Band(context.Context) (econ.Band, error)
	// MinOpening is what the first receipt of a session must be worth.
	MinOpening(context.Context) (types.Credit, error)
	// ChangesAfter is as in Registry for accounts, by address, then for session keys, by key.
	ChangesAfter(ctx context.Context, e types.Epoch, r types.Region, after []byte, limit int) ([]tally.Change, []byte, error)
}

// Rewards holds the economy's parameters and mints. x/reward is it.
type Rewards interface {
	// Economy returns the parameters in force.
	Economy(context.Context) (econ.Params, error)
	// Hex returns the H3 resolution at which a category counts density.
	Hex(context.Context, types.Category) (uint8, error)
	// Rules returns a category's own rules; empty for those of its program.
	Rules(context.Context, types.Category) ([]byte, error)
	// Emit mints for an epoch. The bonus and all categories' amounts are in x/tally's account when it returns.
	// supply is the bank's before anything of the epoch was minted.
	Emit(ctx context.Context, w econ.Work, supply types.Ustone) (econ.Emission, error)
	// Begin tells that an epoch begins: parameters that waited for it take force.
	Begin(context.Context, types.Epoch) error
}

// Staking bonds validators. x/staking is it.
type Staking interface {
	GetValidator(context.Context, sdk.ValAddress) (stakingtypes.Validator, error)
	IterateBondedValidatorsByPower(context.Context, func(int64, stakingtypes.ValidatorI) bool) error
	PowerReduction(context.Context) math.Int
	Slash(ctx context.Context, consensus sdk.ConsAddress, height, power int64, fraction math.LegacyDec) (math.Int, error)
	Jail(context.Context, sdk.ConsAddress) error
}

// Slashing keeps validators out. x/slashing is it.
type Slashing interface {
	JailUntil(context.Context, sdk.ConsAddress, time.Time) error
	Tombstone(context.Context, sdk.ConsAddress) error
	IsTombstoned(context.Context, sdk.ConsAddress) bool
}

// Pool is the community's. x/distribution is it.
type Pool interface {
	FundCommunityPool(context.Context, sdk.Coins, sdk.AccAddress) error
}

// Bank moves coins. x/bank is it.
type Bank interface {
	GetSupply(context.Context, string) sdk.Coin
	GetBalance(context.Context, sdk.AccAddress, string) sdk.Coin
	SendCoinsFromAccountToModule(context.Context, sdk.AccAddress, string, sdk.Coins) error
	SendCoinsFromModuleToAccount(context.Context, string, sdk.AccAddress, sdk.Coins) error
	MintCoins(context.Context, string, sdk.Coins) error
	BurnCoins(context.Context, string, sdk.Coins) error
}
