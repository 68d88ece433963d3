package tally

import (
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// maxRemembered bounds the orders of one account that the state holds, dead ones included: one that was cancelled is remembered until
// its session expires, or it could be handed in again. Without a bound a payer could fill the state for nothing.
const maxRemembered = 16 * receipt.MaxOrders

// takeOrders takes in the batch's orders, which act from the next epoch. Of one session the highest number counts, then the
// lowest hash.
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
	count, held, err := r.countOrders()
	if err != nil {
		return err
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
		line, reason := r.order(o, count, held)
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

// countOrders returns how many live orders each account has, and how many of its the state holds.
func (r *run) countOrders() (count, held map[types.Account]int, err error) {
	count, held = map[types.Account]int{}, map[types.Account]int{}
	for w := r.next.tables[orderTable].walk(nil, nil); w.next(); {
		var line OrderState
		if err := line.parse(w.val); err != nil {
			return nil, nil, err
		}
		o, err := line.order()
		if err != nil {
			return nil, nil, err
		}
		key := r.next.Key(o.Payer)
		if key == nil {
			continue
		}
		held[key.Account]++
		if r.alive(o, line.Amount, key) {
			count[key.Account]++
		}
	}
	return count, held, nil
}

// alive reports whether an order that has bought so much can act in a later epoch.
func (r *run) alive(o *receipt.Order, amount types.Credit, key *KeyState) bool {
	return o.Cap > amount && key.Expiry > r.frame.Epoch && o.Session.Expiry() > r.frame.Epoch
}

// order checks an order and returns its line, or what is wrong with it. It keeps count of those that are live, and of those held.
func (r *run) order(o *receipt.Order, count, held map[types.Account]int) (*OrderState, types.Reason) {
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
	line := &OrderState{Raw: types.Encode(o)}
	before, fresh := false, 0
	if raw := r.next.tables[orderTable].get(sessionKey(nil, &session)); raw != nil {
		var old OrderState
		if old.parse(raw) != nil {
			return nil, types.EconRange // not reached: states are checked when they are read
		}
		was, err := old.order()
		switch {
		case err != nil:
			return nil, types.EconRange
		case was.Category != o.Category:
			return nil, types.SessionMismatch
		case o.Seq <= was.Seq:
			return nil, types.StaleSeq
		}
		line.Units, line.Amount = old.Units, old.Amount
		before = r.alive(was, old.Amount, key)
	} else {
		balance := r.next.Balance(key.Account)
		switch {
		case o.First+receipt.MaxFresh < r.frame.Epoch:
			return nil, types.WrongEpoch
		case o.Cap < r.frame.MinOpening || o.Cap == 0:
			return nil, types.SessionOpening
		case less(key.Limit, key.Spent, 0) < r.frame.MinOpening:
			return nil, types.OverLimit
		case less(balance.Bought, balance.Spent, 0) < r.frame.MinOpening:
			return nil, types.OverBudget
		case held[key.Account] >= maxRemembered:
			return nil, types.OrderLimit
		}
		fresh = 1
	}
	now := r.alive(o, line.Amount, key)
	if now && !before {
		if count[key.Account] >= receipt.MaxOrders {
			return nil, types.OrderLimit
		}
		count[key.Account]++
	} else if before && !now {
		count[key.Account]--
	}
	held[key.Account] += fresh
	return line, ""
}

// forget drops sessions, orders and keys that can never be paid or pay again: those that ended before the epoch of what
// will then be the region's second-last header. Keys are remembered longer, so that what they sign is called expired.
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
