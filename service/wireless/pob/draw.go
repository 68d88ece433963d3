package pob

import (
	"encoding/binary"
	"math"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Draw says which devices of a prefix an epoch tests.
type Draw uint8

// Draws.
const (
	NoDraw    Draw = iota
	YoungDraw      // those with fewer than Young results
	WholeDraw      // all, at one instant
)

// Drawn returns which devices of a prefix the epoch of seed tests.
func (r *Rules) Drawn(seed types.Hash, p Prefix) Draw {
	h := types.Sum([]byte("cairn/pob"), seed[:], p[:])
	switch n := binary.BigEndian.Uint64(h[:8]); {
	case !p.Valid():
		return NoDraw
	case n <= math.MaxUint64/max(r.Whole, 1):
		return WholeDraw
	case n <= math.MaxUint64/max(r.Young, 1):
		return YoungDraw
	}
	return NoDraw
}

// Tests reports whether a device with so many results is tested.
func (d Draw) Tests(results int) bool { return d == WholeDraw || d == YoungDraw && results < Young }

// Halves are an epoch's: each has a conductor.
const Halves = 2

// Conductors says who conducts in an epoch. It takes one pass over the verifiers to make, and is then cheap.
type Conductors struct {
	seed   types.Hash
	all    []tally.Attester
	powers []uint64
}

// NewConductors makes the conductors of an epoch from its registry view and its seed.
func NewConductors(r tally.Registry, seed types.Hash) *Conductors {
	c := &Conductors{seed: seed}
	for a := range r.Attesters() {
		c.all, c.powers = append(c.all, *a), append(c.powers, a.Power)
	}
	return c
}

// Of returns the conductors of a prefix, one for each half: two different verifiers, drawn by power, or one twice where
// there is only one. ok is false where there is none.
func (c *Conductors) Of(p Prefix) (who [Halves]*tally.Attester, ok bool) {
	drawn, err := beacon.Draw(beacon.NewStream(c.seed, "wireless/conductor/"+string(p[:])), c.powers, Halves)
	if err != nil || len(drawn) == 0 {
		return who, false
	}
	for half := range who {
		who[half] = &c.all[drawn[min(half, len(drawn)-1)]]
	}
	return who, true
}
