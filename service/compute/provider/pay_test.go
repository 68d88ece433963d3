package provider

import (
	"fmt"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// waitPaid waits until the device has what the gateway paid for a job.
func (w *world) waitPaid(j *ordered) {
	w.t.Helper()
	d := w.now()
	key := sessionKey{j.order.Payer, j.order.Session}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		d.mu.Lock()
		s := d.sessions[key]
		got := s.Covered
		d.mu.Unlock()
		w.mu.Lock()
		want := j.purse.units
		w.mu.Unlock()
		if got == want {
			return
		}
	}
	w.t.Fatal("the device does not get what was paid")
}

// total is how many units all jobs have used.
func (x *script) total() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.done
}

// TestUnpaid: what runs for somebody who never pays is a second of one slot, over all of the account's jobs and
// sessions; then jobs stand still, end, and no other is taken until that is paid.
func TestUnpaid(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.patience = 300 * time.Millisecond })
	w.pay = func(*receipt.Receipt) bool { return false }
	var jobs []*ordered
	for range 4 {
		jobs = append(jobs, w.run(w.session(100), "wait:all", "burn:15000000000"))
	}
	close(w.exec.gate("all"))
	for i, j := range jobs {
		w.until(j, "it stands still", func() bool { return j.paused || j.ended != nil })
		e := w.end(j)
		if e.Reason != compute.Unpaid || e.Leaf.Leaf.Mode != compute.Cut || e.Leaf.Leaf.Fuel != 0 {
			t.Errorf("job %d: %s, %+v", i, e.Reason, e.Leaf.Leaf)
		}
	}
	got := w.exec.total()
	t.Logf("ran unpaid: %.3f s of one slot, of %d jobs", float64(got)/1e9, len(jobs))
	if got > 1_000_000_000 {
		t.Errorf("%d units ran for nothing", got)
	}
	if list := w.p.Remarks(); len(list) != 1 || list[0].Reason != compute.Unpaid {
		t.Errorf("the owner reads %v", list)
	}
}

// TestOwing: what a result costs and nobody paid is owed: orders are refused until it is paid, also over a restart.
func TestOwing(t *testing.T) {
	w := newWorld(t, nil)
	w.pay = func(*receipt.Receipt) bool { return false }
	w.hold = true
	s := w.session(100)
	j := w.run(s, "burn:1000000000")
	w.end(j)
	for range 2 {
		for _, p := range []*purse{s, w.session(100)} {
			if _, reason := w.ask(p, w.call(p, "burn:1")); reason != compute.Unpaid {
				t.Errorf("%q, want unpaid", reason)
			}
		}
		if err := w.device.Stop(); err != nil {
			t.Fatal(err)
		}
		w.start()
	}
	w.mu.Lock()
	w.pay, w.hold = nil, false
	w.mu.Unlock()
	if err := w.device.Stop(); err != nil { // it joins anew, and hears that
		t.Fatal(err)
	}
	w.start()
	w.settled()
	w.waitPaid(j)
	w.end(w.run(s, "burn:1"))
}

// TestTrust: who pays may owe more, up to ten seconds, and one again when it stops paying.
func TestTrust(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.patience = 200 * time.Millisecond })
	s := w.session(100)
	for range 15 {
		w.end(w.run(s, "burn:10000000000"))
		w.settled()
	}
	before := w.exec.total()
	w.mu.Lock()
	w.pay = func(*receipt.Receipt) bool { return false }
	w.mu.Unlock()
	if e := w.end(w.run(s, "burn:20000000000")); e.Reason != compute.Unpaid {
		t.Fatalf("%+v", e)
	}
	got := w.exec.total() - before
	t.Logf("ran unpaid after %d s that were paid: %.3f s", before/1e9, float64(got)/1e9)
	if got < 9_000_000_000 || got > 10_000_000_000 {
		t.Errorf("%d units", got)
	}
	if a := w.now().account(w.now().sessions[sessionKey{w.market.Payer(), s.id}].Account); a.trust.Window != firstTrust {
		t.Errorf("it may still owe %v", time.Duration(a.trust.Window))
	}
}

// TestReceipts: what does not count as paid.
func TestReceipts(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.patience = 300 * time.Millisecond })
	sign := func(r receipt.Receipt) []byte {
		return (&receipt.Signed{Receipt: r, PayerSig: w.market.Sign("receipt", r.Bytes())}).Encode()
	}
	s := w.session(100)
	j := w.run(s, "burn:400000000", "wait:x", "burn:5000000000")
	w.until(j, "it is paid", func() bool { return j.paid == 400_000_000 })
	w.waitPaid(j)
	d := w.now()
	dj := d.jobs[j.order.Hash()]
	good := s.newest.Receipt
	for name, c := range map[string]struct {
		change func(*receipt.Receipt)
		want   types.Reason
	}{
		"the same again":      {func(r *receipt.Receipt) {}, ""},
		"fewer units":         {func(r *receipt.Receipt) { r.Seq++; r.Units = types.U64(300_000_000) }, types.FallingTotals},
		"less money":          {func(r *receipt.Receipt) { r.Seq++; r.Amount-- }, types.FallingTotals},
		"an old number":       {func(r *receipt.Receipt) { r.Seq--; r.Amount++ }, types.FallingTotals},
		"another beginning":   {func(r *receipt.Receipt) { r.Seq++; r.First = 0 }, types.FallingTotals},
		"more than was done":  {func(r *receipt.Receipt) { r.Seq++; r.Units = types.U64(400_000_001) }, compute.NoResult},
		"far more":            {func(r *receipt.Receipt) { r.Seq++; r.Units = types.U128{Hi: 1} }, compute.NoResult},
		"dearer than the ask": {func(r *receipt.Receipt) { r.Seq++; r.Amount = 801 }, types.OverPrice},
		"another session":     {func(r *receipt.Receipt) { r.Session[4]++ }, types.SessionMismatch},
		"another ask":         {func(r *receipt.Receipt) { r.Terms[0]++ }, types.SessionMismatch},
		"another device":      {func(r *receipt.Receipt) { r.Device = r.Payer }, types.SessionMismatch},
		"from the future":     {func(r *receipt.Receipt) { r.First = 9 }, types.WrongEpoch},
		"another's signature": {func(r *receipt.Receipt) { r.Payer = roletest.Key("other").Public() }, types.SessionMismatch},
	} {
		r := good
		c.change(&r)
		if err := d.receipt(dj, sign(r)); types.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	bent := receipt.Signed{Receipt: good, PayerSig: w.market.Sign("receipt", good.Bytes())}
	bent.Receipt.Seq++
	if err := d.receipt(dj, bent.Encode()); types.ReasonOf(err) != types.BadSignature {
		t.Errorf("a receipt that nobody signed: %v", err)
	}
	// One that says all units and too little money pays for as many units as it has money for.
	w.mu.Lock()
	w.pay = func(r *receipt.Receipt) bool { r.Amount = good.Amount; return true }
	w.mu.Unlock()
	before := w.exec.total()
	close(w.exec.gate("x"))
	e := w.end(j)
	ran := w.exec.total() - before
	t.Logf("ran for receipts without money: %.3f s", float64(ran)/1e9)
	if e.Leaf.Leaf.Mode != compute.Cut || ran > 1_334_000_000 {
		t.Errorf("%d units ran, leaf %+v", ran, e.Leaf.Leaf)
	}
}

// TestEmptyAccount: receipts beyond what the account has pay for nothing.
func TestEmptyAccount(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.patience = 200 * time.Millisecond })
	g := w.gate("small", 3000)
	s := g.session(100)
	j := g.run(s, "burn:20000000000")
	e := g.end(j)
	got := w.exec.total()
	t.Logf("ran for an account of 3 s: %.3f s, paid %d", float64(got)/1e9, e.Leaf.Leaf.Fuel)
	if e.Leaf.Leaf.Mode != compute.Cut || e.Leaf.Leaf.Fuel > 3_000_000_000 || got > 5_000_000_000 {
		t.Errorf("%d units ran: %+v", got, e.Leaf.Leaf)
	}
	if _, reason := g.ask(s, g.call(s, "burn:1")); reason != compute.Unpaid {
		t.Errorf("%q, want unpaid", reason)
	}
}

// TestUnopened: what accounts have done below the least opening, which earns nothing, is bounded for the device.
func TestUnopened(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Unopened = 3000 })
	taken := 0
	for i := range 12 {
		g := w.gate(fmt.Sprintf("account %d", i), 1<<40)
		s := g.session(100)
		j, reason := g.ask(s, g.call(s, "burn:900000000")) // 900 of 1000 credits
		if reason == compute.Busy {
			continue
		}
		if reason != "" {
			t.Fatal(reason)
		}
		taken++
		g.end(j)
		w.settled()
	}
	t.Logf("done below the least opening: %d credits' worth, of 10800 that were asked for", taken*900)
	if taken != 4 {
		t.Errorf("%d jobs of strangers were done, want 4", taken)
	}
	// Who reaches the least opening makes room, and is not bound.
	first := w.gate("account 0", 1<<40)
	_ = first
	for range 25 {
		w.Next()
	}
	s := w.session(100)
	w.end(w.run(s, "burn:1")) // a day later the rest is written off
}

// TestManySessions: an account is to bring one session to the least opening before it begins many.
func TestManySessions(t *testing.T) {
	w := newWorld(t, nil)
	var last *purse
	taken := 0
	for range 20 {
		s := w.session(100)
		j, reason := w.ask(s, w.call(s, "burn:900000000"))
		if reason == compute.Busy {
			continue
		}
		w.end(j)
		w.settled()
		last = s
		taken++
	}
	t.Logf("one account has %d credits' worth done in sessions below the least opening of 1000", taken*900)
	if taken > 4 {
		t.Errorf("%d sessions", taken)
	}
	w.end(w.run(last, "burn:200000000")) // one of them goes on
	w.settled()
	w.end(w.run(w.session(100), "burn:1"))
}

// TestLostEvidence: what gets lost on its way to the tally is paid in a later epoch.
func TestLostEvidence(t *testing.T) {
	w := newWorld(t, nil)
	w.Drop = roletest.First(compute.KindResults, 1)
	s := w.session(100)
	for range 3 {
		w.end(w.run(s, "burn:1000000000"))
		w.settled()
	}
	for range 5 {
		w.Next()
	}
	w.clean(types.Superseded, compute.NoResult)
	if got := w.tallied(); got != 3000 {
		t.Errorf("the tally has %d, want 3000", got)
	}
	w.end(w.run(s, "burn:1000000000"))
	w.settled()
	for range 4 {
		w.Next()
	}
	if got := w.tallied(); got != 4000 {
		t.Errorf("the tally has %d, want 4000", got)
	}
	d := w.now()
	if s := d.sessions[sessionKey{w.market.Payer(), s.id}]; s.Pruned == 0 || len(s.Handed) > 4 {
		t.Errorf("leaves from %d on, %d receipts handed in are still kept", s.Pruned, len(s.Handed))
	}
}

// TestEvidence: an offer once an epoch, results once for a session.
func TestEvidence(t *testing.T) {
	w := newWorld(t, nil)
	count := map[evidence.Kind]int{}
	w.Drop = func(_ types.Key, _ tally.ItemType, kind evidence.Kind) bool { count[kind]++; return false }
	s := w.session(100)
	w.end(w.run(s, "burn:2000000000"))
	w.settled()
	w.Next()
	w.Tell()
	w.Late()
	if count[compute.KindOffer] != 1 || count[compute.KindResults] != 1 {
		t.Errorf("%v", count)
	}
}

// TestCutAndRun: who takes the output and cancels before paying gets a second of one slot in an epoch for nothing.
func TestCutAndRun(t *testing.T) {
	w := newWorld(t, nil)
	w.pay = func(*receipt.Receipt) bool { return false }
	for epoch := range 3 {
		before := w.exec.total()
		n := 0
		for ; n < 20; n++ {
			s := w.session(100)
			j, reason := w.ask(s, w.call(s, "burn:400000000", "out:result", "wait:never"))
			if reason == compute.Unpaid {
				break
			}
			if reason != "" {
				t.Fatal(reason)
			}
			w.until(j, "it has what it wants", func() bool { return j.out[1].Len() > 0 || j.paused })
			hash := j.order.Hash()
			if _, err := w.market.Ask(t.Context(), w.market, role.Question{Device: w.device.Key(), Kind: compute.KindCancel, Body: hash[:]}); err != nil {
				t.Fatal(err)
			}
			w.end(j)
		}
		got := w.exec.total() - before
		t.Logf("epoch %d: %d jobs, %.3f s for nothing", epoch, n, float64(got)/1e9)
		if got > 1_000_000_000 {
			t.Errorf("%d units", got)
		}
		w.Next()
	}
}

// TestGone: a session that was dropped does not begin again under its id: the device would sign a second leaf of one
// place, and whoever keeps the first could have its bond. Over a restart too, until the id has expired.
func TestGone(t *testing.T) {
	w := newWorld(t, nil)
	s := w.session(30)
	first := w.end(w.run(s, "burn:1")).Leaf
	w.settled()
	for range askEpochs + 2 { // a day later it is written off
		w.Next()
	}
	again := func() (*ordered, types.Reason) {
		s.index, s.ask = 0, nil
		return w.ask(s, w.call(s, "burn:2"))
	}
	for range 2 {
		if j, reason := again(); reason != types.SessionMismatch {
			t.Errorf("%q", reason)
			if j != nil {
				second := w.end(j).Leaf
				c := &compute.Conflict{A: compute.Claim{Signed: first}, B: compute.Claim{Signed: second}}
				f := &compute.Fault{Device: w.device.Key(), Conflict: c}
				t.Fatalf("the device can be shown to contradict itself: %v", f.Prove(roletest.Chain))
			}
		}
		if err := w.device.Stop(); err != nil {
			t.Fatal(err)
		}
		w.start()
	}
	for range 5 {
		w.Next()
	}
	if _, reason := again(); reason != types.SessionExpired {
		t.Errorf("%q", reason)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		d := w.now()
		d.mu.Lock()
		n := len(d.gone)
		d.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d ids are kept that nobody can use", n)
		}
	}
}
