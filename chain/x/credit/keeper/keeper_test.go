package keeper_test

import (
	"context"
	"errors"
	"testing"

	"cosmossdk.io/math"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/chain/testbank"
	"github.com/cairn-network/cairn/chain/x/credit/keeper"
	"github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// world stands in for the modules beside: the epoch and the economy are what a test says.
type world struct {
	epoch   core.Epoch
	behind  core.Epoch // epochs that no tally has taken in
	regions uint16
	params  econ.Params
}

func (w *world) Epoch(context.Context) (core.Epoch, error)    { return w.epoch, nil }
func (w *world) Regions(context.Context) (uint16, error)      { return w.regions, nil }
func (w *world) Folded(context.Context) (core.Epoch, error)   { return w.epoch - 1 - w.behind, nil }
func (w *world) Economy(context.Context) (econ.Params, error) { return w.params, nil }

type fixture struct {
	*world
	bank   *testbank.Bank
	ctx    sdk.Context
	keeper keeper.Keeper
	msg    types.MsgServer
	query  types.QueryServer
}

// escrow stands for x/tally's account.
const escrow = "tally"

// whale holds what makes the daily limit of purchases large.
var whale = sdk.AccAddress("whale_______________")

func setup(t interface{ Fatal(...any) }, change func(*types.Params)) *fixture {
	f := &fixture{world: &world{epoch: 1, regions: 1, params: econ.Default()}}
	f.bank, f.ctx = testbank.New(types.ModuleName, escrow)
	var err error
	f.keeper, err = keeper.New(f.bank.Codec, f.bank.Store(types.StoreKey), f.bank.Addresses, f.bank.Authority, escrow, f.bank, f)
	if err != nil {
		t.Fatal(err)
	}
	f.keeper.SetClock(f)
	f.bank.SetLedger(f.keeper)
	if err := f.bank.Fund(f.ctx, whale, uint64(econ.GenesisSupply)); err != nil {
		t.Fatal(err)
	}
	g := types.DefaultGenesis()
	if change != nil {
		change(&g.Params)
	}
	if err := f.keeper.InitGenesis(f.ctx, g); err != nil {
		t.Fatal(err)
	}
	f.msg, f.query = keeper.NewMsgServer(f.keeper), keeper.NewQueryServer(f.keeper)
	return f
}

// account makes an account that holds ustone of the whale's.
func (f *fixture) account(t interface{ Fatal(...any) }, name byte, amount uint64) (core.Account, string) {
	a := core.Account{name}
	if amount > 0 {
		if err := f.bank.SendCoins(f.ctx, whale, a[:], coins(amount)); err != nil {
			t.Fatal(err)
		}
	}
	return a, a.String()
}

func coin(amount uint64) sdk.Coin   { return sdk.NewCoin(testbank.Denom, math.NewIntFromUint64(amount)) }
func coins(amount uint64) sdk.Coins { return sdk.NewCoins(coin(amount)) }

// key makes a session key and its agreement to serve an account.
func key(seed byte, a core.Account) (core.Key, []byte) {
	private := core.NewPrivateKey([32]byte{seed})
	sig := private.Sign("grant", testbank.ChainID, evidence.GrantBytes(a))
	return private.Public(), sig[:]
}

func wantReason(t *testing.T, what string, err error, want core.Reason) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// TestBuy is economics.md's example: 1,000 STONE at 498,000,000 nUSD.
func TestBuy(t *testing.T) {
	f := setup(t, func(p *types.Params) { p.FixedPrice = 498_000_000 })
	a, buyer := f.account(t, 1, 2_000_000_000)
	quote, err := f.query.Quote(f.ctx, &types.QueryQuoteRequest{Amount: 1_000_000_000})
	if err != nil || quote.Credits != 496_755_000 || quote.Refusal != "" {
		t.Errorf("quote: %v, %v", quote, err)
	}
	res, err := f.msg.BuyCredits(f.ctx, &types.MsgBuyCredits{Buyer: buyer, Amount: coin(1_000_000_000), MinCredits: 496_755_000})
	if err != nil {
		t.Fatal(err)
	}
	if res.Credits != 496_755_000 || res.Bought != 496_755_000 {
		t.Errorf("bought %d, in all %d", res.Credits, res.Bought)
	}
	if got := f.bank.Balance(f.ctx, a[:]); got != 1_000_000_000 {
		t.Errorf("the buyer holds %d", got)
	}
	if sold, err := f.keeper.Bought(f.ctx, 0); err != nil || sold != 496_755_000 {
		t.Errorf("sold in region 0: %d, %v", sold, err)
	}
	changes, err := f.keeper.Changes(f.ctx, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []tally.Change{{Holder: &tally.Holder{Account: a, Bought: 496_755_000}}}
	if diff := cmp.Diff(core.Encode(want), core.Encode(changes)); diff != "" {
		t.Errorf("changes of epoch 2: %s", diff)
	}
	if none, err := f.keeper.Changes(f.ctx, 1, 0); err != nil || len(none) != 0 {
		t.Errorf("a purchase in epoch 1 changed the view of epoch 1: %v, %v", none, err)
	}
	if err := f.keeper.Audit(f.ctx); err != nil {
		t.Error(err)
	}
}

func TestBuyRefused(t *testing.T) {
	f := setup(t, nil)
	_, buyer := f.account(t, 1, 3_000_000_000_000)
	buy := func(amount, least uint64, region uint32) error {
		_, err := f.msg.BuyCredits(f.ctx, &types.MsgBuyCredits{Buyer: buyer, Amount: coin(amount), MinCredits: least, Region: region})
		return err
	}
	wantReason(t, "more credits than it gives", buy(1_000_000, 498_751, 0), core.Slippage)
	wantReason(t, "a region that is none", buy(1_000_000, 0, 1), core.WrongRegion)
	wantReason(t, "more than half a percent of supply", buy(2_000_000_000_001, 0, 0), core.BuyWindow)
	if err := buy(2_000_000_000_000, 0, 0); err != nil {
		t.Error(err)
	}
	wantReason(t, "more on a day that is used up", buy(1_000_000, 0, 0), core.BuyWindow)
	f.epoch += econ.EpochsPerDay
	wantReason(t, "more than the account holds", buy(1_500_000_000_000, 0, 0), core.InsufficientFund)
	if _, err := f.msg.BuyCredits(f.ctx, &types.MsgBuyCredits{Buyer: buyer, Amount: sdk.NewInt64Coin("uatom", 5)}); err == nil {
		t.Error("credits were sold for another denomination")
	}
}

func TestGrant(t *testing.T) {
	f := setup(t, func(p *types.Params) { p.MaxKeys, p.MaxKeyEpochs = 2, 100 })
	f.regions = 2
	a, payer := f.account(t, 1, 0)
	b, other := f.account(t, 2, 0)
	k1, proof := key(1, a)
	grant := func(account string, k core.Key, proof []byte, limit, expiry uint64, region uint32) error {
		_, err := f.msg.GrantKey(f.ctx, &types.MsgGrantKey{Account: account, Key: k.String(), Proof: proof, Limit: limit, Expiry: expiry, Region: region})
		return err
	}
	_, forOther := key(1, b)
	wantReason(t, "a proof for another account", grant(payer, k1, forOther, 5, 10, 0), core.BadSignature)
	wantReason(t, "no proof", grant(payer, k1, nil, 5, 10, 0), core.BadSignature)
	wantReason(t, "an expiry now", grant(payer, k1, proof, 5, 1, 0), core.WrongEpoch)
	wantReason(t, "an expiry too far ahead", grant(payer, k1, proof, 5, 102, 0), core.WrongEpoch)
	wantReason(t, "a region that is none", grant(payer, k1, proof, 5, 10, 2), core.WrongRegion)
	if err := grant(payer, k1, proof, 5, 10, 1); err != nil {
		t.Fatal(err)
	}
	wantReason(t, "a key that serves another account", grant(other, k1, forOther, 5, 10, 1), core.KeyTaken)
	wantReason(t, "another region", grant(payer, k1, nil, 5, 10, 0), core.WrongRegion)
	if err := grant(payer, k1, nil, 7, 20, 1); err != nil { // its own key: limit and expiry change without a new proof
		t.Fatal(err)
	}
	changes, err := f.keeper.Changes(f.ctx, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := []tally.Change{{Grant: &tally.Grant{Key: k1, Account: a, Limit: 7, Expiry: 20}}}
	if diff := cmp.Diff(core.Encode(want), core.Encode(changes)); diff != "" {
		t.Errorf("changes: %s", diff)
	}
	k2, proof2 := key(2, a)
	if err := grant(payer, k2, proof2, 5, 10, 0); err != nil {
		t.Fatal(err)
	}
	k3, proof3 := key(3, a)
	cached, _ := f.ctx.CacheContext()
	_, err = f.msg.GrantKey(cached, &types.MsgGrantKey{Account: payer, Key: k3.String(), Proof: proof3, Limit: 5, Expiry: 10})
	wantReason(t, "a third live key of two", err, core.OverQuota)

	_, err = f.msg.RevokeKey(f.ctx, &types.MsgRevokeKey{Account: other, Key: k2.String()})
	wantReason(t, "another's key revoked", err, core.NotOwner)
	_, err = f.msg.RevokeKey(f.ctx, &types.MsgRevokeKey{Account: payer, Key: k3.String()})
	wantReason(t, "an unknown key revoked", err, core.UnknownKey)
	if _, err := f.msg.RevokeKey(f.ctx, &types.MsgRevokeKey{Account: payer, Key: k2.String()}); err != nil {
		t.Fatal(err)
	}
	_, err = f.msg.RevokeKey(f.ctx, &types.MsgRevokeKey{Account: payer, Key: k2.String()})
	wantReason(t, "a key revoked twice, which no view knows", err, core.UnknownKey)
	if err := grant(payer, k3, proof3, 5, 10, 0); err != nil { // the revoked one made room
		t.Error(err)
	}
	if _, err := f.msg.BuyCredits(f.ctx, &types.MsgBuyCredits{Buyer: whaleAccount(t, f), Amount: coin(1_000_000)}); err != nil {
		t.Fatal(err)
	}
	order, err := f.keeper.Changes(f.ctx, 2, 0)
	if err != nil || len(order) != 2 || order[0].Holder == nil || order[1].Grant == nil {
		t.Errorf("accounts do not come before keys: %v, %v", order, err)
	}
}

func whaleAccount(t *testing.T, f *fixture) string {
	t.Helper()
	s, err := f.bank.Addresses.BytesToString(whale)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFixedPriceStays: governance may change what is left, never the price that genesis fixed.
func TestFixedPriceStays(t *testing.T) {
	f := setup(t, nil)
	p := types.DefaultParams()
	p.MinOpening = 1
	if _, err := f.msg.UpdateParams(f.ctx, &types.MsgUpdateParams{Authority: f.bank.Authority, Params: p}); err != nil {
		t.Error(err)
	}
	p.FixedPrice++
	_, err := f.msg.UpdateParams(f.ctx, &types.MsgUpdateParams{Authority: f.bank.Authority, Params: p})
	wantReason(t, "another fixed price", err, core.ParamBound)
	p = types.DefaultParams()
	p.MaxKeys = 0
	_, err = f.msg.UpdateParams(f.ctx, &types.MsgUpdateParams{Authority: f.bank.Authority, Params: p})
	wantReason(t, "no keys at all", err, core.ParamBound)
	if _, err := f.msg.UpdateParams(f.ctx, &types.MsgUpdateParams{Authority: whaleAccount(t, f), Params: types.DefaultParams()}); err == nil {
		t.Error("anybody may change parameters")
	}
}

// TestCrash settles more than the vault holds: everybody gets the same fraction, the mint stays within the
// allowance, and the rest stays owed (economics.md 3.10, Crash, on the chain's own coins).
func TestCrash(t *testing.T) {
	f := setup(t, func(p *types.Params) { p.FixedPrice = 5_020_000 })
	_, buyer := f.account(t, 1, 100_000_000)
	if _, err := f.msg.BuyCredits(f.ctx, &types.MsgBuyCredits{Buyer: buyer, Amount: coin(100_000_000)}); err != nil {
		t.Fatal(err)
	}
	g, err := f.keeper.ExportGenesis(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	v := g.Vault
	v.Bought = 300_000_000 // as if sold while STONE was dear
	if err := f.keeper.Vault.Set(f.ctx, v); err != nil {
		t.Fatal(err)
	}
	before := f.keeper.Supply(f.ctx)
	split, err := f.keeper.Settle(f.ctx, 1, 150_000_006, []econ.Paid{{Category: core.Wireless, Amount: 150_000_006}})
	if err != nil {
		t.Fatal(err)
	}
	if split.Settled >= 150_000_006 || split.Mint == 0 || split.Burn != 0 || split.Bonus != 0 {
		t.Errorf("split %+v", split)
	}
	if got := f.keeper.Supply(f.ctx) - before; got != split.Mint {
		t.Errorf("supply grew by %d, mint says %d", got, split.Mint)
	}
	if got := f.bank.Balance(f.ctx, authtypes.NewModuleAddress(escrow)); got != uint64(split.Suppliers+split.Verifiers+split.Treasury) {
		t.Errorf("the escrow holds %d of %+v", got, split)
	}
}
