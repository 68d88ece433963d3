package keeper

import (
	"bytes"
	"context"
	"fmt"

	sdk "github.com/cosmos/cosmos-sdk/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"

	"github.com/cairn-network/cairn/chain/x/reward/types"
	"github.com/cairn-network/cairn/core/econ"
	core "github.com/cairn-network/cairn/core/types"
)

type server struct{ Keeper }

// NewMsgServer returns what handles the module's messages.
func NewMsgServer(k Keeper) types.MsgServer { return server{k} }

// UpdateParams decides a change of parameters. What loosens waits for the timelock, and so do categories' own
// rules, of which nobody here can tell; everything else begins with the next epoch. While a change waits, only
// its withdrawal is taken.
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
	if waits, err := s.Pending.Has(ctx); err != nil {
		return nil, err
	} else if waits {
		return s.withdraw(ctx, &msg.Params, now)
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
	stored, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if len(econ.Loosens(&old, &p)) > 0 || !msg.Params.SameRules(&stored) {
		from = now + econ.TimelockSilent
	}
	if _, err := s.check(ctx, &msg.Params, now, from); err != nil {
		return nil, err
	}
	pending := types.Pending{Params: msg.Params, Announced: uint64(now), From: uint64(from)}
	return &types.MsgUpdateParamsResponse{From: uint64(from)}, s.Pending.Set(ctx, pending)
}

// withdraw drops the change that waits if p are the parameters in force. Everything else is refused: nobody who
// voted on it can have meant to drop what was decided before.
func (s server) withdraw(ctx context.Context, p *types.Params, now core.Epoch) (*types.MsgUpdateParamsResponse, error) {
	pending, err := s.Pending.Get(ctx)
	if err != nil {
		return nil, err
	}
	inForce, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	a, err := p.Marshal()
	if err != nil {
		return nil, err
	}
	b, err := inForce.Marshal()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(a, b) {
		return nil, core.Refuse(core.ParamPending, "a change decided in epoch %d waits for epoch %d", pending.Announced, pending.From)
	}
	sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(sdk.NewEvent("params_dropped", sdk.NewAttribute("reason", "withdrawn")))
	return &types.MsgUpdateParamsResponse{From: uint64(now)}, s.Pending.Remove(ctx)
}
