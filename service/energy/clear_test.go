package energy

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

// quote names a quote by a number.
func quote(id int, price, wh uint64) Quote {
	return Quote{ID: types.Sum(binary.BigEndian.AppendUint64([]byte("quote"), uint64(id))), Price: price, Wh: wh}
}

// result is what of a Clearing is not memory.
type result struct {
	Price      uint64
	Volume     types.U128
	Bids, Asks []uint64
}

func (c *Clearing) result() result {
	return result{c.Price, c.Volume, append([]uint64{}, c.Bids...), append([]uint64{}, c.Asks...)}
}

func TestClear(t *testing.T) {
	a := Auction{Floor: 10, Ceiling: 20, Seed: types.Hash{1}, Interval: 7}
	bid := func(pairs ...uint64) (list []Quote) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, quote(len(list), pairs[i], pairs[i+1]))
		}
		return list
	}
	ask := func(pairs ...uint64) []Quote {
		list := bid(pairs...)
		for i := range list {
			list[i].ID[0] ^= 0xff
		}
		return list
	}
	list := func(v ...uint64) []uint64 { return append([]uint64{}, v...) }
	const most = 1<<64 - 1
	for _, c := range []struct {
		name       string
		bids, asks []Quote
		want       result
	}{
		{"nobody", nil, nil, result{Bids: list(), Asks: list()}},
		{"no seller", bid(20, 5), nil, result{Bids: list(0), Asks: list()}},
		{"apart", bid(14, 5), ask(15, 5), result{Bids: list(0), Asks: list(0)}},
		{"touching", bid(15, 5), ask(15, 3), result{15, types.U64(3), list(3), list(3)}},
		{"one of each: the middle, rounded down", bid(18, 5), ask(13, 5), result{15, types.U64(5), list(5), list(5)}},
		{"more demand: the price of the marginal bid", bid(18, 5), ask(13, 4), result{18, types.U64(4), list(4), list(4)}},
		{"more supply: the price of the marginal ask", bid(18, 4), ask(13, 5), result{13, types.U64(4), list(4), list(4)}},
		{"beyond the range counts at its ends", bid(most, 5), ask(0, 5), result{15, types.U64(5), list(5), list(5)}},
		{"dearer than the ceiling is no better than the ceiling", bid(20, 6, most, 6), ask(0, 6), result{20, types.U64(6), list(3, 3), list(6)}},
		{"cheaper than the floor is no better than the floor", bid(20, 6), ask(10, 6, 0, 6), result{10, types.U64(6), list(6), list(3, 3)}},
		{"beyond the range on the wrong side takes no part", bid(9, 5, 12, 1), ask(21, 5, 11, 1), result{11, types.U64(1), list(0, 1), list(0, 1)}},
		{"next to the range on the wrong side", bid(9, 5), ask(21, 5), result{Bids: list(0), Asks: list(0)}},
		{"nothing to sell", bid(15, 5), ask(12, 0), result{Bids: list(0), Asks: list(0)}},
		{"margin pro rata, better ones first", bid(19, 10, 15, 30, 15, 60, 14, 5), ask(11, 40), result{15, types.U64(40), list(10, 10, 20, 0), list(40)}},
		{"one Wh left over of three, to the lowest ticket", bid(15, 10, 15, 10, 15, 10), ask(11, 10), result{15, types.U64(10), list(3, 4, 3), list(10)}},
		{"a gap on both sides", bid(19, 5, 12, 5), ask(11, 5, 18, 5), result{15, types.U64(5), list(5, 0), list(5, 0)}},
		{"sums beyond 64 bits", bid(20, most, 20, most, 15, most), ask(10, most, 10, most), result{17, types.U128{Hi: 1, Lo: most - 1}, list(most, most, 0), list(most, most)}},
		{"a margin beyond 64 bits", bid(15, most, 15, most), ask(10, 4), result{15, types.U64(4), list(2, 2), list(4)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := a.Clear(c.bids, c.asks)
			if diff := gocmp.Diff(c.want, got.result()); diff != "" {
				t.Error(diff)
			}
			fair(t, &a, c.bids, c.asks, &got)
		})
	}
}

// TestCheck: a range that cannot be served is no trade, not a table of 2⁶⁴ ticks.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		floor, ceiling uint64
		ok             bool
	}{
		{0, 0, true}, {5, 4, false}, {0, MaxTicks - 1, true}, {0, MaxTicks, false}, {0, 1<<64 - 1, false}, {1<<64 - 1, 1<<64 - 1, true},
		{1<<64 - MaxTicks, 1<<64 - 1, true},
	} {
		a := Auction{Floor: c.floor, Ceiling: c.ceiling}
		if err := a.Check(); (err == nil) != c.ok {
			t.Errorf("%d to %d: %v", c.floor, c.ceiling, err)
		}
		got := a.Clear([]Quote{quote(1, c.ceiling, 1)}, []Quote{quote(2, c.floor, 1)})
		if got.Volume.IsZero() == c.ok || (got.Bids[0] == 1) != c.ok || (got.Asks[0] == 1) != c.ok {
			t.Errorf("%d to %d: %+v", c.floor, c.ceiling, got.result())
		}
		if want := c.floor + (c.ceiling-c.floor)/2; c.ok && got.Price != want {
			t.Errorf("%d to %d: price %d, want %d", c.floor, c.ceiling, got.Price, want)
		}
	}
}

// drawAuction and drawQuotes draw books that are likely to be full of ties, edges and overflow.
func drawAuction(t *rapid.T) *Auction {
	a := &Auction{Floor: rapid.Uint64Range(0, 5).Draw(t, "floor"), Interval: rapid.Uint64().Draw(t, "interval")}
	if rapid.Bool().Draw(t, "high") {
		a.Floor = 1<<64 - 1 - 20
	}
	a.Ceiling = a.Floor + rapid.Uint64Range(0, 12).Draw(t, "ticks")
	a.Seed[0] = rapid.Byte().Draw(t, "seed")
	return a
}

func drawQuotes(t *rapid.T, a *Auction, most int, label string) []Quote {
	wh := rapid.OneOf(rapid.Uint64Range(0, 9), rapid.Uint64Range(0, 9), rapid.Uint64Range(1<<64-9, 1<<64-1), rapid.Uint64())
	if rapid.Bool().Draw(t, label+" small") {
		wh = rapid.Uint64Range(0, 9)
	}
	low, high := a.Floor-min(a.Floor, 2), a.Ceiling+min(2, 1<<64-1-a.Ceiling)
	prices := rapid.OneOf(rapid.Uint64Range(low, high), rapid.Uint64Range(low, high), rapid.Uint64())
	list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Quote {
		return Quote{Price: prices.Draw(t, "price"), Wh: wh.Draw(t, "wh")}
	}), 0, most).Draw(t, label)
	for i := range list {
		list[i].ID = quote(i, 0, 0).ID
	}
	return list
}

// counted is the price that a quote counts with, and whether it takes part.
func (a *Auction) counted(q Quote, bid bool) (uint64, bool) {
	return min(max(q.Price, a.Floor), a.Ceiling), bid && q.Price >= a.Floor || !bid && q.Price <= a.Ceiling
}

// definition is what the design's words say of an auction, word by word, a scan of all quotes for every D(p)
// and S(p).
type definition struct {
	*Auction
	bids, asks []Quote
}

func (b definition) sum(quotes []Quote, bid bool, in func(price uint64) bool) *big.Int {
	sum := new(big.Int)
	for _, q := range quotes {
		if p, ok := b.counted(q, bid); ok && in(p) {
			sum.Add(sum, new(big.Int).SetUint64(q.Wh))
		}
	}
	return sum
}

func (b definition) D(p uint64) *big.Int {
	return b.sum(b.bids, true, func(q uint64) bool { return q >= p })
}
func (b definition) S(p uint64) *big.Int {
	return b.sum(b.asks, false, func(q uint64) bool { return q <= p })
}
func (b definition) DearerD(p uint64) *big.Int {
	return b.sum(b.bids, true, func(q uint64) bool { return q > p })
}
func (b definition) CheaperS(p uint64) *big.Int {
	return b.sum(b.asks, false, func(q uint64) bool { return q < p })
}

func (b definition) ticks(f func(p uint64)) {
	for i := range b.Ceiling - b.Floor + 1 {
		f(b.Floor + i)
	}
}

// clear returns what Clear should.
func (b definition) clear() result {
	r := result{Bids: make([]uint64, len(b.bids)), Asks: make([]uint64, len(b.asks))}
	v := new(big.Int)
	b.ticks(func(p uint64) {
		least := b.D(p)
		if s := b.S(p); s.Cmp(least) < 0 {
			least = s
		}
		if least.Cmp(v) > 0 {
			v = least
		}
	})
	if v.Sign() == 0 {
		return r
	}
	set := []uint64{}
	b.ticks(func(p uint64) {
		if b.D(p).Cmp(v) >= 0 && b.S(p).Cmp(v) >= 0 && b.DearerD(p).Cmp(v) <= 0 && b.CheaperS(p).Cmp(v) <= 0 {
			set = append(set, p)
		}
	})
	r.Price = set[0] + (set[len(set)-1]-set[0])/2
	low := new(big.Int).And(v, new(big.Int).SetUint64(1<<64-1))
	r.Volume = types.U128{Hi: new(big.Int).Rsh(v, 64).Uint64(), Lo: low.Uint64()}
	b.fill(b.bids, true, r.Bids, r.Price, new(big.Int).Sub(v, b.DearerD(r.Price)))
	b.fill(b.asks, false, r.Asks, r.Price, new(big.Int).Sub(v, b.CheaperS(r.Price)))
	return r
}

func (b definition) fill(quotes []Quote, bid bool, filled []uint64, price uint64, want *big.Int) {
	at := b.sum(quotes, bid, func(p uint64) bool { return p == price })
	left := new(big.Int).Set(want)
	margin, tickets := []int{}, map[int]types.Hash{}
	for i, q := range quotes {
		p, ok := b.counted(q, bid)
		switch {
		case !ok || q.Wh == 0 || p != price && (p > price) != bid:
		case p != price:
			filled[i] = q.Wh
		default:
			share := new(big.Int).SetUint64(q.Wh)
			filled[i] = share.Mul(share, want).Div(share, at).Uint64()
			left.Sub(left, new(big.Int).SetUint64(filled[i]))
			margin = append(margin, i)
			tickets[i] = types.Sum(b.Seed[:], binary.BigEndian.AppendUint64(nil, b.Interval), quotes[i].ID[:])
		}
	}
	slices.SortFunc(margin, func(i, j int) int {
		x, y := tickets[i], tickets[j]
		return cmp.Or(bytes.Compare(x[:], y[:]), cmp.Compare(quotes[i].Wh, quotes[j].Wh), cmp.Compare(quotes[i].Price, quotes[j].Price))
	})
	for _, i := range margin[:left.Uint64()] {
		filled[i]++
	}
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// fair checks what traders may rely on, whatever the price rule: nobody above their quantity or beyond their
// limit, all of one price treated alike, the better before the worse, and not a µcredit or a Wh made or lost.
func fair(t failer, a *Auction, bids, asks []Quote, c *Clearing) {
	t.Helper()
	bought := sideFair(t, a, bids, true, c.Bids, c.Price)
	sold := sideFair(t, a, asks, false, c.Asks, c.Price)
	if v := new(big.Int); bought.Cmp(sold) != 0 || func() bool { v.SetString(c.Volume.String(), 10); return v.Cmp(bought) != 0 }() {
		t.Fatalf("bought %d, sold %d, volume %d", bought, sold, c.Volume)
	}
	paid, got := new(big.Int), new(big.Int)
	price := new(big.Int).SetUint64(c.Price)
	for _, f := range c.Bids {
		paid.Add(paid, new(big.Int).Mul(price, new(big.Int).SetUint64(f)))
	}
	for _, f := range c.Asks {
		got.Add(got, new(big.Int).Mul(price, new(big.Int).SetUint64(f)))
	}
	if paid.Cmp(got) != 0 {
		t.Fatalf("buyers pay %d, sellers get %d", paid, got)
	}
}

func sideFair(t failer, a *Auction, quotes []Quote, bid bool, filled []uint64, price uint64) *big.Int {
	t.Helper()
	if len(filled) != len(quotes) {
		t.Fatalf("%d fills of %d quotes", len(filled), len(quotes))
	}
	sum, want, tick := new(big.Int), new(big.Int), new(big.Int)
	trade := slices.ContainsFunc(filled, func(f uint64) bool { return f > 0 })
	for i, q := range quotes {
		f := new(big.Int).SetUint64(filled[i])
		sum.Add(sum, f)
		p, ok := a.counted(q, bid)
		better := bid && p > price || !bid && p < price
		switch {
		case filled[i] > q.Wh:
			t.Fatalf("quote %d has %d Wh, and %d filled", i, q.Wh, filled[i])
		case filled[i] > 0 && (!ok || bid && q.Price < price || !bid && q.Price > price):
			t.Fatalf("quote %d has the limit %d, and trades at %d", i, q.Price, price)
		case trade && ok && better && filled[i] != q.Wh:
			t.Fatalf("quote %d at %d is better than %d, and has %d of %d Wh", i, q.Price, price, filled[i], q.Wh)
		case ok && p == price:
			want.Add(want, f)
			tick.Add(tick, new(big.Int).SetUint64(q.Wh))
		}
	}
	for i, q := range quotes {
		if p, ok := a.counted(q, bid); !trade || !ok || p != price {
			continue
		}
		// |filled − Wh·want/tick| < 1, or one Wh above a share without remainder.
		got := new(big.Int).Mul(new(big.Int).SetUint64(filled[i]), tick)
		got.Sub(got, new(big.Int).Mul(new(big.Int).SetUint64(q.Wh), want))
		if got.CmpAbs(tick) > 0 || got.CmpAbs(tick) == 0 && got.Sign() < 0 {
			t.Fatalf("quote %d at the margin: %d of %d Wh, where %d of %d are shared", i, filled[i], q.Wh, want, tick)
		}
	}
	return sum
}

// TestClearAsDefined holds Clear against the definition, and its fills against what traders may rely on.
func TestClearAsDefined(t *testing.T) {
	var c Clearing // used again and again: what an earlier book left must not show
	for range 20 { // a book takes microseconds
		rapid.Check(t, func(t *rapid.T) {
			a := drawAuction(t)
			bids, asks := drawQuotes(t, a, 12, "bids"), drawQuotes(t, a, 12, "asks")
			a.ClearInto(&c, bids, asks)
			if diff := gocmp.Diff(definition{a, bids, asks}.clear(), c.result()); diff != "" {
				t.Fatalf("by definition (-), Clear (+):\n%s", diff)
			}
			fair(t, a, bids, asks, &c)
		})
	}
}

// TestDraw holds the choice of the lowest tickets against sorting them all, where it takes more than one pass
// over their bytes: for many, and for many that share an ID, which then only Wh and price tell apart.
func TestDraw(t *testing.T) {
	a := &Auction{Floor: 50, Ceiling: 50, Interval: 3}
	for _, n := range []int{300, 40_000} {
		for seed := range byte(6) {
			a.Seed[0] = seed
			bids := make([]Quote, n)
			for i := range bids {
				bids[i] = quote(i, 50+uint64(i%3), 10+uint64(i%7))
				if seed < 3 {
					bids[i].ID = bids[i%200].ID
				}
			}
			asks := []Quote{quote(n, 50, uint64(n)*5/2+uint64(seed)*97)}
			c := a.Clear(bids, asks)
			want := definition{a, bids, asks}.clear()
			if !slices.Equal(filledQuotes(bids, want.Bids), filledQuotes(bids, c.Bids)) {
				t.Errorf("%d quotes, seed %d: not the lowest tickets", n, seed)
			}
		}
	}
}

// TestTicketOrder: where the first bytes of two tickets are equal, which no test will find, the rest decides.
func TestTicketOrder(t *testing.T) {
	a := &Auction{}
	for i := range 20 {
		x, y := quote(i, 1, 2), quote(i+1, 2, 1)
		tx, ty := a.ticket(&x.ID), a.ticket(&y.ID)
		if got, want := a.compare(&x, &y), bytes.Compare(tx[:], ty[:]); got != want {
			t.Errorf("%s and %s: %d, want %d", tx, ty, got, want)
		}
	}
}

// TestClearLarge does the same with up to a few thousand quotes: margins of hundreds, whose draw takes several
// passes.
func TestClearLarge(t *testing.T) {
	for i, n := range []int{100, 500, 1000, 2000, 4000} {
		for _, ticks := range []uint64{1, 3, 40} {
			r := rand.New(rand.NewPCG(uint64(i), ticks))
			a := &Auction{Floor: 80, Ceiling: 80 + ticks - 1, Seed: types.Hash{byte(i)}, Interval: uint64(n)}
			bids, asks := randomBook(r, a, n, 2500)
			c := a.Clear(bids, asks)
			if diff := gocmp.Diff(definition{a, bids, asks}.clear(), c.result()); diff != "" {
				t.Fatalf("%d quotes, %d ticks: by definition (-), Clear (+):\n%s", n, ticks, diff)
			}
			fair(t, a, bids, asks, &c)
		}
	}
}

// randomBook draws n quotes, about half of them bids, with prices up to a tenth beyond the range and up to most Wh.
func randomBook(r *rand.Rand, a *Auction, n int, most uint64) (bids, asks []Quote) {
	width := a.Ceiling - a.Floor + 1
	beyond := min(width/10+1, a.Floor)
	for i := range n {
		q := quote(i, a.Floor-beyond+r.Uint64N(width+2*beyond), 1+r.Uint64N(most))
		if r.IntN(2) == 0 {
			bids = append(bids, q)
		} else {
			asks = append(asks, q)
		}
	}
	return bids, asks
}

// filledQuote is a quote with its fill, wherever it stood.
type filledQuote struct {
	Quote
	Filled uint64
}

func filledQuotes(quotes []Quote, filled []uint64) []filledQuote {
	list := make([]filledQuote, len(quotes))
	for i, q := range quotes {
		list[i] = filledQuote{q, filled[i]}
	}
	slices.SortFunc(list, func(x, y filledQuote) int {
		return cmp.Or(bytes.Compare(x.ID[:], y.ID[:]), cmp.Compare(x.Price, y.Price), cmp.Compare(x.Wh, y.Wh), cmp.Compare(x.Filled, y.Filled))
	})
	return list
}

// TestClearAnyOrder: the order of quotes decides nothing, not even between quotes that share an ID.
func TestClearAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAuction(t)
		most := rapid.SampledFrom([]int{8, 300}).Draw(t, "most")
		bids, asks := drawQuotes(t, a, most, "bids"), drawQuotes(t, a, most, "asks")
		if rapid.Bool().Draw(t, "shared IDs") {
			for i := range bids {
				bids[i].ID = bids[i/3].ID
				if i%2 == 0 {
					bids[i] = bids[i/3]
				}
			}
		}
		c := a.Clear(bids, asks)
		trades := named(bids, asks, c.Match(nil, bids, asks))
		bids2, asks2 := slices.Clone(bids), slices.Clone(asks)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "shuffle"), 0))
		r.Shuffle(len(bids2), func(i, j int) { bids2[i], bids2[j] = bids2[j], bids2[i] })
		r.Shuffle(len(asks2), func(i, j int) { asks2[i], asks2[j] = asks2[j], asks2[i] })
		c2 := a.Clear(bids2, asks2)
		if c.Price != c2.Price || c.Volume != c2.Volume {
			t.Fatalf("%d Wh at %d; in another order %d at %d", c.Volume, c.Price, c2.Volume, c2.Price)
		}
		if diff := gocmp.Diff(filledQuotes(bids, c.Bids), filledQuotes(bids2, c2.Bids)); diff != "" {
			t.Fatalf("bids:\n%s", diff)
		}
		if diff := gocmp.Diff(filledQuotes(asks, c.Asks), filledQuotes(asks2, c2.Asks)); diff != "" {
			t.Fatalf("asks:\n%s", diff)
		}
		if diff := gocmp.Diff(trades, named(bids2, asks2, c2.Match(nil, bids2, asks2))); diff != "" {
			t.Fatalf("trades:\n%s", diff)
		}
	})
}

// TestClearBest tries every trade there could be, on every book of two bids and two asks at up to four prices:
// none has more welfare.
func TestClearBest(t *testing.T) {
	a := &Auction{Floor: 1, Ceiling: 3}
	const choices = 5 * 2 // prices 0 to 4, 1 or 2 Wh
	pick := func(id, n int) Quote { return quote(id, uint64(n/2), uint64(1+n%2)) }
	var c Clearing
	for n := range choices * choices * choices * choices {
		bids := []Quote{pick(0, n%choices), pick(1, n/choices%choices)}
		asks := []Quote{pick(2, n/choices/choices%choices), pick(3, n/choices/choices/choices)}
		a.ClearInto(&c, bids, asks)
		best := int64(0)
		value := func(x, y [2]uint64) (sum int64, balanced bool) {
			for i := range 2 {
				b, _ := a.counted(bids[i], true)
				s, _ := a.counted(asks[i], false)
				sum += int64(b*x[i]) - int64(s*y[i])
			}
			return sum, x[0]+x[1] == y[0]+y[1]
		}
		most := func(q Quote, bid bool) uint64 {
			if _, ok := a.counted(q, bid); !ok {
				return 0
			}
			return q.Wh
		}
		for x0 := range most(bids[0], true) + 1 {
			for x1 := range most(bids[1], true) + 1 {
				for y0 := range most(asks[0], false) + 1 {
					for y1 := range most(asks[1], false) + 1 {
						if v, ok := value([2]uint64{x0, x1}, [2]uint64{y0, y1}); ok {
							best = max(best, v)
						}
					}
				}
			}
		}
		got, ok := value([2]uint64(c.Bids), [2]uint64(c.Asks))
		if !ok || got != best {
			t.Fatalf("bids %v, asks %v: %v has a welfare of %d, the best is %d", bids, asks, c.result(), got, best)
		}
	}
}

// TestShare holds the division against arithmetic without bounds, above all where a divisor has two words and
// the first guess is wrong.
func TestShare(t *testing.T) {
	word := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 3), rapid.Uint64Range(1<<64-4, 1<<64-1), rapid.Uint64Range(1<<63-2, 1<<63+2))
	wide := func(u types.U128) *big.Int {
		b := new(big.Int).SetUint64(u.Hi)
		return b.Lsh(b, 64).Add(b, new(big.Int).SetUint64(u.Lo))
	}
	one := func(t *rapid.T) {
		tick := types.U128{Hi: word.Draw(t, "tick hi") >> rapid.IntRange(0, 64).Draw(t, "shift"), Lo: word.Draw(t, "tick lo")}
		want := types.U128{Hi: word.Draw(t, "want hi"), Lo: word.Draw(t, "want lo")}
		if rapid.Bool().Draw(t, "nearly all") {
			want = sub128(tick, types.U64(min(tick.Lo, rapid.Uint64Range(1, 5).Draw(t, "missing"))))
		}
		wh := word.Draw(t, "wh")
		if want.Cmp(tick) >= 0 || types.U64(wh).Cmp(tick) > 0 {
			t.Skip("no share")
		}
		exact := new(big.Int).SetUint64(wh)
		exact.Mul(exact, wide(want)).Div(exact, wide(tick))
		if got := share(wh, want, tick); got != exact.Uint64() {
			t.Fatalf("%d · %d / %d: %d, want %d", wh, want, tick, got, exact)
		}
	}
	for range 20 {
		rapid.Check(t, one)
	}
}

// TestDeduct clears certificates as Cross does: zone by zone, then for those to whom the zone is all the same.
func TestDeduct(t *testing.T) {
	a := Auction{Floor: 0, Ceiling: 1000, Interval: 9}
	asks := []Quote{quote(1, 100, 50), quote(2, 300, 50), quote(3, 200, 40)}
	north, south := asks[:2], asks[2:]
	check := func(zone, bids []Quote, want result, left ...uint64) {
		t.Helper()
		c := a.Clear(bids, zone)
		if diff := gocmp.Diff(want, c.result()); diff != "" {
			t.Error(diff)
		}
		Deduct(zone, c.Asks)
		for i, wh := range left {
			if asks[i].Wh != wh {
				t.Errorf("ask %d has %d Wh left, want %d", i, asks[i].Wh, wh)
			}
		}
	}
	check(north, []Quote{quote(10, 250, 60)}, result{250, types.U64(50), []uint64{50}, []uint64{50, 0}}, 0, 50, 40)
	check(south, nil, result{Bids: []uint64{}, Asks: []uint64{0}}, 0, 50, 40)
	check(asks, []Quote{quote(11, 900, 70)}, result{300, types.U64(70), []uint64{70}, []uint64{0, 30, 40}}, 0, 20, 0)
}

// TestClearAllocates nothing when its memory is used again.
func TestClearAllocates(t *testing.T) {
	a := &Auction{Floor: 80, Ceiling: 350}
	bids, asks := randomBook(rand.New(rand.NewPCG(1, 2)), a, 1000, 2500)
	var c Clearing
	var trades []Trade
	work := func() { a.ClearInto(&c, bids, asks); trades = c.Match(trades[:0], bids, asks) }
	work()
	if n := testing.AllocsPerRun(10, work); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
