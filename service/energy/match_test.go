package energy

import (
	"bytes"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// namedTrade is a trade wherever its quotes stood.
type namedTrade struct {
	Buyer, Seller [32]byte
	Wh            uint64
}

func named(bids, asks []Quote, trades []Trade) []namedTrade {
	list := make([]namedTrade, len(trades))
	for i, t := range trades {
		list[i] = namedTrade{bids[t.Bid].ID, asks[t.Ask].ID, t.Wh}
	}
	return list
}

// TestMatch: every fill is traded to the last Wh, in the order of IDs, in as few trades as promised, and buyers
// pay what sellers get.
func TestMatch(t *testing.T) {
	var c Clearing
	rapid.Check(t, func(t *rapid.T) {
		a := drawAuction(t)
		most := rapid.SampledFrom([]int{6, 300}).Draw(t, "most")
		bids, asks := drawQuotes(t, a, most, "bids"), drawQuotes(t, a, most, "asks")
		crowd(bids, rapid.IntRange(0, 31).Draw(t, "alike"))
		crowd(asks, rapid.IntRange(0, 31).Draw(t, "alike"))
		a.ClearInto(&c, bids, asks)
		matched(t, &c, bids, asks)
	})
}

// crowd makes IDs equal in their first n bytes, and rare in the next.
func crowd(quotes []Quote, n int) {
	for i := range quotes {
		id := &quotes[i].ID
		clear(id[:n])
		id[n] %= 3
		id[31] ^= byte(i) // still different, nearly always
	}
}

func matched(t failer, c *Clearing, bids, asks []Quote) {
	t.Helper()
	trades := c.Match(nil, bids, asks)
	bought, sold := make([]uint64, len(bids)), make([]uint64, len(asks))
	price, paid := new(big.Int).SetUint64(c.Price), new(big.Int)
	for i, x := range trades {
		if x.Wh == 0 {
			t.Fatalf("trade %d is of nothing", i)
		}
		if i > 0 {
			p := trades[i-1]
			buyers, sellers := bytes.Compare(bids[p.Bid].ID[:], bids[x.Bid].ID[:]), bytes.Compare(asks[p.Ask].ID[:], asks[x.Ask].ID[:])
			if buyers > 0 || sellers > 0 || p.Bid == x.Bid && p.Ask == x.Ask {
				t.Fatalf("trade %d is out of order", i)
			}
		}
		bought[x.Bid] += x.Wh
		sold[x.Ask] += x.Wh
		paid.Add(paid, new(big.Int).Mul(price, new(big.Int).SetUint64(x.Wh)))
	}
	if !slices.Equal(bought, c.Bids) || !slices.Equal(sold, c.Asks) {
		t.Fatalf("filled %d and %d, traded %d and %d", c.Bids, c.Asks, bought, sold)
	}
	if v, _ := new(big.Int).SetString(c.Volume.String(), 10); paid.Cmp(v.Mul(v, price)) != 0 {
		t.Fatalf("%d µcredits for %d Wh at %d", paid, c.Volume, c.Price)
	}
	filled := func(list []uint64) (n int) {
		for _, f := range list {
			n += int(min(f, 1))
		}
		return n
	}
	if most := filled(c.Bids) + filled(c.Asks) - 1; len(trades) > max(0, most) {
		t.Fatalf("%d trades, want %d at most", len(trades), most)
	}
}

// TestMatchLarge takes IDs as they come, in crowds at every depth, and all alike.
func TestMatchLarge(t *testing.T) {
	a := &Auction{Floor: 80, Ceiling: 350}
	for n := range 33 {
		bids, asks := randomBook(rand.New(rand.NewPCG(uint64(n), 0)), a, 3000, 2500)
		if n < 32 {
			for i := range bids {
				clear(bids[i].ID[:n])
			}
			crowd(asks, n)
		} else {
			for i := range bids {
				bids[i].ID = [32]byte{}
			}
		}
		c := a.Clear(bids, asks)
		matched(t, &c, bids, asks)
	}
}
