package verifier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
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

// watch looks at what the chain took: it adopts headers that are what their inputs give, and votes and appeals
// against others.
type watch struct {
	*agreement
	pruned types.Epoch // the newest final header that was seen; only guard touches it

	mu     sync.Mutex
	doubts map[types.Hash]doubt // by header; follow notes them, and takes them back
}

// doubt is what keeps a header from being adopted.
type doubt struct {
	fault   error  // it is not what its inputs give
	missing uint64 // since this block nobody had its inputs; 0 for not
}

func (w *watch) doubt(header types.Hash) doubt {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doubts[header]
}

// setDoubt sets what keeps a header from being adopted; the zero doubt is that nothing does.
func (w *watch) setDoubt(header types.Hash, d doubt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.doubts[header] = d; d == (doubt{}) {
		delete(w.doubts, header)
	}
}

// follow adopts what the chain took. A batch that nobody shows can keep it waiting, so Guard is a loop of its own.
func (w *watch) follow(ctx context.Context, _ ledger.Block) {
	head, p, err := standing(ctx, w.ledger, w.cfg.Region)
	if err != nil {
		w.log.Error("the region's headers cannot be read", "error", err)
		return
	}
	if err := w.catchUp(ctx, p, head); err != nil && ctx.Err() == nil {
		w.log.Error("cannot follow the chain", "height", head.Height, "error", err)
	}
}

// guard votes, appeals, signs late, reports, and forgets what is out of its time.
func (w *watch) guard(ctx context.Context, _ ledger.Block) {
	head, p, err := standing(ctx, w.ledger, w.cfg.Region)
	if err != nil {
		return // Follow says so
	}
	w.vote(ctx, p, head)
	w.appeal(ctx, p, head)
	w.signLate(ctx, p, head)
	w.reportEquivocation(ctx, p)
	w.abstains.expire(p, head, func(h types.Hash) bool { return w.archive.held(h) != nil })
	if p.final != nil && p.final.Epoch > w.pruned {
		if err := w.prune(p); err != nil {
			w.log.Error("old data stays on disk", "error", err)
		} else {
			w.pruned = p.final.Epoch
		}
	}
}

// catchUp makes sure of the state after the tip: it adopts all headers after the newest one whose state is known.
// Where that is older than the last final one, it starts from the latter, which others have and which is checked
// against the header: what replaying takes (old batches, registry changes, blocks' hashes) need not be there any
// more. Only if nobody has that state it replays.
func (w *watch) catchUp(ctx context.Context, p *path, head ledger.Block) error {
	var todo []*ledger.Header
	known := p.complete
	for _, h := range p.headers {
		if w.archive.state(h) != nil {
			known = true
			break
		}
		todo = append(todo, h)
	}
	if since := slices.Index(todo, p.final); !known || since >= 0 && !w.faulty(todo[since:]) {
		err := w.fetchState(ctx, p.final)
		switch {
		case err == nil:
			todo = todo[:since]
		case !known || ctx.Err() != nil:
			if p.tip != nil && ctx.Err() == nil {
				w.abstains.note(p.tip.Epoch, err)
			}
			return err
		default:
			w.log.Warn("nobody has the last final state: replaying", "epoch", p.final.Epoch, "headers", len(todo), "error", err)
		}
	}
	for _, h := range slices.Backward(todo) {
		if err := w.adopt(ctx, p, h, head); err != nil {
			return err
		}
		if w.faulty([]*ledger.Header{h}) {
			return nil // nothing can be built on it; see appeal
		}
	}
	return nil
}

// faulty reports whether one of the headers is not what its inputs give.
func (w *watch) faulty(headers []*ledger.Header) bool {
	return slices.ContainsFunc(headers, func(h *ledger.Header) bool { return w.doubt(h.Hash).fault != nil })
}

// errMissing marks inputs that nobody shows, as opposed to what this verifier cannot read itself.
var errMissing = errors.New("verifier: nobody shows it")

// adopt takes over the state after a header that the chain took, if the header is what its inputs give.
func (w *watch) adopt(ctx context.Context, p *path, h *ledger.Header, head ledger.Block) error {
	before := w.doubt(h.Hash)
	if before.fault != nil {
		return nil
	}
	c := w.noted(h.Hash)
	if c == nil {
		var err error
		if c, err = w.recompute(ctx, p, h); err != nil {
			switch {
			case types.ReasonOf(err) == types.Mismatch:
				w.log.Error("the chain took a header that is not what its inputs give", "epoch", h.Epoch, "error", err)
				w.setDoubt(h.Hash, doubt{fault: err})
				w.abstains.clear(h.Epoch)
				return nil
			case errors.Is(err, errMissing):
				if before.missing == 0 {
					w.setDoubt(h.Hash, doubt{missing: head.Height})
				}
				w.abstains.clear(h.Epoch)
			default: // what its own node cannot say is no ground for an appeal, nor for a vote
				w.abstains.note(h.Epoch, err)
			}
			return fmt.Errorf("header of epoch %d: %w", h.Epoch, err)
		}
	}
	if err := w.archive.adopt(c); err != nil {
		w.abstains.note(h.Epoch, err)
		return err
	}
	w.setDoubt(h.Hash, doubt{})
	w.abstains.clear(h.Epoch)
	w.forget(h.Epoch)
	w.log.Info("adopted a header", "epoch", h.Epoch, "round", c.header.Round, "items", len(c.batch.Items), "refused", c.header.Totals.Refused)
	w.messages.wake()
	return nil
}

// recompute computes a header that the chain took, from its batch. The reason is mismatch if it comes out
// differently, and another if the inputs could not be had.
func (w *watch) recompute(ctx context.Context, p *path, h *ledger.Header) (*computed, error) {
	header, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return nil, err
	}
	if header.Rules != w.cfg.Version {
		return nil, fmt.Errorf("verifier: rules %d are not known to this program, which computes %d", header.Rules, w.cfg.Version)
	}
	prev, err := p.before(ctx, w.ledger, h)
	if err != nil {
		return nil, err
	}
	base := w.archive.state(prev)
	if base == nil {
		return nil, errors.New("verifier: the state before it is not known")
	}
	raw, err := w.batch(ctx, header.Batch)
	if err != nil {
		return nil, err
	}
	// Whatever it turns out to be: as long as the header can be voted on, others may ask for its batch.
	if _, err := w.archive.blobs.put(header.Epoch, raw); err != nil {
		return nil, err
	}
	in, err := w.inputs(ctx, base, header, prev)
	if err != nil {
		return nil, err
	}
	c, err := w.tally(in, raw, false)
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

// batch returns the encoding of a batch, from disk or from whoever has it. It is missing only if others could be
// asked.
func (w *watch) batch(ctx context.Context, hash types.Hash) ([]byte, error) {
	if raw, err := w.archive.blobs.get(hash); err == nil {
		return raw, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	before := w.bus.Connected()
	raw, err := bus.FetchBlob(ctx, w.bus, hash, maxBlob)
	switch {
	case err == nil:
		return raw, nil
	case !before || !w.bus.Connected() || types.ReasonOf(err) == types.BusUnavailable:
		return nil, fmt.Errorf("%w: its link to the bus is down: %w", errUnable, err)
	}
	return nil, fmt.Errorf("%w: %w", errMissing, err)
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

// vote votes on each appealed header, once: yes if it is what was computed. A header that is wrong or whose batch
// nobody shows, or that is built on such a one, is a no, the latter in the last blocks of the vote. What this
// verifier could not check for a reason of its own is neither: it does not vote, even if that costs it its seat (a
// vote without two thirds on either side jails who was silent).
func (w *watch) vote(ctx context.Context, p *path, head ledger.Block) {
	const patience = 2                                // blocks before the end
	wrong, why := false, "its state is not known yet" // whether the header before is, or why that is not known
	for _, h := range slices.Backward(p.headers) {
		yes := w.archive.held(h.Hash) != nil
		d := w.doubt(h.Hash)
		if own := w.abstains.of(h.Epoch); own != "" {
			why = own
		}
		wrong = !yes && (wrong || d != doubt{})
		if h.Voting == nil || slices.Contains(h.Voting.Voted, w.key) {
			continue
		}
		if !yes && d.fault == nil && h.Voting.Until > head.Height+patience {
			continue
		}
		if !yes && !wrong {
			w.abstains.note(h.Epoch, errors.New(why))
			w.log.Error("no vote on a header that could not be checked", "epoch", h.Epoch, "until", h.Voting.Until, "why", why)
			continue
		}
		sig := w.cfg.Key.Sign("vote", w.chain, evidence.VoteBytes(h.Hash, yes))
		w.sender.submit(ctx, h.Epoch, fmt.Sprintf("vote on epoch %d until block %d", h.Epoch, h.Voting.Until),
			ledger.Vote{Epoch: h.Epoch, Region: w.cfg.Region, Yes: yes, Key: w.key, Sig: sig})
	}
}

// appeal appeals headers that are wrong, and those whose inputs nobody had for half of their window.
func (w *watch) appeal(ctx context.Context, p *path, head ledger.Block) {
	for _, h := range p.headers {
		if h.Status != ledger.Accepted || !w.cfg.Appeal {
			continue
		}
		d := w.doubt(h.Hash)
		fault := d.fault
		if d.missing != 0 && fault == nil && head.Height-d.missing > (h.FinalAt-h.Height)/2 {
			fault = fmt.Errorf("nobody has shown its batch since block %d", d.missing)
		}
		if fault != nil {
			w.log.Warn("appealing a header", "epoch", h.Epoch, "why", fault)
			w.sender.submit(ctx, h.Epoch, fmt.Sprintf("appeal against epoch %d", h.Epoch), ledger.Appeal{Epoch: h.Epoch, Region: w.cfg.Region})
		}
	}
}

// signLate adds this verifier's signature to accepted headers that it computed alike but did not sign in time.
func (w *watch) signLate(ctx context.Context, p *path, head ledger.Block) {
	for _, h := range p.headers {
		if h.Status != ledger.Accepted || head.Height <= h.Height {
			continue
		}
		ep, err := w.clock.epoch(ctx, h.Epoch)
		if err != nil || head.Height >= ep.Cut+(ep.Cut-ep.First+1) {
			return // older ones take no more signatures either
		}
		seat := slices.IndexFunc(ep.Verifiers, func(a tally.Attester) bool { return a.Key == w.key })
		if seat < 0 || ep.Verifiers[seat].Power == 0 || ledger.Signed(h.Bitmap, seat) {
			continue
		}
		header, err := tally.DecodeHeader(h.Raw)
		if err != nil || w.archive.held(h.Hash) == nil || w.refuses(h.Hash) {
			continue
		}
		if before, err := w.archive.sign(header); before != nil || err != nil {
			continue // it signed another one in that round
		}
		bitmap := make([]byte, (len(ep.Verifiers)+7)/8)
		bitmap[seat/8] |= 1 << (seat % 8)
		w.sender.submit(ctx, h.Epoch, fmt.Sprintf("late signature of epoch %d", h.Epoch), ledger.AddSignatures{
			Epoch: h.Epoch, Region: w.cfg.Region, Bitmap: bitmap, Signatures: []types.Signature{w.cfg.Key.Sign("header", w.chain, h.Hash[:])},
		})
	}
}

// reportEquivocation reports verifiers that signed two headers of one round.
func (w *watch) reportEquivocation(ctx context.Context, p *path) {
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
	for _, d := range w.messages.equivocations(known) {
		if d.who == w.key {
			continue
		}
		w.sender.submit(ctx, d.a.Epoch, fmt.Sprintf("equivocation of %v", d.who), ledger.Equivocation{
			Verifier: d.who, A: d.a.Encode(), B: d.b.Encode(), SigA: d.sigA, SigB: d.sigB,
		})
	}
}

// prune forgets what is out of its time: states but those from the newest final one on, logs that no later batch
// needs, and on disk what is older than Config.Keep epochs before finality.
func (w *watch) prune(p *path) error {
	keep := map[types.Hash]bool{{}: true}
	for _, h := range p.headers {
		keep[h.Hash] = true
		if h == p.final {
			break
		}
	}
	w.mu.Lock()
	if len(w.doubts) > pathStep {
		maps.DeleteFunc(w.doubts, func(hash types.Hash, _ doubt) bool { return !keep[hash] })
	}
	w.mu.Unlock()
	final := p.final.Epoch
	return errors.Join(w.mempools.prune(final), w.archive.prune(final-min(final, w.cfg.Keep), keep))
}
