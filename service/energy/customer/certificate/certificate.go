// Package certificate is energy's client for the module that it adds to the chain, chain/x/certificate: it
// reads certificates through any ledger.Querier, and makes the messages that a ledger.Writer submits. Twin is
// the module in a ledger.Memory.
//
//	x, err := certificate.Reader{Chain: l}.Certificate(ctx, id)
//	receipt, err := l.Submit(ctx, x.Owner, certificate.Retire{ID: id, Beneficiary: "Bakery"})
//
// Sell and Buy change its owner for a price.
package certificate

import (
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

// Module is the protobuf package of the module.
const Module = "cairn.certificate.v1"

// State says where a certificate stands.
type State string

// The life of a certificate.
const (
	Active  State = "active"
	Retired State = "retired"
	Expired State = "expired" // it was not retired in time
)

// Certificate is a range of a device's register that was produced and not sold, as the chain keeps it. No two
// of a device overlap.
type Certificate struct {
	ID          lot.ID        `json:"id"` // the device, and the first watt-hour
	To          uint64        `json:"to_wh"`
	Begin       uint64        `json:"from_time"` // Unix seconds of energy time, within one hour: Begin is included, End is not
	End         uint64        `json:"to_time"`
	Technology  uint8         `json:"technology"` // the category's own number
	Zone        types.Cell    `json:"zone"`       // the device's cell of resolution 3
	Power       uint32        `json:"power"`      // W: the device's AC rating
	Storage     types.Bp      `json:"storage"`    // the share that came out of storage
	Owner       types.Account `json:"owner"`
	Issued      uint64        `json:"issued"`  // Unix seconds of the chain's time
	Expires     uint64        `json:"expires"` // from this one on, unless it was retired
	State       State         `json:"state"`   // as of the newest block
	Beneficiary string        `json:"beneficiary,omitempty"`
	Hour        uint64        `json:"hour,omitempty"` // the hour of consumption that it is claimed for, as its first second; 0 for none
	Epoch       types.Epoch   `json:"epoch"`          // of the header that proved it
	Region      types.Region  `json:"region"`
}

// Wh returns what c is over, in watt-hours.
func (c *Certificate) Wh() uint64 { return c.To - c.ID.From }

// Totals are sums over all certificates, in watt-hours: Issued = Active + Retired + Expired.
type Totals struct {
	Issued  uint64 `json:"issued,string"`
	Active  uint64 `json:"active,string"`
	Retired uint64 `json:"retired,string"`
	Expired uint64 `json:"expired,string"`
}

// Query says which certificates to list: those of Owner, or those over Device's register. One of both is set.
type Query struct {
	Owner  types.Account
	State  State // of an owner's: Retired for only those, Active for only those not retired; "" for all
	Device types.Key
	Limit  int    // at most; zero or beyond MaxPage: MaxPage
	After  []byte // Next of the page before; nil for the first
}

// MaxPage bounds a page of certificates.
const MaxPage = 1000

// Page is a part of a list. An owner's list has certificates that are not retired first; each part is by device
// and range.
type Page struct {
	Certificates []Certificate
	Next         []byte // opaque; nil: this was the last page
}
