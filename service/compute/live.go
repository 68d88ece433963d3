package compute

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/types"
)

// Kinds of requests that witnesses make of a device.
const (
	KindLive = "live" // Summons; parts are Progress, the answer is empty
	KindRows = "rows" // RowsQuery; parts are lists of ShownRow, the answer is empty
)

// Fired is what the caller of an epoch calls when a slot fires.
type Fired struct {
	_     struct{} `cbor:",toarray"`
	Epoch types.Epoch
	Slot  uint64
	Proof []byte
}

// Encode returns the encoding of f.
func (f *Fired) Encode() []byte { return types.Encode(f) }

// DecodeFired reads what a caller called.
func DecodeFired(raw []byte) (*Fired, error) {
	f := new(Fired)
	if err := types.DecodeLimit(raw, f, maxFired); err != nil {
		return nil, fmt.Errorf("compute: fired slot: %w", err)
	}
	if len(f.Proof) != beacon.ProofSize {
		return nil, types.Refuse(types.BadEncoding, "compute: fired slot: a proof of %d bytes", len(f.Proof))
	}
	return f, nil
}

// Bounds of messages of a check, in bytes.
const (
	maxFired     = 128
	maxSummons   = 512
	maxRowsQuery = 4096
	MaxPart      = 256 << 10 // about what one part has: fewer steps or rows, if there are more
)

// Summons is how a witness begins a check: its nonce, and what the check is to be. Its clock runs from here.
type Summons struct {
	_     struct{} `cbor:",toarray"`
	Fired Fired
	Round Round
	N     uint32 // order of the matrices; 0 for CPU
	Slots uint16 // of the registered model: the most chains
	Nonce SignedNonce
}

// Encode returns the encoding of s.
func (s *Summons) Encode() []byte { return types.Encode(s) }

// DecodeSummons reads a summons.
func DecodeSummons(raw []byte) (*Summons, error) {
	s := new(Summons)
	if err := types.DecodeLimit(raw, s, maxSummons); err != nil {
		return nil, fmt.Errorf("compute: summons: %w", err)
	}
	h := Hardware{Round: s.Round, N: s.N, Slots: s.Slots}
	if len(s.Fired.Proof) != beacon.ProofSize || !h.valid() {
		return nil, types.Refuse(types.BadEncoding, "compute: summons: round %d of order %d on %d slots", s.Round, s.N, s.Slots)
	}
	return s, nil
}

// Progress is a part of the answer to a Summons: the first one has the nonces that the check is made of and no steps.
type Progress struct {
	_      struct{}      `cbor:",toarray"`
	Nonces []SignedNonce // ascending by witness
	Steps  []SignedStep
}

// Encode returns the encoding of p.
func (p *Progress) Encode() []byte { return types.Encode(p) }

// DecodeProgress reads a part.
func DecodeProgress(raw []byte) (*Progress, error) {
	p := new(Progress)
	if err := types.DecodeLimit(raw, p, 2*MaxPart); err != nil {
		return nil, fmt.Errorf("compute: progress: %w", err)
	}
	if len(p.Nonces) > Seats || len(p.Nonces) > 0 && len(p.Steps) > 0 {
		return nil, types.Refuse(types.BadEncoding, "compute: progress: %d nonces and %d steps", len(p.Nonces), len(p.Steps))
	}
	return p, nil
}

// CheckNonces says what is wrong with the nonces of a check: they are of more than f members of the panel, ascending,
// each signed, and what a witness sent is among them.
func CheckNonces(chain string, e types.Epoch, device types.Key, slot uint64, members []types.Key, f int, nonces []SignedNonce, mine SignedNonce) error {
	if len(nonces) <= f {
		return types.Refuse(NonceMissing, "compute: %d nonces, want more than %d", len(nonces), f)
	}
	for i := range nonces {
		n := &nonces[i]
		if i > 0 && bytes.Compare(nonces[i-1].Witness[:], n.Witness[:]) >= 0 || !member(members, n.Witness) || !n.Verify(chain, e, device, slot) {
			return types.Refuse(NonceMissing, "compute: nonce %d by %v", i, n.Witness)
		}
	}
	if !slices.Contains(nonces, mine) {
		return types.Refuse(NonceMissing, "compute: the nonces lack that of %v", mine.Witness)
	}
	return nil
}

// RowsQuery asks for the rows of some rounds: each row once, in the order of the openings.
type RowsQuery struct {
	_        struct{} `cbor:",toarray"`
	Slot     uint64
	Openings Openings
}

// Encode returns the encoding of s.
func (s *RowsQuery) Encode() []byte { return types.Encode(s) }

// DecodeRowsQuery reads a request for rows.
func DecodeRowsQuery(raw []byte) (*RowsQuery, error) {
	s := new(RowsQuery)
	if err := types.DecodeLimit(raw, s, maxRowsQuery); err != nil {
		return nil, fmt.Errorf("compute: show rows: %w", err)
	}
	bad := len(s.Openings) > Draws
	for _, o := range s.Openings {
		bad = bad || len(o.Rows) > Rows
	}
	if bad {
		return nil, types.Refuse(types.BadEncoding, "compute: show rows of %d rounds", len(s.Openings))
	}
	return s, nil
}

// ShownRows is a part of the answer to a RowsQuery: the next rows.
type ShownRows []ShownRow

// Encode returns the encoding of s.
func (s ShownRows) Encode() []byte { return types.Encode(s) }

// DecodeShownRows reads a part.
func DecodeShownRows(raw []byte) (ShownRows, error) {
	var s ShownRows
	if err := types.DecodeLimit(raw, &s, 2*MaxPart); err != nil {
		return nil, fmt.Errorf("compute: rows: %w", err)
	}
	if len(s) > Draws*Rows {
		return nil, types.Refuse(types.BadEncoding, "compute: %d rows", len(s))
	}
	return s, nil
}
