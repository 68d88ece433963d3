package verifier

import (
	"context"
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Bounds of what is remembered of other verifiers.
const (
	talkEpochs   = 3 // newest epochs
	maxProposals = 2 // of one leader in one round: two are proof enough
)

// talk is what the verifiers of a region say to each other about their tallies. It believes signatures, not subjects, and
// remembers a bounded amount for each verifier of an epoch's set.
type talk struct {
	chain  string
	region types.Region
	height func() uint64                     // of the newest block seen
	member func(types.Epoch, types.Key) bool // whether a key has power in an epoch; false while it is not known
	wake   func()                            // called after news, without lock

	mu      sync.Mutex
	newest  types.Epoch
	rounds  map[roundID]*roundTalk
	headers map[types.Hash]*tally.Header // proposed ones, by hash; bounded like rounds
}

type roundID struct {
	epoch types.Epoch
	round uint8
}

type roundTalk struct {
	held       map[types.Key]heldAt
	handovers  map[types.Key]*bus.Handover
	proposals  map[types.Key][]*bus.Proposal
	signatures map[types.Key][]*bus.HeaderSignature // at most maxProposals of each
}

type heldAt struct {
	*bus.Held
	height uint64 // when it was seen
}

func newTalk(chain string, region types.Region) *talk {
	return &talk{chain: chain, region: region, rounds: map[roundID]*roundTalk{}, headers: map[types.Hash]*tally.Header{}}
}

// listen subscribes until ctx ends. Kept messages come first, so a restarted verifier knows what was said.
func (t *talk) listen(ctx context.Context, b bus.Bus) error {
	for pattern, handle := range map[string]func([]byte){
		bus.HeldSubject(types.Key{}, t.region):      t.takeHeld,
		bus.HandoverSubject(types.Key{}, t.region):  t.takeHandover,
		bus.ProposalSubject(types.Key{}, t.region):  t.takeProposal,
		bus.SignatureSubject(types.Key{}, t.region): t.takeSignature,
	} {
		if err := b.SubscribeLast(ctx, pattern, func(m bus.Message) { handle(m.Data) }); err != nil {
			return err
		}
	}
	return nil
}

// of returns what was said of a round, which it makes. The caller holds mu.
func (t *talk) of(e types.Epoch, round uint8) *roundTalk {
	id := roundID{e, round}
	if t.rounds[id] == nil {
		t.rounds[id] = &roundTalk{
			held: map[types.Key]heldAt{}, handovers: map[types.Key]*bus.Handover{},
			proposals: map[types.Key][]*bus.Proposal{}, signatures: map[types.Key][]*bus.HeaderSignature{},
		}
	}
	if e > t.newest {
		t.newest = e
		for id := range t.rounds {
			if id.epoch+talkEpochs <= e {
				delete(t.rounds, id)
			}
		}
		for hash, h := range t.headers {
			if h.Epoch+talkEpochs <= e {
				delete(t.headers, hash)
			}
		}
	}
	return t.rounds[id]
}

// admit reports whether somebody has a say in a round that is not long past.
func (t *talk) admit(e types.Epoch, region types.Region, round uint8, who types.Key) bool {
	t.mu.Lock()
	old := e+talkEpochs <= t.newest
	t.mu.Unlock()
	return !old && region == t.region && round < 4 && t.member(e, who)
}

// news runs change under the lock, and wakes the loop.
func (t *talk) news(e types.Epoch, round uint8, change func(*roundTalk)) {
	t.mu.Lock()
	change(t.of(e, round))
	t.mu.Unlock()
	t.wake()
}

func (t *talk) takeHeld(raw []byte) {
	m, who, err := bus.Open[bus.Held](raw, t.chain)
	if err != nil || !t.admit(m.Epoch, m.Region, m.Round, who) {
		return
	}
	t.news(m.Epoch, m.Round, func(r *roundTalk) {
		if _, seen := r.held[who]; !seen { // the first one counts
			r.held[who] = heldAt{m, t.height()}
		}
	})
}

func (t *talk) takeHandover(raw []byte) {
	m, who, err := bus.Open[bus.Handover](raw, t.chain)
	if err != nil || !t.admit(m.Epoch, m.Region, m.Round, who) {
		return
	}
	t.news(m.Epoch, m.Round, func(r *roundTalk) { r.handovers[who] = m })
}

func (t *talk) takeProposal(raw []byte) {
	m, who, err := bus.Open[bus.Proposal](raw, t.chain)
	if err != nil || !t.admit(m.Epoch, m.Region, m.Round, who) {
		return
	}
	h, err := tally.DecodeHeader(m.Header)
	if err != nil || h.Epoch != m.Epoch || h.Region != m.Region || h.Round != m.Round || h.Leader != who || h.Chain != t.chain {
		return
	}
	t.news(m.Epoch, m.Round, func(r *roundTalk) {
		for _, old := range r.proposals[who] {
			if string(old.Header) == string(m.Header) {
				return
			}
		}
		if len(r.proposals[who]) < maxProposals {
			r.proposals[who] = append(r.proposals[who], m)
			t.headers[h.Hash()] = h
		}
	})
}

func (t *talk) takeSignature(raw []byte) {
	m, who, err := bus.Open[bus.HeaderSignature](raw, t.chain)
	if err != nil || who != m.Verifier || !t.admit(m.Epoch, m.Region, m.Round, who) {
		return
	}
	t.news(m.Epoch, m.Round, func(r *roundTalk) {
		for _, old := range r.signatures[m.Verifier] {
			if old.Header == m.Header {
				return
			}
		}
		if len(r.signatures[m.Verifier]) < maxProposals {
			r.signatures[m.Verifier] = append(r.signatures[m.Verifier], m)
		}
	})
}

// heldBy returns what a leader said it holds.
func (t *talk) heldBy(e types.Epoch, round uint8, who types.Key) (heldAt, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.of(e, round).held[who]
	return h, ok
}

// handoversTo returns the handovers meant for a leader.
func (t *talk) handoversTo(e types.Epoch, round uint8, leader types.Key) map[types.Key]*bus.Handover {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[types.Key]*bus.Handover{}
	for who, m := range t.of(e, round).handovers {
		if m.Leader == leader {
			out[who] = m
		}
	}
	return out
}

// proposalsBy returns what a leader proposed.
func (t *talk) proposalsBy(e types.Epoch, round uint8, leader types.Key) []*bus.Proposal {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]*bus.Proposal(nil), t.of(e, round).proposals[leader]...)
}

// signaturesOf returns who signed a header.
func (t *talk) signaturesOf(e types.Epoch, round uint8, header types.Hash) map[types.Key]types.Signature {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[types.Key]types.Signature{}
	for who, list := range t.of(e, round).signatures {
		for _, s := range list {
			if s.Header == header {
				out[who] = s.Signature
			}
		}
	}
	return out
}

// doubled is a verifier that signed two headers of one round, both of which are known.
type doubled struct {
	who        types.Key
	a, b       *tally.Header
	sigA, sigB types.Signature
}

// equivocations returns the doubled signatures whose headers are known; known adds headers beyond the proposed ones.
func (t *talk) equivocations(known func(types.Hash) *tally.Header) []doubled {
	t.mu.Lock()
	defer t.mu.Unlock()
	header := func(hash types.Hash) *tally.Header {
		if h := t.headers[hash]; h != nil {
			return h
		}
		return known(hash)
	}
	var out []doubled
	for _, r := range t.rounds {
		for who, list := range r.signatures {
			if len(list) < 2 {
				continue
			}
			a, b := header(list[0].Header), header(list[1].Header)
			if a != nil && b != nil {
				out = append(out, doubled{who, a, b, list[0].Signature, list[1].Signature})
			}
		}
	}
	return out
}
