package keeper

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"

	"github.com/cairn-network/cairn/chain/x/certificate/types"
	core "github.com/cairn-network/cairn/core/types"
)

// InitGenesis takes a state in. Totals and lists follow from the certificates.
func (k Keeper) InitGenesis(ctx context.Context, g *types.GenesisState) error {
	if err := k.Params.Set(ctx, g.Params); err != nil {
		return err
	}
	for _, m := range g.Marks {
		device, err := core.ParseKey(m.Device)
		if err != nil {
			return err
		}
		if err := k.Marks.Set(ctx, device[:], m.Wh); err != nil {
			return err
		}
	}
	var issued, retired uint64
	for i := range g.Certificates {
		c := &g.Certificates[i]
		id, err := c.Key()
		if err != nil {
			return err
		}
		if err := k.put(ctx, id, *c); err != nil {
			return err
		}
		issued += c.Wh()
		if c.State == types.State_STATE_RETIRED {
			retired += c.Wh()
			continue
		}
		if err := k.expire(ctx, c.Expires/types.Day, c.Wh()); err != nil {
			return err
		}
	}
	if err := k.issued.Set(ctx, issued); err != nil {
		return err
	}
	if err := k.retired.Set(ctx, retired); err != nil {
		return err
	}
	if err := k.Audit(ctx); err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	return nil
}

// ExportGenesis writes the whole state.
func (k Keeper) ExportGenesis(ctx context.Context) (*types.GenesisState, error) {
	g := new(types.GenesisState)
	var err error
	if g.Params, err = k.Params.Get(ctx); err != nil {
		return nil, err
	}
	if err := k.Certificates.Walk(ctx, nil, func(_ collections.Pair[[]byte, uint64], c types.Certificate) (bool, error) {
		g.Certificates = append(g.Certificates, c)
		return false, nil
	}); err != nil {
		return nil, err
	}
	err = k.Marks.Walk(ctx, nil, func(device []byte, wh uint64) (bool, error) {
		g.Marks = append(g.Marks, types.Mark{Device: core.Key(device).String(), Wh: wh})
		return false, nil
	})
	return g, err
}
