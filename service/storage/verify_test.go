package storage

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

func u(x uint64) types.U128 { return types.U64(x) }

// TestHonest walks a session from its opening to its end, with figures computed by hand from SPEC.md.
func TestHonest(t *testing.T) {
	w := newWorld(t)
	d, c := w.device("honest"), w.customer("customer")
	x := c.deal(d, "session")

	x.put(3, 3000) // epoch 10: 9,000 bytes, which bind from 11 on
	out := w.run(d)
	w.want(out, 0, "")
	want := []tally.Opening{{Session: d.session(x.holding.Session).Key(), Terms: x.holding.Ask, Class: Hold, Price: testPrice, Evidence: 0}}
	if diff := cmp.Diff(want, out.Open); diff != "" {
		t.Errorf("openings (-want +got):\n%s", diff)
	}
	if out.Quality != 5000 || !slices.Equal(out.Totals, []uint64{1}) {
		t.Errorf("quality %d, totals %v", out.Quality, out.Totals)
	}

	// Epoch 11: one pass. proven 9,000; retained ⌊9,000/8⌋ = 1,125; payable 7,875.
	at, over := x.pay(u(7875)), 0
	out = w.run(d)
	w.wantPaid(out, at, "")
	if q := d.state().Quality; q != 507813 || out.Quality != 5078 {
		t.Errorf("quality %d, %d bp; want ⌊(63·500,000 + 1,000,063)/64⌋ = 507,813, 5078", q, out.Quality)
	}

	// Epoch 12: proven 18,000, payable 15,750. One unit more is refused, and changes nothing.
	over = x.pay(u(15751))
	out = w.run(d)
	w.wantPaid(out, over, UnitsBeyondProof)
	if s := d.session(x.holding.Session); s.Units != u(7875) || s.Paid != 11 {
		t.Errorf("last receipt %s in %d, want 7,875 in 11", s.Units, s.Paid)
	}

	// Epoch 13: 1,000 bytes are added; they count from 14. proven 27,000.
	x.put(1, 1000)
	w.run(d)
	s := d.session(x.holding.Session)
	if s.Base != u(27000) || s.Mark != 3 || s.Bytes != 10000 || s.Revision != 2 {
		t.Errorf("base %s, mark %d, %d bytes, revision %d", s.Base, s.Mark, s.Bytes, s.Revision)
	}

	// Epoch 14: proven 37,000; retained 4,625; payable 32,375: worth 8,093 micro-credits, rounded down.
	at = x.pay(u(32375))
	if got := d.receipts[at].Receipt.Amount; got != 8093 {
		t.Errorf("amount %d, want 8093", got)
	}
	out = w.run(d)
	w.wantPaid(out, at, "")

	// Epoch 15: nobody is challenged. It counts, and quality stays.
	q := d.state().Quality
	w.close(d, func(in *tally.Input) { in.Challenged, in.Evidence = false, nil })
	if got := d.state(); got.Passes != 5 || got.Quality != q {
		t.Errorf("%d passes, quality %d; want 5, %d", got.Passes, got.Quality, q)
	}

	// Epoch 16: a zero-byte holding. proven 37,000 + 2·10,000 = 57,000, all of it payable from 17 on.
	x.drop(x.list.Len())
	out = w.run(d)
	w.want(out, 0, "")
	if !slices.Equal(out.Totals, []uint64{0}) {
		t.Errorf("totals %v", out.Totals)
	}
	at = x.pay(u(57000))
	out = w.run(d)
	w.wantPaid(out, at, "")
	if got := d.session(x.holding.Session); !got.Forfeit.IsZero() || got.Ended {
		t.Errorf("forfeit %s, ended %t", got.Forfeit, got.Ended)
	}

	// It can begin anew under the same session; what was retained and paid out meanwhile is drawn against.
	x.put(1, 800)
	w.run(d)
	w.run(d)
	// proven 57,800; retained min(7,225, 168·800) = 7,225.
	if got := d.session(x.holding.Session).Payable(d.state().Passes); got != u(57800-7225) {
		t.Errorf("payable %s, want %d", got, 57800-7225)
	}
}

// TestRetained: what is withheld grows with what is proven, up to 168 epochs of the bytes.
func TestRetained(t *testing.T) {
	s := Session{Bytes: 1000}
	for passes, want := range map[uint64]uint64{0: 0, 1: 125, 8: 1000, 1343: 167875, 1344: 168000, 1345: 168000, 8000: 168000} {
		if got := s.Retained(passes); got != u(want) {
			t.Errorf("%d passes: retained %s, want %d", passes, got, want)
		}
		if got := s.Payable(passes); got != u(passes*1000-want) {
			t.Errorf("%d passes: payable %s, want %d", passes, got, passes*1000-want)
		}
	}
	if odd := (&Session{Bytes: 3}); odd.Retained(3) != u(2) || odd.Payable(3) != u(7) {
		t.Errorf("9 units: retained %s, want ⌈9/8⌉", odd.Retained(3))
	}
	s.Forfeit = u(5000)
	if got := s.Retained(8); got != u(375) {
		t.Errorf("after a forfeit: retained %s, want (8,000 − 5,000)/8", got)
	}
	if got := s.Payable(3); !got.IsZero() {
		t.Errorf("forfeit above what is proven: payable %s", got)
	}
}

// TestSplit: bytes split over many sessions or devices are never payable sooner, nor for more.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.Uint64Range(1, 1<<40), 1, 10).Draw(t, "bytes")
		passes, price := rapid.Uint64Max(1<<20).Draw(t, "passes"), rapid.Uint64Max(MaxPrice-1).Draw(t, "price")
		whole, sum, credits := Session{}, types.U128{}, types.Credit(0)
		for _, b := range parts {
			whole.Bytes += b
			part := Session{Bytes: b}
			payable := part.Payable(passes)
			sum = plus(sum, payable)
			amount, err := Amount(payable, price)
			if err != nil {
				t.Skip("out of range")
			}
			credits += amount
		}
		payable := whole.Payable(passes)
		amount, err := Amount(payable, price)
		if err != nil {
			t.Skip("out of range")
		}
		if sum.Cmp(payable) > 0 || credits > amount {
			t.Fatalf("%d parts: %s units, %d micro-credits; whole: %s, %d", len(parts), sum, credits, payable, amount)
		}
	})
}

// TestQuality: 64 epochs' memory, and neither end is left.
func TestQuality(t *testing.T) {
	w := newWorld(t)
	d := w.device("device")
	w.customer("c").deal(d, "s").put(1, 100)
	w.run(d)
	for range 1200 {
		w.run(d)
	}
	if q := d.state().Quality; q != FullQuality {
		t.Errorf("after 1,200 passes: %d", q)
	}
	d.silent = true
	w.run(d)
	if s := d.state(); s.Quality != 984375 || s.Streak != 1 || s.Passes != 1200 {
		t.Errorf("after a failure: %+v", s)
	}
	w.close(d, func(in *tally.Input) { in.Challenged = false })
	if s := d.state(); s.Passes != 1200 || s.Quality != 984375 || s.Streak != 1 {
		t.Errorf("a failing device gained from an epoch without challenge: %+v", s)
	}
	d.silent = false
	w.run(d)
	if s := d.state(); s.Streak != 0 || s.Passes != 1201 {
		t.Errorf("after a pass: %+v", s)
	}
}

// TestStreak: 72 failures in a row end every session; what is retained is lost.
func TestStreak(t *testing.T) {
	w := newWorld(t)
	d := w.device("device")
	x := w.customer("c").deal(d, "s")
	x.put(1, 1000)
	w.run(d)
	for range 80 {
		w.run(d)
	}
	// The last receipt comes while the streak runs, so that the device cannot say it was not paid.
	d.silent = true
	for i := range MaxStreak {
		if d.session(x.holding.Session).Ended {
			t.Fatalf("ended after %d failures", i)
		}
		if i == 30 {
			at := x.pay(u(60000))
			w.wantPaid(w.run(d), at, "")
			continue
		}
		w.run(d)
	}
	s := d.session(x.holding.Session)
	if !s.Ended || s.Bytes != 0 || s.Forfeit != u(10000) || s.Base != u(80000) {
		t.Errorf("after %d failures: %+v", MaxStreak, s)
	}
	at := x.pay(u(70000))
	w.wantPaid(w.run(d), at, "")
	at = x.pay(u(70001))
	w.wantPaid(w.run(d), at, UnitsBeyondProof)
	if got := d.state().Streak; got != MaxStreak {
		t.Errorf("streak %d: a device that holds nothing is asked for nothing", got)
	}
}

// TestLoss: declared losses take their part of what is retained, and their bytes.
func TestLoss(t *testing.T) {
	w := newWorld(t)
	d := w.device("device")
	x := w.customer("c").deal(d, "s")
	x.put(10, 1000)
	w.run(d)
	for range 80 {
		w.run(d)
	}
	// Epoch 91, pass 81: proven 810,000, retained 101,250. Two of ten shards: first a tenth of 101,250 =
	// 10,125; then, of (810,000 − 10,125)/8 = 99,984, a ninth: 11,109.
	l, err := NewLoss(x.holding.Session, d.shards[x.holding.Session], []int{3, 9})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.list.Commit(l.Revision+1, []Op{{Kind: OpLose, Slot: 3, Shard: x.list.At(3)}, {Kind: OpLose, Slot: 9, Shard: x.list.At(9)}}); err != nil {
		t.Fatal(err)
	}
	x.holding.Revision++
	at := d.submit(KindLoss, l.Encode())
	w.want(w.run(d), at, "")
	s := d.session(x.holding.Session)
	if s.Forfeit != u(10125+11109) || s.Bytes != 8000 || s.Shards != 10 || s.Revision != 2 || s.Base != u(810000) {
		t.Errorf("after the loss: %+v", s)
	}
	if s.Root != x.list.Root().Hash {
		t.Errorf("root %s, the customer's list has %s", s.Root, x.list.Root().Hash)
	}
	w.run(d)
	if got := d.state(); got.Streak != 0 || got.Passes != 82 {
		t.Errorf("the device does not pass with what is left: %+v", got)
	}
	// The customer deletes one lost slot and another: later holdings build on the loss.
	slot := x.list.Len() - 1
	ops := []Op{{Kind: OpDelete, Slot: uint64(slot)}, {Kind: OpDelete, Slot: 0, Shard: x.list.At(0)}}
	at = d.submit(KindHolding, x.commit(ops).Encode())
	w.want(w.run(d), at, "")
	w.run(d)
	if got := d.state(); got.Streak != 0 || got.Bytes() != 7000 {
		t.Errorf("after a deletion: %+v", got)
	}
}

// TestRelease: the three ways in which a device may stop.
func TestRelease(t *testing.T) {
	leave := func(until types.Epoch, prepare func(*world, *device, *deal)) *Session {
		w := newWorld(t)
		w.epoch = 1000
		d := w.device("device")
		x := w.customer("c").deal(d, "s")
		if until > 0 {
			x.holding.Until = w.epoch + until
		}
		x.put(1, 1000)
		w.run(d)
		prepare(w, d, x)
		at := d.submit(KindRelease, (&Release{Session: x.holding.Session}).Encode())
		w.want(w.run(d), at, "")
		s := d.session(x.holding.Session)
		if s.Bytes != 0 || !s.Ended {
			t.Errorf("released: %+v", s)
		}
		at = d.submit(KindRelease, (&Release{Session: x.holding.Session}).Encode())
		w.want(w.run(d), at, SessionClosed)
		x.put(1, 8)
		w.want(w.run(d), 0, SessionClosed)
		return s
	}
	wait := func(n int) func(*world, *device, *deal) {
		return func(w *world, d *device, _ *deal) {
			for range n {
				w.run(d)
			}
		}
	}
	// Early: 16 passes, retained 2,000.
	if s := leave(0, wait(15)); s.Forfeit != u(2000) || s.Base != u(16000) {
		t.Errorf("early: %+v", s)
	}
	// After until: clean.
	if s := leave(10, wait(10)); !s.Forfeit.IsZero() || s.Base != u(11000) {
		t.Errorf("after until: %+v", s)
	}
	if s := leave(11, wait(10)); s.Forfeit != u(1375) {
		t.Errorf("in the last epoch of until: %+v", s)
	}
	// Unpaid: what accepted receipts cover stays payable, the rest is given up.
	paid := func(w *world, d *device, x *deal) {
		wait(7)(w, d, x)
		x.pay(u(5000))
		w.run(d)
		wait(71)(w, d, x)
	}
	if s := leave(0, paid); s.Payable(80) != u(5000) {
		t.Errorf("unpaid for 72 epochs: payable %s, want 5,000", s.Payable(80))
	}
}

// TestExpiry: a session ends with its id and is remembered for a while.
func TestExpiry(t *testing.T) {
	w := newWorld(t)
	d := w.device("device")
	x := w.customer("c").deal(d, "s")
	opening := x.put(1, 1000)
	first := d.evidence[opening].Body
	w.run(d)
	expiry := x.holding.Session.Expiry()
	w.epoch = expiry
	w.run(d)
	if s := d.session(x.holding.Session); s.Ended {
		t.Error("ended in its last epoch")
	}
	w.run(d)
	if s := d.session(x.holding.Session); !s.Ended || !s.Forfeit.IsZero() || s.Base != u(2000) {
		t.Errorf("after its expiry: %+v", s)
	}
	at := x.pay(u(2000))
	w.wantPaid(w.run(d), at, "")
	w.epoch = expiry + Linger
	w.run(d)
	d.session(x.holding.Session)
	w.run(d)
	if n := len(d.state().Sessions); n != 0 {
		t.Errorf("%d sessions after %d epochs", n, Linger)
	}
	// Its first holding cannot open it again.
	at = d.submit(KindHolding, first)
	w.want(w.run(d), at, types.SessionExpired)
}

// TestEgress: both signatures suffice, and the price's arithmetic holds.
func TestEgress(t *testing.T) {
	w := newWorld(t)
	d := w.device("device")
	x := w.customer("c").deal(d, "s")
	x.put(1, 1000)
	w.run(d)
	other := types.NewSessionID(w.epoch+9, [12]byte{7})
	r := receipt.Receipt{Session: other, Payer: x.holding.Payer, Terms: types.Hash{1}, Units: u(1 << 30), Amount: 1 << 28}
	good := x.hand(Egress, r)
	r.Amount++
	dear := x.hand(Egress, r)
	r.Amount -= 2
	cheap := x.hand(Egress, r)
	r.Units = types.U128{Hi: maxHi}
	huge := x.hand(Egress, r)
	r.Session = x.holding.Session // an egress ask's receipt on a session that holds
	r.Units, r.Amount = u(8), 2
	mixed := x.hand(Egress, r)
	out := w.run(d)
	w.wantPaid(out, good, "")
	w.wantPaid(out, dear, PriceMismatch)
	w.wantPaid(out, cheap, PriceMismatch)
	w.wantPaid(out, huge, UnitsOverflow)
	w.wantPaid(out, mixed, PriceMismatch)
}

// TestManySessions: positions fall into all of them, and the 4,097th is refused.
func TestManySessions(t *testing.T) {
	w := newWorld(t)
	d, c := w.device("device"), w.customer("c")
	for i := range 60 {
		c.deal(d, string(rune('A'+i))).put(1, 100+i)
	}
	w.run(d)
	hit := map[types.SessionID]bool{}
	for range 40 {
		for _, draw := range d.state().Draw(w.seed(), d.key.Public(), nil) {
			hit[draw.Session.ID] = true
		}
		w.run(d)
	}
	if s := d.state(); len(s.Sessions) != 60 || len(hit) != 60 || s.Passes != 40 {
		t.Errorf("%d sessions, %d asked, %d passes", len(s.Sessions), len(hit), s.Passes)
	}
	s := d.state()
	for i := uint64(0); len(s.Sessions) < MaxSessions; i++ {
		s.Sessions = append(s.Sessions, Session{ID: types.NewSessionID(1<<20, [12]byte{byte(i >> 8), byte(i), 1}), Ended: true})
	}
	slices.SortFunc(s.Sessions, func(a, b Session) int { return slices.Compare(a.ID[:], b.ID[:]) })
	d.line = s.Encode()
	if len(d.line) != New().Spec.MaxState {
		t.Errorf("a full line has %d bytes, MaxState is %d", len(d.line), New().Spec.MaxState)
	}
	c.deal(d, "one more").put(1, 100)
	out := w.close(d, func(in *tally.Input) { in.Challenged = false })
	w.want(out, 0, SessionLimit)
}
