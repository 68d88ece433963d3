package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"
	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"

	"github.com/cairn-network/cairn/chain/x/device/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// put stores a device and logs what the next epoch's view says of it, at the cost of the account by: nil for
// misconduct that was shown and for governance. A device that left the view is not logged again.
func (k Keeper) put(ctx context.Context, d types.Device, by []byte) error {
	key, err := core.ParseKey(d.Device)
	if err != nil {
		return err
	}
	if err := k.Devices.Set(ctx, key[:], d); err != nil {
		return err
	}
	if d.Status != types.Status_STATUS_ACTIVE {
		return nil
	}
	c, err := k.change(d)
	if err != nil {
		return err
	}
	return k.log(ctx, d, key, c, by)
}

func (k Keeper) change(d types.Device) (*tally.Change, error) {
	raw, err := k.addresses.StringToBytes(d.Owner)
	if err != nil {
		return nil, err
	}
	var owner core.Account
	if copy(owner[:], raw) != len(raw) {
		return nil, fmt.Errorf("device %s: its owner's address has %d bytes", d.Device, len(raw))
	}
	line, err := d.Tally(owner)
	if err != nil {
		return nil, err
	}
	return &tally.Change{Device: line}, nil
}

// log records c for the view of the next epoch; a later change of the same device in this epoch replaces it.
func (k Keeper) log(ctx context.Context, d types.Device, key core.Key, c *tally.Change, by []byte) error {
	e, err := k.tally.clock.Epoch(ctx)
	if err != nil {
		return err
	}
	return k.changes.Record(ctx, e, d.Region, key[:], c, by)
}

// lock and unlock keep the sum of bonds; the coins move beside.
func (k Keeper) lock(ctx context.Context, amount core.Ustone) error {
	locked, err := k.Locked.Get(ctx)
	if err != nil {
		return err
	}
	return k.Locked.Set(ctx, locked+uint64(amount)) // below the supply, so it cannot overflow
}

func (k Keeper) unlock(ctx context.Context, amount core.Ustone) error {
	locked, err := k.Locked.Get(ctx)
	if err != nil {
		return err
	}
	if uint64(amount) > locked {
		return core.Refuse(core.EconRange, "unlock %d ustone of %d", amount, locked)
	}
	return k.Locked.Set(ctx, locked-uint64(amount))
}

// take moves amount from an account to the module.
func (k Keeper) take(ctx context.Context, from sdk.AccAddress, amount core.Ustone) error {
	err := k.bank.SendCoinsFromAccountToModule(ctx, from, types.ModuleName, coins(amount))
	if errors.Is(err, sdkerrors.ErrInsufficientFunds) {
		return core.Refuse(core.InsufficientFund, "pay %d ustone: %v", amount, err)
	}
	return err
}

// fee takes what so many micro-credits are worth from an account and burns it.
func (k Keeper) fee(ctx context.Context, from sdk.AccAddress, credits core.Credit) (core.Ustone, error) {
	band, err := k.market.Band(ctx)
	if err != nil {
		return 0, err
	}
	if band.Paused {
		return 0, core.Refuse(core.PricePaused, "fee of %d micro-credits", credits)
	}
	amount, err := econ.DeviceFee(&econ.Params{DeviceFee: credits}, band.Lo)
	if err != nil || amount == 0 {
		return 0, err
	}
	if err := k.take(ctx, from, amount); err != nil {
		return 0, err
	}
	return amount, k.bank.BurnCoins(ctx, types.ModuleName, coins(amount))
}

// required returns what must be locked for network-ordered work in all of these categories to count, at the low
// price.
func (k Keeper) required(ctx context.Context, p *econ.Params, categories []uint32) (core.Ustone, error) {
	band, err := k.market.Band(ctx)
	if err != nil {
		return 0, err
	}
	var sum core.Ustone
	for _, c := range categories {
		params := p.Find(core.Category(c))
		if params == nil || c > 1<<16-1 {
			return 0, core.Refuse(core.UnknownCategory, "category %d", c)
		}
		bond, err := econ.Bond(p, params, 1, band.Lo)
		if err != nil {
			return 0, err
		}
		if sum += bond; sum < bond {
			return 0, core.Refuse(core.EconRange, "bonds of %d categories", len(categories))
		}
	}
	return sum, nil
}

// ustone reads an amount of a message: whole, of the one denomination, and no more than can ever exist.
func ustone(c sdk.Coin) (core.Ustone, error) {
	if c.Denom != denom || c.Amount.IsNil() || c.Amount.IsNegative() || c.Amount.GT(math.NewIntFromUint64(uint64(econ.MaxSupply))) {
		return 0, fmt.Errorf("%w: %s: want ustone", sdkerrors.ErrInvalidCoins, c)
	}
	return core.Ustone(c.Amount.Uint64()), nil
}

func coins(amount core.Ustone) sdk.Coins {
	return sdk.NewCoins(sdk.NewCoin(denom, math.NewIntFromUint64(uint64(amount))))
}

// missing turns "not found" into a coded refusal.
func missing(err error, r core.Reason, format string, args ...any) error {
	if errors.Is(err, collections.ErrNotFound) {
		return core.Refuse(r, format, args...)
	}
	return err
}
