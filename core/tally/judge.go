package tally

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"sort"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// maxSummary bounds what Verify leaves of one device for Cross, in bytes, and the line of a cell.
const maxSummary = 64 << 10

// effort is network-ordered work of one device in one class.
type effort struct {
	device  types.Key
	at      int // the category's place in the rules
	class   types.Class
	hex     types.Cell
	units   types.U128
	quality types.Bp
	weight  types.U128
}

// opening is an Opening with who reported it.
type opening struct {
	Opening
	device types.Key
	at     int
	item   int
}

// closing is a session that a category ends.
type closing struct {
	session  SessionKey
	device   types.Key
	category types.Category
}

// judge is step 3: each category's Verify, device by device.
func (r *run) judge() error {
	panels := make([]*Panel, len(r.rules.categories))
	for at := range panels {
		var err error
		if panels[at], err = NewPanel(r.rules.categories[at].Spec, r.base, r.frame.Seed); err != nil {
			return err
		}
	}
	return r.each(func(p *part) error {
		j := judge{run: r, part: p, inputs: make([]Input, len(r.rules.categories))}
		for at := range j.inputs {
			c := &r.rules.categories[at]
			j.inputs[at] = Input{
				Chain: r.frame.Chain, Epoch: r.frame.Epoch, Region: r.frame.Region, Seed: r.frame.Seed,
				Challenged: r.frame.Challenged, Time: r.frame.Time, Params: r.params[at],
				Registry: r.base, Panel: panels[at], Totals: r.base.CategoryTotals(c.id),
			}
		}
		return j.devices()
	})
}

// judge walks the devices of one part beside their items, reports and categories' lines.
type judge struct {
	*run
	*part
	inputs []Input // beside rules.categories; reused from device to device

	line    Line
	device  Device
	group   *group
	reports []report
	states  []state
	penalty types.Ustone
	quotas  uint64 // for how many quotas of each category the device's bond stands
	fresh   []mark // the part's marks with what Verify found
	items   []int  // of the input's Evidence, then Reports
	claims  []*claim
	asks    []int // of the input's Asks
}

// state is a category's line of a device.
type state struct {
	category types.Category
	raw      []byte
}

func (j *judge) devices() error {
	w := j.base.tables[deviceTable].walk(j.from, j.to)
	lines := j.base.tables[lineTable].walk(j.from, j.to)
	more := lines.next()
	groups := j.part.groups
	reports := j.run.reports[sort.Search(len(j.run.reports), func(i int) bool {
		return bytes.Compare(j.run.reports[i].device[:], j.from) >= 0
	}):]
	for w.next() {
		for len(groups) > 0 && bytes.Compare(groups[0].author[:], w.key) < 0 {
			groups = groups[1:]
		}
		j.group, j.reports, j.states = nil, nil, j.states[:0]
		if len(groups) > 0 && bytes.Equal(groups[0].author[:], w.key) {
			j.group = &groups[0]
		}
		n := 0
		for n < len(reports) && bytes.Equal(reports[n].device[:], w.key) {
			n++
		}
		j.reports, reports = reports[:n], reports[n:]
		for more && bytes.HasPrefix(lines.key, w.key) {
			j.states = append(j.states, state{types.Category(binary.BigEndian.Uint16(lines.key[32:])), lines.val})
			more = lines.next()
		}
		if j.group == nil && n == 0 && len(j.states) == 0 {
			continue
		}
		if err := j.line.parse(w.val); err != nil {
			return err
		}
		j.device = j.line.registered(types.Key(w.key))
		j.one()
	}
	j.marks = j.fresh
	return nil
}

// one judges one device, category by category.
func (j *judge) one() {
	j.penalty = j.marked(j.device.Key) // it equivocated
	j.quotas = j.run.quotas(&j.line)
	efforts := len(j.efforts)
	for at := range j.rules.categories {
		c := &j.rules.categories[at]
		var old []byte
		for i := range j.states {
			if j.states[i].category == c.id {
				old = j.states[i].raw
			}
		}
		if !j.line.serves(c.id) || j.line.Removed != 0 && j.frame.Epoch > j.line.Removed+c.Spec.ProofDelay {
			if old != nil {
				j.lines.remove(lineKey(nil, &j.device.Key, c.id))
			}
			continue
		}
		j.category(at, old)
	}
	if j.penalty != 0 {
		j.fresh = append(j.fresh, mark{j.device.Key, j.penalty})
	}
	if len(j.efforts) > efforts && !j.run.works(&j.line, j.penalty) {
		j.efforts = j.efforts[:efforts]
	}
}

// opened implements Input.Opened.
func (j *judge) opened(key *SessionKey, category types.Category) bool {
	if key.ID.Expiry() < j.prev.meta.Before {
		return true
	}
	s := j.base.Session(*key)
	return s != nil && s.Device == j.device.Key && s.Category == category
}

// marked returns a device's penalty of this epoch.
func (p *part) marked(device types.Key) types.Ustone {
	i, found := slices.BinarySearchFunc(p.marks, device, func(m mark, k types.Key) int { return bytes.Compare(m.device[:], k[:]) })
	if !found {
		return 0
	}
	return p.marks[i].amount
}

// works reports whether a device's network-ordered units count: it is registered, not suspended, and its bond,
// less what misconduct has cost, is at least half of what its categories demand.
func (r *run) works(l *Line, penalty types.Ustone) bool {
	if l.Removed != 0 || l.Suspended >= r.frame.Epoch {
		return false
	}
	return econ.Bonded(econ.EffectiveBond(l.Bond, plus(l.Penalty, penalty), l.Slashed), r.required(l))
}

// required is the bond that a device's categories demand for one quota of each.
func (r *run) required(l *Line) (sum types.Ustone) {
	for at := range r.params {
		if l.serves(r.params[at].Category) {
			sum = plus(sum, r.params[at].Bond)
		}
	}
	return sum
}

// quotas is for how many quotas of each of its categories a device's bond stands, as of the epoch's start: it
// can earn so many times as much, and a proof of misconduct costs so many times as much. It is at least 1;
// whether that one is bonded, works says.
func (r *run) quotas(l *Line) uint64 {
	required := r.required(l)
	if required == 0 {
		return 1
	}
	return max(1, uint64(econ.EffectiveBond(l.Bond, l.Penalty, l.Slashed)/required))
}

// plus returns a + b, or the greatest value where that does not fit.
func plus[T ~uint64](a, b T) T {
	sum, carry := bits.Add64(uint64(a), uint64(b), 0)
	if carry != 0 {
		return ^T(0)
	}
	return T(sum)
}

// times returns a · n, or the greatest value where that does not fit.
func times[T ~uint64](a T, n uint64) T {
	hi, lo := bits.Mul64(uint64(a), n)
	if hi != 0 {
		return ^T(0)
	}
	return T(lo)
}

// category runs one category's Verify on the device, if there is anything to judge.
func (j *judge) category(at int, old []byte) {
	c := &j.rules.categories[at]
	in := &j.inputs[at]
	in.Device, in.State = &j.device, old
	in.Opened = func(k SessionKey) bool { return j.opened(&k, c.id) }
	in.Evidence, in.Reports, in.Receipts, in.Asks = in.Evidence[:0], in.Reports[:0], in.Receipts[:0], in.Asks[:0]
	j.items, j.claims, j.asks = j.items[:0], j.claims[:0], j.asks[:0]
	if g := j.group; g != nil {
		for i := g.lo; i < g.hi && j.run.items[i].Type == Evidence; i++ {
			if e := j.run.items[i].body; j.stands(i) && e.(*evidence.Envelope).Category == c.id && !c.kind(e.(*evidence.Envelope).Kind).Witness {
				in.Evidence = append(in.Evidence, e.(*evidence.Envelope))
				j.items = append(j.items, i)
			}
		}
		for i := g.claims; i < g.toClaim; i++ {
			if cl := &j.part.claims[i]; int(cl.at) == at && !cl.dropped {
				in.Receipts = append(in.Receipts, &cl.ReceiptItem)
				j.claims = append(j.claims, cl)
			}
		}
		for _, a := range g.asks {
			if a.ask.Category == c.id {
				in.Asks = append(in.Asks, a.ask)
				j.asks = append(j.asks, a.item)
			}
		}
	}
	for _, rep := range j.reports {
		if e := j.run.items[rep.item].body.(*evidence.Envelope); e.Category == c.id {
			in.Reports = append(in.Reports, e)
			j.items = append(j.items, rep.item)
		}
	}
	if old == nil && len(in.Evidence)+len(in.Reports)+len(in.Receipts)+len(in.Asks) == 0 || j.line.Removed != 0 && len(in.Reports) == 0 {
		return
	}
	out := c.Verify(in)
	if out == nil || !c.sound(in, out) {
		j.disown(at)
		return
	}
	j.take(at, in, out)
}

// sound reports whether an output keeps to its bounds.
func (c *category) sound(in *Input, out *Output) bool {
	ok := (out.Evidence == nil || len(out.Evidence) == len(in.Evidence)) &&
		(out.Reports == nil || len(out.Reports) == len(in.Reports)) &&
		(out.Receipts == nil || len(out.Receipts) == len(in.Receipts)) &&
		(out.Asks == nil || len(out.Asks) == len(in.Asks)) &&
		len(out.State) <= c.Spec.MaxState && len(out.Totals) <= maxTotals && len(out.Summary) <= maxSummary &&
		out.Quality <= econ.Bps
	for i := range out.Ordered {
		ok = ok && c.class(out.Ordered[i].Class) != nil
	}
	for _, o := range out.Open {
		ok = ok && c.class(o.Class) != nil && o.Evidence >= 0 && o.Evidence < len(in.Evidence)
	}
	return ok
}

// disown drops what a Verify found that broke its bounds: the device's items are refused, its line stays.
func (j *judge) disown(at int) {
	for _, i := range j.items {
		j.refuse(i, types.EconRange)
	}
	for _, c := range j.claims {
		c.dropped = true
		j.refuse(c.item, types.EconRange)
	}
	for _, i := range j.asks {
		j.refuse(i, types.EconRange)
	}
	j.rows = append(j.rows, Summarized{Device: j.device.Key, Category: j.rules.categories[at].id})
}

// take takes over what a Verify found.
func (j *judge) take(at int, in *Input, out *Output) {
	c := &j.rules.categories[at]
	for i, item := range j.items {
		v, k := out.Evidence, i
		if i >= len(in.Evidence) {
			v, k = out.Reports, i-len(in.Evidence)
		}
		if v == nil || v[k].Reason == "" {
			continue
		}
		j.refuse(item, v[k].Reason)
		if v[k].Proof {
			j.proofs = append(j.proofs, item)
			j.penalty = plus(j.penalty, times(j.params[at].Penalty, j.quotas))
		}
	}
	for i, cl := range j.claims {
		if out.Receipts != nil && out.Receipts[i] != "" {
			cl.dropped = true
			j.refuse(cl.item, out.Receipts[i])
		}
	}
	for i, reason := range out.Asks {
		if reason != "" {
			j.refuse(j.asks[i], reason)
		}
	}
	key := lineKey(nil, &j.device.Key, c.id)
	if len(out.State) == 0 && in.State != nil {
		j.lines.remove(key)
	} else if len(out.State) > 0 && !bytes.Equal(out.State, in.State) {
		j.lines.set(key, out.State)
	}
	if j.line.Removed != 0 {
		return // only its misconduct counts
	}
	for _, open := range out.Open {
		item := j.items[open.Evidence]
		if j.line.Suspended >= j.frame.Epoch { // as by a receipt: sessions that are open go on, and no new one begins
			j.refuse(item, types.Suspended)
			continue
		}
		j.opens = append(j.opens, opening{open, j.device.Key, at, item})
	}
	for i := range out.Close {
		j.closes = append(j.closes, closing{out.Close[i], j.device.Key, c.id})
	}
	left := times(j.params[at].Quota, j.quotas)
	for _, o := range out.Ordered {
		j.effort(at, o.Class, o.Units, out.Quality, &left)
	}
	j.part.totals[at] = addTotals(j.part.totals[at], out.Totals)
	if c.Cross != nil && out.Summary != nil {
		d := j.device
		d.Categories = slices.Clone(d.Categories)
		j.summaries[at] = append(j.summaries[at], Summary{Device: &d, Summary: out.Summary})
	}
	j.rows = append(j.rows, Summarized{Device: j.device.Key, Category: c.id, Quality: out.Quality})
}

// effort records network-ordered units, at most what is left of the device's quotas.
func (j *judge) effort(at int, class types.Class, units types.U128, quality types.Bp, left *uint64) {
	n, fits := units.Uint64()
	if !fits || n > *left {
		n = *left
	}
	*left -= n
	if n > 0 && quality > 0 {
		j.efforts = append(j.efforts, effort{
			device: j.device.Key, at: at, class: class, units: types.U64(n), quality: quality, hex: j.hex(at, j.device.Cell),
		})
	}
}

// addTotals adds a device's sums; a sum that leaves its range stays at the greatest value.
func addTotals(sums, add []uint64) []uint64 {
	for len(sums) < len(add) {
		sums = append(sums, 0)
	}
	for i := range add {
		sums[i] = plus(sums[i], add[i])
	}
	return sums
}
