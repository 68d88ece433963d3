package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/latest"
	"github.com/cairn-network/cairn/service/role"
)

// runner runs one category's live checks and audits, and is their host.
type runner struct {
	engine  *Engine
	witness role.Witness
	spec    *tally.Spec
	dir     string
	log     *slog.Logger
	notices latest.Value[role.Notice]

	mu    sync.Mutex
	epoch types.Epoch // of what follows
	seed  types.Hash
	view  tally.Registry
	panel *tally.Panel

	heard agent.Calls
	calls talk // what verifiers call
	tells talk // what others tell this one
}

var _ role.VerifierHost = (*runner)(nil)

func (r *runner) run(ctx context.Context) error { return r.witness.Run(ctx, r) }

func (r *runner) audit(ctx context.Context) error { return r.witness.Audit(ctx, r) }

func (r *runner) Chain() string         { return r.engine.agent.Chain() }
func (r *runner) Key() types.Key        { return r.engine.agent.Key() }
func (r *runner) TLS() types.PrivateKey { return r.engine.cfg.Key }
func (r *runner) Log() *slog.Logger     { return r.log }
func (r *runner) Dir() string           { return r.dir }

// Sign implements role.WitnessHost. It panics on a domain that is not the category's: a mistake of the witness.
func (r *runner) Sign(kind string, payload []byte) types.Signature {
	r.own(kind)
	return r.engine.cfg.Key.Sign(kind, r.Chain(), payload)
}

// Notices implements role.WitnessHost.
func (r *runner) Notices(ctx context.Context) <-chan role.Notice { return r.notices.Watch(ctx) }

// Submit implements role.WitnessHost.
func (r *runner) Submit(ctx context.Context, kind evidence.Kind, body []byte) error {
	p, err := r.payload(ctx, kind, body)
	if err == nil {
		_, err = r.engine.spool.Evidence(p)
	}
	return err
}

// payload is evidence of the current epoch.
func (r *runner) payload(ctx context.Context, kind evidence.Kind, body []byte) (p evidence.Payload, err error) {
	if err := ctx.Err(); err != nil {
		return p, err
	}
	n := r.engine.agent.Notice()
	if n == nil {
		return p, types.Refuse(types.BusUnavailable, "witness: no notice yet: neither epoch nor block is known")
	}
	return evidence.Payload{
		Category: r.spec.Category, Kind: kind, Epoch: n.Epoch, Body: body,
		Anchor: evidence.Anchor{Height: n.Height, Hash: [16]byte(n.Hash[:16])},
	}, nil
}

// Dial implements role.WitnessHost.
func (r *runner) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return role.DialDevice(ctx, r.engine.cfg.Private, network, address)
}

// Socket implements role.VerifierHost.
func (r *runner) Socket() (role.Socket, netip.AddrPort, error) {
	c := &r.engine.cfg
	at, err := netip.ParseAddr(c.Listen)
	public := c.Public
	if !public.IsValid() {
		public = at
	}
	if err != nil || public.IsUnspecified() {
		return nil, netip.AddrPort{}, types.Refuse(types.BadArgument, "witness: the settings name no address of UDP (%q, %v)", c.Listen, c.Public)
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, c.Port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, netip.AddrPort{}, types.Refuse(types.PortInUse, "witness: UDP port %d", c.Port)
	}
	if err != nil {
		return nil, netip.AddrPort{}, fmt.Errorf("witness: socket: %w", err)
	}
	return conn, netip.AddrPortFrom(public, conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()), nil
}

// Ask implements role.WitnessHost.
func (r *runner) Ask(ctx context.Context, q role.Question) ([]byte, error) {
	return r.engine.agent.Ask(ctx, r.engine.cfg.Key, r.spec.Category, q)
}

// Fetch implements role.WitnessHost.
func (r *runner) Fetch(ctx context.Context, f role.Fetch) (int64, error) {
	return r.engine.agent.Fetch(ctx, r.engine.cfg.Key, r.spec.Category, f)
}

// Drawn implements role.WitnessHost. The registry is walked once an epoch for each draw.
func (r *runner) Drawn(ctx context.Context, purpose string) ([]role.Subject, error) {
	_, panel, err := r.Registry(ctx)
	if err != nil {
		return nil, err
	}
	var subjects []role.Subject
	asks := r.engine.asks.ByDevice(r.spec.Category)
	for _, d := range panel.Assigned(purpose)[r.Key()] {
		subjects = append(subjects, role.Subject{Device: *d, Asks: asks[d.Key]})
	}
	return subjects, nil
}

// Registry implements role.VerifierHost. The panel is made once an epoch.
func (r *runner) Registry(ctx context.Context) (tally.Registry, *tally.Panel, error) {
	n := r.engine.agent.Notice()
	if n == nil || n.Seed.IsZero() {
		return nil, nil, types.Refuse(types.BusUnavailable, "witness: the epoch's seed is not known yet")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panel != nil && r.epoch == n.Epoch && r.seed == n.Seed {
		return r.view, r.panel, nil
	}
	view, err := r.engine.cfg.View(ctx, n.Epoch)
	if err != nil {
		return nil, nil, fmt.Errorf("witness: registry of epoch %d: %w", n.Epoch, err)
	}
	panel, err := tally.NewPanel(r.spec, view, n.Seed)
	if err != nil {
		return nil, nil, fmt.Errorf("witness: %w", err)
	}
	r.epoch, r.seed, r.view, r.panel = n.Epoch, n.Seed, view, panel
	return view, panel, nil
}

// own panics on what is not the category's: a mistake of the witness.
func (r *runner) own(what string) {
	if !strings.HasPrefix(what, r.spec.Category.String()+"/") {
		panic(fmt.Sprintf("witness: one of %s signs no %q", r.spec.Category, what))
	}
}

// Prove implements role.VerifierHost. It panics on a purpose that is not the category's.
func (r *runner) Prove(purpose string, seed types.Hash, n uint64) []byte {
	r.own(purpose)
	return beacon.ProveAt(r.engine.cfg.VRF, r.Chain(), purpose, seed, n)
}
