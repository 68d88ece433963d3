package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/gateway"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/all/provider"
	"github.com/cairn-network/cairn/service/all/simulator"
	"github.com/cairn-network/cairn/service/all/spec"
	witnesses "github.com/cairn-network/cairn/service/all/witness"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/verifier"
	"github.com/cairn-network/cairn/witness"
)

const (
	defaultNodes = 8
	localRetain  = 2500 // blocks: a quarter of an hour
	localKeep    = 60   // epochs beyond finality for which verifiers keep what tallies are made from: eight minutes
	// localUnbonding is how long stake is bound. Blocks may have to prove double signing for as long, and stay
	// on disk.
	localUnbonding = 30 * time.Minute
	// startTimeout bounds how long the chain may take to produce its first block, and each part to come up.
	startTimeout = 60 * time.Second
)

// near are the private addresses where devices of a network like this one are: this machine and the networks
// that it is in.
var near = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fc00::/7"),
}

// Config says what kind of network to run. Zero values take the defaults that are named; of a home that exists,
// what it was made with.
type Config struct {
	Home        string
	ChainID     string        // of a new home; default cairn-local-<random>
	Validators  int           // default 1
	Regions     uint16        // of a new home; default 1. Its gateway and ordinary devices are in one of them
	Nodes       int           // default 8; may grow at a later start
	Homes       int           // devices behind each simulator's hardware: default 8, negative for none; may grow at a later start
	BlockTime   time.Duration // default 400 ms
	EpochBlocks uint64        // default 20
	Listen      string        // host:port of page and API; default 127.0.0.1:8420; port 0 takes a free one
	NewFolders  []string      // categories of which a device's folder is lost for good (node.Config)
	Hosts       []string      // names that page and API are reached under, besides addresses and localhost; role.AnyHost for all
	Gateways    []types.Key   // of other processes, which may log on to the bus too
	Disk        disk.Limits   // when the network warns that a disk gets full, and when it stops; zero: never
	// Rules, Customers, Devices, Simulators and Witnesses replace the lists of service/all.
	Rules      []service.Verifier
	Customers  []role.Customer
	Devices    []role.Device
	Simulators []role.Simulator
	Witnesses  []role.Witness
	// Bend is what an ordinary device runs in the place of a provider: for tests of devices that cheat.
	Bend func(node int, honest role.Provider) role.Provider
	// ChainOptions override app.toml of the validators, for tests.
	ChainOptions map[string]any
	Log          *slog.Logger // nil: silent
	// Progress hears what has been done, one step at a time; nil: nobody.
	Progress func(Step)
}

// Step is something that a start, or a first round, has done.
type Step struct {
	Text    string // for people: one line
	Done    bool   // false: it has begun and takes a while
	Trouble bool   // nothing was done: something has to be by whoever reads it
}

// Network is a running network. Its parts can be stopped and started one by one, for tests of what fails.
type Network struct {
	cfg     Config
	layout  layout
	log     *slog.Logger
	release func() // the home's lock

	ctx    context.Context // of everything that runs
	cancel context.CancelFunc
	failed chan error      // the first part that ended by itself
	broken context.Context // ends with that error
	breaks context.CancelCauseFunc

	chains    []*local.Node
	ledgers   []*client.Client
	bus       *server.Server
	verifiers []*part[[]*verifier.Verifier] // each validator's, by region
	nodes     []*device
	simulated []*device // behind simulated hardware
	stops     []func()  // of simulators
	gate      *gate
	gateway   *gateway.Gateway       // the gate's
	trust     atomic.Pointer[string] // a recent block, HEIGHT:HASH
	trusting  func()                 // ends what keeps it recent; nil before it runs
	http      *http.Server
	page      net.Listener
	tasks     sync.WaitGroup // gateway, explorer, pages, disks
	warned    sync.Once      // that a disk gets full, where people see it
}

// part is an engine that can be stopped and started again.
type part[E any] struct {
	mu     sync.Mutex
	engine E
	stop   func() // waits until it has stopped; nil while it is stopped
}

// defaults fills in what is not given.
func (cfg *Config) defaults() {
	if cfg.BlockTime == 0 {
		cfg.BlockTime = 400 * time.Millisecond
	}
	if cfg.EpochBlocks == 0 {
		cfg.EpochBlocks = 20
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:8420"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Rules == nil {
		cfg.Rules = spec.Categories()
	}
	if cfg.Customers == nil {
		cfg.Customers = customer.Customers()
	}
	if cfg.Devices == nil {
		cfg.Devices = provider.Devices()
	}
	if cfg.Simulators == nil {
		cfg.Simulators = simulator.Simulators()
	}
	if cfg.Witnesses == nil {
		cfg.Witnesses = witnesses.Witnesses()
	}
}

func (cfg *Config) path(parts ...string) string {
	return filepath.Join(append([]string{cfg.Home}, parts...)...)
}

// Start brings a network up, making its home where there is none, and returns once everything runs. What of an
// earlier start was cut short goes on where it stopped.
func Start(ctx context.Context, cfg Config) (*Network, error) {
	cfg.defaults()
	var telling sync.Mutex
	hears := cfg.Progress
	cfg.Progress = func(s Step) {
		telling.Lock()
		defer telling.Unlock()
		if hears != nil {
			hears(s)
		}
	}
	n := &Network{cfg: cfg, log: cfg.Log, failed: make(chan error, 1)}
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.broken, n.breaks = context.WithCancelCause(context.Background())
	starting, done := context.WithCancel(ctx)
	defer context.AfterFunc(n.broken, done)() // what has ended already cannot be waited for
	cancel := n.cancel
	n.cancel = func() {
		cancel()
		done()
	}
	if err := n.start(starting); err != nil {
		if n.broken.Err() != nil {
			err = context.Cause(n.broken)
		}
		n.Stop()
		return nil, err
	}
	return n, nil
}

func (n *Network) start(ctx context.Context) error {
	var err error
	if n.release, err = process.Lock(n.cfg.Home); err != nil {
		return err
	}
	if n.page, err = process.Listen("network", n.cfg.Listen); err != nil {
		return err
	}
	if err := errors.Join(n.cfg.checkRanges(), n.cfg.checkClock(time.Now())); err != nil {
		return err
	}
	if err := disk.Least(n.cfg.Disk.Stop, n.cfg.Home); err != nil {
		return types.Refuse(types.DiskFull, "network: home %s: %v", n.cfg.Home, err)
	}
	if err := n.prepare(); err != nil {
		return err
	}
	n.tasks.Go(n.watchDisks)
	for _, stage := range []func(context.Context) error{
		n.startChain, n.startBus, n.startVerifiers, n.startGateway, n.startNodes, n.openDoors,
	} {
		if err := stage(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// fail notes that a part ended by itself: the network is not whole any more.
func (n *Network) fail(what string, err error) {
	if n.ctx.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("it ended")
	}
	err = fmt.Errorf("network: %s: %w", what, err)
	if disk.IsFull(err) && types.ReasonOf(err) == "" {
		err = types.Refuse(types.DiskFull, "%v", err)
	}
	n.log.Error("a part ended by itself", "err", err)
	n.breaks(err)
	select {
	case n.failed <- err:
	default:
	}
}

// watchDisks ends the network before one of its disks is full.
func (n *Network) watchDisks() {
	var dirs []string
	for _, dir := range folders { // each may be a disk of its own
		dirs = append(dirs, n.path(dir))
	}
	err := disk.Watch(n.ctx, n.cfg.Disk, dirs, func(dir string, free uint64) {
		n.log.Error("a disk gets full", "folder", dir, "free", disk.Size(free), "stops_at", disk.Size(n.cfg.Disk.Stop))
		n.warned.Do(func() {
			n.cfg.Progress(Step{Text: fmt.Sprintf("the disk of %s has only %s left: free some; at %s the network stops", dir, disk.Size(free), disk.Size(n.cfg.Disk.Stop)), Done: true, Trouble: true})
		})
	})
	if err != nil {
		n.fail("it stops before the disk is full", err)
	}
}

// Failed delivers the error of the first part that ended by itself.
func (n *Network) Failed() <-chan error { return n.failed }

// chainOptions bound what a chain keeps of its past: some minutes of blocks, and as many states for queries.
var chainOptions = map[string]any{"min-retain-blocks": localRetain, "pruning-keep-recent": fmt.Sprint(localRetain)}

// startChain starts all validators at once and waits for a block.
func (n *Network) startChain(ctx context.Context) error {
	n.chains = make([]*local.Node, n.layout.Validators) // their disks are watched with all others
	options := maps.Clone(chainOptions)
	maps.Copy(options, n.cfg.ChainOptions)
	var group errgroup.Group
	for i := range n.chains {
		group.Go(func() (err error) {
			n.chains[i], err = local.Start(n.ctx, local.Config{Home: n.chainHome(i), Logger: quieter(n.log).With("chain", i), Options: options})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("network: start the chain: %w", err)
	}
	for i, chain := range n.chains {
		keys, err := local.Keyring(n.chainHome(i), app.NewEncoding().Codec)
		if err != nil {
			return err
		}
		l, err := client.New(ctx, client.Config{RPC: chain.Client().Client, Keyring: keys, Log: n.log})
		if err != nil {
			return fmt.Errorf("network: ledger of validator %d: %w", i, err)
		}
		n.ledgers = append(n.ledgers, l)
		go func() {
			<-chain.Done()
			n.fail(fmt.Sprintf("validator %d", i), chain.Err())
		}()
	}
	wait, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for i, l := range n.ledgers { // who follows the others may have none yet when the first has one
		if !begun(wait, l) {
			return fmt.Errorf("network: validator %d has no block after %v", i, startTimeout)
		}
	}
	validators := "1 validator"
	if n.layout.Validators != 1 {
		validators = fmt.Sprintf("%d validators", n.layout.Validators)
	}
	n.cfg.Progress(Step{Text: fmt.Sprintf("chain %s produces blocks: %s, one block every %v", n.layout.ChainID, validators, n.cfg.BlockTime), Done: true})
	return nil
}

// begun waits for a ledger's first block, and reports whether it came before ctx ended.
func begun(ctx context.Context, l ledger.Reader) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for block := range l.Watch(ctx) {
		if block.Height >= 1 {
			return true
		}
	}
	return false
}

// Ledger returns the ledger as validator 0 sees it, with the keys of this home's accounts.
func (n *Network) Ledger() *client.Client { return n.ledgers[0] }

// ChainID names the chain.
func (n *Network) ChainID() string { return n.layout.ChainID }

// startBus serves the message bus on the port that it had before.
func (n *Network) startBus(context.Context) error {
	gatewayKey, err := n.gatewayKey()
	if err != nil {
		return err
	}
	address := n.layout.Bus
	if address == "" {
		address = "127.0.0.1:0"
	}
	p := process.NewProcess("bus", n.path("bus"), n.log.With("part", "bus"))
	n.bus, err = openBus(p, server.Config{Listen: address, Dir: p.Home}, n.Ledger(), append(n.cfg.Gateways, gatewayKey.Public())...)
	if err != nil {
		return fmt.Errorf("network: start the bus: %w", err)
	}
	if n.layout.Bus == "" {
		n.layout.Bus = n.bus.NATS().Addr().String()
		return writeJSON(n.path(layoutFile), &n.layout, 0o600)
	}
	return nil
}

// dial logs on to the bus as key.
func (n *Network) dial(ctx context.Context, key types.PrivateKey) (bus.Bus, error) {
	return bus.Dial(ctx, bus.Config{URLs: []string{n.bus.URL()}}, key, n.log.With("part", "bus client"))
}

// gatewayKey reads the key under which the gateway logs on, or makes it.
func (n *Network) gatewayKey() (types.PrivateKey, error) {
	home := n.path("gateway")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return types.PrivateKey{}, types.Refuse(types.HomeUnwritable, "network: %v", err)
	}
	key, err := node.LoadKey(home)
	if errors.Is(err, os.ErrNotExist) {
		key, err = node.CreateKey(home)
	}
	if err != nil {
		return key, fmt.Errorf("network: the gateway's key: %w", err)
	}
	return key, nil
}

// startVerifiers starts one verifier beside each validator.
func (n *Network) startVerifiers(ctx context.Context) error {
	for i := range n.layout.Validators {
		n.verifiers = append(n.verifiers, new(part[[]*verifier.Verifier]))
		if err := n.StartVerifier(ctx, i); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("%d verifiers are up; a header needs more than two thirds of them", n.layout.Validators)
	if n.layout.Validators == 1 {
		text = "1 verifier is up (alone, it could foresee every draw: a real network has many)"
	}
	n.cfg.Progress(Step{Text: text, Done: true})
	return nil
}

// StartVerifier starts verifier i, which is stopped: an engine in each region.
func (n *Network) StartVerifier(ctx context.Context, i int) error {
	p := n.verifiers[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	keys, err := n.keys(i)
	if err != nil {
		return fmt.Errorf("network: verifier %d: %w", i, err)
	}
	account, err := n.ledgers[i].Lookup(local.KeyName)
	if err != nil {
		return fmt.Errorf("network: verifier %d: %w", i, err)
	}
	var engines []*verifier.Verifier
	var stops []func()
	p.stop = func() {
		for _, stop := range slices.Backward(stops) { // a witness before its verifier
			stop()
		}
	}
	for region := range types.Region(n.layout.Regions) {
		link, err := n.dial(ctx, keys.Attestation)
		if err != nil {
			return fmt.Errorf("network: verifier %d: %w", i, err)
		}
		dir := n.verifierHome(i, region)
		log := n.log.With("part", "verifier", "region", region)
		v, err := openVerifier(process.NewProcess("verifier", dir, log), verifier.Config{
			Dir: dir, Region: region, Key: keys.Attestation, VRF: keys.VRF, Account: account, Appeal: true, Keep: localKeep,
		}, n.ledgers[i], link, n.cfg.Rules)
		if err != nil {
			link.Close()
			return fmt.Errorf("network: verifier %d of region %d: %w", i, region, err)
		}
		engines = append(engines, v)
		stops = append(stops, n.run(fmt.Sprintf("verifier %d of region %d", i, region), v.Run, func() {
			v.Close()
			link.Close()
		}))
		pin, err := pinOfChain(ctx, n.Ledger(), region) // its own node may be about to fetch its first state
		if err != nil {
			return fmt.Errorf("network: verifier %d of region %d: %w", i, region, err)
		}
		w, err := openWitness(dir, witness.Config{Key: keys.Attestation, VRF: keys.VRF, Pin: pin, Dial: n.dial, Private: near, Listen: "127.0.0.1"}, v, n.cfg.Rules, n.cfg.Witnesses, log)
		if err != nil {
			return fmt.Errorf("network: witness %d of region %d: %w", i, region, err)
		}
		stops = append(stops, n.run(fmt.Sprintf("witness %d of region %d", i, region), w.Run, nil))
	}
	p.engine = engines // in the place of those that were stopped, which may still be asked what they keep in memory
	return nil
}

// region is where this home's gateway and ordinary devices are.
func (n *Network) region() types.Region { return types.RegionOf(cell, n.layout.Regions) }

// verifierHome is where verifier i keeps what it knows of a region.
func (n *Network) verifierHome(i int, region types.Region) string {
	if region == n.region() {
		return n.verifierDir(i)
	}
	return n.path("verifier", fmt.Sprintf("%d-region-%d", i, region))
}

// run runs a part until the returned function is called, which waits for its end and cleans up.
func (n *Network) run(what string, run func(context.Context) error, clean func()) (stop func()) {
	ctx, cancel := context.WithCancel(n.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil || ctx.Err() == nil {
			n.fail(what, err)
		}
	}()
	return func() {
		cancel()
		<-done
		if clean != nil {
			clean()
		}
	}
}

// halt stops a part if it runs.
func (p *part[E]) halt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
}

// Verifier returns verifier i of the region where this home's devices are.
func (n *Network) Verifier(i int) *verifier.Verifier { return n.VerifierIn(i, n.region()) }

// VerifierIn returns verifier i of a region; nil before it was started first.
func (n *Network) VerifierIn(i int, region types.Region) *verifier.Verifier {
	p := n.verifiers[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(region) >= len(p.engine) {
		return nil
	}
	return p.engine[region]
}

// StopVerifier stops verifier i.
func (n *Network) StopVerifier(i int) { n.verifiers[i].halt() }

// startGateway opens the gateway and the page.
func (n *Network) startGateway(ctx context.Context) error {
	key, err := n.gatewayKey()
	if err != nil {
		return err
	}
	pin, err := pinOfChain(ctx, n.Ledger(), n.region())
	if err != nil {
		return err
	}
	ip, _, err := net.SplitHostPort(n.page.Addr().String())
	if err != nil {
		return fmt.Errorf("network: listeners: %w", err)
	}
	n.gate, err = openGate(process.NewProcess("gateway", n.path("gateway"), n.log), gateConfig{
		Gateway:  gateway.Config{Dir: n.path("gateway"), Key: key, Pin: pin, Dial: n.dial, Hosts: n.cfg.Hosts, Private: near},
		Explorer: explorer.Config{Path: n.path("explorer.db"), Regions: int(n.layout.Regions), Hosts: n.cfg.Hosts, Verifiers: n.abstaining},
		Tallies:  &tallies{n}, Reader: n.Ledger(), Customers: n.cfg.Customers, Place: role.Place{IP: ip},
	})
	if err != nil {
		n.gate = nil
		return fmt.Errorf("network: %w", err)
	}
	n.gateway = n.gate.gateway
	n.tasks.Go(func() {
		if err := n.gate.run(n.ctx); err != nil {
			n.fail("gateway", err)
		}
	})
	return nil
}

// openDoors serves page and API, and writes network.json.
func (n *Network) openDoors(ctx context.Context) error {
	var f front
	f.open(n.gate.handler)
	n.http = f.server(n.log)
	n.tasks.Go(func() {
		if err := serve(n.http, n.page, nil, n.log); err != nil {
			n.fail("page", err)
		}
	})
	return n.keepTrust(ctx)
}

// Addresses says where everything listens.
func (n *Network) Addresses() *Addresses {
	chain := n.chains[0].Addresses()
	page := "http://" + n.page.Addr().String()
	var trust string
	if t := n.trust.Load(); t != nil {
		trust = *t
	}
	return &Addresses{
		ChainID: n.layout.ChainID, Page: page + "/", API: page, RPC: "http://" + chain.RPC, REST: "http://" + chain.REST,
		GRPC: chain.GRPC, Bus: n.bus.URL(), PID: os.Getpid(), Trust: trust,
		Listeners: listeners(page, n.gate.listening, n.cfg.Customers),
	}
}

// listeners are the addresses of categories' own listeners, and where clients of their protocols over HTTP begin.
func listeners(page string, listening map[string]string, customers []role.Customer) map[string]string {
	all := maps.Clone(listening)
	for _, c := range customers {
		for name, path := range c.Bases {
			all[name] = page + "/" + c.Category.String() + "/v1" + path
		}
	}
	return all
}

// Stop stops everything, devices first and the chain last, and leaves the home to the next start.
func (n *Network) Stop() {
	if n.trusting != nil {
		n.trusting()
	}
	if n.release != nil { // else the home, and what it says, are another process's
		os.Remove(n.path(addressFile))
	}
	if n.http != nil {
		shut(n.http)
	} else if n.page != nil {
		n.page.Close()
	}
	for _, d := range n.devices() {
		d.halt()
	}
	for _, stop := range n.stops {
		stop()
	}
	for _, p := range n.verifiers {
		p.halt()
	}
	n.cancel()
	n.tasks.Wait()
	if n.gate != nil {
		n.gate.close()
	}
	if n.bus != nil {
		n.bus.Close()
	}
	for _, l := range n.ledgers {
		l.Close()
	}
	var chains sync.WaitGroup // each waits for what still writes
	for i, c := range n.chains {
		if c == nil {
			continue
		}
		chains.Go(func() {
			if err := c.Stop(); err != nil {
				n.log.Error("a validator did not end in order", "validator", i, "err", err)
			}
		})
	}
	chains.Wait()
	if n.release != nil {
		n.release()
	}
}

// nodeHome is a device's home.
func (n *Network) nodeHome(i int) string { return filepath.Join(n.cfg.Home, "node", fmt.Sprint(i)) }
