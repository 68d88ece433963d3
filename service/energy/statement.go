package energy

import (
	"fmt"

	"github.com/cairn-network/cairn/core/types"
)

// Tags of the leaves that the category puts into the outputs tree; 2 is a lot.Sheet.
const (
	tagStatement = 1
	tagMarket    = 3
)

// MaxSales bounds the sales of one Statement, so that they fit what is kept beside a leaf.
const MaxSales = 768

// Statement is what an order bought in one epoch: a leaf of the outputs tree of the header of that epoch, so
// that its payer can prove each watt-hour. The sales that it sums up are kept beside it. An order that bought
// more than MaxSales ranges has several, by Part. One that could not act has a Reason.
type Statement struct {
	_       struct{} `cbor:",toarray"`
	Tag     uint8    // 1
	Payer   types.Key
	Session types.SessionID
	Epoch   types.Epoch
	Part    uint32 // from 0
	Wh      uint64
	Amount  types.Credit
	Digest  types.Hash   // of the sales
	Reason  types.Reason // why the order did not act; "" if it did
}

// Sale is a range of a device's virtual register that an order bought.
type Sale struct {
	_      struct{} `cbor:",toarray"`
	Device types.Key
	K      uint64 // the interval
	From   uint64 // watt-hours, included
	To     uint64 // watt-hours, excluded
	Price  uint64 // micro-credits per Wh
}

// Sales are what one statement is of, in the order in which they were cleared.
type Sales []Sale

// Encode returns the encoding of s.
func (s Sales) Encode() []byte { return types.Encode([]Sale(s)) }

// Digest returns what a statement shows of s.
func (s Sales) Digest() types.Hash { return types.Sum(s.Encode()) }

// maxStatement and maxSales bound encodings, in bytes.
const (
	maxStatement = 256
	maxSales     = 3 + MaxSales*(1+34+9*4)
)

// Encode returns the encoding of s: a leaf of the outputs tree.
func (s *Statement) Encode() []byte {
	s.Tag = tagStatement
	return types.Encode(s)
}

// StatementPrefix returns what the statements of a session start with, to find them by.
func StatementPrefix(payer types.Key, session types.SessionID) []byte {
	full := (&Statement{Payer: payer, Session: session}).Encode()
	return full[:1+1+2+len(payer)+1+len(session)]
}

// DecodeStatement reads a statement. Every other encoding is refused.
func DecodeStatement(raw []byte) (*Statement, error) {
	s := new(Statement)
	if err := types.DecodeLimit(raw, s, maxStatement); err != nil {
		return nil, fmt.Errorf("energy: statement: %w", err)
	}
	if s.Tag != tagStatement {
		return nil, types.Refuse(types.BadEncoding, "energy: statement: an output with tag %d, want %d", s.Tag, tagStatement)
	}
	return s, nil
}

// DecodeSales reads sales and checks their form.
func DecodeSales(raw []byte) (Sales, error) {
	var s []Sale
	if err := types.DecodeLimit(raw, &s, maxSales); err != nil {
		return nil, fmt.Errorf("energy: sales: %w", err)
	}
	if len(s) > MaxSales {
		return nil, types.Refuse(types.BadEncoding, "energy: %d sales, at most %d", len(s), MaxSales)
	}
	for i := range s {
		if s[i].From >= s[i].To {
			return nil, types.Refuse(types.BadEncoding, "energy: sale %d is empty: [%d, %d)", i, s[i].From, s[i].To)
		}
	}
	return s, nil
}

// Matches reports whether sales are those that s sums up.
func (s *Statement) Matches(sales Sales) bool {
	var wh, amount uint64
	for i := range sales {
		n := sales[i].To - sales[i].From
		wh += n
		amount += n * sales[i].Price
	}
	return sales.Digest() == s.Digest && wh == s.Wh && types.Credit(amount) == s.Amount
}

// Market is what came of one clearing: a leaf of the outputs tree, so that everybody knows the price.
type Market struct {
	_     struct{} `cbor:",toarray"`
	Tag   uint8    // 3
	Zone  types.Cell
	K     uint64      // the interval
	Class types.Class // Community or Certificate
	Price uint64      // micro-credits per Wh
	Wh    uint64      // traded; more than 0
	Bid   uint64      // Wh asked for
	Asked uint64      // Wh offered
}

// MarketPrefix returns what all markets start with, to find them by.
func MarketPrefix() []byte { return (&Market{}).Encode()[:2] }

const maxMarket = 96

// Encode returns the encoding of m: a leaf of the outputs tree.
func (m *Market) Encode() []byte {
	m.Tag = tagMarket
	return types.Encode(m)
}

// DecodeMarket reads what came of a clearing. Every other encoding is refused.
func DecodeMarket(raw []byte) (*Market, error) {
	m := new(Market)
	if err := types.DecodeLimit(raw, m, maxMarket); err != nil {
		return nil, fmt.Errorf("energy: market: %w", err)
	}
	if m.Tag != tagMarket {
		return nil, types.Refuse(types.BadEncoding, "energy: market: an output with tag %d, want %d", m.Tag, tagMarket)
	}
	return m, nil
}
