// Package witness runs the categories' live checks and audits: it draws whom this process has to look at in an epoch,
// tells the category's Witness how to reach them, and hands in what it reports.
//
// Some truths need a clock: how fast a link or a machine is, whether somebody is there. No evidence of a device
// proves those alone, so categories have them looked at by several others, drawn by the epoch's seed
// (tally.Panel): the tally makes the same draw, and refuses reports of whoever was not drawn. So a witness
// chooses neither whom it looks at nor when. Others can be found out later: audits look again at what a tally has
// counted.
//
// An Engine is an agent (package agent) beside a verifier, with the verifier's key. It knows the registry from
// that verifier, the time from notices, and where devices are from their asks. Reports are evidence: numbered,
// signed and on disk before Submit returns, and handed in until verifiers with more than two thirds of the
// power keep them. A Witness that fails rests and runs again; one that panics too.
package witness

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Config says who a witness is.
type Config struct {
	Dir string           // what it has signed and nobody keeps yet, and a directory of each category's own
	Key types.PrivateKey // under which it is drawn, and logs on
	VRF types.PrivateKey // the verifier's other key, with which it proves what nobody could foresee
	// Pin is whom to believe at first, and in which region; Dial logs on to the bus, and is tried until it succeeds.
	Pin  bus.Pin
	Dial func(ctx context.Context, key types.PrivateKey) (bus.Bus, error)
	// View returns the registry as of an epoch's start: what the epoch's tally will draw from.
	View func(ctx context.Context, e types.Epoch) (tally.Registry, error)
	// Ledger is the verifier beside it; nil where nothing is audited.
	Ledger Ledger
	// Private are the addresses beyond the public internet where devices may be (role.DialDevice).
	Private []netip.Prefix
	// Listen is where sockets of UDP are opened for live checks ("0.0.0.0"), "" for none, and Port on which; 0 leaves it to
	// chance. Public is the address under which devices reach them; the zero Addr stands for Listen.
	Listen string
	Port   uint16
	Public netip.Addr
	// Resend is how long it waits for acknowledgement before it hands in again. Default 2 s.
	Resend time.Duration
	// Backoff is how long a Witness that failed rests at first; it doubles up to a minute. Default 1 s.
	Backoff time.Duration
}

// Engine runs witnesses.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	agent   *agent.Agent
	spool   *agent.Spool
	asks    *agent.Asks
	runners []*runner
	tellers agent.Pace
}

// New opens the engine's folder. Rules are those of all categories; witnesses of categories without candidates
// are an error.
func New(cfg Config, rules []tally.Verifier, witnesses []role.Witness, log *slog.Logger) (*Engine, error) {
	if cfg.Resend == 0 {
		cfg.Resend = 2 * time.Second
	}
	if cfg.Backoff == 0 {
		cfg.Backoff = time.Second
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("witness: %w: %w", err, types.HomeUnwritable)
	}
	e := &Engine{cfg: cfg, log: log, asks: agent.NewAsks(agent.MaxAsking)}
	for _, w := range witnesses {
		spec := specOf(rules, w.Category)
		if spec == nil || spec.Drawn != tally.Verifiers {
			return nil, fmt.Errorf("witness: category %v draws no verifiers", w.Category)
		}
		if w.Audit != nil && cfg.Ledger == nil {
			return nil, fmt.Errorf("witness: category %v audits, and there is no verifier to ask", w.Category)
		}
		dir := filepath.Join(cfg.Dir, w.Category.String())
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("witness: %w: %w", err, types.HomeUnwritable)
		}
		e.runners = append(e.runners, &runner{engine: e, witness: w, spec: spec, dir: dir, log: log.With("witness", w.Category)})
	}
	var err error
	if e.spool, err = agent.OpenSpool(filepath.Join(cfg.Dir, "witness.db"), cfg.Key, cfg.Pin.Chain); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	e.agent, err = agent.New(agent.Config{Key: cfg.Key, Pin: cfg.Pin, Dial: cfg.Dial, Store: e.spool, Log: log})
	if err != nil {
		e.spool.Close()
		return nil, fmt.Errorf("witness: %w", err)
	}
	return e, nil
}

func specOf(rules []tally.Verifier, c types.Category) *tally.Spec {
	for _, v := range rules {
		if s := v.Spec; s.Category == c {
			return s
		}
	}
	return nil
}

// Run witnesses until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	defer e.spool.Close()
	var tasks sync.WaitGroup
	tasks.Go(func() { e.agent.Run(ctx, e.begin) })
	tasks.Go(func() { e.spool.Run(ctx, e.agent, e.cfg.Resend) })
	tasks.Go(func() { e.follow(ctx) })
	for _, r := range e.runners {
		if r.witness.Run != nil {
			tasks.Go(func() { agent.Keep(ctx, r.log, e.cfg.Backoff, r.run, nil) })
		}
		if r.witness.Audit != nil {
			tasks.Go(func() { agent.Keep(ctx, r.log.With("part", "audit"), e.cfg.Backoff, r.audit, nil) })
		}
	}
	tasks.Wait()
	return nil
}

// begin listens to acks, and to what the devices of the witnesses' categories offer.
func (e *Engine) begin(ctx context.Context, b bus.Bus) error {
	for _, r := range e.runners {
		if err := b.SubscribeLast(ctx, bus.AskSubject(types.Key{}, r.spec.Category, 0, 0), func(m bus.Message) {
			if !e.asks.Hear(e.agent.Chain(), m) {
				r.log.Debug("an ask is thrown away", "subject", m.Subject)
			}
		}); err != nil {
			return fmt.Errorf("witness: subscribe to asks: %w", err)
		}
		if err := b.Subscribe(ctx, bus.CallSubject(types.Key{}, r.spec.Category), r.hear); err != nil {
			return fmt.Errorf("witness: subscribe to calls: %w", err)
		}
	}
	if err := b.Subscribe(ctx, bus.TellSubject(types.Key{}, b.Key()), e.told); err != nil {
		return fmt.Errorf("witness: subscribe to what is told: %w", err)
	}
	return e.agent.Acks(ctx, b, func(ack *bus.Ack, verifier types.Key) error {
		_, given, err := e.spool.Acked(ack, verifier, e.agent.Pin().Set)
		for _, g := range given {
			e.log.Warn("a report is refused", "item", g.Hash, "reason", g.Reason)
		}
		return err
	})
}

// follow tells the witnesses each notice, with the rules in force, until ctx ends.
func (e *Engine) follow(ctx context.Context) {
	var epoch types.Epoch
	for n := range e.agent.Notices(ctx) {
		if n.Epoch != epoch {
			epoch = n.Epoch
			given, err := e.spool.Expire(epoch)
			if err != nil {
				e.log.Error("what was handed in cannot be forgotten", "error", err)
			}
			for _, g := range given {
				e.log.Warn("a report came too late", "item", g.Hash, "reason", g.Reason)
			}
			e.asks.Expire(epoch)
		}
		for _, r := range e.runners {
			rules, err := e.agent.Rules(ctx, n, r.spec.Category)
			if err != nil {
				r.log.Debug("the category's rules are not to be had", "epoch", n.Epoch, "error", err)
				continue // the next notice tries again
			}
			r.notices.Set(agent.NoticeFor(n, r.spec.Category, rules))
		}
	}
}
