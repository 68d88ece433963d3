package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/internal/latest"
	"github.com/cairn-network/cairn/service/role"
)

// runner runs one provider and is its host.
type runner struct {
	node     *Node
	provider role.Provider
	dir      string
	log      *slog.Logger
	files    watched // of dir
	notices  latest.Value[role.Notice]
	requests map[string]role.RequestHandler // by kind; nil where none are served

	mu       sync.Mutex
	ctx      context.Context // of the provider's present run
	state    agent.State
	err      error // of its last run
	restarts int
}

var (
	_ role.Host        = (*runner)(nil)
	_ role.WitnessHost = (*runner)(nil)
)

func newRunner(n *Node, p role.Provider, dir string) *runner {
	r := &runner{node: n, provider: p, dir: dir, log: n.log.With("category", p.Category), state: agent.Stopped, ctx: context.Background(),
		requests: p.Requests}
	if p.Blobs != nil {
		if _, taken := p.Requests[bus.KindBlob]; taken {
			panic(fmt.Sprintf("node: a provider of %s has blobs, and requests of its own for %q", p.Category, bus.KindBlob))
		}
		r.requests = map[string]role.RequestHandler{bus.KindBlob: (&blobs{node: n, of: p.Blobs}).handler()}
		maps.Copy(r.requests, p.Requests)
	}
	return r
}

// run runs the provider until ctx ends, and again whenever it fails.
func (r *runner) run(ctx context.Context) {
	agent.Keep(ctx, r.log, r.node.config.Backoff, r.once, func(state agent.State, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if state == agent.Running && r.state == agent.Resting {
			r.restarts++
		}
		if r.state = state; err != nil {
			r.err = err
		}
	})
}

func (r *runner) once(ctx context.Context) error {
	if err := r.holdFolders(false); err != nil {
		return err
	}
	r.files.forget()
	r.files.add(r.dir)
	r.mu.Lock()
	r.ctx = ctx
	r.mu.Unlock()
	return r.provider.Run(ctx, r)
}

func (r *runner) Chain() string         { return r.node.agent.Chain() }
func (r *runner) Key() types.Key        { return r.node.key.Public() }
func (r *runner) TLS() types.PrivateKey { return r.node.key }
func (r *runner) Log() *slog.Logger     { return r.log }
func (r *runner) Dir() string           { return r.dir }
func (r *runner) own(kind string) bool {
	return strings.HasPrefix(kind, r.provider.Category.String()+"/")
}

// Sign implements role.Host. It panics on a domain that is not the category's: a mistake of the provider.
func (r *runner) Sign(kind string, payload []byte) types.Signature {
	if kind != "ask" && kind != "countersignature" && !r.own(kind) {
		panic(fmt.Sprintf("node: a provider of %s signs no %q", r.provider.Category, kind))
	}
	return r.node.key.Sign(kind, r.node.agent.Chain(), payload)
}

// Room implements role.Host.
func (r *runner) Room() error {
	full := r.node.disks.full(r.node.config.Home, r.dir)
	if full == "" {
		return nil
	}
	return types.Refuse(types.DiskFull, "node: the disk of %s has less than %s left: nothing new is taken on", full, disk.Size(r.node.config.Disk.Stop))
}

// Notices implements role.Host.
func (r *runner) Notices(ctx context.Context) <-chan role.Notice { return r.notices.Watch(ctx) }

// Submit implements role.Host. The outbox holds at most 8,192 items and 64 MiB; beyond that it refuses with
// over_quota, and what it holds stays.
func (r *runner) Submit(ctx context.Context, kind evidence.Kind, body []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n := r.node.agent.Notice()
	if n == nil || !r.node.ready.Load() {
		return types.Refuse(types.BusUnavailable, "node: no notice yet: neither epoch nor block is known")
	}
	_, err := r.node.outbox.Evidence(evidence.Payload{
		Category: r.provider.Category, Kind: kind, Epoch: n.Epoch, Body: body,
		Anchor: evidence.Anchor{Height: n.Height, Hash: [16]byte(n.Hash[:16])},
	})
	if err != nil {
		return err
	}
	r.node.status.submitted()
	return nil
}

// SubmitReceipt implements role.Host.
func (r *runner) SubmitReceipt(ctx context.Context, signed *receipt.Signed) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := *signed
	switch {
	case s.Receipt.Chain != r.node.agent.Chain():
		return types.Refuse(types.WrongChain, "node: receipt of chain %.50q", s.Receipt.Chain)
	case s.Receipt.Device != r.Key() || s.Receipt.Category != r.provider.Category:
		return types.Refuse(types.SessionMismatch, "node: receipt for %s of %v", s.Receipt.Category, s.Receipt.Device)
	case !s.VerifyPayer():
		return types.Refuse(types.BadSignature, "node: receipt not signed by %v", s.Receipt.Payer)
	}
	s.DeviceSig = s.Receipt.Countersign(r.node.key)
	if err := r.node.outbox.Receipt(&s); err != nil {
		return err
	}
	r.node.status.submitted()
	return nil
}

// SubmitAsk implements role.Host.
func (r *runner) SubmitAsk(ctx context.Context, signed *receipt.SignedAsk) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.mine(signed); err != nil {
		return err
	}
	if err := r.node.outbox.SubmitAsk(signed); err != nil {
		return err
	}
	r.node.status.submitted()
	return nil
}

// KeepAsk implements role.Host.
func (r *runner) KeepAsk(ctx context.Context, signed *receipt.SignedAsk) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.mine(signed); err != nil {
		return err
	}
	return r.node.outbox.KeepAsk(signed)
}

// mine refuses an ask that is not this provider's, or that nobody would take.
func (r *runner) mine(signed *receipt.SignedAsk) error {
	a := &signed.Ask
	switch {
	case a.Chain != r.node.agent.Chain():
		return types.Refuse(types.WrongChain, "node: ask of chain %.50q", a.Chain)
	case a.Device != r.Key() || a.Category != r.provider.Category:
		return types.Refuse(types.UnknownAuthor, "node: ask of %v in %s", a.Device, a.Category)
	case len(a.Terms) > receipt.MaxTerms:
		return types.Refuse(types.Oversize, "node: terms of %d bytes, at most %d are taken", len(a.Terms), receipt.MaxTerms)
	case a.Until < r.node.epoch():
		return types.Refuse(types.WrongEpoch, "node: ask that lapsed with epoch %d", a.Until)
	case !signed.Verify():
		return types.Refuse(types.BadSignature, "node: ask not signed by %v", a.Device)
	}
	return nil
}

// Offer implements role.Host. It fills in chain, device, category, and the node's cell where the ask names
// none. With the bus away the ask is published when it is back.
func (r *runner) Offer(ctx context.Context, ask receipt.Ask) (*receipt.SignedAsk, error) {
	ask.Chain, ask.Device, ask.Category = r.node.agent.Chain(), r.Key(), r.provider.Category
	if ask.Cell == 0 {
		ask.Cell = r.node.config.Cell
	}
	if len(ask.Terms) > receipt.MaxTerms {
		return nil, types.Refuse(types.Oversize, "node: terms of %d bytes, at most %d are taken", len(ask.Terms), receipt.MaxTerms)
	}
	signed := ask.Sign(r.node.key)
	if err := r.node.outbox.KeepAsk(signed); err != nil {
		return nil, err
	}
	r.mu.Lock()
	run := r.ctx
	r.mu.Unlock()
	r.node.asks.put(run, bus.AskOf(&signed.Ask), signed.Encode())
	r.node.beats.offer(&signed.Ask)
	if b := r.node.agent.Bus(); b != nil {
		r.node.asks.show(ctx, b)
	}
	return signed, nil
}

// Payer implements role.Host. For a payer that is not known yet it asks, and waits a few seconds at most.
func (r *runner) Payer(ctx context.Context, key types.Key) (role.Payer, error) {
	p, known, err := r.node.payers.get(key)
	if known || err != nil {
		return p, err
	}
	n, b := r.node.agent.Notice(), r.node.agent.Bus()
	if n == nil || b == nil {
		return role.Payer{}, types.Refuse(types.BusUnavailable, "node: payer %v cannot be asked for", key)
	}
	r.node.askPayers(ctx, b, []types.Key{key})
	p, known, err = r.node.payers.get(key)
	if !known {
		return role.Payer{}, types.Refuse(types.BusUnavailable, "node: too few verifiers say what payer %v can pay", key)
	}
	return p, err
}
