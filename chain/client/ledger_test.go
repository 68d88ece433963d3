package client_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	sdkclient "github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"cosmossdk.io/math"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/chain/app/solo"
	"github.com/cairn-network/cairn/chain/client"
	certificatetypes "github.com/cairn-network/cairn/chain/x/certificate/types"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	rewardtypes "github.com/cairn-network/cairn/chain/x/reward/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger/ledgertest"
	"github.com/cairn-network/cairn/service/energy/customer/certificate/certificatetest"
)

const (
	chainID   = "cairn-ledger-1"
	stone     = 1_000_000
	stake     = 1_000_000 * stone
	blockTime = 60 * time.Millisecond // of real nodes

	expiryDays, lapseEpochs = 1, 12 // of certificates, to see both
)

// chain is a network of validators in this process.
type chain struct {
	nodes      []*local.Node   // if it was started
	keys       keyring.Keyring // of all accounts: the validators' and three more
	verifiers  []ledgertest.Verifier
	accounts   []types.Account
	validators []local.Validator
	regions    int
}

// made returns a chain whose epochs have that many blocks, not started.
func made(t testing.TB, validators int, epoch uint64) *chain {
	t.Helper()
	return madeWith(t, validators, epoch, nil)
}

// madeWith is made with settings of its nodes changed.
func madeWith(t testing.TB, validators int, epoch uint64, configure func(*cmtcfg.Config, *serverconfig.Config)) *chain {
	t.Helper()
	return madeOf(t, validators, 1, epoch, configure)
}

// madeOf is madeWith with regions.
func madeOf(t testing.TB, validators, regions int, epoch uint64, configure func(*cmtcfg.Config, *serverconfig.Config)) *chain {
	t.Helper()
	c := &chain{keys: keyring.NewInMemory(app.NewEncoding().Codec), regions: regions}
	g := local.Genesis{ChainID: chainID, Stake: math.NewInt(stake), Balance: math.NewInt(10_000 * stone), BlockTime: blockTime, Categories: ledgertest.Economy().Category}
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
		if configure != nil {
			configure(comet, server)
		}
	}
	var err error
	if c.validators, err = local.Init(g); err != nil {
		t.Fatal(err)
	}
	return c
}

// testRules are the rules of the category with a bond, and of no other.
var testRules = bytes.Repeat([]byte("rules"), 1000)

// edit sets short epochs, verifiers that count from the first one on, and a category with a bond.
func (c *chain) edit(cdc codec.Codec, s app.State, list []local.Validator, epoch uint64) error {
	var tally tallytypes.GenesisState
	cdc.MustUnmarshalJSON(s[tallytypes.ModuleName], &tally)
	tally.Params.EpochBlocks, tally.Params.AppealWindow, tally.Params.VoteBlocks = epoch, 1, epoch/2
	tally.Params.Regions = uint32(c.regions)
	tally.Params.MaxVotes = 100 // the twin repeats votes for ever
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
			k.Quota, k.Target = 1<<44, "1000000000000000000" // a bond of about 25 STONE
			k.Rules = testRules
		}
	}
	s[rewardtypes.ModuleName] = cdc.MustMarshalJSON(&reward)
	var credit credittypes.GenesisState
	cdc.MustUnmarshalJSON(s[credittypes.ModuleName], &credit)
	credit.Params.MinOpening = 1
	s[credittypes.ModuleName] = cdc.MustMarshalJSON(&credit)
	var certificate certificatetypes.GenesisState
	cdc.MustUnmarshalJSON(s[certificatetypes.ModuleName], &certificate)
	certificate.Params.ExpiryDays, certificate.Params.LapseEpochs = expiryDays, lapseEpochs
	s[certificatetypes.ModuleName] = cdc.MustMarshalJSON(&certificate)
	return nil
}

// TestLedger plays the suites that the twin in memory passes, on blocks made by hand.
func TestLedger(t *testing.T) {
	open := func(t *testing.T, verifiers, regions int) *ledgertest.Network {
		c := madeOf(t, verifiers, regions, 100, nil)
		s := c.solo(t)
		return &ledgertest.Network{
			Ledger: c.open(t, s), Verifiers: c.verifiers, Accounts: c.accounts,
			AdvanceTo: func(t *testing.T, height uint64) {
				if err := s.AdvanceTo(height); err != nil {
					t.Fatal(err)
				}
			},
		}
	}
	ledgertest.Run(t, open)
	certificatetest.Run(t, open)
}

// solo starts the chain without consensus.
func (c *chain) solo(t testing.TB) *solo.Chain {
	t.Helper()
	s, err := solo.New(c.validators[0].Home, 400*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (c *chain) open(t testing.TB, rpc sdkclient.CometRPC) *client.Client {
	t.Helper()
	l, err := client.New(t.Context(), client.Config{RPC: rpc, Keyring: c.keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
