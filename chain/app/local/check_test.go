package local

import (
	"testing"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cosmos/cosmos-sdk/client/tx"
	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	sdk "github.com/cosmos/cosmos-sdk/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cairn-network/cairn/chain/app"
)

// TestCheckAfterRestart: between a restart and the next block a transaction is checked as after any block: what
// is answered with code 0 is in the mempool, its gas counted and its signature good, whichever account's it is.
func TestCheckAfterRestart(t *testing.T) {
	v, n := startRich(t, nil)
	kb, err := Keyring(v.Home, n.Client().Codec)
	if err != nil {
		t.Fatal(err)
	}
	record, _, err := kb.NewMnemonic("other", keyring.English, sdk.GetConfig().GetFullBIP44Path(), "", hd.Secp256k1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := record.GetAddress()
	if err != nil {
		t.Fatal(err)
	}
	if res := send(t, n, v, banktypes.NewMsgSend(v.Account, other, sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 50_000_000)))); res.Code != 0 {
		t.Fatal(res.RawLog)
	}
	ctx := n.Client()
	signed := map[string][]byte{}
	for name, from := range map[string]sdk.AccAddress{KeyName: v.Account, "other": other} {
		number, sequence, err := ctx.AccountRetriever.GetAccountNumberSequence(ctx, from)
		if err != nil {
			t.Fatal(err)
		}
		f := tx.Factory{}.WithChainID(testChain).WithKeybase(kb).WithTxConfig(ctx.TxConfig).WithGas(200_000).WithGasPrices(app.GasPrice(app.MinGasPrice)).
			WithAccountNumber(number).WithSequence(sequence)
		b, err := f.BuildUnsignedTx(banktypes.NewMsgSend(from, v.Account, sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 1))))
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Sign(t.Context(), f, name, b, true); err != nil {
			t.Fatal(err)
		}
		if signed[name], err = ctx.TxConfig.TxEncoder()(b.GetTx()); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	m, err := Start(t.Context(), Config{Home: v.Home, Configure: func(c *cmtcfg.Config, _ *serverconfig.Config) {
		c.Consensus.TimeoutCommit = time.Hour // no block comes
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop() })
	at := m.App().LastBlockHeight()
	for name, raw := range signed {
		if res, err := m.Client().BroadcastTx(raw); err != nil || res.Code != 0 {
			t.Errorf("%s: %v, %v", name, res, err)
		}
	}
	if got := m.Comet().Mempool().Size(); got != len(signed) {
		t.Errorf("%d of %d transactions wait", got, len(signed))
	}
	if got := m.App().LastBlockHeight(); got != at {
		t.Fatalf("a block was made: %d, before %d", got, at)
	}
}
