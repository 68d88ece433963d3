package compute

import (
	"strings"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Classes of the category: one ask and one session serve one of them.
const (
	Wasm  types.Class = 1 // unit fuel: instructions of a WebAssembly guest, by profile wasm/1
	OCI   types.Class = 2 // unit slot·ms: one core, 2 GiB of memory and 10 GiB of disk for a millisecond
	Model types.Class = 3 // unit token, weighted as the terms of the ask say
)

// Scales of prices: an ask's price is micro-credits per so many units.
const (
	WasmScale  = 1_000_000_000
	OCIScale   = 3_600_000
	ModelScale = 1_000_000
)

// Profiles name what runs a job, with its version. The profile of a language model is ModelProfile and the
// model's id.
const (
	WasmProfile  = "wasm/1"
	OCIProfile   = "oci/1"
	ModelProfile = "model/"
)

// ClassOf returns the class that jobs of a profile are sold in, 0 for a profile that there is not.
func ClassOf(profile string) types.Class {
	switch {
	case profile == WasmProfile:
		return Wasm
	case profile == OCIProfile:
		return OCI
	case strings.HasPrefix(profile, ModelProfile) && len(profile) > len(ModelProfile):
		return Model
	}
	return 0
}

// Kinds of evidence.
const (
	KindOffer    evidence.Kind = 1 // Offer
	KindResults  evidence.Kind = 2 // Results
	KindCheck    evidence.Kind = 3 // Check
	KindSighting evidence.Kind = 4 // Sighting, by a witness
	KindAudit    evidence.Kind = 5 // Audit, by a witness
	KindFault    evidence.Kind = 6 // Fault, by any verifier
)

// Purposes for which verifiers are drawn, for each device in every epoch.
const (
	ForSlot  = "slot"  // to witness its checks
	ForAudit = "audit" // to run its jobs again, the first one alone unless it objects
)

// Seats is how many verifiers each draw has: 2f+1 with f = 2.
const Seats = 5

// Panel returns those of the drawn who decide, and f, how many of them may lie: all five and 2, or with fewer
// the first three and 1. Fewer than three decide nothing.
func Panel(drawn []types.Key) (members []types.Key, f int) {
	switch {
	case len(drawn) >= 5:
		return drawn[:5], 2
	case len(drawn) >= 3:
		return drawn[:3], 1
	}
	return nil, 0
}

// What the network orders: quotas of capacity that stand ready. A unit (wu) is 2·10⁸ instructions of mix; a
// quota is what one slot does of them in an hour.
const (
	Quota     = 10_000 // wu of one slot in an epoch
	Reference = 10_000 // micro-credits that a quota is worth
)

// What a device puts at stake for its quota, and what one proven fault takes of it, where the chain says
// nothing: 14 and 10 days of the most that a quota is worth, at half a dollar per STONE.
const (
	bond    types.Ustone = 6_720_000
	penalty types.Ustone = 4_800_000
)

var spec = tally.Spec{
	Category: types.Compute,
	Name:     "compute",
	Classes: []tally.Class{
		{Class: Wasm, Name: "wasm", Unit: "fuel", Scale: WasmScale},
		{Class: OCI, Name: "oci", Unit: "slot·ms", Scale: OCIScale},
		{Class: Model, Name: "model", Unit: "token", Scale: ModelScale},
	},
	Kinds: []tally.Kind{
		{Kind: KindOffer, Name: "offer"},
		{Kind: KindResults, Name: "results", Cumulative: true},
		{Kind: KindCheck, Name: "check"},
		{Kind: KindSighting, Name: "sighting", Witness: true},
		{Kind: KindAudit, Name: "audit", Witness: true},
		{Kind: KindFault, Name: "fault", Witness: true},
	},
	// A commitment for each session that is paid, a check and an offer.
	Quota: tally.Quota{Count: 1024, Bytes: 512 << 10},
	// A verifier is drawn for some devices' checks and audits; a fault may be of 36 KiB.
	Witness:    tally.Quota{Count: 4096, Bytes: 1 << 20},
	Drawn:      tally.Verifiers,
	Draws:      []tally.Draw{{Purpose: ForSlot, Seats: Seats}, {Purpose: ForAudit, Seats: Seats}},
	Params:     tally.Params{Bond: bond, Penalty: penalty, Rules: DefaultRules().Encode()},
	Economy:    tally.Economy{Reference: Reference, PriceUnit: Quota, Quota: Quota},
	MaxState:   stateSize,
	ProofDelay: FaultDelay,
	Reasons:    reasons,
}
