package ledger

import (
	"context"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

// CertificateState says where a certificate stands.
type CertificateState string

// The life of a certificate.
const (
	CertificateActive  CertificateState = "active"
	CertificateRetired CertificateState = "retired"
	CertificateExpired CertificateState = "expired" // it was not retired in time
)

// Certificate is a range of a device's register that was produced and not sold, as the chain keeps it. No two of a device overlap.
type Certificate struct {
	ID          lot.ID           `json:"id"` // the device, and the first watt-hour
	To          uint64           `json:"to_wh"`
	Begin       uint64           `json:"from_time"` // Unix seconds of energy time, within one hour: Begin is included, End is not
	End         uint64           `json:"to_time"`
	Technology  uint8            `json:"technology"` // the category's own number
	Zone        types.Cell       `json:"zone"`       // the device's cell of resolution 3
	Power       uint32           `json:"power"`      // W: the device's AC rating
	Storage     types.Bp         `json:"storage"`    // the share that came out of storage
	Owner       types.Account    `json:"owner"`
	Issued      uint64           `json:"issued"`  // Unix seconds of the chain's time
	Expires     uint64           `json:"expires"` // from this one on, unless it was retired
	State       CertificateState `json:"state"`   // as of the newest block
	Beneficiary string           `json:"beneficiary,omitempty"`
	Hour        uint64           `json:"hour,omitempty"` // the hour of consumption that it is claimed for, as its first second; 0 for none
	Epoch       types.Epoch      `json:"epoch"`          // of the header that proved it
	Region      types.Region     `json:"region"`
}

// Wh returns what c is over, in watt-hours.
func (c *Certificate) Wh() uint64 { return c.To - c.ID.From }

// CertificateTotals are sums over all certificates, in watt-hours: Issued = Active + Retired + Expired.
type CertificateTotals struct {
	Issued  uint64 `json:"issued"`
	Active  uint64 `json:"active"`
	Retired uint64 `json:"retired"`
	Expired uint64 `json:"expired"`
}

// CertificateQuery says which certificates to list: those of Owner, or those over Device's register. One of both is set.
type CertificateQuery struct {
	Owner  types.Account
	State  CertificateState // of an owner's: CertificateRetired for only those, CertificateActive for only those not retired; "" for all
	Device types.Key
	Limit  int    // at most; zero or beyond 1,000: 1,000
	After  []byte // Next of the page before; nil for the first
}

// MaxCertificates bounds a page of certificates.
const MaxCertificates = 1000

// CertificatePage is a part of a list. An owner's list has certificates that are not retired first; each part is by device and range.
type CertificatePage struct {
	Certificates []Certificate
	Next         []byte // opaque; nil: this was the last page
}

// Certificates reads certificates.
type Certificates interface {
	Certificate(ctx context.Context, id lot.ID) (*Certificate, error)
	Certificates(ctx context.Context, q CertificateQuery) (*CertificatePage, error)
	// CertificateMark returns up to where a device's register was issued, in watt-hours: lots below are never issued.
	CertificateMark(ctx context.Context, device types.Key) (uint64, error)
	CertificateTotals(ctx context.Context) (*CertificateTotals, error)
}

// Issue makes certificates of what a device did not sell on one day, for its owner, who alone may: one for each of Lots.Runs, whose ids
// are lot.ID{Sheet.Device, run.From}. The sheet is leaf Index of the outputs of a final header of at most 35 days ago.
type Issue struct {
	Epoch    types.Epoch
	Region   types.Region
	Sheet    lot.Sheet
	Lots     lot.Lots // all that the sheet commits to
	Index    uint64
	Siblings []types.Hash
}

// Split cuts a certificate in two at a watt-hour of the register, inside the range. The second part's id is lot.ID{ID.Device, At}, so a
// later message of the same transaction can name it.
type Split struct {
	ID lot.ID
	At uint64
}

// Transfer gives a certificate to a new owner.
type Transfer struct {
	ID lot.ID
	To types.Account
}

// Retire claims a certificate for a beneficiary's consumption, for good. Hour is that in which it was produced (lot.Hour of Begin), to
// claim consumption hour by hour, or 0.
type Retire struct {
	ID          lot.ID
	Beneficiary string // at most lot.MaxBeneficiary bytes; "" for the owner
	Hour        uint64
}

// Sale is a certificate offered to one buyer at a price, signed by its owner: one transaction that pays the seller and transfers the
// certificate, of which the buyer's signature is missing. Both happen or neither. It lapses with the block Until, and with whatever else
// the seller signs before.
type Sale struct {
	Chain       string        `json:"chain"`
	Certificate lot.ID        `json:"certificate"`
	Seller      types.Account `json:"seller"`
	Buyer       types.Account `json:"buyer"` // pays the transaction's fee, too
	Price       types.Ustone  `json:"price_ustone,string"`
	Until       uint64        `json:"until"` // height of the last block that takes it
	Gas         uint64        `json:"gas"`
	Fee         types.Ustone  `json:"fee_ustone,string"`
	Sequence    uint64        `json:"sequence"` // of the seller's transactions
	Key         []byte        `json:"key"`      // the seller's, secp256k1, compressed
	Signature   []byte        `json:"signature"`
}

func (Issue) isMsg()    {}
func (Split) isMsg()    {}
func (Transfer) isMsg() {}
func (Retire) isMsg()   {}
