package keeper

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"

	"github.com/cairn-network/cairn/chain/x/device/types"
	core "github.com/cairn-network/cairn/core/types"
)

// InitGenesis takes a state in. Where the chain is new, all its devices belong to the first epoch's view.
func (k Keeper) InitGenesis(ctx context.Context, g *types.GenesisState) error {
	if err := k.Params.Set(ctx, g.Params); err != nil {
		return err
	}
	var locked, maker, model uint64
	for _, d := range g.Devices {
		key, err := core.ParseKey(d.Device)
		if err != nil {
			return err
		}
		if err := k.Devices.Set(ctx, key[:], d); err != nil {
			return err
		}
		locked += d.Bond
		if g.Running || d.Status != types.Status_STATUS_ACTIVE {
			continue
		}
		c, err := k.change(d)
		if err != nil {
			return err
		}
		if err := k.changes.Set(ctx, collections.Join3(uint64(1), d.Region, key[:]), core.Encode(c)); err != nil {
			return err
		}
	}
	for _, m := range g.Makers {
		maker = max(maker, m.Id)
		if err := k.Makers.Set(ctx, m.Id, m); err != nil {
			return err
		}
	}
	for _, m := range g.Models {
		model = max(model, m.Id)
		if err := k.Models.Set(ctx, m.Id, m); err != nil {
			return err
		}
	}
	for _, c := range g.Changes {
		key, err := core.ParseKey(c.Device)
		if err != nil {
			return err
		}
		if err := k.changes.Set(ctx, collections.Join3(c.Epoch, c.Region, key[:]), c.Change); err != nil {
			return err
		}
	}
	if err := k.MakerID.Set(ctx, maker); err != nil {
		return err
	}
	if err := k.ModelID.Set(ctx, model); err != nil {
		return err
	}
	if err := k.Locked.Set(ctx, locked); err != nil {
		return err
	}
	if err := k.Audit(ctx); err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	return nil
}

// ExportGenesis writes the whole state.
func (k Keeper) ExportGenesis(ctx context.Context) (*types.GenesisState, error) {
	g := &types.GenesisState{Running: true}
	var err error
	if g.Params, err = k.Params.Get(ctx); err != nil {
		return nil, err
	}
	if err := k.Devices.Walk(ctx, nil, func(_ []byte, d types.Device) (bool, error) {
		g.Devices = append(g.Devices, d)
		return false, nil
	}); err != nil {
		return nil, err
	}
	if err := k.Makers.Walk(ctx, nil, func(_ uint64, m types.Maker) (bool, error) {
		g.Makers = append(g.Makers, m)
		return false, nil
	}); err != nil {
		return nil, err
	}
	if err := k.Models.Walk(ctx, nil, func(_ uint64, m types.Model) (bool, error) {
		g.Models = append(g.Models, m)
		return false, nil
	}); err != nil {
		return nil, err
	}
	err = k.changes.Walk(ctx, nil, func(key collections.Triple[uint64, uint32, []byte], raw []byte) (bool, error) {
		g.Changes = append(g.Changes, types.Change{Epoch: key.K1(), Region: key.K2(), Device: core.Key(key.K3()).String(), Change: raw})
		return false, nil
	})
	return g, err
}
