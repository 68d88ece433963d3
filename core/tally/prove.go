package tally

import (
	"bytes"
	"fmt"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// Prover proves records of one state against the header that goes with it. It keeps 64 bytes for each page, and
// may be used by many goroutines at once.
type Prover struct {
	state *State
	tree  *merkle.Tree
}

// Prover returns the prover of s.
func (s *State) Prover() *Prover { return &Prover{state: s, tree: merkle.NewTree(s.hashes())} }

// RecordProof shows a page of a state, and that it is one. At a million pages it is 640 bytes longer than the
// page, which holds at most 64 KiB, or one record.
type RecordProof struct {
	_        struct{} `cbor:",toarray"`
	Page     []byte   // as Pages gives it
	Index    uint64   // of the page, in the order of tables and keys
	Count    uint64   // of pages; the header does not say it
	Siblings []types.Hash
}

// MaxRecordProof bounds an encoded RecordProof of an order, in bytes.
const MaxRecordProof = maxPage + 4096

// Order proves the order of a session, false if the state has none.
func (p *Prover) Order(key SessionKey) (RecordProof, bool) {
	k := sessionKey(nil, &key)
	t := p.state.tables[orderTable]
	if t.get(k) == nil {
		return RecordProof{}, false
	}
	at := t.at(k)
	page := t[at].raw
	for id := range orderTable {
		at += len(p.state.tables[id])
	}
	proof := p.tree.Proof(at)
	return RecordProof{Page: page, Index: proof.Index, Count: proof.Count, Siblings: proof.Siblings}, true
}

// page checks that p's page, which is of one table, is one of the state of h. Count is what the proof claims:
// that alone cannot make a page of what is none, because leaves and nodes are hashed apart, so that only a way
// down from the root to a leaf passes.
func (p *RecordProof) page(h *Header, id tableID) error {
	proof := merkle.Proof{Index: p.Index, Count: p.Count, Siblings: p.Siblings}
	if err := proof.Verify(h.State, p.Count, types.Sum(p.Page)); err != nil {
		return fmt.Errorf("tally: page of the state after epoch %d: %w", h.Epoch, err)
	}
	if len(p.Page) < 1 || tableID(p.Page[0]) != id {
		return fmt.Errorf("tally: page of another table: %w", merkle.ErrProof)
	}
	_, err := checkPage(id, p.Page, nil)
	return err
}

// Order returns the line of a session's orders, as the state of h has it. Whatever does not prove one is
// merkle.ErrProof, or bad_encoding.
func (p *RecordProof) Order(h *Header, key SessionKey) (*OrderState, error) {
	if err := p.page(h, orderTable); err != nil {
		return nil, err
	}
	k := sessionKey(nil, &key)
	for rest := p.Page[1:]; len(rest) > 0; {
		var found, val []byte
		found, rest = field(rest)
		val, rest = field(rest)
		if !bytes.Equal(found, k) {
			continue
		}
		line := new(OrderState)
		if err := line.parse(val); err != nil {
			return nil, err
		}
		return line, nil
	}
	return nil, fmt.Errorf("tally: order of session %s: not on the page that was shown: %w", key.ID, merkle.ErrProof)
}
