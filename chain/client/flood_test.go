package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cosmos/cosmos-sdk/client/tx"
	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"cosmossdk.io/math"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// Limits of the mempool in TestFlood, and how much of it is the lane's.
const (
	floodSize = 200
	floodFree = floodSize - floodSize/4
)

// flood is an attacker with accounts enough to fill every mempool. Each of its transactions wants three
// quarters of a block, so that they wait for long.
type flood struct {
	t        testing.TB
	c        *chain
	l        *client.Client
	names    []string
	accounts []types.Account
	numbers  []uint64
	next     []uint64
	fees     string // of each transaction
}

func newFlood(t testing.TB, c *chain, l *client.Client, accounts int) *flood {
	t.Helper()
	f := &flood{t: t, c: c, l: l, fees: "2000000ustone"}
	var list []sdk.Msg
	from := sdk.AccAddress(c.accounts[0][:]).String()
	for i := range accounts {
		name := "flood-" + string(rune('a'+i))
		r, _, err := c.keys.NewMnemonic(name, keyring.English, sdk.GetConfig().GetFullBIP44Path(), "", hd.Secp256k1)
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.GetAddress()
		if err != nil {
			t.Fatal(err)
		}
		f.names, f.accounts = append(f.names, name), append(f.accounts, types.Account(a))
		coins := sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 1_000_000*stone))
		list = append(list, &banktypes.MsgSend{FromAddress: from, ToAddress: a.String(), Amount: coins})
	}
	if _, err := l.SubmitMsgs(t.Context(), c.accounts[0], list...); err != nil {
		t.Fatal(err)
	}
	for _, a := range f.accounts {
		info, err := authtypes.NewQueryClient(l.Context()).AccountInfo(t.Context(), &authtypes.QueryAccountInfoRequest{Address: a.String()})
		if err != nil {
			t.Fatal(err)
		}
		f.numbers, f.next = append(f.numbers, info.Info.AccountNumber), append(f.next, info.Info.Sequence)
	}
	return f
}

// one sends the next transaction of an account, and returns why it was refused.
func (f *flood) one(i int) string {
	f.t.Helper()
	enc := app.NewEncoding()
	const gas = app.MaxBlockGas / 4 * 3
	factory := tx.Factory{}.WithChainID(chainID).WithKeybase(f.c.keys).WithTxConfig(enc.TxConfig).WithGas(gas).WithFees(f.fees).
		WithAccountNumber(f.numbers[i]).WithSequence(f.next[i])
	to := sdk.AccAddress(f.accounts[i][:]).String()
	b, err := factory.BuildUnsignedTx(&banktypes.MsgSend{FromAddress: to, ToAddress: to, Amount: sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 1))})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := tx.Sign(f.t.Context(), factory, f.names[i], b, true); err != nil {
		f.t.Fatal(err)
	}
	raw, err := enc.TxConfig.TxEncoder()(b.GetTx())
	if err != nil {
		f.t.Fatal(err)
	}
	res, err := f.l.Context().Client.BroadcastTxSync(f.t.Context(), raw)
	switch {
	case err != nil:
		return err.Error()
	case res.Code != 0:
		return res.Log
	}
	f.next[i]++
	return ""
}

// fill sends of all accounts until each is refused, and returns how many were taken and why the last was not.
func (f *flood) fill() (taken int, why string) {
	for i := range f.accounts {
		for {
			if refused := f.one(i); refused != "" {
				why = refused
				break
			}
			taken++
		}
	}
	return taken, why
}

// TestFlood: with every mempool as full as strangers can make it, at the node where they are handed in and at
// the others, what verifiers need comes into a block at once: a commit, an appeal of anybody, votes, and a
// request to leave jail.
func TestFlood(t *testing.T) {
	c := madeWith(t, 2, 40, func(comet *cmtcfg.Config, _ *serverconfig.Config) {
		comet.Mempool.Size = floodSize
	}).run(t)
	if err := c.nodes[1].WaitHeight(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	var retries atomic.Int64
	at, err := client.New(t.Context(), client.Config{RPC: c.nodes[1].Client().Client, Keyring: c.keys, Log: slog.New(counter{&retries})})
	if err != nil {
		t.Fatal(err)
	}
	jail(t, c, at)
	f := newFlood(t, c, at, 6)

	books := ledgertest.NewBooks()
	c.advance(t, 40)
	taken, why := f.fill()
	t.Logf("%d transactions were taken; then: %s", taken, why)
	if n := c.nodes[1].Comet().Mempool().Size(); taken < floodFree || n > floodFree || !strings.HasSuffix(why, string(types.MempoolFull)) {
		t.Errorf("%d transactions wait, %d were taken, %s", n, taken, why)
	}
	soon := func(what string, send func() (*ledger.Receipt, error)) {
		t.Helper()
		f.fill()
		before := c.nodes[1].Height()
		retries.Store(0)
		r, err := send()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if late := int64(r.Height) - before; late > 20 {
			t.Errorf("%s: in a block %d blocks later", what, late)
		}
		if n := retries.Load(); n > 0 {
			t.Errorf("%s: taken by the mempool after %d refusals", what, n)
		}
		if n := c.nodes[1].Comet().Mempool().Size(); n < floodFree/2 {
			t.Errorf("%s: only %d transactions wait: this is no flood", what, n)
		}
	}
	ep, err := at.Epoch(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	head, err := at.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := ep.Cut + ((head.Height-ep.Cut)/ep.Round+1)*ep.Round
	if err := c.nodes[1].WaitHeight(t.Context(), int64(start)); err != nil { // a whole round is left
		t.Fatal(err)
	}
	round, ok := ep.RoundAt(start + 1)
	if !ok {
		t.Fatalf("no round in block %d", start+1)
	}
	h, commit := c.signed(t, books, ep, round)
	submit := func(what string, from types.Account, m ledger.Msg) {
		t.Helper()
		soon(what, func() (*ledger.Receipt, error) { return at.Submit(t.Context(), from, m) })
	}
	submit("commit", c.verifiers[0].Owner, commit)
	submit("appeal", c.accounts[2], ledger.Appeal{Epoch: 1})
	for _, v := range c.verifiers {
		before, err := at.Account(t.Context(), v.Owner)
		if err != nil {
			t.Fatal(err)
		}
		sig := v.Key.Sign("vote", chainID, evidence.VoteBytes(h.Hash(), true))
		submit("vote", v.Owner, ledger.Vote{Epoch: 1, Yes: true, Key: v.Key.Public(), Sig: sig})
		if after, err := at.Account(t.Context(), v.Owner); err != nil || after.Balance != before.Balance {
			t.Errorf("a verifier had %d, voted, and has %d: %v", before.Balance, after.Balance, err)
		}
	}
	soon("unjail", func() (*ledger.Receipt, error) {
		return at.SubmitMsgs(t.Context(), c.accounts[1], &slashingtypes.MsgUnjail{ValidatorAddr: sdk.ValAddress(c.accounts[1][:]).String()})
	})

	// Whoever is none of these waits with all others.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := at.Submit(ctx, c.accounts[0], ledger.Send{To: types.Account{1}, Amount: 1}); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, types.MempoolFull) {
		t.Errorf("a stranger's transaction: %v", err)
	}
}

// TestFees: no message is free but a verifier's. A client finds out what a node asks for, within reason, and pays it.
func TestFees(t *testing.T) {
	ask := app.GasPrice(app.MinGasPrice)
	c := madeWith(t, 1, 100, func(_ *cmtcfg.Config, server *serverconfig.Config) { server.MinGasPrices = ask }).run(t)
	l := c.open(t, c.nodes[0].Client().Client)
	if p, err := l.GasPrice(t.Context()); err != nil || p != app.MinGasPrice {
		t.Errorf("the price is %d, %v", p, err)
	}
	to := types.Account{7}
	before, err := l.Account(t.Context(), c.accounts[1])
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Submit(t.Context(), c.accounts[1], ledger.Send{To: to, Amount: 3})
	if err != nil {
		t.Fatal(err)
	}
	after, err := l.Account(t.Context(), c.accounts[1])
	least := types.Ustone(r.Gas * app.MinGasPrice / 1_000_000)
	if paid := before.Balance - after.Balance - 3; err != nil || paid < least || paid > 2*least {
		t.Errorf("paid %d for %d gas: %v", paid, r.Gas, err)
	}
	f := newFlood(t, c, l, 1)
	for _, fees := range []string{"", "1ustone", "1124999ustone"} {
		if f.fees = fees; !strings.Contains(f.one(0), "insufficient fee") {
			t.Errorf("a transaction for %q", fees)
		}
	}
	f.fees = "1125000ustone"
	if why := f.one(0); why != "" {
		t.Errorf("a transaction for the least: %s", why)
	}
	// A stranger may hand in what is a verifier's, and pays for it.
	stranger := ledger.Vote{Epoch: 1, Yes: true, Key: c.verifiers[0].Key.Public()}
	if _, err := l.Submit(t.Context(), c.accounts[2], stranger); !errors.Is(err, types.AppealClosed) {
		t.Errorf("a vote on nothing: %v", err)
	}
}

// TestGreedyNode: a client does not pay whatever a node asks for.
func TestGreedyNode(t *testing.T) {
	c := madeWith(t, 1, 100, func(_ *cmtcfg.Config, server *serverconfig.Config) { server.MinGasPrices = "1000ustone" }).run(t)
	l := c.open(t, c.nodes[0].Client().Client)
	if _, err := l.Submit(t.Context(), c.accounts[1], ledger.Send{To: types.Account{7}, Amount: 3}); !errors.Is(err, types.FeeLow) {
		t.Errorf("a thousand ustone for each gas: %v", err)
	}
}

// TestWalletPrices: wallets learn what the node takes, and more for those in a hurry.
func TestWalletPrices(t *testing.T) {
	for price, want := range map[types.Ustone]string{0: `0.005 0.01 0.025`, 100: `0.0001 0.0002 0.0005`, 3_000_000: `3 6 15`} {
		var info struct {
			FeeCurrencies []struct {
				GasPriceStep struct{ Low, Average, High json.Number }
			}
		}
		if err := json.Unmarshal(client.KeplrChainInfo(client.Endpoints{GasPrice: price}), &info); err != nil {
			t.Fatal(err)
		}
		s := info.FeeCurrencies[0].GasPriceStep
		if got := fmt.Sprint(s.Low, " ", s.Average, " ", s.High); got != want {
			t.Errorf("at %d: %s, want %s", price, got, want)
		}
	}
}

// counter counts the lines of a log.
type counter struct{ n *atomic.Int64 }

func (counter) Enabled(context.Context, slog.Level) bool    { return true }
func (c counter) Handle(context.Context, slog.Record) error { c.n.Add(1); return nil }
func (c counter) WithAttrs([]slog.Attr) slog.Handler        { return c }
func (c counter) WithGroup(string) slog.Handler             { return c }

// jail makes a validator of account 1, and puts it into a jail that it may leave at once.
func jail(t *testing.T, c *chain, l *client.Client) {
	t.Helper()
	operator := sdk.ValAddress(c.accounts[1][:])
	self := sdk.NewInt64Coin(app.Denom, 3*stone)
	part := sdk.NewInt64Coin(app.Denom, 2*stone)
	tenth := math.LegacyNewDecWithPrec(1, 1)
	make, err := stakingtypes.NewMsgCreateValidator(operator.String(), ed25519.GenPrivKey().PubKey(), self,
		stakingtypes.NewDescription("jailed", "", "", "", ""), stakingtypes.NewCommissionRates(tenth, tenth, tenth), math.NewInt(2*stone))
	if err != nil {
		t.Fatal(err)
	}
	account := sdk.AccAddress(operator).String()
	for _, m := range []sdk.Msg{
		make,
		stakingtypes.NewMsgUndelegate(account, operator.String(), part),
		stakingtypes.NewMsgDelegate(account, operator.String(), part),
	} {
		if _, err := l.SubmitMsgs(t.Context(), c.accounts[1], m); err != nil {
			t.Fatal(err)
		}
	}
}
