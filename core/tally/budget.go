package tally

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// keyGroup is the claims on one session key.
type keyGroup struct {
	key    types.Key
	state  KeyState
	claims []*claim
}

// budget is the first half of step 4: what Verify accepted is honoured within what each key, then each account
// may still spend, pro rata and rounded down. The rest stays with the provider, who can hand the same receipt
// in again.
func (r *run) budget() error {
	r.run(len(r.buckets), func(b int) { r.limitKeys(&r.buckets[b]) })
	accounts, err := r.limitAccounts()
	if err != nil {
		return err
	}
	r.run(len(r.buckets), func(b int) { r.settleSessions(&r.buckets[b]) })
	sessions, keys := make([]edits, len(r.buckets)), make([]edits, len(r.buckets))
	for b := range r.buckets {
		sessions[b], keys[b] = r.buckets[b].edits, r.buckets[b].spent
		r.buckets[b].edits, r.buckets[b].spent = edits{}, edits{}
	}
	t := &r.next.tables
	t[sessionTable] = t[sessionTable].apply(r.Pool, sessionTable, sessions)
	t[keyTable] = t[keyTable].apply(r.Pool, keyTable, keys)
	t[accountTable] = t[accountTable].apply(r.Pool, accountTable, accounts)
	return r.openings()
}

func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// limitKeys honours the claims of a bucket that still stand within their keys' limits.
func (r *run) limitKeys(b *bucket) {
	for i := range b.keys {
		g := &b.keys[i]
		g.claims = slices.DeleteFunc(g.claims, func(c *claim) bool { return c.dropped })
		for _, c := range g.claims {
			c.amount = c.asked()
		}
		r.share(g.claims, less(g.state.Limit, g.state.Spent, 0), types.OverLimit)
	}
	b.keys = slices.DeleteFunc(b.keys, func(g keyGroup) bool { return len(g.claims) == 0 })
}

// share cuts the honoured amounts of claims to at most left in all, pro rata. A session begins with its full
// price or not at all: see affordable.
func (r *run) share(claims []*claim, left types.Credit, reason types.Reason) {
	var sum types.U128 // of at most 2²⁴ amounts below 2⁶⁴
	for _, c := range claims {
		sum, _ = sum.Add(types.U64(uint64(c.amount)))
	}
	if sum.Cmp(types.U64(uint64(left))) <= 0 {
		return
	}
	sum = r.affordable(claims, left, sum, reason)
	if sum.Cmp(types.U64(uint64(left))) <= 0 {
		return
	}
	for _, c := range claims {
		part := portion(c.amount, left, sum)
		if part != c.amount {
			c.short = reason
		}
		c.amount = part
	}
}

// portion returns ⌊amount · left / sum⌋, where sum is above left and no less than amount.
func portion(amount, left types.Credit, sum types.U128) types.Credit {
	part, _ := econ.MulDivU128(types.U64(uint64(amount)), types.U64(uint64(left)), sum) // at most left
	return types.Credit(part.Lo)
}

// affordable honours nothing of claims that would begin a session with less than that costs, and returns the
// sum of what is left to share. Without it an account's last credits would open a session for each of them, and
// fill the state for nothing. The largest begin first, among equals those of the lowest payer and session, as
// many as get their due beside all sessions that are open.
func (r *run) affordable(claims []*claim, left types.Credit, sum types.U128, reason types.Reason) types.U128 {
	var fresh []*claim
	for _, c := range claims {
		if !c.Opened && c.amount > 0 {
			fresh = append(fresh, c)
			sum, _ = sum.Sub(types.U64(uint64(c.amount)))
		}
	}
	slices.SortStableFunc(fresh, func(a, b *claim) int { return cmp.Compare(b.amount, a.amount) })
	for i, c := range fresh { // with each further one the least share falls
		more, _ := sum.Add(types.U64(uint64(c.amount)))
		due := c.amount
		if more.Cmp(types.U64(uint64(left))) > 0 {
			due = portion(c.amount, left, more)
		}
		if due < max(r.frame.MinOpening, 1) {
			for _, c := range fresh[i:] {
				c.amount, c.short = 0, reason
			}
			break
		}
		sum = more
	}
	return sum
}

// limitAccounts honours what the keys' limits left within what the accounts have bought, and returns the
// accounts' lines.
func (r *run) limitAccounts() ([]edits, error) {
	n := len(r.buckets)
	dealt := make([][]*keyGroup, n)
	for b := range r.buckets {
		for i := range r.buckets[b].keys {
			g := &r.buckets[b].keys[i]
			k := int(g.state.Account[0]) * n >> 8
			dealt[k] = append(dealt[k], g)
		}
	}
	out, errs, spent := make([]edits, n), make([]error, n), make([]types.Credit, n)
	r.run(n, func(b int) {
		if b > 0 {
			out[b].from = []byte{byte((b<<8 + n - 1) / n)}
		}
		out[b].buf, spent[b], errs[b] = r.limitBucket(dealt[b], out[b].from)
	})
	for _, s := range spent {
		r.spent += s // at most what was bought, which fits
	}
	return out, first(errs)
}

// limitBucket does limitAccounts for the keys of one range of accounts.
func (r *run) limitBucket(list []*keyGroup, from []byte) (buf []byte, spent types.Credit, err error) {
	slices.SortFunc(list, func(x, y *keyGroup) int {
		if c := bytes.Compare(x.state.Account[:], y.state.Account[:]); c != 0 {
			return c
		}
		return bytes.Compare(x.key[:], y.key[:])
	})
	accounts := r.base.tables[accountTable].walk(from, nil)
	var e edits
	e.grow(len(list) * 36) // about what their lines take
	var claims []*claim
	var val []byte
	for len(list) > 0 {
		account, n := list[0].state.Account, 0
		claims = claims[:0]
		for n < len(list) && list[n].state.Account == account {
			claims = append(claims, list[n].claims...)
			n++
		}
		var balance Balance
		if accounts.find(account[:]) {
			if err := balance.parse(accounts.val); err != nil {
				return nil, 0, fmt.Errorf("account %v: %w", account, err)
			}
		}
		r.share(claims, less(balance.Bought, balance.Spent, 0), types.OverBudget)
		var sum types.Credit // at most left
		for _, c := range claims {
			sum += c.amount
		}
		if sum > 0 {
			balance.Spent += sum
			spent += sum
			val = balance.append(val[:0])
			e.set(account[:], val)
		}
		list = list[n:]
	}
	return e.buf, spent, nil
}

// settleSessions writes what was honoured into the lines of sessions and keys, and refuses claims of which
// nothing was.
func (r *run) settleSessions(b *bucket) {
	b.edits, b.spent = edits{from: b.from}, edits{from: b.from}
	b.edits.grow(len(b.claims) * 160) // about what their lines take
	b.spent.grow(len(b.keys) * 80)
	var key, val []byte
	for i := range b.keys {
		g := &b.keys[i]
		before := g.state.Spent
		for _, c := range g.claims {
			if c.amount == 0 && c.short != "" {
				c.dropped = true
				r.refuse(c.item, c.short)
				continue
			}
			c.units = units(c)
			g.state.Spent += c.amount
			total, _ := c.Units.Add(c.units) // at most the receipt's total
			s := Session{
				Device: c.Receipt.Device, Category: c.Receipt.Category, Terms: c.Receipt.Terms, Class: c.Class, Price: c.Price,
				Units: total, Amount: c.Amount + c.amount, Seq: c.Receipt.Seq,
			}
			session := c.session()
			key, val = sessionKey(key[:0], &session), s.append(val[:0])
			b.edits.set(key, val)
		}
		if g.state.Spent != before {
			val = g.state.append(val[:0])
			b.spent.set(g.key[:], val)
		}
	}
}

// units returns the part of a claim's units that goes with the honoured part of its amount.
func units(c *claim) types.U128 {
	asked, err := c.Receipt.Units.Sub(c.Units)
	if err != nil || c.amount == c.asked() {
		return asked // totals never fall: receipts that do were refused
	}
	part, _ := asked.MulDiv(uint64(c.amount), uint64(c.asked())) // at most asked
	return part
}

// openings opens and closes the sessions that categories name, where nothing stands against it: a receipt or an
// order that has the session, a payer without a key, an expiry out of bounds, too few credits. Of two openings
// the lower device's stands. A session costs every verifier its line until it expires, so one that was not paid
// the least opening amount needs that much behind it, which its account has not spent, when it opens: what a
// receipt would have had to pay.
func (r *run) openings() error {
	var opens []opening
	var closes []closing
	for k := range r.parts {
		opens = append(opens, r.parts[k].opens...)
		closes = append(closes, r.parts[k].closes...)
	}
	var e edits
	slices.SortStableFunc(opens, func(a, b opening) int { return a.Session.compare(&b.Session) })
	t := &r.next.tables
	unpaid := r.unpaid(opens)
	for i := range opens {
		o := &opens[i]
		key := sessionKey(nil, &o.Session)
		grant, expiry := r.next.Key(o.Session.Payer), o.Session.ID.Expiry()
		old := r.next.Session(o.Session)
		switch {
		case i > 0 && opens[i-1].Session == o.Session:
			if opens[i-1].device != o.device {
				r.refuse(o.item, types.SessionMismatch)
			}
		case old != nil && old.Device == o.device:
		case old != nil || t[orderTable].get(key) != nil:
			r.refuse(o.item, types.SessionMismatch)
		case grant == nil || grant.Expiry < r.prev.meta.Before || expiry < r.prev.meta.Before || expiry > r.frame.Epoch+receipt.MaxExpiry:
		case less(grant.Limit, grant.Spent, 0) < r.least():
			r.refuse(o.item, types.OverLimit)
		case unpaid[grant.Account] >= r.backs(grant.Account):
			r.refuse(o.item, types.OverBudget)
		default:
			unpaid[grant.Account]++
			s := Session{Device: o.device, Category: r.rules.categories[o.at].id, Terms: o.Terms, Class: o.Class, Price: o.Price}
			e.set(key, s.append(nil))
		}
	}
	t[sessionTable] = t[sessionTable].apply(r.Pool, sessionTable, []edits{e})
	e = edits{}
	slices.SortStableFunc(closes, func(a, b closing) int { return a.session.compare(&b.session) })
	for i := range closes {
		c := &closes[i]
		key := sessionKey(nil, &c.session)
		s := r.next.Session(c.session)
		if s == nil || s.Closed || s.Device != c.device || s.Category != c.category || i > 0 && closes[i-1] == *c {
			continue
		}
		s.Closed = true
		e.set(key, s.append(nil))
	}
	t[sessionTable] = t[sessionTable].apply(r.Pool, sessionTable, []edits{e})
	return nil
}

// unpaid counts the sessions that were not paid the least opening amount, of each account that would open one.
func (r *run) unpaid(opens []opening) map[types.Account]uint64 {
	all := map[types.Account]uint64{}
	for i := range opens {
		if grant := r.next.Key(opens[i].Session.Payer); grant != nil {
			all[grant.Account] = 0
		}
	}
	if len(all) == 0 {
		return all
	}
	counts := make([]map[types.Account]uint64, len(r.buckets))
	r.run(len(r.buckets), func(b int) {
		var to []byte
		if b+1 < len(r.buckets) {
			to = r.buckets[b+1].from
		}
		counts[b] = map[types.Account]uint64{}
		var payer []byte
		var account types.Account
		var asked bool
		for w := r.next.tables[sessionTable].walk(r.buckets[b].from, to); w.next(); {
			if !bytes.Equal(payer, w.key[:32]) {
				payer, asked = w.key[:32], false
				if key := r.next.Key(types.Key(payer)); key != nil {
					account = key.Account
					_, asked = all[account]
				}
			}
			var s Session
			if asked && s.parse(w.val) == nil && s.Amount < r.least() {
				counts[b][account]++
			}
		}
	})
	for _, m := range counts {
		for account, n := range m {
			all[account] += n
		}
	}
	return all
}

// compare orders sessions by payer and id.
func (s *SessionKey) compare(t *SessionKey) int {
	if c := bytes.Compare(s.Payer[:], t.Payer[:]); c != 0 {
		return c
	}
	return bytes.Compare(s.ID[:], t.ID[:])
}
