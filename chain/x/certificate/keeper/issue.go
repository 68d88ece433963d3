package keeper

import (
	"context"
	"errors"
	"fmt"
	"math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

const (
	maxSiblings = 64    // no tree is deeper than its count has bits
	proofGas    = 1_500 // of the hashes in one proof
)

// Issue makes certificates of a sheet.
func (s server) Issue(ctx context.Context, msg *types.MsgIssue) (*types.MsgIssueResponse, error) {
	h, err := s.final(ctx, msg.Epoch, msg.Region)
	if err != nil {
		return nil, err
	}
	sheet, lots, err := s.proven(ctx, h, msg)
	if err != nil {
		return nil, err
	}
	owner, err := core.ParseAccount(msg.Owner)
	if err != nil {
		return nil, err
	}
	if err := s.owns(ctx, owner, sheet.Device); err != nil {
		return nil, err
	}
	mark, err := s.Mark(ctx, sheet.Device)
	if err != nil {
		return nil, err
	}
	if lots[0].From < mark {
		return nil, core.Refuse(core.CertificateBelowMark, "lots of device %s from %d Wh on, up to %d were issued", sheet.Device, lots[0].From, mark)
	}
	if err := s.Marks.Set(ctx, sheet.Device[:], lots[len(lots)-1].To); err != nil {
		return nil, err
	}
	c := types.Certificate{
		Device: sheet.Device.String(), Technology: uint32(sheet.Technology), Zone: sheet.Zone.String(), Power: sheet.Power,
		Storage: uint32(sheet.Stored), Owner: owner.String(), State: types.State_STATE_ACTIVE, Epoch: msg.Epoch, Region: msg.Region,
	}
	return s.make(ctx, sheet.Device, c, lots.Runs())
}

// final returns the header that a message is held against.
func (k Keeper) final(ctx context.Context, e uint64, r uint32) (*tally.Header, error) {
	if r > math.MaxUint16 {
		return nil, core.Refuse(core.WrongRegion, "issue in region %d", r)
	}
	p, err := k.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	now, err := k.tallies.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	if e < uint64(now) && uint64(now)-e > p.LapseEpochs {
		return nil, core.Refuse(core.CertificateLapsed, "header of epoch %d, %d epochs ago", e, uint64(now)-e)
	}
	h, err := k.tallies.FinalHeader(ctx, core.Epoch(e), core.Region(r))
	if errors.Is(err, core.NotFinal) {
		return nil, core.Refuse(core.CertificateNotFinal, "header of epoch %d, region %d", e, r)
	}
	return h, err
}

// proven returns the sheet and the lots that a message shows, if the header commits to both.
func (k Keeper) proven(ctx context.Context, h *tally.Header, msg *types.MsgIssue) (*lot.Sheet, lot.Lots, error) {
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(proofGas, "Merkle proof")
	sheet, err := lot.Decode(msg.Leaf)
	if err != nil {
		return nil, nil, err
	}
	lots, err := lot.DecodeLots(msg.Lots)
	if err != nil {
		return nil, nil, err
	}
	const size = len(core.Hash{})
	if len(msg.Siblings)%size != 0 || len(msg.Siblings) > maxSiblings*size {
		return nil, nil, core.Refuse(core.CertificateProof, "siblings of %d bytes", len(msg.Siblings))
	}
	siblings := make([]core.Hash, 0, len(msg.Siblings)/size)
	for raw := msg.Siblings; len(raw) > 0; raw = raw[size:] {
		siblings = append(siblings, core.Hash(raw[:size]))
	}
	if err := h.VerifyOutput(types.Category, msg.Leaf, msg.Index, siblings); err != nil {
		return nil, nil, core.Refuse(core.CertificateProof, "sheet of device %s in epoch %d: %v", sheet.Device, msg.Epoch, err)
	}
	if !sheet.Matches(lots) {
		return nil, nil, core.Refuse(core.CertificateLots, "sheet of device %s, day %d: %d Wh in %d lots", sheet.Device, sheet.Day, lots.Total(), len(lots))
	}
	return sheet, lots, nil
}

// owns checks that a device is the sender's.
func (k Keeper) owns(ctx context.Context, sender core.Account, device core.Key) error {
	owner, err := k.devices.Owner(ctx, device)
	if err != nil {
		return err
	}
	if !owner.Equals(sdk.AccAddress(sender[:])) {
		return core.Refuse(core.NotOwner, "device %s is of %s", device, owner)
	}
	return nil
}

// make writes a certificate like c for each run. Their ids are new: all before are below the mark.
func (s server) make(ctx context.Context, device core.Key, c types.Certificate, runs []lot.Run) (*types.MsgIssueResponse, error) {
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(p.RowGas*uint64(len(runs)), "certificates")
	time := now(ctx)
	c.Issued, c.Expires = time, (time/types.Day+1+p.ExpiryDays)*types.Day
	res := &types.MsgIssueResponse{}
	for _, r := range runs {
		id := lot.ID{Device: device, From: r.From}
		c.Id, c.FromWh, c.ToWh, c.FromTime, c.ToTime = id.String(), r.From, r.To, r.Begin, r.End
		if err := s.put(ctx, id, c); err != nil {
			return nil, err
		}
		res.Issued += c.Wh() // all runs are of one register, so it cannot overflow
		res.Ids = append(res.Ids, c.Id)
		emit(ctx, "certificate_issued", "id", c.Id, "owner", c.Owner, "wh", fmt.Sprint(c.Wh()), "from_time", fmt.Sprint(c.FromTime))
	}
	return res, s.count(ctx, res.Issued, c.Expires)
}
