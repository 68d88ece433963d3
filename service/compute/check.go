package compute

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/types"
)

// Figures of a check.
const (
	Window    = 2000       // milliseconds from a witness's nonce on in which it counts steps
	Patience  = 300        // milliseconds that a device waits for all nonces, once it has more than f
	MinRounds = 4          // of a CPU chain; one with fewer counts 0
	Draws     = 4          // counted rounds that each witness looks into
	Rows      = 16         // of each of those that are products
	MixFuel   = 50_000_000 // about what a CPU round costs a guest of profile wasm/1

	maxCheck    = 4096    // bytes of an encoded Check
	maxSighting = 128     // … of a Sighting
	maxSteps    = 1 << 24 // of one check
	maxChains   = 1 << 16
)

// Worth of a round, in millionths of a wu.
const cpuWorth = 250_000

// Worth returns what one round is worth, in millionths of a wu; n is the order of a product's matrices.
func Worth(r Round, n uint32) uint64 {
	if r == CPU {
		return cpuWorth
	}
	return uint64(n) * uint64(n) * uint64(n) / 2_000_000
}

// Rate returns how much so many rounds in Window are, in millionths of a wu per second.
func Rate(count uint32, r Round, n uint32) uint64 {
	return uint64(count) * Worth(r, n) * 1000 / Window // below 2²⁴ · 2²⁰ · 2¹⁰
}

// Check is the body of evidence of kind KindCheck: what a device did when a slot fired.
type Check struct {
	_      struct{} `cbor:",toarray"`
	Slot   uint64
	Proof  []byte // of the epoch's Caller: that the slot fires
	Round  Round
	N      uint32        // CPU: chains; MAC: the order of the matrices
	Nonces []SignedNonce // ascending by witness
	Steps  uint32        // of all chains
	Root   types.Hash    // of the plain tree over all steps' roots, by chain and step
}

// Encode returns the body of evidence that c makes.
func (c *Check) Encode() []byte { return types.Encode(c) }

// DecodeCheck reads the body of a check.
func DecodeCheck(body []byte) (*Check, error) {
	c := new(Check)
	if err := types.DecodeLimit(body, c, maxCheck); err != nil {
		return nil, fmt.Errorf("compute: check: %w", err)
	}
	ascending := slices.IsSortedFunc(c.Nonces, func(a, b SignedNonce) int { return bytes.Compare(a.Witness[:], b.Witness[:]) })
	if len(c.Proof) != beacon.ProofSize || c.Round != CPU && c.Round != MAC || len(c.Nonces) > Seats || !ascending ||
		c.Steps > maxSteps || c.N == 0 || c.N > maxChains {
		return nil, types.Refuse(types.BadEncoding, "compute: check: a proof of %d bytes, round %d of %d, %d nonces, %d steps",
			len(c.Proof), c.Round, c.N, len(c.Nonces), c.Steps)
	}
	return c, nil
}

// Sighting is the body of evidence of kind KindSighting: what a witness saw of a check.
type Sighting struct {
	_      struct{} `cbor:",toarray"`
	Device types.Key
	Slot   uint64
	Count  uint32 // rounds that arrived within Window, of chains that count
	// OK says that the chains follow from the seed, and that the rounds that the witness looked into were computed.
	OK      bool
	Opening types.Hash // Openings.Hash of what it looked into; zero for nothing
}

// Encode returns the body of evidence that s makes.
func (s *Sighting) Encode() []byte { return types.Encode(s) }

// DecodeSighting reads the body of a sighting.
func DecodeSighting(body []byte) (*Sighting, error) {
	s := new(Sighting)
	if err := types.DecodeLimit(body, s, maxSighting); err != nil {
		return nil, fmt.Errorf("compute: sighting: %w", err)
	}
	return s, nil
}

// Openings are what a witness looked into, in the order drawn.
type Openings []Opening

// Opening is one round that a witness looked into.
type Opening struct {
	_     struct{} `cbor:",toarray"`
	Chain uint32
	T     uint32
	Rows  []uint32 // of a product, as drawn
}

// Hash is what a Sighting names the openings by.
func (o Openings) Hash() types.Hash { return types.Sum(types.Encode(o)) }

// Count returns how many rounds a check counts by those of its witnesses who found it in order, of whom f may
// lie: the (f+1)-th largest of what they counted, so that f of them cannot lift it above what an honest one
// saw. ok is false with f witnesses or fewer.
func Count(counts []uint32, f int) (count uint32, ok bool) {
	if len(counts) <= f {
		return 0, false
	}
	sorted := slices.Clone(counts)
	slices.Sort(sorted)
	return sorted[len(sorted)-1-f], true
}
