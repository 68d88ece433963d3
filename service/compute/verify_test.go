package compute

import (
	"fmt"
	"testing"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// TestHonest follows an honest device: two checks make a rate, its offer bounds what the network orders, and
// quality rises.
func TestHonest(t *testing.T) {
	for _, verifiers := range []int{3, 4, 5, 9} {
		w := newWorld(t, "honest", verifiers)
		d := w.device("device", 0)
		d.offer(2)
		d.pass(0, 2)
		out := d.judged()
		d.want(out, 0, "")
		d.want(out, 1, "")
		if n := ordered(out); n != 0 {
			t.Errorf("%d verifiers: %d wu after one check", verifiers, n)
		}
		w.next()
		d.offer(2)
		d.speed = 18
		d.pass(0, 2)
		out = d.judged()
		// 2 chains of 18 rounds in 2 s: 36·250,000·1000/2000 µwu/s, for an hour.
		if n := ordered(out); n != 16_200 {
			t.Errorf("%d verifiers: %d wu, want 16,200", verifiers, n)
		}
		if q := out.Quality; q != 5000+312+293 {
			t.Errorf("quality %d", q)
		}
		w.next()
		d.offer(1)
		if n := ordered(d.judged()); n != 10_000 {
			t.Errorf("%d wu where one slot is free", n)
		}
		w.next()
		if out := d.judged(); ordered(out) != 0 || out.Quality != 5605 {
			t.Errorf("without an offer: %d wu, quality %d", ordered(out), out.Quality)
		}
	}
}

// TestAccelerator: the rounds of a registered model of accelerators are products.
func TestAccelerator(t *testing.T) {
	w := newWorld(t, "accelerator", 3)
	d := w.device("device", testModel)
	d.speed = 5
	for range 2 {
		d.offer(1)
		r := d.pass(0, 1)
		out := d.judged()
		d.want(out, 1, "")
		if len(out.Reports) != len(r.members) {
			t.Fatalf("%d reports: an honest device has faults", len(out.Reports))
		}
		w.next()
	}
	if rate := d.state().Rates; rate[0] != 5*67*1000/2000 || rate[0] != rate[1] {
		t.Errorf("rates %d: 512³ are worth 67 µwu", rate)
	}
	r := d.call(0)
	r.compute(1, 5, r.honest)
	r.check.Round, r.check.N = CPU, 1
	at := d.submit(KindCheck, r.check.Encode())
	d.want(d.judged(), at, ClassMismatch)
}

// TestTooFewVerifiers: with fewer than three nobody can judge, and nothing comes of it.
func TestTooFewVerifiers(t *testing.T) {
	w := newWorld(t, "few", 2)
	d := w.device("device", 0)
	d.offer(1)
	r := d.call(0)
	r.compute(1, 20, r.honest)
	at := d.submit(KindCheck, r.check.Encode())
	out := d.judged()
	d.want(out, at, CheckUnwitnessed)
	if out.Quality != FirstQuality {
		t.Errorf("quality %d", out.Quality)
	}
}

// TestSlots: what is missed and what is not passed costs quality and rate; who said an epoch ahead that it
// would be busy, and was, is left in peace.
func TestSlots(t *testing.T) {
	w := newWorld(t, "slots", 5)
	d := w.device("device", 0)
	missed := func() {
		r := d.call(0)
		for _, m := range r.members {
			d.report(w.verifiers[m], KindSighting, (&Sighting{Device: d.info.Key, Slot: r.slot}).Encode())
		}
	}
	ready := func() {
		d.line = (&State{Epoch: w.epoch - 1, Rates: [2]uint64{3_000_000, 3_000_000}, Quality: 8000, Free: 1}).Encode()
	}
	ready()
	d.offer(1)
	missed()
	out := d.judged()
	d.reported(out, 0, SlotMissed, false)
	if out.Quality != 7000 || ordered(out) != 0 {
		t.Errorf("missed: quality %d, %d wu", out.Quality, ordered(out))
	}

	ready()
	d.offer(1)
	r := d.call(0)
	r.compute(1, 20, func(*Step) types.Hash { return types.Hash{1} }) // no round is right
	r.sighted()
	at := d.submit(KindCheck, r.check.Encode())
	out = d.judged()
	d.want(out, at, CheckFailed)
	if out.Quality != 6000 || ordered(out) != 0 {
		t.Errorf("not passed: quality %d, %d wu", out.Quality, ordered(out))
	}

	// One who hides a check that it would not pass is seen to have computed.
	ready()
	d.offer(1)
	r = d.call(0)
	r.compute(1, 20, func(*Step) types.Hash { return types.Hash{1} })
	r.sighted()
	if out = d.judged(); out.Quality != 6000 {
		t.Errorf("hidden: quality %d", out.Quality)
	}

	// Few witnesses: nobody is to blame.
	ready()
	r = d.call(0)
	r.compute(1, 20, r.honest)
	for _, m := range r.members[:r.f] {
		d.report(w.verifiers[m], KindSighting, r.witness(m).Encode())
	}
	at = d.submit(KindCheck, r.check.Encode())
	out = d.judged()
	d.want(out, at, CheckUnwitnessed)
	if out.Quality != 8000 || d.state().Rates[0] != 3_000_000 {
		t.Errorf("few witnesses: quality %d, rates %d", out.Quality, d.state().Rates)
	}

	busy := func(freeBefore, free uint16, units uint64) types.Bp {
		ready()
		s := d.state()
		s.Free, s.Allowance = freeBefore, 1<<40
		d.line = s.Encode()
		d.offer(free)
		if units > 0 {
			d.session(fmt.Sprint("busy ", freeBefore, free), OCI).pay(units)
		}
		missed()
		return d.judged().Quality
	}
	for _, c := range []struct {
		before, free uint16
		units        uint64
		want         types.Bp
	}{
		{0, 0, 1000, 8000}, // it was busy, as it had said
		{0, 0, 0, 7000},    // nobody paid it
		{1, 0, 1000, 7000}, // it said so when it knew that it was checked
		{0, 1, 1000, 7000}, // it says that it has a slot free
	} {
		if got := busy(c.before, c.free, c.units); got != c.want {
			t.Errorf("free %d, then %d, paid %d: quality %d, want %d", c.before, c.free, c.units, got, c.want)
		}
	}
}

// TestOffer: one offer an epoch, of no more slots than the model has, and none while suspended.
func TestOffer(t *testing.T) {
	w := newWorld(t, "offer", 3)
	d := w.device("device", 0)
	d.offer(9)
	d.offer(8)
	d.offer(1)
	out := d.judged()
	d.want(out, 0, OverCapacity)
	d.want(out, 1, "")
	d.want(out, 2, types.OverQuota)
	if d.state().Free != 8 || len(out.Totals) != 3 || out.Totals[1] != 8 {
		t.Errorf("free %d, totals %d", d.state().Free, out.Totals)
	}
	d.line = (&State{Epoch: w.epoch, Rates: [2]uint64{1 << 30, 1 << 30}, Quality: 1000, Suspended: w.epoch + 1}).Encode()
	w.next()
	d.offer(1)
	out = d.judged()
	d.want(out, 0, SuspendedHere)
	if ordered(out) != 0 {
		t.Errorf("%d wu while suspended", ordered(out))
	}
	w.next()
	d.offer(1)
	if out = d.judged(); ordered(out) != 10_000 {
		t.Errorf("%d wu after a suspension", ordered(out))
	}
}

// TestReceipts: fuel is paid up to what results of the same epoch cover, and the rest waits.
func TestReceipts(t *testing.T) {
	w := newWorld(t, "receipts", 3)
	d := w.device("device", 0)
	s := d.session("customer", Wasm)
	s.job(1000, Public)
	s.job(500, Private)
	at := s.pay(1500)
	d.wantPaid(d.judged(), at, NoResult)

	w.next()
	s.commit(0)
	at = s.pay(1501)
	d.wantPaid(d.judged(), at, NoResult)

	w.next()
	s.commit(0)
	at = s.pay(1500)
	d.wantPaid(d.judged(), at, "")

	w.next()
	s.job(700, Cut)
	s.job(40, Public)
	s.commit(1) // from inside what was paid
	at = s.pay(2240)
	d.wantPaid(d.judged(), at, "")

	w.next()
	s.job(10, Public)
	s.job(20, Public)
	s.commit(5) // leaves out one that has not been paid
	at = s.pay(2270)
	d.wantPaid(d.judged(), at, NoResult)

	w.next()
	s.commit(4)
	at = s.pay(2270)
	s.pay(2270)
	d.receipts[1].Receipt.Terms = types.Hash{9} // a session that is open: its ask was looked at
	out := d.judged()
	d.wantPaid(out, at, "")
	d.wantPaid(out, 1, "")
}

// TestTerms: receipts are signed under an ask that was made for their session, and for no more than its price.
func TestTerms(t *testing.T) {
	w := newWorld(t, "terms", 3)
	d := w.device("device", 0)
	for name, c := range map[string]struct {
		bend func(*session, *tally.ReceiptItem)
		want types.Reason
	}{
		"right": {func(*session, *tally.ReceiptItem) {}, ""},
		"another session": {func(s *session, i *tally.ReceiptItem) {
			s.ask.Terms = (&Terms{Profiles: []Profile{{Name: WasmProfile}}}).Encode()
		}, TermsUnknown},
		"another class":    {func(s *session, i *tally.ReceiptItem) { i.Class = OCI }, TermsUnknown},
		"no terms":         {func(s *session, i *tally.ReceiptItem) { s.ask.Terms = nil }, TermsUnknown},
		"an ask not there": {func(s *session, i *tally.ReceiptItem) { s.d.asks = nil }, TermsUnknown},
		"overpriced":       {func(s *session, i *tally.ReceiptItem) { i.Receipt.Amount++ }, Overpriced},
		"overflow":         {func(s *session, i *tally.ReceiptItem) { i.Receipt.Units, i.Price = types.MaxU128, 1<<64-1 }, Overpriced},
	} {
		s := d.session(name, Wasm)
		s.job(1000, Public)
		s.commit(0)
		at := s.pay(1000)
		c.bend(s, d.receipts[at])
		if d.asks != nil {
			d.receipts[at].Receipt.Terms = s.ask.Hash()
		}
		out := d.judged()
		if got := out.Receipts[at]; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		w.next()
	}
	s := d.session("container", OCI)
	s.job(1000, Public)
	s.commit(0)
	at := s.pay(1000)
	d.wantPaid(d.judged(), at, ClassMismatch)
}

// TestCapacity: containers are paid up to the model's slots, and what was not paid in time can be caught up on,
// for a day.
func TestCapacity(t *testing.T) {
	w := newWorld(t, "capacity", 3)
	d := w.device("device", 0)
	s := d.session("customer", OCI)
	const hour = 8 * epochTime
	at := s.pay(hour + 1)
	d.wantPaid(d.judged(), at, OverCapacity)
	w.epoch += 2
	at = s.pay(3*hour + 1) // the first epoch, in which it began, and two more
	d.wantPaid(d.judged(), at, OverCapacity)
	at = s.pay(3 * hour)
	d.line = (&State{Epoch: w.epoch - 2, Quality: 5000, Allowance: hour}).Encode()
	d.wantPaid(d.judged(), at, "")
	w.epoch += 1000
	at = s.pay(27*hour + 1)
	d.wantPaid(d.judged(), at, OverCapacity)
	m := d.session("talker", Model)
	w.next()
	at = m.pay(1 << 62) // tokens have no bound but their payer's credits
	d.wantPaid(d.judged(), at, "")
}

// TestIdle: a line of which nothing happens stays as it is, byte for byte, and means the same later.
func TestIdle(t *testing.T) {
	w := newWorld(t, "idle", 3)
	d := w.device("device", 0)
	if out := d.judged(); out.State != nil || out.Quality != FirstQuality {
		t.Errorf("a device that has not begun has a line of %d bytes, quality %d", len(out.State), out.Quality)
	}
	s := d.session("customer", Wasm)
	s.job(5, Public)
	s.commit(0)
	d.judged()
	line := string(d.line)
	w.next()
	if d.judged(); string(d.line) != line {
		t.Error("the line of an idle device moves")
	}
	w.next()
	at := s.audit(w.verifiers[w.draw(&d.info, ForAudit)[0]], 0, 0, 0, func(*Audit) {})
	out := d.judged()
	d.reported(out, at, "", false)
	if d.state().Passed != 1 {
		t.Errorf("%d audits passed", d.state().Passed)
	}
}
