package tally

import (
	"bytes"
	"slices"
	"sort"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// What one author may hand in during one epoch beside evidence, whose quota its category says.
const (
	MaxReceipts = 4096 // of a device in one category: sessions of which one may count
	MaxAsks     = 64   // of a device in one category
	MaxNewOrder = 128  // of a payer: those that may count
)

// report is a witness's evidence, on its way to the device that it names.
type report struct {
	device types.Key
	item   int
}

// mark is a penalty of one device.
type mark struct {
	device types.Key
	amount types.Ustone
}

// check is step 2: every item by itself and beside its author's others. An item that nothing is found against stands.
func (r *run) check() error {
	err := r.each(func(p *part) error {
		n := 0
		for i := p.lo; i < p.hi; i++ {
			if r.items[i].Type == Receipt {
				n++
			}
		}
		p.claims = make([]claim, 0, n)
		devices := r.base.tables[deviceTable].walk(p.from, p.to)
		var line Line
		for lo := p.lo; lo < p.hi; {
			hi := lo + 1
			for hi < p.hi && r.items[hi].Author == r.items[lo].Author {
				hi++
			}
			var known *Line
			if devices.find(r.items[lo].Author[:]) {
				if known = &line; line.parse(devices.val) != nil || line.Removed != 0 {
					known = nil
				}
			}
			r.author(p, lo, hi, known)
			lo = hi
		}
		return nil
	})
	for k := range r.parts {
		r.reports = append(r.reports, r.parts[k].reports...)
		r.parts[k].reports = nil
	}
	slices.SortStableFunc(r.reports, func(a, b report) int {
		if c := bytes.Compare(a.device[:], b.device[:]); c != 0 {
			return c
		}
		return a.item - b.item // items are sorted by author and number
	})
	return err
}

// author checks one author's items, lo to hi. line is nil if the author is no registered device.
func (r *run) author(p *part, lo, hi int, line *Line) {
	for i := lo; i < hi; i++ {
		if r.items[i].reason != "" {
			r.refuse(i, r.items[i].reason)
		} else if !r.signed[i] {
			r.refuse(i, types.BadSignature)
		}
	}
	key := r.items[lo].Author
	g := group{author: key, lo: lo, hi: hi, claims: len(p.claims)}
	var att *attester
	if line == nil {
		att = r.base.attester(key)
	}
	for i := lo; i < hi; i++ {
		if r.stands(i) && r.items[i].Type != Order && line == nil && (att == nil || r.items[i].Type != Evidence) {
			r.refuse(i, types.UnknownAuthor)
		}
	}
	switch {
	case line != nil:
		g.seq, g.last = line.Seq, line.Last
	case att != nil:
		g.seq, g.last = att.Seq, att.Last
	}
	r.evidence(p, &g, line)
	if g.equivocated && line != nil {
		amount := econ.EquivocationPenalty(line.Bond, line.Penalty, line.Slashed)
		p.marks = append(p.marks, mark{key, amount})
	}
	if line != nil {
		r.asks(p, &g, line)
		r.receipts(p, &g, line)
	}
	for i, n := lo, 0; i < hi; i++ {
		if r.items[i].Type == Order && r.stands(i) {
			o := r.items[i].body.(*receipt.Order)
			if o.Region != r.frame.Region { // anybody can hand it in here, so it uses up no quota
				r.refuse(i, types.WrongRegion)
				continue
			}
			if !r.overtaken(o) { // anybody can hand in an old order
				n++
			}
			if n > MaxNewOrder {
				r.refuse(i, types.OverQuota)
				continue
			}
			p.orders = append(p.orders, i)
		}
	}
	g.toClaim = len(p.claims)
	p.groups = append(p.groups, g)
}

// overtaken reports whether an order cannot count whatever else there is: it is over, or the state has one as new.
func (r *run) overtaken(o *receipt.Order) bool {
	old := r.base.Order(SessionKey{Payer: o.Payer, ID: o.Session})
	return o.Session.Expiry() <= r.frame.Epoch || old != nil && o.Seq <= old.Seq
}

// evidence checks an author's envelopes. line is nil for an attester.
func (r *run) evidence(p *part, g *group, line *Line) {
	for i := g.lo; i < g.hi && r.items[i].Type == Evidence; i++ {
		if r.stands(i) {
			r.refuse(i, r.envelope(r.items[i].body.(*evidence.Envelope), line, g))
		}
	}
	r.equivocation(p, g)
	var own, witnessed [maxCategories]Quota // used
	for i := g.lo; i < g.hi && r.items[i].Type == Evidence; i++ {
		if !r.stands(i) {
			continue
		}
		e := r.items[i].body.(*evidence.Envelope)
		at := r.rules.find(e.Category)
		c := &r.rules.categories[at]
		quota, u := c.Spec.Quota, &own[at]
		if c.kind(e.Kind).Witness {
			quota, u = c.Spec.Reports(), &witnessed[at]
		}
		if u.Count+1 > quota.Count || uint64(u.Bytes)+uint64(len(e.Raw)) > uint64(quota.Bytes) {
			r.refuse(i, types.OverQuota)
			*u = quota // lowest numbers first: nothing after it counts either
			u.Count = quota.Count
			continue
		}
		u.Count, u.Bytes = u.Count+1, u.Bytes+uint32(len(e.Raw))
		if c.kind(e.Kind).Witness {
			device, err := c.Subject(e)
			if err != nil || !r.watched(device, c) {
				r.refuse(i, types.UnknownCategory)
				continue
			}
			p.reports = append(p.reports, report{device, i})
		}
		g.moved, g.seq, g.last = true, e.Seq, e.Hash
	}
}

// watched reports whether a device can be the subject of a report: it is registered for the category, or left
// so recently that a proof of misconduct may still come.
func (r *run) watched(device types.Key, c *category) bool {
	l := r.base.Line(device)
	return l != nil && l.serves(c.id) && (l.Removed == 0 || r.frame.Epoch <= l.Removed+c.Spec.ProofDelay)
}

// envelope returns what is wrong with an envelope by itself, or "".
func (r *run) envelope(e *evidence.Envelope, line *Line, g *group) types.Reason {
	at := r.rules.find(e.Category)
	if at < 0 {
		return types.UnknownCategory
	}
	kind := r.rules.categories[at].kind(e.Kind)
	switch {
	case kind == nil || kind.Witness && r.rules.categories[at].Subject == nil:
		return types.UnknownKind
	case line != nil && !line.serves(e.Category), line == nil && !kind.Witness:
		return types.UnknownCategory
	case e.Epoch > r.frame.Epoch, e.Epoch < r.frame.Epoch && !kind.Cumulative, e.Epoch <= r.frame.PreviousEpoch:
		return types.WrongEpoch
	case !r.anchored(e):
		return types.BadAnchor
	case e.Seq < g.seq, e.Seq == g.seq && (g.last.IsZero() || e.Hash == g.last):
		return types.StaleSeq
	}
	return ""
}

// anchored reports whether an envelope names a block of the frame. One of a skipped epoch may name an older
// block than the frame holds: those who acknowledged it have seen to that.
func (r *run) anchored(e *evidence.Envelope) bool {
	blocks := r.frame.Blocks
	i := sort.Search(len(blocks), func(i int) bool { return blocks[i].Height >= e.Anchor.Height })
	if i == len(blocks) || blocks[i].Height != e.Anchor.Height {
		return i == 0 && len(blocks) > 0 && e.Epoch < r.frame.Epoch
	}
	return bytes.Equal(blocks[i].Hash[:16], e.Anchor.Hash[:])
}

// equivocation looks for envelopes of one number and different hashes, also against the newest one of an
// earlier epoch. Where it finds some, nothing of the author counts; the two lowest conflicting hashes are the
// proof.
func (r *run) equivocation(p *part, g *group) {
	var last int // the item before that stands
	first := -1
	highest := g.seq
	for i := g.lo; i < g.hi && r.items[i].Type == Evidence; i++ {
		if !r.stands(i) {
			continue
		}
		seq := r.items[i].Seq
		if first < 0 && seq == g.seq && !g.last.IsZero() {
			g.equivocated = true
			p.proofs = append(p.proofs, i) // the other one is in an earlier batch: the state holds its hash
		} else if first >= 0 && r.items[last].Seq == seq && !g.equivocated {
			g.equivocated = true
			p.proofs = append(p.proofs, last, i)
		}
		first, last, highest = 0, i, seq
	}
	if !g.equivocated {
		return
	}
	for i := g.lo; i < g.hi; i++ {
		if r.stands(i) && r.items[i].Type != Order {
			r.refuse(i, types.Equivocation)
		}
	}
	g.moved, g.seq, g.last = true, highest, types.Hash{}
}

// attester returns an attestation key's line, or nil for one that the registry does not list.
func (s *State) attester(key types.Key) *attester {
	a := new(attester)
	if raw := s.tables[attesterTable].get(key[:]); raw == nil || a.parse(raw) != nil || a.Power == 0 {
		return nil
	}
	return a
}

// kind returns a kind of the category's evidence, or nil.
func (c *category) kind(id evidence.Kind) *Kind {
	for i := range c.Spec.Kinds {
		if c.Spec.Kinds[i].Kind == id {
			return &c.Spec.Kinds[i]
		}
	}
	return nil
}

// askItem is an ask that stands.
type askItem struct {
	ask  *receipt.Ask
	hash types.Hash
	item int
}

// asks checks a device's asks.
func (r *run) asks(p *part, g *group, line *Line) {
	var used [maxCategories]int
	for i := g.lo; i < g.hi; i++ {
		if r.items[i].Type != Ask || !r.stands(i) {
			continue
		}
		ask := r.items[i].body.(*receipt.Ask)
		at := r.rules.find(ask.Category)
		switch {
		case at < 0 || !line.serves(ask.Category):
			r.refuse(i, types.UnknownCategory)
		case r.rules.categories[at].class(ask.Class) == nil:
			r.refuse(i, types.UnknownClass)
		case used[at] == MaxAsks:
			r.refuse(i, types.OverQuota)
		default:
			used[at]++
			g.asks = append(g.asks, &askItem{ask, ask.Hash(), i})
		}
	}
	slices.SortFunc(g.asks, func(a, b *askItem) int { return bytes.Compare(a.hash[:], b.hash[:]) })
}
