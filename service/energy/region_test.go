package energy

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// region runs the devices of a world through the whole tally: signatures, asks, orders, budget, settlement,
// amounts. Its clock is that of a network on one laptop: an epoch of 8 seconds is an hour.
type region struct {
	*world
	rules   *tally.Rules
	state   *tally.State
	header  *tally.Header
	params  tally.Params
	changes []tally.Change
	orders  []receipt.SignedOrder
	chain   uint64 // Unix seconds of the chain's clock
	outputs []tally.OutputLeaf
	spent   types.Credit
}

func newRegion(t *testing.T) *region {
	rules, err := tally.NewRules(1, New())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.epoch, w.time = 1, noon
	r := &region{world: w, rules: rules, state: tally.NewState(testChain, 0), params: New().Spec.Defaults(), chain: 1_700_000_000}
	market := DefaultRules()
	market.Clock = Clock{Chain: r.chain, Energy: noon, Rate: 450}
	market.Zones = append(market.Zones, Zone{Cell: home.Parent(3), FeedIn: 90, Ceilings: market.Zones[0].Ceilings})
	r.params.Rules = market.Encode()
	if err := New().CheckRules(r.params.Rules); err != nil {
		t.Fatal(err)
	}
	return r
}

// join registers a device and the account of its owner.
func (r *region) join(name string, site Site) *device {
	d := r.device(name, site)
	r.changes = append(r.changes, tally.Change{Device: &d.reg})
	return d
}

// fund gives an account credits and a key.
func (r *region) fund(name string, owner types.Account, credits types.Credit) types.PrivateKey {
	k := key("payer " + name)
	r.changes = append(r.changes,
		tally.Change{Holder: &tally.Holder{Account: owner, Bought: credits}},
		tally.Change{Grant: &tally.Grant{Key: k.Public(), Account: owner, Limit: credits, Expiry: 10000}})
	return k
}

// sign hands an order in.
func (r *region) sign(payer types.PrivateKey, n byte, rule uint16, s Selector, limit, most uint64, most2 types.Credit) tally.SessionKey {
	o := receipt.Order{
		Chain: testChain, Category: types.Energy, Session: types.NewSessionID(5000, [12]byte{n}), Payer: payer.Public(), Rule: rule,
		Selector: s.Encode(), Limit: limit, Most: types.U64(most), Cap: most2, Seq: 1, First: 1,
	}
	r.orders = append(r.orders, *o.Sign(payer))
	return tally.SessionKey{Payer: o.Payer, ID: o.Session}
}

// end closes the epoch for everybody, cut in one part and in five, and returns the refusals.
func (r *region) end() []tally.Rejection {
	r.t.Helper()
	var items []tally.Item
	for _, d := range r.devices {
		for _, e := range d.evidence {
			items = append(items, tally.Item{Type: tally.Evidence, Raw: e.Raw})
		}
		for _, a := range d.asks {
			items = append(items, tally.Item{Type: tally.Ask, Raw: a.Sign(d.key).Encode()})
		}
		d.evidence, d.asks = nil, nil
	}
	for i := range r.orders {
		items = append(items, tally.Item{Type: tally.Order, Raw: r.orders[i].Encode()})
	}
	r.orders = nil
	frame := &tally.Frame{
		Chain: testChain, Epoch: r.epoch, Seed: r.seed(), PreviousEpoch: r.state.Epoch(), Time: r.chain,
		Blocks: []tally.BlockHash{{}}, Params: []tally.Params{r.params}, MinOpening: 1,
	}
	if r.header != nil {
		t := r.header.Totals
		owed := t.Spent - t.Settled
		frame.Previous = r.header.Hash()
		frame.Fold = &tally.Settlement{Owed: owed, Settled: owed, Payout: types.Ustone(owed) * 2}
	}
	batch := tally.NewBatch(testChain, items)
	signed := tally.CheckSignatures(batch, testChain)
	next, header, result, err := tally.Apply(r.rules, r.state, frame, batch, r.changes, signed)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Reverse(items)
	again, header2, _, err := tally.Pool{Parts: 5}.Apply(r.rules, r.state, frame, tally.NewBatch(testChain, items), r.changes, signed)
	if err != nil || header.Hash() != header2.Hash() || next.Hash() != again.Hash() {
		r.t.Fatalf("cut in five, handed in backwards: header %s, %s; %v", header.Hash(), header2.Hash(), err)
	}
	r.state, r.header, r.changes = next, header, nil
	r.outputs = append(r.outputs, result.Outputs...)
	for _, d := range r.devices {
		d.line = next.CategoryLine(d.key.Public(), types.Energy)
	}
	for _, o := range result.Outputs {
		r.output(tally.OutputData{Data: o.Data, Detail: o.Detail})
	}
	r.epoch++
	r.chain += 8
	r.time += 3600
	return result.Rejections
}

// TestRegion: a roof, two houses and a company in one region, through the whole tally: what is metered is
// cleared and paid, to the micro-credit; who pays pays what the sellers get; an order beyond its funds stops;
// what nobody bought is sealed.
func TestRegion(t *testing.T) {
	r := newRegion(t)
	roof, one, two := r.join("roof", solar("roof")), r.join("one", flat("one")), r.join("two", flat("two"))
	first := r.fund("one", one.reg.Owner, 1_000_000)
	second := r.fund("two", two.reg.Owner, 30_000) // soon out of credits
	buyer := r.fund("company", account("company"), 1_000_000)
	a := r.sign(first, 1, RuleCommunity, Selector{Meter: one.key.Public()}, 200, 200, 900_000)
	b := r.sign(second, 2, RuleCommunity, Selector{Meter: two.key.Public()}, 150, 200, 900_000)
	c := r.sign(buyer, 3, RuleCertificate, Selector{Technology: Solar, Beneficiary: "Company"}, 50, 100, 900_000)
	foreign := r.sign(buyer, 4, RuleCommunity, Selector{Meter: one.key.Public()}, 200, 200, 900_000)
	roof.ask(Community, 100)
	roof.ask(Certificate, 20)
	for _, d := range r.devices {
		d.hand(d.record(r.done() + 3))
	}
	if refused := r.end(); len(refused) > 0 {
		t.Fatal(refused)
	}
	for range 30 {
		roof.hour(func(k uint64) flows { return roof.sunny(k, 50) })
		one.hour(func(uint64) flows { return flows{imp: 150} })
		two.hour(func(uint64) flows { return flows{imp: 120} })
		if refused := r.end(); len(refused) > 0 {
			t.Fatal(refused)
		}
		var sum types.Credit
		for _, s := range r.sales {
			sum += types.Credit((s.To - s.From) * s.Price)
		}
		if got := r.state.Line(roof.key.Public()).Paid(); got != sum || r.header.Totals.Spent != sum {
			t.Fatalf("epoch %d: the roof was paid %d, sales come to %d, %d were spent", r.epoch, got, sum, r.header.Totals.Spent)
		}
	}
	units := map[tally.SessionKey]types.U128{}
	for key, s := range r.state.Orders() {
		units[key] = s.Units
		t.Logf("order %x bought %s Wh for %d", key.ID[4:6], s.Units, s.Amount)
	}
	if units[a].IsZero() || units[b].IsZero() || units[c].IsZero() || !units[foreign].IsZero() {
		t.Errorf("bought: %v", units)
	}
	if k := r.state.Key(second.Public()); k.Spent > 30_000 || k.Spent < 30_000-150 {
		t.Errorf("the poor house spent %d", k.Spent)
	}
	s := roof.state()
	if s.Sums.Community == 0 || s.Sums.Certificate == 0 || s.Sums.Sealed == 0 || len(r.sheets) == 0 || r.sheets[0].Total != s.Sums.Sealed {
		t.Errorf("%+v, sheets %+v", s.Sums, r.sheets)
	}
	if sum := s.Sums.Community + s.Sums.Certificate + s.Sums.Sealed + s.Sums.Netted + s.Sums.Withheld() + s.Lots.Total(); sum+pending(s) != s.Sums.Exported {
		t.Errorf("%d Wh of %d are accounted for", sum+pending(s), s.Sums.Exported)
	}
	found := 0
	for _, o := range r.outputs {
		if bytes.HasPrefix(o.Data, StatementPrefix(a.Payer, a.ID)) {
			found++
		}
	}
	if found == 0 {
		t.Error("no statement of the order is found by its prefix")
	}
}

func pending(s *State) (wh uint64) {
	for i := range s.Pending {
		wh += s.Pending[i].Wh[Export]
	}
	return wh
}
