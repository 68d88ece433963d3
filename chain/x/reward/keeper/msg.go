package keeper

import (
	"context"
	"fmt"

	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"

	"github.com/cairn-network/cairn/chain/x/reward/types"
	"github.com/cairn-network/cairn/core/econ"
)

type server struct{ Keeper }

// NewMsgServer returns what handles the module's messages.
func NewMsgServer(k Keeper) types.MsgServer { return server{k} }

// UpdateParams decides a change of parameters. What loosens waits for the timelock; everything else begins with the next epoch.
func (s server) UpdateParams(ctx context.Context, msg *types.MsgUpdateParams) (*types.MsgUpdateParamsResponse, error) {
	if msg.Authority != s.authority {
		return nil, fmt.Errorf("%w: want %s, have %s", govtypes.ErrInvalidSigner, s.authority, msg.Authority)
	}
	now, err := (*s.clock).Epoch(ctx)
	if err != nil {
		return nil, err
	}
	old, err := s.Economy(ctx)
	if err != nil {
		return nil, err
	}
	first, err := s.First.Get(ctx)
	if err != nil {
		return nil, err
	}
	if err := msg.Params.Validate(&first); err != nil {
		return nil, err
	}
	p, err := msg.Params.Econ()
	if err != nil {
		return nil, err
	}
	from := now + 1
	if len(econ.Loosens(&old, &p)) > 0 {
		from = now + econ.TimelockSilent
	}
	if _, err := s.check(ctx, &msg.Params, now, from); err != nil {
		return nil, err
	}
	pending := types.Pending{Params: msg.Params, Announced: uint64(now), From: uint64(from)}
	return &types.MsgUpdateParamsResponse{From: uint64(from)}, s.Pending.Set(ctx, pending)
}
