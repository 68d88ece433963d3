package tally

import (
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// What the state remembers of orders costs every verifier, so an account needs credits behind it that it has
// not spent: the least opening amount for each orderUnit bytes that are begun, and for each order that ended
// without having paid as much. An order that nothing is behind for maxUnbacked epochs ends. One that ended
// leaves a few bytes, so that it can't be handed in again; once none of its session can begin any more, these
// go too, unless it bought something: what its session was paid counts against the cap of a later order.
const (
	orderUnit     = 256
	maxUnbacked   = receipt.MaxFresh
	maxRemembered = 16 * receipt.MaxOrders // of one account, those that ended included
)

// holding is what the state has of one account's orders.
type holding struct {
	live  int
	lines int
	units uint64 // that credits are needed for
	most  uint64 // units that there are credits for
}

// holding returns an account's, which it begins.
func (r *run) holding(a types.Account) *holding {
	h := r.holdings[a]
	if h == nil {
		h = &holding{most: r.backs(a)}
		r.holdings[a] = h
	}
	return h
}

// backs is how many least opening amounts an account has that it has not spent.
func (r *run) backs(a types.Account) uint64 {
	b := r.next.Balance(a)
	return uint64(less(b.Bought, b.Spent, 0) / r.least())
}

// least is the least opening amount, at least 1.
func (r *run) least() types.Credit { return max(r.frame.MinOpening, 1) }

// OrderUnits is how many least opening amounts an order needs behind it while it is live.
func OrderUnits(o *receipt.Order) uint64 { return orderUnits(types.Encode(o)) }

func orderUnits(raw []byte) uint64 { return (uint64(len(raw)) + orderUnit - 1) / orderUnit }

// units is how many least opening amounts a line needs behind it.
func (r *run) units(line *OrderState) uint64 {
	switch {
	case !line.Ended():
		return orderUnits(line.Raw)
	case line.Amount < r.least():
		return 1
	}
	return 0
}

// end makes an ended order's line of one that was live.
func (r *run) end(line *OrderState) { line.Raw, line.Since = nil, r.frame.Epoch }

// tendOrders ends orders that can buy nothing more or that nothing is behind, forgets those that ended long ago
// without having bought anything, and counts the others for takeOrders.
func (r *run) tendOrders(orders []*live) {
	r.holdings = map[types.Account]*holding{}
	backed := map[types.Account]uint64{}
	var e edits
	for _, o := range orders { // of an account by payer and session
		line, before := &o.line, o.line.Since
		h := new(holding) // of nobody: the key was forgotten
		if o.payer != nil {
			h = r.holding(o.payer.Account)
		}
		switch units := r.units(line); {
		case line.Ended():
			if line.Amount == 0 && r.frame.Epoch > line.Since+1+receipt.MaxFresh {
				e.remove(sessionKey(nil, &o.key))
				continue
			}
		case o.Order.Cap <= line.Amount || o.key.ID.Expiry() <= r.frame.Epoch:
			r.end(line)
		case r.payable(o.payer) && backed[o.payer.Account]+units <= h.most:
			backed[o.payer.Account] += units
			line.Since = 0
		case line.Since == 0:
			line.Since = r.frame.Epoch
		case r.frame.Epoch > line.Since+maxUnbacked:
			r.end(line)
		}
		h.lines++
		h.units += r.units(line)
		if !line.Ended() {
			h.live++
		}
		if o.paid() || line.Since != before {
			e.set(sessionKey(nil, &o.key), line.append(nil))
		}
	}
	t := &r.next.tables
	t[orderTable] = t[orderTable].apply(r.Pool, orderTable, []edits{e})
}

// payable reports whether a key can pay in a later epoch.
func (r *run) payable(key *KeyState) bool {
	return key != nil && key.Expiry > r.frame.Epoch && less(key.Limit, key.Spent, 0) >= r.least()
}

// takeOrders takes in the batch's orders, which act from the next epoch. Of one session the highest number
// counts, then the lowest hash.
func (r *run) takeOrders() error {
	var list []int // ascending by payer, number, hash
	for k := range r.parts {
		list = append(list, r.parts[k].orders...)
	}
	if len(list) == 0 {
		return nil
	}
	best := map[SessionKey]int{}
	for _, i := range list {
		o := r.items[i].body.(*receipt.Order)
		key := SessionKey{Payer: o.Payer, ID: o.Session}
		if old, ok := best[key]; ok {
			if r.items[old].Seq >= o.Seq {
				r.refuse(i, types.Superseded)
				continue
			}
			r.refuse(old, types.Superseded)
		}
		best[key] = i
	}
	type taken struct {
		key  SessionKey
		line *OrderState
	}
	var all []taken
	for _, i := range list {
		if !r.stands(i) {
			continue
		}
		o := r.items[i].body.(*receipt.Order)
		line, reason := r.order(o)
		if reason != "" {
			r.refuse(i, reason)
			continue
		}
		all = append(all, taken{SessionKey{Payer: o.Payer, ID: o.Session}, line})
	}
	slices.SortFunc(all, func(a, b taken) int { return a.key.compare(&b.key) })
	var e edits
	for i := range all {
		e.set(sessionKey(nil, &all[i].key), all[i].line.append(nil))
	}
	t := &r.next.tables
	t[orderTable] = t[orderTable].apply(r.Pool, orderTable, []edits{e})
	return nil
}

// order checks an order and returns its line, or what is wrong with it. It keeps count of what its account holds.
func (r *run) order(o *receipt.Order) (*OrderState, types.Reason) {
	key := r.next.Key(o.Payer)
	session := SessionKey{Payer: o.Payer, ID: o.Session}
	switch {
	case r.rules.find(o.Category) < 0:
		return nil, types.UnknownCategory
	case key == nil:
		return nil, types.UnknownKey
	case key.Expiry <= r.frame.Epoch:
		return nil, types.KeyExpired
	case o.Session.Expiry() <= r.frame.Epoch:
		return nil, types.SessionExpired
	case o.First > r.frame.Epoch+1, o.Session.Expiry() > r.frame.Epoch+receipt.MaxExpiry:
		return nil, types.WrongEpoch
	case r.next.Session(session) != nil:
		return nil, types.SessionMismatch
	}
	line, h := &OrderState{Raw: types.Encode(o), Category: o.Category, Seq: o.Seq}, r.holding(key.Account)
	var before holding // this session's part of it
	if old := r.next.Order(session); old != nil {
		switch {
		case old.Category != o.Category:
			return nil, types.SessionMismatch
		case o.Seq <= old.Seq:
			return nil, types.StaleSeq
		}
		line.Units, line.Amount = old.Units, old.Amount
		if before = (holding{lines: 1, units: r.units(old)}); !old.Ended() {
			before.live = 1
		}
	} else {
		switch {
		case o.First+receipt.MaxFresh < r.frame.Epoch:
			return nil, types.WrongEpoch
		case o.Cap < r.least():
			return nil, types.SessionOpening
		case less(key.Limit, key.Spent, 0) < r.least():
			return nil, types.OverLimit
		}
	}
	if o.Cap <= line.Amount {
		r.end(line)
	}
	now := holding{lines: 1, units: r.units(line)}
	if !line.Ended() {
		now.live = 1
	}
	switch {
	case now.lines > before.lines && h.lines >= maxRemembered, now.live > before.live && h.live >= receipt.MaxOrders:
		return nil, types.OrderLimit
	case now.units > before.units && h.units-before.units+now.units > h.most:
		return nil, types.OverBudget
	}
	h.lines += now.lines - before.lines
	h.live += now.live - before.live
	h.units += now.units - before.units
	return line, ""
}

// forget drops sessions, orders and keys that can never be paid or pay again: those that ended before the epoch
// of what will then be the region's second-last header. Keys are remembered longer, so that what they sign is
// called expired.
func (r *run) forget() error {
	last := r.prev.meta.Epoch
	t := &r.next.tables
	for _, id := range []tableID{sessionTable, orderTable} {
		t[id] = r.drop(id, func(key, _ []byte) bool {
			return types.Epoch(binary.BigEndian.Uint32(key[32:])) < last
		})
	}
	t[keyTable] = r.drop(keyTable, func(_, val []byte) bool {
		var k KeyState
		return k.parse(val) == nil && k.Expiry < last && last-k.Expiry > receipt.MaxExpiry
	})
	return nil
}

// drop returns a table without some of its records.
func (r *run) drop(id tableID, which func(key, val []byte) bool) table {
	t := r.next.tables[id]
	parts := make([]edits, len(r.buckets))
	r.run(len(parts), func(b int) {
		var to []byte
		if b+1 < len(parts) {
			to = r.buckets[b+1].from
		}
		parts[b].from = r.buckets[b].from
		for w := t.walk(parts[b].from, to); w.next(); {
			if which(w.key, w.val) {
				parts[b].remove(w.key)
			}
		}
	})
	return t.apply(r.Pool, id, parts)
}
