// Package node is the device engine: it holds the device's key, follows the chain through notices, runs the providers of the
// categories that the device serves, and signs, stores and forwards what they hand in.
//
// A node trusts nobody in particular. It logs on to the bus with its key, believes what more than two thirds of the verifiers'
// power signed, and keeps what it has signed on disk until that much power has acknowledged it. With the bus away,
// providers go on, what they hand in waits in the outbox (bounded: see Submit), and goes out when the bus is back.
//
// Killing it at any moment loses nothing that Submit returned for and never makes it sign two envelopes with one number: a
// number is stored, synced, together with the envelope that uses it, before anything is sent. A home that was restored from a
// backup goes on after the number that the tally has seen. Two nodes with one key are caught (equivocation): run one.
//
// Time plays no part in what a node signs; its clock may be wrong. Status says so if it is.
//
// A home directory holds
//
//	device.key    the key, PKCS #8 in PEM, mode 0600
//	node.yaml     Settings: the chain, the owner, what is provided, and the verifiers to start from
//	node.db       the outbox and what the node remembers (bbolt)
//	providers/    one directory per category
//
// Init makes it and returns the claim code that the owner registers the device with.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Config says what a node is and where it finds the bus.
type Config struct {
	Home   string
	Region types.Region
	Owner  types.Account // for the status only
	Cell   types.Cell    // of asks that name none
	// Pin is whom to start from; what the node has followed since, in its home, goes before it.
	Pin bus.Pin
	// Dial logs on to the bus. It is tried until it succeeds; the bus then stays connected by itself.
	Dial func(ctx context.Context, key types.PrivateKey) (bus.Bus, error)
	// Register is what the owner runs to register the device, for the log of one that the network does not know yet; "" for nothing.
	Register string
	// Listen is where status and metrics are served: a local host:port; "" serves none, port 0 takes a free one.
	Listen string
	// Resend is how long the node waits for acknowledgement before it sends again. Default 2 s.
	Resend time.Duration
	// Backoff is how long a provider that failed rests at first; it doubles up to a minute. Default 1 s.
	Backoff time.Duration
}

// Node is the device engine.
type Node struct {
	config    Config
	chain     string
	key       types.PrivateKey
	log       *slog.Logger
	outbox    *outbox
	follower  *bus.Follower
	payers    payers
	providers []*runner
	status    *status
	home      watched
	news      chan struct{}   // a notice was believed
	chore     chan struct{}   // an epoch or a tally may be new
	work      chan struct{}   // something is due
	ready     atomic.Bool     // the tally has been asked which numbers are used up
	life      context.Context // ends with Run
	end       context.CancelFunc

	mu   sync.Mutex
	bus  bus.Bus           // nil until logged on
	asks map[string]*offer // by subject
}

// offer is an ask that is kept published.
type offer struct {
	subject string
	raw     []byte
	ctx     context.Context // of the provider
	shown   bool            // since it was made, or the bus was last away
}

// New opens a home that has a key. Providers run once Run does.
func New(config Config, providers []role.Provider, log *slog.Logger) (*Node, error) {
	if config.Resend == 0 {
		config.Resend = 2 * time.Second
	}
	if config.Backoff == 0 {
		config.Backoff = time.Second
	}
	if err := config.Pin.Check(); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	key, err := LoadKey(config.Home)
	if err != nil {
		return nil, err
	}
	n := &Node{config: config, chain: config.Pin.Chain, key: key, log: log, payers: payers{known: map[types.Key]*payer{}},
		asks: map[string]*offer{}, news: make(chan struct{}, 1), work: make(chan struct{}, 1), chore: make(chan struct{}, 1), status: newStatus()}
	for _, p := range providers {
		dir := filepath.Join(config.Home, "providers", p.Category().String())
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("node: %w: %w", err, types.HomeUnwritable)
		}
		n.providers = append(n.providers, newRunner(n, p, dir))
	}
	if n.outbox, err = openOutbox(filepath.Join(config.Home, "node.db"), key, n.chain); err != nil {
		return nil, err
	}
	n.home.add(config.Home)
	n.home.add(filepath.Join(config.Home, "node.db"))
	n.follower = bus.NewFollower(n.loadPin())
	n.life, n.end = context.WithCancel(context.Background())
	return n, nil
}

// Key is who the device is.
func (n *Node) Key() types.Key { return n.key.Public() }

// Run provides until ctx ends. It returns an error only if it cannot begin.
func (n *Node) Run(ctx context.Context) error {
	defer n.outbox.close()
	defer n.end()
	serve, err := n.listen()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var tasks sync.WaitGroup
	tasks.Go(func() { n.connect(ctx) })
	tasks.Go(func() { n.follow(ctx) })
	tasks.Go(func() { n.chores(ctx) })
	tasks.Go(func() { n.send(ctx) })
	tasks.Go(func() { n.guard(ctx) })
	for _, r := range n.providers {
		tasks.Go(func() { r.run(ctx) })
	}
	tasks.Go(func() { serve(ctx) })
	<-ctx.Done()
	tasks.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bus != nil {
		n.bus.Close()
	}
	return nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// connect logs on, tries until it can, and listens.
func (n *Node) connect(ctx context.Context) {
	var said pace
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 15*time.Second) {
		b, err := n.config.Dial(ctx, n.key)
		if err == nil {
			if err = n.subscribe(ctx, b); err == nil {
				n.mu.Lock()
				n.bus = b
				n.mu.Unlock()
				n.status.connected(nil)
				n.outbox.soon()
				poke(n.news)
				poke(n.work)
				return
			}
			b.Close()
		}
		if ctx.Err() != nil {
			return
		}
		n.status.connected(err)
		unknown := errors.Is(err, types.NotPermitted)
		switch {
		case !said.due(time.Now(), unknown):
		case unknown:
			n.log.Info("the network does not know this device yet: its owner registers it, and it goes on from there by itself", "register", n.config.Register)
		default:
			n.log.Warn("no connection to the bus; it is tried again until there is one", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// pace says when to log again what stays the same: at once when it is new, then after a minute, two, four, and so on up to an hour.
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

// subscribe listens to notices and to acks.
func (n *Node) subscribe(ctx context.Context, b bus.Bus) error {
	err := b.Subscribe(ctx, bus.AckSubject(types.Key{}, b.Key()), func(m bus.Message) { n.takeAck(m.Data) })
	if err != nil {
		return err
	}
	return b.SubscribeLast(ctx, bus.NoticeSubject(types.Key{}, n.config.Region), func(m bus.Message) {
		notice, err := n.follower.Take(m.Data)
		switch {
		case err != nil:
			n.status.ignored()
			n.log.Debug("a notice is thrown away", "subject", m.Subject, "error", err)
		case notice != nil:
			n.status.noticed(notice)
			poke(n.news)
		}
	})
}

func (n *Node) takeAck(raw []byte) {
	ack, verifier, err := bus.Open[bus.Ack](raw, n.chain)
	if err == nil && ack.Region != n.config.Region {
		err = types.Refuse(types.WrongRegion, "node: ack of region %d", ack.Region)
	}
	if err != nil {
		n.log.Debug("an ack is thrown away", "error", err)
		return
	}
	settled, given, err := n.outbox.ack(ack, verifier, n.follower.Pin().Set)
	if err != nil {
		n.log.Warn("ack", "verifier", verifier, "error", err)
	}
	n.status.acked(settled)
	n.giveUp(given)
}

// giveUp reports items that verifiers refused for good.
func (n *Node) giveUp(given []refused) {
	for _, g := range given {
		n.log.Warn("refused", "item", g.item, "type", g.kind, "reason", g.reason)
		n.status.refuse(g.reason, n.epoch(), 1)
	}
}

func (n *Node) epoch() types.Epoch {
	if notice := n.follower.Newest(); notice != nil {
		return notice.Epoch
	}
	return 0
}

// connection returns the bus, nil while it is away.
func (n *Node) connection() bus.Bus {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bus == nil || !n.bus.Connected() {
		return nil
	}
	return n.bus
}

// send hands in what is due, until ctx ends.
func (n *Node) send(ctx context.Context) {
	tick := time.NewTicker(max(n.config.Resend/4, 10*time.Millisecond))
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.work:
		}
		b := n.connection()
		n.status.online(b != nil)
		if b == nil {
			away = true
			continue
		}
		if away {
			away = false
			n.outbox.soon()
			n.hideAsks()
		}
		n.showAsks(ctx, b)
		submits := n.outbox.due(time.Now(), n.config.Resend)
		for _, s := range submits {
			if err := b.Publish(ctx, bus.SubmitSubject(b.Key(), n.config.Region), bus.Encode(s)); err != nil {
				n.log.Debug("hand in", "error", err)
				n.outbox.soon()
				break
			}
		}
		if len(submits) == maxSubmits {
			poke(n.work)
		}
	}
}

// hideAsks has all asks published again.
func (n *Node) hideAsks() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.asks {
		a.shown = false
	}
}

// showAsks puts those asks of running providers on the bus that are not there yet.
func (n *Node) showAsks(ctx context.Context, b bus.Bus) {
	var hidden []*offer
	n.mu.Lock()
	for subject, a := range n.asks {
		if a.ctx.Err() != nil {
			delete(n.asks, subject)
		} else if !a.shown {
			hidden = append(hidden, a)
		}
	}
	n.mu.Unlock()
	for _, a := range hidden {
		if err := n.show(ctx, b, a); err != nil {
			n.log.Debug("publish ask", "error", err) // the next turn tries again
			return
		}
	}
}

func (n *Node) show(ctx context.Context, b bus.Bus, a *offer) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := b.PublishLast(ctx, a.subject, a.raw); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	a.shown = true
	return nil
}
