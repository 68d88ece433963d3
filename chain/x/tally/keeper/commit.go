package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"github.com/cosmos/cosmos-sdk/telemetry"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// Gas of checks that the SDK does not meter, by what they take beside one secp256k1 signature (1,000).
const (
	signatureGas = 1_000
	vrfGas       = 4_000
)

type server struct{ Keeper }

// NewMsgServer returns what handles the module's messages.
func NewMsgServer(k Keeper) types.MsgServer { return server{k} }

// CommitTally takes a header. All that it checks costs the same for any number of devices.
func (s server) CommitTally(ctx context.Context, msg *types.MsgCommitTally) (*types.MsgCommitTallyResponse, error) {
	h, err := tally.DecodeHeader(msg.Header)
	if err != nil {
		return nil, err
	}
	c := sdk.UnwrapSDKContext(ctx)
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	e, err := s.acceptable(c, &p, h)
	if err != nil {
		return nil, err
	}
	tip, last, err := s.tip(ctx, h.Region)
	if err != nil {
		return nil, err
	}
	if err := checkLeader(c, &e, h, tip); err != nil {
		return nil, err
	}
	if err := s.checkTotals(ctx, h, last); err != nil {
		return nil, err
	}
	hash := h.Hash()
	bitmap, power, err := sign(c, &e, hash, make([]byte, (len(e.Verifiers)+7)/8), msg.Bitmap, msg.Signatures)
	if err != nil {
		return nil, err
	}
	total := totalPower(e.Verifiers)
	if !enough(power, total) {
		return nil, core.Refuse(core.LowPower, "header of epoch %d: %d of %d signed", h.Epoch, power, total)
	}
	now := height(ctx)
	rec := types.Header{
		Epoch: uint64(h.Epoch), Region: uint32(h.Region), Status: types.Status_STATUS_ACCEPTED, Raw: msg.Header, Hash: hash.String(),
		Height: now, Round: uint32(h.Round), Signed: power, Total: total, Bitmap: bitmap, FinalAt: now + p.AppealWindow*p.EpochBlocks,
	}
	if tip != nil {
		rec.Previous = tip.Epoch
	}
	if err := errors.Join(
		s.Headers.Set(ctx, collections.Join(rec.Region, rec.Epoch), rec),
		s.tips.Set(ctx, rec.Region, rec.Epoch),
	); err != nil {
		return nil, err
	}
	emit(ctx, "header_accepted", "epoch", text(rec.Epoch), "region", text(rec.Region), "hash", rec.Hash,
		"round", text(rec.Round), "signed", text(power), "total", text(total))
	telemetry.IncrCounter(1, types.ModuleName, "accepted")
	return &types.MsgCommitTallyResponse{Hash: rec.Hash, Signed: power, Total: total}, s.done(c, h.Epoch, h.Region)
}

// acceptable checks that a header of that epoch and round is wanted, and returns the epoch.
func (k Keeper) acceptable(ctx sdk.Context, p *types.Params, h *tally.Header) (types.Epoch, error) {
	if h.Chain != ctx.ChainID() {
		return types.Epoch{}, core.Refuse(core.WrongChain, "header of chain %.50q", h.Chain)
	}
	if uint32(h.Region) >= p.Regions {
		return types.Epoch{}, core.Refuse(core.WrongRegion, "header of region %d", h.Region)
	}
	e, err := k.Epochs.Get(ctx, uint64(h.Epoch))
	if errors.Is(err, collections.ErrNotFound) {
		return e, core.Refuse(core.WrongEpoch, "header of epoch %d", h.Epoch)
	}
	if err != nil {
		return e, err
	}
	wanted, err := k.open.Has(ctx, collections.Join(uint64(h.Epoch), uint32(h.Region)))
	if err != nil {
		return e, err
	}
	if !wanted {
		return e, core.Refuse(core.HeaderKnown, "epoch %d, region %d", h.Epoch, h.Region)
	}
	if round, ok := roundAt(&e, height(ctx)); !ok || round != uint64(h.Round) {
		return e, core.Refuse(core.HeaderRound, "header of epoch %d, round %d, in block %d", h.Epoch, h.Round, height(ctx))
	}
	return e, nil
}

// checkLeader checks that the header is by the leader drawn for its round, with the proof that only it can
// make, and that it follows the region's last one.
func checkLeader(ctx sdk.Context, e *types.Epoch, h *tally.Header, tip *types.Header) error {
	if h.Rules != e.Rules {
		return core.Refuse(core.HeaderLink, "header under rules %d, want %d", h.Rules, e.Rules)
	}
	if _, err := output(ctx, e, h); err != nil {
		return core.Refuse(core.HeaderLeader, "%v", err)
	}
	var last string
	if tip != nil {
		last = tip.Hash
	}
	if previous := h.Previous.String(); previous != last && !(last == "" && h.Previous.IsZero()) {
		return core.Refuse(core.HeaderLink, "header of epoch %d follows %s, the region's last is %s", h.Epoch, previous, last)
	}
	return nil
}

// output returns what the header's leader proved by its VRF over the epoch's seed.
func output(ctx sdk.Context, e *types.Epoch, h *tally.Header) (out [64]byte, err error) {
	ctx.GasMeter().ConsumeGas(vrfGas, "VRF proof")
	var leaders []string
	for _, l := range e.Leaders {
		if l.Region == uint32(h.Region) {
			leaders = l.Keys
		}
	}
	leader := h.Leader.String()
	if int(h.Round) >= len(leaders) || leaders[h.Round] != leader {
		return out, fmt.Errorf("round %d of epoch %d is not %s's", h.Round, h.Epoch, leader)
	}
	seed, err := core.ParseHash(e.Seed)
	if err != nil {
		return out, fmt.Errorf("seed of epoch %d: %w", h.Epoch, err)
	}
	for _, v := range e.Verifiers {
		if v.Key != leader {
			continue
		}
		vrf, err := core.ParseKey(v.Vrf)
		if err != nil {
			return out, err
		}
		return beacon.Output(vrf, h.Chain, seed, h.Region, h.VRF)
	}
	return out, fmt.Errorf("leader %s is no verifier of epoch %d", leader, h.Epoch)
}

// checkTotals holds a header against the region's last one (nil for none) and what that one was allotted.
func (k Keeper) checkTotals(ctx context.Context, h, last *tally.Header) error {
	refuse := func(what string, got, want uint64) error {
		return core.Refuse(core.HeaderTotals, "header of epoch %d: %s: %d, limit %d", h.Epoch, what, got, want)
	}
	var before tally.Totals
	var escrow types.Escrow
	if last != nil {
		before = last.Totals
		var err error
		if escrow, err = get(ctx, k.Escrows, collections.Join(uint32(last.Region), uint64(last.Epoch))); err != nil {
			return err
		}
	}
	t := &h.Totals
	if uint64(t.Amount) != h.Devices.Sum {
		return refuse("amount and the tree's sum", uint64(t.Amount), h.Devices.Sum)
	}
	var paid core.Credit
	for i, c := range t.Categories {
		if i > 0 && c.Category <= t.Categories[i-1].Category {
			return refuse("order of categories", uint64(c.Category), uint64(t.Categories[i-1].Category))
		}
		if paid += c.Paid; paid < c.Paid {
			return refuse("paid leaves 64 bits", uint64(c.Paid), 0)
		}
	}
	if paid != t.Spent {
		return refuse("paid and spent", uint64(paid), uint64(t.Spent))
	}
	bought, err := k.late.credits.Bought(ctx, h.Region)
	if err != nil {
		return err
	}
	if t.Spent > bought {
		return refuse("spent and bought", uint64(t.Spent), uint64(bought))
	}
	if t.Settled > t.Spent {
		return refuse("settled and spent", uint64(t.Settled), uint64(t.Spent))
	}
	for _, c := range before.Categories {
		if now := paidOf(t, c.Category); now < c.Paid {
			return refuse("paid fell", uint64(now), uint64(c.Paid))
		}
	}
	if t.Amount < before.Amount || t.Settled < before.Settled || t.Penalty < before.Penalty {
		return refuse("a total fell", uint64(t.Amount), uint64(before.Amount))
	}
	allot := escrow.Allotment()
	if t.Amount-before.Amount > allot.Devices() {
		return refuse("amount grew beyond the allotment", uint64(t.Amount-before.Amount), uint64(allot.Devices()))
	}
	if t.Settled-before.Settled > allot.Settled {
		return refuse("settled grew beyond the settlement", uint64(t.Settled-before.Settled), uint64(allot.Settled))
	}
	return nil
}

func paidOf(t *tally.Totals, k core.Category) core.Credit {
	for _, c := range t.Categories {
		if c.Category == k {
			return c.Paid
		}
	}
	return 0
}

// signed reports whether bit i of a bitmap is set.
func signed(bitmap []byte, i int) bool { return i/8 < len(bitmap) && bitmap[i/8]>>(i%8)&1 == 1 }

// sign checks the signatures that more lists over a header (ZIP-215), and returns have with them and the power
// of both together.
func sign(ctx sdk.Context, e *types.Epoch, hash core.Hash, have, more, sigs []byte) ([]byte, uint64, error) {
	const size = len(core.Signature{})
	if len(more) != len(have) || len(sigs)%size != 0 {
		return nil, 0, core.Refuse(core.BadEncoding, "a bitmap of %d bytes and %d of signatures for %d verifiers", len(more), len(sigs), len(e.Verifiers))
	}
	out := append([]byte(nil), have...)
	message := core.SigningBytes("header", ctx.ChainID(), hash[:])
	var power uint64
	for i := range 8 * len(have) {
		if i >= len(e.Verifiers) {
			if signed(more, i) {
				return nil, 0, core.Refuse(core.BadEncoding, "the bitmap lists verifier %d of %d", i, len(e.Verifiers))
			}
			continue
		}
		v := &e.Verifiers[i]
		if signed(more, i) {
			ctx.GasMeter().ConsumeGas(signatureGas, "Ed25519 signature")
			key, err := core.ParseKey(v.Key)
			if err != nil {
				return nil, 0, err
			}
			if len(sigs) == 0 || !key.VerifyMessage(message, core.Signature(sigs[:size])) {
				return nil, 0, core.Refuse(core.BadSignature, "%s does not sign header %s", v.Key, hash)
			}
			sigs = sigs[size:]
			out[i/8] |= 1 << (i % 8)
		}
		if signed(out, i) {
			power += v.Power
		}
	}
	if len(sigs) != 0 {
		return nil, 0, core.Refuse(core.BadEncoding, "%d signatures more than the bitmap lists", len(sigs)/size)
	}
	return out, power, nil
}

func totalPower(list []types.Verifier) uint64 {
	var sum uint64
	for i := range list {
		sum += list[i].Power
	}
	return sum
}

// enough reports whether power is more than two thirds of total. Both are below 2⁶²: stake in STONE.
func enough(power, total uint64) bool { return 3*power > 2*total }

// AddSignatures adds signatures to an accepted header until the next cut.
func (s server) AddSignatures(ctx context.Context, msg *types.MsgAddSignatures) (*types.MsgAddSignaturesResponse, error) {
	key := collections.Join(msg.Region, msg.Epoch)
	h, err := get(ctx, s.Headers, key)
	if err != nil {
		return nil, err
	}
	if h.Hash == "" {
		return nil, core.Refuse(core.WrongEpoch, "epoch %d has no header", msg.Epoch)
	}
	e, err := s.Epochs.Get(ctx, msg.Epoch)
	if err != nil {
		return nil, err
	}
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if h.Status != types.Status_STATUS_ACCEPTED || height(ctx) > e.Cut+p.EpochBlocks {
		return nil, core.Refuse(core.HeaderRound, "epoch %d takes no more signatures", msg.Epoch)
	}
	hash, err := core.ParseHash(h.Hash)
	if err != nil {
		return nil, err
	}
	h.Bitmap, h.Signed, err = sign(sdk.UnwrapSDKContext(ctx), &e, hash, h.Bitmap, msg.Bitmap, msg.Signatures)
	if err != nil {
		return nil, err
	}
	return &types.MsgAddSignaturesResponse{Signed: h.Signed}, s.Headers.Set(ctx, key, h)
}
