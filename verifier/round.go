package verifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// Bounds of the time in which something must be fetched inside a round, of which it is a quarter: a peer that is slower counts as
// silent, or the round would be over before this verifier has done its part.
const (
	shortFetch = 100 * time.Millisecond
	longFetch  = 5 * time.Minute
)

// round is this verifier's part in one round of one epoch's tally. Rounds owns it.
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
func (v *Verifier) step(ctx context.Context) {
	if err := v.takePart(ctx); err != nil && ctx.Err() == nil {
		v.log.Warn("no part in the round", "error", err)
	}
}

func (v *Verifier) takePart(ctx context.Context) error {
	head, err := v.ledger.Head(ctx)
	if err != nil {
		return err
	}
	now := v.intake.now.Load()
	if now == nil || head.Epoch < 2 || now.epoch.Epoch < head.Epoch {
		return nil // intake still fills the mempool
	}
	e := head.Epoch - 1
	ep, err := v.ledger.Epoch(ctx, e) // not v.epoch: somebody may have been jailed since
	if err != nil {
		return err
	}
	number, ok := ep.RoundAt(head.Height + 1)
	if !ok || int(number) >= len(ep.Leaders) || ep.Rules != v.cfg.Version {
		return nil
	}
	status, err := v.ledger.Header(ctx, e, v.cfg.Region)
	if err != nil || status.Status != ledger.Open {
		v.round = nil // and with it the items
		return err
	}
	r, err := v.enter(ctx, ep, number)
	if err != nil && ctx.Err() == nil {
		v.unable(e, err)
	}
	if r == nil || err != nil {
		return err
	}
	r.patience = patience(ep, head)
	if r.leader == v.key {
		err = v.lead(ctx, r, head)
	} else {
		err = v.assist(ctx, r, head)
	}
	v.collect(ctx, r, head)
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
func (v *Verifier) enter(ctx context.Context, ep *ledger.Epoch, number uint8) (*round, error) {
	p, err := readPath(ctx, v.ledger, v.cfg.Region, ep.Epoch)
	if err != nil {
		return nil, err
	}
	old := v.round
	if old != nil && old.epoch == ep.Epoch && old.number == number && sameHeader(old.prev, p.tip) {
		return old, nil
	}
	r := &round{
		epoch: ep.Epoch, number: number, ep: ep, leader: ep.Leaders[number], prev: p.tip, start: ep.Cut + uint64(number)*ep.Round,
		judged: map[types.Hash]int{}, unable: map[types.Hash]uint64{}, heard: map[types.Key]bool{},
	}
	if number == 0 {
		r.start++
	}
	if r.base = v.stateOf(p.tip); r.base == nil {
		return nil, nil // Follow is at it, or the tip is wrong
	}
	changes, err := changesSince(ctx, v.ledger, r.base.Epoch(), r.epoch, v.cfg.Region)
	if err != nil {
		return nil, err
	}
	r.registry = newRegistry(r.base, changes)
	if old != nil && old.epoch == r.epoch && sameHeader(old.prev, r.prev) && len(old.union) == 0 {
		r.items, r.names = old.items, old.names
	} else if r.items, r.names, err = v.own(r.registry, r.base.Epoch(), r.epoch); err != nil {
		return nil, err
	}
	v.round = r
	v.mu.Lock()
	defer v.mu.Unlock()
	for hash, c := range v.computed { // what the chain took of them Follow has adopted, or finds on the disk
		if c.header.Epoch+1 < r.epoch {
			delete(v.computed, hash)
		}
	}
	return r, nil
}

func sameHeader(a, b *ledger.Header) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Hash == b.Hash
}

// own returns what this verifier acknowledged for the batch of epoch e: all of that epoch, and what lasts of the epochs since
// the region's last header, which had none that stands. What lasts is judged again by the view of e, as a leader judges what it
// is handed (see admissible): an author may have left since, and whoever still insisted on its items would sign no batch at all.
func (v *Verifier) own(reg *registry, last, e types.Epoch) (items []tally.Item, names []tally.Name, err error) {
	for k := last + 1; k <= e; k++ {
		b, err := v.mempool(k, false)
		if err != nil {
			return nil, nil, err
		}
		if b == nil {
			continue
		}
		is, ns, err := b.items(k < e)
		if err != nil {
			return nil, nil, err
		}
		for i := range is {
			if k < e {
				it, err := open(is[i].Type, is[i].Raw, v.chain)
				if err != nil || checkAuthor(it, reg, v.book, e) != "" {
					continue
				}
			}
			items, names = append(items, is[i]), append(names, ns[i])
		}
	}
	return items, names, nil
}

// lead announces, waits for what the others have besides, and proposes.
func (v *Verifier) lead(ctx context.Context, r *round, head ledger.Block) error {
	if r.proposed {
		return nil
	}
	if h := v.store.signed(r.epoch, v.cfg.Region, r.number); h != nil {
		return v.resume(ctx, r, h)
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
		name, err := v.store.blobs.put(r.epoch, bus.Hashes(list))
		if err != nil {
			return err
		}
		inv := &bus.Inventory{Chain: v.chain, Epoch: r.epoch, Region: v.cfg.Region, Round: r.number, Items: name, Count: uint64(len(list))}
		if err := v.bus.PublishLast(ctx, bus.InventorySubject(v.key, v.cfg.Region), bus.Seal(v.cfg.Key, inv)); err != nil {
			return err
		}
		r.announced = true
	}
	for who, m := range v.messages.missingFor(r.epoch, r.number, v.key) {
		if r.heard[who] || who == v.key {
			continue
		}
		r.heard[who] = true // also if it cannot be had: once is enough
		if err := v.addMissing(ctx, r, who, m); err != nil {
			v.log.Warn("missing items were not taken", "from", who, "error", err)
		}
	}
	for _, a := range r.ep.Verifiers {
		if a.Power > 0 && a.Key != v.key && !r.heard[a.Key] && head.Height < r.start+r.ep.Grace {
			return nil // there is still time
		}
	}
	return v.propose(ctx, r)
}

// addMissing adds what another verifier acknowledged to the union: what is well formed, signed, from a registered author and within its quota. What
// no verifier can have acknowledged would make a batch longer than a round takes: of an author's items beyond the quota the rest is left out,
// and of missing items one of which is not signed, all are a lie.
func (v *Verifier) addMissing(ctx context.Context, r *round, who types.Key, m *bus.MissingItems) error {
	if m.Count == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	raw, err := bus.FetchBlobFrom(ctx, v.bus, who, m.Items, maxMissing)
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
		if hash := it.Hash(); !r.union[hash] && v.admissible(r, it, used) {
			b.Items = append(b.Items, tally.Item{Type: tally.ItemType(it.Type), Raw: it.Raw})
		}
	}
	_, names, all := check(b, v.chain, v.cfg.Workers, v.acknowledged(), true)
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

// admissible reports whether an item that another verifier acknowledged may be in the batch at all. used is what that verifier's had before it;
// its mempool of each epoch since the header before is within the quota.
func (v *Verifier) admissible(r *round, raw bus.Item, used map[quotaKey]handed) bool {
	it, err := open(tally.ItemType(raw.Type), raw.Raw, v.chain)
	if err != nil || checkAuthor(it, r.registry, v.book, r.epoch) != "" {
		return false
	}
	key, limit := v.book.quota(it)
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
func (v *Verifier) propose(ctx context.Context, r *round) error {
	batch := tally.Arrange(r.items, r.names)
	began := time.Now()
	in, err := v.inputs(ctx, r.base, turn{
		epoch: r.epoch, region: v.cfg.Region, round: r.number, leader: v.key,
		vrf: beacon.Prove(v.cfg.VRF, v.chain, r.ep.Seed, v.cfg.Region),
	}, r.prev)
	if err != nil {
		v.unable(r.epoch, err)
		return err
	}
	v.able(r.epoch)
	c, err := v.tally(in, batch.Encode(), false)
	if err != nil {
		return err
	}
	if err := v.save(c, types.Hash{}, types.Hash{}); err != nil {
		return err
	}
	if before, err := v.store.sign(c.header); err != nil || before != nil {
		return fmt.Errorf("verifier: epoch %d, round %d was signed before: %w", r.epoch, r.number, err)
	}
	v.log.Info("proposing a header", "epoch", r.epoch, "round", r.number, "items", len(batch.Items), "took", time.Since(began))
	v.mu.Lock()
	v.computed[c.hash] = c
	v.mu.Unlock()
	return v.publish(ctx, r, c.header)
}

// resume publishes again what was proposed before a restart: another header would cost the stake.
func (v *Verifier) resume(ctx context.Context, r *round, h *tally.Header) error {
	return v.publish(ctx, r, h)
}

func (v *Verifier) publish(ctx context.Context, r *round, h *tally.Header) error {
	t := v.store.tally(h.Hash())
	if t == nil {
		return fmt.Errorf("verifier: the tally of header %s is not on disk", h.Hash())
	}
	m := &bus.Proposal{Chain: v.chain, Epoch: h.Epoch, Region: h.Region, Round: h.Round, Header: t.Header}
	for hash, to := range map[types.Hash]*bus.Blob{t.Frame: &m.Frame, t.Batch: &m.Batch, t.Changes: &m.Change} {
		_, size, _ := v.store.blobs.ReadBlob(hash, nil, 0)
		*to = bus.Blob{Hash: hash, Size: uint64(size)}
	}
	if t.Changes == t.Batch { // both empty: one key in the map
		m.Change = m.Batch
	}
	if err := v.bus.PublishLast(ctx, bus.ProposalSubject(v.key, v.cfg.Region), bus.Seal(v.cfg.Key, m)); err != nil {
		return err
	}
	r.proposed = true
	return v.publishSignature(ctx, h)
}

func (v *Verifier) publishSignature(ctx context.Context, h *tally.Header) error {
	s := bus.SignHeader(v.cfg.Key, v.chain, h.Epoch, h.Region, h.Round, h.Hash())
	return v.bus.PublishLast(ctx, bus.SignatureSubject(v.key, v.cfg.Region), bus.Seal(v.cfg.Key, s))
}

// assist hands over what the leader lacks, and judges what it proposes.
func (v *Verifier) assist(ctx context.Context, r *round, head ledger.Block) error {
	if inv, ok := v.messages.inventoryOf(r.epoch, r.number, r.leader); ok && !r.answered {
		if err := v.sendMissing(ctx, r, inv, head); err != nil {
			// Not said, so all that it acknowledged must be in the batch.
			v.log.Warn("no missing items sent", "epoch", r.epoch, "round", r.number, "leader", r.leader, "why", err)
		}
	}
	for _, m := range v.messages.proposalsBy(r.epoch, r.number, r.leader) {
		h, err := tally.DecodeHeader(m.Header)
		if err != nil || r.judged[h.Hash()] >= maxTries || r.unable[h.Hash()] == head.Height {
			continue
		}
		err = v.judge(ctx, r, h, m.Batch.Size)
		if errors.Is(err, errUnable) { // it says nothing of the header, which is looked at again with the next block
			r.unable[h.Hash()] = head.Height
			v.unable(r.epoch, err)
			v.log.Warn("a proposal is not signed: it could not be checked", "epoch", r.epoch, "round", r.number, "why", err)
			continue
		}
		v.able(r.epoch)
		r.judged[h.Hash()]++
		if why := types.ReasonOf(err); why != types.UnknownBlob && why != types.BusUnavailable && !errors.Is(err, context.DeadlineExceeded) {
			r.judged[h.Hash()] = maxTries // signed, or wrong
		}
		if err != nil {
			v.log.Warn("a proposal is not signed", "epoch", r.epoch, "round", r.number, "leader", r.leader, "why", err)
		}
	}
	return nil
}

// sendMissing publishes what this verifier acknowledged and the leader lacks.
func (v *Verifier) sendMissing(ctx context.Context, r *round, inv inventoryAt, head ledger.Block) error {
	fetch, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	var theirs []types.Hash
	if inv.Count > 0 {
		raw, err := bus.FetchBlobFrom(fetch, v.bus, r.leader, inv.Items, maxList)
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
	m := &bus.MissingItems{Chain: v.chain, Epoch: r.epoch, Region: v.cfg.Region, Round: r.number, Leader: r.leader, Count: uint64(len(items))}
	var err error
	if m.Missing, err = v.store.blobs.put(r.epoch, bus.Hashes(missing)); err != nil {
		return err
	}
	if m.Items, err = v.store.blobs.put(r.epoch, bus.Items(items)); err != nil {
		return err
	}
	if err := v.bus.PublishLast(ctx, bus.MissingSubject(v.key, v.cfg.Region), bus.Seal(v.cfg.Key, m)); err != nil {
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
func (v *Verifier) judge(ctx context.Context, r *round, h *tally.Header, size uint64) error {
	for _, a := range r.ep.Verifiers {
		if a.Key == r.leader {
			if _, err := beacon.Output(a.VRF, v.chain, r.ep.Seed, v.cfg.Region, h.VRF); err != nil {
				return err
			}
		}
	}
	inputs, err := v.inputs(ctx, r.base, turnOf(h), r.prev)
	if err != nil {
		return err
	}
	raw := tally.Arrange(r.items, r.names).Encode()
	if types.Sum(raw) != h.Batch { // the leader holds more, or less
		if raw, err = v.store.blobs.get(h.Batch); err != nil {
			fetch, cancel := context.WithTimeout(ctx, r.patience)
			defer cancel()
			if raw, err = bus.FetchBlobFrom(fetch, v.bus, r.leader, bus.Blob{Hash: h.Batch, Size: size}, maxBlob); err != nil {
				if !v.bus.Connected() {
					return fmt.Errorf("%w: its link to the bus is down: %w", errUnable, err)
				}
				return err
			}
		}
	}
	c, err := v.tally(inputs, raw, true) // no honest leader takes in what is not signed
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
			v.mu.Lock()
			v.declined[h.Hash()] = true
			v.mu.Unlock()
			return fmt.Errorf("it leaves out %s of %v, which was acknowledged", hash, r.names[i].Author)
		}
	}
	if c.hash != h.Hash() {
		return types.Refuse(types.Mismatch, "%s", difference(c.header, h))
	}
	if err := v.save(c, types.Hash{}, types.Hash{}); err != nil {
		return fmt.Errorf("%w: %w", errUnable, err)
	}
	v.mu.Lock()
	v.computed[c.hash] = c
	v.mu.Unlock()
	if before, err := v.store.sign(c.header); err != nil || before != nil {
		return fmt.Errorf("another header of the round was signed before: %w", err)
	}
	return v.publishSignature(ctx, h)
}

// collect commits a header that more than two thirds of power signed: the leader as soon as all signed or a block has passed,
// everybody else one block later.
func (v *Verifier) collect(ctx context.Context, r *round, head ledger.Block) {
	h := v.store.signed(r.epoch, v.cfg.Region, r.number)
	if h == nil {
		return // what this verifier did not compute alike it does not commit
	}
	hash := h.Hash()
	sigs := v.messages.signaturesOf(r.epoch, r.number, hash)
	sigs[v.key] = v.cfg.Key.Sign("header", v.chain, hash[:])
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
	case r.leader == v.key && (power == r.ep.Power() || waited >= 1 || last):
	case r.leader != v.key && (waited >= 2 || last && waited >= 1):
	default:
		return
	}
	v.submit(ctx, r.epoch, fmt.Sprintf("header of epoch %d, round %d", r.epoch, r.number), msg)
}

// Leads reports whether this verifier leads a round of an epoch, for tests and pages.
func (v *Verifier) Leads(ctx context.Context, e types.Epoch, number uint8) bool {
	ep, err := v.epoch(ctx, e)
	return err == nil && int(number) < len(ep.Leaders) && ep.Leaders[number] == v.key
}

// checkAuthor judges whether an item's author may hand in such items in an epoch. It goes by the registry alone, of which all verifiers
// have the same view, so that none insists on what another must leave out. A suspended device is an author like any other: the tally
// says what of its items counts.
func checkAuthor(it *item, reg *registry, rules *ruleBook, e types.Epoch) types.Reason {
	if rules.specs[it.category] == nil {
		return types.UnknownCategory
	}
	if it.Type == tally.Order {
		// A key that ended is refused, too: states differ in how long they remember it.
		switch g := reg.Grant(it.Author); {
		case g == nil:
			return types.UnknownKey
		case g.Expiry <= e:
			return types.KeyExpired
		}
		return ""
	}
	d := reg.Device(it.Author)
	if d == nil {
		if it.Type != tally.Evidence || reg.Attester(it.Author) == nil {
			return types.UnknownAuthor
		}
		return ""
	}
	if !slices.Contains(d.Categories, it.category) {
		return types.UnknownCategory
	}
	return ""
}
