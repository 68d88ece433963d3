package certificate

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Reader reads certificates.
type Reader struct{ Chain ledger.Querier }

// The methods of the module's service, and what they take and return, in protobuf's JSON form.
const (
	service      = Module + ".Query/"
	oneMethod    = service + "Certificate"
	ownerMethod  = service + "ByOwner"
	deviceMethod = service + "ByDevice"
	markMethod   = service + "Mark"
	totalsMethod = service + "Totals"
)

type (
	oneRequest struct {
		Device types.Key `json:"device"`
		From   uint64    `json:"from_wh,string"`
	}
	oneAnswer struct {
		Certificate row `json:"certificate"`
	}
	ownerRequest struct {
		Owner types.Account `json:"owner"`
		State State         `json:"state"`
		Pages pageRequest   `json:"pagination"`
	}
	deviceRequest struct {
		Device types.Key   `json:"device"`
		Pages  pageRequest `json:"pagination"`
	}
	pageRequest struct {
		Key   []byte `json:"key"`
		Limit int    `json:"limit,string"`
	}
	listAnswer struct {
		Certificates []row `json:"certificates"`
		Pages        struct {
			Next []byte `json:"next_key"`
		} `json:"pagination"`
	}
	markRequest struct {
		Device types.Key `json:"device"`
	}
	markAnswer struct {
		Wh uint64 `json:"wh,string"`
	}
)

// row is a certificate in protobuf's JSON form.
type row struct {
	ID          lot.ID        `json:"id"`
	To          uint64        `json:"to_wh,string"`
	Begin       uint64        `json:"from_time,string"`
	End         uint64        `json:"to_time,string"`
	Technology  uint8         `json:"technology"`
	Zone        types.Cell    `json:"zone"`
	Power       uint32        `json:"power"`
	Storage     types.Bp      `json:"storage"`
	Owner       types.Account `json:"owner"`
	Issued      uint64        `json:"issued,string"`
	Expires     uint64        `json:"expires,string"`
	State       State         `json:"state"` // as protoState says it
	Beneficiary string        `json:"beneficiary"`
	Hour        uint64        `json:"hour,string"`
	Epoch       types.Epoch   `json:"epoch,string"`
	Region      types.Region  `json:"region"`
}

// protoState is a State in protobuf's JSON form.
var protoState = map[State]State{"": "STATE_UNSPECIFIED", Active: "STATE_ACTIVE", Retired: "STATE_RETIRED", Expired: "STATE_EXPIRED"}

// rowOf returns c as a row.
func rowOf(c Certificate) row {
	c.State = protoState[c.State]
	return row(c)
}

func (r *row) certificate() (*Certificate, error) {
	c := Certificate(*r)
	if c.Storage > econ.Bps {
		return nil, fmt.Errorf("certificate %v: %d of %d out of storage", c.ID, c.Storage, econ.Bps)
	}
	for s, name := range protoState {
		if name == r.State {
			c.State = s
			return &c, nil
		}
	}
	return nil, fmt.Errorf("certificate %v: state %.40q", c.ID, r.State)
}

// Certificate returns one; the reason is types.UnknownCertificate if there is none of that id.
func (r Reader) Certificate(ctx context.Context, id lot.ID) (*Certificate, error) {
	var out oneAnswer
	err := r.Chain.Query(ctx, oneMethod, oneRequest{id.Device, id.From}, &out)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, types.Refuse(types.UnknownCertificate, "%v", id)
	}
	if err != nil {
		return nil, fmt.Errorf("certificate %v: %w", id, err)
	}
	return out.Certificate.certificate()
}

// List lists certificates, a page at a time.
func (r Reader) List(ctx context.Context, q Query) (*Page, error) {
	limit := q.Limit
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	pages := pageRequest{q.After, limit}
	var out listAnswer
	var err error
	if q.Device.IsZero() {
		err = r.Chain.Query(ctx, ownerMethod, ownerRequest{q.Owner, protoState[q.State], pages}, &out)
	} else {
		err = r.Chain.Query(ctx, deviceMethod, deviceRequest{q.Device, pages}, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	page := new(Page)
	for i := range out.Certificates {
		c, err := out.Certificates[i].certificate()
		if err != nil {
			return nil, err
		}
		page.Certificates = append(page.Certificates, *c)
	}
	if len(out.Pages.Next) > 0 {
		page.Next = out.Pages.Next
	}
	return page, nil
}

// Mark returns up to where a device's register was issued, in watt-hours: lots below are never issued.
func (r Reader) Mark(ctx context.Context, device types.Key) (uint64, error) {
	var out markAnswer
	if err := r.Chain.Query(ctx, markMethod, markRequest{device}, &out); err != nil {
		return 0, fmt.Errorf("mark of %v: %w", device, err)
	}
	return out.Wh, nil
}

// Totals returns the sums over all certificates.
func (r Reader) Totals(ctx context.Context) (*Totals, error) {
	out := new(Totals)
	if err := r.Chain.Query(ctx, totalsMethod, struct{}{}, out); err != nil {
		return nil, fmt.Errorf("totals of certificates: %w", err)
	}
	return out, nil
}
