package verifier

import (
	"context"
	"fmt"
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Bounds of what is remembered of other verifiers.
const (
	messageEpochs = 3 // newest epochs
	maxProposals  = 2 // of one leader in one round: two are proof enough
)

// messages are what the verifiers of a region say to each other about their tallies. They believe signatures,
// not subjects, and remember a bounded amount for each verifier of an epoch's set.
type messages struct {
	chain  string
	region types.Region
	clock  *clock // who has a say when
	wake   func() // called after news, without lock

	mu      sync.Mutex
	newest  types.Epoch
	rounds  map[roundID]*roundMessages
	headers map[types.Hash]*tally.Header // proposed ones, by hash; bounded like rounds
}

type roundID struct {
	epoch types.Epoch
	round uint8
}

type roundMessages struct {
	inventories map[types.Key]inventoryAt
	missing     map[types.Key]*bus.MissingItems
	proposals   map[types.Key][]*bus.Proposal
	signatures  map[types.Key][]*bus.HeaderSignature // at most maxProposals of each
}

type inventoryAt struct {
	*bus.Inventory
	height uint64 // when it was seen
}

func newMessages(chain string, region types.Region, c *clock, wake func()) *messages {
	return &messages{chain: chain, region: region, clock: c, wake: wake, rounds: map[roundID]*roundMessages{}, headers: map[types.Hash]*tally.Header{}}
}

// listen subscribes until ctx ends. Kept messages come first, so a restarted verifier knows what was said.
func (ms *messages) listen(ctx context.Context, b bus.Bus) error {
	for pattern, take := range map[string]func([]byte){
		bus.InventorySubject(types.Key{}, ms.region): ms.takeInventory,
		bus.MissingSubject(types.Key{}, ms.region):   ms.takeMissing,
		bus.ProposalSubject(types.Key{}, ms.region):  ms.takeProposal,
		bus.SignatureSubject(types.Key{}, ms.region): ms.takeSignature,
	} {
		if err := b.SubscribeLast(ctx, pattern, func(m bus.Message) { take(m.Data) }); err != nil {
			return fmt.Errorf("verifier: listen to the others: %w", err)
		}
	}
	return nil
}

// of returns what was said of a round, which it makes. The caller holds mu.
func (ms *messages) of(e types.Epoch, round uint8) *roundMessages {
	id := roundID{e, round}
	if ms.rounds[id] == nil {
		ms.rounds[id] = &roundMessages{
			inventories: map[types.Key]inventoryAt{}, missing: map[types.Key]*bus.MissingItems{},
			proposals: map[types.Key][]*bus.Proposal{}, signatures: map[types.Key][]*bus.HeaderSignature{},
		}
	}
	if e > ms.newest {
		ms.newest = e
		for id := range ms.rounds {
			if id.epoch+messageEpochs <= e {
				delete(ms.rounds, id)
			}
		}
		for hash, h := range ms.headers {
			if h.Epoch+messageEpochs <= e {
				delete(ms.headers, hash)
			}
		}
	}
	return ms.rounds[id]
}

// admit reports whether somebody has a say in a round that is not long past.
func (ms *messages) admit(e types.Epoch, region types.Region, round uint8, who types.Key) bool {
	ms.mu.Lock()
	old := e+messageEpochs <= ms.newest
	ms.mu.Unlock()
	return !old && region == ms.region && round < 4 && ms.clock.member(e, who)
}

// news runs change under the lock, and wakes the loop.
func (ms *messages) news(e types.Epoch, round uint8, change func(*roundMessages)) {
	ms.mu.Lock()
	change(ms.of(e, round))
	ms.mu.Unlock()
	ms.wake()
}

func (ms *messages) takeInventory(raw []byte) {
	m, who, err := bus.Open[bus.Inventory](raw, ms.chain)
	if err != nil || !ms.admit(m.Epoch, m.Region, m.Round, who) {
		return
	}
	ms.news(m.Epoch, m.Round, func(r *roundMessages) {
		if _, seen := r.inventories[who]; !seen { // the first one counts
			r.inventories[who] = inventoryAt{m, ms.clock.height()}
		}
	})
}

func (ms *messages) takeMissing(raw []byte) {
	m, who, err := bus.Open[bus.MissingItems](raw, ms.chain)
	if err != nil || !ms.admit(m.Epoch, m.Region, m.Round, who) {
		return
	}
	ms.news(m.Epoch, m.Round, func(r *roundMessages) { r.missing[who] = m })
}

func (ms *messages) takeProposal(raw []byte) {
	m, who, err := bus.Open[bus.Proposal](raw, ms.chain)
	if err != nil || !ms.admit(m.Epoch, m.Region, m.Round, who) {
		return
	}
	h, err := tally.DecodeHeader(m.Header)
	if err != nil || h.Epoch != m.Epoch || h.Region != m.Region || h.Round != m.Round || h.Leader != who || h.Chain != ms.chain {
		return
	}
	ms.news(m.Epoch, m.Round, func(r *roundMessages) {
		for _, old := range r.proposals[who] {
			if string(old.Header) == string(m.Header) {
				return
			}
		}
		if len(r.proposals[who]) < maxProposals {
			r.proposals[who] = append(r.proposals[who], m)
			ms.headers[h.Hash()] = h
		}
	})
}

func (ms *messages) takeSignature(raw []byte) {
	m, who, err := bus.Open[bus.HeaderSignature](raw, ms.chain)
	if err != nil || who != m.Verifier || !ms.admit(m.Epoch, m.Region, m.Round, who) {
		return
	}
	ms.news(m.Epoch, m.Round, func(r *roundMessages) {
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

// inventoryOf returns what a leader said it holds.
func (ms *messages) inventoryOf(e types.Epoch, round uint8, who types.Key) (inventoryAt, bool) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	h, ok := ms.of(e, round).inventories[who]
	return h, ok
}

// missingFor returns the missing items meant for a leader.
func (ms *messages) missingFor(e types.Epoch, round uint8, leader types.Key) map[types.Key]*bus.MissingItems {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	out := map[types.Key]*bus.MissingItems{}
	for who, m := range ms.of(e, round).missing {
		if m.Leader == leader {
			out[who] = m
		}
	}
	return out
}

// proposalsBy returns what a leader proposed.
func (ms *messages) proposalsBy(e types.Epoch, round uint8, leader types.Key) []*bus.Proposal {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return append([]*bus.Proposal(nil), ms.of(e, round).proposals[leader]...)
}

// signaturesOf returns who signed a header.
func (ms *messages) signaturesOf(e types.Epoch, round uint8, header types.Hash) map[types.Key]types.Signature {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	out := map[types.Key]types.Signature{}
	for who, list := range ms.of(e, round).signatures {
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
func (ms *messages) equivocations(known func(types.Hash) *tally.Header) []doubled {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	header := func(hash types.Hash) *tally.Header {
		if h := ms.headers[hash]; h != nil {
			return h
		}
		return known(hash)
	}
	var out []doubled
	for _, r := range ms.rounds {
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
