package network

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/verifier"
)

// openBus serves a bus to whom the chain knows, and says in p how it does.
func openBus(p *process.Process, config server.Config, l ledger.Reader, gateways ...types.Key) (*server.Server, error) {
	s, err := server.Serve(config, verifier.NewAuthorizer(l, gateways...), p.Log)
	if err != nil {
		return nil, err
	}
	if c := config.Cluster; c != nil {
		p.Health.Add("cluster", func() error {
			if n := s.Peers(); n < len(c.Peers) {
				return types.Refuse(types.BusUnavailable, "%d of %d other servers of the bus are connected", n, len(c.Peers))
			}
			return nil
		})
		p.Health.Add("kept", func() error {
			if !s.Whole() {
				return errors.New("what the other servers keep is being fetched; they answer queries until then")
			}
			return nil
		})
	}
	p.Figures.Gauges("connections", "Clients that are logged on, by role.", []string{"role"}, func(say func(float64, ...string)) {
		on := s.Load().LoggedOn
		for role := bus.RoleDevice; role <= bus.RolePending; role++ {
			say(float64(on[role]), role.String())
		}
	})
	p.Figures.Gauge("servers", "Other servers of the bus that are connected.", func() float64 { return float64(s.Peers()) })
	p.Figures.Gauge("storing", "Kept messages that wait to be stored.", func() float64 { return float64(s.Load().Storing) })
	p.Figures.Gauge("asking", "Queries for kept messages that wait for an answer.", func() float64 { return float64(s.Load().Asking) })
	p.Figures.Counter("slow_total", "Connections closed since the start that did not read what they asked for.", func() float64 { return float64(s.Load().Slow) })
	return s, nil
}

// BusSettings are those of a bus server that is a process of its own: bus.yaml.
type BusSettings struct {
	Process process.Settings `json:"process" doc:"The process: its health, its log, its disk."`
	Chain   ChainSettings    `json:"chain" doc:"The chain, which says who may log on, as what, and with how much room."`
	Listen  string           `json:"listen" doc:"Where clients reach the bus, as host:port."`
	TLS     TLSFiles         `json:"tls" doc:"TLS for clients. Messages are signed, so that it keeps who talks to whom, not what is believed."`
	Cluster BusCluster       `json:"cluster" doc:"The other servers of this bus. What is published at one is heard and kept at all."`
	// Gateways are let on without the chain knowing them.
	Gateways []types.Key      `json:"gateways" doc:"Keys of the gateways that may log on, did:key:…: they publish for all of their customers. Every server needs those of the whole network."`
	Clients  int              `json:"max_clients" doc:"How many devices and payers may be logged on at a time, of whom payers half. Verifiers and gateways have places beside those."`
	Room     process.Size     `json:"room" doc:"How much kept messages may take on disk: half of it verifiers', a quarter devices', an eighth each gateways' and payers'."`
	Recheck  process.Duration `json:"recheck" doc:"How often the chain is asked again about those who are logged on."`
}

// ChainSettings say where the chain is.
type ChainSettings struct {
	ID    string           `json:"id" doc:"The chain's id: a node of another chain is not used."`
	RPC   []string         `json:"rpc" doc:"CometBFT RPC of its nodes, http://host:port, tried in turn: the first that answers is asked until it does not, or stands still. What they say is believed, so name nodes of your own or of people you trust."`
	Stale process.Duration `json:"stale" doc:"How old the newest block may be before the health says that the chain is behind."`
}

// TLSFiles are files in PEM.
type TLSFiles struct {
	Certificate string `json:"certificate" doc:"A file with the certificates that whoever connects is shown, in PEM, below the home unless it is absolute; \"\" serves without TLS."`
	Key         string `json:"key" doc:"The file with their private key."`
}

// load reads both.
func (f *TLSFiles) load(home string) (tls.Certificate, error) {
	path := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(home, name)
	}
	return tls.LoadX509KeyPair(path(f.Certificate), path(f.Key))
}

// BusCluster says which servers are one bus.
type BusCluster struct {
	Listen  string      `json:"listen" doc:"Where the other servers reach this one, as host:port: let a firewall pass only them. \"\" for a bus of one server."`
	Servers []BusServer `json:"servers" doc:"All servers of this bus but this one: whoever else calls is refused. Each has the key that cairn bus key prints there."`
}

// BusServer is another server.
type BusServer struct {
	Key     types.Key `json:"key" doc:"Its key, did:key:…"`
	Address string    `json:"address" doc:"Where it listens for other servers, host:port; \"\" where only it calls."`
}

const busKeyFile = "bus.key"

// BusKey returns the key of the server of a home, and makes it where there is none.
func BusKey(home string) (types.PrivateKey, error) {
	return ownKey("bus", filepath.Join(home, busKeyFile))
}

// ownKey returns the key in a file of a home, and makes it where there is none. whose says in an error what it is.
func ownKey(whose, path string) (types.PrivateKey, error) {
	key, err := files.EnsureKey(path)
	if err != nil {
		return types.PrivateKey{}, fmt.Errorf("%s: %w", whose, err)
	}
	return types.NewPrivateKey([32]byte(key.Seed())), nil
}

// Bus is a bus server as a process.
func Bus() process.Role[BusSettings] {
	return process.Role[BusSettings]{
		Name: "bus",
		About: `A server of the message bus. Edit this and start "cairn bus run" again; "cairn bus check" says whether it can be read. What is not a
setting is an error. The server's own key is in bus.key, which only its owner can read.`,
		Defaults: func() BusSettings {
			return BusSettings{
				Process: process.Default("127.0.0.1:9421"), Chain: chainDefaults(), Listen: "0.0.0.0:4222", Clients: 1 << 16, Room: 1 << 30, Recheck: process.Duration(time.Minute),
			}
		},
		Common: func(s *BusSettings) *process.Settings { return &s.Process },
		Check:  func(home string, s *BusSettings) error { _, err := s.config(home, types.PrivateKey{}); return err },
		Run:    runBus,
	}
}

func chainDefaults() ChainSettings {
	return ChainSettings{RPC: []string{"http://127.0.0.1:26657"}, Stale: process.Duration(time.Minute)}
}

func (s *ChainSettings) check() error {
	switch {
	case len(s.RPC) == 0:
		return types.Refuse(types.BadArgument, "chain.rpc: name a node of the chain")
	case s.Stale <= 0:
		return types.Refuse(types.BadArgument, "chain.stale: want more than 0")
	}
	return nil
}

// Join takes over where the network is.
func (s *ChainSettings) Join(m *manifest.Manifest) { s.ID, s.RPC = m.Chain, m.RPC }

// open connects to the chain, once one of its nodes answers. A node that has another block in the place of the
// one that the home's manifest names is not used.
func (s *ChainSettings) open(ctx context.Context, p *process.Process, config client.Config) (l *client.Client, err error) {
	config.URLs, config.Chain, config.Log = s.RPC, s.ID, p.Log
	switch signed, err := manifest.Load(p.Home); {
	case err == nil:
		config.Pin = &client.Pin{Height: signed.Manifest.Block.Height, Hash: signed.Manifest.Block.Hash}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	err = p.Try(ctx, "chain", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		l, err = client.New(ctx, config)
		return err
	})
	return l, err
}

// config returns what the server inside runs with.
func (s *BusSettings) config(home string, key types.PrivateKey) (server.Config, error) {
	c := server.Config{Listen: s.Listen, Dir: home, MaxClients: s.Clients, KeepBytes: int64(s.Room), Recheck: time.Duration(s.Recheck)}
	if err := errors.Join(s.Chain.check(), process.CheckAddress("listen", s.Listen, false), process.CheckAddress("cluster.listen", s.Cluster.Listen, true),
		process.CheckAddress("process.listen", s.Process.Listen, true)); err != nil {
		return c, err
	}
	switch {
	case s.Clients < 1 || s.Clients > 1<<20:
		return c, types.Refuse(types.BadArgument, "max_clients: %d: want 1 to %d", s.Clients, 1<<20)
	case s.Room < 1<<20 || s.Room > 1<<40:
		return c, types.Refuse(types.BadArgument, "room: want 1MiB to 1TiB")
	case time.Duration(s.Recheck) < time.Second:
		return c, types.Refuse(types.BadArgument, "recheck: want 1s or more")
	case (s.TLS.Certificate == "") != (s.TLS.Key == ""):
		return c, types.Refuse(types.BadArgument, "tls: certificate and key go together")
	case len(s.Cluster.Servers) > 0 && s.Cluster.Listen == "":
		return c, types.Refuse(types.BadArgument, "cluster.listen: where do the other servers reach this one?")
	case s.Cluster.Listen != "" && s.Chain.ID == "":
		return c, types.Refuse(types.BadArgument, "chain.id: servers of one bus name the same chain")
	}
	if s.TLS.Certificate != "" {
		pair, err := s.TLS.load(home)
		if err != nil {
			return c, fmt.Errorf("tls: %w", err)
		}
		c.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	}
	if s.Cluster.Listen != "" {
		c.Cluster = &server.Cluster{Name: s.Chain.ID, Listen: s.Cluster.Listen, Key: key}
		seen := map[types.Key]bool{}
		for i, o := range s.Cluster.Servers {
			if o.Key.IsZero() || seen[o.Key] {
				return c, types.Refuse(types.BadArgument, "cluster.servers[%d].key: want each server's own", i)
			}
			seen[o.Key] = true
			if err := process.CheckAddress(fmt.Sprintf("cluster.servers[%d].address", i), o.Address, true); err != nil {
				return c, err
			}
			c.Cluster.Peers = append(c.Cluster.Peers, server.Peer{Key: o.Key, Address: o.Address})
		}
	}
	return c, nil
}

func runBus(ctx context.Context, p *process.Process, s *BusSettings) error {
	if err := examineProcess(p, busFiles(p.Home, nil)); err != nil {
		return err
	}
	key, err := BusKey(p.Home)
	if err != nil {
		return err
	}
	config, err := s.config(p.Home, key)
	if err != nil {
		return err
	}
	l, err := s.Chain.open(ctx, p, client.Config{})
	if err != nil {
		return err
	}
	defer l.Close()
	followChain(ctx, p, l, time.Duration(s.Chain.Stale))
	b, err := openBus(p, config, l, s.Gateways...)
	if err != nil {
		return err
	}
	p.Log.Info("the bus takes connections", "at", b.URL(), "key", key.Public())
	<-ctx.Done()
	b.Close()
	return nil
}
