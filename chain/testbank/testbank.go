// Package testbank is the SDK's own bank over an in-memory store, for tests of keepers that move money. It
// tells a Ledger of mints and burns as the application does.
package testbank

import (
	"context"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/codec"
	addresscodec "github.com/cosmos/cosmos-sdk/codec/address"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/store/v2"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authkeeper "github.com/cosmos/cosmos-sdk/x/auth/keeper"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"cosmossdk.io/core/address"
	corestore "cosmossdk.io/core/store"
	"cosmossdk.io/log/v2"
	"cosmossdk.io/math"
)

// ChainID is that of every context.
const ChainID = "cairn-test"

// Denom is the one denomination.
const Denom = "ustone"

// faucet is the module account that mints what Fund gives, unrecorded.
const faucet = "faucet"

// Ledger is told of mints and burns. x/credit is it.
type Ledger interface {
	RecordMint(context.Context, string, sdk.Coins) error
	RecordBurn(context.Context, string, sdk.Coins) error
}

// Bank is a bank with accounts, and the stores of the keepers under test beside its own.
type Bank struct {
	bankkeeper.BaseKeeper
	Accounts  authkeeper.AccountKeeper
	Codec     codec.Codec
	Addresses address.Codec
	Authority string
	ledger    Ledger
	keys      map[string]*storetypes.KVStoreKey
}

// New returns a bank where the named modules have accounts that may mint and burn, and a context over stores
// for them.
func New(modules ...string) (*Bank, sdk.Context) {
	sdk.GetConfig().SetBech32PrefixForAccount("cairn", "cairnpub")
	registry := codectypes.NewInterfaceRegistry()
	authtypes.RegisterInterfaces(registry)
	banktypes.RegisterInterfaces(registry)
	b := &Bank{
		Codec:     codec.NewProtoCodec(registry),
		Addresses: addresscodec.NewBech32Codec("cairn"),
		Authority: authtypes.NewModuleAddress("gov").String(),
		keys:      storetypes.NewKVStoreKeys(append([]string{authtypes.StoreKey, banktypes.StoreKey}, modules...)...),
	}
	permissions := map[string][]string{faucet: {authtypes.Minter}}
	for _, m := range modules {
		permissions[m] = []string{authtypes.Minter, authtypes.Burner}
	}
	b.Accounts = authkeeper.NewAccountKeeper(b.Codec, b.Store(authtypes.StoreKey), authtypes.ProtoBaseAccount, permissions, b.Addresses, "cairn", b.Authority)
	b.BaseKeeper = bankkeeper.NewBaseKeeper(b.Codec, b.Store(banktypes.StoreKey), b.Accounts, nil, b.Authority, log.NewNopLogger())

	db := dbm.NewMemDB()
	stores := store.NewCommitMultiStore(db, log.NewNopLogger())
	for _, key := range b.keys {
		stores.MountStoreWithDB(key, storetypes.StoreTypeIAVL, db)
	}
	if err := stores.LoadLatestVersion(); err != nil {
		panic(err) // an empty database in memory
	}
	header := cmtproto.Header{ChainID: ChainID, Height: 1, Time: time.Unix(1_700_000_000, 0)}
	return b, sdk.NewContext(stores, header, false, log.NewNopLogger()).WithChainID(ChainID)
}

// Store returns the store of a module that New was given.
func (b *Bank) Store(module string) corestore.KVStoreService {
	return runtime.NewKVStoreService(b.keys[module])
}

// SetLedger names who is told of mints and burns from now on.
func (b *Bank) SetLedger(l Ledger) { b.ledger = l }

// Fund gives an account ustone out of nothing, as genesis would.
func (b *Bank) Fund(ctx context.Context, to sdk.AccAddress, amount uint64) error {
	coins := sdk.NewCoins(sdk.NewCoin(Denom, math.NewIntFromUint64(amount)))
	if err := b.BaseKeeper.MintCoins(ctx, faucet, coins); err != nil {
		return err
	}
	return b.BaseKeeper.SendCoinsFromModuleToAccount(ctx, faucet, to, coins)
}

// Balance returns what an account holds.
func (b *Bank) Balance(ctx context.Context, a sdk.AccAddress) uint64 {
	return b.GetBalance(ctx, a, Denom).Amount.Uint64()
}

// MintCoins mints, and tells the ledger.
func (b *Bank) MintCoins(ctx context.Context, module string, amount sdk.Coins) error {
	if err := b.BaseKeeper.MintCoins(ctx, module, amount); err != nil || b.ledger == nil {
		return err
	}
	return b.ledger.RecordMint(ctx, module, amount)
}

// BurnCoins burns, and tells the ledger.
func (b *Bank) BurnCoins(ctx context.Context, module string, amount sdk.Coins) error {
	if err := b.BaseKeeper.BurnCoins(ctx, module, amount); err != nil || b.ledger == nil {
		return err
	}
	return b.ledger.RecordBurn(ctx, module, amount)
}
