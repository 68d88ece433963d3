package keeper

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"

	"github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// InitGenesis takes a state in. Where it names no supply at genesis, the chain is new: that is what the bank
// holds now, and all accounts and keys belong to the first epoch's view.
func (k Keeper) InitGenesis(ctx context.Context, g *types.GenesisState) error {
	fresh := g.GenesisSupply == 0
	if fresh {
		g.GenesisSupply = uint64(k.Supply(ctx))
	}
	for _, set := range []error{
		k.Params.Set(ctx, g.Params), k.Vault.Set(ctx, g.Vault), k.genesis.Set(ctx, g.GenesisSupply), k.day.Set(ctx, g.Day),
	} {
		if set != nil {
			return set
		}
	}
	first := func(region uint32, subject []byte, c *tally.Change) error {
		if !fresh {
			return nil
		}
		return k.changes.Set(ctx, collections.Join3(uint64(1), region, subject), core.Encode(c))
	}
	for _, h := range g.Holdings {
		a, err := core.ParseAccount(h.Account)
		if err != nil {
			return err
		}
		if err := k.Holdings.Set(ctx, collections.Join(a[:], h.Region), h.Bought); err != nil {
			return err
		}
		sold, err := k.Bought(ctx, core.Region(h.Region))
		if err != nil {
			return err
		}
		if err := k.sold.Set(ctx, h.Region, uint64(sold)+h.Bought); err != nil {
			return err
		}
		if err := first(h.Region, accountSubject(a), &tally.Change{Holder: &tally.Holder{Account: a, Bought: core.Credit(h.Bought)}}); err != nil {
			return err
		}
	}
	for _, grant := range g.Grants {
		if err := k.importGrant(ctx, grant, first); err != nil {
			return err
		}
	}
	for _, m := range g.Movements {
		if err := k.movements.Set(ctx, m.Module, m); err != nil {
			return err
		}
	}
	for _, c := range g.Changes {
		if err := k.changes.Set(ctx, collections.Join3(c.Epoch, c.Region, c.Subject), c.Change); err != nil {
			return err
		}
	}
	if err := k.Audit(ctx); err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	return nil
}

func (k Keeper) importGrant(ctx context.Context, g types.Grant, first func(uint32, []byte, *tally.Change) error) error {
	a, err := core.ParseAccount(g.Account)
	if err != nil {
		return err
	}
	key, err := core.ParseKey(g.Key)
	if err != nil {
		return err
	}
	if err := k.Grants.Set(ctx, key[:], g); err != nil {
		return err
	}
	if err := k.live.Set(ctx, collections.Join3(a[:], g.Expiry, key[:])); err != nil {
		return err
	}
	return first(g.Region, keySubject(key), &tally.Change{Grant: &tally.Grant{
		Key: key, Account: a, Limit: core.Credit(g.Limit), Expiry: core.Epoch(g.Expiry),
	}})
}

// ExportGenesis writes the whole state.
func (k Keeper) ExportGenesis(ctx context.Context) (*types.GenesisState, error) {
	g := new(types.GenesisState)
	var err error
	if g.Params, err = k.Params.Get(ctx); err != nil {
		return nil, err
	}
	if g.Vault, err = k.Vault.Get(ctx); err != nil {
		return nil, err
	}
	if g.GenesisSupply, err = k.genesis.Get(ctx); err != nil {
		return nil, err
	}
	if g.Day, err = k.day.Get(ctx); err != nil {
		return nil, err
	}
	if err := k.Holdings.Walk(ctx, nil, func(key collections.Pair[[]byte, uint32], bought uint64) (bool, error) {
		account, err := k.addresses.BytesToString(key.K1())
		g.Holdings = append(g.Holdings, types.Holding{Account: account, Region: key.K2(), Bought: bought})
		return false, err
	}); err != nil {
		return nil, err
	}
	if err := k.Grants.Walk(ctx, nil, func(_ []byte, grant types.Grant) (bool, error) {
		g.Grants = append(g.Grants, grant)
		return false, nil
	}); err != nil {
		return nil, err
	}
	if err := k.movements.Walk(ctx, nil, func(_ string, m types.Movement) (bool, error) {
		g.Movements = append(g.Movements, m)
		return false, nil
	}); err != nil {
		return nil, err
	}
	err = k.changes.Walk(ctx, nil, func(key collections.Triple[uint64, uint32, []byte], raw []byte) (bool, error) {
		g.Changes = append(g.Changes, types.Change{Epoch: key.K1(), Region: key.K2(), Subject: key.K3(), Change: raw})
		return false, nil
	})
	return g, err
}
