// Package lot is the format of what can be certified: ranges of a device's virtual register that a tally found
// were produced, measured and not sold yet.
//
// A meter's register only rises, so a watt-hour has a number: the lot [From, To) of a device is To − From
// watt-hours, and nobody can name them twice. What a device produced in one solar day and did not sell makes
// one Sheet, whose encoding is a leaf of the outputs tree of the header in which the day closed. The sheet
// commits to its lots by their digest; the lots themselves (at most MaxLots) travel beside it. A chain that
// holds the header checks a sheet with one Merkle proof and the lots with one hash.
//
// What is issued of a sheet is cut into runs of an hour at most (Run), each named by where it begins (ID).
//
// The mechanism knows no sun: any device with a register that only rises can have its ranges certified.
package lot

import (
	"fmt"

	"github.com/cairn-network/cairn/core/types"
)

// Interval is the length of a metering interval, in seconds: k = Unix seconds / Interval.
const Interval = 900

// MaxLots bounds the lots of one sheet: the intervals of a day.
const MaxLots = 96

// maxK bounds intervals, so that their seconds stay far below 2⁶⁴.
const maxK = 1 << 48

// whole is all of something, in basis points.
const whole = 10_000

// tag is the first element of a sheet's encoding: it tells leaves of the outputs tree of one category apart.
const tag = 2

// Lot is a range of a device's virtual register, in watt-hours, that was produced in one interval.
type Lot struct {
	_    struct{} `cbor:",toarray"`
	K    uint64   // the interval: it began at Unix second K · Interval
	From uint64   // watt-hours, included
	To   uint64   // watt-hours, excluded; more than From
}

// Sheet is what one device could have certified of one solar day.
type Sheet struct {
	_          struct{} `cbor:",toarray"`
	Tag        uint8    // 2
	Device     types.Key
	Day        uint32     // solar days since 1970-01-01 at the device's longitude
	Zone       types.Cell // the device's resolution-3 parent
	Technology uint8      // the category's own number
	Power      uint32     // W: the device's AC rating
	Stored     types.Bp   // the share that came out of a battery
	Total      uint64     // watt-hours: the sum of the lots
	Digest     types.Hash // of the lots
}

// Lots is a day's lots, by interval and so by range.
type Lots []Lot

// Digest returns what a sheet shows of l.
func (l Lots) Digest() types.Hash { return types.Sum(l.Encode()) }

// Encode returns the encoding of l.
func (l Lots) Encode() []byte { return types.Encode([]Lot(l)) }

// Total returns the sum of l, in watt-hours.
func (l Lots) Total() uint64 {
	var sum uint64
	for i := range l {
		sum += l[i].To - l[i].From
	}
	return sum
}

// Check reports what is wrong with the form of l: a lot that is empty, out of order, overlaps the one before,
// or is beyond all time.
func (l Lots) Check() error {
	if len(l) == 0 || len(l) > MaxLots {
		return fmt.Errorf("%d lots, want 1 to %d", len(l), MaxLots)
	}
	for i := range l {
		if l[i].From >= l[i].To || l[i].K > maxK {
			return fmt.Errorf("lot %d is empty, or of no time: [%d, %d) of interval %d", i, l[i].From, l[i].To, l[i].K)
		}
		if i > 0 && (l[i].K < l[i-1].K || l[i].From < l[i-1].To) {
			return fmt.Errorf("lot %d [%d, %d) of interval %d does not follow lot %d [%d, %d) of interval %d",
				i, l[i].From, l[i].To, l[i].K, i-1, l[i-1].From, l[i-1].To, l[i-1].K)
		}
	}
	return nil
}

// maxSheet and maxLots bound encodings, in bytes.
const (
	maxSheet = 256
	maxLots  = 3 + MaxLots*28
)

// Encode returns the encoding of s: a leaf of the outputs tree.
func (s *Sheet) Encode() []byte {
	s.Tag = tag
	return types.Encode(s)
}

// Prefix returns what the sheets of a device start with, to find them by.
func Prefix(device types.Key) []byte {
	full := (&Sheet{Device: device}).Encode()
	return full[:1+1+2+len(device)]
}

// AnyPrefix returns what the sheets of all devices start with.
func AnyPrefix() []byte { return (&Sheet{}).Encode()[:2] }

// Decode reads a sheet. Every other encoding is refused, and so is a zone that is no cell, or a share beyond
// the whole.
func Decode(raw []byte) (*Sheet, error) {
	s := new(Sheet)
	if err := types.DecodeLimit(raw, s, maxSheet); err != nil {
		return nil, fmt.Errorf("lot: sheet: %w", err)
	}
	if s.Tag != tag {
		return nil, types.Refuse(types.BadEncoding, "lot: sheet: an output with tag %d, want %d", s.Tag, tag)
	}
	if s.Zone != 0 && !s.Zone.Valid() || s.Stored > whole {
		return nil, types.Refuse(types.BadEncoding, "lot: sheet: zone %v, %d of 10,000 out of a battery", s.Zone, s.Stored)
	}
	return s, nil
}

// DecodeLots reads lots and checks their form.
func DecodeLots(raw []byte) (Lots, error) {
	var l []Lot
	if err := types.DecodeLimit(raw, &l, maxLots); err != nil {
		return nil, fmt.Errorf("lot: lots: %w", err)
	}
	if err := Lots(l).Check(); err != nil {
		return nil, types.Refuse(types.BadEncoding, "lot: lots: %v", err)
	}
	return l, nil
}

// Matches reports whether l are the lots that s commits to.
func (s *Sheet) Matches(l Lots) bool { return l.Digest() == s.Digest && l.Total() == s.Total }
