package energy

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
)

var updateClear = flag.Bool("update-clear", false, "write testdata/clear.json anew")

// goldenBook is an auction with its quotes and its result, for other implementations to hold themselves against.
type goldenBook struct {
	About          string
	Floor, Ceiling uint64 `json:",string"`
	Seed           types.Hash
	Interval       uint64 `json:",string"`
	Bids, Asks     []goldenQuote
	Price          uint64 `json:",string"`
	Volume         types.U128
	Trades         []goldenTrade
}

type goldenQuote struct {
	ID        types.Hash
	Price, Wh uint64 `json:",string"`
	Filled    uint64 `json:",string"`
}

type goldenTrade struct {
	Bid, Ask int
	Wh       uint64 `json:",string"`
}

func (g *goldenBook) quotes() (bids, asks []Quote) {
	of := func(list []goldenQuote) (quotes []Quote) {
		for _, q := range list {
			quotes = append(quotes, Quote{q.ID, q.Price, q.Wh})
		}
		return quotes
	}
	return of(g.Bids), of(g.Asks)
}

// clear fills in the results.
func (g *goldenBook) clear() {
	a := Auction{g.Floor, g.Ceiling, g.Seed, g.Interval}
	bids, asks := g.quotes()
	c := a.Clear(bids, asks)
	g.Price, g.Volume, g.Trades = c.Price, c.Volume, nil
	for i := range g.Bids {
		g.Bids[i].Filled = c.Bids[i]
	}
	for i := range g.Asks {
		g.Asks[i].Filled = c.Asks[i]
	}
	for _, t := range c.Match(nil, bids, asks) {
		g.Trades = append(g.Trades, goldenTrade(t))
	}
}

func makeGoldenBooks() (books []goldenBook) {
	for i, c := range []struct {
		about          string
		floor, ceiling uint64
		quotes         int
		wh             uint64
	}{
		{"a street at noon", 80, 350, 12, 900},
		{"a narrow range: many at the margin, Wh left over", 100, 102, 26, 40},
		{"one tick", 100, 100, 16, 7},
		{"certificates", 0, 1000, 20, 2500},
		{"many at two prices: the draw", 50, 51, 210, 3},
		{"quantities of which two do not fit 64 bits", 80, 90, 12, 1<<64 - 2},
	} {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		g := goldenBook{About: c.about, Floor: c.floor, Ceiling: c.ceiling, Seed: types.Sum([]byte(c.about)), Interval: 1_983_000 + uint64(i)}
		bids, asks := randomBook(r, &Auction{Floor: c.floor, Ceiling: c.ceiling}, c.quotes, c.wh)
		for _, q := range bids {
			g.Bids = append(g.Bids, goldenQuote{ID: q.ID, Price: q.Price, Wh: q.Wh})
		}
		for _, q := range asks {
			g.Asks = append(g.Asks, goldenQuote{ID: q.ID, Price: q.Price, Wh: q.Wh})
		}
		books = append(books, g)
	}
	return books
}

func TestClearGolden(t *testing.T) {
	const path = "testdata/clear.json"
	if *updateClear {
		books := makeGoldenBooks()
		for i := range books {
			books[i].clear()
		}
		data, err := json.MarshalIndent(books, "", " ")
		if err == nil {
			err = os.WriteFile(path, append(data, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []goldenBook
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].clear()
		if diff := gocmp.Diff(want[i], got[i]); diff != "" {
			t.Errorf("%s:\n%s", want[i].About, diff)
		}
	}
	if len(got) == 0 {
		t.Error("no books")
	}
}
