package local

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	cmttypes "github.com/cometbft/cometbft/types"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	"github.com/cosmos/cosmos-sdk/x/genutil"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cairn-network/cairn/core/types"
)

// Joining describes a node that joins a running chain by a snapshot of its state, instead of by all of its blocks.
type Joining struct {
	Home      string    // without a chain; created where missing
	Name      string    // as peers see it; default "node"
	Addresses Addresses // where it listens; default: free ports of this machine
	// RPC are running nodes (http://host:port), at least one. What they say is checked from the trusted block
	// on, so none is believed; two of different people find out more.
	RPC []string
	// Peers are nodes to take snapshot and blocks from, ID@host:port; default: those behind RPC, as they name
	// themselves.
	Peers []string
	// Height and Hash name a block that is trusted, younger than Trust and below the snapshot: whoever gives it
	// vouches for the chain.
	Height uint64
	Hash   types.Hash
	// Genesis is SHA-256 of the genesis document as a node's genesis_chunked gives it, chunk behind chunk; zero
	// for any.
	Genesis   types.Hash
	Trust     time.Duration // default a week; less than stake is bound for
	BlockTime time.Duration // default 5 s
	// Configure changes the configuration before it is written; nil: nothing.
	Configure func(*cmtcfg.Config, *serverconfig.Config)
}

const (
	joinTimeout      = 20 * time.Second // for what one node is asked
	weekOfTrust      = 7 * 24 * time.Hour
	maxGenesisChunks = 16 // of 16 MiB
)

// Join makes the home of such a node: keys, the chain's genesis, and a configuration by which the first Start
// fetches the newest snapshot. Later starts go on from what is in the home. The home's addresses and node id
// are returned.
//
// A snapshot is taken each state-sync.snapshot-interval blocks (app.toml of the running nodes): a chain that
// has none yet cannot be joined so.
func Join(ctx context.Context, j Joining) (v Validator, err error) {
	if len(j.RPC) == 0 || j.Height == 0 || j.Hash.IsZero() {
		return v, errors.New("local: join: a running node and a block that is trusted are needed")
	}
	if j.Trust == 0 {
		j.Trust = weekOfTrust
	}
	if j.BlockTime == 0 {
		j.BlockTime = 5 * time.Second
	}
	v = Validator{Home: j.Home, Name: j.Name, Addresses: j.Addresses}
	if v.Name == "" {
		v.Name = "node"
	}
	if err := v.Addresses.fill(map[int]bool{}); err != nil {
		return v, err
	}
	if err := Writable(v.Home); err != nil {
		return v, err
	}
	comet, server := configs(v, j.BlockTime)
	if _, err := os.Stat(comet.GenesisFile()); err == nil {
		return v, fmt.Errorf("local: %w: %s already holds a chain", ErrHome, v.Home)
	}
	var doc *genutiltypes.AppGenesis
	var peers []string
	var failed []error
	for _, address := range j.RPC {
		genesis, peer, err := ask(ctx, address, j)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if doc != nil && doc.ChainID != genesis.ChainID {
			return v, fmt.Errorf("local: join: %s is a node of %s, another of %s", address, genesis.ChainID, doc.ChainID)
		}
		doc, peers = genesis, append(peers, peer)
	}
	if doc == nil {
		return v, fmt.Errorf("local: join: %w", errors.Join(failed...))
	}
	if len(j.Peers) == 0 {
		j.Peers = peers
	}
	comet.P2P.PersistentPeers = strings.Join(j.Peers, ",")
	comet.StateSync.Enable = true
	comet.StateSync.RPCServers = j.RPC
	if len(j.RPC) == 1 { // CometBFT wants a second one to compare with
		comet.StateSync.RPCServers = []string{j.RPC[0], j.RPC[0]}
	}
	comet.StateSync.TrustHeight, comet.StateSync.TrustHash = int64(j.Height), j.Hash.String()
	comet.StateSync.TrustPeriod = j.Trust
	comet.StateSync.DiscoveryTime = 5 * time.Second // the least
	if v.NodeID, v.PubKey, err = genutil.InitializeNodeValidatorFiles(comet); err != nil {
		return v, fmt.Errorf("local: make consensus keys in %s: %w", v.Home, err)
	}
	if j.Configure != nil {
		j.Configure(comet, server)
	}
	cmtcfg.WriteConfigFile(filepath.Join(v.Home, "config", "config.toml"), comet)
	serverconfig.WriteConfigFile(filepath.Join(v.Home, "config", "app.toml"), server)
	if err := writeClientConfig(v, doc.ChainID); err != nil {
		return v, err
	}
	if err := doc.SaveAs(comet.GenesisFile()); err != nil { // last: a home with a genesis is whole
		return v, fmt.Errorf("local: write genesis of %s: %w", v.Name, err)
	}
	return v, nil
}

// ask has a running node say its genesis and how its peers reach it. A node that does not have the trusted
// block, or another one, is refused now: the first Start would try it for long.
func ask(ctx context.Context, address string, j Joining) (*genutiltypes.AppGenesis, string, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	fail := func(what string, err error) (*genutiltypes.AppGenesis, string, error) {
		return nil, "", fmt.Errorf("%s: %s: %w", address, what, err)
	}
	at, err := url.Parse(address)
	if err != nil {
		return fail("read the address", err)
	}
	c, err := rpchttp.New(address, "/websocket")
	if err != nil {
		return fail("reach the node", err)
	}
	height := int64(j.Height)
	block, err := c.Commit(ctx, &height)
	if err != nil {
		return fail(fmt.Sprintf("ask for the trusted block %d", height), err)
	}
	if got := types.Hash(block.Hash()); got != j.Hash {
		return fail(fmt.Sprintf("its block %d is %s", height, got), errors.New("not the trusted one"))
	}
	status, err := c.Status(ctx)
	if err != nil {
		return fail("ask where it stands", err)
	}
	listen, err := url.Parse(status.NodeInfo.ListenAddr)
	if err != nil || listen.Port() == "" {
		return fail("it names no port for peers", fmt.Errorf("%q", status.NodeInfo.ListenAddr))
	}
	var raw []byte
	for i, n := uint(0), uint(1); i < n; i++ {
		chunk, err := c.GenesisChunked(ctx, i)
		if err != nil {
			return fail("ask for the genesis", err)
		}
		part, err := base64.StdEncoding.DecodeString(chunk.Data)
		if err != nil {
			return fail("read the genesis", err)
		}
		if n = uint(chunk.TotalChunks); n > maxGenesisChunks {
			return fail("read the genesis", fmt.Errorf("%d chunks", n))
		}
		raw = append(raw, part...)
	}
	if got := types.Sum(raw); !j.Genesis.IsZero() && got != j.Genesis {
		return fail("its genesis is another", types.Refuse(types.WrongChain, "%v, where %v is wanted", got, j.Genesis))
	}
	comet, err := cmttypes.GenesisDocFromJSON(raw)
	if err != nil {
		return fail("read the genesis", err)
	}
	if comet.ChainID != block.ChainID {
		return fail("its genesis is of another chain", errors.New(comet.ChainID))
	}
	doc := genutiltypes.NewAppGenesisWithVersion(comet.ChainID, comet.AppState)
	doc.GenesisTime, doc.InitialHeight = comet.GenesisTime, comet.InitialHeight
	doc.Consensus = genutiltypes.NewConsensusGenesis(comet.ConsensusParams.ToProto(), comet.Validators)
	return doc, string(status.NodeInfo.ID()) + "@" + net.JoinHostPort(at.Hostname(), listen.Port()), nil
}
