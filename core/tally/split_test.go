package tally

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

// cut draws how n is cut into k parts.
func cut(t *rapid.T, n uint64, k int, label string) []uint64 {
	parts := make([]uint64, k)
	for i := range k - 1 {
		parts[i] = rapid.Uint64Range(0, n).Draw(t, label)
		n -= parts[i]
	}
	parts[k-1] = n
	return parts
}

// TestSplitPaysNoMore holds "What must hold" 3: an operator who hands in the same work and the same receipts
// through many devices, for many sessions, keys and accounts, gets no ustone more. Neighbours and other
// customers stay as they are.
func TestSplitPaysNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(2, 5).Draw(t, "parts")
		units := rapid.Uint64Range(0, 2000).Draw(t, "units")
		quality := types.Bp(rapid.Uint32Range(0, 10_000).Draw(t, "quality"))
		amount := rapid.Uint64Range(100, 3000).Draw(t, "amount")
		bought := rapid.Uint64Range(0, 2000).Draw(t, "bought")
		accounts := rapid.Bool().Draw(t, "split accounts")
		percent, pay := rapid.Uint64Range(0, 100).Draw(t, "percent"), rapid.Uint64Range(0, 5).Draw(t, "pay")
		emission := types.Ustone(rapid.Uint64Range(0, 1_000_000).Draw(t, "emission"))
		crowd := rapid.Uint64Range(0, 2000).Draw(t, "neighbour")
		rival := rapid.Uint64Range(0, 2000).Draw(t, "rival receipt")
		settle := rapid.Uint64Range(0, 1<<40).Draw(t, "emission weight")
		run := func(units, amounts, bought []uint64) (paid types.Credit, earned types.Ustone) {
			w := newWorld(t)
			w.minOpening = 1
			w.params = []Params{{Category: other, Quota: 1 << 40, Threshold: 5_000_000, Hex: 9}}
			// A neighbour in the same hex, who is paid out of the first account, too.
			n := w.device(50)
			w.changes[len(w.changes)-1].Device.Cell = cell(0)
			n.say(other, kindWork, workBody{Class: 1, Units: types.U64(crowd), Quality: 10_000})
			var mine []*device
			var first *payer
			for i := range units {
				d := w.device(i)
				w.changes[len(w.changes)-1].Device.Cell = cell(0)
				d.say(other, kindWork, workBody{Class: 1, Units: types.U64(units[i]), Quality: quality})
				mine = append(mine, d)
				b := bought[min(i, len(bought)-1)]
				p := w.payer(min(i, len(bought)-1), i, types.Credit(b), 1<<40, 100)
				if first == nil {
					first = p
				}
				if amounts[i] > 0 {
					p.pay(d, d.ask(other, 1000), session(50, i), amounts[i], types.Credit(amounts[i]), 1)
				}
			}
			if rival > 0 && len(bought) == 1 {
				first.pay(n, n.ask(other, 1000), session(50, 99), rival, types.Credit(rival), 1)
			}
			w.tally()
			w.settle(percent, pay, emission)
			for i := range w.fold.Shares { // other regions, equal in both worlds
				s := &w.fold.Shares[i]
				s.Weight = types.U64(1<<62 + settle)
				s.Emitted *= 1 << 40
			}
			w.tally()
			for _, d := range mine {
				l := w.state.Line(d.id)
				paid += l.Paid()
				earned += l.Amount
			}
			return paid, earned
		}
		purse := []uint64{bought}
		paid1, earned1 := run([]uint64{units}, []uint64{amount}, purse)
		if accounts {
			purse = cut(t, bought, k, "bought")
			rival = 0
			paid1, earned1 = run([]uint64{units}, []uint64{amount}, []uint64{bought})
		}
		paid, earned := run(cut(t, units, k, "units"), cut(t, amount, k, "amount"), purse)
		if paid > paid1 || earned > earned1 {
			t.Fatalf("split in %d: paid %d instead of %d, earns %d instead of %d", k, paid, paid1, earned, earned1)
		}
	})
}

// TestManyKeys: one account's credits pay at most what was bought, through however many keys, sessions and devices.
func TestManyKeys(t *testing.T) {
	w := newWorld(t)
	w.minOpening = 1
	for i := range 10 {
		d, p := w.device(i), w.payer(1, i, 1000, 1000, 100)
		p.pay(d, d.ask(thing, 1000), session(50, i), 700, 700, 1)
	}
	w.tally()
	if got := w.state.Totals().Spent; got != 1000 {
		t.Fatalf("spent %d", got)
	}
}
