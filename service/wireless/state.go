package wireless

import (
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// Figures of what a device is believed to carry.
const (
	// MaxAge is for how many epochs a reading counts. A device with fewer than pob.Young readings is tested more often, so
	// that honest ones replace what grows old.
	MaxAge = 1008

	results     = pob.Young // readings that are kept
	rank        = 2         // of a score among the smallest of them, from 0
	fullPercent = 55        // of the claim read makes full quality, and of a speed lets an ask name it
	fullQuality = types.Bp(10_000)
	lastEpoch   = types.Epoch(1<<32 - 1) // that a line can hold
)

// Reading is what a test read.
type Reading struct {
	Epoch    types.Epoch // 0 for none
	Capacity uint64      // bit/s, in whole kbit/s
}

// State is a device's line in the category's state.
type State struct {
	Epoch     types.Epoch      // up to which the allowance is
	Prefix    pob.Prefix       // of the last endpoint
	Tests     bool             // whether it may be tested
	Here      bool             // whether it handed in an endpoint in the last epoch: it is tested in this one
	Claim     uint64           // bit/s; 0 before the first endpoint
	Share     uint64           // bit/s, at most the claim, at which it is tested; 0: it is not
	Readings  [results]Reading // the newest first
	Last      Reading          // the latest of a test of the whole prefix; none after a move
	Allowance uint64           // bytes that may still be paid
	Grant     types.Epoch      // cells are paid up to and including this epoch
}

const (
	stateVersion = 1
	stateSize    = 1 + 4 + 7 + 1 + 8 + 8 + (results+1)*(4+4) + 8 + 4
)

// Encode returns the line: fixed widths, big endian (SPEC.md).
func (s *State) Encode() []byte {
	b := append(make([]byte, 0, stateSize), stateVersion)
	u32, u64 := binary.BigEndian.AppendUint32, binary.BigEndian.AppendUint64
	epoch := func(e types.Epoch) { b = u32(b, uint32(min(e, lastEpoch))) }
	epoch(s.Epoch)
	b = append(b, s.Prefix[:]...)
	b = append(b, bit(s.Tests, 1)|bit(s.Here, 2))
	b = u64(u64(b, s.Claim), s.Share)
	for _, r := range append(s.Readings[:], s.Last) {
		epoch(r.Epoch)
		b = u32(b, uint32(r.Capacity/1000))
	}
	b = u64(b, s.Allowance)
	epoch(s.Grant)
	return b
}

func bit(set bool, value byte) byte {
	if set {
		return value
	}
	return 0
}

// DecodeState reads a line as Encode writes it; no bytes are the state of a device that has not begun.
func DecodeState(b []byte) (*State, error) {
	if len(b) == 0 {
		return new(State), nil
	}
	if len(b) != stateSize || b[0] != stateVersion {
		return nil, types.Refuse(types.BadEncoding, "wireless: state: a line of %d bytes", len(b))
	}
	at := 1
	next := func(n int) []byte { at += n; return b[at-n : at] }
	u32 := func() uint32 { return binary.BigEndian.Uint32(next(4)) }
	u64 := func() uint64 { return binary.BigEndian.Uint64(next(8)) }
	epoch := func() types.Epoch { return types.Epoch(u32()) }
	s := &State{Epoch: epoch(), Prefix: pob.Prefix(next(7))}
	flags := next(1)[0]
	s.Tests, s.Here = flags&1 != 0, flags&2 != 0
	s.Claim, s.Share = u64(), u64()
	for i := range s.Readings {
		s.Readings[i] = Reading{epoch(), 1000 * uint64(u32())}
	}
	s.Last = Reading{epoch(), 1000 * uint64(u32())}
	s.Allowance, s.Grant = u64(), epoch()
	if flags > 3 || s.Claim > pob.MaxClaim || s.Share > s.Claim || s.Claim > 0 && !s.Prefix.Valid() {
		return nil, types.Refuse(types.BadEncoding, "wireless: state: flags %d, claim %d, share %d, prefix %v", flags, s.Claim, s.Share, s.Prefix)
	}
	return s, nil
}

// Results returns how many readings a device has.
func (s *State) Results() (n int) {
	for _, r := range s.Readings {
		if r.Epoch != 0 {
			n++
		}
	}
	return n
}

// Subject says of a line where its device is, at what rate it is tested and how many readings it has; ok is false for one
// that is not tested. Witnesses and Verify read the same line.
func Subject(line []byte) (prefix pob.Prefix, claim uint64, results int, ok bool) {
	s, err := DecodeState(line)
	if err != nil || !s.tested() {
		return pob.Prefix{}, 0, 0, false
	}
	return s.Prefix, s.Share, s.Results(), true
}

// tested reports whether tests of this epoch are of this device. Who stayed away in the last epoch, which earns nothing
// then, costs nobody a test now: the seed that draws the prefix was not known yet.
func (s *State) tested() bool { return s.Here && s.rated() }

// rated reports whether there is a rate at which it was last tested.
func (s *State) rated() bool { return s.Tests && s.Share >= pob.MinClaim }

// read takes a reading in.
func (s *State) read(r Reading, whole bool) {
	copy(s.Readings[1:], s.Readings[:])
	s.Readings[0] = r
	if whole {
		s.Last = r
	}
}

// forget drops readings that are too old as of an epoch.
func (s *State) forget(e types.Epoch) {
	old := func(r Reading) bool { return r.Epoch+MaxAge < e }
	kept := slices.DeleteFunc(slices.Clone(s.Readings[:]), old)
	s.Readings = [results]Reading{}
	copy(s.Readings[:], kept)
	if old(s.Last) {
		s.Last = Reading{}
	}
}

// Score returns the third smallest of the six readings, of which missing ones are 0: two may be spoiled.
func (s *State) Score() uint64 {
	var all [results]uint64
	for i, r := range s.Readings {
		all[i] = r.Capacity
	}
	slices.Sort(all[:])
	return all[rank]
}

// Proven returns what a device is believed to carry, in bit/s: the least of its score, of the latest test of its whole
// prefix, and of its claim.
func (s *State) Proven() uint64 {
	if !s.rated() {
		return 0
	}
	return min(s.Score(), s.Last.Capacity, s.Claim)
}

// Quality is full at 55 % of what it is tested at, as a line that is what it claims reads some 65 %.
func (s *State) Quality() types.Bp {
	if !s.rated() {
		return 0
	}
	return types.Bp(min(uint64(fullQuality), s.Score()*uint64(fullQuality)*100/(fullPercent*s.Share)))
}

// Reaches reports whether an ask may promise so many Mbit/s.
func (s *State) Reaches(speed uint16) bool {
	return s.Proven()*100 >= uint64(speed)*1_000_000*fullPercent
}
