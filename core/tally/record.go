package tally

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/fleet"
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
	return types.AppendUint(types.AppendUint(append(b, types.MajorArray|2), a.Bought), a.Spent)
}

func (a *Balance) parse(b []byte) error {
	c := types.NewCursor(b)
	if c.Array(2) != 2 {
		c.Fail()
	}
	a.Bought, a.Spent = types.Credit(c.U64()), types.Credit(c.U64())
	return c.End()
}

// KeyState is a session key: its grant, and what it has spent.
type KeyState struct {
	_       struct{} `cbor:",toarray"`
	Account types.Account
	Limit   types.Credit
	Expiry  types.Epoch
	Spent   types.Credit
	Ordered types.Credit // of Spent: by orders, not by receipts
}

func (k *KeyState) append(b []byte) []byte {
	b = types.AppendBytes(append(b, types.MajorArray|5), k.Account[:])
	return types.AppendUint(types.AppendUint(types.AppendUint(types.AppendUint(b, k.Limit), k.Expiry), k.Spent), k.Ordered)
}

func (k *KeyState) parse(b []byte) error {
	c := types.NewCursor(b)
	if c.Array(5) != 5 {
		c.Fail()
	}
	c.Fixed(k.Account[:])
	k.Limit, k.Expiry, k.Spent, k.Ordered = types.Credit(c.U64()), types.Epoch(c.U64()), types.Credit(c.U64()), types.Credit(c.U64())
	return c.End()
}

// attester is an attestation key. Power 0 stands for one that the registry no longer lists; its number must not
// be forgotten.
type attester struct {
	_     struct{} `cbor:",toarray"`
	VRF   types.Key
	Owner types.Account
	Power uint64
	Seq   uint64
	Last  types.Hash
}

func (a *attester) append(b []byte) []byte {
	b = types.AppendBytes(append(b, types.MajorArray|5), a.VRF[:])
	b = types.AppendBytes(b, a.Owner[:])
	return types.AppendBytes(types.AppendUint(types.AppendUint(b, a.Power), a.Seq), a.Last[:])
}

func (a *attester) parse(b []byte) error {
	c := types.NewCursor(b)
	if c.Array(5) != 5 {
		c.Fail()
	}
	c.Fixed(a.VRF[:])
	c.Fixed(a.Owner[:])
	a.Power, a.Seq = c.U64(), c.U64()
	c.Fixed(a.Last[:])
	return c.End()
}

// Line is a device's line in the state. A device keeps its line after it has left the registry, as long as it
// has an amount or left a bond behind.
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
	Fleet      fleet.Fleet  `cbor:"-"` // last, and only if there is one
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
		Bond: l.Bond, Slashed: l.Slashed, Suspended: l.Suspended, Fleet: l.Fleet}
}

// lineFields are the elements of a Line's array without its fleet; the first two are in a leaf as they are, the
// others by hash.
const lineFields = 14

// head begins an array of the line's elements but the first skipped ones.
func (l *Line) head(b []byte, skipped uint64) []byte {
	return types.AppendHead(b, types.MajorArray, lineFields+fleetFields(&l.Fleet)-skipped)
}

func (l *Line) append(b []byte) []byte {
	return l.appendRest(types.AppendUint(types.AppendUint(l.head(b, 0), l.Amount), l.Penalty))
}

// appendRest appends all elements but the first two.
func (l *Line) appendRest(b []byte) []byte {
	b = types.AppendBytes(b, l.Owner[:])
	b = types.AppendHead(b, types.MajorArray, uint64(len(l.Categories)))
	for _, c := range l.Categories {
		b = types.AppendUint(b, c)
	}
	b = types.AppendUint(types.AppendUint(b, l.Cell), l.Model)
	b = types.AppendUint(types.AppendUint(types.AppendUint(b, l.Bond), l.Slashed), l.Suspended)
	b = types.AppendUint(types.AppendUint(types.AppendUint(b, l.Removed), l.Settled), l.Seq)
	b = types.AppendBytes(b, l.Last[:])
	n := 0
	for i := range l.Shares {
		if l.Shares[i].some() {
			n++
		}
	}
	b = types.AppendHead(b, types.MajorArray, uint64(n))
	for i := range l.Shares {
		if s := &l.Shares[i]; s.some() {
			b = types.AppendUint(types.AppendUint(append(b, types.MajorArray|3), s.Category), s.Paid)
			b = types.AppendU128(b, s.Weight)
		}
	}
	return appendFleet(b, &l.Fleet)
}

func (s *LineShare) some() bool { return s.Paid != 0 || !s.Weight.IsZero() }

// parse reads a line; it uses the slices that l has.
func (l *Line) parse(b []byte) error {
	c := types.NewCursor(b)
	fields := c.Array(lineFields + 1)
	if fields < lineFields {
		c.Fail()
	}
	l.Amount, l.Penalty = types.Ustone(c.U64()), types.Ustone(c.U64())
	c.Fixed(l.Owner[:])
	l.Categories = l.Categories[:0]
	for range c.Array(maxCategories) {
		l.Categories = append(l.Categories, types.Category(c.Uint(1<<16-1)))
	}
	l.Cell, l.Model = types.Cell(c.U64()), c.U64()
	l.Bond, l.Slashed, l.Suspended = types.Ustone(c.U64()), types.Ustone(c.U64()), types.Epoch(c.U64())
	l.Removed, l.Settled, l.Seq = types.Epoch(c.U64()), types.Credit(c.U64()), c.U64()
	c.Fixed(l.Last[:])
	l.Shares = l.Shares[:0]
	for range c.Array(maxCategories) {
		if c.Array(3) != 3 {
			c.Fail()
		}
		s := LineShare{Category: types.Category(c.Uint(1<<16 - 1)), Paid: types.Credit(c.U64()), Weight: c.U128()}
		if n := len(l.Shares); !s.some() || n > 0 && s.Category <= l.Shares[n-1].Category {
			c.Fail()
		}
		l.Shares = append(l.Shares, s)
	}
	parseFleet(&c, &l.Fleet, fields > lineFields)
	for i := range l.Categories {
		if i > 0 && l.Categories[i] <= l.Categories[i-1] {
			c.Fail()
		}
	}
	return c.End()
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
	b = types.AppendBytes(append(b, types.MajorArray|9), s.Device[:])
	b = types.AppendBytes(types.AppendUint(b, s.Category), s.Terms[:])
	b = types.AppendU128(types.AppendUint(types.AppendUint(b, s.Class), s.Price), s.Units)
	return types.AppendBool(types.AppendUint(types.AppendUint(b, s.Amount), s.Seq), s.Closed)
}

func (s *Session) parse(b []byte) error {
	c := types.NewCursor(b)
	if c.Array(9) != 9 {
		c.Fail()
	}
	c.Fixed(s.Device[:])
	s.Category = types.Category(c.Uint(1<<16 - 1))
	c.Fixed(s.Terms[:])
	s.Class, s.Price, s.Units = types.Class(c.Uint(1<<16-1)), c.U64(), c.U128()
	s.Amount, s.Seq, s.Closed = types.Credit(c.U64()), c.U64(), c.Bool()
	return c.End()
}

// OrderState is the newest order of a session with what they bought, without its key. Of one that ended its
// order is forgotten: see orders.go.
type OrderState struct {
	_        struct{} `cbor:",toarray"`
	Raw      []byte   // the encoding of the receipt.Order; empty once it ended
	Category types.Category
	Seq      uint64
	Since    types.Epoch // when it ended; of a live one, since when no credits are behind it, 0 if there are
	Units    types.U128
	Amount   types.Credit
}

// Ended reports whether it buys nothing more: it was cancelled, is used up or over, or nothing was behind it.
func (o *OrderState) Ended() bool { return len(o.Raw) == 0 }

// Order decodes the order itself; nil if it ended.
func (o *OrderState) Order() (*receipt.Order, error) {
	if o.Ended() {
		return nil, nil
	}
	order := new(receipt.Order)
	if err := types.Decode(o.Raw, order); err != nil {
		return nil, err
	}
	return order, nil
}

func (o *OrderState) append(b []byte) []byte {
	b = types.AppendBytes(append(b, types.MajorArray|6), o.Raw)
	b = types.AppendUint(types.AppendUint(types.AppendUint(b, o.Category), o.Seq), o.Since)
	return types.AppendUint(types.AppendU128(b, o.Units), o.Amount)
}

func (o *OrderState) parse(b []byte) error {
	c := types.NewCursor(b)
	if c.Array(6) != 6 {
		c.Fail()
	}
	o.Raw = c.Bytes()
	o.Category, o.Seq, o.Since = types.Category(c.Uint(1<<16-1)), c.U64(), types.Epoch(c.U64())
	o.Units, o.Amount = c.U128(), types.Credit(c.U64())
	return c.End()
}

// appendTotals appends a category's sums.
func appendTotals(b []byte, sums []uint64) []byte {
	b = types.AppendHead(b, types.MajorArray, uint64(len(sums)))
	for _, n := range sums {
		b = types.AppendUint(b, n)
	}
	return b
}

func parseTotals(b []byte) ([]uint64, error) {
	c := types.NewCursor(b)
	sums := make([]uint64, c.Array(maxTotals))
	for i := range sums {
		sums[i] = c.U64()
	}
	return sums, c.End()
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
			_, err = o.Order()
		}
	case totalTable:
		_, err = parseTotals(val)
	}
	return err == nil
}

func cellOf(key []byte) types.Cell { return types.Cell(binary.BigEndian.Uint64(key[2:])) }
