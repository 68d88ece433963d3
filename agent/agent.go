// Package agent is what every process does that speaks on the bus without being a verifier: it logs on with its
// key, follows what the chain's verifiers sign, asks them, and hands things in.
//
// An Agent trusts nobody in particular. It starts from a pin (bus.Pin), believes a notice that verifiers with
// more than two thirds of the power signed, and follows their set from one notice to the next; what it followed
// to is kept, so that a restart goes on there. Its bus may be away for as long as it likes: Bus is nil then,
// and all else goes on when it is back.
//
//	Agent     logs on, tries until it can, and follows notices, the region's rules, and the set that signs
//	Quorum    asks that set, and believes what enough of its power say or what proves itself
//	Outbox    hands items in until enough of its power keep them
//	Spool     an Outbox on disk, of what the agent's own key signs: evidence, receipts, asks
//	Asks      what devices offer
//	Keep      runs something again whenever it fails
//	Ask       asks one device, and takes what that device signed for this request
//	Fetch     fetches a larger thing that a device holds, and goes on where it was
//
// A device (package node) is an agent with providers, a gateway one with customers. Blobs are fetched and
// served by bus.FetchBlob and bus.ServeBlobs, for which an agent's Bus is enough.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/latest"
)

// Store keeps what an agent remembers over a restart, by name.
type Store interface {
	Get(name string) []byte // nil for nothing
	Put(name string, value []byte) error
}

// Config says who an agent is.
type Config struct {
	Key types.PrivateKey // of its messages
	// Pin is whom to believe at first, and of which chain and region; what the agent has followed since, in its
	// store, goes before it.
	Pin bus.Pin
	// Dial logs on to the bus. It is tried until it succeeds; the bus then stays connected by itself.
	Dial func(ctx context.Context, key types.PrivateKey) (bus.Bus, error)
	// Unknown is what helps while the network does not know the key, for the log; "" for nothing.
	Unknown string
	Store   Store
	Log     *slog.Logger
}

// Agent is a key on the bus. All methods are safe for concurrent use.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	follower *bus.Follower
	notices  latest.Value[*bus.Notice]
	ignored  atomic.Uint64
	rules    sync.Map // category → rules, as they were last time

	mu      sync.Mutex
	bus     bus.Bus   // nil until logged on
	problem error     // why it is not
	heard   time.Time // when the newest notice came
}

// New returns an agent that Run starts.
func New(cfg Config) (*Agent, error) {
	if err := cfg.Pin.Check(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	a := &Agent{cfg: cfg, log: cfg.Log}
	a.follower = bus.NewFollower(a.loadPin())
	return a, nil
}

// Chain is the chain's id.
func (a *Agent) Chain() string { return a.cfg.Pin.Chain }

// Region is where the agent asks and hands in.
func (a *Agent) Region() types.Region { return a.cfg.Pin.Region }

// Key is who the agent is.
func (a *Agent) Key() types.Key { return a.cfg.Key.Public() }

// Bus returns the bus, nil while it is away.
func (a *Agent) Bus() bus.Bus {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bus == nil || !a.bus.Connected() {
		return nil
	}
	return a.bus
}

// Problem returns why the agent could not log on when it last tried; nil once it did.
func (a *Agent) Problem() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.problem
}

// Notice returns the newest notice that is believed; nil before the first.
func (a *Agent) Notice() *bus.Notice { return a.follower.Newest() }

// Heard returns when the newest notice came.
func (a *Agent) Heard() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heard
}

// Notices delivers the newest notice that is believed and then each further one until ctx ends; a slow reader
// misses all but the newest.
func (a *Agent) Notices(ctx context.Context) <-chan *bus.Notice { return a.notices.Watch(ctx) }

// Ignored is how many notices were thrown away.
func (a *Agent) Ignored() uint64 { return a.ignored.Load() }

// Pin is whom the agent believes now.
func (a *Agent) Pin() bus.Pin { return a.follower.Pin() }

// Quorum is whom the agent believes now, to be asked.
func (a *Agent) Quorum() Quorum {
	return Quorum{Bus: a.Bus(), Chain: a.Chain(), Region: a.Region(), Set: a.follower.Pin().Set}
}

// Run logs on, calls begin with the bus, and follows notices until ctx ends; then it logs off. Where begin
// fails, it starts over.
func (a *Agent) Run(ctx context.Context, begin func(ctx context.Context, b bus.Bus) error) {
	b := a.connect(ctx, begin)
	<-ctx.Done()
	if b != nil {
		b.Close()
	}
}

// connect tries to log on until it can, or ctx ends.
func (a *Agent) connect(ctx context.Context, begin func(context.Context, bus.Bus) error) bus.Bus {
	var said pace
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 15*time.Second) {
		b, err := a.cfg.Dial(ctx, a.cfg.Key)
		if err == nil {
			if err = a.logOn(ctx, b, begin); err == nil {
				return b
			}
			b.Close()
		}
		if ctx.Err() != nil {
			return nil
		}
		a.mu.Lock()
		a.problem = err
		a.mu.Unlock()
		unknown := errors.Is(err, types.NotPermitted)
		switch {
		case !said.due(time.Now(), unknown):
		case unknown:
			a.log.Info("the network does not know this key yet: it goes on by itself as soon as it does", "key", a.Key(), "try", a.cfg.Unknown)
		default:
			a.log.Warn("no connection to the bus; it is tried again until there is one", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (a *Agent) logOn(ctx context.Context, b bus.Bus, begin func(context.Context, bus.Bus) error) error {
	ctx, cancel := context.WithCancel(ctx) // what is subscribed to here ends with a failure
	err := begin(ctx, b)
	if err == nil {
		a.use(b) // before the first notice comes: whoever is told of one may ask at once
		err = b.SubscribeLast(ctx, bus.NoticeSubject(types.Key{}, a.Region()), a.take)
	}
	if err != nil {
		a.use(nil)
		cancel()
		return err
	}
	context.AfterFunc(ctx, cancel)
	return nil
}

func (a *Agent) use(b bus.Bus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bus, a.problem = b, nil
}

// Each calls do with the bus every so often and whenever there is work, until ctx ends; not while the
// bus is away. Where it was, or do says that it could not be reached, back is called before the next do.
func (a *Agent) Each(ctx context.Context, every time.Duration, work <-chan struct{}, back func(), do func(bus.Bus) bool) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-work:
		}
		b := a.Bus()
		if b != nil && away {
			back()
		}
		away = b == nil || !do(b)
	}
}

func (a *Agent) take(m bus.Message) {
	before := a.Pin().Epoch
	n, err := a.follower.Take(m.Data)
	if err != nil {
		a.ignored.Add(1)
		a.log.Debug("a notice is thrown away", "subject", m.Subject, "error", err)
	}
	if n == nil {
		return
	}
	a.mu.Lock()
	a.heard = time.Now()
	a.mu.Unlock()
	if n.Epoch != before {
		a.savePin()
	}
	a.notices.Set(n)
}

const pinName = "pin"

// loadPin returns whom the agent followed to, or whom it was told to believe.
func (a *Agent) loadPin() bus.Pin {
	var kept bus.Pin
	told := a.cfg.Pin
	if raw := a.cfg.Store.Get(pinName); raw != nil && json.Unmarshal(raw, &kept) == nil && kept.Check() == nil &&
		kept.Chain == told.Chain && kept.Region == told.Region && kept.Epoch >= told.Epoch {
		return kept
	}
	return told
}

func (a *Agent) savePin() {
	raw, err := json.Marshal(a.Pin())
	if err == nil {
		err = a.cfg.Store.Put(pinName, raw)
	}
	if err != nil {
		a.log.Error("the verifiers to trust cannot be stored", "error", err)
	}
}

// rules are a category's own rules.
type rules struct {
	blob bus.Blob
	raw  []byte
}

// Rules returns a category's own rules that a notice names, read-only: as they were last time, out of the store, or
// over the bus. They are empty where the notice names none.
func (a *Agent) Rules(ctx context.Context, n *bus.Notice, c types.Category) ([]byte, error) {
	i := slices.IndexFunc(n.Rules, func(r bus.Rules) bool { return r.Category == c })
	if i < 0 {
		return nil, nil
	}
	want, name := n.Rules[i].Blob, "rules/"+c.String()
	if last, ok := a.rules.Load(c); ok && last.(rules).blob == want {
		return last.(rules).raw, nil
	}
	raw := a.cfg.Store.Get(name)
	if bus.BlobOf(raw) == want {
		a.rules.Store(c, rules{want, raw})
		return raw, nil
	}
	b := a.Bus()
	if b == nil {
		return nil, types.Refuse(types.BusUnavailable, "agent: rules of %v: there is no connection to the bus", c)
	}
	raw, err := bus.FetchBlob(ctx, b, want.Hash, want.Size)
	if err != nil {
		return nil, fmt.Errorf("agent: rules of %v: %w", c, err)
	}
	if err := a.cfg.Store.Put(name, raw); err != nil {
		a.log.Error("a category's rules cannot be stored", "category", c, "error", err) // they are fetched again after a restart
	}
	a.rules.Store(c, rules{want, raw})
	return raw, nil
}

// pace says when to log again what stays the same: at once when it is new, then after a minute, two, four, and
// so on up to an hour.
type pace struct {
	what bool // what was said last
	next time.Time
	wait time.Duration // 0: nothing was said yet
}

func (p *pace) due(now time.Time, what bool) bool {
	switch {
	case p.wait == 0 || p.what != what:
		p.wait = time.Minute
	case now.Before(p.next):
		return false
	default:
		p.wait = min(2*p.wait, time.Hour)
	}
	p.what, p.next = what, now.Add(p.wait)
	return true
}
