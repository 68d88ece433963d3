package compute

import (
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// Bounds of an epoch's checks.
const (
	maxChecks = 16 // of one device in an epoch
	slotEarly = 6  // slots that one may begin before the epoch's first block says that it began
	slotLate  = 86_400 / SlotTime
)

// sighting is a report with what it says.
type sighting struct {
	*Sighting
	author types.Key
	report int
}

// check is what a device handed in for one slot, and what witnesses say.
type check struct {
	slot      uint64
	claim     *Check // nil if it handed in none that stands
	evidence  int
	sightings []sighting
}

// checks judges the epoch's slots, in their order.
func (j *judge) checks() {
	members, f := j.panel(ForSlot)
	slots := map[uint64]*check{}
	at := func(slot uint64) *check {
		if slots[slot] == nil {
			slots[slot] = &check{slot: slot}
		}
		return slots[slot]
	}
	n := 0
	for i, e := range j.in.Evidence {
		if e.Kind != KindCheck {
			continue
		}
		if n++; n > maxChecks { // each takes some signatures to look into
			j.out.Evidence[i].Reason = types.OverQuota
			continue
		}
		c, err := DecodeCheck(e.Body)
		reason := types.ReasonOf(err)
		if err == nil {
			reason = j.claim(c, members, f)
		}
		if reason == "" && at(c.Slot).claim != nil {
			reason = SlotUnproven
		}
		if j.out.Evidence[i].Reason = reason; reason == "" {
			at(c.Slot).claim, at(c.Slot).evidence = c, i
		}
	}
	for i, e := range j.in.Reports {
		if e.Kind != KindSighting {
			continue
		}
		s, err := DecodeSighting(e.Body)
		switch {
		case err != nil:
			j.refuse(i, types.ReasonOf(err))
		case s.Device != j.in.Device.Key:
			j.refuse(i, types.BadEncoding)
		case !j.due(s.Slot):
			j.refuse(i, SlotUnproven)
		case !member(members, e.Author) || !j.once(KindSighting, e.Author, binary.BigEndian.AppendUint64(nil, s.Slot)):
			j.refuse(i, WitnessNotDrawn)
		default:
			at(s.Slot).sightings = append(at(s.Slot).sightings, sighting{s, e.Author, i})
		}
	}
	order := make([]uint64, 0, len(slots))
	for slot := range slots {
		order = append(order, slot)
	}
	slices.Sort(order)
	for _, slot := range order {
		j.slot(slots[slot], f)
	}
}

// due reports whether a slot can be one of the epoch's that has not been judged.
func (j *judge) due(slot uint64) bool {
	first := j.in.Time / SlotTime
	return j.in.Challenged && slot > j.state.Slot && slot+slotEarly >= first && slot <= first+slotLate
}

// claim says what is wrong with a check by itself.
func (j *judge) claim(c *Check, members []types.Key, f int) types.Reason {
	rules, caller := RulesIn(j.in.Params.Rules), Caller(j.in.Registry, j.in.Seed)
	switch {
	case !j.due(c.Slot) || caller == nil || !SlotFires(caller.VRF, j.in.Chain, j.in.Seed, c.Slot, rules.Rarity, c.Proof):
		return SlotUnproven
	case c.Round != j.hardware.Round || c.Round == MAC && c.N != j.hardware.N:
		return ClassMismatch
	case c.Round == CPU && c.N > uint32(j.hardware.Slots):
		return OverCapacity
	case len(members) == 0:
		return CheckUnwitnessed
	case len(c.Nonces) <= f:
		return NonceMissing
	}
	for i := range c.Nonces {
		n := &c.Nonces[i]
		if i > 0 && n.Witness == c.Nonces[i-1].Witness || !member(members, n.Witness) || !n.Verify(j.in.Chain, j.in.Epoch, j.in.Device.Key, c.Slot) {
			return NonceMissing
		}
	}
	return ""
}

// slot judges one slot: passed, not passed, missed, or left as it is.
func (j *judge) slot(c *check, f int) {
	s := j.state
	if c.claim != nil {
		var counts []uint32
		for _, w := range c.sightings {
			if w.OK && c.claim.names(w.author) {
				counts = append(counts, min(w.Count, c.claim.Steps))
			}
		}
		if count, ok := Count(counts, f); ok {
			s.Slot, s.Rates = c.slot, [2]uint64{Rate(count, c.claim.Round, c.claim.N), s.Rates[0]}
			s.raise()
			return
		}
	}
	if len(c.sightings) <= f {
		if c.claim != nil { // nobody can tell: a device is not to blame for its witnesses
			j.out.Evidence[c.evidence].Reason = CheckUnwitnessed
		}
		return
	}
	s.Slot = c.slot
	if c.claim == nil && j.before == 0 && s.Free == 0 && j.paid {
		return // it had said, an epoch ahead, that it would be busy, and it was
	}
	seen := 0
	for _, w := range c.sightings {
		if w.Count > 0 {
			seen++
		}
	}
	reason := SlotMissed
	if c.claim != nil || seen > f {
		reason = CheckFailed
	}
	s.Rates = [2]uint64{0, s.Rates[0]}
	if reason == SlotMissed {
		s.Quality -= s.Quality / 8
	} else {
		s.Quality -= s.Quality / 4
	}
	if c.claim != nil {
		j.out.Evidence[c.evidence].Reason = reason
	}
	for _, w := range c.sightings {
		if !w.OK {
			j.refuse(w.report, reason)
		}
	}
}

// names reports whether a witness's nonce is in the check's seed.
func (c *Check) names(witness types.Key) bool {
	return slices.ContainsFunc(c.Nonces, func(n SignedNonce) bool { return n.Witness == witness })
}
