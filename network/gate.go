package network

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/gateway"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/service/role"
)

// gate is a gateway with the page beside it, at one address. `cairn up` has one, and so has `cairn gateway`.
type gate struct {
	gateway   *gateway.Gateway
	explorer  *explorer.Explorer
	listening map[string]string // where categories serve protocols of their own
	handler   http.Handler
}

// gateConfig is what a gate is made of.
type gateConfig struct {
	Gateway   gateway.Config
	Explorer  explorer.Config
	Tallies   explorer.Tallies // nil: what the gateway hears of them on the bus
	Reader    ledger.Reader
	Customers []role.Customer
	Place     role.Place // where categories listen
}

// openGate opens a gateway and its page, and says in p how they do. Serving its handler is the caller's.
func openGate(p *process.Process, cfg gateConfig) (d *gate, err error) {
	d = &gate{listening: map[string]string{}}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.gateway, err = gateway.New(cfg.Gateway, cfg.Reader, cfg.Customers, p.Log.With("part", "gateway")); err != nil {
		return d, err
	}
	for _, c := range cfg.Customers {
		if c.Listen == nil {
			continue
		}
		at, err := c.Listen(cfg.Place)
		if err != nil {
			return d, fmt.Errorf("%v: %w", c.Category, err)
		}
		maps.Copy(d.listening, at)
	}
	for name := range cfg.Place.Ports {
		if _, ok := d.listening[name]; !ok {
			return d, types.Refuse(types.BadArgument, "ports: %.80q: there are %s", name, strings.Join(slices.Sorted(maps.Keys(d.listening)), ", "))
		}
	}
	if cfg.Tallies == nil {
		cfg.Tallies = &heard{d.gateway, cfg.Reader, cfg.Gateway.Pin.Region}
	}
	if d.explorer, err = explorer.New(cfg.Explorer, cfg.Reader, cfg.Tallies, p.Log.With("part", "explorer")); err != nil {
		return d, err
	}
	mux := http.NewServeMux()
	api := d.gateway.Handler()
	for _, c := range cfg.Customers {
		mux.Handle("/"+c.Category.String()+"/", api)
	}
	mux.Handle("/v1/", api)
	mux.Handle("/openapi.json", api)
	mux.Handle("/", d.explorer.Handler())
	d.handler = mux
	p.Health.Add("bus", d.gateway.Connected)
	p.Figures.Gauge("bus_connected", "Whether a server of the bus can be reached.", func() float64 { return process.Flag(d.gateway.Connected() == nil) })
	p.Figures.Gauge("keys", "API keys that accounts granted.", func() float64 { return float64(d.gateway.Wallets()) })
	p.Figures.Gauge("notice_age_seconds", "How long ago the newest notice came; -1 before the first.", func() float64 {
		if at := d.gateway.Heard(); !at.IsZero() {
			return time.Since(at).Seconds()
		}
		return -1
	})
	return d, nil
}

// run runs both until ctx ends.
func (d *gate) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.gateway.Run(ctx) })
	group.Go(func() error { return d.explorer.Run(ctx) })
	return group.Wait()
}

// close closes what openGate opened. run must have returned.
func (d *gate) close() {
	if d.gateway != nil {
		d.gateway.Close()
	}
	if d.explorer != nil {
		d.explorer.Close()
	}
}

// front is what listens for customers. Until a gate is behind it, it says that it waits.
type front struct {
	handler atomic.Pointer[struct{ http.Handler }]
}

// open has it answer with a gate's handler from now on.
func (f *front) open(h http.Handler) { f.handler.Store(&struct{ http.Handler }{h}) }

// pageLimits bounds the connections with page and API. A browser opens six, and a client that moves data some dozens.
var pageLimits = conns.Limits{Total: 4096, PerAddress: 256}

// server returns what serves on a listener until it is shut down.
func (f *front) server(log *slog.Logger) *http.Server {
	return &http.Server{Handler: role.Pace{}.Serve(f), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
}

// serve serves on a listener, with TLS where config is not nil, until s is shut down.
func serve(s *http.Server, l net.Listener, config *tls.Config, log *slog.Logger) error {
	l = conns.Limit(l, pageLimits, log)
	if config != nil {
		l = tls.NewListener(l, config)
	}
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// shut ends a server: those that are answered have a moment to hear the rest.
func shut(s *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		s.Close()
	}
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := f.handler.Load(); h != nil {
		h.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Retry-After", "5")
	role.Fail(w, types.Refuse(types.ChainUnavailable, "gateway: it has only begun, and waits for a node of the chain"))
}

// heard is what a gateway without a verifier beside it knows of tallies: what verifiers say on the bus, and prove.
type heard struct {
	gateway *gateway.Gateway
	reader  ledger.Reader
	region  types.Region
}

var _ explorer.Tallies = (*heard)(nil)

// mostHeard is of how many devices amounts are asked for, one by one. In a network with more, its pages show no
// amounts.
const mostHeard = 256

// Digest implements explorer.Tallies, for the newest tally of its region; of older ones nobody can be asked.
func (t *heard) Digest(ctx context.Context, e types.Epoch, region types.Region) (*explorer.Digest, error) {
	if region != t.region {
		return nil, ledger.ErrNotFound
	}
	devices, err := t.reader.Devices(ctx)
	if err != nil {
		return nil, err
	}
	if len(devices) > mostHeard {
		return nil, ledger.ErrNotFound
	}
	d := new(explorer.Digest)
	for _, device := range devices {
		c, err := t.gateway.Claim(ctx, device.Key, true)
		if reason := types.ReasonOf(err); reason == types.UnknownAuthor || reason == types.BusUnavailable {
			continue // another region's, or not in a tally yet
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ledger.ErrNotFound, err)
		}
		if c.Epoch != e {
			return nil, ledger.ErrNotFound
		}
		for _, category := range device.Categories[:min(1, len(device.Categories))] {
			d.Lines = append(d.Lines, explorer.Line{Device: device.Key, Category: category, Amount: c.Leaf.Amount})
		}
	}
	return d, nil
}

// Claim implements explorer.Tallies.
func (t *heard) Claim(ctx context.Context, device types.Key) (*ledger.Claim, error) {
	return t.gateway.Claim(ctx, device, false)
}

// Bundle implements explorer.Tallies.
func (t *heard) Bundle(context.Context, types.Epoch, types.Region, io.Writer) error {
	return types.Refuse(types.UnknownBlob, "gateway: it keeps no bundles: ask a page beside a verifier")
}
