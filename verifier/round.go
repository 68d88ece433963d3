package verifier

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Bounds of what one verifier hands over to a leader.
const (
	maxList    = 512 << 20 // bytes of a list of hashes
	maxMissing = maxBlob   // bytes of the items: all that a mempool holds may be missing
)

// maxTries is how often a proposal is judged whose batch cannot be had.
const maxTries = 3

// Bounds of the time in which something must be fetched inside a round, of which it is a quarter: a peer that
// is slower counts as silent, or the round would be over before this verifier has done its part.
const (
	shortFetch = 100 * time.Millisecond
	longFetch  = 5 * time.Minute
)

// rounds make the tally of the epoch that was cut last, with the other verifiers.
type rounds struct {
	*agreement
	round  *round        // that is on; nil for none. Only step and what it calls touch it
	signed atomic.Uint64 // headers whose signature went out
}

// round is this verifier's part in one round of one epoch's tally.
type round struct {
	epoch    types.Epoch
	number   uint8
	ep       *ledger.Epoch
	leader   types.Key
	start    uint64         // the block from which on the round's leader acts
	prev     *ledger.Header // what the header is built on; nil for the region's first
	base     *tally.State
	registry *registry

	// What this verifier acknowledged and the batch must hold.
	items []tally.Item
	names []tally.Name

	// Beside a leader.
	answered bool
	required map[types.Hash]bool   // of its own items, those that must be in; nil: all
	judged   map[types.Hash]int    // proposals, by header: how often they were tried
	unable   map[types.Hash]uint64 // proposals that could not be checked here, by header: in which block they were tried last

	// As the leader.
	announced bool
	union     map[types.Hash]bool
	heard     map[types.Key]bool // whose missing items are in the union
	proposed  bool

	patience time.Duration // for one fetch

	enough uint64 // the block at which more than two thirds had signed; 0 before
}

// step does what can be done now in the tally of the epoch that was cut last.
func (x *rounds) step(ctx context.Context) {
	if err := x.takePart(ctx); err != nil && ctx.Err() == nil {
		x.log.Warn("no part in the round", "error", err)
	}
}

func (x *rounds) takePart(ctx context.Context) error {
	head, err := x.ledger.Head(ctx)
	if err != nil {
		return err
	}
	now := x.clock.now()
	if now == nil || head.Epoch < 2 || now.epoch.Epoch < head.Epoch {
		return nil // intake still fills the mempool
	}
	e := head.Epoch - 1
	ep, err := x.ledger.Epoch(ctx, e) // not x.epoch: somebody may have been jailed since
	if err != nil {
		return err
	}
	number, ok := ep.RoundAt(head.Height + 1)
	leader, led := ep.Leader(x.cfg.Region, number)
	if !ok || !led || ep.Rules != x.cfg.Version {
		return nil
	}
	status, err := x.ledger.Header(ctx, e, x.cfg.Region)
	if err != nil || status.Status != ledger.Open {
		x.round = nil // and with it the items
		return err
	}
	r, err := x.enter(ctx, ep, number, leader)
	if err != nil && ctx.Err() == nil {
		x.abstains.note(e, err)
	}
	if r == nil || err != nil {
		return err
	}
	r.patience = patience(ep, head)
	if r.leader == x.key {
		if err = x.lead(ctx, r, head); errors.Is(err, errUnable) {
			x.abstains.note(r.epoch, err)
		}
	} else {
		err = x.assist(ctx, r, head)
	}
	x.collect(ctx, r, head)
	return err
}

// patience returns a quarter of a round's length, going by how long the blocks since the epoch's first took.
func patience(ep *ledger.Epoch, head ledger.Block) time.Duration {
	if head.Height <= ep.First {
		return shortFetch
	}
	block := head.Time.Sub(ep.Time) / time.Duration(head.Height-ep.First)
	return min(max(block*time.Duration(ep.Round)/4, shortFetch), longFetch)
}

// enter returns the round that is on, which it prepares; nil while the state before is not known.
func (x *rounds) enter(ctx context.Context, ep *ledger.Epoch, number uint8, leader types.Key) (*round, error) {
	p, err := readPath(ctx, x.ledger, x.cfg.Region, ep.Epoch)
	if err != nil {
		return nil, err
	}
	old := x.round
	if old != nil && old.epoch == ep.Epoch && old.number == number && sameHeader(old.prev, p.tip) {
		return old, nil
	}
	r := &round{
		epoch: ep.Epoch, number: number, ep: ep, leader: leader, prev: p.tip, start: ep.Cut + uint64(number)*ep.Round,
		judged: map[types.Hash]int{}, unable: map[types.Hash]uint64{}, heard: map[types.Key]bool{},
	}
	if number == 0 {
		r.start++
	}
	if r.base = x.archive.state(p.tip); r.base == nil {
		return nil, nil // Follow is at it, or the tip is wrong
	}
	changes, err := changesSince(ctx, x.ledger, r.base.Epoch(), r.epoch, x.cfg.Region)
	if err != nil {
		return nil, err
	}
	r.registry = newRegistry(r.base, changes)
	if old != nil && old.epoch == r.epoch && sameHeader(old.prev, r.prev) && len(old.union) == 0 {
		r.items, r.names = old.items, old.names
	} else if r.items, r.names, err = x.mempools.own(r.registry, r.base.Epoch(), r.epoch); err != nil {
		return nil, err
	}
	x.round = r
	x.forget(r.epoch - min(r.epoch, 2))
	return r, nil
}

func sameHeader(a, b *ledger.Header) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Hash == b.Hash
}

// lead announces, waits for what the others have besides, and proposes.
func (x *rounds) lead(ctx context.Context, r *round, head ledger.Block) error {
	if r.proposed {
		return nil
	}
	if h := x.archive.signed(r.epoch, x.cfg.Region, r.number); h != nil {
		return x.publish(ctx, r, h)
	}
	if !r.announced {
		r.union = map[types.Hash]bool{}
		list := make([]types.Hash, 0, len(r.names))
		for i := range r.names {
			if h := r.names[i].Hash; !r.union[h] {
				r.union[h] = true
				list = append(list, h)
			}
		}
		name, err := x.archive.blobs.put(r.epoch, bus.Hashes(list))
		if err != nil {
			return fmt.Errorf("%w: %w", errUnable, err)
		}
		inv := &bus.Inventory{Chain: x.chain, Epoch: r.epoch, Region: x.cfg.Region, Round: r.number, Items: name, Count: uint64(len(list))}
		if err := x.bus.PublishLast(ctx, bus.InventorySubject(x.key, x.cfg.Region), bus.Seal(x.cfg.Key, inv)); err != nil {
			return err
		}
		r.announced = true
	}
	for who, m := range x.messages.missingFor(r.epoch, r.number, x.key) {
		if r.heard[who] || who == x.key {
			continue
		}
		r.heard[who] = true // also if it cannot be had: once is enough
		if err := x.addMissing(ctx, r, who, m); err != nil {
			x.log.Warn("missing items were not taken", "from", who, "error", err)
		}
	}
	for _, a := range r.ep.Verifiers {
		if a.Power > 0 && a.Key != x.key && !r.heard[a.Key] && head.Height < r.start+r.ep.Grace {
			return nil // there is still time
		}
	}
	return x.propose(ctx, r)
}

// addMissing adds what another verifier acknowledged to the union: what is well formed, signed, from a
// registered author and within its quota. What no verifier can have acknowledged would make a batch longer than
// a round takes: of an author's items beyond the quota the rest is left out, and of missing items one of which
// is not signed, all are a lie.
func (x *rounds) addMissing(ctx context.Context, r *round, who types.Key, m *bus.MissingItems) error {
	if m.Count == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	raw, err := bus.FetchBlobFrom(ctx, x.bus, who, m.Items, maxMissing)
	if err != nil {
		return err
	}
	list, err := bus.ParseItems(raw)
	if err != nil {
		return err
	}
	b := &tally.Batch{}
	used := map[quotaKey]handed{}
	for _, it := range list {
		if hash := it.Hash(); !r.union[hash] && x.admissible(r, it, used) {
			b.Items = append(b.Items, tally.Item{Type: tally.ItemType(it.Type), Raw: it.Raw})
		}
	}
	_, names, all := check(b, x.chain, x.cfg.Workers, x.mempools.acknowledged(), true)
	if !all {
		return types.Refuse(types.BadSignature, "verifier: missing items, one of which is not signed")
	}
	for i := range b.Items {
		if !r.union[names[i].Hash] {
			r.union[names[i].Hash] = true
			r.items, r.names = append(r.items, b.Items[i]), append(r.names, names[i])
		}
	}
	return nil
}

// handed is how much of an author's quota the missing items of one verifier use.
type handed struct{ count, bytes uint64 }

// admissible reports whether an item that another verifier acknowledged may be in the batch at all. used is
// what that verifier's had before it; its mempool of each epoch since the header before is within the quota.
func (x *rounds) admissible(r *round, raw bus.Item, used map[quotaKey]handed) bool {
	it, err := open(tally.ItemType(raw.Type), raw.Raw, x.chain)
	if err != nil || checkAuthor(it, r.registry, x.book, r.epoch) != "" {
		return false
	}
	key, limit := x.book.quota(it)
	epochs := uint64(r.epoch - r.base.Epoch())
	u := used[key]
	u.count, u.bytes = u.count+1, u.bytes+uint64(len(it.raw))
	if u.count > epochs*uint64(limit.Count) || u.bytes > epochs*uint64(limit.Bytes) {
		return false
	}
	used[key] = u
	return true
}

// propose computes the header over the union, signs it, and publishes both.
func (x *rounds) propose(ctx context.Context, r *round) error {
	batch := tally.Arrange(r.items, r.names)
	began := time.Now()
	in, err := x.inputs(ctx, r.base, &tally.Header{
		Epoch: r.epoch, Region: x.cfg.Region, Round: r.number, Leader: x.key,
		VRF: beacon.Prove(x.cfg.VRF, x.chain, r.ep.Seed, x.cfg.Region),
	}, r.prev)
	if err != nil {
		return err
	}
	c, err := x.tally(in, batch.Encode(), false)
	if err != nil {
		return err
	}
	if err := x.archive.save(c, types.Hash{}, types.Hash{}); err != nil {
		return fmt.Errorf("%w: %w", errUnable, err)
	}
	x.abstains.clear(r.epoch)
	if before, err := x.archive.sign(c.header); err != nil || before != nil {
		return fmt.Errorf("verifier: epoch %d, round %d was signed before: %w", r.epoch, r.number, err)
	}
	x.log.Info("proposing a header", "epoch", r.epoch, "round", r.number, "items", len(batch.Items), "took", time.Since(began))
	x.note(c)
	return x.publish(ctx, r, c.header)
}

// publish publishes a header that this verifier leads with, and signed. After a restart it is the one from
// before: another header would cost the stake.
func (x *rounds) publish(ctx context.Context, r *round, h *tally.Header) error {
	t := x.archive.tally(h.Hash())
	if t == nil {
		return fmt.Errorf("verifier: the tally of header %s is not on disk", h.Hash())
	}
	m := &bus.Proposal{Chain: x.chain, Epoch: h.Epoch, Region: h.Region, Round: h.Round, Header: t.Header}
	for hash, to := range map[types.Hash]*bus.Blob{t.Frame: &m.Frame, t.Batch: &m.Batch, t.Changes: &m.Change} {
		_, size, _ := x.archive.blobs.ReadBlob(hash, nil, 0)
		*to = bus.Blob{Hash: hash, Size: uint64(size)}
	}
	if t.Changes == t.Batch { // both empty: one key in the map
		m.Change = m.Batch
	}
	if err := x.bus.PublishLast(ctx, bus.ProposalSubject(x.key, x.cfg.Region), bus.Seal(x.cfg.Key, m)); err != nil {
		return err
	}
	r.proposed = true
	return x.publishSignature(ctx, h)
}

func (x *rounds) publishSignature(ctx context.Context, h *tally.Header) error {
	s := bus.SignHeader(x.cfg.Key, x.chain, h.Epoch, h.Region, h.Round, h.Hash())
	err := x.bus.PublishLast(ctx, bus.SignatureSubject(x.key, x.cfg.Region), bus.Seal(x.cfg.Key, s))
	if err == nil {
		x.signed.Add(1)
	}
	return err
}

// assist hands over what the leader lacks, and judges what it proposes.
func (x *rounds) assist(ctx context.Context, r *round, head ledger.Block) error {
	if inv, ok := x.messages.inventoryOf(r.epoch, r.number, r.leader); ok && !r.answered {
		if err := x.sendMissing(ctx, r, inv, head); err != nil {
			// Not said, so all that it acknowledged must be in the batch.
			x.log.Warn("no missing items sent", "epoch", r.epoch, "round", r.number, "leader", r.leader, "why", err)
		}
	}
	for _, m := range x.messages.proposalsBy(r.epoch, r.number, r.leader) {
		h, err := tally.DecodeHeader(m.Header)
		if err != nil || r.judged[h.Hash()] >= maxTries || r.unable[h.Hash()] == head.Height {
			continue
		}
		err = x.judge(ctx, r, h, m.Batch.Size)
		if errors.Is(err, errUnable) { // it says nothing of the header, which is looked at again with the next block
			r.unable[h.Hash()] = head.Height
			x.abstains.note(r.epoch, err)
			x.log.Warn("a proposal is not signed: it could not be checked", "epoch", r.epoch, "round", r.number, "why", err)
			continue
		}
		x.abstains.clear(r.epoch)
		r.judged[h.Hash()]++
		if why := types.ReasonOf(err); why != types.UnknownBlob && why != types.BusUnavailable && !errors.Is(err, context.DeadlineExceeded) {
			r.judged[h.Hash()] = maxTries // signed, or wrong
		}
		if err != nil {
			x.log.Warn("a proposal is not signed", "epoch", r.epoch, "round", r.number, "leader", r.leader, "why", err)
		}
	}
	return nil
}

// sendMissing publishes what this verifier acknowledged and the leader lacks.
func (x *rounds) sendMissing(ctx context.Context, r *round, inv inventoryAt, head ledger.Block) error {
	fetch, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	var theirs []types.Hash
	if inv.Count > 0 {
		raw, err := bus.FetchBlobFrom(fetch, x.bus, r.leader, inv.Items, maxList)
		if err != nil {
			return fmt.Errorf("verifier: what the leader holds: %w", err)
		}
		if theirs, err = bus.ParseHashes(raw); err != nil {
			r.answered = true // it will not get better; all must be in
			return err
		}
	}
	has := make(map[types.Hash]bool, len(theirs))
	for _, h := range theirs {
		has[h] = true
	}
	var missing []types.Hash
	var items []bus.Item
	for i := range r.names {
		if h := r.names[i].Hash; !has[h] {
			has[h] = true
			missing = append(missing, h)
			items = append(items, bus.Item{Type: bus.ItemType(r.items[i].Type), Raw: r.items[i].Raw})
		}
	}
	m := &bus.MissingItems{Chain: x.chain, Epoch: r.epoch, Region: x.cfg.Region, Round: r.number, Leader: r.leader, Count: uint64(len(items))}
	var err error
	if m.Missing, err = x.archive.blobs.put(r.epoch, bus.Hashes(missing)); err != nil {
		return err
	}
	if m.Items, err = x.archive.blobs.put(r.epoch, bus.Items(items)); err != nil {
		return err
	}
	if err := x.bus.PublishLast(ctx, bus.MissingSubject(x.key, x.cfg.Region), bus.Seal(x.cfg.Key, m)); err != nil {
		return err
	}
	r.answered = true
	if head.Height > max(r.start, inv.height)+r.ep.Grace {
		// Too late: the leader need not have waited. Only what it said it holds must be in.
		r.required = map[types.Hash]bool{}
		late := map[types.Hash]bool{}
		for _, h := range missing {
			late[h] = true
		}
		for i := range r.names {
			if h := r.names[i].Hash; !late[h] {
				r.required[h] = true
			}
		}
	}
	return nil
}

// judge recomputes a proposed header, whose batch the leader says to be so long, and signs it if it is the same.
func (x *rounds) judge(ctx context.Context, r *round, h *tally.Header, size uint64) error {
	for _, a := range r.ep.Verifiers {
		if a.Key == r.leader {
			if _, err := beacon.Output(a.VRF, x.chain, r.ep.Seed, x.cfg.Region, h.VRF); err != nil {
				return err
			}
		}
	}
	inputs, err := x.inputs(ctx, r.base, h, r.prev)
	if err != nil {
		return err
	}
	raw := tally.Arrange(r.items, r.names).Encode()
	if types.Sum(raw) != h.Batch { // the leader holds more, or less
		if raw, err = x.archive.blobs.get(h.Batch); err != nil {
			fetch, cancel := context.WithTimeout(ctx, r.patience)
			defer cancel()
			if raw, err = bus.FetchBlobFrom(fetch, x.bus, r.leader, bus.Blob{Hash: h.Batch, Size: size}, maxBlob); err != nil {
				if !x.bus.Connected() {
					return fmt.Errorf("%w: its link to the bus is down: %w", errUnable, err)
				}
				return err
			}
		}
	}
	c, err := x.tally(inputs, raw, true) // no honest leader takes in what is not signed
	if err != nil {
		return err
	}
	// By name, not by hash: an item's bytes under another type would be in the batch and count for nothing.
	in := make(map[tally.Name]bool, len(c.names))
	for i := range c.names {
		in[c.names[i]] = true
	}
	for i := range r.names {
		if hash := r.names[i].Hash; !in[r.names[i]] && (r.required == nil || r.required[hash]) {
			x.decline(h.Hash())
			return fmt.Errorf("it leaves out %s of %v, which was acknowledged", hash, r.names[i].Author)
		}
	}
	if c.hash != h.Hash() {
		return types.Refuse(types.Mismatch, "%s", difference(c.header, h))
	}
	if err := x.archive.save(c, types.Hash{}, types.Hash{}); err != nil {
		return fmt.Errorf("%w: %w", errUnable, err)
	}
	x.note(c)
	if before, err := x.archive.sign(c.header); err != nil || before != nil {
		return fmt.Errorf("another header of the round was signed before: %w", err)
	}
	return x.publishSignature(ctx, h)
}

// collect commits a header that more than two thirds of power signed: the leader as soon as all signed or a
// block has passed, everybody else one block later.
func (x *rounds) collect(ctx context.Context, r *round, head ledger.Block) {
	h := x.archive.signed(r.epoch, x.cfg.Region, r.number)
	if h == nil {
		return // what this verifier did not compute alike it does not commit
	}
	hash := h.Hash()
	sigs := x.messages.signaturesOf(r.epoch, r.number, hash)
	sigs[x.key] = x.cfg.Key.Sign("header", x.chain, hash[:])
	msg := ledger.Commit{Header: h.Encode(), Bitmap: make([]byte, (len(r.ep.Verifiers)+7)/8)}
	var power uint64
	for i, a := range r.ep.Verifiers {
		if sig, ok := sigs[a.Key]; ok && a.Power > 0 {
			power += a.Power
			msg.Bitmap[i/8] |= 1 << (i % 8)
			msg.Signatures = append(msg.Signatures, sig)
		}
	}
	if !r.ep.Enough(power) {
		return
	}
	if r.enough == 0 {
		r.enough = head.Height
	}
	next, ok := r.ep.RoundAt(head.Height + 2)
	last := !ok || next != r.number // the next block is the round's last
	switch waited := head.Height - r.enough; {
	case r.leader == x.key && (power == r.ep.Power() || waited >= 1 || last):
	case r.leader != x.key && (waited >= 2 || last && waited >= 1):
	default:
		return
	}
	x.sender.submit(ctx, r.epoch, fmt.Sprintf("header of epoch %d, round %d", r.epoch, r.number), msg)
}
