package customer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
	"github.com/cairn-network/cairn/service/role"
)

// Certificate is a certificate under the names of EnergyTag's Granular Certificate Scheme Standard (version 2,
// and the data model of its registry API). A certificate of Cairn is a bundle of its units of one watt-hour:
// the bundle's ids are the watt-hours of the device's virtual register.
type Certificate struct {
	ID              lot.ID       `json:"certificate_id"`            // what Cairn's messages name it by
	Issuance        string       `json:"issuance_id"`               // device and production interval
	Status          string       `json:"certificate_bundle_status"` // Active, Cancelled (retired), Claimed (retired for an hour), Expired
	Account         string       `json:"account_id"`
	First           uint64       `json:"certificate_bundle_id_range_start"`
	Last            uint64       `json:"certificate_bundle_id_range_end"` // included, as in the standard
	Quantity        uint64       `json:"bundle_quantity"`
	FaceValue       uint64       `json:"face_value"` // Wh of each
	Carrier         string       `json:"energy_carrier"`
	Source          string       `json:"energy_source"`
	PostConversion  bool         `json:"issuance_post_energy_carrier_conversion"`
	Device          types.Key    `json:"device_id"`
	Capacity        uint32       `json:"device_capacity"` // W
	Begin           time.Time    `json:"production_starting_interval"`
	End             time.Time    `json:"production_ending_interval"`
	Issued          string       `json:"issuance_datestamp"` // a date
	Expires         string       `json:"expiry_datestamp"`
	Storage         bool         `json:"is_storage"` // whether some of it came out of a battery …
	StorageShare    types.Bp     `json:"storage_share_bp"`
	Zone            types.Cell   `json:"connected_grid_identification"` // the cell of resolution 3
	Body            string       `json:"issuing_body"`                  // the chain
	Beneficiary     string       `json:"beneficiary,omitempty"`
	ConsumptionHour *time.Time   `json:"consumption_hour,omitempty"` // that it is claimed for
	Epoch           types.Epoch  `json:"epoch"`                      // of the header that proved it
	Region          types.Region `json:"region"`
}

var bundleStatus = map[certificate.State]string{
	certificate.Active: "Active", certificate.Retired: "Cancelled", certificate.Expired: "Expired",
}

func bundle(chain string, x *certificate.Certificate) Certificate {
	unix := func(s uint64) time.Time { return time.Unix(int64(s), 0).UTC() }
	out := Certificate{
		ID: x.ID, Issuance: x.ID.Device.String() + "-" + unix(x.Begin).Format(time.RFC3339), Status: bundleStatus[x.State], Account: x.Owner.String(),
		First: x.ID.From, Last: x.To - 1, Quantity: x.Wh(), FaceValue: 1, Carrier: "electricity", Source: sourceName(x.Technology), Device: x.ID.Device,
		Capacity: x.Power, Begin: unix(x.Begin), End: unix(x.End), Issued: unix(x.Issued).Format(time.DateOnly), Expires: unix(x.Expires).Format(time.DateOnly),
		Storage: x.Storage > 0, StorageShare: x.Storage, Zone: x.Zone, Body: chain, Beneficiary: x.Beneficiary, Epoch: x.Epoch, Region: x.Region,
	}
	if x.Hour != 0 {
		hour := unix(x.Hour)
		out.Status, out.ConsumptionHour = "Claimed", &hour
	}
	return out
}

func sourceName(technology uint8) string {
	if energy.Technology(technology) == energy.Solar {
		return "solar_pv"
	}
	return "other"
}

// CertificateList is a part of a list of certificates.
type CertificateList struct {
	Certificates []Certificate `json:"certificates"`
	Next         string        `json:"next,omitempty"` // ?after= of the next part; none: this was the last
}

// list lists certificates: an owner's, or those over a device's register.
func (c *Customer) list(ctx context.Context, q certificate.Query) (*CertificateList, error) {
	page, err := certificate.Reader{Chain: c.market}.List(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("energy: certificates: %w", err)
	}
	out := &CertificateList{Certificates: []Certificate{}, Next: hex.EncodeToString(page.Next)}
	for i := range page.Certificates {
		out.Certificates = append(out.Certificates, bundle(c.market.Chain(), &page.Certificates[i]))
	}
	return out, nil
}

// Sheet is what a device could have certified of one solar day, with all that MsgIssue wants.
type Sheet struct {
	Device   types.Key    `json:"device"`
	Day      string       `json:"day"` // a date: solar days at the device's longitude
	Wh       uint64       `json:"wh"`
	State    string       `json:"state"` // open (the header can still be voided), ready, issued, or lapsed (a later day was issued first)
	Epoch    types.Epoch  `json:"epoch"`
	Region   types.Region `json:"region"`
	Leaf     string       `json:"leaf"` // hexadecimal: the sheet, as it stands in the outputs tree
	Lots     string       `json:"lots"` // hexadecimal: the encoding that the leaf holds the digest of
	Index    uint64       `json:"index"`
	Siblings []string     `json:"siblings"` // hexadecimal
}

// Issue returns the message that issues the sheet's certificates.
func (s *Sheet) Issue() (*certificate.Issue, error) {
	data, err1 := hex.DecodeString(s.Leaf)
	raw, err2 := hex.DecodeString(s.Lots)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("energy: sheet: %w", err)
	}
	sheet, err := lot.Decode(data)
	if err != nil {
		return nil, err
	}
	lots, err := lot.DecodeLots(raw)
	if err != nil {
		return nil, err
	}
	out := &certificate.Issue{Epoch: s.Epoch, Region: s.Region, Sheet: *sheet, Lots: lots, Index: s.Index}
	for _, text := range s.Siblings {
		h, err := types.ParseHash(text)
		if err != nil {
			return nil, fmt.Errorf("energy: sheet: sibling: %w", err)
		}
		out.Siblings = append(out.Siblings, h)
	}
	return out, nil
}

// dayName writes a solar day as a date.
func dayName(day uint32) string { return time.Unix(int64(day)*86400, 0).UTC().Format(time.DateOnly) }

// dayOf reads one.
func dayOf(text string) (uint32, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil || t.Unix() < 0 {
		return 0, types.Refuse(role.BadRequest, "day %.40q: want a date like 2026-06-21", text)
	}
	return uint32(t.Unix() / 86400), nil
}

// sheetsOf lists a device's sheets.
func (c *Customer) sheetsOf(ctx context.Context, device types.Key) ([]Sheet, error) {
	final, err := c.books.final()
	if err != nil {
		return nil, err
	}
	mark, err := certificate.Reader{Chain: c.market}.Mark(ctx, device)
	if err != nil {
		return nil, fmt.Errorf("energy: mark of %v: %w", device, err)
	}
	var leaves []*leaf
	err = c.books.sheets(device, func(l *leaf) error { leaves = append(leaves, l); return nil })
	if err != nil {
		return nil, err
	}
	list := []Sheet{}
	for _, l := range leaves {
		s, err := lot.Decode(l.Data)
		if err != nil {
			return nil, err
		}
		lots, err := lot.DecodeLots(l.Detail)
		if err != nil {
			return nil, err
		}
		out := Sheet{
			Device: device, Day: dayName(s.Day), Wh: s.Total, State: "ready", Epoch: l.Epoch, Region: l.Region, Leaf: hex.EncodeToString(l.Data),
			Lots: hex.EncodeToString(l.Detail), Index: l.Index, Siblings: hexes(l.Siblings),
		}
		switch first := lots[0].From; {
		case first < mark && c.issued(ctx, device, first):
			out.State = "issued"
		case first < mark:
			out.State = "lapsed"
		case l.Epoch > final:
			out.State = "open"
		}
		list = append(list, out)
	}
	return list, nil
}

// issued reports whether a certificate begins at a watt-hour of a device's register.
func (c *Customer) issued(ctx context.Context, device types.Key, from uint64) bool {
	_, err := certificate.Reader{Chain: c.market}.Certificate(ctx, lot.ID{Device: device, From: from})
	return err == nil
}
