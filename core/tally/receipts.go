package tally

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// claim is a receipt that stands, on its way through Verify and the budget.
type claim struct {
	ReceiptItem
	item    int
	at      int // its category's place in the rules
	dropped bool

	units  types.U128   // honoured now
	amount types.Credit // honoured now
	short  types.Reason // why amount is less than what is asked; "" if it is not
}

func (c *claim) session() SessionKey {
	return SessionKey{Payer: c.Receipt.Payer, ID: c.Receipt.Session}
}

// asked returns by how much the receipt's total exceeds what the session has been paid.
func (c *claim) asked() types.Credit { return c.Receipt.Amount - c.Amount }

// compareSession orders claims by payer and session.
func (c *claim) compareSession(d *claim) int {
	if n := bytes.Compare(c.Receipt.Payer[:], d.Receipt.Payer[:]); n != 0 {
		return n
	}
	return bytes.Compare(c.Receipt.Session[:], d.Receipt.Session[:])
}

// receipts checks the receipts that a device countersigned. Of one session the largest amount counts.
func (r *run) receipts(p *part, g *group, line *Line) {
	var used [maxCategories]int
	start := len(p.claims)
	for i := g.lo; i < g.hi; i++ {
		if r.items[i].Type != Receipt || !r.stands(i) {
			continue
		}
		c := claim{item: i}
		c.Receipt = r.items[i].body.(*receipt.Receipt)
		reason := r.receipt(&c, g, line)
		if reason == "" {
			if used[c.at]++; used[c.at] > MaxReceipts {
				reason = types.OverQuota
			}
		}
		if reason != "" {
			r.refuse(i, reason)
			continue
		}
		p.claims = append(p.claims, c)
	}
	mine := p.claims[start:]
	slices.SortFunc(mine, func(a, b claim) int {
		if n := cmp.Compare(a.at, b.at); n != 0 {
			return n
		}
		if n := a.compareSession(&b); n != 0 {
			return n
		}
		return cmp.Or(cmp.Compare(b.Receipt.Amount, a.Receipt.Amount), b.Receipt.Units.Cmp(a.Receipt.Units), a.item-b.item)
	})
	kept := mine[:0]
	for i := range mine {
		if n := len(kept); n > 0 && kept[n-1].at == mine[i].at && kept[n-1].compareSession(&mine[i]) == 0 {
			r.refuse(mine[i].item, types.Superseded)
			continue
		}
		kept = append(kept, mine[i])
	}
	p.claims = p.claims[:start+len(kept)]
}

// receipt returns what is wrong with a receipt by itself, or "" and the claim filled in.
func (r *run) receipt(c *claim, g *group, line *Line) types.Reason {
	rc := c.Receipt
	c.at = r.rules.find(rc.Category)
	if c.at < 0 || !line.serves(rc.Category) {
		return types.UnknownCategory
	}
	if rc.First > r.frame.Epoch {
		return types.WrongEpoch
	}
	key := r.base.Key(rc.Payer)
	switch {
	case key == nil:
		return types.UnknownKey
	case key.Expiry < r.prev.meta.Before:
		return types.KeyExpired
	case rc.Session.Expiry() < r.prev.meta.Before:
		return types.SessionExpired
	}
	c.Account = key.Account
	if reason := r.attach(c, g, line); reason != "" {
		return reason
	}
	class := r.rules.categories[c.at].class(c.Class)
	if class == nil {
		return types.UnknownClass
	}
	// A bound beyond 128 bits is above every amount.
	if bound, err := rc.Units.MulDiv(c.Price, class.Scale); err == nil && bound.Cmp(types.U64(uint64(rc.Amount))) < 0 {
		return types.OverPrice
	}
	return ""
}

// attach finds the receipt's session, or the ask under which it opens one.
func (r *run) attach(c *claim, g *group, line *Line) types.Reason {
	rc := c.Receipt
	var buf [48]byte
	session := c.session()
	key := sessionKey(buf[:0], &session)
	if raw := r.base.tables[sessionTable].get(key); raw != nil {
		var s Session
		if err := s.parse(raw); err != nil {
			return types.EconRange // not reached: states are checked when they are read
		}
		switch {
		case s.Device != rc.Device || s.Category != rc.Category || s.Terms != rc.Terms:
			return types.SessionMismatch
		case s.Closed:
			return types.SessionClosed
		case rc.Amount < s.Amount || rc.Units.Cmp(s.Units) < 0:
			return types.FallingTotals
		case rc.Seq < s.Seq || rc.Amount == s.Amount && rc.Units == s.Units:
			return types.StaleSeq
		}
		c.Class, c.Price, c.Units, c.Amount, c.Opened = s.Class, s.Price, s.Units, s.Amount, true
		return ""
	}
	if r.base.tables[orderTable].get(key) != nil {
		return types.SessionMismatch
	}
	i, ok := slices.BinarySearchFunc(g.asks, rc.Terms, func(a *askItem, h types.Hash) int { return bytes.Compare(a.hash[:], h[:]) })
	switch {
	case line.Suspended >= r.frame.Epoch:
		return types.Suspended
	case rc.Amount < r.frame.MinOpening || rc.Amount == 0:
		return types.SessionOpening
	case rc.Session.Expiry() > r.frame.Epoch+receipt.MaxExpiry:
		return types.WrongEpoch
	case !ok || g.asks[i].ask.Category != rc.Category || rc.First > g.asks[i].ask.Until:
		return types.UnknownAsk
	}
	c.Class, c.Price = g.asks[i].ask.Class, g.asks[i].ask.Price
	return ""
}

// contest settles sessions that receipts of several devices would open: the largest amount has it, then the lowest device.
func (r *run) contest() error {
	if len(r.parts) == 0 {
		return nil
	}
	r.deal(func(c *claim) bool { return !c.Opened })
	r.run(len(r.buckets), func(k int) {
		list := r.buckets[k].claims
		for i := 0; i < len(list); {
			best, j := list[i], i+1
			for ; j < len(list) && list[j].compareSession(list[i]) == 0; j++ {
				if list[j].Receipt.Amount > best.Receipt.Amount {
					best = list[j] // of equal amounts the first: items are sorted by device
				}
			}
			for ; i < j; i++ {
				if list[i] != best {
					list[i].dropped = true
					r.refuse(list[i].item, types.SessionMismatch)
				}
			}
		}
	})
	return nil
}

// bucket is a range of payers, with the claims on them by payer, session and item.
type bucket struct {
	from   []byte
	claims []*claim
	keys   []keyGroup
	edits  edits // of sessions
	spent  edits // of keys
}

// deal sorts the claims that stand and pass keep into buckets by payer.
func (r *run) deal(keep func(*claim) bool) {
	n := len(r.parts)
	of := func(c *claim) int { return (int(c.Receipt.Payer[0])<<8 | int(c.Receipt.Payer[1])) * n >> 16 }
	dealt := make([][][]*claim, n)
	r.run(n, func(k int) {
		dealt[k] = make([][]*claim, n)
		p := &r.parts[k]
		for i := range p.claims {
			if c := &p.claims[i]; !c.dropped && keep(c) {
				dealt[k][of(c)] = append(dealt[k][of(c)], c)
			}
		}
	})
	r.buckets = make([]bucket, n)
	r.run(n, func(b int) {
		bk := &r.buckets[b]
		if b > 0 {
			// The first payer of the bucket: the least x with x·n >> 16 = b.
			x := (b<<16 + n - 1) / n
			bk.from = []byte{byte(x >> 8), byte(x)}
		}
		for k := range dealt {
			bk.claims = append(bk.claims, dealt[k][b]...)
		}
		slices.SortFunc(bk.claims, func(x, y *claim) int {
			if c := x.compareSession(y); c != 0 {
				return c
			}
			return x.item - y.item
		})
	})
}
