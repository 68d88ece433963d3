package verifier

import (
	"context"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// queryTimeout bounds one answer.
const queryTimeout = 5 * time.Second

// answerQueries answers what is asked of the verifiers of the region, until ctx ends.
func (v *Verifier) answerQueries(ctx context.Context) error {
	for what, answer := range map[string]func(context.Context, []byte) []byte{
		bus.QueryPayers: v.answerPayers, bus.QueryProof: v.answerProof, bus.QueryRefusals: v.answerRefusals, bus.QueryState: v.answerState,
		bus.QueryLine: v.answerLine, bus.QueryOrder: v.answerOrder, bus.QueryOutputs: v.answerOutputs,
	} {
		err := bus.SubscribeFair(ctx, v.bus, bus.QuerySubject(types.Key{}, v.cfg.Region, what), func(m bus.Message) {
			ctx, cancel := context.WithTimeout(ctx, queryTimeout)
			defer cancel()
			if data := answer(ctx, m.Data); data != nil {
				if err := v.bus.Respond(ctx, m, data); err != nil {
					v.log.Debug("an answer was not sent", "what", what, "error", err)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// standing returns the region's path as of now.
func (v *Verifier) standing(ctx context.Context) (*path, error) {
	head, err := v.ledger.Head(ctx)
	if err != nil {
		return nil, err
	}
	return readPath(ctx, v.ledger, v.cfg.Region, head.Epoch)
}

func (v *Verifier) answerPayers(ctx context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.PayersQuery](raw, v.chain)
	now := v.intake.now.Load()
	if err != nil || now == nil || q.Region != v.cfg.Region {
		return nil
	}
	p, err := v.standing(ctx)
	if err != nil {
		return nil
	}
	st := v.stateOf(p.tip)
	if st == nil {
		return nil
	}
	out := &bus.Payers{Chain: v.chain, Region: v.cfg.Region, Epoch: now.epoch.Epoch, Tallied: st.Epoch()}
	for _, key := range q.Payers {
		line := bus.PayerLine{Key: key}
		if g := now.registry.Grant(key); g != nil {
			line.Account, line.Limit, line.Expiry = g.Account, g.Limit, g.Expiry
			if k := st.Key(key); k != nil {
				line.Spent, line.Ordered = k.Spent, k.Ordered
			}
			if bought, spent := now.registry.bought(g.Account), st.Balance(g.Account).Spent; bought > spent {
				line.Balance = bought - spent
			}
		}
		out.Lines = append(out.Lines, line)
	}
	return bus.Seal(v.cfg.Key, out)
}

func (v *Verifier) answerProof(ctx context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.ProofQuery](raw, v.chain)
	if err != nil || q.Region != v.cfg.Region {
		return nil
	}
	c, err := v.Proof(ctx, q.Device, q.Tallied)
	if err != nil {
		return nil
	}
	return bus.Encode(&bus.Proof{Chain: v.chain, Epoch: c.Epoch, Region: c.Region, Leaf: c.Leaf, Proof: c.Proof})
}

// Proof returns what claims a device's amount: its leaf of the newest final header, or of the newest accepted one, which cannot
// be claimed yet. not_final if there is no such header; unknown_author if the device has no line in it.
func (v *Verifier) Proof(ctx context.Context, device types.Key, accepted bool) (ledger.Claim, error) {
	p, err := v.standing(ctx)
	if err != nil {
		return ledger.Claim{}, err
	}
	h := p.final
	if accepted {
		h = p.tip
	}
	if h == nil {
		return ledger.Claim{}, types.Refuse(types.NotFinal, "verifier: region %d has no such header", v.cfg.Region)
	}
	return v.ProofOf(device, h)
}

// ProofOf is Proof by a header of the caller's choice, whose state this verifier still keeps.
func (v *Verifier) ProofOf(device types.Key, h *ledger.Header) (ledger.Claim, error) {
	tree, err := v.tree(h)
	if err != nil {
		return ledger.Claim{}, err
	}
	leaf, proof, ok := tree.Proof(device)
	if !ok {
		return ledger.Claim{}, types.Refuse(types.UnknownAuthor, "verifier: %v has no line in epoch %d", device, h.Epoch)
	}
	return ledger.Claim{Epoch: h.Epoch, Region: h.Region, Leaf: leaf, Proof: proof}, nil
}

// tree returns the devices tree of a header's state; the newest two stay in memory.
func (v *Verifier) tree(h *ledger.Header) (*tally.Tree, error) {
	v.mu.Lock()
	t := v.trees[h.Hash]
	v.mu.Unlock()
	if t != nil {
		return t, nil
	}
	st := v.shown(h)
	if st == nil {
		return nil, types.Refuse(types.UnknownBlob, "verifier: the state after epoch %d", h.Epoch)
	}
	t, err := st.Tree()
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.trees) >= 2 {
		clear(v.trees)
	}
	v.trees[h.Hash] = t
	return t, nil
}

func (v *Verifier) answerRefusals(ctx context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.RefusalsQuery](raw, v.chain)
	if err != nil || q.Region != v.cfg.Region {
		return nil
	}
	p, err := v.standing(ctx)
	if err != nil {
		return nil
	}
	for _, h := range p.headers {
		if q.Epoch != 0 && h.Epoch != q.Epoch {
			continue
		}
		r, err := v.Report(h.Hash)
		if err != nil {
			return nil
		}
		out := &bus.Refusals{Chain: v.chain, Region: v.cfg.Region, Author: q.Author, Epoch: h.Epoch}
		out.Counted, out.Refused, out.Quality = r.Author(q.Author)
		if n := len(out.Refused); n > bus.MaxItems {
			out.Refused, out.More = out.Refused[:bus.MaxItems], uint64(n-bus.MaxItems)
		}
		return bus.Seal(v.cfg.Key, out)
	}
	return nil
}

func (v *Verifier) answerState(_ context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.StateQuery](raw, v.chain)
	if err != nil || q.Region != v.cfg.Region {
		return nil
	}
	list := v.store.pageList(q.Header)
	t := v.store.tally(q.Header)
	if list == nil {
		return nil
	}
	e := types.Epoch(0) // blobs of a state that was fetched go with the first pruning, and are made again
	if t != nil {
		if h, err := tally.DecodeHeader(t.Header); err == nil {
			e = h.Epoch
		}
	}
	name, err := v.store.blobs.put(e, list)
	if err != nil {
		v.log.Error("a list of pages cannot be kept", "error", err)
		return nil
	}
	return bus.Encode(&bus.StateAt{Chain: v.chain, Region: v.cfg.Region, Header: q.Header, Pages: name})
}
