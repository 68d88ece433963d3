// Package keeper agrees on tallies and pays by them: epochs, verifiers, headers, appeals, escrows and claims.
// It never sees what a tally is made of, only its header, and what it does for an epoch costs the same for any
// number of devices.
//
// # Time
//
// An epoch is a fixed number of blocks. When one is cut, the next opens (open): its view of verifiers is taken,
// its parameters are fixed, and its verifiers and leaders are drawn from the view of one appeal window before.
// All of that stands in one record.
//
// # A header's life
//
// After the cut of e, four rounds follow. CommitTally takes a header in its own round if more than two thirds
// of power signed and its totals follow from the last one's; without one the region skips e. Once every region
// is in or has skipped, settle turns the totals into STONE (x/credit, then x/reward), puts each region's part
// into an escrow, and draws the seed of e+1.
//
// For an appeal window, anybody can appeal with a bond: all power votes, again and again while neither side has
// two thirds, and who does not vote is jailed. A header that is voted down is voided with all that were built
// on it: they become as if skipped, their escrow goes back, what was emitted for them is burned, and their
// signers are slashed. A header whose window is closed and whose predecessors are final becomes final
// (finalize): burn, signers' and treasury's parts leave the escrow, and the devices' part can be claimed
// against the header's devices tree.
//
// # Bounds
//
// Begin and end of a block do a bounded number of things, each in a cached context: what fails is logged,
// undone, and tried again in the next block. Lists are bounded by the validator set (at most MaxValidators of
// x/staking have power), by the number of regions, and by how many headers can wait for finality.
//
// # What must hold
//
// The module's account holds the bonds of open appeals, the escrows that are not matured, what devices were
// allotted in headers that stand and have not claimed, and dust (Audit). A region never pays out more than its
// newest final header says.
package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	"cosmossdk.io/math"
	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

const denom = "ustone"

// at is where a header stands: region, epoch.
type at = collections.Pair[uint32, uint64]

// Keeper keeps tallies. Only the application's one writing goroutine changes it.
type Keeper struct {
	addresses address.Codec
	authority string
	bank      Bank
	pool      Pool
	staking   Staking
	slashing  Slashing
	late      *late // set once the modules that need this keeper exist

	Schema      collections.Schema
	Params      collections.Item[types.Params]
	Now         collections.Item[uint64]                  // the current epoch
	Epochs      collections.Map[uint64, types.Epoch]      // by epoch
	Verifiers   collections.Map[[]byte, types.Verifier]   // by owner
	Keys        collections.Map[[]byte, types.Key]        // by key: all that are or were taken
	Headers     collections.Map[at, types.Header]         // headers, skips and voids
	Escrows     collections.Map[at, types.Escrow]         // beside Headers, once settled
	Settlements collections.Map[uint64, types.Settlement] // by epoch
	Ledgers     collections.Map[uint32, types.Ledger]     // by region
	Claims      collections.Map[[]byte, uint64]           // by device: what was claimed, ever
	Appeals     collections.Map[at, types.Appeal]         // votes under way
	Dust        collections.Item[uint64]
	Blocks      collections.Map[uint64, []byte] // by height: hashes of blocks that a tally may still name

	tips    collections.Map[uint32, uint64] // by region: epoch of the last header that stands
	closed  collections.Map[uint32, uint64] // by region: up to this epoch nothing can become final any more
	open    collections.KeySet[collections.Pair[uint64, uint32]]
	closing collections.KeySet[collections.Triple[uint64, uint32, uint64]] // votes by their last block: block, region, epoch
	pruned  collections.Map[uint32, uint64]                                // what pruning comes to next: prunedAll, prunedDaily

	rules    collections.Map[[]byte, []byte] // categories' own rules, by hash
	ruleUses collections.Map[[]byte, uint64] // how often epochs name them

	finals collections.Map[uint32, uint64] // by region, its newest final header's epoch; 0: none
	floor  collections.Item[uint64]        // no tally names blocks below it any more
	adding collections.Item[types.Adding]  // how far the current epoch's registry changes are added up
}

type late struct {
	registry Registry
	credits  Credits
	rewards  Rewards
}

// New returns the keeper. authority may change parameters. Connect must be called before the first block.
func New(cdc codec.BinaryCodec, kv store.KVStoreService, addresses address.Codec, authority string,
	bank Bank, pool Pool, staking Staking, slashing Slashing,
) (Keeper, error) {
	sb := collections.NewSchemaBuilder(kv)
	regionEpoch := collections.PairKeyCodec(collections.Uint32Key, collections.Uint64Key)
	k := Keeper{
		addresses: addresses, authority: authority, bank: bank, pool: pool, staking: staking, slashing: slashing, late: new(late),
		Params:      collections.NewItem(sb, collections.NewPrefix(0), "params", codec.CollValue[types.Params](cdc)),
		Now:         collections.NewItem(sb, collections.NewPrefix(1), "now", collections.Uint64Value),
		Epochs:      collections.NewMap(sb, collections.NewPrefix(2), "epochs", collections.Uint64Key, codec.CollValue[types.Epoch](cdc)),
		Verifiers:   collections.NewMap(sb, collections.NewPrefix(3), "verifiers", collections.BytesKey, codec.CollValue[types.Verifier](cdc)),
		Keys:        collections.NewMap(sb, collections.NewPrefix(4), "keys", collections.BytesKey, codec.CollValue[types.Key](cdc)),
		Headers:     collections.NewMap(sb, collections.NewPrefix(5), "headers", regionEpoch, codec.CollValue[types.Header](cdc)),
		Escrows:     collections.NewMap(sb, collections.NewPrefix(6), "escrows", regionEpoch, codec.CollValue[types.Escrow](cdc)),
		Settlements: collections.NewMap(sb, collections.NewPrefix(7), "settlements", collections.Uint64Key, codec.CollValue[types.Settlement](cdc)),
		Ledgers:     collections.NewMap(sb, collections.NewPrefix(8), "ledgers", collections.Uint32Key, codec.CollValue[types.Ledger](cdc)),
		Claims:      collections.NewMap(sb, collections.NewPrefix(9), "claims", collections.BytesKey, collections.Uint64Value),
		Appeals:     collections.NewMap(sb, collections.NewPrefix(10), "appeals", regionEpoch, codec.CollValue[types.Appeal](cdc)),
		Dust:        collections.NewItem(sb, collections.NewPrefix(11), "dust", collections.Uint64Value),
		tips:        collections.NewMap(sb, collections.NewPrefix(12), "tips", collections.Uint32Key, collections.Uint64Value),
		closed:      collections.NewMap(sb, collections.NewPrefix(13), "closed", collections.Uint32Key, collections.Uint64Value),
		open: collections.NewKeySet(sb, collections.NewPrefix(14), "open",
			collections.PairKeyCodec(collections.Uint64Key, collections.Uint32Key)),
		closing: collections.NewKeySet(sb, collections.NewPrefix(15), "closing",
			collections.TripleKeyCodec(collections.Uint64Key, collections.Uint32Key, collections.Uint64Key)),
		pruned:   collections.NewMap(sb, collections.NewPrefix(16), "pruned", collections.Uint32Key, collections.Uint64Value),
		rules:    collections.NewMap(sb, collections.NewPrefix(17), "rules", collections.BytesKey, collections.BytesValue),
		ruleUses: collections.NewMap(sb, collections.NewPrefix(18), "rule_uses", collections.BytesKey, collections.Uint64Value),
		finals:   collections.NewMap(sb, collections.NewPrefix(22), "finals", collections.Uint32Key, collections.Uint64Value),
		Blocks:   collections.NewMap(sb, collections.NewPrefix(19), "blocks", collections.Uint64Key, collections.BytesValue),
		floor:    collections.NewItem(sb, collections.NewPrefix(20), "floor", collections.Uint64Value),
		adding:   collections.NewItem(sb, collections.NewPrefix(21), "adding", codec.CollValue[types.Adding](cdc)),
	}
	var err error
	if k.Schema, err = sb.Build(); err != nil {
		return Keeper{}, fmt.Errorf("tally: schema: %w", err)
	}
	return k, nil
}

// Connect gives the keeper the modules that need it themselves.
func (k Keeper) Connect(registry Registry, credits Credits, rewards Rewards) {
	*k.late = late{registry, credits, rewards}
}

// Epoch returns the current epoch, from 1.
func (k Keeper) Epoch(ctx context.Context) (core.Epoch, error) {
	e, err := k.Now.Get(ctx)
	return core.Epoch(e), err
}

// Regions returns into how many regions devices are split.
func (k Keeper) Regions(ctx context.Context) (uint16, error) {
	p, err := k.Params.Get(ctx)
	return uint16(p.Regions), err
}

// Folded returns the epoch up to which every region's final tallies have taken in the registry: whatever
// becomes of the headers that are not final, no tally will ask for the changes of it or of epochs before it
// again.
func (k Keeper) Folded(ctx context.Context) (core.Epoch, error) {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return 0, err
	}
	folded := ^uint64(0)
	for r := range p.Regions {
		final, err := get(ctx, k.finals, r)
		if err != nil {
			return 0, err
		}
		folded = min(folded, final)
	}
	return core.Epoch(folded), nil
}

// FinalHeader returns a final header; types.NotFinal if it is not (yet).
func (k Keeper) FinalHeader(ctx context.Context, e core.Epoch, r core.Region) (*tally.Header, error) {
	h, err := k.header(ctx, e, r)
	if err != nil {
		return nil, err
	}
	if h.Status != types.Status_STATUS_FINAL {
		return nil, core.Refuse(core.NotFinal, "header of epoch %d, region %d", e, r)
	}
	return tally.DecodeHeader(h.Raw)
}

// header returns what is kept of an epoch in a region: a record without status if there is none.
func (k Keeper) header(ctx context.Context, e core.Epoch, r core.Region) (types.Header, error) {
	h, err := k.Headers.Get(ctx, collections.Join(uint32(r), uint64(e)))
	if errors.Is(err, collections.ErrNotFound) {
		return types.Header{Epoch: uint64(e), Region: uint32(r)}, nil
	}
	return h, err
}

// tip returns the region's last header that stands, decoded too; nil if there is none.
func (k Keeper) tip(ctx context.Context, r core.Region) (*types.Header, *tally.Header, error) {
	e, err := k.tips.Get(ctx, uint32(r))
	if errors.Is(err, collections.ErrNotFound) || err == nil && e == 0 {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	h, err := k.Headers.Get(ctx, collections.Join(uint32(r), e))
	if err != nil {
		return nil, nil, fmt.Errorf("last header of region %d, epoch %d: %w", r, e, err)
	}
	decoded, err := tally.DecodeHeader(h.Raw)
	return &h, decoded, err
}

// height returns the block that a message takes effect in. A message that is tried out would be in the next one.
func height(ctx context.Context) uint64 {
	c := sdk.UnwrapSDKContext(ctx)
	h := uint64(max(0, c.BlockHeight()))
	if m := c.ExecMode(); m == sdk.ExecModeSimulate || m == sdk.ExecModeCheck || m == sdk.ExecModeReCheck {
		h++
	}
	return h
}

// moduleAddress is the account that holds escrows and the bonds of appeals.
var moduleAddress = authtypes.NewModuleAddress(types.ModuleName)

func coins(amount core.Ustone) sdk.Coins {
	return sdk.NewCoins(sdk.NewCoin(denom, math.NewIntFromUint64(uint64(amount))))
}

// pay moves amount from the module to an account; nothing is no error.
func (k Keeper) pay(ctx context.Context, to sdk.AccAddress, amount core.Ustone) error {
	if amount == 0 {
		return nil
	}
	return k.bank.SendCoinsFromModuleToAccount(ctx, types.ModuleName, to, coins(amount))
}

func (k Keeper) burn(ctx context.Context, amount core.Ustone) error {
	if amount == 0 {
		return nil
	}
	return k.bank.BurnCoins(ctx, types.ModuleName, coins(amount))
}

// take moves amount from an account to the module.
func (k Keeper) take(ctx context.Context, from sdk.AccAddress, amount core.Ustone) error {
	err := k.bank.SendCoinsFromAccountToModule(ctx, from, types.ModuleName, coins(amount))
	if errors.Is(err, sdkerrors.ErrInsufficientFunds) {
		return core.Refuse(core.InsufficientFund, "pay %d ustone: %v", amount, err)
	}
	return err
}

// get returns what a map holds under key, or the zero value.
func get[K, V any](ctx context.Context, m collections.Map[K, V], key K) (V, error) {
	v, err := m.Get(ctx, key)
	if errors.Is(err, collections.ErrNotFound) {
		var zero V
		return zero, nil
	}
	return v, err
}

func emit(ctx context.Context, event string, attributes ...string) {
	e := sdk.NewEvent(event)
	for i := 0; i+1 < len(attributes); i += 2 {
		e = e.AppendAttributes(sdk.NewAttribute(attributes[i], attributes[i+1]))
	}
	sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(e)
}

func text[T ~uint16 | ~uint32 | ~uint64](x T) string { return fmt.Sprint(uint64(x)) }
