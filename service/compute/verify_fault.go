package compute

import (
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/mac"
)

// faults looks for one that proves itself. The first one takes bond and rank, and settles all of its time and before.
func (j *judge) faults() {
	settled := j.state.Settled
	for i, e := range j.in.Reports {
		if e.Kind != KindFault {
			continue
		}
		f, err := DecodeFault(e.Body)
		switch {
		case err != nil:
			j.refuse(i, types.ReasonOf(err))
			continue
		case j.in.Registry.Attester(e.Author) == nil: // one of these can cost 67 million multiplications
			j.refuse(i, WitnessNotDrawn)
			continue
		case !j.once(KindFault, e.Author, nil):
			j.refuse(i, types.OverQuota)
			continue
		}
		epoch := f.Epoch(j.in.Chain)
		if epoch <= settled || epoch+FaultDelay < j.in.Epoch || j.state.Settled == j.in.Epoch {
			j.refuse(i, FaultSettled)
			continue
		}
		reason := FaultUnproven
		if epoch <= j.in.Epoch && f.Device == j.in.Device.Key {
			reason = f.Prove(j.in.Chain)
		}
		j.refuse(i, reason)
		if reason != FaultUnproven {
			j.out.Reports[i].Proof = true
			j.state.Settled = j.in.Epoch
			j.state.fail()
		}
	}
}

// Epoch returns the epoch of a fault, that of the later one of two statements; 0 for one that shows nothing.
func (f *Fault) Epoch(chain string) types.Epoch {
	switch {
	case f.Row != nil:
		return f.Row.Step.Step.Epoch
	case f.Step != nil:
		return f.Step.Second.Step.Epoch
	}
	return max(f.Conflict.A.epoch(chain), f.Conflict.B.epoch(chain))
}

// epoch returns when a device made a claim.
func (c *Claim) epoch(chain string) types.Epoch {
	if c.Signed != nil {
		return c.Signed.Epoch
	}
	e, err := evidence.Decode(c.Committed.Results, chain)
	if err != nil {
		return 0
	}
	return e.Epoch
}

// Prove returns what a fault proves (RowWrong, StepBroken, ResultConflict), or FaultUnproven. A row costs n²
// multiplications.
func (f *Fault) Prove(chain string) types.Reason {
	switch {
	case f.Row != nil && f.Row.prove(chain, f.Device):
		return RowWrong
	case f.Step != nil && f.Step.prove(chain, f.Device):
		return StepBroken
	case f.Conflict != nil && f.Conflict.prove(chain, f.Device):
		return ResultConflict
	}
	return FaultUnproven
}

func (r *RowFault) prove(chain string, device types.Key) bool {
	n := int(min(r.N, 1<<20))
	return mac.Valid(n) && mac.Shown(r.Step.Step.Root, n, r.Row, r.Path) && r.Step.Verify(chain, device) &&
		!mac.Recompute(r.Step.Step.Seed, n, int(r.Path.Index), r.Row)
}

func (s *StepFault) prove(chain string, device types.Key) bool {
	b := &s.Second.Step
	if !s.Second.Verify(chain, device) {
		return false
	}
	if s.First == nil {
		e := own(s.Check, chain, device, KindCheck)
		if e == nil {
			return false
		}
		c, err := DecodeCheck(e.Body)
		return err == nil && e.Epoch == b.Epoch && c.Slot == b.Slot && b.T == 0 && b.Seed != ChainSeed(Seed(device, c.Slot, c.Nonces), b.Chain)
	}
	a := &s.First.Step
	if !s.First.Verify(chain, device) || a.Epoch != b.Epoch || a.Slot != b.Slot || a.Chain != b.Chain {
		return false
	}
	return a.T == b.T && *a != *b || a.T < 1<<32-1 && b.T == a.T+1 && b.Seed != a.Next()
}

func (c *Conflict) prove(chain string, device types.Key) bool {
	a, aBefore, aPlaced, ok := c.A.read(chain, device)
	b, bBefore, bPlaced, ok2 := c.B.read(chain, device)
	if !ok || !ok2 || a.Session != b.Session || a.Index != b.Index {
		return false
	}
	return *a != *b || aPlaced && bPlaced && aBefore != bBefore
}

// read returns the leaf that a device claims, and, where it committed to it, what the session's leaves before
// it cost.
func (c *Claim) read(chain string, device types.Key) (leaf *Leaf, before uint64, placed, ok bool) {
	if c.Signed != nil {
		return &c.Signed.Leaf, 0, false, c.Signed.Verify(chain, device)
	}
	e := own(c.Committed.Results, chain, device, KindResults)
	if e == nil {
		return nil, 0, false, false
	}
	r, err := DecodeResults(e.Body)
	if err != nil {
		return nil, 0, false, false
	}
	before, err = r.Verify(&c.Committed.Leaf, &c.Committed.Path)
	return &c.Committed.Leaf, before, true, err == nil
}

// own reads an envelope that a device signed, of a kind of the category; nil for any other.
func own(raw []byte, chain string, device types.Key, kind evidence.Kind) *evidence.Envelope {
	e, err := evidence.Decode(raw, chain)
	if err != nil || e.Author != device || e.Category != types.Compute || e.Kind != kind || !e.Verify() {
		return nil
	}
	return e
}
