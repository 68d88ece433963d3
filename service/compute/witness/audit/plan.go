package audit

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// target is a device that this auditor was drawn for.
type target struct {
	device  tally.Device
	members []types.Key // who was drawn and decides
	chance  types.Bp
	settled types.Epoch // faults up to this one have been paid for
	results []*results  // that count
	hashes  []types.Hash
	spent   time.Duration // on tries that came to nothing
}

// results are one envelope of a target's.
type results struct {
	*compute.Results
	envelope *evidence.Envelope
	at       int // among the target's
}

// leaf is one that is audited.
type leaf struct {
	target  *target
	results *results
	index   uint32
	called  bool       // by the first auditor's report
	failed  int        // how often its job's sandbox died
	after   time.Time  // before which it is not tried again
	order   types.Hash // by which it is before others
}

// place proves that the leaf's results are among those that count.
func (l *leaf) place() merkle.Proof { return merkle.Prove(l.target.hashes, l.results.at) }

// name is the name of a leaf's report.
func (l *leaf) name() types.Hash {
	return types.Sum([]byte("audit"), l.results.envelope.Hash[:], []byte{byte(l.index >> 8), byte(l.index)})
}

// plan is whom an auditor was drawn for, and what it audits on its own account, in the order in which it does.
type plan struct {
	targets map[types.Key]*target
	leaves  []*leaf
	left    int // leaves that are drawn, and too many
}

// planDomain is in which an auditor's secret order is signed: nobody else can tell it before.
const planDomain = "compute/audit-order"

// newPlan makes the plan of an epoch. It is the same each time.
func newPlan(ctx context.Context, host role.AuditHost, n *role.Notice, most int) (*plan, error) {
	registry, panel, err := host.Registry(ctx)
	if err != nil {
		return nil, err
	}
	subjects, err := host.Drawn(ctx, compute.ForAudit)
	if err != nil {
		return nil, err
	}
	p := &plan{targets: map[types.Key]*target{}}
	var keys []types.Key
	states := map[types.Key]*compute.State{}
	for i := range subjects {
		d := &subjects[i].Device
		members, _ := compute.Panel(panel.Draw(registry.Device(d.Key), compute.ForAudit))
		if !slices.Contains(members, host.Key()) {
			continue // too few decide nothing, and of four the last one is not heard
		}
		line, err := host.Line(ctx, n.Epoch-1, d.Key)
		if err != nil {
			return nil, err
		}
		state, err := compute.DecodeState(line)
		if err != nil {
			return nil, err
		}
		if state.Audited(n.Epoch).Count == 0 {
			continue
		}
		keys, states[d.Key] = append(keys, d.Key), state
		p.targets[d.Key] = &target{device: *d, members: members, chance: compute.Chance(state.Passed), settled: state.Settled}
	}
	if len(keys) == 0 {
		return p, nil
	}
	counted, err := host.Counted(ctx, n.Epoch-compute.AuditDelay, compute.KindResults, keys)
	if err != nil {
		return nil, err
	}
	secret := host.Sign(planDomain, n.Seed[:])
	var drawn [][]*leaf // by device
	for _, key := range keys {
		t := p.targets[key]
		if err := t.take(counted[key], states[key].Audited(n.Epoch)); err != nil {
			host.Log().Error("what a device committed to is not what the tally has", "device", key, "epoch", n.Epoch-compute.AuditDelay, "error", err)
			delete(p.targets, key)
			continue
		}
		if t.members[0] == host.Key() {
			list, left := t.drawn(n.Seed, secret, max(1, most/8))
			p.left += left
			drawn = append(drawn, list)
		}
	}
	// One of each device, then another one: so none of them keeps the auditor from others by committing to many.
	for i := 0; len(drawn) > 0; i++ {
		var turn []*leaf
		drawn = slices.DeleteFunc(drawn, func(list []*leaf) bool { return i >= len(list) })
		for _, list := range drawn {
			turn = append(turn, list[i])
		}
		slices.SortFunc(turn, byOrder)
		p.leaves = append(p.leaves, turn...)
	}
	if len(p.leaves) > most {
		p.left += len(p.leaves) - most
		p.leaves = p.leaves[:most]
	}
	return p, nil
}

func byOrder(a, b *leaf) int { return bytes.Compare(a.order[:], b.order[:]) }

// take takes the envelopes that counted, if they are those of a commitment.
func (t *target) take(envelopes []*evidence.Envelope, c compute.Commitment) error {
	for _, e := range envelopes {
		t.hashes = append(t.hashes, e.Hash)
	}
	if got := compute.Commit(t.hashes); got != c {
		return fmt.Errorf("compute: audit: %d results of root %v, committed were %d of %v", got.Count, got.Root, c.Count, c.Root)
	}
	for i, e := range envelopes {
		r, err := compute.DecodeResults(e.Body)
		if err != nil {
			return err
		}
		t.results = append(t.results, &results{Results: r, envelope: e, at: i})
	}
	return nil
}

// drawn returns those of the target's leaves that the seed draws, in an order that secret makes: at most so
// many. The others are left out.
func (t *target) drawn(seed types.Hash, secret types.Signature, most int) (list []*leaf, left int) {
	for _, r := range t.results {
		for i := range r.Count {
			if !compute.Drawn(seed, r.envelope.Hash, i, t.chance) {
				continue
			}
			l := &leaf{target: t, results: r, index: i}
			name := l.name()
			l.order = types.Sum(secret[:], name[:])
			if list = append(list, l); len(list) >= 2*most {
				slices.SortFunc(list, byOrder)
				left += len(list) - most
				list = list[:most]
			}
		}
	}
	slices.SortFunc(list, byOrder)
	if len(list) > most {
		left += len(list) - most
		list = list[:most]
	}
	return list, left
}

// find returns the leaf that a report is about, if the seed draws it; nil if not.
func (p *plan) find(seed types.Hash, a *compute.Audit) *leaf {
	t := p.targets[a.Device]
	if t == nil {
		return nil
	}
	h := types.Sum(a.Results)
	i := slices.Index(t.hashes, h)
	if i < 0 || a.Index >= t.results[i].Count || !compute.Drawn(seed, h, a.Index, t.chance) {
		return nil
	}
	return &leaf{target: t, results: t.results[i], index: a.Index, called: true}
}
