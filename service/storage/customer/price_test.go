package customer

import (
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// TestQuote: the price is that of the devices that would be chosen, not that of whoever asks most or least.
func TestQuote(t *testing.T) {
	const each = 1 << 40 / 128 // at this price 128 bytes, a shard of 512, are a micro-credit
	var hold, egress []role.Offer
	add := func(n byte, owner byte, quality types.Bp, price, read uint64) {
		key := types.NewPrivateKey([32]byte{n})
		for _, o := range []struct {
			list  *[]role.Offer
			price uint64
		}{{&hold, price * each}, {&egress, read * each}} {
			ask := receipt.Ask{Device: key.Public(), Price: o.price}
			*o.list = append(*o.list, role.Offer{Ask: ask.Sign(key), Owner: types.Account{owner}, Quality: quality})
		}
	}
	add(1, 1, 10_000, 90, 90) // as good as any, and dear
	add(2, 2, 4000, 1, 1)     // cheap, and bad
	for n := byte(10); n < 18; n++ {
		add(n, n, 9000+types.Bp(n), 10, uint64(n))
	}
	add(30, 10, 9400, 5, 5) // cheaper, and of an owner that has one already: it takes the other's place

	// The dear one is of a better class, and chosen; of the others the cheapest, one for each owner; the last
	// slot is for the bad one, which is the cheapest of all.
	price, err := quote(pipeline.Lab, 512, hold, egress, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := Price{Profile: "lab", Bytes: 512, Epoch: 90 + 5 + 5*10 + 1, Read: 1 + 5 + 11 + 12, ReadMax: 90 + 15 + 14 + 13}
	if *price != want {
		t.Errorf("%+v, want %+v", *price, want)
	}
	for i := range hold {
		hold[i].Quality = 9600 + types.Bp(i)
	}
	price, err = quote(pipeline.Lab, 512, hold, egress, 0)
	if err != nil {
		t.Fatal(err)
	}
	if price.Epoch != 1+5+6*10 {
		t.Errorf("of like quality, the cheapest cost %d", price.Epoch)
	}
	if _, err := quote(pipeline.Lab, 512, hold[:7], egress, 0); types.ReasonOf(err) != storage.TooFewDevices {
		t.Errorf("a price of what cannot be stored: %v", err)
	}
	if _, err := quote(pipeline.Lab, 1, hold, nil, 0); err != nil {
		t.Errorf("devices that offer no reading: %v", err)
	}
}

// TestChances: one slot in ten goes by price alone, so that a device that nobody knows gets work if it asks
// less than the others, and many of them get no more than that.
func TestChances(t *testing.T) {
	offer := func(n byte, quality types.Bp, price uint64) role.Offer {
		ask := receipt.Ask{Device: types.NewPrivateKey([32]byte{n}).Public(), Price: price}
		return role.Offer{Ask: ask.Sign(types.NewPrivateKey([32]byte{n})), Owner: types.Account{n}, Quality: quality}
	}
	for _, c := range []struct {
		name    string
		p       pipeline.Profile
		price   uint64 // of the new ones
		unknown int    // chosen
	}{
		{"cheaper", pipeline.Lab, 9, 1}, {"as dear", pipeline.Lab, 10, 0}, {"dearer", pipeline.Lab, 11, 0},
		{"cheaper, std", pipeline.Std, 9, 2}, {"cheaper, deep", pipeline.Deep, 9, 3},
	} {
		var offers []role.Offer
		for n := range byte(12) { // more new ones than known, and listed first
			offers = append(offers, offer(100+n, 0, c.price))
		}
		for n := range byte(c.p.N) {
			offers = append(offers, offer(n, 9800, 10))
		}
		chosen, err := choose(c.p, offers, 0)
		if err != nil || len(chosen) != c.p.N {
			t.Fatalf("%s: %d chosen: %v", c.name, len(chosen), err)
		}
		unknown := 0
		for i, o := range chosen {
			if o.Quality == 0 {
				unknown++
				if i < c.p.N-chances(c.p) {
					t.Errorf("%s: slot %d is for those who are known", c.name, i)
				}
			}
		}
		if unknown != c.unknown {
			t.Errorf("%s: %d are new, want %d", c.name, unknown, c.unknown)
		}
	}
}
