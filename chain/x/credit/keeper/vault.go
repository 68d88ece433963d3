package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/core/econ"
	core "github.com/cairn-network/cairn/core/types"
)

// Settle turns what was spent until the end of epoch e into STONE, at the epoch's high price, and moves it,
// with what is to be burned at finality, to the escrow. owed is O, paid is what was newly paid in e, sorted by
// category. It is called once for each epoch, in order.
func (k Keeper) Settle(ctx context.Context, e core.Epoch, owed core.Credit, paid []econ.Paid) (econ.Split, error) {
	v, err := k.Vault.Get(ctx)
	if err != nil {
		return econ.Split{}, err
	}
	p, err := k.economy.Economy(ctx)
	if err != nil {
		return econ.Split{}, err
	}
	band, err := k.Band(ctx)
	if err != nil {
		return econ.Split{}, err
	}
	s := econ.Spending{Supply: k.Supply(ctx), Price: band.Hi, Owed: owed, Paid: paid}
	after, split, err := econ.Settle(v.Econ(), &p, s)
	if err != nil {
		return econ.Split{}, fmt.Errorf("settle epoch %d: %w", e, err)
	}
	if split.Mint > 0 {
		if err := k.bank.MintCoins(ctx, types.ModuleName, coins(split.Mint)); err != nil {
			return econ.Split{}, fmt.Errorf("settle epoch %d: mint: %w", e, err)
		}
	}
	if moved := split.Drawn + split.Mint + split.Burn; moved > 0 {
		if err := k.bank.SendCoinsFromModuleToModule(ctx, types.ModuleName, k.escrow, coins(moved)); err != nil {
			return econ.Split{}, fmt.Errorf("settle epoch %d: escrow: %w", e, err)
		}
	}
	return split, k.Vault.Set(ctx, types.VaultOf(after))
}

// Void undoes what Settle did for one region whose header was voided: the vault takes its part back from the
// escrow, and the credits are owed again. It returns what of the allotment stays in the escrow's account: it
// was emitted, and whoever holds the escrow burns it.
func (k Keeper) Void(ctx context.Context, a econ.Allotment) (core.Ustone, error) {
	v, err := k.Vault.Get(ctx)
	if err != nil {
		return 0, err
	}
	before := v.Econ()
	if a.Settled > before.Settled {
		return 0, core.Refuse(core.EconRange, "void %d of %d settled micro-credits", a.Settled, before.Settled)
	}
	after, emitted, err := econ.Void(before, a)
	if err != nil {
		return 0, err
	}
	if back := after.Stone - before.Stone; back > 0 {
		if err := k.bank.SendCoinsFromModuleToModule(ctx, k.escrow, types.ModuleName, coins(back)); err != nil {
			return 0, fmt.Errorf("take back a voided escrow: %w", err)
		}
	}
	return emitted, k.Vault.Set(ctx, types.VaultOf(after))
}

// burnExcess burns what the vault holds far beyond what is owed, once a day.
func (k Keeper) burnExcess(ctx context.Context, day uint64) error {
	last, err := k.day.Get(ctx)
	if err != nil || day <= last {
		return err
	}
	if err := k.day.Set(ctx, day); err != nil {
		return err
	}
	band, err := k.Band(ctx)
	if err != nil || band.Paused {
		return err
	}
	v, err := k.Vault.Get(ctx)
	if err != nil {
		return err
	}
	after, excess := econ.BurnExcess(v.Econ(), band.Lo)
	if excess == 0 {
		return nil
	}
	if err := k.bank.BurnCoins(ctx, types.ModuleName, coins(excess)); err != nil {
		return fmt.Errorf("burn the day's excess: %w", err)
	}
	return k.Vault.Set(ctx, types.VaultOf(after))
}

// Supply returns the bank's supply.
func (k Keeper) Supply(ctx context.Context) core.Ustone {
	return core.Ustone(k.bank.GetSupply(ctx, denom).Amount.Uint64())
}

// RecordMint and RecordBurn write down what a module's account added to the supply or took from it. The bank that all
// modules are given calls them.
func (k Keeper) RecordMint(ctx context.Context, module string, amount sdk.Coins) error {
	return k.record(ctx, module, func(m *types.Movement, x uint64) { m.Minted += x }, amount)
}

// RecordBurn is RecordMint's opposite.
func (k Keeper) RecordBurn(ctx context.Context, module string, amount sdk.Coins) error {
	return k.record(ctx, module, func(m *types.Movement, x uint64) { m.Burned += x }, amount)
}

func (k Keeper) record(ctx context.Context, module string, add func(*types.Movement, uint64), amount sdk.Coins) error {
	x := amount.AmountOf(denom)
	if x.IsZero() {
		return nil
	}
	if !x.IsUint64() {
		return core.Refuse(core.EconRange, "%s ustone", x)
	}
	m, err := k.movements.Get(ctx, module)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return err
	}
	m.Module = module
	add(&m, x.Uint64())
	return k.movements.Set(ctx, module, m)
}

func (k Keeper) supply(ctx context.Context) (*types.QuerySupplyResponse, error) {
	s := &types.QuerySupplyResponse{Supply: uint64(k.Supply(ctx))}
	var err error
	if s.Genesis, err = k.genesis.Get(ctx); err != nil {
		return nil, err
	}
	err = k.movements.Walk(ctx, nil, func(_ string, m types.Movement) (bool, error) {
		s.Minted += m.Minted
		s.Burned += m.Burned
		s.Movements = append(s.Movements, m)
		return false, nil
	})
	return s, err
}
