package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cosmos/cosmos-sdk/client/tx"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	cryptotypes "github.com/cosmos/cosmos-sdk/crypto/types"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/cosmos-sdk/x/genutil"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"

	"cosmossdk.io/math"
)

// KeyName is the validator's own account in its home's keyring.
const KeyName = "validator"

// ErrHome says that a home holds no chain, or holds one already where none should be.
var ErrHome = errors.New("home")

// Genesis describes a chain to be made.
type Genesis struct {
	ChainID string
	Time    time.Time // of genesis; zero: now
	Homes   []string  // one validator each; created where missing
	// Names of the validators, as explorers show them; default validator-0, validator-1 …
	Names []string
	// Addresses of the validators' servers, written into their configuration; default: free ports of this machine.
	Addresses []Addresses
	Stake     math.Int // ustone that each validator bonds
	Balance   math.Int // ustone that each validator's account holds beside; nil: none
	Accounts  []Account
	BlockTime time.Duration // zero: 5 s
	// Categories are those that the chain starts with. It takes an upgrade to add one.
	Categories []econ.Category
	// Edit changes the application's state last, before it is checked; nil: nothing.
	Edit func(codec.Codec, app.State, []Validator) error
	// Configure changes a validator's configuration before it is written; nil: nothing.
	Configure func(i int, comet *cmtcfg.Config, server *serverconfig.Config)
}

// Account is one that starts with a balance.
type Account struct {
	Address sdk.AccAddress
	Amount  math.Int // ustone
}

// Validator is one that Init made. Its account's key is in its home's keyring ("test" backend) as KeyName.
type Validator struct {
	Home      string
	Name      string
	NodeID    string
	Addresses Addresses
	Account   sdk.AccAddress
	Operator  sdk.ValAddress
	PubKey    cryptotypes.PubKey // consensus key
	Mnemonic  string             // of the account; shown once, stored nowhere but in the keyring
}

// Addresses are where a node listens, each host:port. An empty one is not served by Start; Init fills in free ports.
type Addresses struct {
	RPC, P2P, GRPC, REST string
}

// Init makes a new chain: keys, configuration and genesis in every home. It refuses a home that holds a genesis
// already.
func Init(g Genesis) ([]Validator, error) {
	if len(g.Homes) == 0 {
		return nil, errors.New("local: a chain needs at least one validator")
	}
	enc := app.NewEncoding()
	if g.Time.IsZero() {
		g.Time = time.Now()
	}
	if g.BlockTime == 0 {
		g.BlockTime = 5 * time.Second
	}
	taken := map[int]bool{}
	var (
		validators []Validator
		comets     []*cmtcfg.Config
		servers    []*serverconfig.Config
		gentxs     []json.RawMessage
	)
	for i := range g.Homes {
		v, comet, server, gentx, err := g.validator(i, enc, taken)
		if err != nil {
			return nil, err
		}
		validators, comets, servers, gentxs = append(validators, v), append(comets, comet), append(servers, server), append(gentxs, gentx)
	}
	doc, err := g.document(enc, validators, gentxs)
	if err != nil {
		return nil, err
	}
	for i, v := range validators {
		comets[i].P2P.PersistentPeers = peers(validators, i)
		if g.Configure != nil {
			g.Configure(i, comets[i], servers[i])
		}
		cmtcfg.WriteConfigFile(filepath.Join(v.Home, "config", "config.toml"), comets[i])
		serverconfig.WriteConfigFile(filepath.Join(v.Home, "config", "app.toml"), servers[i])
		if err := writeClientConfig(v, g.ChainID); err != nil {
			return nil, err
		}
		if err := doc.SaveAs(comets[i].GenesisFile()); err != nil {
			return nil, fmt.Errorf("local: write genesis of %s: %w", v.Name, err)
		}
	}
	return validators, nil
}

// validator makes one home's keys and its transaction that bonds the stake.
func (g Genesis) validator(i int, enc app.Encoding, taken map[int]bool) (v Validator, comet *cmtcfg.Config, server *serverconfig.Config, gentx []byte, err error) {
	v = Validator{Home: g.Homes[i], Name: fmt.Sprintf("validator-%d", i)}
	if i < len(g.Names) {
		v.Name = g.Names[i]
	}
	if i < len(g.Addresses) {
		v.Addresses = g.Addresses[i]
	}
	if err = v.Addresses.fill(taken); err != nil {
		return
	}
	if err = Writable(v.Home); err != nil {
		return
	}
	comet, server = configs(v, g.BlockTime)
	if _, err = os.Stat(comet.GenesisFile()); err == nil {
		err = fmt.Errorf("local: %w: %s already holds a chain", ErrHome, v.Home)
		return
	}
	if v.NodeID, v.PubKey, err = genutil.InitializeNodeValidatorFiles(comet); err != nil {
		err = fmt.Errorf("local: make consensus keys in %s: %w", v.Home, err)
		return
	}
	kb, err := Keyring(v.Home, enc.Codec)
	if err != nil {
		return
	}
	record, mnemonic, err := kb.NewMnemonic(KeyName, keyring.English, sdk.GetConfig().GetFullBIP44Path(), "", hd.Secp256k1)
	if err != nil {
		err = fmt.Errorf("local: make the account of %s: %w", v.Name, err)
		return
	}
	v.Mnemonic = mnemonic
	if v.Account, err = record.GetAddress(); err != nil {
		return
	}
	v.Operator = sdk.ValAddress(v.Account)
	gentx, err = g.bond(v, enc, kb)
	return
}

// bond signs the transaction that makes v a validator at genesis.
func (g Genesis) bond(v Validator, enc app.Encoding, kb keyring.Keyring) ([]byte, error) {
	tenth := math.LegacyNewDecWithPrec(1, 1)
	msg, err := stakingtypes.NewMsgCreateValidator(v.Operator.String(), v.PubKey, sdk.NewCoin(app.Denom, g.Stake),
		stakingtypes.NewDescription(v.Name, "", "", "", ""),
		stakingtypes.NewCommissionRates(tenth, math.LegacyOneDec(), tenth), math.OneInt())
	if err != nil {
		return nil, fmt.Errorf("local: bond %s: %w", v.Name, err)
	}
	b := enc.TxConfig.NewTxBuilder()
	if err := b.SetMsgs(msg); err != nil {
		return nil, fmt.Errorf("local: bond %s: %w", v.Name, err)
	}
	b.SetGasLimit(1_000_000)
	b.SetMemo(v.NodeID + "@" + v.Addresses.P2P)
	f := tx.Factory{}.WithChainID(g.ChainID).WithKeybase(kb).WithTxConfig(enc.TxConfig)
	if err := tx.Sign(context.Background(), f, KeyName, b, true); err != nil {
		return nil, fmt.Errorf("local: sign the bond of %s: %w", v.Name, err)
	}
	return enc.TxConfig.TxJSONEncoder()(b.GetTx())
}

func (g Genesis) document(enc app.Encoding, validators []Validator, gentxs []json.RawMessage) (*genutiltypes.AppGenesis, error) {
	accounts := append([]Account{}, g.Accounts...)
	for _, v := range validators {
		amount := g.Stake
		if !g.Balance.IsNil() {
			amount = amount.Add(g.Balance)
		}
		accounts = append(accounts, Account{v.Account, amount})
	}
	state := app.NewDefaultGenesis(enc.Codec, g.Categories)
	if err := fund(enc.Codec, state, accounts); err != nil {
		return nil, err
	}
	state[genutiltypes.ModuleName] = enc.Codec.MustMarshalJSON(genutiltypes.NewGenesisState(gentxs))
	if g.Edit != nil {
		if err := g.Edit(enc.Codec, state, validators); err != nil {
			return nil, fmt.Errorf("local: edit genesis: %w", err)
		}
	}
	if err := app.Basics().ValidateGenesis(enc.Codec, enc.TxConfig, state); err != nil {
		return nil, fmt.Errorf("local: genesis: %w", err)
	}
	bytes, err := json.MarshalIndent(state, "", " ")
	if err != nil {
		return nil, fmt.Errorf("local: genesis: %w", err)
	}
	doc := genutiltypes.NewAppGenesisWithVersion(g.ChainID, bytes)
	doc.GenesisTime = g.Time.UTC()
	doc.InitialHeight = 1
	doc.Consensus = &genutiltypes.ConsensusGenesis{Params: app.ConsensusParams(unbonding(enc.Codec, state))}
	if err := doc.ValidateAndComplete(); err != nil {
		return nil, fmt.Errorf("local: genesis: %w", err)
	}
	return doc, nil
}

// fund adds accounts with balances to a state.
func fund(cdc codec.Codec, state app.State, accounts []Account) error {
	auth := authtypes.GetGenesisStateFromAppState(cdc, state)
	bank := banktypes.GetGenesisStateFromAppState(cdc, state)
	list, err := authtypes.UnpackAccounts(auth.Accounts)
	if err != nil {
		return fmt.Errorf("local: genesis accounts: %w", err)
	}
	for _, a := range accounts {
		coins := sdk.NewCoins(sdk.NewCoin(app.Denom, a.Amount))
		list = append(list, authtypes.NewBaseAccountWithAddress(a.Address))
		bank.Balances = append(bank.Balances, banktypes.Balance{Address: a.Address.String(), Coins: coins})
		bank.Supply = bank.Supply.Add(coins...)
	}
	if auth.Accounts, err = authtypes.PackAccounts(authtypes.SanitizeGenesisAccounts(list)); err != nil {
		return fmt.Errorf("local: genesis accounts: %w", err)
	}
	bank.Balances = banktypes.SanitizeGenesisBalances(bank.Balances)
	state[authtypes.ModuleName] = cdc.MustMarshalJSON(&auth)
	state[banktypes.ModuleName] = cdc.MustMarshalJSON(bank)
	return nil
}

func unbonding(cdc codec.Codec, state app.State) time.Duration {
	var g stakingtypes.GenesisState
	cdc.MustUnmarshalJSON(state[stakingtypes.ModuleName], &g)
	return g.Params.UnbondingTime
}

func configs(v Validator, blockTime time.Duration) (*cmtcfg.Config, *serverconfig.Config) {
	comet := app.CometConfig(blockTime)
	comet.SetRoot(v.Home)
	comet.Moniker = v.Name
	comet.RPC.ListenAddress = "tcp://" + v.Addresses.RPC
	comet.RPC.PprofListenAddress = ""
	comet.P2P.ListenAddress = "tcp://" + v.Addresses.P2P
	comet.P2P.AddrBookStrict = false // peers share one address
	comet.P2P.AllowDuplicateIP = true
	comet.P2P.PexReactor = false // every peer is named; nothing is written after Stop
	server := app.ServerConfig()
	server.GRPC.Address = v.Addresses.GRPC
	server.API.Address = "tcp://" + v.Addresses.REST
	return comet, server
}

// writeClientConfig has the chain's commands, run in the home, find the chain and the home's own node.
func writeClientConfig(v Validator, chain string) error {
	text := fmt.Sprintf("# What the chain's commands take where no flag says otherwise.\nchain-id = %q\nnode = %q\n", chain, "tcp://"+v.Addresses.RPC)
	if err := os.WriteFile(filepath.Join(v.Home, "config", "client.toml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("local: write client.toml of %s: %w", v.Name, err)
	}
	return nil
}

func peers(validators []Validator, self int) string {
	var list []string
	for i, v := range validators {
		if i != self {
			list = append(list, v.NodeID+"@"+v.Addresses.P2P)
		}
	}
	return strings.Join(list, ",")
}

// Ports given out by fill lie below those that systems use for outgoing connections, one of which could
// otherwise take a port between its choice and its use.
const firstPort, ports = 20_000, 12_000

// fill puts a free port of this machine where no address is given, and none twice.
func (a *Addresses) fill(taken map[int]bool) error {
	for _, p := range []*string{&a.RPC, &a.P2P, &a.GRPC, &a.REST} {
		for tries := 0; *p == ""; tries++ {
			if tries == 1000 {
				return types.Refuse(types.PortInUse, "local: no free port was found")
			}
			port := firstPort + rand.IntN(ports)
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				continue
			}
			l.Close()
			if !taken[port] {
				taken[port] = true
				*p = l.Addr().String()
			}
		}
	}
	return nil
}

// Keyring opens the keyring of a home: unencrypted files that only their owner may read, meant for a network on one
// machine and for tests.
func Keyring(home string, cdc codec.Codec) (keyring.Keyring, error) {
	kb, err := keyring.New(app.Name, keyring.BackendTest, home, nil, cdc)
	if err != nil {
		return nil, fmt.Errorf("local: open the keyring in %s: %w", home, err)
	}
	return kb, nil
}

// Writable makes home and proves that files can be made in it, so that the error is readable: further down,
// parts of the consensus engine panic or exit on an unwritable folder.
func Writable(home string) error {
	if home == "" {
		return types.Refuse(types.HomeUnwritable, "local: no home is given")
	}
	for _, dir := range []string{home, filepath.Join(home, "config"), filepath.Join(home, "data")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return types.Refuse(types.HomeUnwritable, "local: make %s: %v", dir, err)
		}
		f, err := os.CreateTemp(dir, ".writable-*")
		if err != nil {
			return types.Refuse(types.HomeUnwritable, "local: write in %s: %v", dir, err)
		}
		f.Close()
		os.Remove(f.Name())
	}
	return nil
}
