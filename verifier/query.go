package verifier

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// queryTimeout bounds one answer.
const queryTimeout = 5 * time.Second

// Bounds of what query keeps in memory, in headers each: states and what is made of them are long.
const (
	keptStates  = 2 // also trees, and provers
	keptOutputs = 2
	keptReports = 4
)

// query answers what anybody on the bus may ask. It reads the archive and the newest head view, and changes neither;
// what it holds in memory is its own, so that nobody else waits for an answer that takes long.
type query struct {
	*self
	ledger  ledger.Reader
	clock   *clock
	archive *archive

	made    recent // lines that were asked for
	states  *cache[*tally.State]
	trees   *cache[*tally.Tree]
	provers *cache[*tally.Prover]
	outputs *cache[*outputs]
	reports *cache[*Report]
	draws   *draws
}

func newQuery(me *self, l ledger.Reader, c *clock, a *archive, rules *ruleBook) *query {
	return &query{
		self: me, ledger: l, clock: c, archive: a, states: newCache[*tally.State](keptStates), trees: newCache[*tally.Tree](keptStates),
		provers: newCache[*tally.Prover](keptStates), outputs: newCache[*outputs](keptOutputs), reports: newCache[*Report](keptReports),
		draws: &draws{self: me, clock: c, rules: rules},
	}
}

// listen answers what is asked of the verifiers of the region and serves blobs, until ctx ends.
func (s *query) listen(ctx context.Context) error {
	if err := bus.ServeBlobs(ctx, s.bus, s); err != nil {
		return fmt.Errorf("verifier: serve blobs: %w", err)
	}
	for what, answer := range map[string]func(context.Context, []byte) []byte{
		bus.QueryPayers: s.answerPayers, bus.QueryProof: s.answerProof, bus.QueryRefusals: s.answerRefusals, bus.QueryState: s.answerState,
		bus.QueryLine: s.answerLine, bus.QueryOrder: s.answerOrder, bus.QueryOutputs: s.answerOutputs,
		bus.QueryDrawn: s.draws.answer, bus.QueryPanel: s.draws.answerPanel,
	} {
		err := bus.SubscribeFair(ctx, s.bus, bus.QuerySubject(types.Key{}, s.cfg.Region, what), func(m bus.Message) {
			ctx, cancel := context.WithTimeout(ctx, queryTimeout)
			defer cancel()
			if data := answer(ctx, m.Data); data != nil {
				if err := s.bus.Respond(ctx, m, data); err != nil {
					s.log.Debug("an answer was not sent", "what", what, "error", err)
				}
			}
		})
		if err != nil {
			return fmt.Errorf("verifier: answer queries: %w", err)
		}
	}
	return nil
}

// ReadBlob implements bus.Blobs: with blobs, the pages of states, and what was made for who asked.
func (s *query) ReadBlob(hash types.Hash, p []byte, offset int64) (n int, size int64, err error) {
	if _, ok := s.archive.blobs.where(hash); ok {
		return s.archive.blobs.ReadBlob(hash, p, offset)
	}
	page := s.made.get(hash)
	if page == nil {
		page = s.archive.page(hash)
	}
	if len(page) == 0 {
		return 0, 0, types.Refuse(types.UnknownBlob, "verifier: blob %s", hash)
	}
	size = int64(len(page))
	if offset >= size {
		return 0, size, io.EOF
	}
	n = copy(p, page[offset:])
	if offset+int64(n) >= size {
		err = io.EOF
	}
	return n, size, err
}

// find returns the newest of the region's standing headers that is such, nil if none is.
func (s *query) find(ctx context.Context, such func(*ledger.Header) bool) *ledger.Header {
	_, p, err := standing(ctx, s.ledger, s.cfg.Region)
	if err != nil {
		return nil
	}
	if i := slices.IndexFunc(p.headers, such); i >= 0 {
		return p.headers[i]
	}
	return nil
}

// state returns the state after a header; unknown_blob if this verifier does not have it.
func (s *query) state(h *ledger.Header) (*tally.State, error) {
	if st := s.archive.held(h.Hash); st != nil {
		return st, nil
	}
	return s.states.get(h.Hash, func() (*tally.State, types.Epoch, error) {
		st, err := s.archive.read(h)
		return st, h.Epoch, err
	})
}

func (s *query) answerPayers(ctx context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.PayersQuery](raw, s.chain)
	now := s.clock.now()
	if err != nil || now == nil || q.Region != s.cfg.Region {
		return nil
	}
	_, p, err := standing(ctx, s.ledger, s.cfg.Region)
	if err != nil {
		return nil
	}
	st := s.archive.state(p.tip)
	if st == nil {
		return nil
	}
	out := &bus.Payers{Chain: s.chain, Region: s.cfg.Region, Epoch: now.epoch.Epoch, Tallied: st.Epoch()}
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
	return bus.Seal(s.cfg.Key, out)
}

func (s *query) answerProof(ctx context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.ProofQuery](raw, s.chain)
	if err != nil || q.Region != s.cfg.Region {
		return nil
	}
	c, err := s.proof(ctx, q.Device, q.Tallied)
	if err != nil {
		return nil
	}
	return bus.Encode(&bus.Proof{Chain: s.chain, Epoch: c.Epoch, Region: c.Region, Leaf: c.Leaf, Proof: c.Proof})
}

// proof is Verifier.Proof.
func (s *query) proof(ctx context.Context, device types.Key, accepted bool) (ledger.Claim, error) {
	_, p, err := standing(ctx, s.ledger, s.cfg.Region)
	if err != nil {
		return ledger.Claim{}, err
	}
	h := p.final
	if accepted {
		h = p.tip
	}
	if h == nil {
		return ledger.Claim{}, types.Refuse(types.NotFinal, "verifier: region %d has no such header", s.cfg.Region)
	}
	return s.proofOf(device, h)
}

// proofOf is Verifier.ProofOf.
func (s *query) proofOf(device types.Key, h *ledger.Header) (ledger.Claim, error) {
	tree, err := s.trees.get(h.Hash, func() (*tally.Tree, types.Epoch, error) {
		st, err := s.state(h)
		if err != nil {
			return nil, 0, err
		}
		tree, err := st.Tree()
		return tree, h.Epoch, err
	})
	if err != nil {
		return ledger.Claim{}, err
	}
	leaf, proof, ok := tree.Proof(device)
	if !ok {
		return ledger.Claim{}, types.Refuse(types.UnknownAuthor, "verifier: %v has no line in epoch %d", device, h.Epoch)
	}
	return ledger.Claim{Epoch: h.Epoch, Region: h.Region, Leaf: leaf, Proof: proof}, nil
}

func (s *query) answerRefusals(ctx context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.RefusalsQuery](raw, s.chain)
	if err != nil || q.Region != s.cfg.Region {
		return nil
	}
	h := s.find(ctx, func(h *ledger.Header) bool { return q.Epoch == 0 || h.Epoch == q.Epoch })
	if h == nil {
		return nil
	}
	r, err := s.report(h.Hash)
	if err != nil {
		return nil
	}
	out := &bus.Refusals{Chain: s.chain, Region: s.cfg.Region, Author: q.Author, Epoch: h.Epoch}
	out.Counted, out.Refused, out.Quality = r.Author(q.Author)
	if n := len(out.Refused); n > bus.MaxItems {
		out.Refused, out.More = out.Refused[:bus.MaxItems], uint64(n-bus.MaxItems)
	}
	return bus.Seal(s.cfg.Key, out)
}

func (s *query) answerState(_ context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.StateQuery](raw, s.chain)
	if err != nil || q.Region != s.cfg.Region {
		return nil
	}
	list := s.archive.pageList(q.Header)
	t := s.archive.tally(q.Header)
	if list == nil {
		return nil
	}
	e := types.Epoch(0) // blobs of a state that was fetched go with the first pruning, and are made again
	if t != nil {
		if h, err := tally.DecodeHeader(t.Header); err == nil {
			e = h.Epoch
		}
	}
	name, err := s.archive.blobs.put(e, list)
	if err != nil {
		s.log.Error("a list of pages cannot be kept", "error", err)
		return nil
	}
	return bus.Encode(&bus.StateAt{Chain: s.chain, Region: s.cfg.Region, Header: q.Header, Pages: name})
}
