package network

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/all/spec"
	witnesses "github.com/cairn-network/cairn/service/all/witness"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/verifier"
	"github.com/cairn-network/cairn/witness"
)

// openVerifier makes the engine of a verifier, and says in p how it does. What it is given outlives it.
func openVerifier(p *process.Process, config verifier.Config, l ledger.Ledger, link bus.Bus, rules []service.Verifier) (*verifier.Verifier, error) {
	config.Log = p.Log
	v, err := verifier.New(config, l, link, rules)
	if err != nil {
		return nil, err
	}
	p.Health.Add("bus", func() error {
		if !link.Connected() {
			return types.Refuse(types.BusUnavailable, "no server of the bus can be reached: it is tried again")
		}
		return nil
	})
	p.Health.Add("tallies", func() error {
		list := v.Abstained()
		if len(list) == 0 {
			return nil
		}
		return fmt.Errorf("the headers of %d epochs can't be checked, the first of them that of %d: %s", len(list), list[0].Epoch, list[0].Why)
	})
	stat := func(read func(verifier.Stats) uint64) func() float64 {
		return func() float64 { return float64(read(v.Stats())) }
	}
	p.Figures.Gauge("bus_connected", "Whether a server of the bus can be reached.", func() float64 { return process.Flag(link.Connected()) })
	p.Figures.Counter("bus_dropped_total", "Messages missed since the start because they were read too slowly.", func() float64 { return float64(link.Dropped()) })
	p.Figures.Counter("accepted_total", "Items taken in since the start.", stat(func(s verifier.Stats) uint64 { return s.Accepted }))
	p.Figures.Counter("refused_total", "Items refused with a reason since the start.", stat(func(s verifier.Stats) uint64 { return s.Refused }))
	p.Figures.Counter("malformed_total", "Messages since the start that were none.", stat(func(s verifier.Stats) uint64 { return s.Malformed }))
	p.Figures.Counter("dropped_total", "Items since the start that there was no room for, which come again.", stat(func(s verifier.Stats) uint64 { return s.Dropped }))
	p.Figures.Gauge("waiting_bytes", "Bytes of items that wait to be taken in.", stat(func(s verifier.Stats) uint64 { return s.Waiting }))
	p.Figures.Counter("signed_total", "Headers signed since the start.", stat(func(s verifier.Stats) uint64 { return s.Signed }))
	p.Figures.Gauge("abstained", "Epochs whose headers can't be checked at present.", func() float64 { return float64(len(v.Abstained())) })
	return v, nil
}

// openWitness makes the engine of what a verifier witnesses. Its files are in a folder of the verifier's data.
func openWitness(dir string, c witness.Config, v *verifier.Verifier, rules []service.Verifier, list []role.Witness, log *slog.Logger) (*witness.Engine, error) {
	c.Dir, c.View, c.Ledger = filepath.Join(dir, "witness"), v.View, v
	return witness.New(c, rules, list, log)
}

// VerifierSettings are those of a verifier that is a process of its own: verifier.yaml.
type VerifierSettings struct {
	Process process.Settings `json:"process" doc:"The process: its health, its log, its disk."`
	Chain   ChainSettings    `json:"chain" doc:"The chain. A verifier believes what its node says: it should be one of its own."`
	Bus     BusPlaces        `json:"bus" doc:"The message bus."`
	Region  types.Region     `json:"region" doc:"The region whose tally it makes; 0 while the network has one."`
	Account VerifierAccount  `json:"account" doc:"The account that sends what it has to tell the chain. Of a bonded validator's own account the chain takes that without a fee."`
	Appeal  bool             `json:"appeal" doc:"Whether it puts up the bond of an appeal against a header that it finds wrong. It votes in any case."`
	Keep    types.Epoch      `json:"keep_epochs" doc:"For how many epochs beyond finality it keeps what tallies are made from, and serves it."`
	Live    LivePlace        `json:"live" doc:"Where it reaches devices by UDP, for live checks that need that (bandwidth)."`
	Workers int              `json:"workers" doc:"How many processors check signatures and work out tallies; 0 for all."`
}

// LivePlace says where a verifier's live checks have their sockets.
type LivePlace struct {
	Listen string `json:"listen" doc:"An IP address of this machine and a UDP port, as address:port; \"\" takes no part in such checks."`
	Public string `json:"public" doc:"The IP address, without a port, under which devices reach it; \"\" for that of listen, which has to be one address then."`
}

// witness is what a witness is told of it.
func (l LivePlace) witness() (c witness.Config, err error) {
	if l.Listen == "" {
		return c, nil
	}
	at, err := netip.ParseAddrPort(l.Listen)
	if err != nil {
		return c, types.Refuse(types.BadArgument, "live.listen: %.80q: want an address and a port, as 0.0.0.0:7440", l.Listen)
	}
	c.Listen, c.Port = at.Addr().String(), at.Port()
	if l.Public != "" {
		if c.Public, err = netip.ParseAddr(l.Public); err != nil {
			return c, types.Refuse(types.BadArgument, "live.public: %.80q: want an address, without a port", l.Public)
		}
	} else if at.Addr().IsUnspecified() {
		return c, types.Refuse(types.BadArgument, "live.public: live.listen stands for all addresses of the machine: under which do devices reach it?")
	}
	return c, nil
}

// BusPlaces say where a bus is.
type BusPlaces struct {
	Servers []string `json:"servers" doc:"Its servers, nats:// or tls://host:port: any one is enough, and another is tried where one goes."`
	CA      string   `json:"ca" doc:"The certificates, in PEM, that sign theirs; \"\" takes the system's."`
	Network string   `json:"network" doc:"Where the network publishes its manifest, an https URL: it is asked each hour, and the servers that a newer one of the same signer names are tried too. \"\" leaves it at those above."`
}

// follow returns where the bus is: at the servers of the settings, and at those that the newest manifest of the
// home names, until ctx ends.
func (b *BusPlaces) follow(ctx context.Context, p *process.Process) *manifest.Buses {
	buses := manifest.NewBuses(&manifest.Manifest{BusCA: b.CA}, p.Log, b.Servers...)
	if b.Network == "" {
		return buses
	}
	take := func(m *manifest.Manifest) {
		ca := m.BusCA
		if b.CA != "" && ca != "" && b.CA != ca {
			ca = b.CA + "\n" + ca
		}
		buses.Set(&manifest.Manifest{Buses: m.Buses, BusCA: ca})
	}
	if kept, err := manifest.Load(p.Home); err == nil {
		take(&kept.Manifest)
	}
	go manifest.Follow(ctx, p.Home, b.Network, p.Log, take)
	return buses
}

func (b *BusPlaces) check() error {
	switch {
	case len(b.Servers) == 0:
		return types.Refuse(types.BadArgument, "bus.servers: name a server of the bus")
	case b.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(b.CA)):
		return types.Refuse(types.BadArgument, "bus.ca: no certificates in PEM")
	}
	return nil
}

// VerifierAccount is a key of a keyring.
type VerifierAccount struct {
	Keyring string `json:"keyring" doc:"The folder that keyring-test is in: the home of the validator's node, or any other. It is not encrypted."`
	Name    string `json:"name" doc:"The name of its key there."`
}

// Verifier is a verifier as a process.
func Verifier() process.Role[VerifierSettings] {
	return process.Role[VerifierSettings]{
		Name: "verifier",
		About: `A verifier. Edit this and start "cairn verifier run" again; "cairn verifier check" says whether it can be read. What is not a setting is an
error. Its keys are in the file keys, which only its owner can read: run one process with them, or the chain punishes what both sign.`,
		Defaults: func() VerifierSettings {
			return VerifierSettings{Process: process.Default("127.0.0.1:9422"), Chain: chainDefaults(), Bus: BusPlaces{Servers: []string{"nats://127.0.0.1:4222"}},
				Account: VerifierAccount{Name: local.KeyName}, Appeal: true, Keep: 168}
		},
		Common: func(s *VerifierSettings) *process.Settings { return &s.Process },
		Check:  func(_ string, s *VerifierSettings) error { return s.check() },
		Run:    runVerifier,
	}
}

func (s *VerifierSettings) check() error {
	_, live := s.Live.witness()
	if err := errors.Join(s.Chain.check(), s.Bus.check(), process.CheckAddress("process.listen", s.Process.Listen, true), live); err != nil {
		return err
	}
	switch {
	case s.Account.Name == "":
		return types.Refuse(types.BadArgument, "account.name: who tells the chain?")
	case s.Workers < 0 || s.Workers > 1024:
		return types.Refuse(types.BadArgument, "workers: %d: want 0 to 1024", s.Workers)
	case s.Keep < 1:
		return types.Refuse(types.BadArgument, "keep_epochs: want 1 or more")
	}
	return nil
}

// Join takes over where the network is.
func (s *VerifierSettings) Join(m *manifest.Manifest) {
	s.Chain.Join(m)
	s.Bus.Servers, s.Bus.CA = m.Buses, m.BusCA
}

// Open connects to the chain, with the keys of the account's keyring, and finds the account.
func (s *VerifierSettings) Open(ctx context.Context, p *process.Process) (*client.Client, types.Account, error) {
	dir := s.Account.Keyring
	if !filepath.IsAbs(dir) {
		dir = p.Path(dir)
	}
	keys, err := local.Keyring(dir, app.NewEncoding().Codec)
	if err != nil {
		return nil, types.Account{}, err
	}
	l, err := s.Chain.open(ctx, p, client.Config{Keyring: keys})
	if err != nil {
		return nil, types.Account{}, err
	}
	account, err := l.Lookup(s.Account.Name)
	if err != nil {
		l.Close()
		return nil, account, fmt.Errorf("verifier: account.name %s in %s: %w", s.Account.Name, dir, err)
	}
	return l, account, nil
}

// beginAgain is the rest before a verifier that could not begin tries it again.
const beginAgain = 2 * time.Second

func runVerifier(ctx context.Context, p *process.Process, s *VerifierSettings) error {
	if err := examineProcess(p, verifierFiles(p.Home, nil)); err != nil {
		return err
	}
	keys, err := verifier.LoadKeys(p.Home)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: make them with `cairn verifier keys`", err)
	}
	if err != nil {
		return err
	}
	l, account, err := s.Open(ctx, p)
	if err != nil {
		return err
	}
	defer l.Close()
	view := followChain(ctx, p, l, time.Duration(s.Chain.Stale))
	s.seat(p, view, keys.Attestation.Public())
	buses := s.Bus.follow(ctx, p)
	config := verifier.Config{
		Dir: p.Path("data"), Region: s.Region, Key: keys.Attestation, VRF: keys.VRF, Account: account, Appeal: s.Appeal, Keep: s.Keep, Workers: s.Workers,
	}
	live, err := s.Live.witness()
	if err != nil {
		return err
	}
	for {
		var link bus.Bus
		err := p.Try(ctx, "bus", func(ctx context.Context) (err error) {
			link, err = buses.Dial(ctx, keys.Attestation)
			return err
		})
		if err != nil {
			return err
		}
		err = runOnce(ctx, p, config, live, l, link, buses.Dial)
		link.Close()
		if ctx.Err() != nil {
			return nil
		}
		if process.Lasting(err) {
			return err
		}
		p.Log.Error("the verifier could not begin, and tries again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(beginAgain):
		}
	}
}

// runOnce runs the engines until ctx ends or they can't begin.
func runOnce(ctx context.Context, p *process.Process, config verifier.Config, live witness.Config, l ledger.Ledger, link bus.Bus,
	dial func(context.Context, types.PrivateKey) (bus.Bus, error)) error {
	v, err := openVerifier(p, config, l, link, spec.Categories())
	if err != nil {
		return err
	}
	p.Log.Info("the verifier runs", "key", config.Key.Public(), "account", config.Account)
	beside, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runWitness(beside, p, config, live, l, v, dial)
	}()
	err = v.Run(ctx)
	stop()
	<-done
	return errors.Join(err, v.Close())
}

// runWitness runs the witness beside a verifier until ctx ends. It begins when some verifier counts: a network that has none yet needs one that listens
// first, and nobody to be looked at.
func runWitness(ctx context.Context, p *process.Process, config verifier.Config, live witness.Config, l ledger.Ledger, v *verifier.Verifier,
	dial func(context.Context, types.PrivateKey) (bus.Bus, error)) {
	once := func() error {
		pin, err := pinOfChain(ctx, l, config.Region)
		if err != nil {
			return err
		}
		live.Key, live.VRF, live.Pin, live.Dial = config.Key, config.VRF, pin, dial
		w, err := openWitness(config.Dir, live, v, spec.Categories(), witnesses.Witnesses(), p.Log)
		if err != nil {
			return err
		}
		return w.Run(ctx)
	}
	for said := types.Reason(""); ctx.Err() == nil; {
		if err := once(); err != nil && ctx.Err() == nil && (said == "" || said != types.ReasonOf(err)) {
			said = types.ReasonOf(err)
			p.Log.Warn("the witness beside the verifier could not begin, and tries again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(beginAgain):
		}
	}
}

// seat says in p's health and figures whether the chain counts on a key.
func (s *VerifierSettings) seat(p *process.Process, view *chainView, key types.Key) {
	power := func() (uint64, *ledger.Epoch) {
		_, ep := view.get()
		if ep == nil {
			return 0, nil
		}
		i := slices.IndexFunc(ep.Verifiers, func(a tally.Attester) bool { return a.Key == key })
		if i < 0 {
			return 0, ep
		}
		return ep.Verifiers[i].Power, ep
	}
	p.Health.Add("seat", func() error {
		if n, ep := power(); n == 0 && ep != nil {
			return types.Refuse(types.UnknownVerifier, "the key has no power in epoch %d: name it with `cairn verifier register` and wait an appeal window and an epoch, or see why its validator is jailed", ep.Epoch)
		}
		return nil
	})
	p.Figures.Gauge("power", "The power that its key has in the present epoch.", func() float64 { n, _ := power(); return float64(n) })
}
