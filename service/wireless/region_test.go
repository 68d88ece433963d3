package wireless

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// TestRegion takes devices through whole tallies: lines that drawn verifiers read earn weight, bytes are paid, and
// strangers' reports count nothing.
func TestRegion(t *testing.T) {
	rules, err := tally.NewRules(1, New())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "region", 10)
	d := w.device("device", 20*mega)
	w.device("idle", 20*mega)
	payer, account := key("customer"), types.Account{9}
	changes := []tally.Change{
		{Holder: &tally.Holder{Account: account, Bought: 1 << 30}},
		{Grant: &tally.Grant{Key: payer.Public(), Account: account, Limit: 1 << 30, Expiry: 5000}},
	}
	for i := range w.Members {
		m := &w.Members[i]
		m.Cell, m.Bond = types.Cell(i+1), bond
		changes = append(changes, tally.Change{Device: m})
	}
	for i := range w.Voters {
		changes = append(changes, tally.Change{Attester: &w.Voters[i]})
	}
	for _, d := range w.devices {
		d.info = *w.Device(d.info.Key)
	}
	params := spec.Defaults()
	params.Rules = w.rules.Encode()
	state := tally.NewState(testChain, 0)
	var header *tally.Header
	apply := func(items ...tally.Item) *tally.Result {
		t.Helper()
		for _, d := range w.devices {
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
		for _, d := range w.devices {
			d.line = state.CategoryLine(d.info.Key, types.Wireless)
		}
		w.epoch++
		return result
	}
	for n := range 7 {
		for _, d := range w.devices {
			d.here()
		}
		d.honestly(20 * mega)
		if test, start := d.test(0); test != nil { // and one who was not drawn
			for k := range w.verifiers {
				if !slices.Contains(test.Members, k) {
					d.report(k, d.seen(test, start, k, test.Packets).Encode())
					break
				}
			}
		}
		r := apply()
		for _, x := range r.Rejections {
			if x.Proof || n == 0 {
				t.Errorf("epoch %d: %+v", n, x)
			}
		}
	}
	proven := d.state().Proven()
	if want := types.U64(proven * Window / 8000 * 10_000); header.Totals.Categories[0].Weight != want || proven < 12*mega {
		t.Errorf("weight %s, want %s", header.Totals.Categories[0].Weight, want)
	}

	// Bytes are paid by receipt, up to what the claim carries.
	s := d.session("customer", Tunnel, 10)
	pay := func(units, seq uint64) *tally.Result {
		amount, err := Amount(units, s.ask.Price)
		if err != nil {
			t.Fatal(err)
		}
		r := receipt.Receipt{
			Chain: testChain, Category: types.Wireless, Session: s.id, Payer: payer.Public(), Device: d.info.Key, Terms: s.ask.Hash(),
			Units: types.U64(units), Amount: amount, Seq: seq, First: w.epoch,
		}
		signed := receipt.Signed{Receipt: r, PayerSig: r.Sign(payer), DeviceSig: r.Countersign(d.key)}
		return apply(tally.Item{Type: tally.Ask, Raw: s.ask.Sign(d.key).Encode()}, tally.Item{Type: tally.Receipt, Raw: signed.Encode()})
	}
	before := header.Totals.Categories[0].Weight
	if r := pay(100_000_000, 1); len(r.Rejections) != 0 || state.Line(d.info.Key).Paid() != 10_000 {
		t.Errorf("paid %d, refused: %+v", state.Line(d.info.Key).Paid(), r.Rejections)
	}
	if r := pay(1<<45, 2); len(r.Rejections) != 1 || r.Rejections[0].Reason != OverCapacity {
		t.Errorf("refused: %+v", r.Rejections)
	}
	if after := header.Totals.Categories[0].Weight; after.Cmp(before) > 0 {
		t.Errorf("receipts raise weight from %s to %s", before, after)
	}
}
