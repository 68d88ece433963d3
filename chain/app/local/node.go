package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/consensus"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cometbft/cometbft/rpc/client/local"
	rpccore "github.com/cometbft/cometbft/rpc/core"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/server"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	cmtlog "github.com/cosmos/cosmos-sdk/server/log"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	"github.com/spf13/viper"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"

	"cosmossdk.io/log/v2"
	sdkslog "cosmossdk.io/log/v2/slog"
)

// Config says which node to start. Everything else comes from config.toml and app.toml in its home.
type Config struct {
	Home   string
	Logger *slog.Logger // nil: silent
	SDK    log.Logger   // in Logger's place, for a caller that has the SDK's
	// Alone says that the process runs no other node: then metrics (CometBFT's and, at /metrics of the REST
	// server, the application's) and profiles are served as configured. Several nodes in one process would
	// collide.
	Alone bool
	// Disk says when the node warns that its disk gets full, in its log, and when it ends because of it.
	Disk disk.Limits
	// Options override app.toml, by the names it uses ("pruning", "state-sync.snapshot-interval" …).
	Options map[string]any
	// Configure changes the configuration that was read, for this run only; nil: nothing.
	Configure func(*cmtcfg.Config, *serverconfig.Config)
}

// Node is a running node. Its methods may be called from any goroutine.
type Node struct {
	app       *app.App
	comet     *node.Node
	client    client.Context
	addresses Addresses
	front     *front // gRPC and REST

	logger    log.Logger
	env       *rpccore.Environment // what CometBFT consists of
	consensus *consensus.State

	dbs      []*database // consensus databases; CometBFT leaves some of them open
	index    *database   // of transactions, one of dbs; nil if there is none
	retained func()      // ends retain; nil before it runs
	stop     sync.Once
	stopErr  error
	stopping atomic.Bool
	failure  atomic.Pointer[error] // what consensus failed with
	done     chan struct{}
	ended    func() // closes done
	unwatch  func() bool
	appClose func() error
}

// Start runs the node whose home cfg names, until Stop or until ctx ends. It returns when all servers listen.
// An address in use is refused with types.PortInUse, a home with types.HomeUnwritable or, while another node
// runs there, types.HomeBusy; a home without a chain gives ErrHome.
func Start(ctx context.Context, cfg Config) (n *Node, err error) {
	if err := Writable(cfg.Home); err != nil {
		return nil, err
	}
	comet, srv, opts, err := read(cfg)
	if err != nil {
		return nil, err
	}
	if err := disk.Least(cfg.Disk.Stop, comet.DBDir()); err != nil {
		return nil, types.Refuse(types.DiskFull, "local: start the node in %s: %v", cfg.Home, err)
	}
	n = &Node{addresses: listening(comet, srv), done: make(chan struct{})}
	n.ended = sync.OnceFunc(func() { close(n.done) })
	if err := n.addresses.free(); err != nil {
		return nil, err
	}
	defer func() { // parts of the engine panic on a damaged home
		if r := recover(); r != nil {
			err = fmt.Errorf("local: start the node in %s: %v", cfg.Home, r)
		}
		if err != nil {
			n.stopping.Store(true)
			n.close()
			n = nil
		}
	}()
	logger := log.Logger(log.NewNopLogger())
	if cfg.Logger != nil {
		logger = sdkslog.NewCustomLogger(cfg.Logger)
	}
	if cfg.SDK != nil {
		logger = cfg.SDK
	}
	n.logger = logger
	if err := n.openApp(logger, opts, srv); err != nil {
		return n, err
	}
	if err := n.openComet(ctx, logger, comet); err != nil {
		return n, err
	}
	n.serveContext(cfg.Home, comet, *srv)
	if n.front, err = serve(n, logger, *srv); err != nil {
		return n, err
	}
	n.unwatch = context.AfterFunc(ctx, func() { n.Stop() })
	retaining, cancel := context.WithCancel(context.Background())
	var tidy sync.WaitGroup
	tidy.Go(func() { n.retain(retaining, n.index, comet.Consensus.WalFile()) })
	n.retained = func() { cancel(); tidy.Wait() }
	go n.watchDisk(cfg.Disk, comet.DBDir())
	return n, nil
}

// read returns the configuration in a home, with what cfg overrides.
func read(cfg Config) (*cmtcfg.Config, *serverconfig.Config, *viper.Viper, error) {
	v := viper.New()
	v.SetConfigType("toml")
	v.SetConfigFile(filepath.Join(cfg.Home, "config", "config.toml"))
	if err := v.ReadInConfig(); err != nil {
		return nil, nil, nil, fmt.Errorf("local: %w: %w", ErrHome, err)
	}
	comet := cmtcfg.DefaultConfig()
	if err := v.Unmarshal(comet); err != nil {
		return nil, nil, nil, fmt.Errorf("local: config.toml of %s: %w", cfg.Home, err)
	}
	comet.SetRoot(cfg.Home)
	opts := viper.New()
	opts.SetConfigFile(filepath.Join(cfg.Home, "config", "app.toml"))
	if err := opts.ReadInConfig(); err != nil {
		return nil, nil, nil, fmt.Errorf("local: %w: %w", ErrHome, err)
	}
	for name, value := range maps.All(cfg.Options) {
		opts.Set(name, value)
	}
	opts.Set(flags.FlagHome, cfg.Home)
	srv, err := serverconfig.GetConfig(opts)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("local: app.toml of %s: %w", cfg.Home, err)
	}
	if cfg.Configure != nil {
		cfg.Configure(comet, &srv)
	}
	if !cfg.Alone {
		comet.Instrumentation.Prometheus = false
		comet.RPC.PprofListenAddress = ""
		srv.Telemetry.Enabled = false
	}
	if err := comet.ValidateBasic(); err != nil {
		return nil, nil, nil, fmt.Errorf("local: config.toml of %s: %w", cfg.Home, err)
	}
	if err := srv.ValidateBasic(); err != nil {
		return nil, nil, nil, fmt.Errorf("local: app.toml of %s: %w", cfg.Home, err)
	}
	return comet, &srv, opts, nil
}

func (n *Node) openApp(logger log.Logger, opts *viper.Viper, srv *serverconfig.Config) error {
	home := opts.GetString(flags.FlagHome)
	db, err := dbm.NewDB("application", server.GetAppDBBackend(opts), filepath.Join(home, "data"))
	if err != nil {
		return busy(err, "open the state in "+home)
	}
	n.appClose = db.Close
	options, err := app.Options(opts)
	if err != nil {
		return err
	}
	a, err := app.Open(logger, db, opts, options...)
	if err != nil {
		return err
	}
	n.app, n.appClose = a, a.Close
	return nil
}

func (n *Node) openComet(ctx context.Context, logger log.Logger, cfg *cmtcfg.Config) error {
	key, err := p2p.LoadOrGenNodeKey(cfg.NodeKeyFile())
	if err != nil {
		return fmt.Errorf("local: node key: %w", err)
	}
	n.comet, err = node.NewNode(cfg,
		privval.LoadOrGenFilePV(cfg.PrivValidatorKeyFile(), cfg.PrivValidatorStateFile()), key,
		proxy.NewLocalClientCreator(server.NewCometABCIWrapper(n.app)),
		func() (*cmttypes.GenesisDoc, error) {
			doc, err := genutiltypes.AppGenesisFromFile(cfg.GenesisFile())
			if err != nil {
				return nil, fmt.Errorf("local: genesis: %w", err)
			}
			return doc.ToGenesisDoc()
		},
		n.openDB, node.DefaultMetricsProvider(cfg.Instrumentation), ears{cmtlog.CometLoggerWrapper{Logger: logger}, n})
	if err != nil {
		return fmt.Errorf("local: make the node: %w", err)
	}
	if err := n.watch(); err != nil {
		return err
	}
	n.app.LimitMempool(n.comet.Mempool(), cfg.Mempool.Size, cfg.Mempool.MaxTxsBytes)
	if err := n.comet.Start(); err != nil {
		return fmt.Errorf("local: start consensus: %w", err)
	}
	return nil
}

// serveContext gives the application what its queries about blocks, transactions and the node itself need.
func (n *Node) serveContext(home string, cfg *cmtcfg.Config, srv serverconfig.Config) {
	enc := n.app.Encoding()
	n.client = client.Context{}.
		WithCodec(enc.Codec).WithInterfaceRegistry(enc.InterfaceRegistry).WithTxConfig(enc.TxConfig).WithLegacyAmino(enc.Amino).
		WithAccountRetriever(authtypes.AccountRetriever{}).WithHomeDir(home).WithChainID(n.comet.GenesisDoc().ChainID).
		WithNodeURI(cfg.RPC.ListenAddress).WithClient(local.New(n.comet)).WithBroadcastMode(flags.BroadcastSync)
	n.app.RegisterTxService(n.client)
	n.app.RegisterTendermintService(n.client)
	n.app.RegisterNodeService(n.client, srv)
}

// Stop ends the node and closes everything it opened; further calls return what the first did. It waits for
// what still writes: a snapshot for app.StopLimit, the index for two seconds, requests under way for one. What
// takes longer is named in the error, and its databases stay open until the process ends, which is as safe as a
// crash.
func (n *Node) Stop() error {
	n.stop.Do(func() {
		n.stopping.Store(true)
		if n.unwatch != nil {
			n.unwatch()
		}
		n.stopErr = n.close()
		<-n.done
	})
	return n.stopErr
}

// close ends what Start got to, in the order in which the parts use each other.
func (n *Node) close() error {
	var errs []error
	if n.retained != nil {
		n.retained()
	}
	if n.front != nil {
		errs = append(errs, n.front.close())
	}
	if n.comet != nil && n.comet.IsRunning() {
		n.quiet()
		saved := n.bookSaved()
		errs = append(errs, n.comet.Stop())
		n.comet.Wait()
		saved()
	}
	for _, db := range n.dbs {
		errs = append(errs, db.Close())
	}
	if n.appClose != nil {
		errs = append(errs, n.appClose())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("local: stop: %w", err)
	}
	return nil
}

// bookTime is how long a stop waits for the address book.
const bookTime = 2 * time.Second

// bookSaved returns what waits until the book of peers' addresses is saved. CometBFT saves it once more after
// its node has stopped, in a goroutine that it lets nobody wait for: a new file takes the old one's place.
func (n *Node) bookSaved() func() {
	p2p := n.comet.Config().P2P
	if !p2p.PexReactor {
		return func() {}
	}
	before, err := os.Stat(p2p.AddrBookFile())
	return func() {
		for end := time.Now().Add(bookTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if now, failed := os.Stat(p2p.AddrBookFile()); failed == nil && (err != nil || !os.SameFile(before, now)) {
				return
			}
		}
	}
}

// Done is closed when consensus has ended, by Stop or by itself (a full disk, a failed block, an upgrade): then
// Err says why. Who started the node stops it then as well.
func (n *Node) Done() <-chan struct{} { return n.done }

// App returns the application, for queries in process. It must not be used after Stop.
func (n *Node) App() *app.App { return n.app }

// Comet returns the consensus node.
func (n *Node) Comet() *node.Node { return n.comet }

// Client returns what builds, signs, sends and queries through this node without a network connection.
func (n *Node) Client() client.Context { return n.client }

// Addresses returns where the node listens.
func (n *Node) Addresses() Addresses { return n.addresses }

// ID returns the node's identity towards its peers.
func (n *Node) ID() string { return string(n.comet.NodeInfo().ID()) }

// Height returns the last block's.
func (n *Node) Height() int64 { return n.comet.BlockStore().Height() }

// WaitHeight returns once the application has committed block h.
func (n *Node) WaitHeight(ctx context.Context, h int64) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n.app.LastBlockHeight() < h {
		select {
		case <-ctx.Done():
			return fmt.Errorf("local: wait for block %d, at %d: %w", h, n.app.LastBlockHeight(), ctx.Err())
		case <-n.done:
			return errors.Join(fmt.Errorf("local: the node ended at block %d, before block %d", n.app.LastBlockHeight(), h), n.Err())
		case <-tick.C:
		}
	}
	return nil
}

func listening(comet *cmtcfg.Config, srv *serverconfig.Config) Addresses {
	host := func(a string) string { return strings.TrimPrefix(a, "tcp://") }
	a := Addresses{RPC: host(comet.RPC.ListenAddress), P2P: host(comet.P2P.ListenAddress)}
	if srv.GRPC.Enable {
		a.GRPC = host(srv.GRPC.Address)
	}
	if srv.API.Enable {
		a.REST = host(srv.API.Address)
	}
	return a
}
