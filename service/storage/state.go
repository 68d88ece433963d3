package storage

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Figures of the rules. Epochs are hours in production.
const (
	MaxSessions  = 4096    // per device, ended ones included until they are forgotten
	Retain       = 168     // epochs of a session's bytes that are withheld, at most
	Patience     = 72      // epochs without an accepted receipt after which a device may leave
	MaxStreak    = 72      // failed challenges in a row that end every session
	Linger       = 168     // epochs that a session is remembered after its expiry
	FullQuality  = 1000000 // millionths
	FirstQuality = FullQuality / 2
)

// State is a device's line in the category's state: how well it answers, and what it holds for whom.
type State struct {
	Quality  uint32 // millionths
	Streak   uint32 // challenges failed since the last pass
	Passes   uint64 // epochs that count as proven since the device began
	Sessions []Session
}

// Session is one session of a device: the holding in force, and what has been proven and paid under it. Units are
// byte·epochs, all totals since the session began.
type Session struct {
	ID       types.SessionID // unique on the device; sessions are in its order
	Payer    types.Key
	Account  types.Account
	Ask      types.Hash
	Price    uint64
	Revision uint64
	Root     types.Hash
	Shards   uint64
	Bytes    uint64 // what is challenged and earns
	Until    types.Epoch
	Base     types.U128  // proven before Mark
	Mark     uint64      // Passes when Bytes last changed
	Forfeit  types.U128  // taken off for good
	Units    types.U128  // of the last accepted receipt
	Paid     types.Epoch // of that receipt; at first of the opening
	Ended    bool        // released: it can only be paid
}

// Key names the session as the protocol does.
func (s *Session) Key() tally.SessionKey { return tally.SessionKey{Payer: s.Payer, ID: s.ID} }

// Node is the root of the session's tree.
func (s *Session) Node() merkle.Node { return merkle.Node{Sum: s.Bytes, Hash: s.Root} }

// Bytes returns what the device holds in all sessions.
func (s *State) Bytes() uint64 {
	total := uint64(0)
	for i := range s.Sessions {
		total += s.Sessions[i].Bytes // at most 2¹² · 2⁴⁸
	}
	return total
}

// Find returns the session of that id, or nil. The pointer holds until sessions are added or removed.
func (s *State) Find(id types.SessionID) *Session {
	if i, ok := s.search(id); ok {
		return &s.Sessions[i]
	}
	return nil
}

func (s *State) search(id types.SessionID) (int, bool) {
	return slices.BinarySearchFunc(s.Sessions, id, func(s Session, id types.SessionID) int { return bytes.Compare(s.ID[:], id[:]) })
}

// Proven returns base + bytes·(passes − mark): the byte·epochs that the device has shown, when it has passed
// passes epochs.
func (s *Session) Proven(passes uint64) types.U128 {
	return plus(s.Base, types.Mul64(s.Bytes, passes-s.Mark))
}

// Retained returns min(⌈(proven − forfeit)/8⌉, Retain·bytes): what is withheld while the device goes on, and
// lost if it does not. It rounds up, so that a session split into many is never payable sooner.
func (s *Session) Retained(passes uint64) types.U128 {
	net := plus(minus(s.Proven(passes), s.Forfeit), types.U64(7))
	eighth := types.U128{Hi: net.Hi >> 3, Lo: net.Hi<<61 | net.Lo>>3}
	return least(eighth, types.Mul64(Retain, s.Bytes))
}

// Payable returns proven − forfeit − retained: the highest units that a receipt may show.
func (s *Session) Payable(passes uint64) types.U128 {
	return minus(minus(s.Proven(passes), s.Forfeit), s.Retained(passes))
}

// settle folds what has been proven into Base, before Bytes changes.
func (s *Session) settle(passes uint64) {
	s.Base, s.Mark = s.Proven(passes), passes
}

// lose takes b of the session's bytes away and forfeits their part of what is retained. That is never more than
// Retain·b, since all of it is at most Retain·bytes.
func (s *Session) lose(b, passes uint64) {
	part, _ := s.Retained(passes).MulDiv(b, s.Bytes)
	s.settle(passes)
	s.Forfeit = plus(s.Forfeit, part)
	s.Bytes -= b
}

// end stops the session in epoch. After Until it ends clean. A device that was not paid for Patience epochs
// keeps what accepted receipts cover and gives up the rest, so that nobody dodges the next case by sitting on
// receipts. Else what is retained is forfeit.
func (s *Session) end(passes uint64, epoch types.Epoch) {
	retained := s.Retained(passes)
	s.settle(passes)
	switch {
	case epoch > s.Until:
	case epoch >= s.Paid+Patience:
		s.Forfeit = most(s.Forfeit, minus(s.Base, s.Units))
	default:
		s.Forfeit = plus(s.Forfeit, retained)
	}
	s.Bytes, s.Ended = 0, true
}

// The totals stay far below 2¹²⁸: bytes ≤ 2⁴⁸, and an epoch adds at most one pass. Saturating keeps them total
// functions.

func plus(a, b types.U128) types.U128 {
	sum, err := a.Add(b)
	if err != nil {
		return types.MaxU128
	}
	return sum
}

func minus(a, b types.U128) types.U128 {
	d, err := a.Sub(b)
	if err != nil {
		return types.U128{}
	}
	return d
}

func least(a, b types.U128) types.U128 {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

func most(a, b types.U128) types.U128 {
	if a.Cmp(b) > 0 {
		return a
	}
	return b
}

// A line is a head and MaxSessions records at most, all of fixed width, big endian (SPEC.md).
const (
	stateVersion = 1
	headSize     = 1 + 4 + 4 + 8
	recordSize   = 16 + 32 + 20 + 32 + 8 + 8 + 32 + 8 + 8 + 8 + 16 + 8 + 16 + 16 + 8 + 1
	maxState     = headSize + MaxSessions*recordSize
)

// initial reports whether s is what a device begins with, which is stored as no line at all.
func (s *State) initial() bool {
	return s.Quality == FirstQuality && s.Streak == 0 && s.Passes == 0 && len(s.Sessions) == 0
}

// Encode returns the line, nil for a device that has not begun.
func (s *State) Encode() []byte {
	if s.initial() {
		return nil
	}
	b := make([]byte, 0, headSize+len(s.Sessions)*recordSize)
	b = append(b, stateVersion)
	b = binary.BigEndian.AppendUint32(b, s.Quality)
	b = binary.BigEndian.AppendUint32(b, s.Streak)
	b = binary.BigEndian.AppendUint64(b, s.Passes)
	for i := range s.Sessions {
		b = s.Sessions[i].append(b)
	}
	return b
}

func (s *Session) append(b []byte) []byte {
	u64, u128 := binary.BigEndian.AppendUint64, func(b []byte, u types.U128) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, u.Hi), u.Lo)
	}
	b = append(append(append(append(b, s.ID[:]...), s.Payer[:]...), s.Account[:]...), s.Ask[:]...)
	b = u64(u64(b, s.Price), s.Revision)
	b = append(b, s.Root[:]...)
	b = u64(u64(u64(b, s.Shards), s.Bytes), uint64(s.Until))
	b = u128(b, s.Base)
	b = u64(b, s.Mark)
	b = u128(u128(b, s.Forfeit), s.Units)
	b = u64(b, uint64(s.Paid))
	if s.Ended {
		return append(b, 1)
	}
	return append(b, 0)
}

// DecodeState reads a line as Encode writes it, and nothing else; no bytes are the state of a device that has
// not begun.
func DecodeState(b []byte) (*State, error) {
	if len(b) == 0 {
		return &State{Quality: FirstQuality}, nil
	}
	if len(b) < headSize || (len(b)-headSize)%recordSize != 0 || len(b) > maxState || b[0] != stateVersion {
		return nil, types.Refuse(types.BadEncoding, "storage: state: a line of %d bytes", len(b))
	}
	r := reader{b[1:]}
	s := &State{Quality: r.u32(), Streak: r.u32(), Passes: r.u64()}
	s.Sessions = make([]Session, (len(b)-headSize)/recordSize)
	for i := range s.Sessions {
		if !s.Sessions[i].read(&r) || !s.ordered(i) {
			return nil, types.Refuse(types.BadEncoding, "storage: state: session %d, %s, breaks a bound", i, s.Sessions[i].ID)
		}
	}
	if s.Quality > FullQuality || s.initial() {
		return nil, types.Refuse(types.BadEncoding, "storage: state: quality %d, %d sessions", s.Quality, len(s.Sessions))
	}
	return s, nil
}

// ordered holds session i to what every line obeys.
func (s *State) ordered(i int) bool {
	x := &s.Sessions[i]
	if i > 0 && bytes.Compare(s.Sessions[i-1].ID[:], x.ID[:]) >= 0 {
		return false
	}
	return x.Mark <= s.Passes && x.Bytes <= MaxBytes && x.Shards <= MaxShards && x.Price < MaxPrice && !(x.Ended && x.Bytes != 0)
}

// read takes one record, and reports whether its flag is one.
func (s *Session) read(r *reader) bool {
	r.bytes(s.ID[:])
	r.bytes(s.Payer[:])
	r.bytes(s.Account[:])
	r.bytes(s.Ask[:])
	s.Price, s.Revision = r.u64(), r.u64()
	r.bytes(s.Root[:])
	s.Shards, s.Bytes, s.Until = r.u64(), r.u64(), types.Epoch(r.u64())
	s.Base, s.Mark = r.u128(), r.u64()
	s.Forfeit, s.Units = r.u128(), r.u128()
	s.Paid = types.Epoch(r.u64())
	var flag [1]byte
	r.bytes(flag[:])
	s.Ended = flag[0] == 1
	return flag[0] <= 1
}

// reader takes fixed-width fields off a line whose length was checked.
type reader struct{ b []byte }

func (r *reader) bytes(to []byte) { r.b = r.b[copy(to, r.b):] }

func (r *reader) u32() uint32 {
	x := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return x
}

func (r *reader) u64() uint64 {
	x := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return x
}

func (r *reader) u128() types.U128 { return types.U128{Hi: r.u64(), Lo: r.u64()} }
