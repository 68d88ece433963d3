// Package keeper holds the economy's parameters and mints what an epoch's work earns beside what customers pay.
//
// Once for each epoch, in order, x/tally calls Emit with the weights of all headers. Emit mints, by core/econ,
// the consensus validators' part, the demand bonus and each category's fading subsidy. The devices' part goes
// to x/tally's account, where it waits with the rest of the escrow; the validators' part reaches the fee
// collector at the end of the block, from where x/distribution shares it out like fees. Fees of the epoch lower
// that part: the module counts them as they come in.
//
// Parameters change through governance alone. A change is held against bounds, pace and timelock when it is
// decided, in MsgUpdateParams, and takes force at the start of an epoch (Begin): the next, or if it loosens or
// touches a category's own rules, after 28 days, because the operators' chamber that could shorten that does
// not sit yet. One change waits at a time: each is a whole set of parameters, so that a second one would undo
// the first, or be undone by it. Who wants another first withdraws the one that waits, by deciding the
// parameters that are in force; one proposal can do both.
package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/store"
	"cosmossdk.io/math"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/telemetry"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/cairn-network/cairn/chain/x/reward/types"
	"github.com/cairn-network/cairn/core/econ"
	core "github.com/cairn-network/cairn/core/types"
)

const denom = "ustone"

// retention is how many epochs an emission can be asked for, and pruned how many one emission forgets at most.
const (
	retention = 35 * econ.EpochsPerDay
	pruned    = 4
)

// Keeper mints. Only the application's one writing goroutine changes it.
type Keeper struct {
	authority string
	escrow    string // the module whose account devices' parts go to
	bank      Bank
	clock     *Clock // set once the tally exists, which needs this keeper itself

	Schema    collections.Schema
	Params    collections.Item[types.Params]
	First     collections.Item[types.Params] // what some bounds are relative to
	Day       collections.Item[types.Day]
	Emissions collections.Map[uint64, types.Emission] // by epoch
	Pending   collections.Item[types.Pending]
	history   collections.Map[string, types.Drift] // by parameter
	fees      collections.Item[uint64]             // since the last emission
}

// New returns the keeper. authority may change parameters; escrow is the module that Emit pays. SetClock must
// be called before the first block.
func New(cdc codec.BinaryCodec, kv store.KVStoreService, authority, escrow string, bank Bank) (Keeper, error) {
	sb := collections.NewSchemaBuilder(kv)
	k := Keeper{
		authority: authority, escrow: escrow, bank: bank, clock: new(Clock),
		Params:    collections.NewItem(sb, collections.NewPrefix(0), "params", codec.CollValue[types.Params](cdc)),
		First:     collections.NewItem(sb, collections.NewPrefix(1), "first_params", codec.CollValue[types.Params](cdc)),
		Day:       collections.NewItem(sb, collections.NewPrefix(2), "day", codec.CollValue[types.Day](cdc)),
		Emissions: collections.NewMap(sb, collections.NewPrefix(3), "emissions", collections.Uint64Key, codec.CollValue[types.Emission](cdc)),
		Pending:   collections.NewItem(sb, collections.NewPrefix(4), "pending", codec.CollValue[types.Pending](cdc)),
		history:   collections.NewMap(sb, collections.NewPrefix(5), "history", collections.StringKey, codec.CollValue[types.Drift](cdc)),
		fees:      collections.NewItem(sb, collections.NewPrefix(6), "fees", collections.Uint64Value),
	}
	var err error
	if k.Schema, err = sb.Build(); err != nil {
		return Keeper{}, fmt.Errorf("reward: schema: %w", err)
	}
	return k, nil
}

// SetClock gives the keeper what tells epochs.
func (k Keeper) SetClock(c Clock) { *k.clock = c }

// Economy returns the parameters in force.
func (k Keeper) Economy(ctx context.Context) (econ.Params, error) {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return econ.Params{}, err
	}
	return p.Econ()
}

// Hex returns the H3 resolution at which a category counts density.
func (k Keeper) Hex(ctx context.Context, c core.Category) (uint8, error) {
	row, err := k.category(ctx, c)
	return uint8(row.Hex), err
}

// Rules returns a category's own rules; empty for those of its program.
func (k Keeper) Rules(ctx context.Context, c core.Category) ([]byte, error) {
	row, err := k.category(ctx, c)
	return row.Rules, err
}

func (k Keeper) category(ctx context.Context, c core.Category) (types.Category, error) {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return types.Category{}, err
	}
	for _, row := range p.Categories {
		if row.Category == uint32(c) {
			return row, nil
		}
	}
	return types.Category{}, core.Refuse(core.UnknownCategory, "%s", c)
}

// Emit mints for an epoch. supply is the bank's before anything of the epoch was minted. The bonus and all
// categories' amounts are in the escrow's account when it returns.
func (k Keeper) Emit(ctx context.Context, w econ.Work, supply core.Ustone) (econ.Emission, error) {
	p, err := k.Economy(ctx)
	if err != nil {
		return econ.Emission{}, err
	}
	stored, err := k.Day.Get(ctx)
	if err != nil {
		return econ.Emission{}, err
	}
	fees, err := k.fees.Get(ctx)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return econ.Emission{}, err
	}
	w.Fees = core.Ustone(fees)
	day := stored.Econ().Advance(econ.DayOf(w.Epoch), supply)
	e, err := econ.Emit(&p, day, w)
	if err != nil {
		return econ.Emission{}, fmt.Errorf("emission of epoch %d: %w", w.Epoch, err)
	}
	if total := e.Total(); total > 0 {
		if err := k.bank.MintCoins(ctx, types.ModuleName, coins(total)); err != nil {
			return econ.Emission{}, fmt.Errorf("emission of epoch %d: %w", w.Epoch, err)
		}
		if devices := total - e.Security; devices > 0 {
			if err := k.bank.SendCoinsFromModuleToModule(ctx, types.ModuleName, k.escrow, coins(devices)); err != nil {
				return econ.Emission{}, fmt.Errorf("emission of epoch %d: escrow: %w", w.Epoch, err)
			}
		}
	}
	if err := k.Day.Set(ctx, types.DayOf(day)); err != nil {
		return econ.Emission{}, err
	}
	if err := k.fees.Set(ctx, 0); err != nil {
		return econ.Emission{}, err
	}
	if err := k.Emissions.Set(ctx, uint64(w.Epoch), types.EmissionOf(w, e)); err != nil {
		return econ.Emission{}, err
	}
	emitted(ctx, w.Epoch, &e)
	return e, k.forget(ctx, w.Epoch)
}

func emitted(ctx context.Context, epoch core.Epoch, e *econ.Emission) {
	telemetry.SetGauge(float32(e.Total()), types.ModuleName, "emitted")
	sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(sdk.NewEvent("emission",
		sdk.NewAttribute("epoch", fmt.Sprint(uint64(epoch))),
		sdk.NewAttribute("security", fmt.Sprint(uint64(e.Security))),
		sdk.NewAttribute("bonus", fmt.Sprint(uint64(e.Bonus))),
		sdk.NewAttribute("total", fmt.Sprint(uint64(e.Total())))))
}

// forget drops a few emissions that are older than the retention.
func (k Keeper) forget(ctx context.Context, now core.Epoch) error {
	if now <= retention {
		return nil
	}
	var old []uint64
	err := k.Emissions.Walk(ctx, new(collections.Range[uint64]).EndExclusive(uint64(now)-retention), func(e uint64, _ types.Emission) (bool, error) {
		old = append(old, e)
		return len(old) == pruned, nil
	})
	for _, e := range old {
		err = errors.Join(err, k.Emissions.Remove(ctx, e))
	}
	return err
}

// Begin tells that an epoch begins: a change of parameters that waited for it takes force. One that no longer
// passes is dropped.
func (k Keeper) Begin(ctx context.Context, e core.Epoch) error {
	pending, err := k.Pending.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	if err != nil || pending.From > uint64(e) {
		return err
	}
	if err := k.Pending.Remove(ctx); err != nil {
		return err
	}
	history, err := k.check(ctx, &pending.Params, core.Epoch(pending.Announced), e)
	if err != nil {
		sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(sdk.NewEvent("params_dropped", sdk.NewAttribute("reason", err.Error())))
		return nil
	}
	for _, d := range types.Drifts(history) {
		if err := k.history.Set(ctx, d.Param, d); err != nil {
			return err
		}
	}
	sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(sdk.NewEvent("params_changed", sdk.NewAttribute("module", types.ModuleName)))
	return k.Params.Set(ctx, pending.Params)
}

// check holds new parameters, announced in one epoch and to take force in another, against those in force.
func (k Keeper) check(ctx context.Context, p *types.Params, announced, from core.Epoch) (econ.History, error) {
	old, err := k.Economy(ctx)
	if err != nil {
		return nil, err
	}
	stored, err := k.First.Get(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.Validate(&stored); err != nil {
		return nil, err
	}
	first, err := stored.Econ()
	if err != nil {
		return nil, err
	}
	now, err := p.Econ()
	if err != nil {
		return nil, err
	}
	var drifts []types.Drift
	if err := k.history.Walk(ctx, nil, func(_ string, d types.Drift) (bool, error) {
		drifts = append(drifts, d)
		return false, nil
	}); err != nil {
		return nil, err
	}
	history, err := types.HistoryOf(drifts)
	if err != nil {
		return nil, err
	}
	return history.Check(econ.Change{Old: &old, New: &now, Genesis: &first, Now: from, Announced: announced, Silent: true})
}

// EndBlock counts the block's fees, and then passes the consensus validators' part on to where fees go.
func (k Keeper) EndBlock(ctx context.Context) error {
	collector := authtypes.NewModuleAddress(authtypes.FeeCollectorName)
	if fees := k.bank.GetBalance(ctx, collector, denom).Amount; fees.IsPositive() && fees.IsUint64() {
		sum, err := k.fees.Get(ctx)
		if err != nil && !errors.Is(err, collections.ErrNotFound) {
			return err
		}
		if err := k.fees.Set(ctx, sum+fees.Uint64()); err != nil { // below the supply, so it cannot overflow within an epoch
			return err
		}
	}
	part := k.bank.GetBalance(ctx, authtypes.NewModuleAddress(types.ModuleName), denom)
	if part.Amount.IsZero() {
		return nil
	}
	return k.bank.SendCoinsFromModuleToModule(ctx, types.ModuleName, authtypes.FeeCollectorName, sdk.NewCoins(part))
}

// Audit reports what does not hold: the parameters are within their bounds, and the newest emission is below its lid.
func (k Keeper) Audit(ctx context.Context) error {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return err
	}
	first, err := k.First.Get(ctx)
	if err != nil {
		return err
	}
	if err := p.Validate(&first); err != nil {
		return fmt.Errorf("reward: %w", err)
	}
	return k.Emissions.Walk(ctx, nil, func(epoch uint64, e types.Emission) (bool, error) {
		sum := e.Security + e.Bonus
		for _, c := range e.Categories {
			sum += c.Amount
		}
		if sum > e.Lid {
			return true, fmt.Errorf("reward: epoch %d minted %d, the lid is %d", epoch, sum, e.Lid)
		}
		return false, nil
	})
}

func coins(amount core.Ustone) sdk.Coins {
	return sdk.NewCoins(sdk.NewCoin(denom, math.NewIntFromUint64(uint64(amount))))
}
