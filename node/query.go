package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

const (
	queryTimeout = 3 * time.Second
	maxPayers    = 1024 // that providers follow; beyond it those go that nobody asked for longest
	maxSessions  = 4096 // of one payer, whose receipts are added up; further ones are not
	maxLine      = 8 << 20
)

// votes counts what verifiers say, one voice each, until something has more than two thirds of power.
type votes struct {
	set  bus.Set
	said map[types.Key]bool
	sum  map[types.Hash]uint64 // by hash of what is said
}

func newVotes(set bus.Set) *votes {
	return &votes{set: set, said: map[types.Key]bool{}, sum: map[types.Hash]uint64{}}
}

// hear takes one voice and reports whether its power is new.
func (v *votes) hear(verifier types.Key) (power uint64, ok bool) {
	power = v.set.Power(verifier)
	if power == 0 || v.said[verifier] {
		return 0, false
	}
	v.said[verifier] = true
	return power, true
}

// add counts power for what and reports whether that is enough.
func (v *votes) add(what any, power uint64) bool {
	hash := types.Sum(types.Encode(what))
	v.sum[hash] += power
	return v.set.Enough(v.sum[hash])
}

// line fetches the device's line after the newest tally: what more than two thirds of power say of it. Before the first
// tally it is empty.
func (n *Node) line(ctx context.Context, b bus.Bus, notice *bus.Notice) (*bus.Line, error) {
	set, tallied := notice.Set, notice.Tallied.Epoch
	if notice.Tallied.Header.IsZero() {
		return &bus.Line{Tallied: tallied}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	query := &bus.LineQuery{Chain: n.chain, Region: n.config.Region, Device: n.key.Public(), Tallied: tallied}
	v, found := newVotes(set), (*bus.Line)(nil)
	err := b.Gather(ctx, bus.QuerySubject(b.Key(), n.config.Region, bus.QueryLine), bus.Encode(query), func(raw []byte) bool {
		line, verifier, err := bus.Open[bus.Line](raw, n.chain)
		if err != nil || line.Region != query.Region || line.Device != query.Device || line.Tallied != tallied {
			return true
		}
		if power, ok := v.hear(verifier); ok && v.add(line, power) {
			found = line
		}
		return found == nil
	})
	if found == nil {
		return nil, err
	}
	for i := range found.Lines {
		c := &found.Lines[i]
		if c.Blob.Size > bus.MaxInline {
			if c.State, err = bus.FetchBlob(ctx, b, c.Blob.Hash, min(c.Blob.Size, maxLine)); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// proof fetches the device's leaf of a header and holds it against what the notice says of that header; false if nobody
// shows one.
func (n *Node) proof(ctx context.Context, b bus.Bus, root bus.Root, tallied bool) (tally.Leaf, bool) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	query := &bus.ProofQuery{Chain: n.chain, Region: n.config.Region, Device: n.key.Public(), Tallied: tallied}
	var leaf tally.Leaf
	found := false
	_ = b.Gather(ctx, bus.QuerySubject(b.Key(), n.config.Region, bus.QueryProof), bus.Encode(query), func(raw []byte) bool {
		p, err := bus.Decode[bus.Proof](raw, n.chain)
		if err == nil && p.Region == query.Region && p.Check(query.Device, root) == nil {
			leaf, found = p.Leaf, true
		}
		return !found
	})
	return leaf, found
}

// refusals asks which of the device's items a tally refused: what more than two thirds of power say.
func (n *Node) refusals(ctx context.Context, b bus.Bus, set bus.Set, e types.Epoch) *bus.Refusals {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	query := &bus.RefusalsQuery{Chain: n.chain, Region: n.config.Region, Author: n.key.Public(), Epoch: e}
	v, found := newVotes(set), (*bus.Refusals)(nil)
	_ = b.Gather(ctx, bus.QuerySubject(b.Key(), n.config.Region, bus.QueryRefusals), bus.Encode(query), func(raw []byte) bool {
		r, verifier, err := bus.Open[bus.Refusals](raw, n.chain)
		if err != nil || r.Region != query.Region || r.Author != query.Author || r.Epoch != e {
			return true
		}
		if power, ok := v.hear(verifier); ok && v.add(r, power) {
			found = r
		}
		return found == nil
	})
	return found
}

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

// get returns what is known of key, and remembers that somebody wants to know. known is false until verifiers have said.
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
		s, err := receipt.Decode(m.Data, n.chain)
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
func (n *Node) askPayers(ctx context.Context, b bus.Bus, set bus.Set, keys []types.Key) {
	for _, key := range keys {
		n.watch(b, key)
	}
	for part := range slices.Chunk(keys, bus.MaxPayers) {
		n.askSome(ctx, b, set, part)
	}
}

func (n *Node) askSome(ctx context.Context, b bus.Bus, set bus.Set, keys []types.Key) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	query := &bus.PayersQuery{Chain: n.chain, Region: n.config.Region, Payers: keys}
	type said struct { // what verifiers have to agree on
		_              struct{} `cbor:",toarray"`
		Epoch, Tallied types.Epoch
		Line           bus.PayerLine
	}
	v, missing := newVotes(set), len(keys)
	done := make([]bool, len(keys))
	_ = b.Gather(ctx, bus.QuerySubject(b.Key(), n.config.Region, bus.QueryPayers), bus.Encode(query), func(raw []byte) bool {
		answer, verifier, err := bus.Open[bus.Payers](raw, n.chain)
		if err != nil || answer.Region != query.Region || len(answer.Lines) != len(keys) || answer.Epoch+1 < n.epoch() {
			return true // or of long ago: whoever asked then can repeat it, seals and all
		}
		power, ok := v.hear(verifier)
		if !ok {
			return true
		}
		for i, line := range answer.Lines {
			if line.Key != keys[i] || done[i] {
				continue
			}
			if v.add(&said{Epoch: answer.Epoch, Tallied: answer.Tallied, Line: line}, power) {
				n.payers.set(line)
				done[i] = true
				missing--
			}
		}
		return missing > 0
	})
}
