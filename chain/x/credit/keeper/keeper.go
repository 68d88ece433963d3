// Package keeper keeps what customers have bought: their credits, the session keys that spend them, and the
// vault that backs them.
//
// A customer turns STONE into credits at the low price, less a spread. The STONE stays in the vault until the
// credits are spent and settled: once for each epoch, x/tally calls Settle, which turns what was spent into
// STONE at the high price and moves it to x/tally's escrow, minting within an allowance where the vault falls
// short (core/econ has the arithmetic). A voided header's part comes back through Void. Credits are never
// transferred and never turned back.
//
// What an account has spent stands in the tally. The chain knows what it bought (Holding), per region, and logs each
// change for the next epoch's registry view, as it does for the session keys.
//
// The module also keeps the ledger of supply: every mint and burn by any module is recorded with RecordMint and
// RecordBurn, so that genesis + minted − burned can be held against the bank (Audit).
package keeper

import (
	"context"
	"errors"
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
	"github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

const denom = "ustone"

// pruned is how many expired keys one step forgets at most.
const pruned = 100

// Keeper keeps credits. Only the application's one writing goroutine changes it.
type Keeper struct {
	addresses address.Codec
	authority string
	escrow    string // the module whose account settled STONE goes to
	bank      Bank
	economy   Economy
	clock     *Clock // set once the tally exists, which needs this keeper itself

	Schema   collections.Schema
	Params   collections.Item[types.Params]
	Vault    collections.Item[types.Vault]
	Holdings collections.Map[collections.Pair[[]byte, uint32], uint64] // by account and region: bought
	sold     collections.Map[uint32, uint64]                           // by region: Σ holdings
	Grants   *collections.IndexedMap[[]byte, types.Grant, byAccount]   // by key
	// live holds the keys that may still spend, and expired ones until their account grants again: account,
	// expiry, key.
	live      collections.KeySet[collections.Triple[[]byte, uint64, []byte]]
	genesis   collections.Item[uint64] // the supply at genesis
	movements collections.Map[string, types.Movement]
	day       collections.Item[uint64] // the last one whose excess was burned
	changes   churn.Log
}

type byAccount struct {
	Account *indexes.Multi[[]byte, []byte, types.Grant]
}

// IndexesList implements collections.Indexes.
func (i byAccount) IndexesList() []collections.Index[[]byte, types.Grant] {
	return []collections.Index[[]byte, types.Grant]{i.Account}
}

// New returns the keeper. authority may change parameters; escrow is the module whose account Settle pays into.
// SetClock must be called before the first block.
func New(cdc codec.BinaryCodec, kv store.KVStoreService, addresses address.Codec, authority, escrow string, bank Bank, economy Economy) (Keeper, error) {
	sb := collections.NewSchemaBuilder(kv)
	account := func(_ []byte, g types.Grant) ([]byte, error) { return addresses.StringToBytes(g.Account) }
	k := Keeper{
		addresses: addresses, authority: authority, escrow: escrow, bank: bank, economy: economy, clock: new(Clock),
		Params: collections.NewItem(sb, collections.NewPrefix(0), "params", codec.CollValue[types.Params](cdc)),
		Vault:  collections.NewItem(sb, collections.NewPrefix(1), "vault", codec.CollValue[types.Vault](cdc)),
		Holdings: collections.NewMap(sb, collections.NewPrefix(2), "holdings",
			collections.PairKeyCodec(collections.BytesKey, collections.Uint32Key), collections.Uint64Value),
		Grants: collections.NewIndexedMap(sb, collections.NewPrefix(3), "grants", collections.BytesKey, codec.CollValue[types.Grant](cdc),
			byAccount{indexes.NewMulti(sb, collections.NewPrefix(4), "grants_by_account", collections.BytesKey, collections.BytesKey, account)}),
		sold: collections.NewMap(sb, collections.NewPrefix(10), "sold", collections.Uint32Key, collections.Uint64Value),
		live: collections.NewKeySet(sb, collections.NewPrefix(5), "live",
			collections.TripleKeyCodec(collections.BytesKey, collections.Uint64Key, collections.BytesKey)),
		genesis:   collections.NewItem(sb, collections.NewPrefix(6), "genesis_supply", collections.Uint64Value),
		movements: collections.NewMap(sb, collections.NewPrefix(7), "movements", collections.StringKey, codec.CollValue[types.Movement](cdc)),
		day:       collections.NewItem(sb, collections.NewPrefix(8), "day", collections.Uint64Value),
		changes:   churn.NewLog(sb, 9, 11, 12),
	}
	var err error
	if k.Schema, err = sb.Build(); err != nil {
		return Keeper{}, fmt.Errorf("credit: schema: %w", err)
	}
	return k, nil
}

// SetClock gives the keeper what tells epochs.
func (k Keeper) SetClock(c Clock) { *k.clock = c }

func (k Keeper) epoch(ctx context.Context) (core.Epoch, error) { return (*k.clock).Epoch(ctx) }

// Band returns the prices that buyers and providers meet now.
func (k Keeper) Band(ctx context.Context) (econ.Band, error) {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return econ.Band{}, err
	}
	return econ.Fixed(p.FixedPrice), nil
}

// MinOpening returns what the first receipt of a session must be worth.
func (k Keeper) MinOpening(ctx context.Context) (core.Credit, error) {
	p, err := k.Params.Get(ctx)
	return core.Credit(p.MinOpening), err
}

// Bought returns all credits that were ever sold to be spent in a region: what its headers' spending never exceeds.
func (k Keeper) Bought(ctx context.Context, region core.Region) (core.Credit, error) {
	sum, err := k.sold.Get(ctx, uint32(region))
	if errors.Is(err, collections.ErrNotFound) {
		return 0, nil
	}
	return core.Credit(sum), err
}

// log records c, which account makes, for the view of the next epoch; a later change of the same subject in
// this epoch replaces it.
func (k Keeper) log(ctx context.Context, account core.Account, region uint32, subject []byte, c *tally.Change) error {
	e, err := k.epoch(ctx)
	if err != nil {
		return err
	}
	return k.changes.Record(ctx, e, region, subject, c, account[:])
}

// unlog takes back what was recorded of a subject for the view of the next epoch.
func (k Keeper) unlog(ctx context.Context, e core.Epoch, region uint32, subject []byte) error {
	churn.Replaced(ctx)
	return k.changes.Remove(ctx, collections.Join3(uint64(e)+1, region, subject))
}

// A subject of the log: accounts sort before keys.
func accountSubject(a core.Account) []byte { return append([]byte{0}, a[:]...) }
func keySubject(key core.Key) []byte       { return append([]byte{1}, key[:]...) }

// ChangesAfter returns what the view of epoch e says differently of a region's accounts and session keys than
// the view before: accounts by address, then keys by key. It begins after one (nil: with the first), ends after
// limit, and returns what names the last.
func (k Keeper) ChangesAfter(ctx context.Context, e core.Epoch, region core.Region, after []byte, limit int) (list []tally.Change, last []byte, err error) {
	return k.changes.After(ctx, e, region, after, limit)
}

// EndBlock burns the day's excess and forgets changes that nobody needs any more, a bounded number in each block.
func (k Keeper) EndBlock(ctx context.Context) error {
	e, err := k.epoch(ctx)
	if err != nil {
		return err
	}
	if err := k.burnExcess(ctx, econ.DayOf(e)); err != nil {
		return err
	}
	p, err := k.Params.Get(ctx)
	if err != nil || uint64(e) <= p.ChangeRetention {
		return err
	}
	return k.changes.Forget(ctx, uint64(e)-p.ChangeRetention, (*k.clock).Folded)
}

// Audit reports where the module and its money disagree: the vault is what the module's account holds; accounts
// bought what the vault sold; and genesis + minted − burned is the bank's supply. It reads every account.
func (k Keeper) Audit(ctx context.Context) error {
	v, err := k.Vault.Get(ctx)
	if err != nil {
		return err
	}
	if balance := k.bank.GetBalance(ctx, authtypes.NewModuleAddress(types.ModuleName), denom).Amount; !balance.Equal(math.NewIntFromUint64(v.Stone)) {
		return fmt.Errorf("credit: the vault records %d ustone, its account holds %s", v.Stone, balance)
	}
	var sum uint64
	regions := map[uint32]uint64{}
	if err := k.Holdings.Walk(ctx, nil, func(key collections.Pair[[]byte, uint32], bought uint64) (bool, error) {
		sum += bought
		regions[key.K2()] += bought
		return false, nil
	}); err != nil {
		return err
	}
	if err := k.sold.Walk(ctx, nil, func(region uint32, sold uint64) (bool, error) {
		if regions[region] != sold {
			return true, fmt.Errorf("credit: accounts bought %d micro-credits in region %d, where %d were sold", regions[region], region, sold)
		}
		return false, nil
	}); err != nil {
		return err
	}
	if sum != v.Bought || v.Settled > v.Bought {
		return fmt.Errorf("credit: accounts bought %d micro-credits, the vault sold %d and settled %d", sum, v.Bought, v.Settled)
	}
	s, err := k.supply(ctx)
	if err != nil {
		return err
	}
	if s.Genesis+s.Minted-s.Burned != s.Supply {
		return fmt.Errorf("credit: genesis %d + minted %d − burned %d ustone is not the supply, %d", s.Genesis, s.Minted, s.Burned, s.Supply)
	}
	return nil
}

func coins(amount core.Ustone) sdk.Coins {
	return sdk.NewCoins(sdk.NewCoin(denom, math.NewIntFromUint64(uint64(amount))))
}

// missing turns "not found" into a coded refusal.
func missing(err error, r core.Reason, format string, args ...any) error {
	if errors.Is(err, collections.ErrNotFound) {
		return core.Refuse(r, format, args...)
	}
	return err
}
