// Package keeper keeps the registry: which devices there are, whose they are, and what is locked for them.
//
// A device's owner registers it with the statement that the device signed (core/evidence), burning a fee and
// locking a bond. The registry never sees a job or a reading. What it says as of an epoch's start is the
// registry view that all tallies of the epoch use; every change is logged once per device for the next epoch's
// view (Changes) and forgotten after a while.
//
// Only proof of misconduct takes a bond: the tally adds to a device's penalty, and claims (Penalize) and
// unbonding burn up to that much. A key that has left never comes back; its record stays, so that what it
// earned can still be claimed.
//
// The module's account holds exactly what is locked (Audit). Its parameters are few; what a device costs is
// x/reward's.
package keeper

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/collections/indexes"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	"cosmossdk.io/math"
	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/cairn-network/cairn/chain/churn"
	"github.com/cairn-network/cairn/chain/x/device/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

const denom = "ustone"

// Keeper is the registry. Only the application's one writing goroutine changes it.
type Keeper struct {
	addresses address.Codec
	authority string
	bank      Bank
	economy   Economy
	market    Market
	tally     *late // set once the tally exists, which needs this keeper itself

	Schema  collections.Schema
	Params  collections.Item[types.Params]
	Devices *collections.IndexedMap[[]byte, types.Device, byOwner] // by key
	Makers  collections.Map[uint64, types.Maker]
	Models  collections.Map[uint64, types.Model]
	MakerID collections.Sequence
	ModelID collections.Sequence
	Locked  collections.Item[uint64] // Σ bonds, in ustone
	changes churn.Log
}

type late struct {
	clock   Clock
	headers Headers
}

type byOwner struct {
	Owner *indexes.Multi[[]byte, []byte, types.Device] // by account
}

// IndexesList implements collections.Indexes.
func (i byOwner) IndexesList() []collections.Index[[]byte, types.Device] {
	return []collections.Index[[]byte, types.Device]{i.Owner}
}

// New returns the keeper. authority may change parameters and suspend. SetTally must be called before the first
// block.
func New(cdc codec.BinaryCodec, kv store.KVStoreService, addresses address.Codec, authority string, bank Bank, economy Economy, market Market) (Keeper, error) {
	sb := collections.NewSchemaBuilder(kv)
	owner := func(_ []byte, d types.Device) ([]byte, error) { return addresses.StringToBytes(d.Owner) }
	k := Keeper{
		addresses: addresses, authority: authority, bank: bank, economy: economy, market: market, tally: new(late),
		Params: collections.NewItem(sb, collections.NewPrefix(0), "params", codec.CollValue[types.Params](cdc)),
		Devices: collections.NewIndexedMap(sb, collections.NewPrefix(1), "devices", collections.BytesKey, codec.CollValue[types.Device](cdc),
			byOwner{indexes.NewMulti(sb, collections.NewPrefix(2), "devices_by_owner", collections.BytesKey, collections.BytesKey, owner)}),
		Makers:  collections.NewMap(sb, collections.NewPrefix(3), "makers", collections.Uint64Key, codec.CollValue[types.Maker](cdc)),
		Models:  collections.NewMap(sb, collections.NewPrefix(4), "models", collections.Uint64Key, codec.CollValue[types.Model](cdc)),
		MakerID: collections.NewSequence(sb, collections.NewPrefix(5), "maker_id"),
		ModelID: collections.NewSequence(sb, collections.NewPrefix(6), "model_id"),
		Locked:  collections.NewItem(sb, collections.NewPrefix(7), "locked", collections.Uint64Value),
		changes: churn.NewLog(sb, 8, 9, 10),
	}
	var err error
	if k.Schema, err = sb.Build(); err != nil {
		return Keeper{}, fmt.Errorf("device: schema: %w", err)
	}
	return k, nil
}

// SetTally gives the keeper what tells epochs and final headers.
func (k Keeper) SetTally(clock Clock, headers Headers) { *k.tally = late{clock, headers} }

// Get returns a device; types.UnknownAuthor if there never was one of that key.
func (k Keeper) Get(ctx context.Context, key core.Key) (types.Device, error) {
	d, err := k.Devices.Get(ctx, key[:])
	if err != nil {
		return types.Device{}, missing(err, core.UnknownAuthor, "device %s", key)
	}
	return d, nil
}

// Owner returns the account that a device's claims are paid to: its owner now, also after it left the registry.
func (k Keeper) Owner(ctx context.Context, key core.Key) (sdk.AccAddress, error) {
	d, err := k.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return k.addresses.StringToBytes(d.Owner)
}

// Penalize burns of a device's bond what its cumulative penalty has not burned yet, and returns how much that was.
func (k Keeper) Penalize(ctx context.Context, key core.Key, penalty core.Ustone) (core.Ustone, error) {
	d, err := k.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	burn := econ.Slash(core.Ustone(d.Bond), penalty, core.Ustone(d.Slashed))
	if burn == 0 {
		return 0, nil
	}
	d.Bond -= uint64(burn)
	d.Slashed += uint64(burn)
	if err := k.unlock(ctx, burn); err != nil {
		return 0, err
	}
	if err := k.bank.BurnCoins(ctx, types.ModuleName, coins(burn)); err != nil {
		return 0, fmt.Errorf("burn the bond of device %s: %w", key, err)
	}
	sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(sdk.NewEvent("device_penalized",
		sdk.NewAttribute("device", d.Device), sdk.NewAttribute("burned", fmt.Sprint(uint64(burn)))))
	return burn, k.put(ctx, d, nil)
}

// ChangesAfter returns what the view of epoch e says differently of a region's devices than the view before, by
// key. It begins after one (nil: with the first), ends after limit, and returns what names the last.
func (k Keeper) ChangesAfter(ctx context.Context, e core.Epoch, region core.Region, after []byte, limit int) (list []tally.Change, last []byte, err error) {
	return k.changes.After(ctx, e, region, after, limit)
}

// EndBlock forgets changes that nobody needs any more, a bounded number in each block.
func (k Keeper) EndBlock(ctx context.Context) error {
	e, err := k.tally.clock.Epoch(ctx)
	if err != nil {
		return err
	}
	p, err := k.Params.Get(ctx)
	if err != nil || uint64(e) <= p.ChangeRetention {
		return err
	}
	return k.changes.Forget(ctx, uint64(e)-p.ChangeRetention, k.tally.clock.Folded)
}

// Audit reports where the registry and its money disagree: locked, the sum of bonds, and the account's balance
// are equal. It reads every device.
func (k Keeper) Audit(ctx context.Context) error {
	var sum uint64
	if err := k.Devices.Walk(ctx, nil, func(_ []byte, d types.Device) (bool, error) {
		sum += d.Bond
		return false, nil
	}); err != nil {
		return err
	}
	locked, balance, err := k.bonds(ctx)
	if err != nil {
		return err
	}
	if locked != sum || !balance.Equal(math.NewIntFromUint64(sum)) {
		return fmt.Errorf("device: bonds add up to %d ustone, %d are recorded, and the account holds %s", sum, locked, balance)
	}
	return nil
}

func (k Keeper) bonds(ctx context.Context) (locked uint64, balance math.Int, err error) {
	if locked, err = k.Locked.Get(ctx); err != nil {
		return 0, math.Int{}, err
	}
	return locked, k.bank.GetBalance(ctx, authtypes.NewModuleAddress(types.ModuleName), denom).Amount, nil
}
