package energy

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

// Clock maps chain time to energy time. In production they are one: the zero Clock. A network on one laptop
// lets energy time run faster, so that a day passes in minutes.
type Clock struct {
	_      struct{} `cbor:",toarray"`
	Chain  uint64   // Unix seconds of the chain's clock …
	Energy uint64   // … at which energy time was this
	Rate   uint32   // seconds of energy time in a second of the chain's; 0 is 1
}

// At returns the energy time, in Unix seconds, at a Unix second of the chain's clock. Before Chain it stands still.
func (c Clock) At(chain uint64) uint64 {
	if chain < c.Chain {
		return c.Energy
	}
	hi, lo := bits.Mul64(chain-c.Chain, uint64(max(c.Rate, 1)))
	sum, carry := bits.Add64(lo, c.Energy, 0)
	if hi != 0 || carry != 0 {
		return 1<<64 - 1
	}
	return sum
}

// AtMilli is At in milliseconds: of a clock that runs fast, a second is too long.
func (c Clock) AtMilli(chain uint64) uint64 {
	if chain/1000 < c.Chain {
		chain = 1000 * c.Chain
	}
	rate := uint64(max(c.Rate, 1))
	hi, fine := bits.Mul64(chain%1000, rate)
	hi2, milli := bits.Mul64(c.At(chain/1000), 1000)
	sum, carry := bits.Add64(milli, fine, 0)
	if hi|hi2|carry != 0 {
		return 1<<64 - 1
	}
	return sum
}

// Done returns the first interval that is not over at a Unix second of the chain's clock: those before it can
// be cleared.
func (c Clock) Done(chain uint64) uint64 { return c.At(chain) / lot.Interval }

// Zone is a market: the devices below one resolution-3 cell trade at one price.
type Zone struct {
	_        struct{}   `cbor:",toarray"`
	Cell     types.Cell // of resolution 3; 0 is every zone that has no line of its own
	FeedIn   uint16     // micro-credits per Wh: what the utility pays for export; no trade is below
	Ceilings [24]uint16 // micro-credits per Wh, by UTC hour: what the utility takes for import; no trade is above
}

// Rules are the category's governed parameters (tally.Params.Rules).
type Rules struct {
	_     struct{} `cbor:",toarray"`
	Clock Clock
	Zones []Zone // ascending by cell, at most MaxZones; the first is of cell 0
}

// MaxZones bounds the zone table.
const MaxZones = 256

// maxRules bounds encoded rules, in bytes.
const maxRules = 16 << 10

// DefaultRules are those of a network that set none: real time, and one market between 80 and 300 micro-credits
// per Wh (0.08 and 0.30 credits per kWh).
func DefaultRules() *Rules {
	z := Zone{FeedIn: 80}
	for h := range z.Ceilings {
		z.Ceilings[h] = 300
	}
	return &Rules{Zones: []Zone{z}}
}

// Encode returns the encoding of r.
func (r *Rules) Encode() []byte { return types.Encode(r) }

// DecodeRules reads rules and checks them.
func DecodeRules(raw []byte) (*Rules, error) {
	r := new(Rules)
	if err := types.DecodeLimit(raw, r, maxRules); err != nil {
		return nil, fmt.Errorf("energy: rules: %w", err)
	}
	if len(r.Zones) == 0 || len(r.Zones) > MaxZones || r.Zones[0].Cell != 0 {
		return nil, fmt.Errorf("energy: rules: %d zones, want 1 to %d, the first of cell 0", len(r.Zones), MaxZones)
	}
	for i, z := range r.Zones {
		if i > 0 && (z.Cell <= r.Zones[i-1].Cell || !z.Cell.Valid() || z.Cell.Resolution() != 3) {
			return nil, fmt.Errorf("energy: rules: zone %v does not follow, or is not a cell of resolution 3", z.Cell)
		}
		for h, c := range z.Ceilings {
			if c < z.FeedIn {
				return nil, fmt.Errorf("energy: rules: zone %v, hour %d: a ceiling of %d below the feed-in tariff of %d", z.Cell, h, c, z.FeedIn)
			}
		}
	}
	return r, nil
}

// Zone returns the market of a zone.
func (r *Rules) Zone(cell types.Cell) *Zone {
	i, found := slices.BinarySearchFunc(r.Zones, cell, func(z Zone, c types.Cell) int { return cmp.Compare(z.Cell, c) })
	if !found {
		i = 0
	}
	return &r.Zones[i]
}

// Ceiling returns the highest price of interval k.
func (z *Zone) Ceiling(k uint64) uint64 { return uint64(z.Ceilings[k*lot.Interval/3600%24]) }

// A network on one machine begins at 10:00 of local solar time on a day in June, whenever it is started: its
// days pass in minutes, and what it shows should depend on nothing but itself.
const (
	localNoon = 1_782_043_200 // 2026-06-21 12:00 UTC
	localHour = 3_600_000     // energy milliseconds in an epoch
	// LocalCell is where the devices of such a network stand, unless they are said to stand elsewhere: 47.22°
	// N, 9.50° E.
	LocalCell types.Cell = 0x891f8e0c2d7ffff
)

// LocalRules returns the rules of a network on one machine whose devices stand in a cell: DefaultRules with a
// clock that makes an hour of each epoch. It began at start, in Unix seconds; an epoch lasts epoch
// milliseconds.
func LocalRules(cell types.Cell, start, epoch uint64) []byte {
	r := DefaultRules()
	place := PlaceOf(cell, 0)
	r.Clock = Clock{Chain: start, Energy: uint64(localNoon - place.ahead - 2*3600), Rate: uint32(min(max(localHour/max(epoch, 1), 1), localHour))}
	return r.Encode()
}

// rulesOf returns the rules that are in force. What is broken is replaced by the default: the zones, the clock,
// or both.
func rulesOf(raw []byte) *Rules {
	if r, err := DecodeRules(raw); err == nil {
		return r
	}
	r := DefaultRules()
	r.Clock = clockOf(raw)
	return r
}

// clockOf returns the clock of encoded rules without reading the zones; the zero Clock where it is broken.
func clockOf(raw []byte) Clock {
	if len(raw) == 0 || len(raw) > maxRules {
		return Clock{}
	}
	c := types.NewCursor(raw)
	if c.Array(2) != 2 || c.Array(3) != 3 {
		return Clock{}
	}
	clock := Clock{Chain: c.U64(), Energy: c.U64(), Rate: uint32(c.Uint(1<<32 - 1))}
	if c.Err() != nil {
		return Clock{}
	}
	return clock
}
