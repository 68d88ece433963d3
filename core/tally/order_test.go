package tally

import (
	"bytes"
	"cmp"
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// TestOrderBounds: what is wrong with an order, to the epoch and the credit.
func TestOrderBounds(t *testing.T) {
	const now = 30
	for _, c := range []struct {
		what   string
		order  func(o *receipt.Order)
		bought types.Credit
		limit  types.Credit
		expiry types.Epoch // of the key
		want   types.Reason
	}{
		{what: "a good one"},
		{what: "of no category", order: func(o *receipt.Order) { o.Category = 4000 }, want: types.UnknownCategory},
		{what: "of an unknown key", want: types.UnknownKey},
		{what: "of a key in its last epoch", expiry: now, want: types.KeyExpired},
		{what: "of a key in its last epoch but one", expiry: now + 1},
		{what: "of a session in its last epoch", order: func(o *receipt.Order) { o.Session = session(now, 1) }, want: types.SessionExpired},
		{what: "of a session in its last epoch but one", order: func(o *receipt.Order) { o.Session = session(now+1, 1) }},
		{what: "of a session that lasts longest", order: func(o *receipt.Order) { o.Session = session(now+receipt.MaxExpiry, 1) }},
		{what: "of a session that lasts longer", order: func(o *receipt.Order) { o.Session = session(now+receipt.MaxExpiry+1, 1) }, want: types.WrongEpoch},
		{what: "for the next epoch", order: func(o *receipt.Order) { o.First = now + 1 }},
		{what: "for the one after it", order: func(o *receipt.Order) { o.First = now + 2 }, want: types.WrongEpoch},
		{what: "as old as it may be", order: func(o *receipt.Order) { o.First = now - receipt.MaxFresh }},
		{what: "older", order: func(o *receipt.Order) { o.First = now - receipt.MaxFresh - 1 }, want: types.WrongEpoch},
		{what: "of the least amount", order: func(o *receipt.Order) { o.Cap = 100 }},
		{what: "of less", order: func(o *receipt.Order) { o.Cap = 99 }, want: types.SessionOpening},
		{what: "of a key with the least amount", limit: 100},
		{what: "of a key with less", limit: 99, want: types.OverLimit},
		{what: "of an account with the least amount", bought: 100},
		{what: "of an account with less", bought: 99, want: types.OverBudget},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newWorld(t)
			w.epoch = now
			p := w.payer(1, 1, cmp.Or(c.bought, 1<<40), cmp.Or(c.limit, 1<<40), cmp.Or(c.expiry, 1000))
			if c.want == types.UnknownKey {
				w.changes = nil
			}
			o := receipt.Order{Chain: testChain, Category: thing, Session: session(50, 1), Payer: p.id, Limit: 1, Cap: 500, Seq: 1, First: now}
			if c.order != nil {
				c.order(&o)
			}
			it := w.add(Order, o.Sign(p.key).Encode())
			w.tally()
			w.want(it, c.want)
		})
	}
}

// TestOrderOfSession: a session that receipts have, or another category's order, takes none, and neither does a
// number that was used.
func TestOrderOfSession(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 1<<40, 1<<40, 1000)
	p.pay(d, d.ask(thing, 1000), session(50, 1), 500, 500, 1)
	p.order(session(50, 2), 500, 5)
	w.tally()
	taken, same := p.order(session(50, 1), 500, 6), p.order(session(50, 2), 600, 5)
	w.tally()
	w.want(taken, types.SessionMismatch)
	w.want(same, types.StaleSeq)
	o := receipt.Order{Chain: testChain, Category: other, Session: session(50, 2), Payer: p.id, Limit: 1, Cap: 500, Seq: 7, First: 1}
	mixed := w.add(Order, o.Sign(p.key).Encode())
	w.tally()
	w.want(mixed, types.SessionMismatch)
}

// line is what the state has of a session's order.
func (p *payer) line(id types.SessionID) *OrderState {
	return p.w.state.Order(SessionKey{Payer: p.id, ID: id})
}

// TestOrderEnds: an order ends with its session, and one that its key can't pay any more, or its account has no
// credits for, after so many epochs.
func TestOrderEnds(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 1<<40, 1<<40, 1000)
	late := w.payer(2, 1, 1<<40, 1<<40, 8)  // a key that expires
	poor := w.payer(3, 1, 1<<40, 700, 1000) // one with a limit
	p.order(session(3, 1), 500, 1)
	late.order(session(1000, 1), 500, 1)
	poor.order(session(1000, 1), 500, 1)
	w.tally() // 1
	w.tally() // 2
	if line := p.line(session(3, 1)); line == nil || line.Ended() {
		t.Fatalf("in the session's last epoch but one: %+v", line)
	}
	poor.pay(d, d.ask(thing, 1000), session(900, 1), 600, 600, 1)
	w.tally() // 3
	if line := p.line(session(3, 1)); line == nil || !line.Ended() || line.Since != 3 {
		t.Fatalf("after the session's last epoch: %+v", line)
	}
	if line := poor.line(session(1000, 1)); line.Since != 0 {
		t.Fatalf("the key can still pay the least amount: %+v", line)
	}
	poor.pay(d, d.ask(thing, 1000), session(900, 1), 601, 601, 2)
	w.tally() // 4
	if line := poor.line(session(1000, 1)); line.Since != 4 || line.Ended() {
		t.Fatalf("the key can't pay the least amount: %+v", line)
	}
	for w.epoch < 8 {
		w.tally()
	}
	if line := late.line(session(1000, 1)); line.Since != 0 {
		t.Fatalf("the key can pay in epoch 8: %+v", line)
	}
	w.tally() // 8
	if line := late.line(session(1000, 1)); line.Since != 8 {
		t.Fatalf("the key can't pay after epoch 8: %+v", line)
	}
	for w.epoch <= 4+maxUnbacked {
		w.tally()
	}
	if line := poor.line(session(1000, 1)); line.Ended() {
		t.Fatalf("epoch %d: %+v", w.epoch-1, line)
	}
	w.tally()
	if line := poor.line(session(1000, 1)); !line.Ended() || late.line(session(1000, 1)).Ended() {
		t.Fatalf("epoch %d: %+v", w.epoch-1, line)
	}
}

// TestOrderUnits: an order needs so much behind it for each piece that is begun, at least for one.
func TestOrderUnits(t *testing.T) {
	w := newWorld(t)
	p := w.payer(1, 1, 100, 1<<40, 1000)
	o := receipt.Order{Chain: testChain, Category: thing, Session: session(50, 1), Payer: p.id, Limit: 1, Cap: 500, Seq: 1, First: 1}
	for len(types.Encode(&o)) < orderUnit {
		o.Selector = append(o.Selector, 0)
	}
	if n, size := OrderUnits(&o), len(types.Encode(&o)); n != 1 || size != orderUnit {
		t.Fatalf("%d bytes are %d units", size, n)
	}
	o.Selector = append(o.Selector, 0)
	if n := OrderUnits(&o); n != 2 {
		t.Fatalf("a byte more is %d units", n)
	}
	w.minOpening = 0 // then a credit is enough
	it := w.add(Order, o.Sign(p.key).Encode())
	w.tally()
	w.want(it, "")
}

// TestOrderHolding: over epochs, what an account has live, what it left, and what is behind it count together.
func TestOrderHolding(t *testing.T) {
	t.Run("live", func(t *testing.T) {
		w := newWorld(t)
		p := w.payer(1, 1, 1<<40, 1<<40, 1000)
		for i := range receipt.MaxOrders {
			p.order(session(500, i), 500, uint64(i+1))
		}
		w.tally()
		again, more := p.order(session(500, 0), 600, 1000), p.order(session(500, 1000), 500, 1001)
		w.tally()
		w.want(again, "") // it is in place of another
		w.want(more, types.OrderLimit)
	})
	t.Run("ended", func(t *testing.T) {
		w := newWorld(t)
		p := w.payer(1, 1, 1<<40, 1<<40, 1000)
		n, live, seq := 0, 0, uint64(0)
		place := func(count int) (list []Item) {
			for i := range live { // cancel those of before
				seq++
				p.order(session(500, n-i), 0, seq)
			}
			for range count {
				n, seq = n+1, seq+1
				list = append(list, p.short(session(500, n), 500, seq))
			}
			w.tally()
			live = count
			return list
		}
		for n < maxRemembered-4 {
			place(min(50, maxRemembered-4-n))
		}
		refused := 0
		for _, it := range place(10) {
			if why := w.reason(it); why == types.OrderLimit {
				refused++
			} else if why != "" {
				t.Fatal(why)
			}
		}
		if lines, _, _ := w.held(); lines != maxRemembered || refused != 6 {
			t.Fatalf("%d lines, %d refused", lines, refused)
		}
	})
	t.Run("behind", func(t *testing.T) {
		w := newWorld(t)
		d := w.device(1)
		p := w.payer(1, 1, 300, 1<<40, 1000)
		work := func() { d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(7), Quality: 10_000}) }
		p.order(session(500, 1), 100, 1)
		p.order(session(500, 2), 100, 1)
		w.tally()
		work()
		w.tally() // both are used up: they paid the least amount, and need nothing behind them
		if a, b := p.line(session(500, 1)), p.line(session(500, 2)); !a.Ended() || !b.Ended() || a.Amount != 100 || b.Amount != 100 {
			t.Fatalf("%+v, %+v", a, b)
		}
		units := p.line(session(500, 1)).Units
		last := p.order(session(500, 3), 500, 1)
		w.tally()
		w.want(last, "")
		p.pay(d, d.ask(thing, 1000), session(400, 1), 100, 100, 1)
		w.tally() // nothing is left
		less, more := p.order(session(500, 3), 400, 2), p.order(session(500, 1), 200, 2)
		w.tally()
		w.want(less, "") // it needs no more than the one before
		w.want(more, types.OverBudget)
		w.changes = append(w.changes, Change{Holder: &Holder{Account: account(1), Bought: 1 << 30}})
		again := p.order(session(500, 1), 200, 3)
		w.tally()
		w.want(again, "")
		if line := p.line(session(500, 1)); line.Units != units || units.IsZero() || line.Amount != 100 {
			t.Fatalf("%+v, it had %v units", line, units)
		}
	})
}

// TestSupersededStaysOut: an order for the next epoch that a cancellation of the same epoch took the place of
// does not come once the line is forgotten.
func TestSupersededStaysOut(t *testing.T) {
	w := newWorld(t)
	p := w.payer(1, 1, 1<<40, 1<<40, 1000)
	p.order(session(500, 1), 500, 1)
	w.tally()
	o := receipt.Order{Chain: testChain, Category: thing, Session: session(500, 1), Payer: p.id, Limit: 1, Cap: 500, Seq: 2, First: w.epoch + 1}
	ahead := w.add(Order, o.Sign(p.key).Encode())
	p.order(session(500, 1), 0, 3)
	w.tally()
	w.want(ahead, types.Superseded)
	for range receipt.MaxFresh + 4 {
		w.items = append(w.items, ahead)
		w.tally()
		if why := w.reason(ahead); why != types.StaleSeq && why != types.WrongEpoch {
			t.Fatalf("epoch %d: %q", w.epoch-1, why)
		}
	}
	if p.line(session(500, 1)) != nil {
		t.Fatal("the line is not forgotten")
	}
}

// TestOpenGoesOn: an account's last credits go to sessions that are open, however small their part, before they
// begin others.
func TestOpenGoesOn(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 1000, 1<<40, 100)
	p.pay(d, d.ask(thing, 1000), session(50, 9), 400, 400, 1)
	w.tally()
	goesOn := p.pay(d, d.ask(thing, 1000), session(50, 9), 450, 450, 2)
	p.pay(d, d.ask(thing, 1000), session(50, 1), 300, 300, 1)
	p.pay(d, d.ask(thing, 1000), session(50, 2), 250, 250, 1)
	late := p.pay(d, d.ask(thing, 1000), session(50, 3), 100, 100, 1)
	w.tally()
	w.want(goesOn, "")
	w.want(late, types.OverBudget)
}

// TestKeyForgotten: a key is remembered for as long as its sessions can be asked about.
func TestKeyForgotten(t *testing.T) {
	w := newWorld(t)
	p := w.payer(1, 1, 1000, 1000, 5)
	w.tally()
	w.epoch = 5 + receipt.MaxExpiry
	w.tally() // which makes this the last header but one of the next
	w.tally()
	if w.state.Key(p.id) == nil {
		t.Fatal("it is forgotten too early")
	}
	w.tally()
	if w.state.Key(p.id) != nil {
		t.Fatal("it is never forgotten")
	}
}

// TestOpenRefused: a device opens no session that another has, that a receipt or an order has, or that nobody
// can pay; and closes only its own.
func TestOpenRefused(t *testing.T) {
	w := newWorld(t)
	d, e := w.device(1), w.device(2)
	if bytes.Compare(d.id[:], e.id[:]) > 0 {
		d, e = e, d
	}
	p := w.payer(1, 1, 1<<40, 1<<40, 1000)
	short := w.payer(2, 1, 1<<40, 1<<40, 2)
	ask := receipt.Ask{Chain: testChain, Device: d.id, Category: thing, Class: 1, Price: 500, Until: 1 << 20}
	open := func(d *device, payer types.Key, id types.SessionID, price uint64) {
		d.say(thing, kindOpen, openBody{Session: SessionKey{Payer: payer, ID: id}, Terms: ask.Hash(), Price: price})
	}
	get := func(payer types.Key, id types.SessionID) *Session {
		return w.state.Session(SessionKey{Payer: payer, ID: id})
	}
	open(e, p.id, session(50, 1), 600)
	open(d, p.id, session(50, 1), 500)
	p.order(session(50, 2), 500, 1)
	p.pay(d, d.ask(thing, 1000), session(50, 3), 500, 500, 1)
	w.tally()
	if s := get(p.id, session(50, 1)); s == nil || s.Device != d.id || s.Price != 500 {
		t.Fatalf("two opened it: %+v", s)
	}
	n := 0
	for at := w.state.tables[sessionTable].walk(nil, nil); at.next(); {
		n++
	}
	if n != 2 { // this one, and the one that was paid
		t.Fatalf("%d sessions are kept", n)
	}
	last := w.epoch + receipt.MaxExpiry
	open(e, p.id, session(50, 1), 600)
	open(e, p.id, session(50, 2), 600)
	open(e, p.id, session(50, 3), 600)
	open(e, p.id, session(last, 4), 600)
	open(e, p.id, session(last+1, 4), 600)
	e.say(thing, kindClose, openBody{Session: SessionKey{Payer: p.id, ID: session(50, 1)}})
	d.say(other, kindClose, openBody{Session: SessionKey{Payer: p.id, ID: session(50, 1)}})
	w.tally()
	if s := get(p.id, session(50, 1)); s.Device != d.id || s.Closed {
		t.Fatalf("another device opened or closed it, or another category: %+v", s)
	}
	if s := get(p.id, session(50, 2)); s != nil {
		t.Fatalf("an order has it: %+v", s)
	}
	if s := get(p.id, session(50, 3)); s.Device != d.id {
		t.Fatalf("a receipt has it: %+v", s)
	}
	if get(p.id, session(last, 4)) == nil || get(p.id, session(last+1, 4)) != nil {
		t.Fatal("one that lasts longest is opened, one that lasts longer is not")
	}
	for w.epoch < 5 {
		w.tally()
	}
	open(d, short.id, session(50, 5), 500) // its key expired in epoch 2
	open(d, p.id, session(2, 6), 500)      // and this session
	w.tally()
	if get(short.id, session(50, 5)) != nil || get(p.id, session(2, 6)) != nil {
		t.Fatal("a session is open that nobody can pay")
	}
}
