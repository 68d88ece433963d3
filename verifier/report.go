package verifier

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Report is what became of the items and devices of one tally, as a verifier keeps it for those who ask. It
// follows from the same inputs as the header, but is not part of it.
type Report struct {
	_       struct{} `cbor:",toarray"`
	Epoch   types.Epoch
	Region  types.Region
	Header  types.Hash
	Authors []AuthorCount // ascending by author
	Refused []Refused     // in the order of the batch, then what comparison refused
	Devices []DeviceEpoch // ascending by device and category
}

// AuthorCount is how many items of an author counted.
type AuthorCount struct {
	_       struct{} `cbor:",toarray"`
	Author  types.Key
	Counted uint64
}

// Refused is an item that did not count, or a receipt of which a part did not.
type Refused struct {
	_        struct{} `cbor:",toarray"`
	Item     types.Hash
	Type     tally.ItemType
	Author   types.Key
	Device   types.Key // the device that it concerns
	Category types.Category
	Reason   types.Reason
	Proof    bool         // it took of the bond
	Rest     types.Credit // of a receipt that was honoured in part: what was not
}

// DeviceEpoch is what became of one device in one category.
type DeviceEpoch struct {
	_        struct{} `cbor:",toarray"`
	Device   types.Key
	Category types.Category
	Counted  uint32
	Refused  uint32
	Paid     types.Credit
	Ordered  types.U128
	Weight   types.U128
	Quality  types.Bp
}

// newReport makes the report of a tally.
func newReport(c *computed) *Report {
	r := &Report{Epoch: c.header.Epoch, Region: c.header.Region, Header: c.hash}
	for i := range c.names { // in the order of the batch: by author
		if i == 0 || c.names[i].Author != c.names[i-1].Author {
			r.Authors = append(r.Authors, AuthorCount{Author: c.names[i].Author})
		}
		if c.result.Reasons[i] == "" {
			r.Authors[len(r.Authors)-1].Counted++
		}
	}
	for _, x := range c.result.Rejections {
		r.Refused = append(r.Refused, Refused{
			Item: x.Item, Type: x.Type, Author: x.Author, Device: x.Device, Category: x.Category, Reason: x.Reason, Proof: x.Proof, Rest: x.Rest,
		})
	}
	for _, d := range c.result.Devices {
		r.Devices = append(r.Devices, DeviceEpoch{
			Device: d.Device, Category: d.Category, Counted: d.Counted, Refused: d.Refused, Paid: d.Paid, Ordered: d.Ordered, Weight: d.Weight, Quality: d.Quality,
		})
	}
	return r
}

func compareKeys(a, b types.Key) int { return bytes.Compare(a[:], b[:]) }

// Author returns how many of an author's items counted, what was refused, and, of a device, its quality by category.
func (r *Report) Author(key types.Key) (counted uint64, refused []bus.Refusal, quality []bus.Quality) {
	if i, ok := slices.BinarySearchFunc(r.Authors, key, func(a AuthorCount, k types.Key) int { return compareKeys(a.Author, k) }); ok {
		counted = r.Authors[i].Counted
	}
	for i := range r.Refused {
		if r.Refused[i].Author == key {
			refused = append(refused, bus.Refusal{Item: r.Refused[i].Item, Reason: r.Refused[i].Reason})
		}
	}
	i, _ := slices.BinarySearchFunc(r.Devices, key, func(d DeviceEpoch, k types.Key) int { return compareKeys(d.Device, k) })
	for ; i < len(r.Devices) && r.Devices[i].Device == key; i++ {
		quality = append(quality, bus.Quality{Category: r.Devices[i].Category, Bp: r.Devices[i].Quality})
	}
	return counted, refused, quality
}

// maxReport bounds a report's encoding.
const maxReport = 1 << 30

// report is Verifier.Report.
func (s *query) report(header types.Hash) (*Report, error) {
	return s.reports.get(header, func() (*Report, types.Epoch, error) {
		t := s.archive.tally(header)
		if t == nil || t.Result.IsZero() {
			return nil, 0, types.Refuse(types.UnknownBlob, "verifier: the tally of header %s", header)
		}
		raw, err := s.archive.blobs.get(t.Result)
		if err != nil {
			return nil, 0, err
		}
		r := new(Report)
		if err := types.DecodeLimit(raw, r, maxReport); err != nil {
			return nil, 0, fmt.Errorf("verifier: report of header %s: %w", header, err)
		}
		return r, r.Epoch, nil
	})
}
