package keeper

import (
	"context"
	"fmt"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/device/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	core "github.com/cairn-network/cairn/core/types"
)

// signatureGas is what checking one Ed25519 signature costs, as much as one of secp256k1.
const signatureGas = 1000

type server struct{ Keeper }

// NewMsgServer returns what handles the module's messages.
func NewMsgServer(k Keeper) types.MsgServer { return server{k} }

// RegisterDevice adds a device.
func (s server) RegisterDevice(ctx context.Context, msg *types.MsgRegisterDevice) (*types.MsgRegisterDeviceResponse, error) {
	owner, err := s.addresses.StringToBytes(msg.Owner)
	if err != nil {
		return nil, err
	}
	bond, err := ustone(msg.Bond)
	if err != nil {
		return nil, err
	}
	st, err := s.statement(ctx, msg.Statement, owner)
	if err != nil {
		return nil, err
	}
	p, err := s.economy.Economy(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.known(ctx, &p, st); err != nil {
		return nil, err
	}
	var categories []uint32
	for _, c := range st.Categories {
		categories = append(categories, uint32(c))
	}
	need, err := s.required(ctx, &p, categories)
	if err != nil {
		return nil, err
	}
	if bond < need {
		return nil, core.Refuse(core.BondLow, "register device %s: %d ustone, %d are required", st.Device, bond, need)
	}
	fee, err := s.fee(ctx, owner, p.DeviceFee)
	if err != nil {
		return nil, err
	}
	if bond > 0 {
		if err := s.take(ctx, owner, bond); err != nil {
			return nil, err
		}
		if err := s.lock(ctx, bond); err != nil {
			return nil, err
		}
	}
	regions, err := s.tally.clock.Regions(ctx)
	if err != nil {
		return nil, err
	}
	e, err := s.tally.clock.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	d := types.Device{
		Device: st.Device.String(), Owner: msg.Owner, Cell: st.Cell.String(), Model: st.Model,
		Region: uint32(core.RegionOf(st.Cell, regions)), Bond: uint64(bond),
		Status: types.Status_STATUS_ACTIVE, Registered: uint64(e), Categories: categories,
	}
	if err := s.put(ctx, d, owner); err != nil {
		return nil, err
	}
	emit(ctx, "device_registered", d, "owner", d.Owner)
	return &types.MsgRegisterDeviceResponse{Device: d.Device, Fee: uint64(fee), From: uint64(e) + 1}, nil
}

// statement checks that a device wants this owner, here and now, and was never registered.
func (s server) statement(ctx context.Context, raw []byte, owner []byte) (*evidence.Statement, error) {
	sdkCtx := sdk.UnwrapSDKContext(ctx)
	signed, err := evidence.DecodeStatement(raw, sdkCtx.ChainID())
	if err != nil {
		return nil, err
	}
	st := &signed.Statement
	sdkCtx.GasMeter().ConsumeGas(signatureGas, "device signature")
	if !signed.Verify() {
		return nil, core.Refuse(core.BadSignature, "statement of device %s", st.Device)
	}
	if string(st.Owner[:]) != string(owner) {
		return nil, core.Refuse(core.NotOwner, "statement of device %s names %s", st.Device, st.Owner)
	}
	e, err := s.tally.clock.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	if st.Expiry < e {
		return nil, core.Refuse(core.StatementExpired, "statement of device %s could be used until epoch %d, this is %d", st.Device, st.Expiry, e)
	}
	if !st.Cell.Valid() || st.Cell.Resolution() < core.RegionResolution {
		return nil, core.Refuse(core.BadEncoding, "statement of device %s: cell %s is not one of resolution %d or finer", st.Device, st.Cell, core.RegionResolution)
	}
	known, err := s.Devices.Has(ctx, st.Device[:])
	if err != nil {
		return nil, err
	}
	if known {
		return nil, core.Refuse(core.DeviceKnown, "device %s", st.Device)
	}
	return st, nil
}

// known checks that the chain knows the categories and the model of a statement.
func (s server) known(ctx context.Context, p *econ.Params, st *evidence.Statement) error {
	for _, c := range st.Categories {
		if p.Find(c) == nil {
			return core.Refuse(core.UnknownCategory, "category %d of device %s", c, st.Device)
		}
	}
	if st.Model == 0 {
		return nil
	}
	model, err := s.Models.Get(ctx, st.Model)
	if err != nil {
		return missing(err, core.UnknownModel, "model %d of device %s", st.Model, st.Device)
	}
	made := map[uint32]bool{}
	for _, c := range model.Categories {
		made[c] = true
	}
	for _, c := range st.Categories {
		if !made[uint32(c)] {
			return core.Refuse(core.UnknownCategory, "device %s: model %d is not made for category %d", st.Device, st.Model, c)
		}
	}
	return nil
}

// TransferDevice gives a device to a new owner; both have signed.
func (s server) TransferDevice(ctx context.Context, msg *types.MsgTransferDevice) (*types.MsgTransferDeviceResponse, error) {
	d, _, err := s.owned(ctx, msg.Device, msg.Owner)
	if err != nil {
		return nil, err
	}
	owner, err := s.addresses.StringToBytes(msg.Owner)
	if err != nil {
		return nil, err
	}
	if _, err := s.addresses.StringToBytes(msg.NewOwner); err != nil {
		return nil, err
	}
	d.Owner = msg.NewOwner
	if err := s.put(ctx, d, owner); err != nil {
		return nil, err
	}
	emit(ctx, "device_transferred", d, "owner", d.Owner)
	return &types.MsgTransferDeviceResponse{}, nil
}

// SetFleet says which things are behind a device. The registry does not see them: that each of them agreed is
// for those to check who are shown it (core/fleet).
func (s server) SetFleet(ctx context.Context, msg *types.MsgSetFleet) (*types.MsgSetFleetResponse, error) {
	d, key, err := s.owned(ctx, msg.Device, msg.Owner)
	if err != nil {
		return nil, err
	}
	if d.Status != types.Status_STATUS_ACTIVE {
		return nil, core.Refuse(core.UnknownAuthor, "device %s has left the registry", key)
	}
	f, err := types.ParseFleet(msg.Root, msg.Count)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", key, err)
	}
	owner, err := s.addresses.StringToBytes(msg.Owner)
	if err != nil {
		return nil, err
	}
	e, err := s.tally.clock.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	d.FleetRoot, d.FleetCount = "", f.Count
	if !f.None() {
		d.FleetRoot = f.Root.String()
	}
	if err := s.put(ctx, d, owner); err != nil {
		return nil, err
	}
	emit(ctx, "device_fleet", d, "things", fmt.Sprint(d.FleetCount))
	return &types.MsgSetFleetResponse{From: uint64(e) + 1}, nil
}

// SuspendDevice keeps a device from being counted for a while.
func (s server) SuspendDevice(ctx context.Context, msg *types.MsgSuspendDevice) (*types.MsgSuspendDeviceResponse, error) {
	if err := s.authorized(msg.Authority); err != nil {
		return nil, err
	}
	key, err := core.ParseKey(msg.Device)
	if err != nil {
		return nil, err
	}
	d, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if msg.Epochs > types.MaxSuspension {
		return nil, core.Refuse(core.ParamBound, "suspension of %d epochs, at most %d are allowed", msg.Epochs, types.MaxSuspension)
	}
	reason, err := core.ParseHash(msg.Reason)
	if err != nil {
		return nil, fmt.Errorf("reason: %w", err)
	}
	e, err := s.tally.clock.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	d.SuspendedUntil, d.SuspensionReason = 0, ""
	if msg.Epochs > 0 {
		d.SuspendedUntil, d.SuspensionReason = uint64(e)+msg.Epochs, reason.String()
	}
	if err := s.put(ctx, d, nil); err != nil {
		return nil, err
	}
	emit(ctx, "device_suspended", d, "until", fmt.Sprint(d.SuspendedUntil))
	return &types.MsgSuspendDeviceResponse{}, nil
}

// UpdateParams replaces the module's parameters.
func (s server) UpdateParams(ctx context.Context, msg *types.MsgUpdateParams) (*types.MsgUpdateParamsResponse, error) {
	if err := s.authorized(msg.Authority); err != nil {
		return nil, err
	}
	if err := msg.Params.Validate(); err != nil {
		return nil, err
	}
	return &types.MsgUpdateParamsResponse{}, s.Params.Set(ctx, msg.Params)
}

func emit(ctx context.Context, event string, d types.Device, name, value string) {
	sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(sdk.NewEvent(event,
		sdk.NewAttribute("device", d.Device), sdk.NewAttribute(name, value)))
}
