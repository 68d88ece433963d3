package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// MaxOutputs bounds the data and details that one call of Outputs returns, in bytes.
const MaxOutputs = 64 << 20

// Outputs returns the leaves of a category in a header's outputs whose data starts with prefix. The data of
// each leaf are proven against the header. That no leaf is left out, and what the details are, more than a
// third of power says, so one of them is honest. It is unknown_blob if nobody keeps the header's outputs.
func (q Quorum) Outputs(ctx context.Context, h *tally.Header, category types.Category, prefix []byte) ([]bus.Output, error) {
	if len(prefix) > bus.MaxPrefix {
		return nil, types.Refuse(types.Oversize, "agent: a prefix of %d bytes, at most %d are taken", len(prefix), bus.MaxPrefix)
	}
	if h.OutCount == 0 {
		return nil, nil
	}
	query := &bus.OutputsQuery{Chain: q.Chain, Region: q.Region, Header: h.Hash(), Category: category, Prefix: prefix}
	sum, who, err := q.sumOutputs(ctx, query)
	switch {
	case err != nil:
		return nil, err
	case sum.Count == 0:
		return nil, nil
	case sum.Count > bus.MaxMatches:
		return nil, types.Refuse(types.Oversize, "agent: %d outputs, at most %d are fetched: a longer prefix names fewer", sum.Count, bus.MaxMatches)
	}
	for _, verifier := range who {
		query.Of = verifier
		leaves, fault := q.fetchOutputs(ctx, query, h, sum)
		if fault == nil {
			return leaves, nil
		}
		err = errors.Join(err, fault)
		if types.ReasonOf(err) == types.Oversize || ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("agent: outputs of epoch %d: %w", h.Epoch, err)
}

// sumOutputs asks how many leaves there are, and which, and who says so.
func (q Quorum) sumOutputs(ctx context.Context, query *bus.OutputsQuery) (sum *bus.OutputsSum, who []types.Key, err error) {
	v := newAnswers(q.Set)
	what := "outputs of header " + query.Header.String()
	err = q.ask(ctx, bus.QueryOutputs, what, bus.Encode(query), func(raw []byte) bool {
		s, verifier, err := bus.Open[bus.OutputsSum](raw, q.Chain)
		if err != nil || s.Header != query.Header || s.Region != query.Region || s.Category != query.Category ||
			string(s.Prefix) != string(query.Prefix) || !v.hear(verifier) {
			return true
		}
		if power, hash := v.add(verifier, s); power > q.Set.Total()/3 {
			sum, who = s, v.who[hash]
		}
		return sum == nil
	})
	if err != nil && len(v.heard) == 0 && q.Bus != nil && q.Bus.Connected() {
		return nil, nil, types.Refuse(types.UnknownBlob, "agent: nobody shows the outputs of header %s", query.Header)
	}
	return sum, who, err
}

// fetchOutputs fetches the leaves from one verifier, page by page.
func (q Quorum) fetchOutputs(ctx context.Context, query *bus.OutputsQuery, h *tally.Header, sum *bus.OutputsSum) ([]bus.Output, error) {
	var all []bus.Output
	var which []bus.Leaf
	bytes := 0
	next := *query
	for {
		page, err := q.outputsPage(ctx, &next)
		if err != nil {
			return nil, err
		}
		if err := page.Check(&next, h); err != nil {
			return nil, err
		}
		for _, l := range page.Leaves {
			which = append(which, l.Leaf())
			bytes += len(l.Data) + len(l.Detail)
		}
		all = append(all, page.Leaves...)
		if bytes > MaxOutputs {
			return nil, types.Refuse(types.Oversize, "more than %d bytes: a longer prefix names fewer", MaxOutputs)
		}
		if !page.More || len(page.Leaves) == 0 || uint64(len(all)) >= sum.Count {
			break
		}
		next.From = all[len(all)-1].Index + 1
	}
	if bus.Which(which) != sum.Which {
		return nil, types.Refuse(types.Mismatch, "%v shows %d of %d outputs, or other details", query.Of, len(all), sum.Count)
	}
	return all, nil
}

func (q Quorum) outputsPage(ctx context.Context, query *bus.OutputsQuery) (page *bus.Outputs, err error) {
	err = q.ask(ctx, bus.QueryOutputs, "outputs of "+query.Of.String(), bus.Encode(query), func(raw []byte) bool {
		answer, verifier, err := bus.Open[bus.Outputs](raw, q.Chain)
		if err == nil && verifier == query.Of {
			page = answer
		}
		return page == nil
	})
	return page, err
}
