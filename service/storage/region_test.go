package storage

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// region runs devices of one world through the whole tally: signatures, sessions, budget, settlement, amounts.
type region struct {
	*world
	rules    *tally.Rules
	state    *tally.State
	header   *tally.Header
	customer *customer
	devices  []*device
	asks     []receipt.Ask
	changes  []tally.Change
	payout   uint64 // ustone for 7 micro-credits
	owed     types.Credit
}

const bought = 1 << 40

func newRegion(t *testing.T, names ...string) *region {
	rules, err := tally.NewRules(1, New())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	r := &region{world: w, rules: rules, state: tally.NewState(testChain, 0), customer: w.customer("customer"), payout: 13}
	r.changes = []tally.Change{
		{Holder: &tally.Holder{Account: r.customer.account, Bought: bought}},
		{Grant: w.Granted[r.customer.key.Public()]},
	}
	for i, name := range names {
		d := w.device(name)
		r.devices = append(r.devices, d)
		r.changes = append(r.changes, tally.Change{Device: &tally.Device{
			Key: d.key.Public(), Owner: types.Account{byte(i)}, Categories: []types.Category{types.Storage},
		}})
	}
	return r
}

// end closes the epoch for everybody and returns the reasons of refusals by device, in the order of the batch.
func (r *region) end() map[types.Key][]types.Reason {
	r.t.Helper()
	var items []tally.Item
	for _, d := range r.devices {
		if d.state().Bytes() > 0 && !d.silent {
			d.submit(KindAnswer, d.prove().Encode())
		}
		for _, e := range d.evidence {
			items = append(items, tally.Item{Type: tally.Evidence, Raw: e.Raw})
		}
		for _, item := range d.receipts {
			s := receipt.Signed{Receipt: *item.Receipt, PayerSig: item.Receipt.Sign(r.customer.key), DeviceSig: item.Receipt.Countersign(d.key)}
			items = append(items, tally.Item{Type: tally.Receipt, Raw: s.Encode()})
		}
		for _, a := range r.asks {
			if a.Device == d.key.Public() {
				items = append(items, tally.Item{Type: tally.Ask, Raw: a.Sign(d.key).Encode()})
			}
		}
	}
	frame := &tally.Frame{
		Chain: testChain, Epoch: r.epoch, Seed: r.seed(), Challenged: true, PreviousEpoch: r.state.Epoch(),
		Blocks: []tally.BlockHash{{}}, Params: []tally.Params{New().Spec.Defaults()}, MinOpening: 1,
	}
	if r.header != nil {
		// Everything that is owed is settled, at payout/7 ustone for a micro-credit.
		t := r.header.Totals
		r.owed = t.Spent - t.Settled
		frame.Previous = r.header.Hash()
		frame.Fold = &tally.Settlement{Owed: r.owed, Settled: r.owed, Payout: types.Ustone(uint64(r.owed) * r.payout / 7)}
	}
	batch := tally.NewBatch(testChain, items)
	next, header, result, err := tally.Apply(r.rules, r.state, frame, batch, r.changes, tally.CheckSignatures(batch, testChain))
	if err != nil {
		r.t.Fatal(err)
	}
	r.state, r.header, r.changes = next, header, nil
	refused := map[types.Key][]types.Reason{}
	for _, x := range result.Rejections {
		refused[x.Author] = append(refused[x.Author], x.Reason)
	}
	for _, d := range r.devices {
		d.line, d.evidence, d.receipts = next.CategoryLine(d.key.Public(), types.Storage), nil, nil
	}
	r.totals = next.CategoryTotals(types.Storage)
	r.epoch++
	return refused
}

func (r *region) amount(d *device) types.Ustone { return r.state.Line(d.key.Public()).Amount }

// TestRegion: an honest device, one that drops a tenth, one that replays, one that invents, in one region. Each
// is refused by name, and the honest one gets what the arithmetic says, to the ustone.
func TestRegion(t *testing.T) {
	r := newRegion(t, "honest", "dropper", "replayer", "inventor")
	honest, dropper, replayer, inventor := r.devices[0], r.devices[1], r.devices[2], r.devices[3]
	deals := map[*device]*deal{}
	for _, d := range r.devices[:3] {
		deals[d] = r.customer.deal(d, "session "+string(rune('0'+len(deals))))
		deals[d].put(10, 3000)
	}
	if refused := r.end(); len(refused) > 0 {
		t.Fatal(refused)
	}
	delete(dropper.disk, deals[dropper].list.At(4).ID)
	old := replayer.prove()
	replayer.silent = true

	forged := r.customer.deal(inventor, "forged")
	forged.list.Commit(1, []Op{forged.list.Append(0, Shard{ID: types.Hash{1}, Bytes: 1000})})
	forged.holding.Revision, forged.holding.Shards, forged.holding.Bytes, forged.holding.Root = 1, 1, 1000, forged.list.Root().Hash
	r.asks = append(r.asks, forged.ask)

	// By hand, for the honest device: what is paid and not settled, in micro-credits, and what it may claim, in
	// ustone.
	var paid, owed, claim uint64
	failed := 0
	for n := uint64(1); n <= 30; n++ {
		// It draws all it may: 30,000 byte·epochs more each epoch, less an eighth, at a quarter of a micro-credit.
		payable := n*heldBytes - n*heldBytes/8
		deals[honest].pay(u(payable))
		// The dropper asks for what it may have if it passes; the others for as much as the honest one.
		state := dropper.state()
		deals[dropper].pay(state.Sessions[0].Payable(state.Passes + 1))
		replayer.submit(KindAnswer, old.Encode())
		deals[replayer].pay(u(payable))
		forgery := SignedHolding{Holding: forged.holding, Signature: inventor.key.Sign(DomainHolding, testChain, forged.holding.Payload())}
		inventor.submit(KindHolding, forgery.Encode())
		inventor.submit(KindAnswer, honest.prove().Encode())
		forged.pay(u(payable))

		refused := r.end()
		// The settlement of the epoch before: ⌊g·U/F⌋ of U = ⌊13·F/7⌋, where g is all that was owed to the device.
		if r.owed > 0 {
			claim += owed * (uint64(r.owed) * r.payout / 7) / uint64(r.owed)
		}
		owed, paid = payable/4-paid, payable/4
		if got := r.amount(honest); got != types.Ustone(claim) {
			t.Fatalf("epoch %d: the honest device may claim %d ustone, want %d", n, got, claim)
		}
		if got := refused[honest.key.Public()]; len(got) > 0 {
			t.Fatalf("the honest device: %v", got)
		}
		if got := refused[dropper.key.Public()]; len(got) > 0 {
			failed++
			if want := []types.Reason{AnswerChunk, UnitsBeyondProof}; !slices.Equal(got, want) {
				t.Errorf("the dropper: %v, want %v", got, want)
			}
		}
		// The old answer was right once. Later it names another shard, or another chunk of the right one.
		if got := refused[replayer.key.Public()]; n > 1 && (len(got) != 2 || got[0] != AnswerPosition && got[0] != AnswerChunk || got[1] != UnitsBeyondProof) {
			t.Errorf("the replayer: %v", got)
		}
		if got := refused[inventor.key.Public()]; !slices.Equal(got, []types.Reason{HoldingSignature, AnswerPosition, SessionUnknown}) {
			t.Errorf("the inventor: %v", got)
		}
	}
	if got := r.state.Line(honest.key.Public()).Paid(); got != types.Credit(paid) || paid != 30*heldBytes*7/8/4 {
		t.Errorf("the honest device was paid %d, want %d", got, paid)
	}
	// What the others got: the dropper, only epochs in which it passed; the replayer, its one right answer; the
	// inventor, nothing.
	if got, most := r.state.Line(dropper.key.Public()).Paid(), types.Credit((30-failed)*heldBytes*7/8/4); failed < 20 || got > most {
		t.Errorf("the dropper failed %d times and was paid %d, want at most %d", failed, got, most)
	}
	if got := r.state.Line(replayer.key.Public()).Paid(); got != heldBytes*7/8/4 {
		t.Errorf("the replayer was paid %d", got)
	}
	if line := r.state.Line(inventor.key.Public()); line.Paid() != 0 || line.Amount != 0 {
		t.Errorf("the inventor was paid %d and may claim %d", line.Paid(), line.Amount)
	}
	if got := r.totals; !slices.Equal(got, []uint64{3}) {
		t.Errorf("totals %v: three devices hold something", got)
	}
}

// TestUnopened: whatever a device and a payer without credits sign together, no record and no session of it is
// left after an epoch; nor where the session is another device's. Once there are credits, the same holding
// opens.
func TestUnopened(t *testing.T) {
	r := newRegion(t, "accomplice", "honest")
	r.changes[0].Holder.Bought = 0
	d, honest := r.devices[0], r.devices[1]
	var last *deal
	for i := range 5 {
		for k := range 40 {
			last = r.customer.deal(d, fmt.Sprintf("session %d of %d", k, i))
			last.put(1, 100)
		}
		refused := r.end()[d.key.Public()]
		if n := len(slices.DeleteFunc(refused, func(reason types.Reason) bool { return reason != types.OverBudget })); n != 40 {
			t.Fatalf("epoch %d: %d of 40 holdings are refused", i, n)
		}
		if n := len(d.state().Sessions); n > 40 {
			t.Fatalf("epoch %d: %d records", i, n)
		}
	}
	r.end()
	if n := len(d.state().Sessions); n != 0 {
		t.Errorf("%d records are left", n)
	}
	if got := r.state.Session(tally.SessionKey{Payer: r.customer.key.Public(), ID: last.holding.Session}); got != nil {
		t.Errorf("a session is left: %+v", got)
	}

	again := last.sign()
	r.changes = []tally.Change{{Holder: &tally.Holder{Account: r.customer.account, Bought: 2}}} // one each is enough here
	d.submit(KindHolding, again.Encode())
	if refused := r.end()[d.key.Public()]; slices.Contains(refused, types.OverBudget) {
		t.Fatalf("refused: %v", refused)
	}
	r.end()
	if s := d.state().Find(last.holding.Session); s == nil || s.Bytes != 100 {
		t.Fatalf("the session did not open: %+v", s)
	}

	stolen := *last // the payer signs the same session for another device
	stolen.holding.Device = honest.key.Public()
	honest.submit(KindHolding, stolen.sign().Encode())
	honest.silent = true
	if refused := r.end()[honest.key.Public()]; !slices.Equal(refused, []types.Reason{types.SessionMismatch}) {
		t.Fatalf("refused: %v", refused)
	}
	r.end()
	if n := len(honest.state().Sessions); n != 0 || d.state().Find(last.holding.Session) == nil {
		t.Errorf("%d records at the other device", n)
	}
}
