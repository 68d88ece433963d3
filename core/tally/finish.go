package tally

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// sums are what one part adds to the totals.
type sums struct {
	nodes   []merkle.Node // of the devices tree
	settled types.Credit
	penalty types.Ustone
	paid    []types.Credit // in this epoch, beside rules.categories
	weight  []types.U128
}

// finish writes the lines of devices and attesters, builds the trees and the header.
func (r *run) finish() error {
	if err := r.each(func(p *part) error { return (&liner{run: r, part: p}).devices() }); err != nil {
		return err
	}
	t := &r.next.tables
	devices, lines := make([]edits, len(r.parts)), make([]edits, len(r.parts))
	for k := range r.parts {
		devices[k], lines[k] = r.parts[k].devices, r.parts[k].lines
		r.parts[k].devices, r.parts[k].lines = edits{}, edits{}
	}
	t[deviceTable] = t[deviceTable].apply(r.Pool, deviceTable, devices)
	t[lineTable] = t[lineTable].apply(r.Pool, lineTable, lines)
	r.attesters()
	r.regionTotals()
	root, count, err := r.root()
	if err != nil {
		return err
	}
	totals, err := r.totals(types.Ustone(root.Sum))
	if err != nil {
		return err
	}
	r.next.meta = meta{Chain: r.frame.Chain, Region: r.frame.Region, Epoch: r.frame.Epoch, Before: r.prev.meta.Epoch, Totals: totals}
	r.next.seal(r.Pool)
	outputs := outputHashes(r.result.Outputs)
	f := r.frame
	r.header = &Header{
		Chain: f.Chain, Epoch: f.Epoch, Region: f.Region, Round: f.Round, Rules: r.rules.Version, Frame: f.Hash(),
		Previous: f.Previous, Batch: r.batch.Hash(), State: r.next.hash, Registry: HashChanges(r.changes),
		Devices: root, Count: count, Outputs: merkle.Root(outputs), OutCount: uint64(len(outputs)), Totals: totals,
		Leader: f.Leader, VRF: f.VRF,
	}
	r.report()
	return nil
}

// liner writes the lines of one part's devices.
type liner struct {
	*run
	*part
	line    Line
	val     []byte
	weights []econ.Weight
}

// devices walks the part's devices beside everything that was found about them.
func (l *liner) devices() error {
	l.sums.paid = make([]types.Credit, len(l.rules.categories))
	l.sums.weight = make([]types.U128, len(l.rules.categories))
	groups, marks, efforts, rows := l.groups, l.marks, l.efforts, l.rows
	fills := l.fills[sort.Search(len(l.fills), func(i int) bool { return bytes.Compare(l.fills[i].device[:], l.from) >= 0 }):]
	scratch := make([]byte, 0, 512)
	for w := l.base.tables[deviceTable].walk(l.from, l.to); w.next(); {
		if err := l.line.parse(w.val); err != nil {
			return err
		}
		key := types.Key(w.key)
		if err := l.settle(); err != nil {
			return fmt.Errorf("device %v: %w", key, err)
		}
		for len(groups) > 0 && bytes.Compare(groups[0].author[:], w.key) < 0 {
			groups = groups[1:]
		}
		n := 0
		for n < len(rows) && rows[n].Device == key {
			n++
		}
		mine := rows[:n]
		rows = rows[n:]
		if len(groups) > 0 && groups[0].author == key {
			l.group(&groups[0], mine)
		}
		for ; len(fills) > 0 && fills[0].device == key; fills = fills[1:] {
			l.pay(fills[0].at, fills[0].amount, mine)
		}
		for ; len(efforts) > 0 && efforts[0].device == key; efforts = efforts[1:] {
			l.weight(&efforts[0], mine)
		}
		if len(marks) > 0 && marks[0].device == key {
			before := l.line.Penalty
			l.line.Penalty = plus(before, marks[0].amount)
			l.sums.penalty = plus(l.sums.penalty, l.line.Penalty-before)
			marks = marks[1:]
		}
		if l.gone() {
			l.part.devices.remove(w.key)
			continue
		}
		l.val = l.line.append(l.val[:0])
		if !bytes.Equal(l.val, w.val) {
			l.part.devices.set(w.key, l.val)
		}
		l.sums.nodes = append(l.sums.nodes, leafNode(&key, &l.line, scratch))
	}
	return nil
}

// settle is step 1: the device's share of what the chain settled and emitted for the header before. The weights
// of that header have then served their purpose.
func (l *liner) settle() error {
	if l.fold != nil {
		l.weights = l.weights[:0]
		for i := range l.line.Shares {
			if s := &l.line.Shares[i]; !s.Weight.IsZero() {
				l.weights = append(l.weights, econ.Weight{Category: s.Category, Weight: s.Weight})
			}
		}
		settled, amount, err := l.fold.Device(l.line.Paid()-l.line.Settled, l.weights)
		if err != nil {
			return err
		}
		l.line.Settled += settled // at most what was paid
		if l.line.Amount += amount; l.line.Amount < amount {
			return types.EconRange
		}
		l.sums.settled += settled
	}
	for i := range l.line.Shares {
		l.line.Shares[i].Weight = types.U128{}
	}
	return nil
}

// group takes over what became of the device's own items.
func (l *liner) group(g *group, rows []Summarized) {
	if g.moved {
		l.line.Seq, l.line.Last = g.seq, g.last
	}
	for i := g.claims; i < g.toClaim; i++ {
		if c := &l.claims[i]; !c.dropped {
			l.pay(int(c.at), c.amount, rows)
		}
	}
	for i := g.lo; i < g.hi; i++ {
		for k := range rows {
			if rows[k].Category != l.items[i].category() {
				continue
			}
			if l.stands(i) {
				rows[k].Counted++
			} else {
				rows[k].Refused++
			}
		}
	}
}

// pay adds what the device is paid now.
func (l *liner) pay(at int, amount types.Credit, rows []Summarized) {
	id := l.rules.categories[at].id
	if amount > 0 {
		l.line.share(id).Paid += amount // at most what was bought, which fits
		l.sums.paid[at] += amount
	}
	for i := range rows {
		if rows[i].Category == id {
			rows[i].Paid += amount
		}
	}
}

// weight adds network-ordered work.
func (l *liner) weight(e *effort, rows []Summarized) {
	s := l.line.share(l.rules.categories[e.at].id)
	s.Weight, _ = s.Weight.Add(e.weight) // weights of 2²⁴ efforts fit
	l.sums.weight[e.at], _ = l.sums.weight[e.at].Add(e.weight)
	for i := range rows {
		if rows[i].Category == s.Category {
			rows[i].Ordered, _ = rows[i].Ordered.Add(e.units)
			rows[i].Weight, _ = rows[i].Weight.Add(e.weight)
		}
	}
}

// gone reports whether a device that left has nothing that anybody could still ask for. While it left a bond
// behind, its leaf has to show what of it is forfeit: without one the bond could never be given back.
func (l *liner) gone() bool {
	if l.line.Removed == 0 || l.line.Bond != 0 || l.line.Amount != 0 || l.line.Penalty != 0 || l.line.Paid() != 0 {
		return false
	}
	for _, s := range l.line.Shares {
		if !s.Weight.IsZero() {
			return false
		}
	}
	delay := types.Epoch(0)
	for i := range l.rules.categories {
		delay = max(delay, l.rules.categories[i].Spec.ProofDelay)
	}
	return l.frame.Epoch > l.line.Removed+delay
}

// attesters writes the numbers of attesters' reports.
func (r *run) attesters() {
	var e edits
	for k := range r.parts {
		for i := range r.parts[k].groups {
			g := &r.parts[k].groups[i]
			if !g.moved || r.base.tables[deviceTable].get(g.author[:]) != nil {
				continue
			}
			if a := r.base.attester(g.author); a != nil {
				a.Seq, a.Last = g.seq, g.last
				e.set(g.author[:], a.append(nil))
			}
		}
	}
	t := &r.next.tables
	t[attesterTable] = t[attesterTable].apply(r.Pool, attesterTable, []edits{e})
}

// regionTotals writes the categories' sums over the region.
func (r *run) regionTotals() {
	var e edits
	for at := range r.rules.categories {
		var all []uint64
		for k := range r.parts {
			all = addTotals(all, r.parts[k].totals[at])
		}
		key := totalKey(r.rules.categories[at].id)
		if len(all) > 0 {
			e.set(key, appendTotals(nil, all))
		} else {
			e.remove(key)
		}
	}
	t := &r.next.tables
	t[totalTable] = t[totalTable].apply(r.Pool, totalTable, []edits{e})
}

// root builds the devices tree: the roots of ranges of equal length, and the root over them.
func (r *run) root() (merkle.Node, uint64, error) {
	var nodes []merkle.Node
	for k := range r.parts {
		nodes = append(nodes, r.parts[k].sums.nodes...)
		r.parts[k].sums.nodes = nil
	}
	const size = 1 << 12
	roots, errs := make([]merkle.Node, (len(nodes)+size-1)/size), make([]error, (len(nodes)+size-1)/size)
	r.run(len(roots), func(i int) {
		roots[i], errs[i] = merkle.SumRoot(nodes[i*size : min((i+1)*size, len(nodes))])
	})
	if err := first(errs); err != nil {
		return merkle.Node{}, 0, err
	}
	root, err := merkle.SumRoot(roots)
	return root, uint64(len(nodes)), err
}

// totals adds up the region.
func (r *run) totals(amount types.Ustone) (Totals, error) {
	t := r.prev.meta.Totals
	t.Amount = amount
	t.Categories = nil
	t.Counted, t.Refused = 0, 0
	for _, reason := range r.result.Reasons {
		if reason == "" {
			t.Counted++
		} else {
			t.Refused++
		}
	}
	var paid types.Credit
	for at := range r.rules.categories {
		c := CategoryTotal{Category: r.rules.categories[at].id}
		for _, old := range r.prev.meta.Totals.Categories {
			if old.Category == c.Category {
				c.Paid = old.Paid
			}
		}
		for k := range r.parts {
			s := &r.parts[k].sums
			c.Paid += s.paid[at]
			paid += s.paid[at]
			c.Weight, _ = c.Weight.Add(s.weight[at])
		}
		if c.Paid != 0 || !c.Weight.IsZero() {
			t.Categories = append(t.Categories, c)
		}
	}
	for _, old := range r.prev.meta.Totals.Categories {
		if r.rules.find(old.Category) < 0 { // the rules dropped it: what was paid stays paid
			old.Weight = types.U128{}
			t.Categories = append(t.Categories, old)
		}
	}
	slices.SortFunc(t.Categories, func(a, b CategoryTotal) int { return int(a.Category) - int(b.Category) })
	for k := range r.parts {
		t.Settled += r.parts[k].sums.settled
		t.Penalty = plus(t.Penalty, r.parts[k].sums.penalty)
	}
	if t.Spent += r.spent; paid != r.spent || t.Spent < r.spent {
		return t, fmt.Errorf("accounts spent %d and devices were paid %d", r.spent, paid)
	}
	if amount < r.prev.meta.Totals.Amount {
		return t, errors.New("the sum of amounts falls")
	}
	return t, nil
}

// category returns the category that an item names, 0 if it does not decode.
func (o *opened) category() types.Category {
	switch b := o.body.(type) {
	case *evidence.Envelope:
		return b.Category
	case *receipt.Receipt:
		return b.Category
	case *receipt.Order:
		return b.Category
	case *receipt.Ask:
		return b.Category
	}
	return 0
}

// report fills in the result: the refusals, in the order of the batch, and the devices' epoch.
func (r *run) report() {
	proofs, rests := map[int]bool{}, map[int]*claim{}
	for k := range r.parts {
		p := &r.parts[k]
		for _, i := range p.proofs {
			proofs[i] = true
		}
		for i := range p.claims {
			if c := &p.claims[i]; c.short != "" && !c.dropped {
				rests[c.item] = c
			}
		}
		r.result.Devices = append(r.result.Devices, p.rows...)
	}
	subjects := map[int]types.Key{}
	for _, rep := range r.reports {
		if !r.stands(rep.item) {
			subjects[rep.item] = rep.device
		}
	}
	for i := range r.items {
		o := &r.items[i]
		rest := rests[i]
		if r.stands(i) && rest == nil {
			continue
		}
		j := Rejection{
			Item: o.Hash, Type: o.Type, Author: o.Author, Device: o.Author, Category: o.category(), Reason: r.result.Reasons[i],
			Proof: proofs[i],
		}
		if rest != nil {
			j.Reason, j.Rest = rest.short, rest.asked()-rest.amount
		}
		if o.Type == Order {
			j.Device = types.Key{}
		}
		if device, ok := subjects[i]; ok {
			j.Device = device
		}
		r.result.Rejections = append(r.result.Rejections, j)
	}
	r.result.Rejections = append(r.result.Rejections, r.pushed...)
}
