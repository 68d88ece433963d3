// Package node is the device engine: it holds the device's key, follows the chain through notices, runs the
// providers of the categories that the device serves, and signs, stores and forwards what they hand in.
//
// A node trusts nobody in particular. It logs on to the bus with its key, believes what more than two thirds of
// the verifiers' power signed, and keeps what it has signed on disk until that much power has acknowledged it.
// With the bus away, providers go on, what they hand in waits in the outbox (bounded: see Submit), and goes out
// when the bus is back.
//
// Killing it at any moment loses nothing that Submit returned for and never makes it sign two envelopes with
// one number: a number is stored, synced, together with the envelope that uses it, before anything is sent. A
// home that was restored from a backup goes on after the number that the tally has seen. Two nodes with one key
// are caught (equivocation): run one.
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
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/service/role"
)

// Config says what a node is and where it finds the bus.
type Config struct {
	Home  string
	Owner types.Account // for the status only
	Cell  types.Cell    // of asks that name none
	// Pin is whom to start from, and in which chain and region; what the node has followed since, in its home,
	// goes before it.
	Pin bus.Pin
	// Dial logs on to the bus. It is tried until it succeeds; the bus then stays connected by itself.
	Dial func(ctx context.Context, key types.PrivateKey) (bus.Bus, error)
	// Register is what the owner runs to register the device, for the log of one that the network does not know
	// yet; "" for nothing.
	Register string
	// Disk says when the node warns that a disk of its home gets full, and when it takes nothing new on
	// (role.Host.Room). It never stops because of it: what it holds it proves and serves. Zero: never.
	Disk disk.Limits
	// Private are the addresses beyond the public internet where devices may be that this one looks at as a
	// witness (role.DialDevice).
	Private []netip.Prefix
	// Listen is where status and metrics are served: a local host:port; "" serves none, port 0 takes a free one.
	Listen string
	// NewFolders are categories whose folder is lost for good: what is there now is taken for it. Else a node
	// whose folder is missing or another's does not start: its disk may not be mounted.
	NewFolders []string
	// Resend is how long the node waits for acknowledgement before it sends again. Default 2 s.
	Resend time.Duration
	// Backoff is how long a provider that failed rests at first; it doubles up to a minute. Default 1 s.
	Backoff time.Duration
}

// Node is the device engine.
type Node struct {
	config    Config
	agent     *agent.Agent
	key       types.PrivateKey
	log       *slog.Logger
	outbox    *agent.Spool
	payers    payers
	asks      board
	beats     beats
	desk      *desk // nil where no provider serves requests
	providers []*runner
	status    *status
	home      watched
	disks     disks
	told      chan struct{}   // the providers were told of a notice
	ready     atomic.Bool     // the tally has been asked which numbers are used up
	life      context.Context // ends with Run
	end       context.CancelFunc
}

// New opens a home that has a key. Providers run once Run does.
func New(config Config, providers []role.Provider, log *slog.Logger) (*Node, error) {
	if config.Resend == 0 {
		config.Resend = 2 * time.Second
	}
	if config.Backoff == 0 {
		config.Backoff = time.Second
	}
	key, err := LoadKey(config.Home)
	if err != nil {
		return nil, err
	}
	n := &Node{config: config, key: key, log: log, payers: payers{known: map[types.Key]*payer{}}, asks: newBoard(), beats: newBeats(),
		disks: disks{limits: config.Disk, look: disk.Free}, told: make(chan struct{}, 1), status: newStatus()}
	n.outbox, err = agent.OpenSpool(filepath.Join(config.Home, "node.db"), key, config.Pin.Chain)
	if errors.Is(err, types.HomeBusy) {
		return nil, fmt.Errorf("node: another process runs this device: %w", err)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range providers {
		r := newRunner(n, p, filepath.Join(config.Home, "providers", p.Category.String()))
		if err := r.holdFolders(config.anew(p.Category)); err != nil {
			n.outbox.Close()
			return nil, err
		}
		n.providers = append(n.providers, r)
		if r.requests != nil && n.desk == nil {
			n.desk = newDesk(n)
		}
	}
	n.agent, err = agent.New(agent.Config{Key: key, Pin: config.Pin, Dial: config.Dial, Unknown: config.Register, Store: n.outbox, Log: log})
	if err != nil {
		n.outbox.Close()
		return nil, fmt.Errorf("node: %w", err)
	}
	n.home.add(config.Home)
	n.home.add(filepath.Join(config.Home, "node.db"))
	n.life, n.end = context.WithCancel(context.Background())
	return n, nil
}

// Key is who the device is.
func (n *Node) Key() types.Key { return n.key.Public() }

// Run provides until ctx ends. It returns an error only if it cannot begin.
func (n *Node) Run(ctx context.Context) error {
	defer n.outbox.Close()
	defer n.end()
	serve, err := n.listen()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var tasks sync.WaitGroup
	tasks.Go(func() { n.agent.Run(ctx, n.begin) })
	tasks.Go(func() { n.follow(ctx) })
	tasks.Go(func() { n.chores(ctx) })
	tasks.Go(func() { n.outbox.Run(ctx, n.agent, n.config.Resend) })
	tasks.Go(func() { n.asks.run(ctx, n.agent, n.config.Resend) })
	tasks.Go(func() { n.beats.run(ctx, n.agent, n.key) })
	tasks.Go(func() { n.guard(ctx) })
	for _, r := range n.providers {
		tasks.Go(func() { r.run(ctx) })
		if witness := r.provider.Witness; witness != nil {
			tasks.Go(func() {
				agent.Keep(ctx, r.log, n.config.Backoff, func(ctx context.Context) error { return witness(ctx, r) }, nil)
			})
		}
	}
	tasks.Go(func() { serve(ctx) })
	<-ctx.Done()
	tasks.Wait()
	return nil
}

// begin listens to acks and to requests, on a bus that the node has logged on to.
func (n *Node) begin(ctx context.Context, b bus.Bus) error {
	if n.desk != nil {
		if err := n.desk.open(ctx, b); err != nil {
			return err
		}
	}
	return n.agent.Acks(ctx, b, func(ack *bus.Ack, verifier types.Key) error {
		settled, given, err := n.outbox.Acked(ack, verifier, n.agent.Pin().Set)
		n.status.acked(settled)
		n.giveUp(given)
		return err
	})
}

// giveUp reports items that verifiers refused for good.
func (n *Node) giveUp(given []agent.GivenUp) {
	for _, g := range given {
		n.log.Warn("refused", "item", g.Hash, "type", g.Type, "reason", g.Reason)
		n.status.refuse(g.Reason, n.epoch(), 1)
	}
}

func (n *Node) epoch() types.Epoch {
	if notice := n.agent.Notice(); notice != nil {
		return notice.Epoch
	}
	return 0
}
