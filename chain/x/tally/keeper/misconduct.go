package keeper

import (
	"context"
	"errors"
	"math/bits"
	"time"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"
	sdk "github.com/cosmos/cosmos-sdk/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// forever is until when a tombstoned validator is jailed, as x/evidence has it.
var forever = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// SetVerifier names the keys with which a validator takes part in tallies. They count one appeal window after
// the next epoch begins; until then the old ones do.
func (s server) SetVerifier(ctx context.Context, msg *types.MsgSetVerifier) (*types.MsgSetVerifierResponse, error) {
	rec := types.Verifier{Owner: msg.Owner, Key: msg.Key, Vrf: msg.Vrf}
	a, err := rec.Attester()
	if err != nil {
		return nil, core.Refuse(core.BadEncoding, "%v", err)
	}
	v, err := s.staking.GetValidator(ctx, a.Owner[:])
	if errors.Is(err, stakingtypes.ErrNoValidatorFound) {
		return nil, core.Refuse(core.UnknownVerifier, "%v is no validator", a.Owner)
	}
	if err != nil {
		return nil, err
	}
	consensus, err := v.GetConsAddr()
	if err != nil {
		return nil, err
	}
	if s.slashing.IsTombstoned(ctx, consensus) {
		return nil, core.Refuse(core.UnknownVerifier, "%v is tombstoned", a.Owner)
	}
	c := sdk.UnwrapSDKContext(ctx)
	c.GasMeter().ConsumeGas(2*signatureGas, "Ed25519 signatures")
	if err := types.CheckProofs(c.ChainID(), &a, msg.KeyProof, msg.VrfProof); err != nil {
		return nil, err
	}
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	now, err := s.Now.Get(ctx)
	if err != nil {
		return nil, err
	}
	rec.Since = now + 1 + p.AppealWindow
	if err := s.setVerifier(ctx, &a, rec); err != nil {
		return nil, err
	}
	emit(ctx, "verifier", "owner", rec.Owner, "key", rec.Key, "since", text(rec.Since))
	return &types.MsgSetVerifierResponse{Since: rec.Since}, nil
}

// setVerifier stores a verifier's keys. Each key serves one validator, once: one that was given up does not
// come back.
func (k Keeper) setVerifier(ctx context.Context, a *tally.Attester, rec types.Verifier) error {
	old, err := get(ctx, k.Verifiers, a.Owner[:])
	if err != nil {
		return err
	}
	for _, key := range []core.Key{a.Key, a.VRF} {
		taken, err := k.Keys.Has(ctx, key[:])
		if err != nil {
			return err
		}
		if text := key.String(); taken && text != old.Key && text != old.Vrf {
			return core.Refuse(core.KeyTaken, "%s is or was a verifier's key", text)
		}
		if !taken {
			if err := k.Keys.Set(ctx, key[:], types.Key{Key: key.String(), Owner: rec.Owner}); err != nil {
				return err
			}
		}
	}
	rec.Missed, rec.Power, rec.KeyProof, rec.VrfProof = old.Missed, 0, nil, nil
	return k.Verifiers.Set(ctx, a.Owner[:], rec)
}

// validator returns a verifier's validator and its consensus address; false if there is none any more.
func (k Keeper) validator(ctx context.Context, owner string) (v stakingtypes.Validator, consensus sdk.ConsAddress, ok bool, err error) {
	address, err := k.addresses.StringToBytes(owner)
	if err != nil {
		return v, nil, false, err
	}
	v, err = k.staking.GetValidator(ctx, address)
	if errors.Is(err, stakingtypes.ErrNoValidatorFound) {
		return v, nil, false, nil
	}
	if err != nil {
		return v, nil, false, err
	}
	consensus, err = v.GetConsAddr()
	return v, consensus, err == nil, err
}

// powerOf returns the power that a verifier's validator has now: bonded stake in STONE, 0 while jailed.
func (k Keeper) powerOf(ctx context.Context, owner string) (uint64, error) {
	v, _, ok, err := k.validator(ctx, owner)
	if err != nil || !ok || v.IsJailed() || !v.IsBonded() {
		return 0, err
	}
	return uint64(max(0, v.GetConsensusPower(k.staking.PowerReduction(ctx)))), nil
}

// jail takes a validator's power until it asks for it back (MsgUnjail). The last bonded validator is spared:
// without it nothing could ever be voted on again.
func (k Keeper) jail(ctx sdk.Context, owner, why string) error {
	v, consensus, ok, err := k.validator(ctx, owner)
	if err != nil || !ok || v.IsJailed() {
		return err
	}
	if v.IsBonded() {
		bonded := 0
		if err := k.staking.IterateBondedValidatorsByPower(ctx, func(int64, stakingtypes.ValidatorI) bool {
			bonded++
			return bonded == 2
		}); err != nil {
			return err
		}
		if bonded < 2 {
			emit(ctx, "verifier_spared", "owner", owner, "why", why)
			return nil
		}
	}
	emit(ctx, "verifier_jailed", "owner", owner, "why", why)
	return k.staking.Jail(ctx, consensus)
}

// slash takes amount of a validator's stake, for what it did with that much power at a block, and returns what
// was taken. A validator that cannot be slashed any more loses nothing.
func (k Keeper) slash(ctx sdk.Context, owner string, amount core.Ustone, power, at uint64) (taken core.Ustone) {
	k.attempt(ctx, "slash", func(c sdk.Context) error {
		v, consensus, ok, err := k.validator(c, owner)
		if err != nil || !ok || v.IsUnbonded() || amount == 0 {
			return err
		}
		if power == 0 { // it had none in that epoch any more: its stake is what it has now
			if power = v.Tokens.Quo(k.staking.PowerReduction(c)).Uint64(); power == 0 {
				return nil
			}
		}
		stake := math.LegacyNewDecFromInt(k.staking.PowerReduction(c).MulRaw(int64(power)))
		// Rounded up in the eighteenth place, so that what x/staking rounds down is the amount.
		fraction := math.LegacyMinDec(math.LegacyOneDec(), math.LegacyNewDec(int64(amount)).QuoRoundUp(stake))
		burned, err := k.staking.Slash(c, consensus, min(int64(at), c.BlockHeight()), int64(power), fraction)
		if err != nil {
			return err
		}
		taken = core.Ustone(burned.Uint64())
		emit(c, "verifier_slashed", "owner", owner, "amount", text(taken))
		return nil
	})
	return taken
}

// slashSigners takes from the stake of each signer of a voided header, and returns the sum.
func (k Keeper) slashSigners(ctx sdk.Context, h *types.Header, released core.Ustone) (sum core.Ustone) {
	e, err := k.Epochs.Get(ctx, h.Epoch)
	if err != nil {
		ctx.Logger().Error("tally: no verifiers to slash", "epoch", h.Epoch, "err", err)
		return 0
	}
	var signers uint64
	for i, v := range e.Verifiers {
		if signed(h.Bitmap, i) {
			signers += v.Power
		}
	}
	for i, v := range e.Verifiers {
		if !signed(h.Bitmap, i) {
			continue
		}
		val, _, ok, err := k.validator(ctx, v.Owner)
		if err != nil || !ok || !val.Tokens.IsUint64() {
			continue
		}
		sum += k.slash(ctx, v.Owner, econ.VoidSlash(core.Ustone(val.Tokens.Uint64()), v.Power, signers, released), v.Power, h.Height)
	}
	return sum
}

// ReportEquivocation takes stake and seat of a verifier that signed two headers for one epoch, region and round.
func (s server) ReportEquivocation(ctx context.Context, msg *types.MsgReportEquivocation) (*types.MsgReportEquivocationResponse, error) {
	a, err := tally.DecodeHeader(msg.HeaderA)
	if err != nil {
		return nil, err
	}
	b, err := tally.DecodeHeader(msg.HeaderB)
	if err != nil {
		return nil, err
	}
	key, err := core.ParseKey(msg.Key)
	if err != nil {
		return nil, core.Refuse(core.UnknownVerifier, "%v", err)
	}
	c := sdk.UnwrapSDKContext(ctx)
	ha, hb := a.Hash(), b.Hash()
	if ha == hb || a.Epoch != b.Epoch || a.Region != b.Region || a.Round != b.Round || a.Chain != c.ChainID() || b.Chain != c.ChainID() {
		return nil, core.Refuse(core.NoMisconduct, "two headers of %s", msg.Key)
	}
	c.GasMeter().ConsumeGas(2*signatureGas, "Ed25519 signatures")
	if len(msg.SignatureA) != len(core.Signature{}) || len(msg.SignatureB) != len(core.Signature{}) ||
		!key.Verify("header", c.ChainID(), ha[:], core.Signature(msg.SignatureA)) ||
		!key.Verify("header", c.ChainID(), hb[:], core.Signature(msg.SignatureB)) {
		return nil, core.Refuse(core.BadSignature, "two headers of %s", msg.Key)
	}
	e, err := s.Epochs.Get(ctx, uint64(a.Epoch))
	if errors.Is(err, collections.ErrNotFound) {
		return nil, core.Refuse(core.WrongEpoch, "headers of epoch %d", a.Epoch)
	}
	if err != nil {
		return nil, err
	}
	for _, v := range e.Verifiers {
		if v.Key == msg.Key {
			slashed, err := s.punish(c, key, &v, e.Cut)
			return &types.MsgReportEquivocationResponse{Slashed: uint64(slashed)}, err
		}
	}
	return nil, core.Refuse(core.UnknownVerifier, "%s in epoch %d", msg.Key, a.Epoch)
}

// punish slashes a verifier that signed twice, and keeps it out for good. One key is punished once.
func (k Keeper) punish(ctx sdk.Context, key core.Key, v *types.Verifier, cut uint64) (core.Ustone, error) {
	rec, err := get(ctx, k.Keys, key[:])
	if err != nil {
		return 0, err
	}
	val, consensus, ok, err := k.validator(ctx, v.Owner)
	if err != nil {
		return 0, err
	}
	if rec.Punished || !ok || k.slashing.IsTombstoned(ctx, consensus) {
		return 0, core.Refuse(core.NoMisconduct, "%v was punished before", key)
	}
	rec.Key, rec.Owner, rec.Punished = key.String(), v.Owner, true
	if err := k.Keys.Set(ctx, key[:], rec); err != nil {
		return 0, err
	}
	p, err := k.Params.Get(ctx)
	if err != nil {
		return 0, err
	}
	stake := core.Ustone(val.Tokens.Uint64())
	amount, err := econ.MulDiv(uint64(stake), uint64(p.EquivocationSlash), econ.Bps)
	if err != nil {
		return 0, err
	}
	slashed := k.slash(ctx, v.Owner, core.Ustone(amount), v.Power, cut)
	if err := k.jail(ctx, v.Owner, "two headers signed"); err != nil {
		return 0, err
	}
	if val, _, _, err := k.validator(ctx, v.Owner); err != nil || !val.IsJailed() {
		return slashed, err // spared: it is the last
	}
	return slashed, errors.Join(k.slashing.JailUntil(ctx, consensus, forever), k.slashing.Tombstone(ctx, consensus))
}

// countMissed notes who did not sign the headers of e, now that no more signatures are taken, and jails who
// missed too many of the last hundred.
func (k Keeper) countMissed(ctx sdk.Context, e core.Epoch) error {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return err
	}
	rec, err := k.Epochs.Get(ctx, uint64(e))
	if err != nil {
		return err
	}
	var headers []types.Header
	for r := range p.Regions {
		h, err := k.header(ctx, e, core.Region(r))
		if err != nil {
			return err
		}
		if h.Hash != "" && h.Status != types.Status_STATUS_VOIDED {
			headers = append(headers, h)
		}
	}
	if len(headers) == 0 {
		return nil
	}
	for i, seat := range rec.Verifiers {
		if seat.Power == 0 {
			continue
		}
		missed := false
		for j := range headers {
			missed = missed || !signed(headers[j].Bitmap, i)
		}
		if err := k.noteMissed(ctx, &p, seat.Owner, missed); err != nil {
			return err
		}
	}
	return nil
}

func (k Keeper) noteMissed(ctx sdk.Context, p *types.Params, owner string, missed bool) error {
	address, err := k.addresses.StringToBytes(owner)
	if err != nil {
		return err
	}
	v, err := get(ctx, k.Verifiers, address)
	if err != nil || v.Key == "" {
		return err
	}
	v.Missed = shift(v.Missed, missed)
	total := 0
	for _, b := range v.Missed {
		total += bits.OnesCount8(b)
	}
	if total >= types.MissWindow-int(p.MinSigned) {
		v.Missed = nil
		k.attempt(ctx, "jail", func(c sdk.Context) error { return k.jail(c, owner, "missed too many headers") })
	}
	return k.Verifiers.Set(ctx, address, v)
}

// shift puts bit in front of a bitmap of the last hundred.
func shift(bitmap []byte, bit bool) []byte {
	out := make([]byte, (types.MissWindow+7)/8)
	carry := byte(0)
	if bit {
		carry = 1
	}
	for i := range out {
		var b byte
		if i < len(bitmap) {
			b = bitmap[i]
		}
		out[i], carry = b<<1|carry, b>>7
	}
	out[len(out)-1] &= 1<<(types.MissWindow%8) - 1
	return out
}
