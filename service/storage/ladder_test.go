package storage

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

func TestAmount(t *testing.T) {
	for _, c := range []struct {
		units types.U128
		price uint64
		want  types.Credit
	}{
		{u(0), 5, 0},
		{u(Scale), Reference, Reference},
		{u(Scale - 1), 1, 0},
		{u(Scale + 1), 1, 1},
		{u(720 << 40), Reference, 1649520}, // a TiB for 30 days: $1.65
		{types.U128{Hi: 1<<24 - 1, Lo: 1<<64 - 1}, 1 << 16, 1<<64 - 1},
	} {
		if got, err := Amount(c.units, c.price); err != nil || got != c.want {
			t.Errorf("Amount(%s, %d) = %d, %v; want %d", c.units, c.price, got, err, c.want)
		}
	}
	for _, c := range []struct {
		units types.U128
		price uint64
	}{
		{types.U128{Hi: 1 << 24}, 1},
		{u(1), 1 << 40},
		{types.U128{Hi: 1<<24 - 1, Lo: 1<<64 - 1}, 1<<16 + 1}, // 2⁶⁴ micro-credits
	} {
		if got, err := Amount(c.units, c.price); types.ReasonOf(err) != UnitsOverflow {
			t.Errorf("Amount(%s, %d) = %d, %v", c.units, c.price, got, err)
		}
	}
}

func TestAmountEqualsBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units := types.U128{Hi: rapid.Uint64Max(maxHi-1).Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
		price := rapid.Uint64Max(MaxPrice-1).Draw(t, "price")
		want, _ := new(big.Int).SetString(units.String(), 10)
		want.Mul(want, new(big.Int).SetUint64(price)).Rsh(want, 40)
		got, err := Amount(units, price)
		if want.IsUint64() != (err == nil) || err == nil && want.Uint64() != uint64(got) {
			t.Fatalf("Amount(%s, %d) = %d, %v; want %s", units, price, got, err, want)
		}
	})
}

func ladder(t testing.TB, from, step uint64) *Ladder {
	payer := key("customer")
	l, err := NewLadder(receipt.Receipt{
		Chain: testChain, Category: types.Storage, Session: types.NewSessionID(500, [12]byte{1}), Payer: payer.Public(),
		Device: key("device").Public(), Terms: types.Hash{5}, Units: u(from), Seq: 41, First: 7,
	}, step, testPrice, func(kind string, payload []byte) types.Signature { return payer.Sign(kind, testChain, payload) })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLadder(t *testing.T) {
	l := ladder(t, 1000, 100)
	if l.Top() != Rungs || !l.Verify() {
		t.Fatalf("%d rungs, signed: %t", l.Top(), l.Verify())
	}
	r := l.Rung(3)
	if r.Receipt.Units != u(1300) || r.Receipt.Amount != 325 || r.Receipt.Seq != 0 || !r.VerifyPayer() {
		t.Errorf("rung 3: %+v", r.Receipt)
	}
	for payable, want := range map[uint64]int{0: 0, 1000: 0, 1099: 0, 1100: 1, 1199: 1, 1200: 2, 17799: 167, 17800: 168, 1 << 60: 168} {
		if got := l.Highest(u(payable)); got != want || l.Unused(u(payable)) != Rungs-want {
			t.Errorf("payable %d: rung %d, %d unused; want %d", payable, got, l.Unused(u(payable)), want)
		}
	}
	again, err := DecodeLadder(l.Encode(), testChain)
	if err != nil || !again.Verify() || again.Rung(Rungs).Receipt != l.Rung(Rungs).Receipt {
		t.Errorf("decoded: %v", err)
	}
	if n := len(l.Encode()); n > 12<<10 {
		t.Errorf("a full ladder has %d bytes", n)
	}
	again.Signatures[100][5] ^= 1
	if again.Verify() {
		t.Error("a bent signature passes")
	}
	again.From.Seq = 1
	if _, err := DecodeLadder(again.Encode(), testChain); types.ReasonOf(err) != types.BadEncoding {
		t.Errorf("a numbered ladder: %v", err)
	}
	// Bent heads are refused, each by its reason.
	for reason, bend := range map[types.Reason]func(*Ladder){
		types.WrongChain:  func(l *Ladder) { l.From.Chain = "other" },
		types.BadEncoding: func(l *Ladder) { l.Signatures = nil },
		PriceMismatch:     func(l *Ladder) { l.From.Amount++ },
		types.Reason(""):  func(*Ladder) {},
		UnitsOverflow:     func(l *Ladder) { l.Step = 1 << 63; l.Price = Scale - 1; l.From.Amount = 999 },
		types.Oversize:    func(l *Ladder) { l.Signatures = make([]types.Signature, 2*Rungs) },
	} {
		bent := ladder(t, 1000, 100)
		bend(bent)
		if _, err := DecodeLadder(bent.Encode(), testChain); types.ReasonOf(err) != reason {
			t.Errorf("want %s, got %v", reason, err)
		}
	}
}

// TestBest: after bytes shrink, the old and steeper ladder still reaches what is no longer retained.
func TestBest(t *testing.T) {
	old, flat := ladder(t, 1000, 1000), ladder(t, 5000, 10)
	for payable, want := range map[uint64]uint64{1999: 0, 2000: 2000, 5009: 5000, 5010: 5010, 6000: 6000, 6500: 6500, 9990: 9000, 1 << 50: 169000} {
		r := Best([]*Ladder{old, flat}, u(payable))
		if r == nil && want == 0 {
			continue
		}
		if r == nil || r.Receipt.Units != u(want) || !r.VerifyPayer() {
			t.Errorf("payable %d: %+v, want %d", payable, r, want)
		}
	}
	if r := Best([]*Ladder{ladder(t, 10, 0)}, u(9)); r != nil {
		t.Errorf("a level ladder above payable: %+v", r)
	}
	if r := Best([]*Ladder{ladder(t, 10, 0)}, u(10)); r == nil || r.Receipt.Units != u(10) {
		t.Errorf("a level ladder: %+v", r)
	}
	if r := Best(nil, u(10)); r != nil {
		t.Errorf("no ladder: %+v", r)
	}
}

// TestAsleep: one ladder feeds an honest device for 168 epochs, each rung as soon as it is payable, and never
// one too early.
func TestAsleep(t *testing.T) {
	w := newWorld(t)
	d := w.device("device")
	x := w.customer("customer").deal(d, "s")
	x.put(4, 1000)
	w.run(d)
	s := d.session(x.holding.Session)
	l, err := NewLadder(receipt.Receipt{
		Chain: testChain, Category: types.Storage, Session: s.ID, Payer: s.Payer, Device: d.key.Public(), Terms: s.Ask,
	}, s.Bytes, s.Price, func(kind string, payload []byte) types.Signature { return x.c.key.Sign(kind, testChain, payload) })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Fits(s, d.key.Public()); err != nil {
		t.Error(err)
	}
	if err := l.Fits(s, x.holding.Payer); types.ReasonOf(err) != HoldingTerms {
		t.Errorf("another device's ladder: %v", err)
	}
	paid := types.U128{}
	for epoch := uint64(1); epoch <= 200; epoch++ {
		state := d.state()
		// This epoch's answer will have passed when the receipt is judged.
		if best := Best([]*Ladder{l}, state.Sessions[0].Payable(state.Passes+1)); best != nil && best.Receipt.Units.Cmp(paid) > 0 {
			at := x.hand(Hold, best.Receipt)
			paid = best.Receipt.Units
			w.wantPaid(w.run(d), at, "")
		} else {
			w.run(d)
		}
		want := min(Rungs, epoch*7/8) * 4000
		if paid != u(want) {
			t.Fatalf("after %d epochs %s is paid, want %d", epoch, paid, want)
		}
	}
}
