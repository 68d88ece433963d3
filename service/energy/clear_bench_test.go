package energy

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
)

// quadratic is the peer: the same auction as one writes it down from its definition, which for every quote's
// price sums up all quotes, and sorts the margin. Quantities are small enough for 64 bits.
type quadratic struct {
	*Auction
	bids, asks []Quote // those that take part, with prices as counted
}

func newQuadratic(a *Auction, bids, asks []Quote) quadratic {
	take := func(quotes []Quote, bid bool) (list []Quote) {
		for _, q := range quotes {
			var ok bool
			if q.Price, ok = a.counted(q, bid); ok {
				list = append(list, q)
			}
		}
		return list
	}
	return quadratic{a, take(bids, true), take(asks, false)}
}

// sums returns D(p), D(p+1), S(p) and S(p−1).
func (x quadratic) sums(p uint64) (demand, dearer, supply, cheaper uint64) {
	for i := range x.bids {
		if q := &x.bids[i]; q.Price > p {
			dearer += q.Wh
		} else if q.Price == p {
			demand += q.Wh
		}
	}
	for i := range x.asks {
		if q := &x.asks[i]; q.Price < p {
			cheaper += q.Wh
		} else if q.Price == p {
			supply += q.Wh
		}
	}
	return demand + dearer, dearer, supply + cheaper, cheaper
}

// clear returns price, volume and fills of the quotes that take part. Both ends of a clearing set are quotes'
// prices, so no others need be tried.
func (x quadratic) clear() result {
	type at struct{ price, demand, dearer, supply, cheaper uint64 }
	all := make([]at, 0, len(x.bids)+len(x.asks))
	volume := uint64(0)
	for _, side := range [][]Quote{x.bids, x.asks} {
		for i := range side {
			s := at{price: side[i].Price}
			s.demand, s.dearer, s.supply, s.cheaper = x.sums(s.price)
			volume = max(volume, min(s.demand, s.supply))
			all = append(all, s)
		}
	}
	r := result{Bids: make([]uint64, len(x.bids)), Asks: make([]uint64, len(x.asks))}
	if volume == 0 {
		return r
	}
	low, high := uint64(1<<64-1), uint64(0)
	for _, s := range all {
		if s.demand >= volume && s.supply >= volume && s.dearer <= volume && s.cheaper <= volume {
			low, high = min(low, s.price), max(high, s.price)
		}
	}
	r.Price, r.Volume = low+(high-low)/2, types.U64(volume)
	demand, dearer, supply, cheaper := x.sums(r.Price)
	x.fill(x.bids, r.Bids, volume-dearer, demand-dearer, func(p uint64) int { return cmp.Compare(p, r.Price) })
	x.fill(x.asks, r.Asks, volume-cheaper, supply-cheaper, func(p uint64) int { return cmp.Compare(r.Price, p) })
	return r
}

func (x quadratic) fill(quotes []Quote, filled []uint64, want, tick uint64, rank func(uint64) int) {
	left, margin := want, []int{}
	for i, q := range quotes {
		switch rank(q.Price) {
		case 1:
			filled[i] = q.Wh
		case 0:
			filled[i] = q.Wh * want / tick
			left -= filled[i]
			margin = append(margin, i)
		}
	}
	slices.SortFunc(margin, func(i, j int) int {
		a, b := x.ticket(&quotes[i].ID), x.ticket(&quotes[j].ID)
		return slices.Compare(a[:], b[:])
	})
	for _, i := range margin[:left] {
		filled[i]++
	}
}

// benchBook is a region in which half of n quotes are bids, at prices around the range of a zone and with up to
// 2.5 kWh.
func benchBook(n int) (a *Auction, bids, asks []Quote) {
	a = &Auction{Floor: 80, Ceiling: 350, Seed: types.Hash{1}, Interval: 1_983_000}
	bids, asks = randomBook(rand.New(rand.NewPCG(uint64(n), 1)), a, n, 2500)
	return a, bids, asks
}

// TestQuadratic: the peer of the benchmark does the same work.
func TestQuadratic(t *testing.T) {
	for n := range 300 {
		a, bids, asks := benchBook(n)
		a.Ceiling = a.Floor + uint64(n) // from many at a price to few
		x := newQuadratic(a, bids, asks)
		c := a.Clear(x.bids, x.asks)
		if diff := gocmp.Diff(x.clear(), c.result()); diff != "" {
			t.Fatalf("%d quotes: quadratic (-), Clear (+):\n%s", n, diff)
		}
	}
}

// processorTime is what this process has computed. Clear runs on one processor, so on an idle machine it is the
// clock's time.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perOrder(b *testing.B, start time.Duration, n int) {
	b.ReportMetric(float64(processorTime()-start)/float64(b.N)/float64(n), "cpu-ns/order")
}

// BenchmarkClear clears one book. Limits, of processor time: 5 ms for 10,000 orders, 20 ms for 100,000, 150 ms
// for 1,000,000. In the books "tied" all bids are at one price and all asks at another, so that everybody is at
// the margin and half of the orders draw for Wh left over.
func BenchmarkClear(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		for _, tied := range []bool{false, true} {
			a, bids, asks := benchBook(n)
			name := fmt.Sprintf("orders=%07d", n)
			if tied {
				name = fmt.Sprintf("tied=%07d", n)
				for i := range bids {
					bids[i].Price, bids[i].Wh = 300, bids[i].Wh+2500
				}
				for i := range asks {
					asks[i].Price = 100
				}
			}
			var c Clearing
			b.Run(name, func(b *testing.B) {
				start := processorTime()
				for b.Loop() {
					a.ClearInto(&c, bids, asks)
				}
				perOrder(b, start, n)
				if c.Volume.IsZero() {
					b.Fatal("no trade")
				}
			})
		}
	}
}

// BenchmarkMatch pairs what BenchmarkClear filled.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		a, bids, asks := benchBook(n)
		c := a.Clear(bids, asks)
		var trades []Trade
		b.Run(fmt.Sprintf("orders=%07d", n), func(b *testing.B) {
			start := processorTime()
			for b.Loop() {
				trades = c.Match(trades[:0], bids, asks)
			}
			perOrder(b, start, n)
			b.ReportMetric(float64(len(trades)), "trades")
		})
	}
}

// BenchmarkClearQuadratic clears 4,000 orders both ways in turn. Limit: 100 times faster than the peer.
func BenchmarkClearQuadratic(b *testing.B) {
	const n, times = 4000, 100 // of Clear, for one of the peer
	a, bids, asks := benchBook(n)
	x := newQuadratic(a, bids, asks)
	var c Clearing
	var slow, fast time.Duration
	for b.Loop() {
		start := processorTime()
		r := x.clear()
		slow += processorTime() - start
		start = processorTime()
		for range times {
			a.ClearInto(&c, bids, asks)
		}
		fast += processorTime() - start
		if r.Price != c.Price || r.Volume != c.Volume {
			b.Fatalf("%d Wh at %d, the peer %d at %d", c.Volume, c.Price, r.Volume, r.Price)
		}
	}
	fast /= times
	b.ReportMetric(float64(n*b.N)/fast.Seconds(), "orders/s")
	b.ReportMetric(float64(n*b.N)/slow.Seconds(), "peer-orders/s")
	b.ReportMetric(float64(slow)/float64(fast), "ratio")
}
