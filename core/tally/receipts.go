package tally

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// claim is a receipt that stands, on its way through Verify and the budget.
type claim struct {
	ReceiptItem
	item    int
	at      int16 // its category's place in the rules
	dropped bool
	ask     *askItem     // the ask that it names, if the device handed it in
	until   types.Epoch  // the device is suspended up to and including this epoch
	units   types.U128   // honoured now
	amount  types.Credit // honoured now
	short   types.Reason // why amount is less than what is asked; "" if it is not
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

// receipts checks the receipts that a device countersigned, as far as that can be done beside the device.
func (r *run) receipts(p *part, g *group, line *Line) {
	start := len(p.claims)
	for i := g.lo; i < g.hi; i++ {
		if r.items[i].Type != Receipt || !r.stands(i) {
			continue
		}
		c := claim{item: i, until: line.Suspended}
		c.Receipt = r.items[i].body.(*receipt.Receipt)
		at := r.rules.find(c.Receipt.Category)
		switch {
		case at < 0 || !line.serves(c.Receipt.Category):
			r.refuse(i, types.UnknownCategory)
			continue
		case c.Receipt.First > r.frame.Epoch:
			r.refuse(i, types.WrongEpoch)
			continue
		}
		c.at = int16(at)
		terms := &c.Receipt.Terms
		if k, ok := slices.BinarySearchFunc(g.asks, terms, func(a *askItem, h *types.Hash) int { return bytes.Compare(a.hash[:], h[:]) }); ok {
			c.ask = g.asks[k]
		}
		p.claims = append(p.claims, c)
	}
	slices.SortFunc(p.claims[start:], func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.at, b.at), a.compareSession(&b), a.item-b.item)
	})
	p.claims = r.within(p.claims, start)
}

// within keeps a device's claims, from start on and sorted, to the quota of each category. What cannot count
// uses up none of it, and the receipts of one session count once: else whoever hands in old copies, which
// anybody finds in old batches, would push out what is new.
func (r *run) within(claims []claim, start int) []claim {
	kept := claims[:start]
	for mine := claims[start:]; len(mine) > 0; {
		n := 1
		for n < len(mine) && mine[n].at == mine[0].at {
			n++
		}
		category := mine[:n]
		if mine = mine[n:]; n <= MaxReceipts {
			kept = append(kept, category...)
			continue
		}
		sessions := 0
		for len(category) > 0 {
			n := 1
			for n < len(category) && category[n].compareSession(&category[0]) == 0 {
				n++
			}
			if r.mayCount(category[:n]) {
				sessions++
			}
			for i := range category[:n] {
				if c := &category[i]; sessions > MaxReceipts {
					r.refuse(c.item, types.OverQuota)
				} else {
					kept = append(kept, *c)
				}
			}
			category = category[n:]
		}
	}
	return kept
}

// mayCount reports whether one of the receipts of a session may count, as far as the state and the device's
// asks tell.
func (r *run) mayCount(claims []claim) bool {
	s := r.base.Session(claims[0].session())
	if claims[0].Receipt.Session.Expiry() < r.prev.meta.Before || s != nil && s.Closed {
		return false
	}
	for i := range claims {
		if c := &claims[i]; s == nil && c.ask != nil || s != nil && !s.has(c.Receipt) {
			return true
		}
	}
	return false
}

// has reports whether nothing in a receipt is above what counted of the session.
func (s *Session) has(rc *receipt.Receipt) bool {
	return rc.Seq <= s.Seq && rc.Amount <= s.Amount && rc.Units.Cmp(s.Units) <= 0
}

// attach finds each receipt's key and session, payer by payer: beside the tables of keys and sessions, which
// are sorted alike. Of one session the largest amount counts.
func (r *run) attach() error {
	r.deal()
	errs := make([]error, len(r.buckets))
	r.run(len(r.buckets), func(b int) { errs[b] = r.attachBucket(&r.buckets[b]) })
	return first(errs)
}

func (r *run) attachBucket(b *bucket) error {
	keys := r.base.tables[keyTable].walk(b.from, b.to)
	sessions := r.base.tables[sessionTable].walk(b.from, b.to)
	orders := r.base.tables[orderTable].walk(b.from, b.to)
	var id [48]byte
	for list := b.claims; len(list) > 0; {
		n := 1
		for n < len(list) && list[n].Receipt.Payer == list[0].Receipt.Payer {
			n++
		}
		g := keyGroup{key: list[0].Receipt.Payer, claims: list[:n]}
		known := keys.find(g.key[:])
		if known {
			if err := g.state.parse(keys.val); err != nil {
				return fmt.Errorf("key %v: %w", g.key, err)
			}
		}
		for mine := g.claims; len(mine) > 0; {
			n := 1
			for n < len(mine) && mine[n].Receipt.Session == mine[0].Receipt.Session {
				n++
			}
			session := mine[0].session()
			key := sessionKey(id[:0], &session)
			var s *Session
			if sessions.find(key) {
				s = &b.session
				if err := s.parse(sessions.val); err != nil {
					return fmt.Errorf("session %x: %w", key, err)
				}
			}
			ordered := orders.find(key)
			for _, c := range mine[:n] {
				reason := types.UnknownKey
				if known {
					reason = r.receipt(c, &g.state, s, ordered)
				}
				if reason != "" {
					c.dropped = true
					r.refuse(c.item, reason)
				}
			}
			r.contest(mine[:n])
			mine = mine[n:]
		}
		if known {
			b.keys = append(b.keys, g)
		}
		list = list[n:]
	}
	return nil
}

// receipt returns what is wrong with a receipt of a key and, if it is known, a session, or "" and the claim
// filled in.
func (r *run) receipt(c *claim, key *KeyState, s *Session, ordered bool) types.Reason {
	rc := c.Receipt
	switch {
	case key.Expiry < r.prev.meta.Before:
		return types.KeyExpired
	case rc.Session.Expiry() < r.prev.meta.Before:
		return types.SessionExpired
	}
	c.Account = key.Account
	switch {
	case s == nil && ordered:
		return types.SessionMismatch
	case s == nil && c.until >= r.frame.Epoch:
		return types.Suspended
	case s == nil && (rc.Amount < r.frame.MinOpening || rc.Amount == 0):
		return types.SessionOpening
	case s == nil && rc.Session.Expiry() > r.frame.Epoch+receipt.MaxExpiry:
		return types.WrongEpoch
	case s == nil && (c.ask == nil || c.ask.ask.Category != rc.Category || rc.First > c.ask.ask.Until):
		return types.UnknownAsk
	case s == nil:
		c.Class, c.Price = c.ask.ask.Class, c.ask.ask.Price
	case s.Device != rc.Device || s.Category != rc.Category || s.Terms != rc.Terms:
		return types.SessionMismatch
	case s.Closed:
		return types.SessionClosed
	case s.has(rc):
		return types.Superseded // an old copy: whoever hands in until enough acknowledge it may well be heard twice
	case rc.Amount < s.Amount || rc.Units.Cmp(s.Units) < 0:
		return types.FallingTotals
	case rc.Seq < s.Seq || rc.Amount == s.Amount && rc.Units == s.Units:
		return types.StaleSeq
	default:
		c.Class, c.Price, c.Units, c.Amount, c.Opened = s.Class, s.Price, s.Units, s.Amount, true
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

// contest leaves one claim of a session: the largest amount has it, then the most units, then the first in the
// batch. What the same device handed in beside it is superseded; another device cannot open the session, too.
func (r *run) contest(claims []*claim) {
	var best *claim
	for _, c := range claims {
		if !c.dropped && (best == nil || cmp.Or(cmp.Compare(c.Receipt.Amount, best.Receipt.Amount), c.Receipt.Units.Cmp(best.Receipt.Units)) > 0) {
			best = c
		}
	}
	for _, c := range claims {
		if c.dropped || c == best {
			continue
		}
		c.dropped = true
		if c.Receipt.Device == best.Receipt.Device && c.Receipt.Category == best.Receipt.Category {
			r.refuse(c.item, types.Superseded)
		} else {
			r.refuse(c.item, types.SessionMismatch)
		}
	}
}

// bucket is a range of payers, with the claims on them by payer, session and item.
type bucket struct {
	from, to []byte // keys; nil for the ends
	claims   []*claim
	keys     []keyGroup
	session  Session // scratch
	edits    edits   // of sessions
	spent    edits   // of keys
}

// ranked is a claim with the beginning of its payer's key: most comparisons need no look at the claim, which
// lies elsewhere.
type ranked struct {
	payer uint64
	claim *claim
}

func (a ranked) compare(b ranked) int {
	if a.payer != b.payer {
		return cmp.Compare(a.payer, b.payer)
	}
	return cmp.Or(a.claim.compareSession(b.claim), a.claim.item-b.claim.item)
}

// deal sorts the claims into buckets by payer.
func (r *run) deal() {
	n := len(r.parts)
	of := func(c *claim) int { return (int(c.Receipt.Payer[0])<<8 | int(c.Receipt.Payer[1])) * n >> 16 }
	dealt := make([][][]ranked, n)
	r.run(n, func(k int) {
		dealt[k] = make([][]ranked, n)
		p := &r.parts[k]
		for b := range dealt[k] {
			dealt[k][b] = make([]ranked, 0, len(p.claims)/n+len(p.claims)/n/4)
		}
		for i := range p.claims {
			c := &p.claims[i]
			dealt[k][of(c)] = append(dealt[k][of(c)], ranked{binary.BigEndian.Uint64(c.Receipt.Payer[:]), c})
		}
	})
	r.buckets = make([]bucket, n)
	for b := 1; b < n; b++ {
		x := (b<<16 + n - 1) / n // the first payer of the bucket: the least x with x·n >> 16 = b
		r.buckets[b].from = []byte{byte(x >> 8), byte(x)}
		r.buckets[b-1].to = r.buckets[b].from
	}
	r.run(n, func(b int) {
		bk := &r.buckets[b]
		size := 0
		for k := range dealt {
			size += len(dealt[k][b])
		}
		all := make([]ranked, 0, size)
		for k := range dealt {
			all = append(all, dealt[k][b]...)
		}
		slices.SortFunc(all, ranked.compare)
		bk.claims = make([]*claim, size)
		for i := range all {
			bk.claims[i] = all[i].claim
		}
	})
}
