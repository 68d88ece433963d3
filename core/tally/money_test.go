package tally

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// TestBudget: beyond what a key, then an account may spend, receipts are honoured pro rata, rounded down; the
// rest can be handed in again once there are credits.
func TestBudget(t *testing.T) {
	w := newWorld(t)
	d, e := w.device(1), w.device(2)
	p, q := w.payer(1, 1, 1000, 600, 100), w.payer(1, 2, 1000, 10_000, 100)
	rd := p.pay(d, d.ask(thing, 1000), session(50, 1), 700, 700, 1)
	re := p.pay(e, e.ask(thing, 1000), session(50, 2), 500, 500, 1)
	rq := q.pay(e, e.ask(thing, 900), session(50, 3), 900, 800, 1)
	w.tally()
	// Key p: 700 and 500 share 600: 350 and 250. Account: 350, 250 and 800 share 1,000: 250, 178, 571.
	for it, rest := range map[*Item]types.Credit{&rd: 450, &re: 322, &rq: 229} {
		found := false
		for _, j := range w.result.Rejections {
			if j.Item == types.Sum(it.Raw) {
				found = true
				if j.Rest != rest || j.Reason != types.OverBudget {
					t.Errorf("rest %d, %s, want %d", j.Rest, j.Reason, rest)
				}
			}
		}
		if !found {
			t.Error("no remainder")
		}
	}
	if h := w.header.Totals; h.Spent != 999 || h.Counted != 6 || h.Refused != 0 {
		t.Fatalf("totals %+v", h)
	}
	s := w.state.Session(SessionKey{Payer: q.id, ID: session(50, 3)})
	if s.Amount != 571 || s.Units != types.U64(642) { // ⌊900·571/800⌋
		t.Fatalf("session %+v", s)
	}
	w.changes = append(w.changes, Change{Holder: &Holder{Account: account(1), Bought: 5000}})
	w.items = append(w.items, rd, rq)
	w.tally()
	w.want(rd, types.OverLimit) // 172 left of its limit
	w.want(rq, "")
	if h := w.header.Totals; h.Spent != 999+172+229 {
		t.Fatalf("totals %+v", h)
	}
}

// TestOpenings: an account's last credits begin as many sessions as they pay for, not one for each receipt that
// it signs. What is open gets its share before.
func TestOpenings(t *testing.T) {
	for _, c := range []struct {
		what          string
		bought, limit types.Credit
		reason        types.Reason
	}{
		{"the account's", 1_000, 1 << 40, types.OverBudget},
		{"the key's", 1 << 40, 1_000, types.OverLimit},
	} {
		w := newWorld(t)
		d := w.device(1)
		p := w.payer(1, 1, c.bought, c.limit, 100)
		a := d.ask(thing, 1000)
		p.pay(d, a, session(50, 0), 500, 500, 1)
		w.tally() // 500 are left
		d.ask(thing, 1000)
		goesOn := p.pay(d, a, session(50, 0), 600, 600, 2)
		large := p.pay(d, a, session(50, 1), 150, 150, 1)
		var small []Item
		for i := range 50 {
			small = append(small, p.pay(d, a, session(50, 2+i), 100, 100, 1))
		}
		w.tally()
		w.want(large, "")
		opened := 0
		for i := range 51 {
			s := w.state.Session(SessionKey{Payer: p.id, ID: session(50, 1+i)})
			if s == nil {
				continue
			}
			if opened++; s.Amount < w.minOpening {
				t.Fatalf("%s last credits opened a session with %d", c.what, s.Amount)
			}
		}
		// 100 that go on, 150 and two of 100 are within 500; a third one would leave 90 for each.
		if spent := w.state.Totals().Spent; opened != 3 || spent != 950 {
			t.Fatalf("%s last credits opened %d sessions, %d spent", c.what, opened, spent)
		}
		w.want(goesOn, "")
		refused := 0
		for _, it := range small {
			if w.reason(it) == c.reason {
				refused++
			}
		}
		if refused != 48 {
			t.Fatalf("%d of 50 refused with %s", refused, c.reason)
		}
	}
}

// TestContest: of two devices that would open one session, the larger receipt's has it, and the other's is
// refused by name.
func TestContest(t *testing.T) {
	w := newWorld(t)
	d, e := w.device(1), w.device(2)
	p := w.payer(1, 1, 10_000, 10_000, 100)
	rd := p.pay(d, d.ask(thing, 1000), session(50, 1), 700, 700, 1)
	re := p.pay(e, e.ask(thing, 1000), session(50, 1), 800, 800, 1)
	w.tally()
	w.want(rd, types.SessionMismatch)
	w.want(re, "")
	w.items = append(w.items, rd)
	d.ask(thing, 1000)
	w.tally()
	w.want(rd, types.SessionMismatch)
	if w.state.Totals().Spent != 800 {
		t.Fatal("a session was paid twice")
	}
}

// TestOpenClose: what both sides signed opens a session without a payment; a closed session takes no more
// receipts, and is not opened again by an old one.
func TestOpenClose(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 10_000, 10_000, 100)
	a := receipt.Ask{Chain: testChain, Device: d.id, Category: thing, Class: 1, Price: 500, Until: 1 << 20}
	id := SessionKey{Payer: p.id, ID: session(50, 1)}
	d.say(thing, kindOpen, openBody{Session: id, Terms: a.Hash(), Price: 500})
	d.say(thing, kindOpen, openBody{Session: SessionKey{Payer: key("payer", 9).Public(), ID: session(50, 1)}, Terms: a.Hash(), Price: 500})
	w.tally()
	if s := w.state.Session(id); s == nil || s.Device != d.id || s.Price != 500 {
		t.Fatalf("session %+v", s)
	}
	if n := len(w.state.tables[sessionTable]); n != 1 {
		t.Fatalf("%d pages of sessions", n)
	}
	small := p.pay(d, &a, id.ID, 20, 10, 1) // below what a receipt must be worth to open
	w.tally()
	w.want(small, "")
	d.say(thing, kindClose, openBody{Session: id})
	last := p.pay(d, &a, id.ID, 40, 20, 2)
	w.tally()
	w.want(last, "")
	more := p.pay(d, &a, id.ID, 2000, 1000, 3)
	d.ask(thing, 500)
	w.tally()
	w.want(more, types.SessionClosed)
	if w.state.Totals().Spent != 20 {
		t.Fatalf("spent %d", w.state.Totals().Spent)
	}
}

// TestForget: a session can be paid until its expiry lies before the region's second-last header, also across
// skipped epochs; then it is forgotten, and its receipts open nothing.
func TestForget(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 10_000, 10_000, 100)
	a := d.ask(thing, 1000)
	id := SessionKey{Payer: p.id, ID: session(2, 1)}
	p.pay(d, a, id.ID, 100, 100, 1)
	w.tally() // 1
	w.tally() // 2
	w.epoch = 9
	for i, c := range []struct {
		epoch  types.Epoch
		reason types.Reason
	}{{9, ""}, {10, ""}, {11, types.SessionExpired}} {
		w.epoch = c.epoch
		it := p.pay(d, a, id.ID, 200+uint64(i), types.Credit(200+i), uint64(2+i))
		d.ask(thing, 1000)
		w.tally()
		w.want(it, c.reason)
	}
	if w.state.Session(id) != nil || w.state.Totals().Spent != 201 {
		t.Fatalf("session %+v, spent %d", w.state.Session(id), w.state.Totals().Spent)
	}
}

// TestSkip: cumulative items of skipped epochs count in the next batch, and its challenges do not.
func TestSkip(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 10_000, 10_000, 100)
	w.tally()
	note := d.say(thing, kindNote, 1)
	work := d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(7), Quality: 10_000})
	paid := p.pay(d, d.ask(thing, 1000), session(50, 1), 500, 500, 1)
	w.epoch += 2 // two epochs without a header
	w.tally()
	w.want(note, "")
	w.want(paid, "")
	w.want(work, types.WrongEpoch)
	if w.header.Epoch != 4 || w.state.Line(d.id).Paid() != 500 || w.state.CategoryLine(d.id, thing) == nil {
		t.Fatalf("header %+v", w.header)
	}
}

// TestVoid: after a void the region goes on from the state before; what the voided epoch counted counts again, once.
func TestVoid(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 10_000, 10_000, 100)
	a := d.ask(thing, 1000)
	p.pay(d, a, session(50, 1), 500, 500, 1)
	w.tally()
	before, header := w.state, w.header
	w.settle(50, 2, 0)
	fold := w.fold
	note := d.say(thing, kindNote, 1)
	paid := p.pay(d, a, session(50, 1), 900, 900, 2)
	w.tally()
	if l := w.state.Line(d.id); l.Amount != 500 || l.Paid() != 900 {
		t.Fatalf("line %+v", l)
	}
	w.state, w.header = before, header // the header of epoch 2 is voided
	w.fold = fold
	w.items = append(w.items, note, paid)
	w.tally()
	w.want(note, "")
	w.want(paid, "")
	if l := w.state.Line(d.id); l.Amount != 500 || l.Paid() != 900 || w.state.Epoch() != 3 {
		t.Fatalf("line %+v", l)
	}
}

// order signs an order.
func (p *payer) order(id types.SessionID, limit types.Credit, seq uint64) Item {
	o := receipt.Order{Chain: testChain, Category: thing, Session: id, Payer: p.id, Limit: 1, Cap: limit, Seq: seq, First: 1}
	return p.w.add(Order, o.Sign(p.key).Encode())
}

// TestOrder: an order acts from the epoch after it was counted, within its cap, its key and its account, after
// receipts.
func TestOrder(t *testing.T) {
	w := newWorld(t)
	d, e := w.device(1), w.device(2)
	p := w.payer(1, 1, 1000, 900, 100)
	poor := w.payer(2, 1, 99, 900, 100)
	work := func() {
		for _, x := range []*device{d, e} {
			x.say(thing, kindWork, workBody{Class: 1, Units: types.U64(7), Quality: 10_000})
		}
	}
	spent := func(want types.Credit) {
		t.Helper()
		if got := w.state.Totals().Spent; got != want {
			t.Fatalf("spent %d, want %d", got, want)
		}
	}
	work()
	good, old := p.order(session(50, 1), 301, 2), p.order(session(50, 1), 400, 1)
	small, unfunded := p.order(session(50, 2), 99, 1), poor.order(session(50, 1), 500, 1)
	w.tally()
	w.want(good, "")
	w.want(old, types.Superseded)
	w.want(small, types.SessionOpening)
	w.want(unfunded, types.OverBudget)
	spent(0)
	if w.header.OutCount != 2 {
		t.Fatalf("%d outputs", w.header.OutCount)
	}
	work()
	mixed := p.pay(d, d.ask(thing, 1000), session(50, 1), 500, 500, 1)
	w.tally()
	w.want(mixed, types.SessionMismatch)
	spent(300) // 301 in two equal parts
	work()
	again, stale := p.order(session(50, 1), 2000, 3), p.order(session(50, 1), 3000, 2)
	w.tally()
	w.want(again, "")
	w.want(stale, types.Superseded)
	spent(300) // the old cap leaves 1 for two
	work()
	first := p.pay(d, d.ask(thing, 1000), session(50, 3), 400, 400, 1)
	w.tally()
	w.want(first, "")
	spent(900) // the receipt's 400, then 200 of the key's limit
	if k := w.state.Key(p.id); k.Spent != 900 || k.Ordered != 500 {
		t.Fatalf("key %+v", k)
	}
	cancel := p.order(session(50, 1), 10, 4)
	w.changes = append(w.changes, Change{Grant: &Grant{Key: p.id, Account: account(1), Limit: 5000, Expiry: 100}},
		Change{Holder: &Holder{Account: account(1), Bought: 5000}})
	w.tally()
	w.want(cancel, "")
	work()
	back := p.order(session(50, 1), 2000, 3)
	w.tally()
	w.want(back, types.StaleSeq)
	spent(900)
}

// TestOldOrder: an order that did not count when it was new begins no session long after, whoever kept it; one
// of a known session does.
func TestOldOrder(t *testing.T) {
	w := newWorld(t)
	p, poor := w.payer(1, 1, 1000, 900, 100), w.payer(2, 2, 0, 900, 100)
	w.tally()
	refused, good := poor.order(session(50, 1), 500, 1), p.order(session(50, 1), 500, 1)
	w.tally()
	w.want(refused, types.OverBudget)
	w.want(good, "")
	for w.epoch < 1+receipt.MaxFresh {
		w.tally()
	}
	w.changes = append(w.changes, Change{Holder: &Holder{Account: account(2), Bought: 5000}})
	w.tally()
	w.items = append(w.items, refused)
	again := p.order(session(50, 1), 600, 2)
	w.tally()
	w.want(refused, types.WrongEpoch)
	w.want(again, "")
}

// TestOrdersShare: orders of one account reserve after each other, so that together they spend no more than it
// has; of two orders with one number the lower hash counts.
func TestOrdersShare(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p, q := w.payer(1, 1, 1000, 900, 100), w.payer(1, 2, 1000, 900, 100)
	one, two := p.order(session(50, 1), 500, 1), p.order(session(50, 1), 600, 1)
	p.order(session(50, 2), 700, 2)
	q.order(session(50, 3), 700, 1)
	w.tally()
	if h, k := types.Sum(one.Raw), types.Sum(two.Raw); bytes.Compare(h[:], k[:]) > 0 {
		one, two = two, one
	}
	w.want(one, "")
	w.want(two, types.Superseded)
	d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(7), Quality: 10_000})
	w.tally()
	if s := w.state.Totals().Spent; s != 1000 || w.state.Key(p.id).Spent > 900 {
		t.Fatalf("spent %d, by one key %d", s, w.state.Key(p.id).Spent)
	}
}

// TestOrderLimit: at most 64 orders of an account are live.
func TestOrderLimit(t *testing.T) {
	w := newWorld(t)
	p, q := w.payer(1, 1, 100_000, 900, 100), w.payer(1, 2, 100_000, 900, 100)
	var items []Item
	for i := range 40 {
		items = append(items, p.order(session(50, i), 500, uint64(i+1)), q.order(session(50, i), 500, uint64(i+1)))
	}
	w.tally()
	refused := 0
	for _, it := range items {
		if r := w.reason(it); r == types.OrderLimit {
			refused++
		} else if r != "" {
			t.Fatal(r)
		}
	}
	if refused != 80-receipt.MaxOrders {
		t.Fatalf("%d refused", refused)
	}
	if bytes.Compare(p.id[:], q.id[:]) > 0 {
		p, q = q, p // the lower key's orders were taken first
	}
	p.order(session(50, 0), 0, 100) // a cancellation
	more := q.order(session(50, 99), 500, 200)
	w.tally()
	w.want(more, "")
}

// TestWorkedExample runs the worked example of core/econ through Apply: work and receipts in one epoch, and
// their fold in the next.
func TestWorkedExample(t *testing.T) {
	raw, err := os.ReadFile("../econ/testdata/worked.json")
	if err != nil {
		t.Fatal(err)
	}
	var want []struct {
		Name  string
		Split struct {
			Settled, Spent types.Credit
			Payout         types.Ustone
		}
		Emission struct{ Amount types.Ustone }
		Device   []struct {
			Paid, Settled, Owed   types.Credit
			Weight                types.U128
			Pay, Emission, Amount types.Ustone
		}
		Allotted, Folded types.Ustone
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	type one struct {
		units   uint64
		quality types.Bp
		cell    int
	}
	work := []one{{100_000_000, 10_000, 0}, {100_000_000, 9_000, 0}, {80_000_003, 7_500, 0}, {7_000_000, 10_000, 100}}
	for _, c := range want {
		t.Run(c.Name, func(t *testing.T) {
			w := newWorld(t)
			w.rules, _ = NewRules(1, things{category: other}.verifier())
			w.params = []Params{{Category: other, Quota: 100_000_000, Threshold: 2_000_000_000_000, Hex: 9}}
			p := w.payer(1, 1, 1<<40, 1<<40, 100)
			var devices []*device
			for i := range work {
				d := w.device(i)
				w.changes[len(w.changes)-1].Device.Cell = cell(work[i].cell)
				d.say(other, kindWork, workBody{Class: 1, Units: types.U64(work[i].units), Quality: work[i].quality})
				if paid := c.Device[i].Paid; paid > 0 {
					p.pay(d, d.ask(other, 1000), session(50, i), uint64(paid), paid, 1)
				}
				devices = append(devices, d)
			}
			w.minOpening = 1
			w.tally()
			var weight types.U128
			for i, d := range devices {
				s := w.state.Line(d.id).share(other)
				if s.Weight != c.Device[i].Weight || s.Paid != c.Device[i].Paid {
					t.Fatalf("device %d: %+v, want weight %s, paid %d", i, s, c.Device[i].Weight, c.Device[i].Paid)
				}
				weight, _ = weight.Add(s.Weight)
			}
			owed := w.state.Totals().Spent
			w.fold = &Settlement{Owed: owed, Settled: c.Split.Settled, Payout: c.Split.Payout,
				Shares: []econ.Share{{Category: other, Emitted: c.Emission.Amount, Weight: weight}}}
			w.tally()
			for i, d := range devices {
				if l := w.state.Line(d.id); l.Amount != c.Device[i].Amount || l.Settled != c.Device[i].Settled {
					t.Fatalf("device %d: amount %d, settled %d, want %d, %d", i, l.Amount, l.Settled, c.Device[i].Amount, c.Device[i].Settled)
				}
			}
			if got := w.header.Totals.Amount; got != c.Folded {
				t.Fatalf("folded %d, want %d", got, c.Folded)
			}
		})
	}
}
