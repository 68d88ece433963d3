package compute

import (
	"fmt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// FaultDelay is how many epochs after it a fault can still be handed in.
const FaultDelay = 24

// Fault is the body of evidence of kind KindFault: what a device signed and cannot be true. It proves itself,
// so that anybody who may report can hand it in; exactly one of Row, Step and Conflict is there.
type Fault struct {
	_        struct{} `cbor:",toarray"`
	Device   types.Key
	Row      *RowFault
	Step     *StepFault
	Conflict *Conflict
}

// RowFault: a row of the product that a step commits to is not that of A·B.
type RowFault struct {
	_    struct{} `cbor:",toarray"`
	Step SignedStep
	N    uint32
	Row  []byte       // as the device showed it: N int32, little endian
	Path merkle.Proof // of SHA-256(Row) in the step's root
}

// StepFault: two steps of one chain that differ in one place, or of which the second does not follow from the
// first; or a first step that does not follow from the check's nonces.
type StepFault struct {
	_      struct{}    `cbor:",toarray"`
	First  *SignedStep // null where Check is there
	Check  []byte      // the envelope of the check, whole; empty where First is there
	Second SignedStep
}

// Conflict: two statements about one leaf, which differ.
type Conflict struct {
	_    struct{} `cbor:",toarray"`
	A, B Claim
}

// Claim is what a device said of one leaf: exactly one of both is there.
type Claim struct {
	_         struct{}    `cbor:",toarray"`
	Signed    *SignedLeaf // in its reply
	Committed *Committed  // in Results
}

// Committed is a leaf of a commitment.
type Committed struct {
	_       struct{} `cbor:",toarray"`
	Results []byte   // the envelope, whole
	Leaf    Leaf
	Path    merkle.SumProof
}

// Encode returns the body of evidence that f makes.
func (f *Fault) Encode() []byte { return types.Encode(f) }

// DecodeFault reads the body of a fault.
func DecodeFault(body []byte) (*Fault, error) {
	f := new(Fault)
	if err := types.DecodeLimit(body, f, evidence.MaxBody); err != nil {
		return nil, fmt.Errorf("compute: fault: %w", err)
	}
	n := 0
	for _, there := range []bool{f.Row != nil, f.Step != nil, f.Conflict != nil} {
		if there {
			n++
		}
	}
	ok := n == 1
	if s := f.Step; s != nil {
		ok = ok && (s.First == nil) == (len(s.Check) > 0)
	}
	if c := f.Conflict; c != nil {
		ok = ok && (c.A.Signed == nil) != (c.A.Committed == nil) && (c.B.Signed == nil) != (c.B.Committed == nil)
	}
	if !ok {
		return nil, types.Refuse(types.BadEncoding, "compute: fault: not one fault")
	}
	return f, nil
}
