package tally

import (
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestOldCopies: whoever hands in old receipts and orders of others, as many as the quota has, pushes nothing
// new out.
func TestOldCopies(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p, q := w.payer(1, 1, 1_000_000, 1_000_000, 100), w.payer(2, 2, 1_000_000, 1_000_000, 100)
	a := d.ask(thing, 1000)
	first := p.pay(d, a, session(50, 1), 2*MaxReceipts, 2*MaxReceipts, 2*MaxReceipts)
	order := q.order(session(50, 7), 10_000, 2*MaxNewOrder)
	w.tally()
	w.want(first, "")
	w.want(order, "")
	var old []Item
	for i := range uint64(MaxReceipts) {
		old = append(old, p.pay(d, a, session(50, 1), 1000+i, types.Credit(1000+i), 1+i))
	}
	for i := range uint64(MaxNewOrder) {
		old = append(old, q.order(session(50, 7), 1000, 1+i))
	}
	newest := p.pay(d, a, session(50, 1), 3*MaxReceipts, 3*MaxReceipts, 3*MaxReceipts)
	again := q.order(session(50, 7), 20_000, 3*MaxNewOrder)
	w.tally()
	w.want(newest, "")
	w.want(again, "")
	for _, it := range old {
		if w.reason(it) != types.Superseded {
			t.Fatalf("an old copy is %q", w.reason(it))
		}
	}
	if paid := w.state.Line(d.id).Paid(); paid != 3*MaxReceipts {
		t.Errorf("paid %d", paid)
	}
}

// TestReceiptQuota: a device has as many sessions a quota as there are, and however many receipts of one of
// them count once.
func TestReceiptQuota(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 1<<40, 1<<40, 100)
	a := d.ask(thing, 1000)
	var all []Item
	for i := range MaxReceipts + 3 {
		id := types.NewSessionID(50, [12]byte{byte(i >> 8), byte(i)})
		all = append(all, p.pay(d, a, id, 200, 200, 1), p.pay(d, a, id, 100, 100, 1))
	}
	w.tally()
	counted, over := 0, 0
	for _, it := range all {
		switch r := w.reason(it); r {
		case "":
			counted++
		case types.OverQuota:
			over++
		case types.Superseded:
		default:
			t.Fatal(r)
		}
	}
	if counted != MaxReceipts || over != 6 {
		t.Errorf("%d count, %d are over the quota", counted, over)
	}
}
