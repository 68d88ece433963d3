package compute

import (
	"encoding/binary"

	"github.com/cairn-network/cairn/core/types"
)

// Qualities, in basis points.
const (
	FullQuality   types.Bp = 10_000
	FirstQuality  types.Bp = 5_000
	FaultyQuality types.Bp = 1_000 // after a fault or a failed audit
)

// Suspensions, in epochs.
const (
	suspension    = 24 // after the first fault; each one doubles it
	maxSuspension = 720
)

// State is a device's line in the category's state.
type State struct {
	Epoch     types.Epoch   // of the tally that wrote it
	Slot      uint64        // the last one that was judged
	Rates     [2]uint64     // of the last two slots, the newest first, in millionths of a wu per second; 0 for one that was missed or not passed
	Results   [2]Commitment // of Epoch and of the one before
	Quality   types.Bp
	Passed    uint32      // epochs with audits passed since the last one that failed
	Faults    uint8       // faults and failed audits, ever
	Suspended types.Epoch // what it offers has no weight up to and including this epoch
	Settled   types.Epoch // faults of this epoch and before have been paid for
	Free      uint16      // of the last offer, if that was of Epoch; else 0
	Allowance uint64      // slot·ms of class OCI that may still be paid
}

// Commitment is what a device committed to in one epoch: the root of the plain tree over the hashes of its
// Results' envelopes, in the order of their numbers.
type Commitment struct {
	Root  types.Hash // zero for none
	Count uint16
}

const (
	stateVersion = 1
	stateSize    = 1 + 8 + 8 + 2*8 + 2*(32+2) + 2 + 4 + 1 + 8 + 8 + 2 + 8
)

// Encode returns the line: fixed widths, big endian (SPEC.md).
func (s *State) Encode() []byte {
	b := append(make([]byte, 0, stateSize), stateVersion)
	u16, u32, u64 := binary.BigEndian.AppendUint16, binary.BigEndian.AppendUint32, binary.BigEndian.AppendUint64
	b = u64(u64(b, uint64(s.Epoch)), s.Slot)
	b = u64(u64(b, s.Rates[0]), s.Rates[1])
	for _, c := range s.Results {
		b = u16(append(b, c.Root[:]...), c.Count)
	}
	b = u32(u16(b, uint16(s.Quality)), s.Passed)
	b = u64(u64(append(b, s.Faults), uint64(s.Suspended)), uint64(s.Settled))
	return u64(u16(b, s.Free), s.Allowance)
}

// DecodeState reads a line as Encode writes it; no bytes are the state of a device that has not begun.
func DecodeState(b []byte) (*State, error) {
	if len(b) == 0 {
		return &State{Quality: FirstQuality}, nil
	}
	if len(b) != stateSize || b[0] != stateVersion {
		return nil, types.Refuse(types.BadEncoding, "compute: state: a line of %d bytes", len(b))
	}
	at := 1
	next := func(n int) []byte { at += n; return b[at-n : at] }
	u16 := func() uint16 { return binary.BigEndian.Uint16(next(2)) }
	u64 := func() uint64 { return binary.BigEndian.Uint64(next(8)) }
	s := &State{Epoch: types.Epoch(u64()), Slot: u64(), Rates: [2]uint64{u64(), u64()}}
	for i := range s.Results {
		s.Results[i] = Commitment{Root: types.Hash(next(32)), Count: u16()}
	}
	s.Quality, s.Passed = types.Bp(u16()), binary.BigEndian.Uint32(next(4))
	s.Faults = next(1)[0]
	s.Suspended, s.Settled = types.Epoch(u64()), types.Epoch(u64())
	s.Free, s.Allowance = u16(), u64()
	if s.Quality > FullQuality || s.Epoch == 0 {
		return nil, types.Refuse(types.BadEncoding, "compute: state: quality %d in epoch %d", s.Quality, s.Epoch)
	}
	return s, nil
}

// Audited returns what epoch e audits, by the line as it was before the tally of e: what the device committed
// to AuditDelay epochs before.
func (s *State) Audited(e types.Epoch) (c Commitment) {
	if s.Epoch != 0 && s.Epoch < e && e-s.Epoch <= AuditDelay {
		c = s.Results[AuditDelay-(e-s.Epoch)]
	}
	return c
}

// Ready returns the network-ordered units that the device's rates allow in an epoch, in wu: ⌊min(rates)·3600/10⁶⌋.
func (s *State) Ready() uint64 { return min(s.Rates[0], s.Rates[1]) * 3600 / 1_000_000 }
