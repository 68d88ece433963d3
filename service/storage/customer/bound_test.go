package customer

import (
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// purse is a wallet with so much left.
type purse struct {
	role.Wallet
	left types.Credit
}

func (p purse) Balance() types.Credit { return p.left }

// TestBound: how large an object may be, by what the format holds, what the devices have room for, and what can
// be paid for.
func TestBound(t *testing.T) {
	const price = 1 << 20
	p := pipeline.Lab // four of eight, and seven have to take it
	same := func(room, price uint64) (list []role.Offer) {
		for range p.N {
			list = append(list, role.Offer{Ask: &receipt.SignedAsk{Ask: receipt.Ask{Price: price, Capacity: types.U64(room)}}})
		}
		return list
	}
	rooms := same(1<<20, price)
	rooms[0].Ask.Ask.Capacity, rooms[1].Ask.Ask.Capacity, rooms[7].Ask.Ask.Capacity = types.U64(100), types.U64(1000), types.U128{Hi: 1}
	dear := same(1<<62, 0)
	dear[0].Ask.Ask.Price = price
	for _, c := range []struct {
		what   string
		chosen []role.Offer
		left   types.Credit
		bytes  uint64
		reason types.Reason
	}{
		{"nothing is in the way", same(1<<62, price), 1 << 62, maxObject, types.Oversize},
		{"what costs nothing", same(1<<62, 0), 0, maxObject, types.Oversize},
		{"the room that seven of eight have", rooms, 1 << 62, 4 * 1000, storage.TooFewDevices},
		{"no room", same(0, price), 1 << 62, 0, storage.TooFewDevices},
		// A credit holds 2²⁰ bytes for an epoch at that price: each of eight devices for an eighth of that, and
		// four of them hold the object.
		{"an epoch of all", same(1<<62, price), 8 * 24 * commitEvery >> 20, 4 * 24 * commitEvery, types.OverBudget},
		// Less than what is held at once: a device wants so many epochs of it paid.
		{"so many epochs of each", same(1<<62, price), 24, 4 << 20, types.OverBudget},
		{"nothing left", same(1<<62, price), 0, 0, types.OverBudget},
		{"one dear device among those that ask nothing", dear, 1, 4 << 20, types.OverBudget},
	} {
		b := (&account{wallet: purse{left: c.left}}).bound(p, c.chosen)
		if b.bytes != c.bytes || b.reason != c.reason {
			t.Errorf("%s: %d bytes, %s (%s); want %d, %s", c.what, b.bytes, b.reason, b.why, c.bytes, c.reason)
		}
	}
}
