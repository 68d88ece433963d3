package network

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cosmossdk.io/math"
	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	sdk "github.com/cosmos/cosmos-sdk/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"
	"github.com/cosmos/gogoproto/proto"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	rewardtypes "github.com/cairn-network/cairn/chain/x/reward/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/verifier"
)

// Names of the accounts in a home's keyring.
const (
	CustomerName  = "customer"
	communityName = "community"
)

// KeyringDir is where a home's keyring lies.
const KeyringDir = "chain/0"

func ownerName(i int) string { return fmt.Sprintf("owner-%d", i) }

// What accounts of a network on one machine start with, in ustone. The community account holds the rest of the
// genesis supply.
const (
	stoneUnit       = 1_000_000
	validatorStake  = 1_000_000 * stoneUnit
	validatorFunds  = 10_000 * stoneUnit
	customerFunds   = 100_000 * stoneUnit
	ownerFunds      = 1_000 * stoneUnit
	localMinOpening = 1   // micro-credits; a real network asks for 10,000
	localGasPrice   = 100 // ustone for 10⁶ gas; a node asks for 5,000 unless it is told otherwise
)

// format is that of homes that this program makes and goes on with. It counts up when the tallies' state is
// written, or follows from its inputs, in another way.
const format = 5

// layout is what a home was made with.
type layout struct {
	Format     int       `json:"format"`
	ChainID    string    `json:"chain_id"`
	Validators int       `json:"validators"`
	Regions    uint16    `json:"regions"`
	Nodes      int       `json:"nodes"` // may grow
	Homes      int       `json:"homes"` // devices behind each simulator's hardware; may grow
	Bus        string    `json:"bus"`   // host:port, kept so that a restart disturbs nobody
	Created    time.Time `json:"created"`
}

const layoutFile = "layout.json"

// folders are those of a home in which parts of the network keep what they hold.
var folders = []string{"chain", "verifier", "node", "simulated", "bus", "gateway"}

func (n *Network) path(parts ...string) string { return n.cfg.path(parts...) }

func (n *Network) chainHome(i int) string { return n.path("chain", fmt.Sprint(i)) }

// prepare reads the home's layout, or makes the home. A home whose making was cut short is made anew: nothing
// has happened in it.
func (n *Network) prepare() error {
	err := readJSON(n.path(layoutFile), &n.layout)
	if err == nil {
		if n.layout.Format != format {
			return types.Refuse(types.HomeFormat, "network: home %s has format %d, this program goes on with %d", n.cfg.Home, n.layout.Format, format)
		}
		if n.cfg.Validators != 0 && n.cfg.Validators != n.layout.Validators {
			return types.Refuse(types.BadArgument, "network: this home has %d validators, not %d: choose another with --home, or `make clean-network`",
				n.layout.Validators, n.cfg.Validators)
		}
		if n.layout.Regions = max(n.layout.Regions, 1); n.cfg.Regions != 0 && n.cfg.Regions != n.layout.Regions {
			return types.Refuse(types.BadArgument, "network: this home has %d regions, not %d: choose another with --home, or `make clean-network`",
				n.layout.Regions, n.cfg.Regions)
		}
		if err := n.examine(); err != nil {
			return err
		}
		return n.grow()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network: %w", err)
	}
	if _, err := os.Stat(filepath.Join(n.chainHome(0), "data", "blockstore.db")); err == nil { // it ran, so that there was one
		return types.Refuse(types.HomeDamaged, "network: %s is missing, and a chain was here: restore it from a backup, choose another home, or forget this one (`make clean-network`)",
			n.path(layoutFile))
	}
	for _, dir := range folders {
		if err := os.RemoveAll(n.path(dir)); err != nil {
			return types.Refuse(types.HomeUnwritable, "network: %v", err)
		}
	}
	n.layout = layout{Format: format, ChainID: n.cfg.ChainID, Validators: max(n.cfg.Validators, 1), Regions: max(n.cfg.Regions, 1), Nodes: n.cfg.Nodes, Created: time.Now().UTC()}
	if n.layout.Nodes == 0 {
		n.layout.Nodes = defaultNodes
	}
	if n.layout.Homes = max(n.cfg.Homes, 0); n.cfg.Homes == 0 {
		n.layout.Homes = defaultHomes
	}
	if n.layout.ChainID == "" {
		var b [3]byte
		rand.Read(b[:])
		n.layout.ChainID = fmt.Sprintf("cairn-local-%x", b)
	}
	if err := n.genesis(); err != nil {
		return fmt.Errorf("network: make genesis: %w", err)
	}
	return writeJSON(n.path(layoutFile), &n.layout, 0o600)
}

// account makes a key of that name in a keyring, or finds it.
func account(keys keyring.Keyring, name string) (sdk.AccAddress, error) {
	record, err := keys.Key(name)
	if err != nil {
		record, _, err = keys.NewMnemonic(name, keyring.English, sdk.GetConfig().GetFullBIP44Path(), keyring.DefaultBIP39Passphrase, hd.Secp256k1)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return record.GetAddress()
}

// genesis writes the validators' homes, the keyring, and one genesis document.
func (n *Network) genesis() error {
	codec := app.NewEncoding().Codec
	keys, err := local.Keyring(n.path(KeyringDir), codec)
	if err != nil {
		return err
	}
	var accounts []local.Account
	rest := math.NewIntFromUint64(uint64(econ.GenesisSupply)).SubRaw(int64(n.layout.Validators) * (validatorStake + validatorFunds))
	fund := func(name string, amount math.Int) error {
		address, err := account(keys, name)
		accounts = append(accounts, local.Account{Address: address, Amount: amount})
		rest = rest.Sub(amount)
		return err
	}
	if err := fund(CustomerName, math.NewInt(customerFunds)); err != nil {
		return err
	}
	for _, name := range n.owners() {
		if err := fund(name, math.NewInt(ownerFunds)); err != nil {
			return err
		}
	}
	if err := fund(communityName, rest); err != nil {
		return err
	}
	homes := make([]string, n.layout.Validators)
	for i := range homes {
		homes[i] = n.chainHome(i)
		if _, err := verifier.CreateKeys(n.verifierDir(i)); err != nil {
			return err
		}
	}
	_, err = local.Init(local.Genesis{
		Time: n.layout.Created, Categories: service.Genesis(n.cfg.Rules), ChainID: n.layout.ChainID, Homes: homes, Accounts: accounts, BlockTime: n.cfg.BlockTime,
		Stake: math.NewInt(validatorStake), Balance: math.NewInt(validatorFunds), Edit: n.edit,
		Configure: func(_ int, _ *cmtcfg.Config, server *serverconfig.Config) {
			server.MinGasPrices = app.GasPrice(localGasPrice)
		},
	})
	return err
}

// edit sets what differs from a chain across machines: short epochs, a fixed price, small sessions, and the
// verifiers' keys, which count from the first epoch on.
func (n *Network) edit(cdc codec.Codec, state app.State, validators []local.Validator) error {
	err := editState(cdc, state, "credit", new(credittypes.GenesisState), func(g *credittypes.GenesisState) {
		g.Params.MinOpening = localMinOpening
	})
	if err != nil {
		return err
	}
	err = editState(cdc, state, "staking", new(stakingtypes.GenesisState), func(g *stakingtypes.GenesisState) {
		g.Params.UnbondingTime = localUnbonding
	})
	if err != nil {
		return err
	}
	var verifiers []tallytypes.Verifier
	for i, v := range validators {
		keys, err := n.keys(i)
		if err != nil {
			return err
		}
		verifiers = append(verifiers, tallytypes.NewVerifier(n.layout.ChainID, types.Account(v.Account), keys.Attestation, keys.VRF))
	}
	slices.SortFunc(verifiers, func(a, b tallytypes.Verifier) int { return slices.Compare([]byte(a.Key), []byte(b.Key)) })
	rules, err := n.localRules()
	if err != nil {
		return err
	}
	err = editState(cdc, state, "reward", new(rewardtypes.GenesisState), func(g *rewardtypes.GenesisState) {
		for i := range g.Params.Categories {
			k := &g.Params.Categories[i]
			k.Rules = rules[types.Category(k.Category)]
		}
	})
	if err != nil {
		return err
	}
	return editState(cdc, state, "tally", new(tallytypes.GenesisState), func(g *tallytypes.GenesisState) {
		g.Params.EpochBlocks, g.Params.AppealWindow, g.Params.Regions = n.cfg.EpochBlocks, 1, uint32(n.layout.Regions)
		g.Params.VoteBlocks = max(1, n.cfg.EpochBlocks/2)
		g.Verifiers = verifiers
	})
}

// localRules returns the categories' own rules that this network begins with. Rules that their category does
// not take are an error now: on a running chain it would fall back to its defaults.
func (n *Network) localRules() (map[types.Category][]byte, error) {
	rules := map[types.Category][]byte{}
	epoch := time.Duration(n.cfg.EpochBlocks) * n.cfg.BlockTime
	for _, s := range n.cfg.Simulators {
		if s.Rules == nil {
			continue
		}
		raw := s.Rules(uint64(n.layout.Created.Unix()), uint64(epoch.Milliseconds()))
		for _, v := range n.cfg.Rules {
			if v.CheckRules != nil && v.Spec.Category == s.Category {
				if err := v.CheckRules(raw); err != nil {
					return nil, fmt.Errorf("rules of %v: %w", s.Category, err)
				}
			}
		}
		rules[s.Category] = raw
	}
	return rules, nil
}

func editState[T proto.Message](cdc codec.Codec, state app.State, module string, g T, change func(T)) error {
	if err := cdc.UnmarshalJSON(state[module], g); err != nil {
		return fmt.Errorf("genesis of %s: %w", module, err)
	}
	change(g)
	raw, err := cdc.MarshalJSON(g)
	if err != nil {
		return fmt.Errorf("genesis of %s: %w", module, err)
	}
	state[module] = json.RawMessage(raw)
	return nil
}

// keys reads a verifier's keys.
func (n *Network) keys(i int) (verifier.Keys, error) { return verifier.LoadKeys(n.verifierDir(i)) }

func (n *Network) verifierDir(i int) string { return n.path("verifier", fmt.Sprint(i)) }

// owners lists the names of the accounts that own a device each.
func (n *Network) owners() []string {
	var names []string
	for i := range n.layout.Nodes {
		names = append(names, ownerName(i))
	}
	return append(names, n.simulatedOwners(n.layout.Homes)...)
}

// grow takes over that the home has more devices now: their owners get keys, and money when they register.
func (n *Network) grow() error {
	if n.cfg.Nodes <= n.layout.Nodes && n.cfg.Homes <= n.layout.Homes {
		return nil
	}
	n.layout.Nodes, n.layout.Homes = max(n.layout.Nodes, n.cfg.Nodes), max(n.layout.Homes, n.cfg.Homes)
	keys, err := local.Keyring(n.path(KeyringDir), app.NewEncoding().Codec)
	if err != nil {
		return err
	}
	for _, name := range n.owners() {
		if _, err := account(keys, name); err != nil {
			return err
		}
	}
	return writeJSON(n.path(layoutFile), &n.layout, 0o600)
}
