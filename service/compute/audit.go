package compute

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// Figures of audits.
const (
	AuditDelay = 2   // epochs from a commitment to the seed that draws among its leaves
	KeepInputs = 3   // epochs after a commitment until which a device keeps what its public jobs read
	leastAudit = 430 // basis points of public leaves that are drawn, at least
	maxAudit   = 4096
)

// Chance returns the part of a device's public leaves that is drawn, in basis points, when it has passed audits
// in so many epochs in a row: max(430, ⌊10⁴/(1+passed)⌋).
func Chance(passed uint32) types.Bp {
	return types.Bp(max(leastAudit, 10_000/(1+uint64(passed))))
}

// Drawn reports whether leaf number index of a commitment is drawn for an audit: envelope is the hash of the
// evidence that committed to it (evidence.Envelope.Hash), seed that of the epoch AuditDelay after.
func Drawn(seed, envelope types.Hash, index uint32, chance types.Bp) bool {
	h := types.Sum([]byte("cairn/audit"), seed[:], envelope[:], binary.BigEndian.AppendUint32(nil, index))
	hi, _ := bits.Mul64(binary.BigEndian.Uint64(h[:8]), 10_000)
	return hi < uint64(chance)
}

// Audit is the body of evidence of kind KindAudit: what a drawn verifier found when it ran a job again.
type Audit struct {
	_        struct{} `cbor:",toarray"`
	Device   types.Key
	Results  []byte       // the envelope that committed to the leaf, whole
	Place    merkle.Proof // of that envelope among the device's commitments of its epoch (State.Results)
	Index    uint32       // of the leaf in its tree
	Withheld bool         // the device did not give the leaf, the job, an input or the result
	Leaf     *Leaf        // null where the device withheld it
	Path     *merkle.SumProof
	Result   types.Hash // Result.Hash of what the verifier got; zero where something was withheld
	Fuel     uint64     // Result.Fuel of that
}

// Encode returns the body of evidence that a makes.
func (a *Audit) Encode() []byte { return types.Encode(a) }

// Agrees reports whether the verifier found what the device had committed to.
func (a *Audit) Agrees() bool {
	return !a.Withheld && a.Leaf != nil && a.Result == a.Leaf.Result && a.Fuel == a.Leaf.Fuel
}

// DecodeAudit reads the body of an audit.
func DecodeAudit(body []byte) (*Audit, error) {
	a := new(Audit)
	if err := types.DecodeLimit(body, a, maxAudit); err != nil {
		return nil, fmt.Errorf("compute: audit: %w", err)
	}
	if (a.Leaf == nil) != (a.Path == nil) || a.Leaf == nil && !a.Withheld {
		return nil, types.Refuse(types.BadEncoding, "compute: audit of a leaf that it does not show")
	}
	if a.Leaf != nil {
		return a, a.Leaf.check()
	}
	return a, nil
}
