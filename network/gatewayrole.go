package network

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/gateway"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/role"
)

// GatewaySettings are those of a gateway that is a process of its own: gateway.yaml.
type GatewaySettings struct {
	Process process.Settings  `json:"process" doc:"The process: its health, its log, its disk."`
	Chain   ChainSettings     `json:"chain" doc:"The chain: who has which grants, credits and devices. A gateway believes what its nodes say."`
	Bus     BusPlaces         `json:"bus" doc:"The message bus. Its operators have to let this gateway's key on (cairn gateway key)."`
	Region  types.Region      `json:"region" doc:"The region in which it buys; 0 while the network has one."`
	Listen  string            `json:"listen" doc:"Where customers reach the REST API and the page, as host:port. API keys come there: beyond this machine serve it with TLS, or behind a proxy that does."`
	Public  string            `json:"public" doc:"The name or address, without a port, under which devices and customers beyond this machine reach it; empty for that of listen, which has to be one address then."`
	Ports   map[string]uint16 `json:"ports" doc:"Ports of what categories serve beside HTTP, by the names that the gateway writes into its log (docs/operate.md). A firewall has to let them in. Others keep one that was free at first."`
	TLS     TLSFiles          `json:"tls" doc:"TLS for customers."`
	Hosts   []string          `json:"hosts" doc:"Names that it is reached under, besides its addresses and localhost; \"*\" for any."`
	Proxies []netip.Prefix    `json:"proxies" doc:"Where its reverse proxies are, 192.0.2.7/32: of their requests the last address in X-Forwarded-For is who asks."`
	Private []netip.Prefix    `json:"private" doc:"Private addresses where devices may be, 10.0.0.0/8. Whatever else a device names that is not of the public internet is not dialled."`
}

// Gateway is a gateway as a process.
func Gateway() process.Role[GatewaySettings] {
	return process.Role[GatewaySettings]{
		Name: "gateway",
		About: `A gateway. Edit this and start "cairn gateway run" again; "cairn gateway check" says whether it can be read. What is not a setting is an
error. The gateway's own key is in gateway.key, and its customers' session keys are in data: only its owner can read them.`,
		Defaults: func() GatewaySettings {
			return GatewaySettings{
				Process: process.Default("127.0.0.1:9423"), Chain: chainDefaults(), Bus: BusPlaces{Servers: []string{"nats://127.0.0.1:4222"}}, Listen: "127.0.0.1:8420",
				Ports: map[string]uint16{}, Hosts: []string{}, Proxies: []netip.Prefix{}, Private: []netip.Prefix{},
			}
		},
		Common: func(s *GatewaySettings) *process.Settings { return &s.Process },
		Check:  func(home string, s *GatewaySettings) error { _, err := s.check(home); return err },
		Run:    runGateway,
	}
}

// Join takes over where the network is.
func (s *GatewaySettings) Join(m *manifest.Manifest) {
	s.Chain.Join(m)
	s.Bus.Servers, s.Bus.CA = m.Buses, m.BusCA
}

// check refuses settings that can't work, and returns how to serve TLS; nil for not at all.
func (s *GatewaySettings) check(home string) (*tls.Config, error) {
	if err := errors.Join(s.Chain.check(), s.Bus.check(), process.CheckAddress("listen", s.Listen, false), process.CheckAddress("process.listen", s.Process.Listen, true)); err != nil {
		return nil, err
	}
	if s.Public != "" && net.ParseIP(s.Public) == nil && !publicName.MatchString(s.Public) {
		return nil, types.Refuse(types.BadArgument, "public: %.80q: want a name or an address, without a port", s.Public)
	}
	if s.TLS == (TLSFiles{}) {
		return nil, nil
	}
	certificate, err := s.TLS.load(home)
	if err != nil {
		return nil, types.Refuse(types.BadArgument, "tls: %v", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}, nil
}

// publicName is a name of DNS that an order has room for.
var publicName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

const gatewayKeyFile = "gateway.key"

// GatewayKey returns the key under which the gateway of a home logs on to the bus, and makes it where there is none.
func GatewayKey(home string) (types.PrivateKey, error) {
	return ownKey("gateway", filepath.Join(home, gatewayKeyFile))
}

// runGateway serves customers until ctx ends. Where the chain or the bus is away it waits, and says so to
// whoever asks.
func runGateway(ctx context.Context, p *process.Process, s *GatewaySettings) error {
	var open atomic.Bool
	p.Health.Add("gateway", func() error {
		if !open.Load() {
			return errors.New("it has only begun, and is not open for customers yet")
		}
		return nil
	})
	if err := examineProcess(p, gatewayFiles(p.Home, customer.Customers())); err != nil {
		return err
	}
	config, err := s.check(p.Home)
	if err != nil {
		return err
	}
	key, err := GatewayKey(p.Home)
	if err != nil {
		return err
	}
	page, err := process.Listen("gateway", s.Listen)
	if err != nil {
		return err
	}
	if err := files.Replace(p.Path(apiFile), []byte(page.Addr().String()), 0o644); err != nil {
		page.Close()
		return fmt.Errorf("gateway: %w: %w", err, types.HomeUnwritable)
	}
	waiting := new(front)
	server := waiting.server(p.Log)
	served := make(chan error, 1)
	go func() { served <- serve(server, page, config, p.Log) }()
	defer func() { shut(server); <-served }()

	l, err := s.Chain.open(ctx, p, client.Config{})
	if err != nil {
		return ended(ctx, err)
	}
	defer l.Close()
	var pin bus.Pin
	regions := uint64(1)
	err = p.Try(ctx, "verifiers", func(ctx context.Context) (err error) {
		if pin, err = pinOfChain(ctx, l, s.Region); err == nil {
			regions, err = l.Regions(ctx)
		}
		return err
	})
	if err != nil {
		return ended(ctx, err)
	}
	followChain(ctx, p, l, time.Duration(s.Chain.Stale))
	host, _, _ := net.SplitHostPort(page.Addr().String()) // a listener's
	buses := s.Bus.follow(ctx, p)
	d, err := openGate(p, gateConfig{
		Gateway: gateway.Config{
			Dir: p.Path("data"), Key: key, Pin: pin, Hosts: s.Hosts, Proxies: s.Proxies, Private: s.Private, Dial: buses.Dial,
		},
		Explorer: explorer.Config{Path: p.Path("explorer.db"), Hosts: s.Hosts, Regions: int(regions)},
		Reader:   l, Customers: customer.Customers(), Place: role.Place{IP: host, Public: s.Public, Ports: s.Ports},
	})
	if err != nil {
		return err
	}
	defer d.close()
	waiting.open(d.handler)
	open.Store(true)
	p.Log.Info("the gateway serves", "at", page.Addr(), "key", key.Public(), "listening", d.listening)
	run, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	go func() {
		select {
		case err := <-served:
			served <- err
			failed <- err
			stop()
		case <-run.Done():
			failed <- nil
		}
	}()
	err = d.run(run)
	stop()
	shut(server)
	if err := <-failed; err != nil {
		return fmt.Errorf("gateway: serve: %w", err)
	}
	return ended(ctx, err)
}

// apiFile holds where the gateway of a home serves customers, host:port.
const apiFile = "api.address"

// ended is nil for an error that came because ctx ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// pinOfChain is whom to believe on the bus, as the chain has it now.
func pinOfChain(ctx context.Context, l ledger.Reader, region types.Region) (bus.Pin, error) {
	head, err := l.Head(ctx)
	if err != nil {
		return bus.Pin{}, err
	}
	epoch, err := l.Epoch(ctx, head.Epoch)
	if err != nil {
		return bus.Pin{}, err
	}
	return bus.Pin{Chain: l.Chain(), Region: region, Epoch: epoch.Epoch, Set: bus.SetOf(epoch.Verifiers)}, nil
}
