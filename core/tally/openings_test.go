package tally

import (
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// opened is how many sessions the state has, and the bytes of it.
func (w *world) opened() (lines, size int) {
	for walk := w.state.tables[sessionTable].walk(nil, nil); walk.next(); {
		lines++
	}
	for _, p := range w.state.tables[sessionTable] {
		size += len(p.raw)
	}
	return lines, size
}

// TestPoorOpenings: devices and a payer that sign openings of sessions together leave no more of them in the
// state than the account has credits for, over all of its keys, all devices and all epochs.
func TestPoorOpenings(t *testing.T) {
	for _, c := range []struct {
		name          string
		bought, limit types.Credit // of the account, of each of its two keys
		want          int
		reason        types.Reason
	}{
		{"no credits", 0, 1 << 40, 0, types.OverBudget},
		{"less than opens one", 99, 1 << 40, 0, types.OverBudget},
		{"for one", 100, 1 << 40, 1, types.OverBudget},
		{"for seven", 799, 1 << 40, 7, types.OverBudget},
		{"keys that may spend nothing", 1 << 40, 0, 0, types.OverLimit},
		{"for all", 1 << 40, 1 << 40, 12 * 2 * 2 * 4, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			devices := []*device{w.device(1), w.device(2)}
			payers := []*payer{w.payer(1, 1, c.bought, c.limit, 9000), w.payer(1, 2, c.bought, c.limit, 9000)}
			terms := receipt.Ask{Chain: testChain, Device: devices[0].id, Category: thing, Class: 1, Price: 500, Until: 1 << 20}
			n, counted := 0, 0
			for range 12 {
				var items []Item
				for range 4 {
					for _, d := range devices {
						for _, p := range payers {
							n++
							items = append(items, d.say(thing, kindOpen, openBody{Session: SessionKey{Payer: p.id, ID: session(8000, n)}, Terms: terms.Hash(), Price: 500}))
						}
					}
				}
				w.tally()
				for _, it := range items {
					switch reason := w.reason(it); reason {
					case "":
						counted++
					case c.reason:
					default:
						t.Fatalf("an opening is refused with %q, want %q", reason, c.reason)
					}
				}
			}
			lines, size := w.opened()
			t.Logf("%d openings were signed, %d sessions in %d bytes are left", n, lines, size)
			if lines != c.want || counted != c.want {
				t.Errorf("%d sessions, %d openings counted, want %d", lines, counted, c.want)
			}
		})
	}
}

// TestOpeningsArePaid: a session that was paid the least opening amount needs nothing behind it any more, and
// one that is open already is opened again by nobody.
func TestOpeningsArePaid(t *testing.T) {
	w := newWorld(t)
	d, e := w.device(1), w.device(2)
	p := w.payer(1, 1, 250, 1<<40, 9000)
	a := receipt.Ask{Chain: testChain, Device: d.id, Category: thing, Class: 1, Price: 500, Until: 1 << 20}
	open := func(d *device, n int) Item {
		return d.say(thing, kindOpen, openBody{Session: SessionKey{Payer: p.id, ID: session(8000, n)}, Terms: a.Hash(), Price: 500})
	}
	first, second, third := open(d, 1), open(d, 2), open(d, 3)
	taken := open(e, 2)
	w.tally()
	w.want(first, "")
	w.want(second, "")
	w.want(third, types.OverBudget)
	w.want(taken, types.SessionMismatch)
	p.pay(d, &a, session(8000, 1), 200, 100, 1)
	paid := open(d, 4) // 150 are left, and one session without a payment
	taken, again := open(e, 1), open(d, 1)
	w.tally()
	w.want(paid, types.OverBudget)
	w.want(taken, types.SessionMismatch)
	w.want(again, "")
	w.changes = append(w.changes, Change{Holder: &Holder{Account: account(1), Bought: 300}})
	paid = open(d, 4)
	w.tally()
	w.want(paid, "")
}
