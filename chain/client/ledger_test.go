package client_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"cosmossdk.io/math"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/chain/client"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	rewardtypes "github.com/cairn-network/cairn/chain/x/reward/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

const (
	chainID   = "cairn-ledger-1"
	stone     = 1_000_000
	stake     = 1_000_000 * stone
	blockTime = 60 * time.Millisecond
)

// chain is a network of validators in this process.
type chain struct {
	nodes      []*local.Node
	keys       keyring.Keyring // of all accounts: the validators' and three more
	verifiers  []ledgertest.Verifier
	accounts   []types.Account
	validators []local.Validator
}

// start runs a chain whose epochs have that many blocks.
func start(t testing.TB, validators int, epoch uint64) *chain {
	t.Helper()
	c := &chain{keys: keyring.NewInMemory(app.NewEncoding().Codec)}
	g := local.Genesis{ChainID: chainID, Stake: math.NewInt(stake), Balance: math.NewInt(10_000 * stone), BlockTime: blockTime}
	for range validators {
		g.Homes = append(g.Homes, t.TempDir())
	}
	for i := range 3 {
		r, _, err := c.keys.NewMnemonic(fmt.Sprintf("account-%d", i), keyring.English, sdk.GetConfig().GetFullBIP44Path(), "", hd.Secp256k1)
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.GetAddress()
		if err != nil {
			t.Fatal(err)
		}
		c.accounts = append(c.accounts, types.Account(a))
		g.Accounts = append(g.Accounts, local.Account{Address: a, Amount: math.NewInt(100_000_000 * stone)})
	}
	g.Edit = func(cdc codec.Codec, s app.State, list []local.Validator) error { return c.edit(cdc, s, list, epoch) }
	g.Configure = func(_ int, comet *cmtcfg.Config, server *serverconfig.Config) {
		comet.Consensus.SkipTimeoutCommit = true
		comet.P2P.FlushThrottleTimeout = 5 * time.Millisecond
		server.GRPC.Enable, server.API.Enable = false, false
	}
	var err error
	if c.validators, err = local.Init(g); err != nil {
		t.Fatal(err)
	}
	for _, v := range c.validators {
		n, err := local.Start(t.Context(), local.Config{Home: v.Home})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Stop() })
		c.nodes = append(c.nodes, n)
	}
	c.advance(t, 1)
	return c
}

// edit sets short epochs, verifiers that count from the first one on, and a category with a bond.
func (c *chain) edit(cdc codec.Codec, s app.State, list []local.Validator, epoch uint64) error {
	var tally tallytypes.GenesisState
	cdc.MustUnmarshalJSON(s[tallytypes.ModuleName], &tally)
	tally.Params.EpochBlocks, tally.Params.AppealWindow, tally.Params.VoteBlocks = epoch, 1, epoch/2
	for i, v := range list {
		owner := types.Account(v.Account)
		seat := ledgertest.NewVerifier(owner, byte(i))
		c.verifiers = append(c.verifiers, seat)
		tally.Verifiers = append(tally.Verifiers, tallytypes.NewVerifier(chainID, owner, seat.Key, seat.VRF))
		if _, err := c.keys.NewAccount(v.Name, v.Mnemonic, "", sdk.GetConfig().GetFullBIP44Path(), hd.Secp256k1); err != nil {
			return err
		}
	}
	s[tallytypes.ModuleName] = cdc.MustMarshalJSON(&tally)
	var reward rewardtypes.GenesisState
	cdc.MustUnmarshalJSON(s[rewardtypes.ModuleName], &reward)
	for i := range reward.Params.Categories {
		if k := &reward.Params.Categories[i]; k.Category == uint32(ledgertest.Category) {
			k.Quota = 1 << 44 // a bond of about 25 STONE
		}
	}
	s[rewardtypes.ModuleName] = cdc.MustMarshalJSON(&reward)
	var credit credittypes.GenesisState
	cdc.MustUnmarshalJSON(s[credittypes.ModuleName], &credit)
	credit.Params.MinOpening = 1
	s[credittypes.ModuleName] = cdc.MustMarshalJSON(&credit)
	return nil
}

func (c *chain) advance(t testing.TB, height uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := c.nodes[0].WaitHeight(ctx, int64(height)); err != nil {
		t.Fatal(err)
	}
}

func (c *chain) client(t testing.TB) *client.Client {
	t.Helper()
	l, err := client.New(t.Context(), client.Config{RPC: c.nodes[0].Client().Client, Keyring: c.keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestLedger plays the suite that the twin in memory passes on a real chain, in real time.
func TestLedger(t *testing.T) {
	if testing.Short() {
		t.Skip("runs chains for minutes")
	}
	ledgertest.Run(t, func(t *testing.T, verifiers int) *ledgertest.Network {
		c := start(t, verifiers, 80)
		return &ledgertest.Network{
			Ledger: c.client(t), Verifiers: c.verifiers, Accounts: c.accounts,
			AdvanceTo: func(t *testing.T, height uint64) { c.advance(t, height) },
		}
	})
}
