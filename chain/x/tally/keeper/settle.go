package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"cosmossdk.io/collections"
	"github.com/cosmos/cosmos-sdk/telemetry"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// part is one region's part of a settlement.
type part struct {
	region  core.Region
	owed    core.Credit
	weights []econ.Weight
}

// settle draws the seed of the next epoch and turns the totals of epoch e into amounts. A computation that
// leaves its range settles nothing: what is owed stays owed, and the chain runs on.
func (k Keeper) settle(ctx sdk.Context, e core.Epoch) error {
	rec, err := k.Epochs.Get(ctx, uint64(e))
	if err != nil {
		return err
	}
	headers, err := k.headersOf(ctx, e)
	if err != nil {
		return err
	}
	if err := k.nextSeed(ctx, &rec, headers); err != nil {
		return err
	}
	if err := k.Settlements.Set(ctx, uint64(e), types.SettlementOf(e, econ.Settlement{}, height(ctx))); err != nil {
		return err
	}
	if !k.attempt(ctx, "settle", func(c sdk.Context) error { return k.settleTotals(c, e, headers) }) {
		emit(ctx, "settlement_failed", "epoch", text(e))
	}
	return nil
}

// headersOf returns the headers of an epoch by region, without those that skipped.
func (k Keeper) headersOf(ctx context.Context, e core.Epoch) ([]*tally.Header, error) {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	var out []*tally.Header
	for r := range p.Regions {
		h, err := k.header(ctx, e, core.Region(r))
		if err != nil {
			return nil, err
		}
		if h.Status != types.Status_STATUS_ACCEPTED && h.Status != types.Status_STATUS_APPEALED {
			continue
		}
		decoded, err := tally.DecodeHeader(h.Raw)
		if err != nil {
			return nil, err
		}
		out = append(out, decoded)
	}
	return out, nil
}

// nextSeed draws seed(e+1) from the VRF outputs of e's headers. Challenges of e+1 bind if every region's header
// came in rounds 0 to 2, which leaves the time to answer them.
func (k Keeper) nextSeed(ctx sdk.Context, rec *types.Epoch, headers []*tally.Header) error {
	seed, err := core.ParseHash(rec.Seed)
	if err != nil {
		return fmt.Errorf("seed of epoch %d: %w", rec.Epoch, err)
	}
	var outputs [][64]byte
	timely := len(headers) == len(rec.Leaders)
	for _, h := range headers {
		out, err := output(ctx, rec, h)
		if err != nil {
			return err
		}
		outputs = append(outputs, out)
		timely = timely && h.Round < types.Rounds-1
	}
	next, err := k.Epochs.Get(ctx, rec.Epoch+1)
	if err != nil {
		return err
	}
	next.Seed, next.Challenged = beacon.Next(seed, outputs).String(), timely
	return k.Epochs.Set(ctx, next.Epoch, next)
}

// settleTotals moves the money of an epoch into its regions' escrows.
func (k Keeper) settleTotals(ctx sdk.Context, e core.Epoch, headers []*tally.Header) error {
	parts, owed, paid, weights, err := k.sum(ctx, headers)
	if err != nil {
		return err
	}
	supply := k.bank.GetSupply(ctx, denom).Amount
	if !supply.IsUint64() {
		return core.Refuse(core.EconRange, "a supply of %s", supply)
	}
	split, err := k.late.credits.Settle(ctx, e, owed, paid)
	if err != nil {
		return err
	}
	emission, err := k.late.rewards.Emit(ctx, econ.Work{
		Epoch: e, Price: split.Price, Bonus: split.Bonus, Demand: split.Demand, Weight: weights,
	}, core.Ustone(supply.Uint64()))
	if err != nil {
		return err
	}
	total, err := econ.Finish(split, emission)
	if err != nil {
		return err
	}
	arrived := split.Drawn + split.Mint + split.Burn + emission.Total() - emission.Security
	for _, x := range parts {
		allot, err := econ.Allot(split, emission, x.owed, x.weights)
		if err != nil {
			return err
		}
		if allot.Total() > arrived {
			return core.Refuse(core.EconRange, "region %d gets %d, %d are left", x.region, allot.Total(), arrived)
		}
		arrived -= allot.Total()
		if err := k.allot(ctx, e, x.region, allot); err != nil {
			return err
		}
	}
	dust, err := k.dust(ctx)
	if err != nil {
		return err
	}
	telemetry.SetGauge(float32(total.Settled), types.ModuleName, "settled")
	emit(ctx, "settlement", "epoch", text(e), "owed", text(total.Owed), "settled", text(total.Settled), "payout", text(total.Payout))
	return errors.Join(
		k.Dust.Set(ctx, dust+uint64(arrived)),
		k.Settlements.Set(ctx, uint64(e), types.SettlementOf(e, total, height(ctx))),
	)
}

// allot puts a region's part into its escrow.
func (k Keeper) allot(ctx context.Context, e core.Epoch, r core.Region, a econ.Allotment) error {
	l, err := get(ctx, k.Ledgers, uint32(r))
	if err != nil {
		return err
	}
	l.Region = uint32(r)
	l.Allotted += uint64(a.Devices())
	return errors.Join(
		k.Ledgers.Set(ctx, uint32(r), l),
		k.Escrows.Set(ctx, collections.Join(uint32(r), uint64(e)), types.EscrowOf(e, r, a)),
	)
}

// sum returns what each region's header says, and all of them together: O, what was newly paid, and W.
func (k Keeper) sum(ctx context.Context, headers []*tally.Header) (parts []part, owed core.Credit, paid []econ.Paid, weights []econ.Weight, err error) {
	paidBy, weightBy := map[core.Category]core.Credit{}, map[core.Category]core.U128{}
	for _, h := range headers {
		before, err := k.before(ctx, h)
		if err != nil {
			return nil, 0, nil, nil, err
		}
		x := part{region: h.Region, owed: h.Totals.Spent - h.Totals.Settled}
		if owed += x.owed; owed < x.owed {
			return nil, 0, nil, nil, core.Refuse(core.EconRange, "owed by all regions")
		}
		for _, c := range h.Totals.Categories {
			x.weights = append(x.weights, econ.Weight{Category: c.Category, Weight: c.Weight})
			paidBy[c.Category] += c.Paid - paidOf(before, c.Category) // at most what was ever bought
			if weightBy[c.Category], err = weightBy[c.Category].Add(c.Weight); err != nil {
				return nil, 0, nil, nil, core.Refuse(core.EconRange, "weight of %s", c.Category)
			}
		}
		parts = append(parts, x)
	}
	for c := range paidBy {
		paid = append(paid, econ.Paid{Category: c, Amount: paidBy[c]})
		weights = append(weights, econ.Weight{Category: c, Weight: weightBy[c]})
	}
	slices.SortFunc(paid, func(a, b econ.Paid) int { return cmp.Compare(a.Category, b.Category) })
	slices.SortFunc(weights, func(a, b econ.Weight) int { return cmp.Compare(a.Category, b.Category) })
	return parts, owed, paid, weights, nil
}

// before returns the totals of the header that h follows.
func (k Keeper) before(ctx context.Context, h *tally.Header) (*tally.Totals, error) {
	rec, err := k.header(ctx, h.Epoch, h.Region)
	if err != nil || rec.Previous == 0 {
		return new(tally.Totals), err
	}
	previous, err := k.header(ctx, core.Epoch(rec.Previous), h.Region)
	if err != nil {
		return nil, err
	}
	decoded, err := tally.DecodeHeader(previous.Raw)
	if err != nil {
		return nil, err
	}
	return &decoded.Totals, nil
}

// finalize makes headers final whose window is closed, in each region oldest first.
func (k Keeper) finalize(ctx sdk.Context, height uint64) error {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return err
	}
	for r := range p.Regions {
		for range finalPerBlock {
			more := false
			ok := k.attempt(ctx, "final one", func(c sdk.Context) (err error) {
				more, err = k.finalizeNext(c, core.Region(r), height)
				return err
			})
			if !ok || !more {
				break
			}
		}
	}
	return nil
}

// finalizeNext looks at the region's oldest epoch that can still change, and reports whether it could close it.
func (k Keeper) finalizeNext(ctx sdk.Context, r core.Region, height uint64) (bool, error) {
	closed, err := get(ctx, k.closed, uint32(r))
	if err != nil {
		return false, err
	}
	h, err := k.header(ctx, core.Epoch(closed+1), r)
	if err != nil {
		return false, err
	}
	switch h.Status {
	case types.Status_STATUS_SKIPPED, types.Status_STATUS_VOIDED:
	case types.Status_STATUS_ACCEPTED:
		if height < h.FinalAt {
			return false, nil
		}
		if err := k.release(ctx, &h); err != nil {
			return false, err
		}
	default: // open, or under appeal
		return false, nil
	}
	return true, k.closed.Set(ctx, uint32(r), closed+1)
}

// release makes a header final: burn, signers' and treasury's parts leave the escrow, and devices can claim.
func (k Keeper) release(ctx sdk.Context, h *types.Header) error {
	key := collections.Join(h.Region, h.Epoch)
	escrow, err := get(ctx, k.Escrows, key)
	if err != nil {
		return err
	}
	decoded, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return err
	}
	l, err := get(ctx, k.Ledgers, h.Region)
	if err != nil {
		return err
	}
	l.Region, l.Amount = h.Region, uint64(decoded.Totals.Amount)
	h.Status = types.Status_STATUS_FINAL
	if err := errors.Join(k.Headers.Set(ctx, key, *h), k.Ledgers.Set(ctx, h.Region, l), k.finals.Set(ctx, h.Region, h.Epoch)); err != nil {
		return err
	}
	emit(ctx, "header_final", "epoch", text(h.Epoch), "region", text(h.Region), "amount", text(l.Amount))
	if escrow.Epoch == 0 { // never settled
		return nil
	}
	escrow.Matured = true
	if err := k.Escrows.Set(ctx, key, escrow); err != nil {
		return err
	}
	a := escrow.Allotment()
	rest, err := k.paySigners(ctx, h, decoded, a.Verifiers)
	if err != nil {
		return err
	}
	if err := k.burn(ctx, a.Burn); err != nil {
		return err
	}
	if pool := a.Treasury + rest; pool > 0 {
		return k.pool.FundCommunityPool(ctx, coins(pool), moduleAddress)
	}
	return nil
}

// paySigners shares the verifiers' part among who signed, and returns what is left for the community pool.
// Whoever let a round of this tally lapse gets nothing.
func (k Keeper) paySigners(ctx sdk.Context, h *types.Header, decoded *tally.Header, amount core.Ustone) (core.Ustone, error) {
	e, err := k.Epochs.Get(ctx, h.Epoch)
	if err != nil {
		return 0, err
	}
	lapsed := map[string]bool{}
	for _, l := range e.Leaders {
		if l.Region == h.Region {
			for i := range min(int(decoded.Round), len(l.Keys)) {
				lapsed[l.Keys[i]] = true
			}
		}
	}
	var powers []uint64
	var owners []string
	leader := -1
	for i, v := range e.Verifiers {
		if !signed(h.Bitmap, i) || lapsed[v.Key] {
			continue
		}
		if v.Key == decoded.Leader.String() {
			leader = len(powers)
		}
		powers, owners = append(powers, v.Power), append(owners, v.Owner)
	}
	shares, rest, err := econ.SignerPay(amount, powers, leader)
	if err != nil {
		return amount, nil
	}
	for i, share := range shares {
		to, err := k.addresses.StringToBytes(owners[i])
		if err != nil {
			return 0, err
		}
		if !k.attempt(ctx, "pay a signer", func(c sdk.Context) error { return k.pay(c, to, share) }) {
			rest += share
		}
	}
	return rest, nil
}

// dust returns what rounding has left of settlements so far.
func (k Keeper) dust(ctx context.Context) (uint64, error) {
	x, err := k.Dust.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return 0, nil
	}
	return x, err
}
