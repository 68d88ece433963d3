package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cosmossdk.io/collections"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/econ"
	core "github.com/cairn-network/cairn/core/types"
)

// Work in one block, beyond which the next block goes on.
const (
	votesPerBlock = 16
	finalPerBlock = 8 // headers, in each region
)

// BeginBlock notes the block's hash, and time and hash of an epoch's first block.
func (k Keeper) BeginBlock(ctx context.Context) error {
	if err := k.noteBlock(ctx); err != nil {
		return err
	}
	now, err := k.Now.Get(ctx)
	if err != nil {
		return err
	}
	e, err := k.Epochs.Get(ctx, now)
	if err != nil || e.Time != 0 {
		return err
	}
	c := sdk.UnwrapSDKContext(ctx)
	e.Time, e.Hash = c.BlockTime().Unix(), c.HeaderHash()
	emit(ctx, "epoch", "epoch", text(now), "cut", text(e.Cut))
	return k.Epochs.Set(ctx, now, e)
}

// EndBlock closes what is due: votes, rounds, windows, and the epoch. What fails is logged and tried again in
// the next block.
func (k Keeper) EndBlock(ctx context.Context) error {
	c := sdk.UnwrapSDKContext(ctx)
	h := uint64(c.BlockHeight())
	k.attempt(c, "votes", func(c sdk.Context) error { return k.closeVotes(c, h) })
	k.attempt(c, "skip", func(c sdk.Context) error { return k.skipDue(c, h) })
	k.attempt(c, "final", func(c sdk.Context) error { return k.finalize(c, h) })
	k.attempt(c, "changes", k.addChanges)
	k.attempt(c, "cut", func(c sdk.Context) error { return k.cut(c, h) })
	k.attempt(c, "prune", k.prune)
	k.attempt(c, "blocks", k.forgetBlocks)
	return nil
}

// attempt does something that must not stop the chain: all of it, or nothing.
func (k Keeper) attempt(ctx sdk.Context, what string, do func(sdk.Context) error) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			switch r.(type) {
			case storetypes.ErrorOutOfGas, storetypes.ErrorGasOverflow:
				panic(r) // it is the whole transaction that ran out
			}
			ctx.Logger().Error("tally: panic", "step", what, "height", ctx.BlockHeight(), "panic", fmt.Sprint(r))
			ok = false
		}
	}()
	cached, write := ctx.CacheContext()
	if err := do(cached); err != nil {
		ctx.Logger().Error("tally: not done", "step", what, "height", ctx.BlockHeight(), "err", err)
		return false
	}
	write()
	return true
}

// cut opens the next epoch at the last block of the current one.
func (k Keeper) cut(ctx sdk.Context, height uint64) error {
	now, err := k.Now.Get(ctx)
	if err != nil {
		return err
	}
	e, err := k.Epochs.Get(ctx, now)
	if err != nil || height < e.Cut {
		return err
	}
	if now > 1 {
		k.attempt(ctx, "missed", func(c sdk.Context) error { return k.countMissed(c, core.Epoch(now-1)) })
	}
	if err := k.begin(ctx, core.Epoch(now+1), e.Cut+1); err != nil {
		return err
	}
	k.attempt(ctx, "floor", k.raiseFloor)
	return nil
}

// begin opens epoch e, whose first block is first: its parameters, its view of verifiers, its verifiers and leaders.
func (k Keeper) begin(ctx sdk.Context, e core.Epoch, first uint64) error {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return err
	}
	k.attempt(ctx, "parameters", func(c sdk.Context) error { return k.late.rewards.Begin(c, e) })
	rec, err := k.record(ctx, &p, e, first)
	if err != nil {
		return err
	}
	if err := k.seats(ctx, &p, &rec); err != nil {
		return err
	}
	if err := k.keepRules(ctx, &rec); err != nil {
		return err
	}
	for r := range p.Regions {
		if err := k.open.Set(ctx, collections.Join(uint64(e), r)); err != nil {
			return err
		}
	}
	return errors.Join(k.Epochs.Set(ctx, uint64(e), rec), k.Now.Set(ctx, uint64(e)))
}

// record returns an epoch's timetable, parameters and view, without verifiers and leaders. Its seed may be
// known from settling the epoch before, if that came first.
func (k Keeper) record(ctx sdk.Context, p *types.Params, e core.Epoch, first uint64) (types.Epoch, error) {
	rec := types.Epoch{
		Epoch: uint64(e), First: first, Cut: first + p.EpochBlocks - 1,
		RoundBlocks: p.RoundBlocks(), GraceBlocks: p.GraceBlocks(), Rules: p.Rules,
	}
	opening, err := k.late.credits.MinOpening(ctx)
	if err != nil {
		return rec, err
	}
	rec.MinOpening = uint64(opening)
	economy, err := k.late.rewards.Economy(ctx)
	if err != nil {
		return rec, err
	}
	band, err := k.late.credits.Band(ctx)
	if err != nil {
		return rec, err
	}
	for i := range economy.Category {
		row, err := k.category(ctx, &economy, &economy.Category[i], band.Lo)
		if err != nil {
			return rec, err
		}
		rec.Categories = append(rec.Categories, row)
	}
	rec.View, err = k.view(ctx)
	return rec, err
}

// category returns what a tally needs of a category's parameters. Without a price nothing is bonded, so nothing
// can be lost.
func (k Keeper) category(ctx context.Context, p *econ.Params, c *econ.Category, lo uint64) (types.CategoryParams, error) {
	row := types.CategoryParams{Category: uint32(c.Category), Quota: c.Quota}
	if c.Density.On {
		hex, err := k.late.rewards.Hex(ctx, c.Category)
		if err != nil {
			return row, err
		}
		full, fits := c.Density.Full.Uint64()
		if !fits {
			full = 1<<64 - 1
		}
		row.Threshold, row.Hex = full, uint32(hex)
	}
	bond, err := econ.Bond(p, c, 1, lo)
	if err != nil && !errors.Is(err, core.PricePaused) {
		return row, err
	}
	row.Bond, row.Penalty = uint64(bond), uint64(econ.Penalty(bond, p.BondEpochs))
	row.Rules, err = k.late.rewards.Rules(ctx, c.Category)
	return row, err
}

// view returns all bonded validators that have named their keys, by attestation key.
func (k Keeper) view(ctx context.Context) ([]types.Verifier, error) {
	var out []types.Verifier
	reduction := k.staking.PowerReduction(ctx)
	var failed error
	err := k.staking.IterateBondedValidatorsByPower(ctx, func(_ int64, v stakingtypes.ValidatorI) bool {
		owner, err := operator(v.GetOperator())
		if err != nil {
			failed = err
			return true
		}
		rec, err := k.Verifiers.Get(ctx, owner)
		if errors.Is(err, collections.ErrNotFound) {
			return false
		}
		if err != nil {
			failed = err
			return true
		}
		if power := v.GetConsensusPower(reduction); power > 0 {
			out = append(out, types.Verifier{Owner: rec.Owner, Key: rec.Key, Vrf: rec.Vrf, Since: rec.Since, Power: uint64(power)})
		}
		return false
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("view of verifiers: %w", err)
	}
	return out, sortByKey(out)
}

// operator returns the account of a validator: the same bytes under another prefix.
func operator(address string) (sdk.AccAddress, error) {
	v, err := sdk.ValAddressFromBech32(address)
	return sdk.AccAddress(v), err
}

func sortByKey(list []types.Verifier) error {
	keys := make(map[string]core.Key, len(list))
	for _, v := range list {
		key, err := core.ParseKey(v.Key)
		if err != nil {
			return err
		}
		keys[v.Key] = key
	}
	slices.SortFunc(list, func(a, b types.Verifier) int {
		x, y := keys[a.Key], keys[b.Key]
		return slices.Compare(x[:], y[:])
	})
	return nil
}

// seats fills in verifiers and leaders: those of the view of one appeal window before (the first view, in the
// beginning). Leaders are drawn by the seed of the epoch before from keys and power as of then, so that neither
// can be chosen once it is known. What counts towards a threshold is no more than the validator has in the view
// of the epoch itself: 0 for who was jailed since.
func (k Keeper) seats(ctx context.Context, p *types.Params, rec *types.Epoch) error {
	from := uint64(1)
	if rec.Epoch > p.AppealWindow {
		from = rec.Epoch - p.AppealWindow
	}
	list := rec.View
	if from < rec.Epoch {
		old, err := k.Epochs.Get(ctx, from)
		if err != nil {
			return fmt.Errorf("view of epoch %d: %w", from, err)
		}
		list = old.View
	}
	now := map[string]uint64{}
	for _, v := range rec.View {
		now[v.Owner] = v.Power
	}
	rec.Verifiers = nil
	var powers []uint64
	for _, v := range list {
		powers = append(powers, v.Power) // as of then: what happens to a validator since does not move the draw
		v.Power = min(v.Power, now[v.Owner])
		rec.Verifiers = append(rec.Verifiers, v)
	}
	seed, err := k.seed(ctx, max(1, rec.Epoch-1))
	if err != nil {
		return err
	}
	rec.Leaders = nil
	for r := range p.Regions {
		drawn, err := beacon.Leaders(seed, core.Region(r), powers)
		if err != nil {
			return err
		}
		l := types.Leaders{Region: r}
		for _, i := range drawn {
			l.Keys = append(l.Keys, rec.Verifiers[i].Key)
		}
		rec.Leaders = append(rec.Leaders, l)
	}
	if rec.Epoch == 1 {
		rec.Seed, rec.Challenged = seed.String(), true
	}
	return nil
}

// seed returns seed(e), which the settlement of the epoch before has drawn; that of epoch 1 comes from the
// chain's id and its genesis time.
func (k Keeper) seed(ctx context.Context, e uint64) (core.Hash, error) {
	rec, err := k.Epochs.Get(ctx, e)
	if errors.Is(err, collections.ErrNotFound) && e == 1 {
		c := sdk.UnwrapSDKContext(ctx)
		return beacon.Genesis(c.ChainID(), c.BlockTime().Unix()), nil
	}
	if err != nil {
		return core.Hash{}, fmt.Errorf("seed of epoch %d: %w", e, err)
	}
	if rec.Seed == "" {
		return core.Hash{}, fmt.Errorf("the seed of epoch %d is not known", e)
	}
	return core.ParseHash(rec.Seed)
}

// roundAt returns the round of e's tally that a block belongs to, or false outside the four rounds.
func roundAt(e *types.Epoch, height uint64) (uint64, bool) {
	if e.RoundBlocks == 0 || height <= e.Cut {
		return 0, false
	}
	r := (height - e.Cut - 1) / e.RoundBlocks
	return r, r < types.Rounds
}

// lastRound returns the last block in which a header of e is taken.
func lastRound(e *types.Epoch) uint64 { return e.Cut + types.Rounds*e.RoundBlocks }

// skipDue closes epochs that had no header in four rounds, oldest first.
func (k Keeper) skipDue(ctx sdk.Context, height uint64) error {
	now, err := k.Now.Get(ctx)
	if err != nil {
		return err
	}
	var due []collections.Pair[uint64, uint32]
	err = k.open.Walk(ctx, collections.NewPrefixUntilPairRange[uint64, uint32](now-1), func(key collections.Pair[uint64, uint32]) (bool, error) {
		e, err := k.Epochs.Get(ctx, key.K1())
		if err == nil && height >= lastRound(&e) {
			due = append(due, key)
		}
		return err != nil, err
	})
	if err != nil {
		return err
	}
	for _, key := range due {
		if !k.attempt(ctx, "skip one", func(c sdk.Context) error { return k.skip(c, core.Epoch(key.K1()), core.Region(key.K2()), height) }) {
			return fmt.Errorf("epoch %d, region %d stays open", key.K1(), key.K2())
		}
	}
	return nil
}

func (k Keeper) skip(ctx sdk.Context, e core.Epoch, r core.Region, height uint64) error {
	tip, err := get(ctx, k.tips, uint32(r))
	if err != nil {
		return err
	}
	h := types.Header{Epoch: uint64(e), Region: uint32(r), Status: types.Status_STATUS_SKIPPED, Height: height, Previous: tip}
	if err := k.Headers.Set(ctx, collections.Join(uint32(r), uint64(e)), h); err != nil {
		return err
	}
	emit(ctx, "header_skipped", "epoch", text(e), "region", text(r))
	return k.done(ctx, e, r)
}

// done notes that a region is in or has skipped e, and settles e if it was the last one.
func (k Keeper) done(ctx sdk.Context, e core.Epoch, r core.Region) error {
	if err := k.open.Remove(ctx, collections.Join(uint64(e), uint32(r))); err != nil {
		return err
	}
	waiting := false
	err := k.open.Walk(ctx, collections.NewPrefixedPairRange[uint64, uint32](uint64(e)), func(collections.Pair[uint64, uint32]) (bool, error) {
		waiting = true
		return true, nil
	})
	if err != nil || waiting {
		return err
	}
	return k.settle(ctx, e)
}
