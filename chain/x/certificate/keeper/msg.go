package keeper

import (
	"context"
	"fmt"

	sdk "github.com/cosmos/cosmos-sdk/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"

	"github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/core/lot"
	core "github.com/cairn-network/cairn/core/types"
)

type server struct{ Keeper }

// NewMsgServer returns what handles the module's messages.
func NewMsgServer(k Keeper) types.MsgServer { return server{k} }

// active returns a certificate that its owner can still do something with.
func (s server) active(ctx context.Context, text, owner string) (lot.ID, types.Certificate, error) {
	id, err := lot.ParseID(text)
	if err != nil {
		return id, types.Certificate{}, core.Refuse(core.UnknownCertificate, "%v", err)
	}
	c, err := s.Get(ctx, id)
	if err != nil {
		return id, c, err
	}
	sender, err := core.ParseAccount(owner)
	switch {
	case err != nil:
		return id, c, err
	case c.Owner != sender.String(): // an address has two spellings, of which String gives one
		return id, c, core.Refuse(core.NotOwner, "certificate %s is of %s", id, c.Owner)
	case c.State == types.State_STATE_RETIRED:
		return id, c, core.Refuse(core.CertificateRetired, "certificate %s, for %q", id, c.Beneficiary)
	case c.State == types.State_STATE_EXPIRED:
		return id, c, core.Refuse(core.CertificateExpired, "certificate %s, at %d", id, c.Expires)
	}
	return id, c, nil
}

// Split cuts a certificate in two.
func (s server) Split(ctx context.Context, msg *types.MsgSplit) (*types.MsgSplitResponse, error) {
	id, first, err := s.active(ctx, msg.Id, msg.Owner)
	if err != nil {
		return nil, err
	}
	if msg.At <= first.FromWh || msg.At >= first.ToWh {
		return nil, core.Refuse(core.CertificateRange, "split [%d, %d) at %d", first.FromWh, first.ToWh, msg.At)
	}
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(p.RowGas, "certificates")
	second, part := first, lot.ID{Device: id.Device, From: msg.At}
	first.ToWh = msg.At
	second.FromWh, second.Id = msg.At, part.String()
	if err := s.put(ctx, id, first); err != nil {
		return nil, err
	}
	if err := s.put(ctx, part, second); err != nil {
		return nil, err
	}
	emit(ctx, "certificate_split", "id", first.Id, "part", second.Id, "wh", fmt.Sprint(first.Wh()), "part_wh", fmt.Sprint(second.Wh()))
	return &types.MsgSplitResponse{Id: second.Id}, nil
}

// Transfer gives a certificate to a new owner.
func (s server) Transfer(ctx context.Context, msg *types.MsgTransfer) (*types.MsgTransferResponse, error) {
	id, c, err := s.active(ctx, msg.Id, msg.Owner)
	if err != nil {
		return nil, err
	}
	to, err := core.ParseAccount(msg.To)
	if err != nil {
		return nil, err
	}
	if err := s.unlist(ctx, id, &c); err != nil {
		return nil, err
	}
	before := c.Owner
	c.Owner = to.String()
	if err := s.put(ctx, id, c); err != nil {
		return nil, err
	}
	emit(ctx, "certificate_transferred", "id", c.Id, "from", before, "owner", c.Owner, "wh", fmt.Sprint(c.Wh()))
	return &types.MsgTransferResponse{}, nil
}

// Retire claims a certificate for somebody's consumption.
func (s server) Retire(ctx context.Context, msg *types.MsgRetire) (*types.MsgRetireResponse, error) {
	id, c, err := s.active(ctx, msg.Id, msg.Owner)
	if err != nil {
		return nil, err
	}
	if err := lot.CheckBeneficiary(msg.Beneficiary); err != nil {
		return nil, err
	}
	if msg.Hour != 0 && msg.Hour != lot.Hour(c.FromTime) {
		return nil, core.Refuse(core.CertificateHour, "certificate %s is of the hour of %d, not %d", id, lot.Hour(c.FromTime), msg.Hour)
	}
	if err := s.unlist(ctx, id, &c); err != nil {
		return nil, err
	}
	c.State, c.Beneficiary, c.Hour = types.State_STATE_RETIRED, msg.Beneficiary, msg.Hour
	if c.Beneficiary == "" {
		c.Beneficiary = c.Owner
	}
	if err := s.put(ctx, id, c); err != nil {
		return nil, err
	}
	emit(ctx, "certificate_retired", "id", c.Id, "owner", c.Owner, "beneficiary", c.Beneficiary, "hour", fmt.Sprint(c.Hour), "wh", fmt.Sprint(c.Wh()))
	return &types.MsgRetireResponse{}, s.discount(ctx, &c)
}

// UpdateParams replaces the module's parameters. What is issued already expires as it says.
func (s server) UpdateParams(ctx context.Context, msg *types.MsgUpdateParams) (*types.MsgUpdateParamsResponse, error) {
	if msg.Authority != s.authority {
		return nil, fmt.Errorf("%w: want %s, have %s", govtypes.ErrInvalidSigner, s.authority, msg.Authority)
	}
	if err := msg.Params.Validate(); err != nil {
		return nil, err
	}
	return &types.MsgUpdateParamsResponse{}, s.Params.Set(ctx, msg.Params)
}
