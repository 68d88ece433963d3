package compute

import (
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// TestRegion takes devices through whole tallies: checks earn weight up to what bonds stand for, fuel is paid,
// a conflict takes of the bond.
func TestRegion(t *testing.T) {
	rules, err := tally.NewRules(1, New())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "region", 5)
	honest, large, liar := w.device("honest", 0), w.device("large", 0), w.device("liar", 0)
	payer, account := key("customer"), types.Account{9}
	changes := []tally.Change{
		{Holder: &tally.Holder{Account: account, Bought: 1 << 30}},
		{Grant: &tally.Grant{Key: payer.Public(), Account: account, Limit: 1 << 30, Expiry: 5000}},
	}
	for i := range w.Members {
		m := &w.Members[i]
		m.Cell, m.Bond = types.Cell(i+1), bond
		if m.Key == large.info.Key {
			m.Bond = 2 * bond
		}
		changes = append(changes, tally.Change{Device: m})
	}
	for i := range w.Voters {
		changes = append(changes, tally.Change{Attester: &w.Voters[i]})
	}
	for _, d := range []*device{honest, large, liar} {
		d.info = *w.Device(d.info.Key)
	}
	params := spec.Defaults()
	params.Rules = testRules().Encode()
	state := tally.NewState(testChain, 0)
	var header *tally.Header
	apply := func(more ...tally.Item) *tally.Result {
		t.Helper()
		items := more
		for _, d := range []*device{honest, large, liar} {
			for _, e := range append(d.evidence, d.reports...) {
				items = append(items, tally.Item{Type: tally.Evidence, Raw: e.Raw})
			}
			d.evidence, d.reports = nil, nil
		}
		frame := &tally.Frame{
			Chain: testChain, Epoch: w.epoch, Seed: w.seed(), Challenged: true, Time: w.time(), PreviousEpoch: state.Epoch(),
			Blocks: []tally.BlockHash{{}}, Params: []tally.Params{params}, MinOpening: 1,
		}
		if header != nil {
			frame.Previous = header.Hash()
		}
		batch := tally.NewBatch(testChain, items)
		next, h, result, err := tally.Apply(rules, state, frame, batch, changes, tally.CheckSignatures(batch, testChain))
		if err != nil {
			t.Fatal(err)
		}
		state, header, changes = next, h, nil
		w.next()
		return result
	}
	check := func() {
		for _, d := range []*device{honest, large} {
			d.offer(8)
			d.pass(0, 4) // 80 rounds: 36,000 wu
		}
	}
	check()
	if r := apply(); len(r.Rejections) != 0 {
		t.Fatalf("refused: %+v", r.Rejections)
	}
	check()
	apply()
	quality := uint64(5000 + 312 + 293)
	total := header.Totals.Categories[0].Weight
	if want := types.U64(3 * Quota * quality); total != want { // one bond stands for one quota, two for two
		t.Errorf("weight %s, want %s", total, want)
	}

	// Fuel is paid with the results of its epoch, which the receipt waits for.
	s := liar.session("customer", Wasm)
	told := s.job(1_000_000, Public)
	pay := func() []tally.Item {
		r := receipt.Receipt{
			Chain: testChain, Category: types.Compute, Session: s.id, Payer: payer.Public(), Device: liar.info.Key, Terms: s.ask.Hash(),
			Units: types.U64(1_000_000), Amount: 1_000_000, Seq: 1, First: w.epoch,
		}
		signed := receipt.Signed{Receipt: r, PayerSig: r.Sign(payer), DeviceSig: r.Countersign(liar.key)}
		return []tally.Item{{Type: tally.Ask, Raw: s.ask.Sign(liar.key).Encode()}, {Type: tally.Receipt, Raw: signed.Encode()}}
	}
	if r := apply(pay()...); len(r.Rejections) != 1 || r.Rejections[0].Reason != NoResult {
		t.Errorf("refused: %+v", r.Rejections)
	}
	s.leaves[0].Result = types.Sum([]byte("another"))
	s.commit(0)
	e := liar.evidence[0]
	if r := apply(pay()...); len(r.Rejections) != 0 || state.Line(liar.info.Key).Paid() != 1_000_000 {
		t.Errorf("paid %d, refused: %+v", state.Line(liar.info.Key).Paid(), r.Rejections)
	}

	// What it told the customer and what it committed to differ.
	path := s.tree(0).Prove(0)
	fault := &Fault{Device: liar.info.Key, Conflict: &Conflict{
		A: Claim{Signed: told}, B: Claim{Committed: &Committed{Results: e.Raw, Leaf: s.leaves[0], Path: path}}}}
	liar.report(w.verifiers[w.Voters[0].Key], KindFault, fault.Encode())
	if r := apply(); len(r.Rejections) != 1 || r.Rejections[0].Reason != ResultConflict || !r.Rejections[0].Proof || r.Rejections[0].Device != liar.info.Key {
		t.Errorf("refused: %+v", r.Rejections)
	}
	if got := state.Line(liar.info.Key).Penalty; got != penalty {
		t.Errorf("a fault takes %d, want %d", got, penalty)
	}
}
