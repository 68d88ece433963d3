package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"

	"github.com/cairn-network/cairn/chain/x/reward/types"
	"github.com/cairn-network/cairn/core/econ"
	core "github.com/cairn-network/cairn/core/types"
)

// InitGenesis takes a state in. A state without a day is that of a new chain: its day 0 starts with the bank's
// supply, and its parameters are the first.
func (k Keeper) InitGenesis(ctx context.Context, g *types.GenesisState) error {
	if err := g.Validate(); err != nil {
		return err
	}
	first, day := g.GenesisParams, g.Day
	if first == nil {
		first = &g.Params
	}
	if day.D1 == 0 && day.D2 == 0 && day.Number == 0 {
		supply := k.bank.GetSupply(ctx, denom).Amount
		if !supply.IsUint64() || core.Ustone(supply.Uint64()) > econ.MaxSupply {
			return fmt.Errorf("a supply of %s ustone, at most %d can be", supply, econ.MaxSupply)
		}
		day = types.DayOf(econ.Genesis(core.Ustone(supply.Uint64())))
	}
	err := errors.Join(k.Params.Set(ctx, g.Params), k.First.Set(ctx, *first), k.Day.Set(ctx, day), k.fees.Set(ctx, g.Fees))
	for _, e := range g.Emissions {
		err = errors.Join(err, k.Emissions.Set(ctx, e.Epoch, e))
	}
	for _, d := range g.History {
		err = errors.Join(err, k.history.Set(ctx, d.Param, d))
	}
	if g.Pending != nil {
		err = errors.Join(err, k.Pending.Set(ctx, *g.Pending))
	}
	return err
}

// ExportGenesis writes the whole state.
func (k Keeper) ExportGenesis(ctx context.Context) (*types.GenesisState, error) {
	g := new(types.GenesisState)
	var err error
	if g.Params, err = k.Params.Get(ctx); err != nil {
		return nil, err
	}
	first, err := k.First.Get(ctx)
	if err != nil {
		return nil, err
	}
	g.GenesisParams = &first
	if g.Day, err = k.Day.Get(ctx); err != nil {
		return nil, err
	}
	if g.Fees, err = k.fees.Get(ctx); err != nil {
		return nil, err
	}
	pending, err := k.Pending.Get(ctx)
	switch {
	case err == nil:
		g.Pending = &pending
	case !errors.Is(err, collections.ErrNotFound):
		return nil, err
	}
	if err := k.Emissions.Walk(ctx, nil, func(_ uint64, e types.Emission) (bool, error) {
		g.Emissions = append(g.Emissions, e)
		return false, nil
	}); err != nil {
		return nil, err
	}
	err = k.history.Walk(ctx, nil, func(_ string, d types.Drift) (bool, error) {
		g.History = append(g.History, d)
		return false, nil
	})
	return g, err
}
