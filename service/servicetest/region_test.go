package servicetest

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// TestMeterRegion takes Meter through the whole tally: work earns weight and emission, an order buys, a lie costs.
func TestMeterRegion(t *testing.T) {
	const chain = "cairn-test-1"
	rules, err := tally.NewRules(1, Meter())
	if err != nil {
		t.Fatal(err)
	}
	honest, liar, payer := meterKey(1), meterKey(2), meterKey(3)
	account := types.Account{7}
	changes := []tally.Change{
		{Holder: &tally.Holder{Account: account, Bought: 1 << 30}},
		{Grant: &tally.Grant{Key: payer.Public(), Account: account, Limit: 1 << 30, Expiry: 1000}},
	}
	for i, k := range []types.PrivateKey{honest, liar} {
		changes = append(changes, tally.Change{Device: &tally.Device{
			Key: k.Public(), Owner: types.Account{byte(i)}, Categories: []types.Category{MeterCategory}, Cell: types.Cell(i + 1), Bond: Meter().Spec.Params.Bond,
		}})
	}
	for i := range byte(3) {
		changes = append(changes, tally.Change{Attester: &tally.Attester{Key: meterKey(100 + i).Public(), Owner: types.Account{100 + i}, Power: 1}})
	}
	seq := map[types.Key]uint64{}
	var items []tally.Item
	epoch := types.Epoch(1)
	say := func(by types.PrivateKey, kind evidence.Kind, body []byte) {
		seq[by.Public()]++
		e := evidence.Sign(by, evidence.Payload{Chain: chain, Category: MeterCategory, Kind: kind, Epoch: epoch, Seq: seq[by.Public()], Body: body})
		items = append(items, tally.Item{Type: tally.Evidence, Raw: e.Raw})
	}
	state := tally.NewState(chain, 0)
	var header *tally.Header
	apply := func(fold *tally.Settlement) *tally.Result {
		t.Helper()
		frame := &tally.Frame{
			Chain: chain, Epoch: epoch, Seed: types.Hash{byte(epoch)}, Challenged: true, PreviousEpoch: state.Epoch(), Fold: fold,
			Blocks: []tally.BlockHash{{}}, Params: []tally.Params{Meter().Spec.Defaults()}, MinOpening: 1,
		}
		if header != nil {
			frame.Previous = header.Hash()
		}
		batch := tally.NewBatch(chain, items)
		next, h, result, err := tally.Apply(rules, state, frame, batch, changes, tally.CheckSignatures(batch, chain))
		if err != nil {
			t.Fatal(err)
		}
		state, header, items, changes = next, h, nil, nil
		epoch++
		return result
	}
	meter := func(k types.PrivateKey, register uint64) []byte {
		return (&MeterRegister{Device: k.Public(), Register: register}).Encode()
	}

	// Epoch 1: an order, which acts from the next epoch.
	order := receipt.Order{
		Chain: chain, Category: MeterCategory, Session: types.NewSessionID(50, [12]byte{1}), Payer: payer.Public(),
		Limit: MeterPrice, Most: types.U64(1 << 40), Cap: 12000, Seq: 1, First: 1,
	}
	items = append(items, tally.Item{Type: tally.Order, Raw: order.Sign(payer).Encode()})
	apply(nil)

	// Epoch 2: both count 5,000 ticks; three witnesses saw the liar's meter stand still.
	for _, k := range []types.PrivateKey{honest, liar} {
		say(k, MeterReading, meter(k, 5000))
		say(k, MeterEcho, MeterChallenge(types.Hash{2}, k.Public()))
	}
	for i := range byte(3) {
		say(meterKey(100+i), MeterSighted, meter(liar, 10))
	}
	result := apply(nil)
	if n := len(result.Rejections); n != 1 || result.Rejections[0].Reason != MeterOverstated || !result.Rejections[0].Proof || result.Rejections[0].Author != liar.Public() {
		t.Errorf("rejections: %+v", result.Rejections)
	}
	if got := state.Line(liar.Public()).Penalty; got != Meter().Spec.Params.Penalty {
		t.Errorf("the liar's penalty: %d", got)
	}
	// 12,000 micro-credits buy 2,000 ticks.
	if got := state.Line(honest.Public()).Paid(); got != 10000 {
		t.Errorf("the honest one was paid %d, want 10,000", got)
	}
	detail := types.Encode([]MeterBuyer{{Session: tally.SessionKey{Payer: payer.Public(), ID: order.Session}, Ticks: 2000}})
	want := types.Encode(&MeterSale{Device: honest.Public(), Ticks: 2000, Buyers: types.Sum(detail)})
	if len(result.Outputs) != 1 || !slices.Equal(result.Outputs[0].Data, want) ||
		!slices.Equal(result.Outputs[0].Detail, detail) || !slices.Equal(want[:35], MeterSalePrefix(honest.Public())) {
		t.Errorf("outputs: %+v", result.Outputs)
	}
	totals := header.Totals
	if len(totals.Categories) != 1 || totals.Categories[0].Weight != types.U64(5000*5500) {
		t.Fatalf("weight: %+v, want 5,000 ticks at 55 %%", totals.Categories)
	}

	// Epoch 3: the settlement shares out 777 ustone of emission and 20,000 for the credits; all of it is the
	// honest one's.
	apply(&tally.Settlement{
		Owed: totals.Spent, Settled: totals.Spent, Payout: 20000,
		Shares: []econ.Share{{Category: MeterCategory, Emitted: 777, Weight: totals.Categories[0].Weight}},
	})
	if got := state.Line(honest.Public()).Amount; got != 20777 {
		t.Errorf("the honest one may claim %d ustone, want 20,777", got)
	}
	if got := state.Line(liar.Public()).Amount; got != 0 {
		t.Errorf("the liar may claim %d ustone", got)
	}
	if got := state.CategoryTotals(MeterCategory); !slices.Equal(got, []uint64{2, 0}) {
		t.Errorf("totals %v", got)
	}
}
