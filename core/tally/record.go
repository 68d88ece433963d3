package tally

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// tableID numbers the state's tables.
type tableID uint8

// The tables, with their keys. Values are the arrays of the types below unless a comment says otherwise.
const (
	metaTable     tableID = iota // one record, key 0x00: meta
	accountTable                 // account (20 bytes): Balance
	keyTable                     // session key (32): KeyState
	attesterTable                // attestation key (32): attester
	deviceTable                  // device (32): Line, without its key
	lineTable                    // device, u16 category: the category's own bytes
	sessionTable                 // payer (32), session id (16): Session, without its key
	orderTable                   // payer (32), session id (16): OrderState, without its key
	cellTable                    // u16 category, u64 cell: the category's own bytes
	totalTable                   // u16 category: the category's sums, an array of unsigned integers
	tables
)

// Limits of a state's records.
const (
	maxCategories = 64      // of one device, and of totals
	maxTotals     = 8       // sums of one category
	maxRecord     = 4 << 20 // bytes of a key or value
)

// meta is the state's own record.
type meta struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Region types.Region
	Epoch  types.Epoch // of the header that goes with the state; 0 before the first
	Before types.Epoch // of the region's header before that
	Totals Totals
}

// Balance is what an account has bought and spent in the region, ever.
type Balance struct {
	_      struct{} `cbor:",toarray"`
	Bought types.Credit
	Spent  types.Credit
}

func (a *Balance) append(b []byte) []byte {
	return appendUint(appendUint(append(b, majorArray|2), a.Bought), a.Spent)
}

func (a *Balance) parse(b []byte) error {
	c := cursor{b: b}
	if c.array(2) != 2 {
		c.fail()
	}
	a.Bought, a.Spent = types.Credit(c.u64()), types.Credit(c.u64())
	return c.end()
}

// KeyState is a session key: its grant, and what it has spent.
type KeyState struct {
	_       struct{} `cbor:",toarray"`
	Account types.Account
	Limit   types.Credit
	Expiry  types.Epoch
	Spent   types.Credit
}

func (k *KeyState) append(b []byte) []byte {
	b = appendBytes(append(b, majorArray|4), k.Account[:])
	return appendUint(appendUint(appendUint(b, k.Limit), k.Expiry), k.Spent)
}

func (k *KeyState) parse(b []byte) error {
	c := cursor{b: b}
	if c.array(4) != 4 {
		c.fail()
	}
	c.fixed(k.Account[:])
	k.Limit, k.Expiry, k.Spent = types.Credit(c.u64()), types.Epoch(c.u64()), types.Credit(c.u64())
	return c.end()
}

// attester is an attestation key. Power 0 stands for one that the registry no longer lists; its number must not be forgotten.
type attester struct {
	_     struct{} `cbor:",toarray"`
	VRF   types.Key
	Owner types.Account
	Power uint64
	Seq   uint64
	Last  types.Hash
}

func (a *attester) append(b []byte) []byte {
	b = appendBytes(append(b, majorArray|5), a.VRF[:])
	b = appendBytes(b, a.Owner[:])
	return appendBytes(appendUint(appendUint(b, a.Power), a.Seq), a.Last[:])
}

func (a *attester) parse(b []byte) error {
	c := cursor{b: b}
	if c.array(5) != 5 {
		c.fail()
	}
	c.fixed(a.VRF[:])
	c.fixed(a.Owner[:])
	a.Power, a.Seq = c.u64(), c.u64()
	c.fixed(a.Last[:])
	return c.end()
}

// Line is a device's line in the state. A device keeps its line after it has left the registry, as long as it has an amount.
type Line struct {
	_          struct{}     `cbor:",toarray"`
	Amount     types.Ustone // cumulative
	Penalty    types.Ustone // cumulative
	Owner      types.Account
	Categories []types.Category
	Cell       types.Cell
	Model      uint64
	Bond       types.Ustone
	Slashed    types.Ustone
	Suspended  types.Epoch
	Removed    types.Epoch  // the epoch in which it left the registry; 0 while it is in
	Settled    types.Credit // of what it was paid, what has been turned into STONE
	Seq        uint64       // of its newest evidence
	Last       types.Hash   // hash of that; zero if it equivocated with that number
	Shares     []LineShare  // ascending by category; only those with something to say
}

// LineShare is a category's part of a device's line.
type LineShare struct {
	_        struct{} `cbor:",toarray"`
	Category types.Category
	Paid     types.Credit // cumulative
	Weight   types.U128   // of this epoch
}

// Paid returns what the device was paid in all categories, ever.
func (l *Line) Paid() types.Credit {
	var sum types.Credit
	for i := range l.Shares {
		sum += l.Shares[i].Paid // at most the sum of all that was bought, which fits
	}
	return sum
}

// share returns the part of a category, which it adds where there is none.
func (l *Line) share(c types.Category) *LineShare {
	i := 0
	for i < len(l.Shares) && l.Shares[i].Category < c {
		i++
	}
	if i == len(l.Shares) || l.Shares[i].Category != c {
		l.Shares = slices.Insert(l.Shares, i, LineShare{Category: c})
	}
	return &l.Shares[i]
}

// serves reports whether the device is registered for a category.
func (l *Line) serves(c types.Category) bool { return slices.Contains(l.Categories, c) }

// registered returns the registry's part.
func (l *Line) registered(key types.Key) Device {
	return Device{Key: key, Owner: l.Owner, Categories: l.Categories, Cell: l.Cell, Model: l.Model,
		Bond: l.Bond, Slashed: l.Slashed, Suspended: l.Suspended}
}

// lineFields are the elements of a Line's array; the first two are in a leaf as they are, the others by hash.
const lineFields = 14

func (l *Line) append(b []byte) []byte {
	b = appendUint(appendUint(append(b, majorArray|lineFields), l.Amount), l.Penalty)
	return l.appendRest(b)
}

// appendRest appends all elements but the first two.
func (l *Line) appendRest(b []byte) []byte {
	b = appendBytes(b, l.Owner[:])
	b = appendHead(b, majorArray, uint64(len(l.Categories)))
	for _, c := range l.Categories {
		b = appendUint(b, c)
	}
	b = appendUint(appendUint(b, l.Cell), l.Model)
	b = appendUint(appendUint(appendUint(b, l.Bond), l.Slashed), l.Suspended)
	b = appendUint(appendUint(appendUint(b, l.Removed), l.Settled), l.Seq)
	b = appendBytes(b, l.Last[:])
	n := 0
	for i := range l.Shares {
		if l.Shares[i].some() {
			n++
		}
	}
	b = appendHead(b, majorArray, uint64(n))
	for i := range l.Shares {
		if s := &l.Shares[i]; s.some() {
			b = appendUint(appendUint(append(b, majorArray|3), s.Category), s.Paid)
			b = appendU128(b, s.Weight)
		}
	}
	return b
}

func (s *LineShare) some() bool { return s.Paid != 0 || !s.Weight.IsZero() }

// parse reads a line; it uses the slices that l has.
func (l *Line) parse(b []byte) error {
	c := cursor{b: b}
	if c.array(lineFields) != lineFields {
		c.fail()
	}
	l.Amount, l.Penalty = types.Ustone(c.u64()), types.Ustone(c.u64())
	c.fixed(l.Owner[:])
	l.Categories = l.Categories[:0]
	for range c.array(maxCategories) {
		l.Categories = append(l.Categories, types.Category(c.uint(1<<16-1)))
	}
	l.Cell, l.Model = types.Cell(c.u64()), c.u64()
	l.Bond, l.Slashed, l.Suspended = types.Ustone(c.u64()), types.Ustone(c.u64()), types.Epoch(c.u64())
	l.Removed, l.Settled, l.Seq = types.Epoch(c.u64()), types.Credit(c.u64()), c.u64()
	c.fixed(l.Last[:])
	l.Shares = l.Shares[:0]
	for range c.array(maxCategories) {
		if c.array(3) != 3 {
			c.fail()
		}
		s := LineShare{Category: types.Category(c.uint(1<<16 - 1)), Paid: types.Credit(c.u64()), Weight: c.u128()}
		if n := len(l.Shares); !s.some() || n > 0 && s.Category <= l.Shares[n-1].Category {
			c.fail()
		}
		l.Shares = append(l.Shares, s)
	}
	for i := range l.Categories {
		if i > 0 && l.Categories[i] <= l.Categories[i-1] {
			c.fail()
		}
	}
	return c.end()
}

// Session is a session that receipts pay, without its key.
type Session struct {
	_        struct{} `cbor:",toarray"`
	Device   types.Key
	Category types.Category
	Terms    types.Hash // the ask
	Class    types.Class
	Price    uint64       // of the ask
	Units    types.U128   // honoured so far
	Amount   types.Credit // honoured so far
	Seq      uint64       // of the newest receipt that counted
	Closed   bool         // it takes no more receipts, and is remembered until it expires
}

func (s *Session) append(b []byte) []byte {
	b = appendBytes(append(b, majorArray|9), s.Device[:])
	b = appendBytes(appendUint(b, s.Category), s.Terms[:])
	b = appendU128(appendUint(appendUint(b, s.Class), s.Price), s.Units)
	return appendBool(appendUint(appendUint(b, s.Amount), s.Seq), s.Closed)
}

func (s *Session) parse(b []byte) error {
	c := cursor{b: b}
	if c.array(9) != 9 {
		c.fail()
	}
	c.fixed(s.Device[:])
	s.Category = types.Category(c.uint(1<<16 - 1))
	c.fixed(s.Terms[:])
	s.Class, s.Price, s.Units = types.Class(c.uint(1<<16-1)), c.u64(), c.u128()
	s.Amount, s.Seq, s.Closed = types.Credit(c.u64()), c.u64(), c.bool()
	return c.end()
}

// OrderState is an order with what it has bought, without its key.
type OrderState struct {
	_      struct{} `cbor:",toarray"`
	Raw    []byte   // the encoding of the receipt.Order
	Units  types.U128
	Amount types.Credit
}

func (o *OrderState) append(b []byte) []byte {
	b = appendBytes(append(b, majorArray|3), o.Raw)
	return appendUint(appendU128(b, o.Units), o.Amount)
}

func (o *OrderState) parse(b []byte) error {
	c := cursor{b: b}
	if c.array(3) != 3 {
		c.fail()
	}
	o.Raw = c.bytes()
	o.Units, o.Amount = c.u128(), types.Credit(c.u64())
	return c.end()
}

// order decodes the order itself.
func (o *OrderState) order() (*receipt.Order, error) {
	order := new(receipt.Order)
	return order, types.Decode(o.Raw, order)
}

// appendTotals appends a category's sums.
func appendTotals(b []byte, sums []uint64) []byte {
	b = appendHead(b, majorArray, uint64(len(sums)))
	for _, n := range sums {
		b = appendUint(b, n)
	}
	return b
}

func parseTotals(b []byte) ([]uint64, error) {
	c := cursor{b: b}
	sums := make([]uint64, c.array(maxTotals))
	for i := range sums {
		sums[i] = c.u64()
	}
	return sums, c.end()
}

// Keys of records.

func sessionKey(b []byte, s *SessionKey) []byte { return append(append(b, s.Payer[:]...), s.ID[:]...) }

func parseSessionKey(b []byte) (s SessionKey) {
	copy(s.Payer[:], b)
	copy(s.ID[:], b[len(s.Payer):])
	return s
}

func lineKey(b []byte, device *types.Key, c types.Category) []byte {
	return binary.BigEndian.AppendUint16(append(b, device[:]...), uint16(c))
}

func cellKey(b []byte, c types.Category, cell types.Cell) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint16(b, uint16(c)), uint64(cell))
}

func totalKey(c types.Category) []byte { return binary.BigEndian.AppendUint16(nil, uint16(c)) }

var metaKey = []byte{0}

// keySizes are the lengths of the keys of each table.
var keySizes = [tables]int{1, 20, 32, 32, 32, 34, 48, 48, 10, 2}

// checkRecord reports whether a record is one that a tally writes.
func checkRecord(id tableID, key, val []byte) bool {
	if len(key) != keySizes[id] {
		return false
	}
	var err error
	switch id {
	case metaTable:
		var m meta
		if err = types.Decode(val, &m); err == nil && !bytes.Equal(key, metaKey) {
			return false
		}
	case accountTable:
		err = new(Balance).parse(val)
	case keyTable:
		err = new(KeyState).parse(val)
	case attesterTable:
		err = new(attester).parse(val)
	case deviceTable:
		err = new(Line).parse(val)
	case sessionTable:
		err = new(Session).parse(val)
	case orderTable:
		var o OrderState
		if err = o.parse(val); err == nil {
			_, err = o.order()
		}
	case totalTable:
		_, err = parseTotals(val)
	}
	return err == nil
}

func cellOf(key []byte) types.Cell { return types.Cell(binary.BigEndian.Uint64(key[2:])) }
