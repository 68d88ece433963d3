package pob

import (
	"github.com/cairn-network/cairn/core/types"
)

// Bounds of a check.
const (
	Seats     = 8             // challengers that are drawn for a device
	Payload   = 1400          // bytes of UDP payload in each packet
	TagSize   = 16            // bytes
	MaxBitmap = 60_000        // bytes
	MaxClaim  = 8_600_000_000 // bit/s: what a bitmap of that size is enough for
	MinClaim  = 1_000_000     // bit/s
	Young     = 6             // a device with fewer results is tested more often
)

// ForTest is the purpose for which challengers are drawn (tally.Draw).
const ForTest = "pob"

// Rules are the figures of a check: a part of the category's rules. Times are milliseconds.
type Rules struct {
	_     struct{} `cbor:",toarray"`
	Whole uint64   // one prefix in so many is tested in an epoch, with all of its devices
	Young uint64   // and one in so many with those devices alone that have fewer than Young results
	Least uint8    // challengers, below which nothing is tested

	Send   uint32 // for how long challengers send
	Reply  uint32 // how long after that an answer may come
	Skew   uint32 // by how much the clocks of two challengers differ at most
	Notice uint32 // how long before it begins a check is announced

	Lead  uint32 // from the epoch's first block to the first slot
	Half  uint32 // from the first half's first slot to the second's
	Slot  uint32
	Slots uint32 // in each half

	// Near lets challengers be in one network with each other and with the device: for a network on one machine.
	Near bool
}

// DefaultRules are those of epochs of an hour.
func DefaultRules() Rules {
	return Rules{
		Whole: 168, Young: 24, Least: 4, Send: 3000, Reply: 300, Skew: 100, Notice: 2000,
		Lead: 120_000, Half: 1_680_000, Slot: 5000, Slots: 330,
	}
}

// LocalRules are those of a network on one machine, whose epochs take some seconds.
func LocalRules() Rules {
	return Rules{
		Whole: 1, Young: 1, Least: 1, Send: 800, Reply: 300, Skew: 100, Notice: 400,
		Lead: 3000, Half: 1500, Slot: 100, Slots: 8, Near: true,
	}
}

// Bounds of rules, so that nothing in a check leaves its type or lasts for long.
const (
	maxSend = 10_000
	maxTime = 86_400_000
)

// Check says what is wrong with rules.
func (r *Rules) Check() error {
	short := func(ms uint32) bool { return ms >= 1 && ms <= maxSend }
	switch {
	case r.Whole < 1 || r.Young < 1 || r.Young > r.Whole || r.Least < 1 || r.Least > Seats:
	case !short(r.Send) || !short(r.Reply) || !short(r.Skew) || !short(r.Notice):
	case r.Lead > maxTime || r.Half > maxTime || r.Slot > maxTime || r.Slots < 1 || uint64(r.Slot)*uint64(r.Slots) > maxTime:
	default:
		return nil
	}
	return types.Refuse(types.ParamBound, "wireless: rules of bandwidth checks: %+v", *r)
}

// Liars is f, how many of n challengers may lie.
func Liars(n int) int { return max(n-1, 0) / 3 }

// Rate returns the bit/s of payload at which each of n challengers sends to a device that claims so many: together,
// without the f that may be silent, a quarter more than it claims.
func Rate(claim uint64, n int) uint64 {
	return min(claim, MaxClaim) * 5 / 4 / uint64(max(n-Liars(n), 1))
}

// Packets returns how many packets that is in the time of a check: at least one, at most what a bitmap holds.
func (r *Rules) Packets(claim uint64, n int) uint32 {
	bits := Rate(claim, n) * uint64(r.Send) / 1000
	return uint32(min(max(bits/(8*Payload), 1), 8*MaxBitmap))
}

// Window is the time in milliseconds within which all that counts came over the line.
func (r *Rules) Window() uint64 { return uint64(r.Send) + uint64(r.Reply) + uint64(r.Skew) }
