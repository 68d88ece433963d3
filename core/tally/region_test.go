package tally

import (
	"errors"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// TestRegions: two regions run side by side over one chain's settlements. Each has its own devices, credits,
// header and state; what is paid out in both together is what was settled for both, and nothing of one counts
// in the other.
func TestRegions(t *testing.T) {
	var regions [2]*world
	var devices [2]*device
	var payers [2]*payer
	for r := range regions {
		w := newWorld(t)
		w.region, w.state = types.Region(r), NewState(testChain, types.Region(r))
		regions[r], devices[r], payers[r] = w, w.device(1+r), w.payer(1, 1+r, 10_000, 5_000, 100)
	}
	for e := range 6 {
		var batches [2][]Item
		for r, w := range regions {
			d := devices[r]
			a := d.ask(thing, 1000)
			amount := types.Credit(300 * (e + 1) * (r + 1))
			payers[r].pay(d, a, session(50, 1), uint64(amount), amount, uint64(e+1))
			d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(uint64(7 + 3*r)), Quality: 10_000})
			batches[r] = slices.Clone(w.items)
		}
		// Each batch also holds all that the other region's verifiers acknowledged.
		for r, w := range regions {
			w.items = append(w.items, batches[1-r]...)
			w.tally()
			for _, it := range batches[r] {
				w.want(it, "")
			}
			for _, it := range batches[1-r] {
				w.want(it, types.UnknownAuthor)
			}
			if w.header.Region != types.Region(r) || w.state.Line(devices[1-r].id) != nil {
				t.Fatalf("region %d: header of region %d", r, w.header.Region)
			}
		}
		settleBoth(t, regions)
	}
	if a, b := regions[0].header, regions[1].header; a.State == b.State || a.Hash() == b.Hash() || a.Totals.Spent != 1800 || b.Totals.Spent != 3600 {
		t.Fatalf("spent %d and %d", a.Totals.Spent, b.Totals.Spent)
	}

	// A frame is of one region, and so is what it is applied to.
	w := regions[0]
	w.region = 1
	batch := NewBatch(testChain, nil)
	if _, _, _, err := Apply(w.rules, w.state, w.frame(), batch, nil, nil); !errors.Is(err, ErrInput) {
		t.Fatalf("a frame of another region: %v", err)
	}
}

// settleBoth settles what both regions' headers say together, as the chain does, and checks that no more than
// that is shared out when the next headers fold it. A chain without regions would share it out alike: each
// region's part follows from its own sums.
func settleBoth(t *testing.T, regions [2]*world) {
	t.Helper()
	var all Settlement
	var weight types.U128
	for _, w := range regions {
		totals := w.state.Totals()
		all.Owed += totals.Spent - totals.Settled
		for _, c := range totals.Categories {
			if c.Category == thing {
				weight, _ = weight.Add(c.Weight)
			}
		}
	}
	all.Settled = all.Owed * 2 / 3 // the rest stays owed
	all.Payout = types.Ustone(all.Settled) * 3
	all.Shares = []econ.Share{{Category: thing, Emitted: 10_007, Weight: weight}}
	var grown types.Ustone
	var settled types.Credit
	for _, w := range regions {
		fold, before := all, w.state
		w.fold = &fold
		next, _, _, err := Apply(w.rules, before, w.frame(), NewBatch(testChain, nil), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, b := before.Totals(), next.Totals()
		grown += b.Amount - a.Amount
		settled += b.Settled - a.Settled
	}
	if most := all.Payout + 10_007; grown > most || most-grown > 8 || settled > all.Settled || all.Settled-settled > 4 {
		t.Fatalf("shared out %d of %d, settled %d of %d", grown, most, settled, all.Settled)
	}
}

// TestOrderOfRegion: an order counts in the region that it names and in no other, whatever else the other one
// knows of its payer. Here both know the key and have credits of the account, as they would if a key could be
// granted in both: who signed a ceiling of 500 once never pays it twice. And whoever hands a payer's orders of
// one region in at the other uses up nothing of its quota there.
func TestOrderOfRegion(t *testing.T) {
	var regions [2]*world
	var payers [2]*payer
	for r := range regions {
		w := newWorld(t)
		w.region, w.state = types.Region(r), NewState(testChain, types.Region(r))
		regions[r], payers[r] = w, w.payer(1, 1, 10_000, 5_000, 100)
	}
	order := func(region types.Region, n int) []byte {
		o := receipt.Order{Chain: testChain, Region: region, Category: thing, Session: session(50, n), Payer: payers[0].id,
			Limit: 1, Cap: 500, Seq: 1, First: 1}
		return o.Sign(payers[0].key).Encode()
	}
	for region, w := range regions {
		var foreign []Item
		for n := range MaxNewOrder + 1 {
			foreign = append(foreign, w.add(Order, order(types.Region(1-region), n)))
		}
		own := w.add(Order, order(types.Region(region), 1000))
		w.tally()
		for _, it := range foreign {
			w.want(it, types.WrongRegion)
		}
		w.want(own, "")
		for n := range MaxNewOrder + 1 {
			if line := payers[region].line(session(50, n)); line != nil {
				t.Fatalf("region %d remembers an order of the other: %+v", region, line)
			}
		}
	}
}

// TestSameCreditsInBoth: an account with credits in one region and a key in either promises them in both, by a
// receipt and by an order. Each region goes by what was bought for it, so that all together never spend more
// than was bought.
func TestSameCreditsInBoth(t *testing.T) {
	var spent types.Credit
	for region, bought := range []types.Credit{1000, 0} {
		w := newWorld(t)
		w.region, w.state = types.Region(region), NewState(testChain, types.Region(region))
		d, p := w.device(1+region), w.payer(1, 1+region, bought, 1<<40, 1000)
		paid := p.pay(d, d.ask(thing, 1000), session(50, 1), 600, 600, 1)
		o := receipt.Order{Chain: testChain, Region: w.region, Category: thing, Session: session(50, 2), Payer: p.id, Limit: 1, Cap: 400, Seq: 1, First: 1}
		ordered := w.add(Order, o.Sign(p.key).Encode())
		w.tally()
		want := types.Reason("")
		if region == 1 {
			want = types.OverBudget
		}
		w.want(paid, want)
		w.want(ordered, want)
		w.tally()
		spent += w.header.Totals.Spent
	}
	if spent != 600 && spent != 1000 {
		t.Fatalf("spent %d of 1000", spent)
	}
}
