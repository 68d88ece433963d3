package tally

import (
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// bulky signs an order with the longest selector.
func (p *payer) bulky(id types.SessionID, limit types.Credit, seq uint64) Item {
	o := receipt.Order{Chain: testChain, Category: thing, Session: id, Payer: p.id, Selector: make([]byte, receipt.MaxTerms),
		Limit: 1 << 40, Most: types.U64(1 << 40), Cap: limit, Seq: seq, First: p.w.epoch}
	return p.w.add(Order, o.Sign(p.key).Encode())
}

// short signs one as short as they are, which begins now.
func (p *payer) short(id types.SessionID, limit types.Credit, seq uint64) Item {
	o := receipt.Order{Chain: testChain, Category: thing, Session: id, Payer: p.id, Limit: 1, Cap: limit, Seq: seq, First: p.w.epoch}
	return p.w.add(Order, o.Sign(p.key).Encode())
}

// held is what the state remembers of orders: how many, how many of them live, and the bytes of it.
func (w *world) held() (lines, live, size int) {
	for _, line := range w.state.Orders() {
		lines++
		if !line.Ended() {
			live++
		}
	}
	for _, p := range w.state.tables[orderTable] {
		size += len(p.raw)
	}
	return lines, live, size
}

// rest lets epochs pass in which nothing is handed in.
func (w *world) rest(epochs int) {
	for range epochs {
		w.tally()
	}
}

// flood places as many orders as one account may have, as long as they can be, and cancels them, for some epochs.
func (w *world) flood(epochs int, cancel, place func(session types.SessionID, cap types.Credit, seq uint64) Item) (most int) {
	seq := uint64(0)
	for e := range epochs {
		for i := range receipt.MaxOrders {
			if e > 0 {
				seq++
				cancel(session(8000, (e-1)*receipt.MaxOrders+i), 0, seq)
			}
			seq++
			place(session(8000, e*receipt.MaxOrders+i), 500, seq)
		}
		w.tally()
		_, _, size := w.held()
		most = max(most, size)
	}
	return most
}

// TestPoorOrdersLeaveNothing: an account with the least opening credits, which orders and cancels again and
// again, leaves almost nothing with verifiers while it does so, and nothing when it stops; one that can pay for
// a line has a bound, and leaves nothing either.
func TestPoorOrdersLeaveNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		bought types.Credit
		long   bool
		most   int // bytes
	}{
		{"the least", 100, false, 200},
		{"the least, long orders", 100, true, 0},
		{"for one long order", 17 * 100, true, 5000},
		{"for all", 1 << 40, true, receipt.MaxOrders*4300 + maxRemembered*80},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			p := w.payer(1, 1, c.bought, 1<<40, 9000)
			place := p.short
			if c.long {
				place = p.bulky
			}
			most := w.flood(maxRemembered/receipt.MaxOrders+2, place, place)
			lines, live, size := w.held()
			t.Logf("%d bytes at the most, then %d in %d lines, of which %d live", most, size, lines, live)
			if most > c.most || lines > maxRemembered {
				t.Fatalf("%d bytes in %d lines, at most %d", most, lines, c.most)
			}
			for id, line := range w.state.Orders() { // cancel what is left
				p.order(id.ID, 0, line.Seq+1)
			}
			w.tally()
			if lines, live, size := w.held(); live != 0 || size > lines*80+100 {
				t.Fatalf("once all are cancelled, %d bytes are left in %d lines, %d live", size, lines, live)
			}
			w.rest(receipt.MaxFresh + 2)
			if lines, _, size := w.held(); size != 0 {
				t.Fatalf("%d bytes are left in %d lines", size, lines)
			}
		})
	}
}

// TestCancelledStaysCancelled: whoever hands in all orders of a cancelled session, in each epoch, never brings
// it back.
func TestCancelledStaysCancelled(t *testing.T) {
	w := newWorld(t)
	p := w.payer(1, 1, 1<<40, 1<<40, 1000)
	w.tally()
	id := session(500, 1)
	order := func(cap types.Credit, seq uint64, first types.Epoch) Item {
		o := receipt.Order{Chain: testChain, Category: thing, Session: id, Payer: p.id, Limit: 1, Cap: cap, Seq: seq, First: first}
		return Item{Order, o.Sign(p.key).Encode()}
	}
	first, ahead := order(500, 1, w.epoch), order(700, 2, w.epoch+2)
	w.items = append(w.items, first)
	w.tally()
	w.want(first, "")
	w.items = append(w.items, ahead) // for the epoch after next
	w.tally()
	w.want(ahead, "")
	cancel := order(0, 3, w.epoch)
	w.items = append(w.items, cancel)
	w.tally()
	w.want(cancel, "")
	gone := false
	for range 3 * receipt.MaxFresh {
		w.items = append(w.items, first, ahead, cancel)
		w.tally()
		for _, it := range []Item{first, ahead} {
			if why := w.reason(it); why != types.StaleSeq && why != types.WrongEpoch && why != types.Superseded {
				t.Fatalf("epoch %d: %q", w.epoch-1, why)
			}
		}
		line := w.state.Order(SessionKey{Payer: p.id, ID: id})
		if line != nil && !line.Ended() {
			t.Fatalf("epoch %d: the order lives again", w.epoch-1)
		}
		gone = line == nil
	}
	if !gone {
		t.Fatal("the cancelled order is never forgotten")
	}
}

// TestUnpaidOrdersEnd: orders that their account has no credits for any more end after a day of epochs, and go
// on if it buys some before.
func TestUnpaidOrdersEnd(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 64*100, 1<<40, 1000)
	for i := range receipt.MaxOrders {
		p.order(session(500, i), 500, uint64(i+1))
	}
	w.tally()
	if _, live, _ := w.held(); live != receipt.MaxOrders {
		t.Fatalf("%d live orders", live)
	}
	spend := func(amount types.Credit, seq uint64) {
		p.pay(d, d.ask(thing, 1000), session(400, 1000), uint64(amount), amount, seq)
		w.tally()
	}
	spend(60*100+50, 1) // so three of them have something behind them
	unpaid := func() (n int) {
		for _, line := range w.state.Orders() {
			if !line.Ended() && line.Since != 0 {
				n++
			}
		}
		return n
	}
	if n := unpaid(); n != receipt.MaxOrders-3 {
		t.Fatalf("nothing is behind %d orders, want %d", n, receipt.MaxOrders-3)
	}
	w.rest(maxUnbacked - 1)
	w.changes = append(w.changes, Change{Holder: &Holder{Account: account(1), Bought: 128 * 100}})
	w.tally()
	if _, live, _ := w.held(); live != receipt.MaxOrders || unpaid() != 0 {
		t.Fatalf("%d live orders after the account bought credits, nothing is behind %d", live, unpaid())
	}
	spend(127*100, 2)
	w.rest(maxUnbacked + 1)
	lines, live, size := w.held()
	if live != 1 || lines != receipt.MaxOrders || size > 80*lines {
		t.Fatalf("%d live orders of %d in %d bytes, want the one that there are credits for", live, lines, size)
	}
	w.rest(receipt.MaxFresh + 2)
	if lines, _, _ := w.held(); lines != 1 {
		t.Fatalf("%d lines are left", lines)
	}
	p.bulky(session(500, 63), 500, 1000) // ordered anew
	w.changes = append(w.changes, Change{Holder: &Holder{Account: account(1), Bought: 200 * 100}})
	w.tally()
	if _, live, _ := w.held(); live != 2 {
		t.Fatalf("%d live orders", live)
	}
}

// TestBoughtIsRemembered: what a session bought counts against the cap of its later orders, however long ago it
// was used up.
func TestBoughtIsRemembered(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 1<<40, 1<<40, 1000)
	work := func() { d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(7), Quality: 10_000}) }
	p.order(session(500, 1), 300, 1)
	w.tally()
	work()
	w.tally()
	key := SessionKey{Payer: p.id, ID: session(500, 1)}
	if line := w.state.Order(key); line == nil || !line.Ended() || line.Amount != 300 {
		t.Fatalf("used up: %+v", line)
	}
	w.rest(3 * receipt.MaxFresh)
	again := p.order(session(500, 1), 350, 2)
	w.tally()
	w.want(again, "")
	work()
	w.tally()
	if line := w.state.Order(key); line == nil || line.Amount != 350 || w.state.Totals().Spent != 350 {
		t.Fatalf("%+v, spent %d", line, w.state.Totals().Spent)
	}
}
