package energy

import (
	"fmt"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

// Rules of orders (receipt.Order.Rule).
const (
	RuleCommunity   = 1 // neighbours' energy for a meter, when it flows
	RuleCertificate = 2 // certificates out of what neighbours did not buy
)

// Selector says what an order buys. An order's Limit is in micro-credits per Wh, Most in Wh per interval.
type Selector struct {
	_           struct{}   `cbor:",toarray"`
	Zone        types.Cell // of resolution 3; 0 is any, for certificates
	Meter       types.Key  // the device that consumes; its owner must have granted the payer's key. Zero for certificates without one
	Technology  Technology // 0 is any
	Beneficiary string     // for whom what is bought is retired; "" is the payer. A name as lot.CheckBeneficiary takes it
}

// MaxBeneficiary bounds a beneficiary's name, in bytes.
const MaxBeneficiary = lot.MaxBeneficiary

const maxSelector = 256

// Encode returns the encoding of s.
func (s *Selector) Encode() []byte { return types.Encode(s) }

// DecodeSelector reads a selector and checks its form.
func DecodeSelector(raw []byte) (*Selector, error) {
	s := new(Selector)
	if err := types.DecodeLimit(raw, s, maxSelector); err != nil {
		return nil, fmt.Errorf("energy: selector: %w", err)
	}
	if s.Zone != 0 && (!s.Zone.Valid() || s.Zone.Resolution() != 3) || s.Technology > Solar {
		return nil, types.Refuse(OrderTerms, "energy: selector: zone %v, %v", s.Zone, s.Technology)
	}
	if err := lot.CheckBeneficiary(s.Beneficiary); err != nil {
		return nil, types.Refuse(OrderTerms, "energy: selector: %v", err)
	}
	return s, nil
}
