package compute

import (
	"encoding/binary"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// Commit returns what a line keeps of the envelopes of an epoch's Results, by their hashes in the order of
// their numbers.
func Commit(envelopes []types.Hash) Commitment {
	return Commitment{Root: merkle.Root(envelopes), Count: uint16(len(envelopes))}
}

// audit is what drawn verifiers say of one leaf.
type audit struct {
	agree, against int
	withheld       int   // of those against
	first          bool  // the first one drawn agrees
	reports        []int // against
}

// audits counts what drawn verifiers say of leaves that the seed draws.
func (j *judge) audits() {
	members, f := j.panel(ForAudit)
	leaves := map[string]*audit{}
	var order []*audit
	chance := Chance(j.state.Passed)
	for i, e := range j.in.Reports {
		if e.Kind != KindAudit {
			continue
		}
		a, err := DecodeAudit(e.Body)
		if err != nil {
			j.refuse(i, types.ReasonOf(err))
			continue
		}
		name, ok := j.leaf(a, chance)
		if !ok {
			j.refuse(i, LeafNotDrawn)
			continue
		}
		if a.Device != j.in.Device.Key || !member(members, e.Author) || !j.once(KindAudit, e.Author, name) {
			j.refuse(i, WitnessNotDrawn)
			continue
		}
		l := leaves[string(name)]
		if l == nil {
			l = &audit{}
			leaves[string(name)], order = l, append(order, l)
		}
		if a.Agrees() {
			l.agree++
			l.first = l.first || e.Author == members[0]
			continue
		}
		l.against++
		if a.Withheld {
			l.withheld++
		}
		l.reports = append(l.reports, i)
	}
	passed, failed := false, false
	for _, l := range order {
		switch {
		case l.against > f:
			failed = true
			reason := ResultWrong
			if 2*l.withheld > l.against {
				reason = ResultWithheld
			}
			for _, i := range l.reports {
				j.refuse(i, reason)
			}
		case l.agree > f, l.first && l.against == 0:
			passed = true
		}
	}
	switch {
	case failed:
		j.state.fail()
	case passed: // many are worth no more than one: anybody can order a thousand jobs of nothing from itself
		if j.state.Passed < 1<<32-1 {
			j.state.Passed++
		}
		j.state.raise()
	}
}

// leaf returns the name of the leaf that an audit is about, if this epoch's seed draws it.
func (j *judge) leaf(a *Audit, chance types.Bp) (name []byte, ok bool) {
	h := types.Sum(a.Results)
	if !j.in.Challenged || j.audited.Count == 0 || a.Place.Verify(j.audited.Root, uint64(j.audited.Count), h) != nil {
		return nil, false
	}
	e, err := evidence.Decode(a.Results, j.in.Chain) // one that counted: nothing of it needs to be checked again
	if err != nil {
		return nil, false
	}
	r, err := DecodeResults(e.Body)
	if err != nil || a.Index >= r.Count || !Drawn(j.in.Seed, h, a.Index, chance) {
		return nil, false
	}
	if a.Leaf != nil {
		if _, err := r.Verify(a.Leaf, a.Path); err != nil || a.Path.Index != uint64(a.Index) || a.Leaf.Mode != Public {
			return nil, false
		}
	}
	return binary.BigEndian.AppendUint32(h[:], a.Index), true
}
