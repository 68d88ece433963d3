package tally

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

const testChain = "cairn-test-1"

// tester is what testing.T and rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a region with everybody in it, run epoch by epoch.
type world struct {
	t          tester
	rules      *Rules
	region     types.Region
	state      *State
	header     *Header
	result     *Result
	epoch      types.Epoch // the epoch being collected
	changes    []Change
	items      []Item
	fold       *Settlement
	params     []Params
	minOpening types.Credit
}

func testRules(t tester) *Rules {
	rules, err := NewRules(1, things{category: other}.verifier(), crossing{things{category: thing}}.verifier())
	if err != nil {
		t.Fatalf("%v", err)
	}
	return rules
}

func newWorld(t tester) *world {
	return &world{t: t, rules: testRules(t), state: NewState(testChain, 0), epoch: 1, minOpening: 100}
}

// key makes a private key from a number.
func key(kind string, n int) types.PrivateKey {
	return types.NewPrivateKey(types.Sum([]byte(kind), binary.BigEndian.AppendUint64(nil, uint64(n))))
}

func account(n int) (a types.Account) {
	h := types.Sum([]byte("account"), binary.BigEndian.AppendUint64(nil, uint64(n)))
	copy(a[:], h[:])
	return a
}

// cell returns the n-th resolution-10 cell of one base cell, about 7 of which share a resolution-9 parent.
func cell(n int) types.Cell {
	c := types.Cell(0x8a0000000007fff)
	for res := 10; res > 0; res-- {
		c |= types.Cell(n%6) << (3 * (15 - res))
		n /= 6
	}
	return c
}

// device is a device's side: its key and its numbers.
type device struct {
	w   *world
	key types.PrivateKey
	seq uint64
	id  types.Key
}

// device registers device n, for both categories.
func (w *world) device(n int) *device {
	d := &device{w: w, key: key("device", n)}
	d.id = d.key.Public()
	w.changes = append(w.changes, Change{Device: &Device{
		Key: d.id, Owner: account(1000 + n), Categories: []types.Category{thing, other}, Cell: cell(n), Bond: 2000,
	}})
	return d
}

// payer is a customer's session key.
type payer struct {
	w   *world
	key types.PrivateKey
	id  types.Key
}

// payer gives account n credits, and its key k a limit.
func (w *world) payer(n, k int, bought, limit types.Credit, expiry types.Epoch) *payer {
	p := &payer{w: w, key: key("payer", n*1000+k)}
	p.id = p.key.Public()
	w.changes = append(w.changes,
		Change{Holder: &Holder{Account: account(n), Bought: bought}},
		Change{Grant: &Grant{Key: p.id, Account: account(n), Limit: limit, Expiry: expiry}})
	return p
}

func session(expiry types.Epoch, n int) types.SessionID {
	var r [12]byte
	binary.BigEndian.PutUint32(r[:], uint32(n))
	return types.NewSessionID(expiry, r)
}

func block(height uint64) types.Hash {
	return types.Sum([]byte("block"), binary.BigEndian.AppendUint64(nil, height))
}

func anchor(height uint64) evidence.Anchor {
	h := block(height)
	return evidence.Anchor{Height: height, Hash: [16]byte(h[:16])}
}

// payload returns what d would sign next.
func (d *device) payload(c types.Category, kind evidence.Kind, body any) evidence.Payload {
	d.seq++
	return evidence.Payload{
		Chain: testChain, Category: c, Kind: kind, Epoch: d.w.epoch, Seq: d.seq, Anchor: anchor(uint64(d.w.epoch) * 10), Body: types.Encode(body),
	}
}

func (d *device) say(c types.Category, kind evidence.Kind, body any) Item {
	return d.w.add(Evidence, evidence.Sign(d.key, d.payload(c, kind, body)).Raw)
}

func (w *world) add(t ItemType, raw []byte) Item {
	it := Item{Type: t, Raw: raw}
	w.items = append(w.items, it)
	return it
}

// ask returns d's ask of class 1 at a price, and hands it in.
func (d *device) ask(c types.Category, price uint64) *receipt.Ask {
	a := receipt.Ask{Chain: testChain, Device: d.id, Category: c, Class: 1, Price: price, Until: 1 << 20}
	d.w.add(Ask, a.Sign(d.key).Encode())
	return &a
}

// receipt returns a receipt over cumulative units and amount.
func (p *payer) receipt(d *device, a *receipt.Ask, id types.SessionID, units uint64, amount types.Credit, seq uint64) *receipt.Receipt {
	return &receipt.Receipt{Chain: testChain, Category: a.Category, Session: id, Payer: p.id, Device: d.id, Terms: a.Hash(),
		Units: types.U64(units), Amount: amount, Seq: seq, First: 1}
}

// sign returns the item that d hands in for r.
func (p *payer) sign(d *device, r *receipt.Receipt) Item {
	s := receipt.Signed{Receipt: *r, PayerSig: r.Sign(p.key), DeviceSig: r.Countersign(d.key)}
	return Item{Type: Receipt, Raw: s.Encode()}
}

// pay signs a receipt on both sides and hands it in.
func (p *payer) pay(d *device, a *receipt.Ask, id types.SessionID, units uint64, amount types.Credit, seq uint64) Item {
	it := p.sign(d, p.receipt(d, a, id, units, amount, seq))
	p.w.items = append(p.w.items, it)
	return it
}

// frame returns the frame of the epoch being collected.
func (w *world) frame() *Frame {
	f := &Frame{Chain: testChain, Epoch: w.epoch, Region: w.region, Leader: key("verifier", 0).Public(), VRF: make([]byte, 80),
		Seed: types.Sum([]byte("seed"), binary.BigEndian.AppendUint64(nil, uint64(w.epoch))), Challenged: true,
		Time: uint64(w.epoch) * 3600, PreviousEpoch: w.state.Epoch(), Fold: w.fold, Params: w.params, MinOpening: w.minOpening}
	if w.header != nil {
		f.Previous = w.header.Hash()
	}
	first := uint64(w.state.Epoch()+1) * 10
	for h := first - min(first, 100); h < uint64(w.epoch+1)*10; h++ {
		f.Blocks = append(f.Blocks, BlockHash{Height: h, Hash: block(h)})
	}
	return f
}

// tally ends the epoch: it applies what was collected, checks what must hold for every tally, and begins the
// next epoch.
func (w *world) tally() *Result {
	w.t.Helper()
	frame, batch := w.frame(), NewBatch(testChain, w.items)
	next, header, result, err := Apply(w.rules, w.state, frame, batch, w.changes, CheckSignatures(batch, testChain))
	if err != nil {
		w.t.Fatalf("epoch %d: %v", w.epoch, err)
	}
	w.invariants(next, header, result)
	w.state, w.header, w.result = next, header, result
	w.items, w.changes, w.fold = nil, nil, nil
	w.epoch++
	return result
}

// settle makes the settlement of the last header: F of what is owed, pay ustone for each credit, and an
// emission per category.
func (w *world) settle(percent uint64, pay uint64, emission types.Ustone) {
	t := w.state.Totals()
	owed := t.Spent - t.Settled
	s := Settlement{Owed: owed, Settled: owed * types.Credit(percent) / 100}
	s.Payout = types.Ustone(s.Settled) * types.Ustone(pay)
	for _, c := range t.Categories {
		if !c.Weight.IsZero() {
			s.Shares = append(s.Shares, econ.Share{Category: c.Category, Emitted: emission, Weight: c.Weight})
		}
	}
	w.fold = &s
}

// invariants checks what must hold for every tally.
func (w *world) invariants(next *State, h *Header, res *Result) {
	w.t.Helper()
	var amount types.Ustone
	var paid, settled, spent types.Credit
	var devices uint64
	for _, l := range next.Lines() {
		amount += l.Amount
		paid += l.Paid()
		settled += l.Settled
		devices++
		if l.Settled > l.Paid() {
			w.t.Fatalf("settled %d of %d paid", l.Settled, l.Paid())
		}
	}
	for t := next.tables[accountTable].walk(nil, nil); t.next(); {
		b := next.Balance(types.Account(t.key))
		if spent += b.Spent; b.Spent > b.Bought {
			w.t.Fatalf("account %x spent %d of %d", t.key, b.Spent, b.Bought)
		}
	}
	var keys types.Credit
	for t := next.tables[keyTable].walk(nil, nil); t.next(); {
		k := next.Key(types.Key(t.key))
		if keys += k.Spent; k.Spent > k.Limit {
			w.t.Fatalf("key %x spent %d of %d", t.key, k.Spent, k.Limit)
		}
	}
	if paid != spent || h.Totals.Spent != spent || keys > spent || h.Totals.Amount != amount || h.Totals.Settled != settled {
		w.t.Fatalf("paid %d, spent %d, by keys %d, totals %+v", paid, spent, keys, h.Totals)
	}
	if h.Devices.Sum != uint64(amount) || h.Count != devices || h.State != next.Hash() {
		w.t.Fatalf("header %+v, amount %d of %d devices", h, amount, devices)
	}
	if w.fold != nil {
		var allot types.Ustone
		f, err := econ.NewFold(*w.fold, weightsOf(w.state))
		if err == nil {
			t := w.state.Totals()
			_, allot, err = f.Allotted(t.Spent - t.Settled)
		}
		if err != nil || amount-w.state.Totals().Amount > allot {
			w.t.Fatalf("amounts grew by %d, allotted %d, %v", amount-w.state.Totals().Amount, allot, err)
		}
	} else if amount != w.state.Totals().Amount {
		w.t.Fatalf("amounts grew without a settlement")
	}
	for i, r := range res.Reasons {
		if !knownReasons[r] {
			w.t.Fatalf("item %d: reason %q is in no table", i, r)
		}
	}
	if h.Totals.Counted+h.Totals.Refused != uint64(len(res.Reasons)) {
		w.t.Fatalf("%d counted, %d refused of %d", h.Totals.Counted, h.Totals.Refused, len(res.Reasons))
	}
	decoded, err := DecodeHeader(h.Encode())
	if err != nil || decoded.Hash() != h.Hash() {
		w.t.Fatalf("header does not decode: %v", err)
	}
}

var knownReasons = func() map[types.Reason]bool {
	m := map[types.Reason]bool{"": true, badThing: true}
	for _, r := range types.Reasons() {
		m[r.Reason] = true
	}
	return m
}()

func weightsOf(s *State) (out []econ.Weight) {
	for _, c := range s.Totals().Categories {
		out = append(out, econ.Weight{Category: c.Category, Weight: c.Weight})
	}
	return out
}

// reason returns what became of an item of the last batch.
func (w *world) reason(it Item) types.Reason {
	w.t.Helper()
	h := types.Sum(it.Raw)
	for _, j := range w.result.Rejections {
		if j.Item == h {
			return j.Reason
		}
	}
	return ""
}

// want checks what became of an item.
func (w *world) want(it Item, reason types.Reason) {
	w.t.Helper()
	if got := w.reason(it); got != reason {
		w.t.Fatalf("item is %q, want %q", got, reason)
	}
}

// parallel is a Pool that runs its parts at once, as verifiers do.
func parallel(parts int) Pool {
	return Pool{Parts: parts, Run: func(n int, do func(int)) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Add(1)
			go func() { defer wg.Done(); do(i) }()
		}
		wg.Wait()
	}}
}

// backwards is a Pool that does its parts in the opposite order.
func backwards(parts int) Pool {
	return Pool{Parts: parts, Run: func(n int, do func(int)) {
		for i := n - 1; i >= 0; i-- {
			do(i)
		}
	}}
}

func pages(s *State) []byte {
	var b bytes.Buffer
	for p := range s.Pages() {
		fmt.Fprintf(&b, "%x\n", p.Raw)
	}
	return b.Bytes()
}

func TestFirstPayment(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 10_000, 5_000, 100)
	a := d.ask(thing, 500)
	r := p.pay(d, a, session(50, 1), 2_000, 1_000, 1)
	w.tally()
	w.want(r, "")
	if l := w.state.Line(d.id); l.Paid() != 1000 || l.Settled != 0 {
		t.Fatalf("line %+v", l)
	}
	w.settle(100, 3, 0)
	again := p.pay(d, a, session(50, 1), 2_000, 1_000, 1)
	w.tally()
	w.want(again, types.Superseded)
	if l := w.state.Line(d.id); l.Paid() != 1000 || l.Settled != 1000 || l.Amount != 3000 {
		t.Fatalf("line %+v", l)
	}
}
