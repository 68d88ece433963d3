package wireless

import (
	"slices"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// Classes of the category: one ask and one session serve one of them. The unit of each is the byte, up plus down.
const (
	Tunnel types.Class = 1 // egress by WireGuard, SOCKS5 or CONNECT
	WiFi   types.Class = 2 // users of access points
	LoRa   types.Class = 3 // copies of LoRaWAN frames, each rounded up to LoRaStep
	Cell   types.Class = 4 // users of small cells
)

// Scale is how many bytes a price is for.
const Scale = 1_000_000_000

// Kinds of evidence.
const (
	KindEndpoint evidence.Kind = 1 // Endpoint
	KindReport   evidence.Kind = 2 // pob.Report, by a witness
	KindGrant    evidence.Kind = 3 // Grant
)

// What the network orders: that lines stand ready. A unit is a byte of a test's window (Window).
const (
	Quota     = 100_000_000 // of one device in an epoch: a line that is read at 235 Mbit/s
	Reference = 100_000     // micro-credits that Scale units are worth
	Window    = 3400        // milliseconds
)

// What a device puts at stake for its quota, where the chain says nothing: 14 days of the most that a quota is worth, at
// half a dollar per STONE. Nothing in wireless proves a fault, so only what the protocol itself proves takes of it.
const (
	bond    types.Ustone = 6_720_000
	penalty types.Ustone = 4_800_000
)

var spec = tally.Spec{
	Category: types.Wireless,
	Name:     "wireless",
	Classes: []tally.Class{
		{Class: Tunnel, Name: "tunnel", Unit: "byte", Scale: Scale},
		{Class: WiFi, Name: "wifi", Unit: "byte", Scale: Scale},
		{Class: LoRa, Name: "lora", Unit: "byte", Scale: Scale},
		{Class: Cell, Name: "cell", Unit: "byte", Scale: Scale},
	},
	Kinds: []tally.Kind{
		{Kind: KindEndpoint, Name: "endpoint"},
		{Kind: KindReport, Name: "report", Witness: true},
		{Kind: KindGrant, Name: "grant", Cumulative: true},
	},
	// One endpoint, and the grants of some radios.
	Quota: tally.Quota{Count: 16, Bytes: 16 << 10},
	// A report of a claim of 1 Gbit/s has 7 KiB, one of 50 Mbit/s less than 1 KiB.
	Witness:  tally.Quota{Count: 4096, Bytes: 4 << 20},
	Drawn:    tally.Verifiers,
	Draws:    []tally.Draw{{Purpose: pob.ForTest, Seats: pob.Seats}},
	Params:   tally.Params{Bond: bond, Penalty: penalty, Rules: DefaultRules().Encode()},
	Economy:  tally.Economy{Reference: Reference, PriceUnit: Scale, Quota: Quota},
	MaxState: stateSize,
	Reasons:  slices.Concat(pob.Reasons(), reasons),
}
