// Package keeper keeps certificates: ranges of a device's register that were produced and not sold, which can
// be owned, passed on and claimed for somebody's consumption once.
//
// # Where they come from
//
// A tally puts what a device did not sell on one day into its outputs tree, as a sheet (core/lot). Issue takes
// the sheet's Merkle proof against a final header, and the lots that it commits to. A register only rises, so
// the module remembers one number per device, the mark: what is issued begins at or above it, and then the mark
// is where that ended. So no watt-hour is issued twice, by anybody, in any order. What is issued out of order
// forfeits what is below: that is why only the device's owner may issue, and whoever the owner lets act in its
// name (x/authz).
//
// # What they are
//
// One certificate for each contiguous run within an hour, at most lot.MaxLots in a message. It is named by
// device and first watt-hour, so a transaction can split one and use the part in its next message. Splits keep
// the times: nobody knows when within the hour a watt-hour came. Active ones are the owner's to split, transfer
// and retire; retired ones stay for everybody to read.
//
// # Time
//
// Production is in energy time, which a chain on one laptop lets run faster. Everything that the chain itself
// decides goes by the block's time: a certificate expires with the end of the UTC day that is Params.ExpiryDays
// after that of its issue. Nothing happens at that moment: whoever touches an expired certificate is refused,
// whoever reads one sees that it is expired, and no block has a list to go through. To know the totals all the
// same, the module adds up active watt-hours by the day on which they expire.
//
// # What must hold
//
// issued = active + retired + expired, no two certificates of a device overlap, and none reaches beyond the
// mark (Audit).
package keeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/core/lot"
	core "github.com/cairn-network/cairn/core/types"
)

// folded is how many past days one Issue adds to what is expired, at most. It makes one day at most.
const folded = 4

// Keeper keeps certificates. Only the application's one writing goroutine changes it.
type Keeper struct {
	addresses address.Codec
	authority string
	tallies   Tallies
	devices   Devices

	Schema       collections.Schema
	Params       collections.Item[types.Params]
	Certificates collections.Map[collections.Pair[[]byte, uint64], types.Certificate] // by device and first watt-hour
	Marks        collections.Map[[]byte, uint64]                                      // by device
	// owners lists certificates by owner: 0 for active and 1 for retired ones, device and first watt-hour.
	owners collections.KeySet[collections.Triple[[]byte, uint32, []byte]]

	issued   collections.Item[uint64]        // Wh, ever
	retired  collections.Item[uint64]        // Wh
	lapsed   collections.Item[uint64]        // Wh that expired on days which are no longer in expiring
	expiring collections.Map[uint64, uint64] // by day: Wh that expire when it begins, unless they are retired before
}

// New returns the keeper. authority may change parameters.
func New(cdc codec.BinaryCodec, kv store.KVStoreService, addresses address.Codec, authority string, tallies Tallies, devices Devices,
) (Keeper, error) {
	sb := collections.NewSchemaBuilder(kv)
	k := Keeper{
		addresses: addresses, authority: authority, tallies: tallies, devices: devices,
		Params: collections.NewItem(sb, collections.NewPrefix(0), "params", codec.CollValue[types.Params](cdc)),
		Certificates: collections.NewMap(sb, collections.NewPrefix(1), "certificates",
			collections.PairKeyCodec(collections.BytesKey, collections.Uint64Key), codec.CollValue[types.Certificate](cdc)),
		Marks: collections.NewMap(sb, collections.NewPrefix(2), "marks", collections.BytesKey, collections.Uint64Value),
		owners: collections.NewKeySet(sb, collections.NewPrefix(3), "owners",
			collections.TripleKeyCodec(collections.BytesKey, collections.Uint32Key, collections.BytesKey)),
		issued:   collections.NewItem(sb, collections.NewPrefix(4), "issued", collections.Uint64Value),
		retired:  collections.NewItem(sb, collections.NewPrefix(5), "retired", collections.Uint64Value),
		lapsed:   collections.NewItem(sb, collections.NewPrefix(6), "lapsed", collections.Uint64Value),
		expiring: collections.NewMap(sb, collections.NewPrefix(7), "expiring", collections.Uint64Key, collections.Uint64Value),
	}
	var err error
	if k.Schema, err = sb.Build(); err != nil {
		return Keeper{}, fmt.Errorf("certificate: schema: %w", err)
	}
	return k, nil
}

// now returns the block's time, in Unix seconds.
func now(ctx context.Context) uint64 {
	return uint64(max(0, sdk.UnwrapSDKContext(ctx).BlockTime().Unix()))
}

// Get returns a certificate as it stands now; types.UnknownCertificate if there is none of that id.
func (k Keeper) Get(ctx context.Context, id lot.ID) (types.Certificate, error) {
	c, err := k.Certificates.Get(ctx, collections.Join(id.Device[:], id.From))
	if errors.Is(err, collections.ErrNotFound) {
		return c, core.Refuse(core.UnknownCertificate, "certificate %s", id)
	}
	c.State = c.At(now(ctx))
	return c, err
}

// Mark returns up to where a device's register was issued, in watt-hours.
func (k Keeper) Mark(ctx context.Context, device core.Key) (uint64, error) {
	mark, err := k.Marks.Get(ctx, device[:])
	return mark, absent(err)
}

// put keeps a certificate under its id, and lists it under its owner.
func (k Keeper) put(ctx context.Context, id lot.ID, c types.Certificate) error {
	if err := k.Certificates.Set(ctx, collections.Join(id.Device[:], id.From), c); err != nil {
		return err
	}
	key, err := k.listed(id, &c)
	if err != nil {
		return err
	}
	return k.owners.Set(ctx, key)
}

// unlist takes a certificate out of its owner's list, before it changes owner or state.
func (k Keeper) unlist(ctx context.Context, id lot.ID, c *types.Certificate) error {
	key, err := k.listed(id, c)
	if err != nil {
		return err
	}
	return k.owners.Remove(ctx, key)
}

// listed is where a certificate stands in its owner's list.
func (k Keeper) listed(id lot.ID, c *types.Certificate) (collections.Triple[[]byte, uint32, []byte], error) {
	owner, err := k.addresses.StringToBytes(c.Owner)
	if err != nil {
		return collections.Triple[[]byte, uint32, []byte]{}, err
	}
	return collections.Join3(owner, shelf(c.State), binary.BigEndian.AppendUint64(id.Device[:], id.From)), nil
}

// shelf is the part of an owner's list that certificates of a state stand in.
func shelf(s types.State) uint32 {
	if s == types.State_STATE_RETIRED {
		return 1
	}
	return 0
}

// idOf reads the last part of a key in an owner's list.
func idOf(raw []byte) lot.ID {
	return lot.ID{Device: core.Key(raw[:32]), From: binary.BigEndian.Uint64(raw[32:])}
}

// absent turns "not found" into no error: the value is zero then.
func absent(err error) error {
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	return err
}

func emit(ctx context.Context, event string, attributes ...string) {
	e := sdk.NewEvent(event)
	for i := 0; i+1 < len(attributes); i += 2 {
		e = e.AppendAttributes(sdk.NewAttribute(attributes[i], attributes[i+1]))
	}
	sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(e)
}
