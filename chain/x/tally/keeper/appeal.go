package keeper

import (
	"context"
	"errors"
	"slices"

	"cosmossdk.io/collections"
	"github.com/cosmos/cosmos-sdk/telemetry"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/evidence"
	core "github.com/cairn-network/cairn/core/types"
)

// Appeal opens a vote on a header: once per header, while its window is open.
func (s server) Appeal(ctx context.Context, msg *types.MsgAppeal) (*types.MsgAppealResponse, error) {
	from, err := s.addresses.StringToBytes(msg.Appellant)
	if err != nil {
		return nil, err
	}
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	key := collections.Join(msg.Region, msg.Epoch)
	h, err := get(ctx, s.Headers, key)
	if err != nil {
		return nil, err
	}
	now := height(ctx)
	switch {
	case h.Hash == "":
		return nil, core.Refuse(core.WrongEpoch, "epoch %d has no header", msg.Epoch)
	case h.WasAppealed:
		return nil, core.Refuse(core.AppealKnown, "epoch %d", msg.Epoch)
	case h.Status != types.Status_STATUS_ACCEPTED || now > h.FinalAt:
		return nil, core.Refuse(core.AppealClosed, "header of epoch %d can no longer be appealed", msg.Epoch)
	case msg.Bond.Denom != denom || msg.Bond.Amount.IsNil() || !msg.Bond.Amount.IsUint64() || msg.Bond.Amount.Uint64() < p.AppealBond:
		return nil, core.Refuse(core.BondLow, "%s, an appeal takes %d ustone", msg.Bond, p.AppealBond)
	}
	if err := s.take(ctx, from, core.Ustone(p.AppealBond)); err != nil {
		return nil, err
	}
	h.WasAppealed, h.Status = true, types.Status_STATUS_APPEALED
	a := types.Appeal{
		Epoch: msg.Epoch, Region: msg.Region, Appellant: msg.Appellant, Bond: p.AppealBond, Opened: now, Closes: now + p.VoteBlocks,
	}
	emit(ctx, "appeal", "epoch", text(msg.Epoch), "region", text(msg.Region), "appellant", msg.Appellant, "closes", text(a.Closes))
	return &types.MsgAppealResponse{Closes: a.Closes}, errors.Join(s.Headers.Set(ctx, key, h), s.setAppeal(ctx, a))
}

// setAppeal stores an open vote, and when it closes.
func (k Keeper) setAppeal(ctx context.Context, a types.Appeal) error {
	return errors.Join(
		k.Appeals.Set(ctx, collections.Join(a.Region, a.Epoch), a),
		k.closing.Set(ctx, collections.Join3(a.Closes, a.Region, a.Epoch)),
	)
}

func (k Keeper) dropAppeal(ctx context.Context, a types.Appeal) error {
	return errors.Join(
		k.Appeals.Remove(ctx, collections.Join(a.Region, a.Epoch)),
		k.closing.Remove(ctx, collections.Join3(a.Closes, a.Region, a.Epoch)),
	)
}

// electorate returns the verifiers of the current epoch, with the power that counts in it, but those who were
// jailed since.
func (k Keeper) electorate(ctx context.Context) ([]types.Verifier, error) {
	now, err := k.Now.Get(ctx)
	if err != nil {
		return nil, err
	}
	e, err := k.Epochs.Get(ctx, now)
	if err != nil {
		return nil, err
	}
	var out []types.Verifier
	for _, v := range e.Verifiers {
		power, err := k.powerOf(ctx, v.Owner)
		if err != nil {
			return nil, err
		}
		if v.Power > 0 && power > 0 {
			out = append(out, v)
		}
	}
	return out, nil
}

// count returns the power for either side of a vote, and of all who may vote.
func count(a *types.Appeal, voters []types.Verifier) (yes, no, total uint64) {
	side := map[string]bool{}
	for _, v := range a.Votes {
		side[v.Key] = v.Yes
	}
	for _, v := range voters {
		total += v.Power
		if said, voted := side[v.Key]; voted && said {
			yes += v.Power
		} else if voted {
			no += v.Power
		}
	}
	return yes, no, total
}

// VoteAppeal takes a verifier's vote.
func (s server) VoteAppeal(ctx context.Context, msg *types.MsgVoteAppeal) (*types.MsgVoteAppealResponse, error) {
	key := collections.Join(msg.Region, msg.Epoch)
	a, err := s.Appeals.Get(ctx, key)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, core.Refuse(core.AppealClosed, "no vote on the header of epoch %d", msg.Epoch)
	}
	if err != nil {
		return nil, err
	}
	voters, err := s.electorate(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(voters, func(v types.Verifier) bool { return v.Key == msg.Key }) {
		return nil, core.Refuse(core.UnknownVerifier, "%.80s has no vote", msg.Key)
	}
	h, err := s.Headers.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	hash, err := core.ParseHash(h.Hash)
	if err != nil {
		return nil, err
	}
	voter, err := core.ParseKey(msg.Key)
	if err != nil {
		return nil, err
	}
	c := sdk.UnwrapSDKContext(ctx)
	c.GasMeter().ConsumeGas(signatureGas, "Ed25519 signature")
	if len(msg.Signature) != len(core.Signature{}) ||
		!voter.Verify("vote", c.ChainID(), evidence.VoteBytes(hash, msg.Yes), core.Signature(msg.Signature)) {
		return nil, core.Refuse(core.BadSignature, "vote of %s", msg.Key)
	}
	if slices.ContainsFunc(a.Votes, func(v types.Vote) bool { return v.Key == msg.Key }) {
		return nil, core.Refuse(core.AppealKnown, "%s has voted", msg.Key)
	}
	a.Votes = append(a.Votes, types.Vote{Key: msg.Key, Yes: msg.Yes})
	if err := s.Appeals.Set(ctx, key, a); err != nil {
		return nil, err
	}
	emit(ctx, "appeal_vote", "epoch", text(msg.Epoch), "region", text(msg.Region), "key", msg.Key, "yes", map[bool]string{true: "true", false: "false"}[msg.Yes])
	_, err = s.decide(c, a, voters)
	return &types.MsgVoteAppealResponse{}, err
}

// decide closes a vote that has more than two thirds on one side, and reports whether it did.
func (k Keeper) decide(ctx sdk.Context, a types.Appeal, voters []types.Verifier) (bool, error) {
	yes, no, total := count(&a, voters)
	switch {
	case enough(yes, total):
		return true, k.uphold(ctx, a)
	case enough(no, total):
		return true, k.void(ctx, a, true)
	}
	return false, nil
}

// uphold ends a vote that found the header right: the bond is lost.
func (k Keeper) uphold(ctx sdk.Context, a types.Appeal) error {
	key := collections.Join(a.Region, a.Epoch)
	h, err := k.Headers.Get(ctx, key)
	if err != nil {
		return err
	}
	h.Status = types.Status_STATUS_ACCEPTED
	emit(ctx, "appeal_lost", "epoch", text(a.Epoch), "region", text(a.Region))
	return errors.Join(k.Headers.Set(ctx, key, h), k.dropAppeal(ctx, a), k.burn(ctx, core.Ustone(a.Bond)))
}

// closeVotes ends votes whose last block this is. Without two thirds on either side a vote is repeated, and who
// could have voted and did not is jailed; after the last repetition the header is voided, but nobody is slashed
// for it: nothing was shown.
func (k Keeper) closeVotes(ctx sdk.Context, height uint64) error {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return err
	}
	var due []at
	err = k.closing.Walk(ctx, nil, func(key collections.Triple[uint64, uint32, uint64]) (bool, error) {
		if key.K1() > height || len(due) == votesPerBlock {
			return true, nil
		}
		due = append(due, collections.Join(key.K2(), key.K3()))
		return false, nil
	})
	if err != nil {
		return err
	}
	for _, key := range due {
		k.attempt(ctx, "close a vote", func(c sdk.Context) error { return k.closeVote(c, &p, key, height) })
	}
	return nil
}

func (k Keeper) closeVote(ctx sdk.Context, p *types.Params, key at, height uint64) error {
	a, err := k.Appeals.Get(ctx, key)
	if errors.Is(err, collections.ErrNotFound) {
		return nil // voided with the header that it was built on, in this block
	}
	if err != nil {
		return err
	}
	voters, err := k.electorate(ctx)
	if err != nil {
		return err
	}
	if done, err := k.decide(ctx, a, voters); done || err != nil {
		return err
	}
	for _, v := range voters {
		if !slices.ContainsFunc(a.Votes, func(vote types.Vote) bool { return vote.Key == v.Key }) {
			k.attempt(ctx, "jail", func(c sdk.Context) error { return k.jail(c, v.Owner, "no vote on an appeal") })
		}
	}
	if a.Repeats+1 >= p.MaxVotes {
		return k.void(ctx, a, false)
	}
	if err := k.dropAppeal(ctx, a); err != nil {
		return err
	}
	a.Repeats++
	a.Votes, a.Opened, a.Closes = nil, height, height+p.VoteBlocks
	emit(ctx, "appeal_repeated", "epoch", text(a.Epoch), "region", text(a.Region), "closes", text(a.Closes))
	return k.setAppeal(ctx, a)
}

// void turns the header under appeal, and all of its region that were built on it, into skipped epochs. If the
// vote found it wrong, their signers are slashed and the appellant gets half; the bond goes back in any case.
func (k Keeper) void(ctx sdk.Context, a types.Appeal, wrong bool) error {
	tip, err := get(ctx, k.tips, a.Region)
	if err != nil {
		return err
	}
	first, err := k.Headers.Get(ctx, collections.Join(a.Region, a.Epoch))
	if err != nil {
		return err
	}
	appellant, err := k.addresses.StringToBytes(a.Appellant)
	if err != nil {
		return err
	}
	var slashed core.Ustone
	for e := a.Epoch; e <= tip; e++ {
		h, err := k.header(ctx, core.Epoch(e), core.Region(a.Region))
		if err != nil {
			return err
		}
		if h.Status != types.Status_STATUS_ACCEPTED && h.Status != types.Status_STATUS_APPEALED {
			continue
		}
		released, err := k.undo(ctx, &h)
		if err != nil {
			return err
		}
		if wrong {
			slashed += k.slashSigners(ctx, &h, released)
		}
	}
	if err := k.tips.Set(ctx, a.Region, first.Previous); err != nil {
		return err
	}
	telemetry.IncrCounter(1, types.ModuleName, "voided")
	emit(ctx, "header_voided", "epoch", text(a.Epoch), "region", text(a.Region), "last", text(tip), "slashed", text(slashed))
	return k.reward(ctx, appellant, slashed/2)
}

// undo voids one header: its escrow goes back, what was emitted for it is burned, and an open appeal ends with
// its bond returned. It returns what the escrow held.
func (k Keeper) undo(ctx sdk.Context, h *types.Header) (core.Ustone, error) {
	key := collections.Join(h.Region, h.Epoch)
	escrow, err := get(ctx, k.Escrows, key)
	if err != nil {
		return 0, err
	}
	allot := escrow.Allotment()
	minted, err := k.late.credits.Void(ctx, allot)
	if err != nil {
		return 0, err
	}
	l, err := get(ctx, k.Ledgers, h.Region)
	if err != nil {
		return 0, err
	}
	l.Region = h.Region
	l.Allotted -= min(l.Allotted, uint64(allot.Devices()))
	h.Status = types.Status_STATUS_VOIDED
	if err := errors.Join(
		k.burn(ctx, minted),
		k.Ledgers.Set(ctx, h.Region, l),
		k.Escrows.Remove(ctx, key),
		k.Headers.Set(ctx, key, *h),
	); err != nil {
		return 0, err
	}
	a, err := k.Appeals.Get(ctx, key)
	if errors.Is(err, collections.ErrNotFound) {
		return allot.Total(), nil
	}
	if err != nil {
		return 0, err
	}
	to, err := k.addresses.StringToBytes(a.Appellant)
	if err != nil {
		return 0, err
	}
	return allot.Total(), errors.Join(k.dropAppeal(ctx, a), k.pay(ctx, to, core.Ustone(a.Bond)))
}

// reward pays an appellant out of what was slashed: x/staking has burned it, so it is minted again.
func (k Keeper) reward(ctx context.Context, to sdk.AccAddress, amount core.Ustone) error {
	if amount == 0 {
		return nil
	}
	return errors.Join(k.bank.MintCoins(ctx, types.ModuleName, coins(amount)), k.pay(ctx, to, amount))
}
