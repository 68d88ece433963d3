package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

const (
	maxPayers   = 1024 // that providers follow; beyond it those go that nobody asked for longest
	maxSessions = 4096 // of one payer, whose receipts are added up; further ones are not
)

// payers remembers what verifiers say of those who pay. All methods are safe for concurrent use.
type payers struct {
	mu    sync.Mutex
	known map[types.Key]*payer
}

type payer struct {
	line  bus.PayerLine
	fresh bool // more than two thirds of power said so
	used  time.Time
	stop  context.CancelFunc // ends listening to its receipts; nil while nobody listens
	owes  map[session]uint64 // what its newest receipt says
	total uint64             // of that
}

// session is one of a payer's sessions, at any device.
type session struct {
	device types.Key
	id     types.SessionID
}

// promised is what the payer's receipts say beyond what the tally has counted.
func (p *payer) promised() types.Credit {
	return types.Credit(p.total - min(p.total, uint64(p.line.Paid())))
}

// get returns what is known of key, and remembers that somebody wants to know. known is false until verifiers
// have said.
func (p *payers) get(key types.Key) (out role.Payer, known bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.known[key]
	if e == nil {
		if len(p.known) >= maxPayers {
			p.forget()
		}
		e = &payer{owes: map[session]uint64{}}
		p.known[key] = e
	}
	e.used = time.Now()
	if !e.fresh {
		return role.Payer{}, false, nil
	}
	if e.line.Account.IsZero() {
		return role.Payer{}, true, types.Refuse(types.UnknownKey, "node: payer %v", key)
	}
	l := e.line
	return role.Payer{Account: l.Account, Limit: l.Limit, Expiry: l.Expiry, Spent: l.Spent, Balance: l.Balance, Promised: e.promised()}, true, nil
}

// peek is get of a payer that is known, and else does nothing: whom nobody was asked about takes nobody's place.
func (p *payers) peek(key types.Key) (out role.Payer, known bool, err error) {
	if !p.has(key) {
		return role.Payer{}, false, nil
	}
	return p.get(key)
}

func (p *payers) has(key types.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[key] != nil
}

// forget drops the payer that nobody asked for longest. The caller holds mu.
func (p *payers) forget() {
	var oldest types.Key
	for key, e := range p.known {
		if o := p.known[oldest]; o == nil || e.used.Before(o.used) {
			oldest = key
		}
	}
	if e := p.known[oldest]; e != nil && e.stop != nil {
		e.stop()
	}
	delete(p.known, oldest)
}

// keys returns all payers that somebody wants to know of, ascending.
func (p *payers) keys() []types.Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]types.Key, 0, len(p.known))
	for key := range p.known {
		out = append(out, key)
	}
	slices.SortFunc(out, func(a, b types.Key) int { return slices.Compare(a[:], b[:]) })
	return out
}

func (p *payers) set(line bus.PayerLine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.known[line.Key]; e != nil {
		e.line, e.fresh = line, true
	}
}

// listened notes what ends listening to key's receipts, and reports whether somebody was to listen at all.
func (p *payers) listened(key types.Key, stop context.CancelFunc) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.known[key]
	if e == nil || e.stop != nil && stop != nil {
		return false
	}
	e.stop = stop
	return true
}

// receipt takes in a receipt that its payer, or somebody for it, put on the bus.
func (p *payers) receipt(s *receipt.Signed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.known[s.Receipt.Payer]
	if e == nil {
		return
	}
	key := session{s.Receipt.Device, s.Receipt.Session}
	before, ok := e.owes[key]
	amount := uint64(s.Receipt.Amount)
	if !ok && len(e.owes) >= maxSessions || amount <= before || e.total+(amount-before) < e.total {
		return
	}
	e.owes[key] = amount
	e.total += amount - before
}

// watch listens to a payer's receipts on the bus, wherever they are for, once.
func (n *Node) watch(b bus.Bus, key types.Key) {
	ctx, cancel := context.WithCancel(n.life)
	if !n.payers.listened(key, cancel) {
		cancel()
		return
	}
	err := b.SubscribeLast(ctx, bus.ReceiptSubject(types.Key{}, key, types.SessionID{}), func(m bus.Message) {
		s, err := receipt.Decode(m.Data, n.agent.Chain())
		if err == nil && s.Receipt.Payer == key && s.VerifyPayer() {
			n.payers.receipt(s)
		}
	})
	if err != nil {
		cancel()
		n.payers.listened(key, nil) // the next question tries again
		n.log.Debug("a payer's receipts are not to be had", "payer", key, "error", err)
	}
}

// askPayers asks verifiers for keys, ascending, and stores each line that more than two thirds of power give.
func (n *Node) askPayers(ctx context.Context, b bus.Bus, keys []types.Key) {
	for _, key := range keys {
		n.watch(b, key)
	}
	lines, err := n.agent.Quorum().Payers(ctx, n.epoch(), keys)
	if err != nil {
		n.log.Debug("what some payers can pay is not to be had", "error", err)
	}
	for _, line := range lines {
		n.payers.set(line)
	}
}
