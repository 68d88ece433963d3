package tally

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// State is all that a later epoch depends on: ten sorted tables, cut into pages. It never changes; Apply
// returns another one, which shares the pages that stayed equal. It may be read by many goroutines at once.
//
// State is also the registry view that goes with it (Registry).
type State struct {
	meta   meta
	tables [tables]table
	hash   types.Hash
}

var _ Registry = (*State)(nil)

// NewState returns the state of a region before its first epoch.
func NewState(chain string, region types.Region) *State {
	s := &State{meta: meta{Chain: chain, Region: region}}
	s.seal(Pool{})
	return s
}

// seal writes the state's own record and hashes all.
func (s *State) seal(p Pool) {
	e := edits{}
	e.set(metaKey, types.Encode(&s.meta))
	s.tables[metaTable] = table(nil).apply(p, metaTable, []edits{e})
	s.hash = merkle.Root(s.hashes())
}

func (s *State) hashes() []types.Hash {
	n := 0
	for _, t := range s.tables {
		n += len(t)
	}
	leaves := make([]types.Hash, 0, n)
	for _, t := range s.tables {
		for i := range t {
			leaves = append(leaves, t[i].hash)
		}
	}
	return leaves
}

// Chain returns the chain that the state is of.
func (s *State) Chain() string { return s.meta.Chain }

// Region returns the region that the state is of.
func (s *State) Region() types.Region { return s.meta.Region }

// Epoch returns the epoch that the state is after; 0 before the first.
func (s *State) Epoch() types.Epoch { return s.meta.Epoch }

// Totals returns the sums that the header shows.
func (s *State) Totals() Totals { return s.meta.Totals }

// Hash returns the Merkle root over the pages' hashes, in the order of tables and keys: the header's State.
func (s *State) Hash() types.Hash { return s.hash }

// Page is one page of a state, named by its SHA-256.
type Page struct {
	Hash types.Hash
	Raw  []byte // read-only
}

// Pages returns the state's pages in order. A snapshot keeps those that it does not have yet, and the list of hashes.
func (s *State) Pages() iter.Seq[Page] {
	return func(yield func(Page) bool) {
		for _, t := range s.tables {
			for i := range t {
				if !yield(Page{Hash: t[i].hash, Raw: t[i].raw}) {
					return
				}
			}
		}
	}
}

// DecodeState reads a state from its pages, in order, and holds it against the hash that a header shows. The
// state shares the pages' memory, which must not change afterwards. Whatever Apply would not have written is
// refused.
func DecodeState(hash types.Hash, pages [][]byte) (*State, error) {
	s := new(State)
	var last []byte // the key before
	id := tableID(0)
	for i, raw := range pages {
		if len(raw) < 4 || len(raw) > maxRecord || raw[0] >= byte(tables) || tableID(raw[0]) < id {
			return nil, types.Refuse(types.BadEncoding, "tally: state: page %d", i)
		}
		if tableID(raw[0]) != id {
			id, last = tableID(raw[0]), nil
		}
		var err error
		if last, err = checkPage(id, raw, last); err != nil {
			return nil, fmt.Errorf("tally: state: page %d: %w", i, err)
		}
		s.tables[id] = append(s.tables[id], newPage(raw))
	}
	raw := s.tables[metaTable].get(metaKey)
	if raw == nil {
		return nil, types.Refuse(types.BadEncoding, "tally: state: without its own record")
	}
	if err := types.Decode(raw, &s.meta); err != nil {
		return nil, fmt.Errorf("tally: state: %w", err)
	}
	if s.hash = merkle.Root(s.hashes()); s.hash != hash {
		return nil, types.Refuse(types.Mismatch, "tally: state of hash %s, want %s", s.hash, hash)
	}
	return s, nil
}

// checkPage checks the form of a page and returns its last key; last is the key before the page, nil for none.
func checkPage(id tableID, raw, last []byte) ([]byte, error) {
	c := types.NewCursor(raw[1:])
	for n := 0; c.Len() > 0; n++ {
		key, val := c.Bytes(), c.Bytes()
		switch {
		case c.Err() != nil || !checkRecord(id, key, val):
			return nil, types.Refuse(types.BadEncoding, "record %d of table %d", n, id)
		case last != nil && bytes.Compare(key, last) <= 0:
			return nil, types.Refuse(types.BadEncoding, "record %d of table %d is out of order", n, id)
		}
		last = key
	}
	if c.Err() != nil {
		return nil, types.Refuse(types.BadEncoding, "table %d", id)
	}
	return last, nil
}

// Device returns what the registry says of a device, or nil for one that it does not list.
func (s *State) Device(key types.Key) *Device {
	l := s.Line(key)
	if l == nil || l.Removed != 0 {
		return nil
	}
	d := l.registered(key)
	return &d
}

// Grant returns what the registry says of a session key, or nil.
func (s *State) Grant(key types.Key) *Grant {
	k := s.Key(key)
	if k == nil {
		return nil
	}
	return &Grant{Key: key, Account: k.Account, Limit: k.Limit, Expiry: k.Expiry}
}

// Attester returns what the registry says of an attestation key, or nil.
func (s *State) Attester(key types.Key) *Attester {
	var a attester
	if raw := s.tables[attesterTable].get(key[:]); raw == nil || a.parse(raw) != nil || a.Power == 0 {
		return nil
	}
	return &Attester{Key: key, VRF: a.VRF, Owner: a.Owner, Power: a.Power}
}

// Attesters lists those with power, ascending by key.
func (s *State) Attesters() iter.Seq[*Attester] {
	return func(yield func(*Attester) bool) {
		for w := s.tables[attesterTable].walk(nil, nil); w.next(); {
			var a attester
			if a.parse(w.val) != nil || a.Power == 0 {
				continue
			}
			if !yield(&Attester{Key: types.Key(w.key), VRF: a.VRF, Owner: a.Owner, Power: a.Power}) {
				return
			}
		}
	}
}

// Devices lists those that are registered for a category, ascending by key.
func (s *State) Devices(c types.Category) iter.Seq[*Device] {
	return func(yield func(*Device) bool) {
		for key, l := range s.Lines() {
			if l.Removed != 0 || !l.serves(c) {
				continue
			}
			d := l.registered(key)
			d.Categories = slices.Clone(d.Categories) // the line is overwritten by the next one
			if !yield(&d) {
				return
			}
		}
	}
}

// Line returns a device's line, also of one that has left the registry, or nil.
func (s *State) Line(device types.Key) *Line {
	l := new(Line)
	if raw := s.tables[deviceTable].get(device[:]); raw == nil || l.parse(raw) != nil {
		return nil
	}
	return l
}

// Lines returns the lines of all devices, ascending by key. The line is overwritten by the next one.
func (s *State) Lines() iter.Seq2[types.Key, *Line] {
	return func(yield func(types.Key, *Line) bool) {
		l := new(Line)
		for w := s.tables[deviceTable].walk(nil, nil); w.next(); {
			if l.parse(w.val) != nil || !yield(types.Key(w.key), l) {
				return
			}
		}
	}
}

// Balance returns what an account has bought and spent. An account that is unknown has done neither.
func (s *State) Balance(a types.Account) Balance {
	var b Balance
	if raw := s.tables[accountTable].get(a[:]); raw == nil || b.parse(raw) != nil {
		return Balance{}
	}
	return b
}

// Key returns a session key's line, or nil.
func (s *State) Key(key types.Key) *KeyState {
	k := new(KeyState)
	if raw := s.tables[keyTable].get(key[:]); raw == nil || k.parse(raw) != nil {
		return nil
	}
	return k
}

// Session returns a session that receipts pay, or nil.
func (s *State) Session(key SessionKey) *Session {
	v := new(Session)
	if raw := s.tables[sessionTable].get(sessionKey(nil, &key)); raw == nil || v.parse(raw) != nil {
		return nil
	}
	return v
}

// Sessions returns the sessions of a payer, ascending by id.
func (s *State) Sessions(payer types.Key) iter.Seq2[SessionKey, *Session] {
	return func(yield func(SessionKey, *Session) bool) {
		for w := s.tables[sessionTable].walk(payer[:], nil); w.next() && bytes.HasPrefix(w.key, payer[:]); {
			v := new(Session)
			if v.parse(w.val) != nil || !yield(parseSessionKey(w.key), v) {
				return
			}
		}
	}
}

// Order returns the line of a session's orders, or nil.
func (s *State) Order(key SessionKey) *OrderState {
	v := new(OrderState)
	if raw := s.tables[orderTable].get(sessionKey(nil, &key)); raw == nil || v.parse(raw) != nil {
		return nil
	}
	return v
}

// Orders returns the lines of all orders that are remembered, ascending by payer and session.
func (s *State) Orders() iter.Seq2[SessionKey, *OrderState] {
	return func(yield func(SessionKey, *OrderState) bool) {
		for w := s.tables[orderTable].walk(nil, nil); w.next(); {
			v := new(OrderState)
			if v.parse(w.val) != nil || !yield(parseSessionKey(w.key), v) {
				return
			}
		}
	}
}

// CategoryLine returns a category's own line of a device, or nil. It is read-only.
func (s *State) CategoryLine(device types.Key, c types.Category) []byte {
	return s.tables[lineTable].get(lineKey(nil, &device, c))
}

// Cells returns a category's lines of cells, ascending.
func (s *State) Cells(c types.Category) []CellState {
	var out []CellState
	for w := s.tables[cellTable].walk(cellKey(nil, c, 0), nil); w.next() && bytes.HasPrefix(w.key, totalKey(c)); {
		out = append(out, CellState{Cell: cellOf(w.key), State: w.val})
	}
	return out
}

// CategoryTotals returns a category's sums over the region (Output.Totals), nil for none.
func (s *State) CategoryTotals(c types.Category) []uint64 {
	raw := s.tables[totalTable].get(totalKey(c))
	if raw == nil {
		return nil
	}
	sums, err := parseTotals(raw)
	if err != nil {
		return nil
	}
	return sums
}
