package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// maxOutputs bounds the data and details that one call of Outputs returns, in bytes.
const maxOutputs = 64 << 20

// standing is a header that stands.
type standing struct {
	header *tally.Header
	hash   types.Hash
}

// tip returns the region's newest header that stands; nil for none.
func (m *market) tip(ctx context.Context) (*standing, error) {
	headers, err := m.ledger.Headers(ctx, 0, 64)
	if err != nil {
		return nil, fmt.Errorf("gateway: headers: %w", err)
	}
	return newest(headers)
}

func newest(headers []*ledger.Header) (*standing, error) {
	for _, h := range headers { // newest first
		if h.Status == ledger.Accepted || h.Status == ledger.Appealed || h.Status == ledger.Final {
			header, err := tally.DecodeHeader(h.Raw)
			if err != nil {
				return nil, fmt.Errorf("gateway: header of epoch %d: %w", h.Epoch, err)
			}
			return &standing{header, h.Hash}, nil
		}
	}
	return nil, nil
}

// voters returns whose signatures count, and how much.
func (m *market) voters() bus.Set {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.set
}

// voices counts what verifiers say, one voice each.
type voices struct {
	set   bus.Set
	heard map[types.Key]bool
	power map[types.Hash]uint64 // by hash of what was said
	who   map[types.Hash][]types.Key
}

func (m *market) voices() *voices {
	return &voices{set: m.voters(), heard: map[types.Key]bool{}, power: map[types.Hash]uint64{}, who: map[types.Hash][]types.Key{}}
}

// hear takes a verifier's voice for what, and returns the power that has said so; 0 for a voice without power, or heard before.
func (v *voices) hear(verifier types.Key, what any) uint64 {
	power := v.set.Power(verifier)
	if power == 0 || v.heard[verifier] {
		return 0
	}
	v.heard[verifier] = true
	hash := types.Sum(types.Encode(what))
	v.power[hash] += power
	v.who[hash] = append(v.who[hash], verifier)
	return v.power[hash]
}

// third reports whether power is more than a third of all: at least one of those who said so is honest.
func (v *voices) third(power uint64) bool { return power > v.set.Total()/3 }

// order returns what the state of a header has of a session's orders, as a page of that state proves; nil if more than two thirds of power say
// that there is none.
func (m *market) order(ctx context.Context, at *standing, session tally.SessionKey) (found *tally.OrderState, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	query := &bus.OrderQuery{Chain: m.chain, Header: at.hash, Session: session}
	v, none := m.voices(), false
	err = m.bus.Gather(ctx, bus.QuerySubject(m.key.Public(), 0, bus.QueryOrder), bus.Encode(query), func(raw []byte) bool {
		answer, verifier, err := bus.Open[bus.OrderAt](raw, m.chain)
		if err != nil || answer.Header != query.Header || answer.Session != session {
			return true
		}
		if answer.Proof == nil {
			none = v.set.Enough(v.hear(verifier, session))
			return !none
		}
		line, err := answer.Proof.Order(at.header, session)
		if err != nil {
			m.log.Warn("gateway: a verifier shows an order that is none", "verifier", verifier, "err", err)
			return true
		}
		found = line
		return false
	})
	if found != nil || none {
		return found, nil
	}
	return nil, unanswered("order of session "+session.ID.String(), err, ctx)
}

// unanswered is the error of a query that too few verifiers answered.
func unanswered(what string, err error, ctx context.Context) error {
	if err == nil {
		err = ctx.Err()
	}
	return fmt.Errorf("gateway: %s: too few verifiers answer: %w: %w", what, errors.Join(err), types.BusUnavailable)
}

// refusal returns why the tallies since an order was kept refused it, as more than two thirds of power say; "" if none did.
func (m *market) refusal(ctx context.Context, tip *standing, o *order) (types.Reason, error) {
	first := o.kept
	if e := tip.header.Epoch; e > first+3 {
		first = e - 3 // it was kept in an epoch that was skipped long ago; who looks that late finds it in the newest ones
	}
	for e := first; e <= tip.header.Epoch; e++ {
		at, err := m.ledger.Header(ctx, e, 0)
		if err != nil {
			return "", fmt.Errorf("gateway: header of epoch %d: %w", e, err)
		}
		if at.Status != ledger.Accepted && at.Status != ledger.Appealed && at.Status != ledger.Final {
			continue
		}
		refused, err := m.refusals(ctx, o.session.Payer, e)
		if err != nil {
			return "", err
		}
		for _, r := range refused.Refused {
			if r.Item == o.Hash {
				return r.Reason, nil
			}
		}
	}
	return "", nil
}

func (m *market) refusals(ctx context.Context, author types.Key, e types.Epoch) (found *bus.Refusals, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	query := &bus.RefusalsQuery{Chain: m.chain, Author: author, Epoch: e}
	v := m.voices()
	err = m.bus.Gather(ctx, bus.QuerySubject(m.key.Public(), 0, bus.QueryRefusals), bus.Encode(query), func(raw []byte) bool {
		r, verifier, err := bus.Open[bus.Refusals](raw, m.chain)
		if err != nil || r.Region != 0 || r.Author != author || r.Epoch != e {
			return true
		}
		if v.set.Enough(v.hear(verifier, r)) {
			found = r
		}
		return found == nil
	})
	if found == nil {
		return nil, unanswered(fmt.Sprintf("refusals of epoch %d", e), err, ctx)
	}
	return found, nil
}

// Outputs implements role.Market. That no leaf is left out, and what the details are, more than a third of power says, so one of them is
// honest; the data of each leaf are proven.
func (v *view) Outputs(ctx context.Context, epoch types.Epoch, prefix []byte) ([]role.Output, error) {
	if len(prefix) > bus.MaxPrefix {
		return nil, types.Refuse(types.Oversize, "gateway: a prefix of %d bytes, at most %d are taken", len(prefix), bus.MaxPrefix)
	}
	at, err := v.ledger.Header(ctx, epoch, 0)
	switch {
	case errors.Is(err, ledger.ErrNotFound) && epoch+1 < v.Notice().Epoch:
		return nil, types.Refuse(types.UnknownBlob, "gateway: the chain does not keep epoch %d any more", epoch)
	case errors.Is(err, ledger.ErrNotFound):
		return nil, types.Refuse(types.NotFinal, "gateway: epoch %d has no header yet", epoch)
	case err != nil:
		return nil, fmt.Errorf("gateway: header of epoch %d: %w", epoch, err)
	case at.Status == ledger.Open:
		return nil, types.Refuse(types.NotFinal, "gateway: epoch %d has no header yet", epoch)
	case at.Status == ledger.Skipped || at.Status == ledger.Voided:
		return nil, types.Refuse(types.RegionSkipped, "gateway: epoch %d is %s", epoch, at.Status)
	}
	h, err := tally.DecodeHeader(at.Raw)
	if err != nil {
		return nil, fmt.Errorf("gateway: header of epoch %d: %w", epoch, err)
	}
	if h.OutCount == 0 {
		return nil, nil
	}
	query := &bus.OutputsQuery{Chain: v.chain, Header: at.Hash, Category: v.category, Prefix: prefix}
	sum, who, err := v.sumOutputs(ctx, query)
	switch {
	case err != nil:
		return nil, err
	case sum.Count == 0:
		return nil, nil
	case sum.Count > bus.MaxMatches:
		return nil, types.Refuse(types.Oversize, "gateway: %d outputs, at most %d are fetched: a longer prefix names fewer", sum.Count, bus.MaxMatches)
	}
	for _, verifier := range who {
		query.Of = verifier
		leaves, fault := v.fetchOutputs(ctx, query, h, sum)
		if fault == nil {
			out := make([]role.Output, len(leaves))
			for i, l := range leaves {
				out[i] = role.Output{Epoch: epoch, Region: h.Region, Final: at.Status == ledger.Final, Index: l.Index, Data: l.Data, Detail: l.Detail, Siblings: l.Siblings}
			}
			return out, nil
		}
		err = errors.Join(err, fault)
		if types.ReasonOf(err) == types.Oversize || ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("gateway: outputs of epoch %d: %w", epoch, err)
}

// sumOutputs asks how many leaves there are, and which, and who says so.
func (m *market) sumOutputs(ctx context.Context, query *bus.OutputsQuery) (sum *bus.OutputsSum, who []types.Key, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	v := m.voices()
	err = m.bus.Gather(ctx, bus.QuerySubject(m.key.Public(), 0, bus.QueryOutputs), bus.Encode(query), func(raw []byte) bool {
		s, verifier, err := bus.Open[bus.OutputsSum](raw, m.chain)
		if err != nil || s.Header != query.Header || s.Region != query.Region || s.Category != query.Category || string(s.Prefix) != string(query.Prefix) {
			return true
		}
		if v.third(v.hear(verifier, s)) {
			sum, who = s, v.who[types.Sum(types.Encode(s))]
		}
		return sum == nil
	})
	if sum == nil && len(v.heard) == 0 {
		return nil, nil, types.Refuse(types.UnknownBlob, "gateway: nobody shows the outputs of header %s", query.Header)
	}
	if sum == nil {
		return nil, nil, unanswered("outputs of header "+query.Header.String(), err, ctx)
	}
	return sum, who, nil
}

// fetchOutputs fetches the leaves from one verifier, page by page.
func (m *market) fetchOutputs(ctx context.Context, query *bus.OutputsQuery, h *tally.Header, sum *bus.OutputsSum) ([]bus.Output, error) {
	var all []bus.Output
	var which []bus.Leaf
	bytes := 0
	q := *query
	for {
		page, err := m.outputsPage(ctx, &q)
		if err != nil {
			return nil, err
		}
		if err := page.Check(&q, h); err != nil {
			return nil, err
		}
		for _, l := range page.Leaves {
			which = append(which, l.Leaf())
			bytes += len(l.Data) + len(l.Detail)
		}
		all = append(all, page.Leaves...)
		if bytes > maxOutputs {
			return nil, types.Refuse(types.Oversize, "more than %d bytes: a longer prefix names fewer", maxOutputs)
		}
		if !page.More || len(page.Leaves) == 0 || uint64(len(all)) >= sum.Count {
			break
		}
		q.From = all[len(all)-1].Index + 1
	}
	if bus.Which(which) != sum.Which {
		return nil, types.Refuse(types.Mismatch, "%v shows %d of %d outputs, or other details", query.Of, len(all), sum.Count)
	}
	return all, nil
}

func (m *market) outputsPage(ctx context.Context, q *bus.OutputsQuery) (page *bus.Outputs, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	err = m.bus.Gather(ctx, bus.QuerySubject(m.key.Public(), 0, bus.QueryOutputs), bus.Encode(q), func(raw []byte) bool {
		answer, verifier, err := bus.Open[bus.Outputs](raw, m.chain)
		if err == nil && verifier == q.Of {
			page = answer
		}
		return page == nil
	})
	if page == nil {
		return nil, unanswered("outputs of "+q.Of.String(), err, ctx)
	}
	return page, nil
}
