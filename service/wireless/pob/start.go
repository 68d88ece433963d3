package pob

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/types"
)

// StartPurpose is the purpose of the VRF that says when a prefix is tested (beacon.ProveAt).
const StartPurpose = "wireless/pob"

// Start is what a conductor calls: that a prefix is tested, and with its proof, when. There is one for each half of an
// epoch and prefix, and nobody but the conductor can make it or know of it before.
type Start struct {
	_      struct{} `cbor:",toarray"`
	Epoch  types.Epoch
	Half   uint8 // 0 or 1
	Prefix Prefix
	Proof  []byte // ECVRF, beacon.ProofSize bytes
}

const maxStart = 128

// StartNumber is the number over which the conductor of a half proves (beacon.ProveAt): the first 8 bytes of
// SHA-256("cairn/pob start" ‖ half ‖ prefix).
func StartNumber(p Prefix, half uint8) uint64 {
	h := types.Sum([]byte("cairn/pob start"), []byte{half}, p[:])
	return binary.BigEndian.Uint64(h[:8])
}

// Encode returns the encoding of s.
func (s *Start) Encode() []byte { return types.Encode(s) }

// DecodeStart reads a start, and checks its form.
func DecodeStart(raw []byte) (*Start, error) {
	s := new(Start)
	if err := types.DecodeLimit(raw, s, maxStart); err != nil {
		return nil, fmt.Errorf("wireless: start: %w", err)
	}
	return s, s.check()
}

func (s *Start) check() error {
	if s.Half >= Halves || !s.Prefix.Valid() || len(s.Proof) != beacon.ProofSize {
		return types.Refuse(types.BadEncoding, "wireless: start of half %d of %v with a proof of %d bytes", s.Half, s.Prefix, len(s.Proof))
	}
	return nil
}

// ID names the test of one device.
type ID [16]byte

// Instant is what a start proves.
type Instant struct {
	T0     uint64   // when its check begins, in Unix milliseconds
	Output [64]byte // of the VRF: one for a prefix and half, whatever proof shows it
}

// ID returns the id of a device's test: SHA-256(device ‖ output)[:16].
func (i *Instant) ID(device types.Key) ID {
	h := types.Sum(device[:], i.Output[:])
	return ID(h[:len(ID{})])
}

// Clock is what fixes the starts of an epoch.
type Clock struct {
	Chain      string
	Epoch      types.Epoch
	Seed       types.Hash
	Time       uint64 // Unix seconds of the epoch's first block
	Rules      *Rules
	Conductors *Conductors
}

// Begin returns what a start proves: it is refused with pob_not_drawn where the prefix is not drawn, and with
// pob_bad_start where it is of another epoch or its conductor did not prove it.
func (c *Clock) Begin(s *Start) (Instant, error) {
	if s.Epoch != c.Epoch || s.check() != nil {
		return Instant{}, types.Refuse(BadStart, "wireless: a start of epoch %d, half %d, it is epoch %d", s.Epoch, s.Half, c.Epoch)
	}
	if c.Rules.Drawn(c.Seed, s.Prefix) == NoDraw {
		return Instant{}, types.Refuse(NotDrawn, "wireless: %v is not tested in epoch %d", s.Prefix, c.Epoch)
	}
	who, ok := c.Conductors.Of(s.Prefix)
	if !ok {
		return Instant{}, types.Refuse(BadStart, "wireless: nobody conducts epoch %d", c.Epoch)
	}
	out, err := beacon.OutputAt(who[s.Half].VRF, c.Chain, StartPurpose, c.Seed, StartNumber(s.Prefix, s.Half), s.Proof)
	if err != nil {
		return Instant{}, types.Refuse(BadStart, "wireless: the start of %v is not proven by %v", s.Prefix, who[s.Half].Key)
	}
	r := c.Rules
	slot := binary.BigEndian.Uint64(out[:8]) % uint64(max(r.Slots, 1))
	return Instant{T0: c.Time*1000 + uint64(r.Lead) + uint64(s.Half)*uint64(r.Half) + slot*uint64(r.Slot), Output: out}, nil
}
