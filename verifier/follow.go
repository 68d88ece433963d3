package verifier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// maxBlob bounds what is fetched in one piece: a batch.
const maxBlob = 1 << 30

// fetchTimeout bounds one fetch of a batch or a state.
const fetchTimeout = 2 * time.Minute

// follow adopts what the chain took. A batch that nobody shows can keep it waiting, so Guard is a loop of its own.
func (v *Verifier) follow(ctx context.Context, _ ledger.Block) {
	head, p, err := v.now(ctx)
	if err != nil {
		v.log.Error("the region's headers cannot be read", "error", err)
		return
	}
	if err := v.catchUp(ctx, p, head); err != nil && ctx.Err() == nil {
		v.log.Error("cannot follow the chain", "height", head.Height, "error", err)
	}
}

// guard votes, appeals, signs late, reports, and forgets what is out of its time.
func (v *Verifier) guard(ctx context.Context, _ ledger.Block) {
	head, p, err := v.now(ctx)
	if err != nil {
		return // Follow says so
	}
	v.vote(ctx, p, head)
	v.appeal(ctx, p, head)
	v.signLate(ctx, p, head)
	v.reportEquivocation(ctx, p)
	v.stillAbstains(p, head)
	if p.final != nil && p.final.Epoch > v.pruned {
		if err := v.prune(p); err != nil {
			v.log.Error("old data stays on disk", "error", err)
		} else {
			v.pruned = p.final.Epoch
		}
	}
}

// now returns the newest block and the region's path.
func (v *Verifier) now(ctx context.Context) (ledger.Block, *path, error) {
	head, err := v.ledger.Head(ctx)
	if err != nil {
		return head, nil, err
	}
	p, err := readPath(ctx, v.ledger, v.cfg.Region, head.Epoch)
	return head, p, err
}

// start loads the newest states that are on disk, so that intake does not wait for the network after a restart. A chain node that is not
// ready yet (it has just joined, or starts as well) is no reason to end: what comes with its blocks makes up for it.
func (v *Verifier) start(ctx context.Context) {
	head, p, err := v.now(ctx)
	if err != nil {
		v.log.Warn("the chain node does not answer yet", "error", err)
		return
	}
	for _, h := range p.headers {
		if v.stateOf(h) != nil {
			break
		}
	}
	v.tick(ctx, head)
}

// stateOf returns the state after a header, nil if this verifier does not have it. A nil header asks for the state before
// the first.
func (v *Verifier) stateOf(h *ledger.Header) *tally.State {
	var hash types.Hash
	if h != nil {
		hash = h.Hash
	}
	v.mu.Lock()
	st := v.states[hash]
	v.mu.Unlock()
	if st != nil || h == nil {
		return st
	}
	if st = v.readState(h); st != nil {
		v.mu.Lock()
		v.states[hash] = st
		v.mu.Unlock()
	}
	return st
}

// readState reads the state after a header from the disk, nil if it is not there.
func (v *Verifier) readState(h *ledger.Header) *tally.State {
	header, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return nil
	}
	st, err := v.store.state(h.Hash, header.State)
	if err != nil {
		return nil
	}
	return st
}

// keptStates is how many states stay in memory for who asks for the past.
const keptStates = 2

// shown returns the state after a header for an answer, nil if this verifier does not have it. What is not in memory is read for the while: the
// past is long, and whoever asks for all of it must not fill memory.
func (v *Verifier) shown(h *ledger.Header) *tally.State {
	v.loading.Lock() // one at a time: they may be long
	defer v.loading.Unlock()
	v.mu.Lock()
	st := v.states[h.Hash]
	if st == nil {
		st = v.past[h.Hash]
	}
	v.mu.Unlock()
	if st != nil {
		return st
	}
	if st = v.readState(h); st == nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.past) >= keptStates {
		clear(v.past)
	}
	v.past[h.Hash] = st
	return st
}

// catchUp makes sure of the state after the tip: it adopts all headers after the newest one whose state is known. Where that is older
// than the last final one, it starts from the latter, which others have and which is checked against the header: what replaying
// takes (old batches, registry changes, blocks' hashes) need not be there any more. Only if nobody has that state it replays.
func (v *Verifier) catchUp(ctx context.Context, p *path, head ledger.Block) error {
	var todo []*ledger.Header
	known := p.complete
	for _, h := range p.headers {
		if v.stateOf(h) != nil {
			known = true
			break
		}
		todo = append(todo, h)
	}
	if since := slices.Index(todo, p.final); !known || since >= 0 && !v.faulty(todo[since:]) {
		err := v.fetchState(ctx, p.final)
		switch {
		case err == nil:
			todo = todo[:since]
		case !known || ctx.Err() != nil:
			if p.tip != nil && ctx.Err() == nil {
				v.unable(p.tip.Epoch, err)
			}
			return err
		default:
			v.log.Warn("nobody has the last final state: replaying", "epoch", p.final.Epoch, "headers", len(todo), "error", err)
		}
	}
	for _, h := range slices.Backward(todo) {
		if err := v.adopt(ctx, p, h, head); err != nil {
			return err
		}
		if v.faulty([]*ledger.Header{h}) {
			return nil // nothing can be built on it; see appeal
		}
	}
	return nil
}

// faulty reports whether one of the headers is not what its inputs give.
func (v *Verifier) faulty(headers []*ledger.Header) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(headers, func(h *ledger.Header) bool { return v.faults[h.Hash] != nil })
}

// errMissing marks inputs that nobody shows, as opposed to what this verifier cannot read itself.
var errMissing = errors.New("verifier: nobody shows it")

// adopt takes over the state after a header that the chain took, if the header is what its inputs give.
func (v *Verifier) adopt(ctx context.Context, p *path, h *ledger.Header, head ledger.Block) error {
	v.mu.Lock()
	c, fault := v.computed[h.Hash], v.faults[h.Hash]
	v.mu.Unlock()
	if fault != nil {
		return nil
	}
	if c == nil {
		var err error
		if c, err = v.recompute(ctx, p, h); err != nil {
			if types.ReasonOf(err) == types.Mismatch {
				v.log.Error("the chain took a header that is not what its inputs give", "epoch", h.Epoch, "error", err)
				v.mu.Lock()
				v.faults[h.Hash] = err
				v.mu.Unlock()
				v.able(h.Epoch)
				return nil
			}
			if errors.Is(err, errMissing) {
				v.mu.Lock()
				if _, ok := v.missing[h.Hash]; !ok {
					v.missing[h.Hash] = head.Height
				}
				v.mu.Unlock()
				v.able(h.Epoch)
			} else { // what its own node cannot say is no ground for an appeal, nor for a vote
				v.unable(h.Epoch, err)
			}
			return fmt.Errorf("header of epoch %d: %w", h.Epoch, err)
		}
	}
	result, err := v.store.blobs.put(h.Epoch, types.Encode(newReport(c)))
	if err != nil {
		return err
	}
	outputs, err := v.store.blobs.put(h.Epoch, encodeOutputs(c.result.Outputs))
	if err != nil {
		return err
	}
	if err := v.save(c, result.Hash, outputs.Hash); err != nil {
		return err
	}
	if err := v.store.putState(h.Hash, c.state); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.states[h.Hash] = c.state
	delete(v.missing, h.Hash)
	delete(v.abstains, h.Epoch)
	for hash, o := range v.computed {
		if o.header.Epoch <= h.Epoch {
			delete(v.computed, hash)
		}
	}
	v.log.Info("adopted a header", "epoch", h.Epoch, "round", c.header.Round, "items", len(c.batch.Items), "refused", c.header.Totals.Refused)
	v.messages.wake()
	return nil
}

// save keeps what a header was made from, and the names of its report and its outputs, which are zero until the chain took it.
func (v *Verifier) save(c *computed, result, outputs types.Hash) error {
	t := &tallied{Header: c.header.Encode(), Result: result, Outputs: outputs}
	for _, part := range []struct {
		to  *types.Hash
		raw []byte
	}{
		{&t.Frame, c.frame.Encode()},
		{&t.Changes, tally.EncodeChanges(c.changes)},
		{&t.Batch, c.raw},
	} {
		name, err := v.store.blobs.put(c.header.Epoch, part.raw)
		if err != nil {
			return err
		}
		*part.to = name.Hash
	}
	return v.store.putTally(c.hash, t)
}

// recompute computes a header that the chain took, from its batch. The reason is mismatch if it comes out differently, and
// another if the inputs could not be had.
func (v *Verifier) recompute(ctx context.Context, p *path, h *ledger.Header) (*computed, error) {
	header, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return nil, err
	}
	if header.Rules != v.cfg.Version {
		return nil, fmt.Errorf("verifier: rules %d are not known to this program, which computes %d", header.Rules, v.cfg.Version)
	}
	prev, err := p.before(ctx, v.ledger, h)
	if err != nil {
		return nil, err
	}
	base := v.stateOf(prev)
	if base == nil {
		return nil, errors.New("verifier: the state before it is not known")
	}
	raw, err := v.batch(ctx, header.Batch)
	if err != nil {
		return nil, err
	}
	// Whatever it turns out to be: as long as the header can be voted on, others may ask for its batch.
	if _, err := v.store.blobs.put(header.Epoch, raw); err != nil {
		return nil, err
	}
	in, err := v.inputs(ctx, base, turnOf(header), prev)
	if err != nil {
		return nil, err
	}
	c, err := v.tally(in, raw, false)
	if errors.Is(err, tally.ErrInput) {
		return nil, fmt.Errorf("%w: %w", types.Mismatch, err)
	}
	if err != nil {
		return nil, err
	}
	if c.hash != h.Hash {
		return nil, types.Refuse(types.Mismatch, "verifier: epoch %d: %s", h.Epoch, difference(c.header, header))
	}
	return c, nil
}

// batch returns the encoding of a batch, from disk or from whoever has it. It is missing only if others could be asked.
func (v *Verifier) batch(ctx context.Context, hash types.Hash) ([]byte, error) {
	if raw, err := v.store.blobs.get(hash); err == nil {
		return raw, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	before := v.bus.Connected()
	raw, err := bus.FetchBlob(ctx, v.bus, hash, maxBlob)
	switch {
	case err == nil:
		return raw, nil
	case !before || !v.bus.Connected() || types.ReasonOf(err) == types.BusUnavailable:
		return nil, fmt.Errorf("%w: its link to the bus is down: %w", errUnable, err)
	}
	return nil, fmt.Errorf("%w: %w", errMissing, err)
}

// acknowledged returns what reports whether this verifier acknowledged an item, and so checked its signatures.
func (v *Verifier) acknowledged() func(types.Hash) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	mempools := slices.Collect(maps.Values(v.mempools))
	return func(hash types.Hash) bool {
		return slices.ContainsFunc(mempools, func(b *mempool) bool { return b.has(hash) })
	}
}

// difference says in which part two headers differ first.
func difference(got, want *tally.Header) string {
	switch {
	case got.Frame != want.Frame:
		return "another frame"
	case got.Registry != want.Registry:
		return "other registry changes"
	case got.Previous != want.Previous:
		return "another header before"
	case got.Totals.Spent != want.Totals.Spent || got.Totals.Amount != want.Totals.Amount:
		return fmt.Sprintf("amount %d and spent %d, computed %d and %d", want.Totals.Amount, want.Totals.Spent, got.Totals.Amount, got.Totals.Spent)
	case got.State != want.State:
		return "another state"
	}
	return "another header"
}

// vote votes on each appealed header, once: yes if it is what was computed. A header that is wrong or whose batch nobody shows, or that
// is built on such a one, is a no, the latter in the last blocks of the vote. What this verifier could not check for a reason of its own is
// neither: it does not vote, even if that costs it its seat (a vote without two thirds on either side jails who was silent).
func (v *Verifier) vote(ctx context.Context, p *path, head ledger.Block) {
	const patience = 2                                // blocks before the end
	wrong, why := false, "its state is not known yet" // whether the header before is, or why that is not known
	for _, h := range slices.Backward(p.headers) {
		v.mu.Lock()
		yes, fault := v.states[h.Hash] != nil, v.faults[h.Hash]
		_, missing := v.missing[h.Hash]
		if own := v.abstains[h.Epoch]; own != "" {
			why = own
		}
		v.mu.Unlock()
		wrong = !yes && (wrong || fault != nil || missing)
		if h.Voting == nil || slices.Contains(h.Voting.Voted, v.key) {
			continue
		}
		if !yes && fault == nil && h.Voting.Until > head.Height+patience {
			continue
		}
		if !yes && !wrong {
			v.unable(h.Epoch, errors.New(why))
			v.log.Error("no vote on a header that could not be checked", "epoch", h.Epoch, "until", h.Voting.Until, "why", why)
			continue
		}
		sig := v.cfg.Key.Sign("vote", v.chain, evidence.VoteBytes(h.Hash, yes))
		v.submit(ctx, h.Epoch, fmt.Sprintf("vote on epoch %d until block %d", h.Epoch, h.Voting.Until),
			ledger.Vote{Epoch: h.Epoch, Region: v.cfg.Region, Yes: yes, Key: v.key, Sig: sig})
	}
}

// appeal appeals headers that are wrong, and those whose inputs nobody had for half of their window.
func (v *Verifier) appeal(ctx context.Context, p *path, head ledger.Block) {
	for _, h := range p.headers {
		if h.Status != ledger.Accepted || !v.cfg.Appeal {
			continue
		}
		v.mu.Lock()
		fault := v.faults[h.Hash]
		since, ok := v.missing[h.Hash]
		v.mu.Unlock()
		if ok && fault == nil && head.Height-since > (h.FinalAt-h.Height)/2 {
			fault = fmt.Errorf("nobody has shown its batch since block %d", since)
		}
		if fault != nil {
			v.log.Warn("appealing a header", "epoch", h.Epoch, "why", fault)
			v.submit(ctx, h.Epoch, fmt.Sprintf("appeal against epoch %d", h.Epoch), ledger.Appeal{Epoch: h.Epoch, Region: v.cfg.Region})
		}
	}
}

// signLate adds this verifier's signature to accepted headers that it computed alike but did not sign in time.
func (v *Verifier) signLate(ctx context.Context, p *path, head ledger.Block) {
	for _, h := range p.headers {
		if h.Status != ledger.Accepted || head.Height <= h.Height {
			continue
		}
		ep, err := v.epoch(ctx, h.Epoch)
		if err != nil || head.Height >= ep.Cut+(ep.Cut-ep.First+1) {
			return // older ones take no more signatures either
		}
		seat := slices.IndexFunc(ep.Verifiers, func(a tally.Attester) bool { return a.Key == v.key })
		if seat < 0 || ep.Verifiers[seat].Power == 0 || ledger.Signed(h.Bitmap, seat) {
			continue
		}
		header, err := tally.DecodeHeader(h.Raw)
		v.mu.Lock()
		agreed := v.states[h.Hash] != nil && !v.declined[h.Hash]
		v.mu.Unlock()
		if err != nil || !agreed {
			continue
		}
		if before, err := v.store.sign(header); before != nil || err != nil {
			continue // it signed another one in that round
		}
		bitmap := make([]byte, (len(ep.Verifiers)+7)/8)
		bitmap[seat/8] |= 1 << (seat % 8)
		v.submit(ctx, h.Epoch, fmt.Sprintf("late signature of epoch %d", h.Epoch), ledger.AddSignatures{
			Epoch: h.Epoch, Region: v.cfg.Region, Bitmap: bitmap, Signatures: []types.Signature{v.cfg.Key.Sign("header", v.chain, h.Hash[:])},
		})
	}
}

// reportEquivocation reports verifiers that signed two headers of one round.
func (v *Verifier) reportEquivocation(ctx context.Context, p *path) {
	known := func(hash types.Hash) *tally.Header {
		for _, h := range p.all {
			if h.Hash == hash && h.Raw != nil {
				if header, err := tally.DecodeHeader(h.Raw); err == nil {
					return header
				}
			}
		}
		return nil
	}
	for _, d := range v.messages.equivocations(known) {
		if d.who == v.key {
			continue
		}
		v.submit(ctx, d.a.Epoch, fmt.Sprintf("equivocation of %v", d.who), ledger.Equivocation{
			Verifier: d.who, A: d.a.Encode(), B: d.b.Encode(), SigA: d.sigA, SigB: d.sigB,
		})
	}
}

// prune forgets what is out of its time: states but those from the newest final one on, logs that no later batch needs, and on
// disk what is older than Config.Keep epochs before finality.
func (v *Verifier) prune(p *path) error {
	keep := map[types.Hash]bool{{}: true}
	for _, h := range p.headers {
		keep[h.Hash] = true
		if h == p.final {
			break
		}
	}
	v.mu.Lock()
	for hash := range v.states {
		if !keep[hash] {
			delete(v.states, hash)
			delete(v.trees, hash)
		}
	}
	if len(v.declined) > pathStep {
		clear(v.declined) // they take no more signatures
	}
	if len(v.missing) > pathStep {
		clear(v.missing)
	}
	for hash := range v.faults {
		if !keep[hash] && len(v.faults) > pathStep {
			delete(v.faults, hash)
		}
	}
	var old []*mempool
	for e, b := range v.mempools {
		if e+1 < p.final.Epoch { // one more, for authors who did not hear their acks
			old = append(old, b)
			delete(v.mempools, e)
		}
	}
	v.mu.Unlock()
	var errs []error
	for _, b := range old {
		errs = append(errs, b.remove())
	}
	if p.final.Epoch > v.cfg.Keep {
		errs = append(errs, v.store.prune(p.final.Epoch-v.cfg.Keep, keep))
	}
	return errors.Join(errs...)
}
