package roletest

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Verifier is a verifier's host for audits. It outlives what runs on it, as a disk does.
type Verifier struct {
	w   *World
	key types.PrivateKey
	vrf types.PrivateKey
	log *slog.Logger
	dir string
	// Open, if set, is what Socket returns; else it is one on the loopback.
	Open func() (role.Socket, netip.AddrPort, error)

	mu    sync.Mutex // guards what follows
	seq   uint64
	prev  types.Hash
	names map[types.Hash]bool
	feeds map[*feed]bool
	calls map[chan role.Called]bool
	tells map[chan role.Called]bool
}

var _ role.AuditHost = (*Verifier)(nil)

// Verifier registers a verifier of an owner of its own, with as much power as all others. The panels of the
// next epoch draw from it.
func (w *World) Verifier(name string) *Verifier {
	v := &Verifier{w: w, key: Key(name), vrf: Key("vrf of " + name), log: w.logger(name), dir: w.t.TempDir(), names: map[types.Hash]bool{}, feeds: map[*feed]bool{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seats = append(w.seats, v)
	w.changes = append(w.changes, tally.Change{Attester: &tally.Attester{Key: v.Key(), VRF: v.vrf.Public(), Owner: account("owner of " + name), Power: 1000}})
	return v
}

// tell gives the present notice to whoever runs.
func (v *Verifier) tell() {
	v.w.mu.Lock()
	n := v.w.notice()
	n.Rules = v.w.rulesOf(v.category())
	v.w.mu.Unlock()
	v.mu.Lock()
	feeds := make([]*feed, 0, 1)
	for f := range v.feeds {
		feeds = append(feeds, f)
	}
	v.mu.Unlock()
	for _, f := range feeds {
		select {
		case f.out <- n:
		case <-f.ctx.Done():
		case <-time.After(deadline):
			v.w.t.Errorf("%v has not taken a notice for %v", v.Key(), deadline)
		}
	}
}

func (v *Verifier) category() types.Category { return v.w.specs[0].Category }

// Listening reports whether something runs that has asked for notices.
func (v *Verifier) Listening() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.feeds) > 0
}

// Chain is the world's.
func (v *Verifier) Chain() string { return Chain }

// Key returns the verifier's.
func (v *Verifier) Key() types.Key { return v.key.Public() }

// Sign signs as the verifier.
func (v *Verifier) Sign(kind string, payload []byte) types.Signature {
	return v.key.Sign(kind, Chain, payload)
}

// TLS returns the verifier's key.
func (v *Verifier) TLS() types.PrivateKey { return v.key }

// Log writes to the test's output.
func (v *Verifier) Log() *slog.Logger { return v.log }

// Dir is the verifier's disk.
func (v *Verifier) Dir() string { return v.dir }

// Notices delivers what Tell says.
func (v *Verifier) Notices(ctx context.Context) <-chan role.Notice {
	f := &feed{ctx, make(chan role.Notice)}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.feeds[f] = true
	out := make(chan role.Notice)
	go func() { // what delivers notices closes its channel when ctx ends
		defer close(out)
		for {
			select {
			case n := <-f.out:
				select {
				case out <- n:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	context.AfterFunc(ctx, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.feeds, f)
	})
	return out
}

// Submit takes evidence on for the current epoch.
func (v *Verifier) Submit(ctx context.Context, kind evidence.Kind, body []byte) error {
	return v.submit(ctx, v.w.Epoch(), kind, body)
}

func (v *Verifier) submit(ctx context.Context, e types.Epoch, kind evidence.Kind, body []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v.mu.Lock()
	v.seq++
	env := evidence.Sign(v.key, evidence.Payload{Chain: Chain, Category: v.category(), Kind: kind, Epoch: e, Seq: v.seq, Prev: v.prev, Body: body})
	v.prev = env.Hash
	v.mu.Unlock()
	v.w.handIn(v.Key(), kind, tally.Item{Type: tally.Evidence, Raw: env.Raw})
	return nil
}

// SubmitOnce is Submit under a name.
func (v *Verifier) SubmitOnce(ctx context.Context, e types.Epoch, kind evidence.Kind, name types.Hash, body []byte) error {
	if now := v.w.Epoch(); now != e {
		return types.Refuse(types.WrongEpoch, "roletest: a report of epoch %d in epoch %d", e, now)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	v.mu.Lock()
	had := v.names[name]
	v.names[name] = true
	v.mu.Unlock()
	if had {
		return nil
	}
	return v.submit(ctx, e, kind, body)
}

// Submitted reports whether SubmitOnce was called with a name.
func (v *Verifier) Submitted(name types.Hash) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.names[name], nil
}

// Registry is the world's, and its panel.
func (v *Verifier) Registry(context.Context) (tally.Registry, *tally.Panel, error) {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	panel, err := v.w.panel()
	return v.w.state, panel, err
}

// Drawn lists whom the verifier was drawn for.
func (v *Verifier) Drawn(ctx context.Context, purpose string) (list []role.Subject, err error) {
	_, panel, err := v.Registry(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range panel.Assigned(purpose)[v.Key()] {
		list = append(list, role.Subject{Device: *d})
	}
	return list, nil
}

// Line is what the tally of an epoch left of a device: of the last one alone.
func (v *Verifier) Line(_ context.Context, e types.Epoch, device types.Key) ([]byte, error) {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	if v.w.state.Epoch() != e {
		return nil, types.Refuse(types.UnknownBlob, "roletest: tally of epoch %d", e)
	}
	return v.w.state.CategoryLine(device, v.category()), nil
}

// Counted returns the evidence that counted in the tally of an epoch.
func (v *Verifier) Counted(_ context.Context, e types.Epoch, kind evidence.Kind, devices []types.Key) (map[types.Key][]*evidence.Envelope, error) {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	t := v.w.tallies[e]
	if t == nil {
		return nil, types.Refuse(types.UnknownBlob, "roletest: tally of epoch %d", e)
	}
	out := map[types.Key][]*evidence.Envelope{}
	for _, env := range t.evidence {
		if env.Kind == kind && env.Category == v.category() && slices.Contains(devices, env.Author) {
			out[env.Author] = append(out[env.Author], env)
		}
	}
	return out, nil
}

// Reported returns what was handed in so far in the current epoch.
func (v *Verifier) Reported(_ context.Context, kind evidence.Kind, from int) (list []*evidence.Envelope, next int, more bool, err error) {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	if from > len(v.w.items) {
		from = 0
	}
	for _, item := range v.w.items[from:] {
		if e, err := evidence.Decode(item.Raw, Chain); item.Type == tally.Evidence && err == nil && e.Kind == kind && e.Category == v.category() {
			list = append(list, e)
		}
	}
	return list, len(v.w.items), false, nil
}

// Ask has the device's Requests serve, as a node would.
func (v *Verifier) Ask(ctx context.Context, q role.Question) ([]byte, error) {
	return v.w.ask(ctx, v.Key(), role.Verifiers, q)
}

// Fetch has the device's Blobs serve, as a node would, in one piece.
func (v *Verifier) Fetch(ctx context.Context, f role.Fetch) (int64, error) {
	return v.w.fetch(ctx, v.Key(), role.Verifiers, f)
}

// Socket opens one.
func (v *Verifier) Socket() (role.Socket, netip.AddrPort, error) {
	if v.Open != nil {
		return v.Open()
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// Dial connects to an address on this machine.
func (v *Verifier) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

// Notice is what everybody hears at present.
func (w *World) Notice() role.Notice {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.notice()
}
