package keeper

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cosmos/cosmos-sdk/telemetry"
	sdk "github.com/cosmos/cosmos-sdk/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

const (
	maxLeaf     = 256    // bytes of an encoded leaf
	siblingSize = 8 + 32 // sum and hash
	maxSiblings = 64     // no tree is deeper than its count has bits
	proofGas    = 1_500  // of the hashes in one proof
)

// Claim pays one device's owner.
func (s server) Claim(ctx context.Context, msg *types.MsgClaim) (*types.MsgClaimResponse, error) {
	paid, burned, err := s.claims(sdk.UnwrapSDKContext(ctx), []types.Claim{msg.Claim})
	return &types.MsgClaimResponse{Paid: uint64(paid), Burned: uint64(burned)}, err
}

// ClaimBatch pays many, or none.
func (s server) ClaimBatch(ctx context.Context, msg *types.MsgClaimBatch) (*types.MsgClaimBatchResponse, error) {
	paid, burned, err := s.claims(sdk.UnwrapSDKContext(ctx), msg.Claims)
	return &types.MsgClaimBatchResponse{Paid: uint64(paid), Burned: uint64(burned)}, err
}

// batch is a run of claims: headers are decoded once, owners are paid once, ledgers written once.
type batch struct {
	Keeper
	headers map[[2]uint64]*tally.Header
	ledgers map[uint32]*types.Ledger
	due     map[string]core.Ustone // by owner's address
	owners  []string               // in the order in which they came
	regions []uint32
}

// claims pays what each leaf says beyond what was claimed before, and burns what it forfeits. It refuses with
// already_claimed only if none of them has anything left.
func (k Keeper) claims(ctx sdk.Context, list []types.Claim) (paid, burned core.Ustone, err error) {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return 0, 0, err
	}
	if len(list) == 0 || len(list) > int(p.MaxClaims) {
		return 0, 0, core.Refuse(core.Oversize, "%d claims, from 1 to %d are taken", len(list), p.MaxClaims)
	}
	b := &batch{Keeper: k, headers: map[[2]uint64]*tally.Header{}, ledgers: map[uint32]*types.Ledger{}, due: map[string]core.Ustone{}}
	for i := range list {
		got, lost, err := b.claim(ctx, &list[i])
		if err != nil {
			return 0, 0, err
		}
		paid, burned = paid+got, burned+lost
	}
	if paid == 0 && burned == 0 {
		return 0, 0, core.Refuse(core.AlreadyClaimed, "%d claims up to epoch %d", len(list), list[len(list)-1].Epoch)
	}
	for _, r := range b.regions {
		if err := k.Ledgers.Set(ctx, r, *b.ledgers[r]); err != nil {
			return 0, 0, err
		}
	}
	for _, owner := range b.owners {
		if err := k.pay(ctx, sdk.AccAddress(owner), b.due[owner]); err != nil {
			return 0, 0, err
		}
	}
	telemetry.IncrCounter(float32(len(list)), types.ModuleName, "claims")
	emit(ctx, "claims", "count", text(uint64(len(list))), "paid", text(paid), "burned", text(burned))
	return paid, burned, nil
}

// claim checks one leaf and notes what is due for it.
func (b *batch) claim(ctx sdk.Context, c *types.Claim) (paid, burned core.Ustone, err error) {
	h, err := b.header(ctx, c.Epoch, c.Region)
	if err != nil {
		return 0, 0, err
	}
	leaf, err := proven(ctx, h, c)
	if err != nil {
		return 0, 0, err
	}
	owner, err := b.late.registry.Owner(ctx, leaf.Device)
	if err != nil {
		return 0, 0, err
	}
	before, err := get(ctx, b.Claims, leaf.Device[:])
	if err != nil {
		return 0, 0, err
	}
	if due := uint64(leaf.Amount); due > before {
		paid = core.Ustone(due - before)
		if err := b.note(ctx, c.Region, string(owner), paid); err != nil {
			return 0, 0, err
		}
		if err := b.Claims.Set(ctx, leaf.Device[:], due); err != nil {
			return 0, 0, err
		}
	}
	if leaf.Penalty > 0 {
		burned, err = b.late.registry.Penalize(ctx, leaf.Device, leaf.Penalty)
	}
	return paid, burned, err
}

// note adds to what an owner is paid. No region pays more than its newest final header says.
func (b *batch) note(ctx context.Context, r uint32, owner string, amount core.Ustone) error {
	l, ok := b.ledgers[r]
	if !ok {
		stored, err := get(ctx, b.Ledgers, r)
		if err != nil {
			return err
		}
		l = &stored
		b.ledgers[r] = l
		b.regions = append(b.regions, r)
	}
	if l.Amount < l.Claimed || uint64(amount) > l.Amount-l.Claimed {
		return core.Refuse(core.EconRange, "claim of %d, %d of %d are claimed", amount, l.Claimed, l.Amount)
	}
	l.Claimed += uint64(amount)
	if _, ok := b.due[owner]; !ok {
		b.owners = append(b.owners, owner)
	}
	b.due[owner] += amount
	return nil
}

func (b *batch) header(ctx context.Context, e uint64, r uint32) (*tally.Header, error) {
	at := [2]uint64{e, uint64(r)}
	if h, ok := b.headers[at]; ok {
		return h, nil
	}
	if r > 1<<16-1 {
		return nil, core.Refuse(core.WrongRegion, "claim in region %d", r)
	}
	h, err := b.FinalHeader(ctx, core.Epoch(e), core.Region(r))
	if err == nil {
		b.headers[at] = h
	}
	return h, err
}

// proven returns the leaf that a claim shows, if its siblings lead to the header's devices root.
func proven(ctx sdk.Context, h *tally.Header, c *types.Claim) (*tally.Leaf, error) {
	ctx.GasMeter().ConsumeGas(proofGas, "Merkle proof")
	leaf := new(tally.Leaf)
	if err := core.DecodeLimit(c.Leaf, leaf, maxLeaf); err != nil {
		return nil, err
	}
	if len(c.Siblings)%siblingSize != 0 || len(c.Siblings) > maxSiblings*siblingSize {
		return nil, core.Refuse(core.BadClaim, "siblings of %d bytes", len(c.Siblings))
	}
	proof := merkle.SumProof{Index: c.Index, Count: h.Count, Siblings: make([]merkle.Node, 0, len(c.Siblings)/siblingSize)}
	for raw := c.Siblings; len(raw) > 0; raw = raw[siblingSize:] {
		proof.Siblings = append(proof.Siblings, merkle.Node{Sum: binary.BigEndian.Uint64(raw), Hash: core.Hash(raw[8:siblingSize])})
	}
	if _, err := proof.Verify(h.Devices, h.Count, leaf.Node()); err != nil {
		return nil, core.Refuse(core.BadClaim, "%v in epoch %d: %v", leaf.Device, c.Epoch, err)
	}
	return leaf, nil
}

// UpdateParams replaces the parameters that may change outside an upgrade.
func (s server) UpdateParams(ctx context.Context, msg *types.MsgUpdateParams) (*types.MsgUpdateParamsResponse, error) {
	if msg.Authority != s.authority {
		return nil, fmt.Errorf("%w: want %s, have %s", govtypes.ErrInvalidSigner, s.authority, msg.Authority)
	}
	old, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if err := msg.Params.Change(&old); err != nil {
		return nil, err
	}
	return &types.MsgUpdateParamsResponse{}, s.Params.Set(ctx, msg.Params)
}
