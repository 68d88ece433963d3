package local

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/client/tx"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	servertypes "github.com/cosmos/cosmos-sdk/server/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/refusal"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	devicetypes "github.com/cairn-network/cairn/chain/x/device/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger/ledgertest"

	"cosmossdk.io/log/v2"
	"cosmossdk.io/math"
	"github.com/spf13/viper"
)

const (
	testChain = "cairn-test"
	munich    = types.Cell(0x891f8d7a49bffff)
)

// send signs msgs as the validator and waits until they are in a block.
func send(t *testing.T, n *Node, v Validator, msgs ...sdk.Msg) *sdk.TxResponse {
	t.Helper()
	ctx, hash := n.Client(), broadcast(t, n, v, msgs...)
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		got, err := txtypes.NewServiceClient(ctx).GetTx(t.Context(), &txtypes.GetTxRequest{Hash: hash})
		if err == nil {
			return got.TxResponse
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("transaction %s is in no block", hash)
	return nil
}

// broadcast signs msgs as the validator, and returns the hash of the transaction.
func broadcast(t *testing.T, n *Node, v Validator, msgs ...sdk.Msg) string {
	t.Helper()
	ctx := n.Client()
	kb, err := Keyring(v.Home, ctx.Codec)
	if err != nil {
		t.Fatal(err)
	}
	number, sequence, err := ctx.AccountRetriever.GetAccountNumberSequence(ctx, v.Account)
	if err != nil {
		t.Fatal(err)
	}
	f := tx.Factory{}.WithChainID(testChain).WithKeybase(kb).WithTxConfig(ctx.TxConfig).WithGas(5_000_000).WithGasPrices(app.GasPrice(app.MinGasPrice)).
		WithAccountNumber(number).WithSequence(sequence)
	b, err := f.BuildUnsignedTx(msgs...)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Sign(t.Context(), f, KeyName, b, true); err != nil {
		t.Fatal(err)
	}
	raw, err := ctx.TxConfig.TxEncoder()(b.GetTx())
	if err != nil {
		t.Fatal(err)
	}
	res, err := ctx.BroadcastTx(raw)
	if err != nil || res.Code != 0 {
		t.Fatalf("broadcast: %v, %v", res, err)
	}
	return res.TxHash
}

// customer does what a customer and an operator do first: buy credits, grant a key, register a device.
func customer(t *testing.T, n *Node, v Validator) {
	t.Helper()
	account := types.Account(v.Account)
	session, device := types.NewPrivateKey([32]byte{1}), types.NewPrivateKey([32]byte{2})
	proof := session.Sign("grant", testChain, evidence.GrantBytes(account))
	statement := evidence.Statement{
		Chain: testChain, Device: device.Public(), Owner: account, Categories: []types.Category{types.Storage}, Cell: munich, Expiry: 1000,
	}
	stone := func(n int64) sdk.Coin { return sdk.NewInt64Coin(app.Denom, n*1_000_000) }
	res := send(t, n, v,
		&credittypes.MsgBuyCredits{Buyer: v.Account.String(), Amount: stone(100)},
		&credittypes.MsgGrantKey{Account: v.Account.String(), Key: session.Public().String(), Limit: 1_000_000, Expiry: 100, Proof: proof[:]},
		&devicetypes.MsgRegisterDevice{Owner: v.Account.String(), Statement: statement.Sign(device).Encode(), Bond: stone(5)})
	if res.Code != 0 {
		t.Fatalf("refused: %s", res.RawLog)
	}
	refused := send(t, n, v, &credittypes.MsgBuyCredits{Buyer: v.Account.String(), Amount: stone(1), MinCredits: 1e12})
	if refused.Codespace != refusal.Codespace || refused.Code != refusal.Code(types.Slippage) || refusal.Parse(refused.RawLog) != types.Slippage {
		t.Errorf("a purchase below its least: %s %d %q", refused.Codespace, refused.Code, refused.RawLog)
	}
}

// TestExportImport exports a chain in use and starts a new one from it: accounts, credits, keys, devices and
// the ledger of supply are the same there, and it goes on from the next height.
func TestExportImport(t *testing.T) {
	v, n := startRich(t, nil)
	customer(t, n, v)
	height := n.App().LastBlockHeight() + 1
	reach(t, n, height)
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	exported := export(t, v.Home)

	next := initHomes(t, 1)[0]
	doc, err := genutiltypes.AppGenesisFromFile(filepath.Join(v.Home, "config", "genesis.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc.AppState, doc.InitialHeight, doc.Consensus.Validators = exported.AppState, exported.Height, exported.Validators
	if err := doc.SaveAs(filepath.Join(next.Home, "config", "genesis.json")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"priv_validator_key.json", "node_key.json"} {
		copyFile(t, filepath.Join(v.Home, "config", key), filepath.Join(next.Home, "config", key))
	}
	m := start(t, next.Home)
	reach(t, m, exported.Height+2)
	q := credittypes.NewQueryClient(m.Client())
	account, err := q.Account(t.Context(), &credittypes.QueryAccountRequest{Account: v.Account.String()})
	if err != nil || account.Bought != 49_875_000 || account.LiveKeys != 1 {
		t.Errorf("account after import: %v, %v", account, err)
	}
	devices, err := devicetypes.NewQueryClient(m.Client()).Devices(t.Context(), &devicetypes.QueryDevicesRequest{})
	if err != nil || len(devices.Devices) != 1 || devices.Devices[0].Bond != 5_000_000 {
		t.Errorf("devices after import: %v, %v", devices, err)
	}
	supply, err := q.Supply(t.Context(), &credittypes.QuerySupplyRequest{})
	if err != nil || supply.Genesis != 1_001_000_000_000 || supply.Genesis+supply.Minted-supply.Burned != supply.Supply || supply.Burned != 10_000_000 {
		t.Errorf("supply after import: %v, %v", supply, err)
	}
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	// What the second chain exports differs only in what blocks change: compare this chain's own modules.
	var before, after map[string]json.RawMessage
	if err := json.Unmarshal(exported.AppState, &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(export(t, next.Home).AppState, &after); err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"credit", "device"} {
		if string(before[module]) != string(after[module]) {
			t.Errorf("%s changed through export and import:\n%s\n%s", module, before[module], after[module])
		}
	}
}

// TestSnapshot has a second node join from a snapshot of the first instead of replaying its blocks.
func TestSnapshot(t *testing.T) {
	v, n := startRich(t, func(_ *cmtcfg.Config, s *serverconfig.Config) {
		s.StateSync.SnapshotInterval, s.StateSync.SnapshotKeepRecent = 10, 1000
	})
	customer(t, n, v)
	reach(t, n, 24)
	trusted, err := n.Client().Client.Commit(t.Context(), ptr(int64(5)))
	if err != nil {
		t.Fatal(err)
	}
	joining := initHomes(t, 1)[0]
	copyFile(t, filepath.Join(v.Home, "config", "genesis.json"), filepath.Join(joining.Home, "config", "genesis.json"))
	m, err := Start(t.Context(), Config{Home: joining.Home, Configure: func(c *cmtcfg.Config, _ *serverconfig.Config) {
		c.P2P.PersistentPeers = n.ID() + "@" + n.Addresses().P2P
		c.StateSync.Enable = true
		c.StateSync.RPCServers = []string{"http://" + n.Addresses().RPC, "http://" + n.Addresses().RPC}
		c.StateSync.TrustHeight, c.StateSync.TrustHash = 5, trusted.Commit.BlockID.Hash.String()
		c.StateSync.DiscoveryTime = 5 * time.Second // the least
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop() })
	reach(t, m, 26)
	reach(t, m, m.App().LastBlockHeight()+3) // it goes on with blocks
	if base := m.Comet().BlockStore().Base(); base < 10 {
		t.Errorf("the joining node has blocks from %d: it replayed instead", base)
	}
	devices, err := devicetypes.NewQueryClient(m.Client()).Devices(t.Context(), &devicetypes.QueryDevicesRequest{})
	if err != nil || len(devices.Devices) != 1 {
		t.Errorf("devices at the joining node: %v, %v", devices, err)
	}
	// It has no old blocks, and knows their hashes all the same: a verifier can compute tallies by it.
	blocks, err := tallytypes.NewQueryClient(m.Client()).Blocks(t.Context(), &tallytypes.QueryBlocksRequest{From: 1, Limit: 9})
	if err != nil || len(blocks.Hashes) != 9 || blocks.Hashes[4] != strings.ToLower(trusted.Commit.BlockID.Hash.String()) {
		t.Errorf("hashes of blocks at the joining node: %v, %v", blocks, err)
	}
}

// startRich starts a validator that has STONE to spend.
func startRich(t *testing.T, configure func(*cmtcfg.Config, *serverconfig.Config)) (Validator, *Node) {
	t.Helper()
	list, err := Init(Genesis{
		Categories: ledgertest.Economy().Category,
		ChainID:    testChain, Homes: []string{t.TempDir()}, BlockTime: 50 * time.Millisecond,
		Stake: math.NewInt(1_000_000_000), Balance: math.NewInt(1_000_000_000_000), // half a percent may be bought in a day
		Configure: func(_ int, c *cmtcfg.Config, s *serverconfig.Config) {
			if configure != nil {
				configure(c, s)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, list[0].Home)
	reach(t, n, 2)
	return list[0], n
}

// export reads the last state of a home in which no node runs.
func export(t *testing.T, home string) servertypes.ExportedApp {
	t.Helper()
	db, err := dbm.NewDB("application", dbm.GoLevelDBBackend, filepath.Join(home, "data"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Open(log.NewNopLogger(), db, viper.New(), baseapp.SetChainID(testChain))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	e, err := a.Export(nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }
