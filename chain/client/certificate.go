package client

import (
	"context"
	"fmt"
	"math"

	"github.com/cosmos/cosmos-sdk/types/query"

	certificatetypes "github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Certificate implements ledger.Certificates.
func (c *Client) Certificate(ctx context.Context, id lot.ID) (*ledger.Certificate, error) {
	res, err := c.certificate.Certificate(ctx, &certificatetypes.QueryCertificateRequest{Device: id.Device.String(), FromWh: id.From})
	if err != nil {
		return nil, fault("certificate "+id.String(), err)
	}
	return certificate(&res.Certificate)
}

// Certificates implements ledger.Certificates.
func (c *Client) Certificates(ctx context.Context, q ledger.CertificateQuery) (*ledger.CertificatePage, error) {
	limit := q.Limit
	if limit <= 0 || limit > ledger.MaxCertificates {
		limit = ledger.MaxCertificates
	}
	pages := &query.PageRequest{Key: q.After, Limit: uint64(limit)}
	var res *certificatetypes.QueryCertificatesResponse
	var err error
	if q.Device.IsZero() {
		res, err = c.certificate.ByOwner(ctx, &certificatetypes.QueryByOwnerRequest{Owner: q.Owner.String(), State: wanted[q.State], Pagination: pages})
	} else {
		res, err = c.certificate.ByDevice(ctx, &certificatetypes.QueryByDeviceRequest{Device: q.Device.String(), Pagination: pages})
	}
	if err != nil {
		return nil, fault("list certificates", err)
	}
	out := new(ledger.CertificatePage)
	for i := range res.Certificates {
		x, err := certificate(&res.Certificates[i])
		if err != nil {
			return nil, err
		}
		out.Certificates = append(out.Certificates, *x)
	}
	if res.Pagination != nil && len(res.Pagination.NextKey) > 0 {
		out.Next = res.Pagination.NextKey
	}
	return out, nil
}

// CertificateMark implements ledger.Certificates.
func (c *Client) CertificateMark(ctx context.Context, device types.Key) (uint64, error) {
	res, err := c.certificate.Mark(ctx, &certificatetypes.QueryMarkRequest{Device: device.String()})
	if err != nil {
		return 0, fault("mark of "+device.String(), err)
	}
	return res.Wh, nil
}

// CertificateTotals implements ledger.Certificates.
func (c *Client) CertificateTotals(ctx context.Context) (*ledger.CertificateTotals, error) {
	res, err := c.certificate.Totals(ctx, &certificatetypes.QueryTotalsRequest{})
	if err != nil {
		return nil, fault("totals of certificates", err)
	}
	return &ledger.CertificateTotals{Issued: res.Issued, Active: res.Active, Retired: res.Retired, Expired: res.Expired}, nil
}

var (
	wanted = map[ledger.CertificateState]certificatetypes.State{
		ledger.CertificateActive: certificatetypes.State_STATE_ACTIVE, ledger.CertificateRetired: certificatetypes.State_STATE_RETIRED,
	}
	states = map[certificatetypes.State]ledger.CertificateState{
		certificatetypes.State_STATE_ACTIVE: ledger.CertificateActive, certificatetypes.State_STATE_RETIRED: ledger.CertificateRetired,
		certificatetypes.State_STATE_EXPIRED: ledger.CertificateExpired,
	}
)

func certificate(p *certificatetypes.Certificate) (*ledger.Certificate, error) {
	id, err := lot.ParseID(p.Id)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	out := &ledger.Certificate{
		ID: id, To: p.ToWh, Begin: p.FromTime, End: p.ToTime, Technology: uint8(p.Technology), Power: p.Power, Storage: types.Bp(p.Storage),
		Issued: p.Issued, Expires: p.Expires, State: states[p.State], Beneficiary: p.Beneficiary, Hour: p.Hour,
		Epoch: types.Epoch(p.Epoch), Region: types.Region(p.Region),
	}
	if p.Technology > math.MaxUint8 || p.Storage > econ.Bps || p.Region > math.MaxUint16 {
		return nil, fmt.Errorf("client: certificate %v: technology %d, storage %d, region %d", id, p.Technology, p.Storage, p.Region)
	}
	if err := out.Zone.UnmarshalText([]byte(p.Zone)); err != nil {
		return nil, fmt.Errorf("client: certificate %v: %w", id, err)
	}
	if out.Owner, err = types.ParseAccount(p.Owner); err != nil {
		return nil, fmt.Errorf("client: certificate %v: %w", id, err)
	}
	return out, nil
}
