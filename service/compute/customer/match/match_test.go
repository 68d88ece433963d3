package match

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

const class types.Class = 1

func key(n int) (k types.Key) {
	binary.BigEndian.PutUint64(k[:], uint64(n)*0x9e3779b97f4a7c15)
	k[31] = byte(n)
	return k
}

func account(n int) (a types.Account) { binary.BigEndian.PutUint32(a[:], uint32(n)+1); return a }

func ask(n int, price types.Credit, quality types.Bp) Ask {
	return Ask{Device: key(n), Owner: account(n), Class: class, Price: price, Quality: quality, Until: 10}
}

func need(job int) *Need {
	n := &Need{Account: account(1 << 20), Class: class, Slots: 1, Price: 1000, Epoch: 5, Now: 1000}
	binary.BigEndian.PutUint64(n.Job[:], uint64(job)*0x9e3779b97f4a7c15)
	return n
}

// book returns a Book of asks whose devices were just heard with four slots free.
func book(asks ...Ask) *Book {
	b := NewBook([16]byte{1})
	for _, a := range asks {
		b.Put(a)
		b.Hear(a.Device, a.Class, 4, 1000)
	}
	return b
}

func TestSecondPrice(t *testing.T) {
	for _, c := range []struct {
		name string
		asks []Ask
		most types.Credit
		who  int
		paid types.Credit
	}{
		{"alone", []Ask{ask(1, 100, 5000)}, 1000, 1, 100},
		{"of another owner", []Ask{ask(1, 100, 5000), ask(2, 140, 5000)}, 1000, 1, 140},
		{"never beyond the most", []Ask{ask(1, 100, 5000), ask(2, 140, 5000)}, 120, 1, 100}, // the second does not fit then
		{"quality counts", []Ask{ask(1, 100, 5000), ask(2, 150, 10000)}, 1000, 2, 200},
		{"capped", []Ask{ask(1, 100, 5000), ask(2, 150, 10000)}, 170, 2, 170},
		{"equal", []Ask{ask(1, 100, 5000), ask(2, 100, 5000)}, 1000, 0, 100},
	} {
		n := need(1)
		n.Price = c.most
		f, ok := book(c.asks...).Find(n)
		if !ok || c.who > 0 && f.Ask.Device != key(c.who) || f.Price != c.paid {
			t.Errorf("%s: %v %v for %d, want %d for %d", c.name, ok, f.Ask.Device, f.Price, c.who, c.paid)
		}
	}
	// Two devices of one owner do not make each other's price.
	a, b := ask(1, 100, 5000), ask(2, 900, 5000)
	b.Owner = a.Owner
	if f, _ := book(a, b, ask(3, 950, 5000)).Find(need(1)); f.Price != 950 {
		t.Errorf("paid %d", f.Price)
	}
	if f, _ := book(a, b).Find(need(1)); f.Price != 100 || f.Next != nil {
		t.Errorf("paid %d with its owner's other device beside it", f.Price)
	}
}

func TestCounts(t *testing.T) {
	b := book(ask(1, 10, 5000), ask(2, 11, 5000), ask(3, 12, 5000), ask(4, 13, 5000), ask(5, 14, 5000), ask(6, 15, 20),
		ask(7, 2000, 5000), ask(8, 17, 5000), ask(9, 18, 5000))
	b.Hear(key(2), class, 4, 1000-Silence-1)
	suspended := ask(3, 12, 5000)
	suspended.Suspended = true
	b.Put(suspended)
	lapsed := ask(4, 13, 5000)
	lapsed.Until = 4
	b.Put(lapsed)
	own := ask(5, 14, 5000)
	own.Owner = need(1).Account
	b.Put(own)
	b.Hear(key(8), class, 0, 1000)
	n := need(1)
	n.Exclude, n.Quality = []types.Key{key(1)}, 100
	here := types.Cell(0x832830fffffffff)
	n.Near = []types.Cell{here}
	for i := range 9 {
		a := b.classes[class].of[key(i+1)].Ask
		a.Cell = here
		if i == 8 {
			a.Cell = 0
		}
		b.Put(a)
	}
	f, ok := b.Find(n)
	if ok {
		t.Fatalf("found %v", f.Ask.Device)
	}
	want := Counts{Excluded: 1, SameOwner: 1, Suspended: 1, Lapsed: 1, Silent: 1, Cell: 1, Price: 1, Quality: 1, Capacity: 1}
	if f.Passed != want || f.Passed.Total() != 9 {
		t.Errorf("passed over %v, want %v", f.Passed.Map(), want.Map())
	}
	// Of those behind the winner nothing is said: they lost by their price.
	if f, ok := book(ask(1, 10, 5000), ask(2, 20, 5000), ask(3, 5000, 5000)).Find(need(1)); !ok || f.Passed.Total() != 0 {
		t.Errorf("%v passed over %v", ok, f.Passed.Map())
	}
}

// TestEquals: jobs spread over devices that ask alike, and none can choose a key by which it gets more.
func TestEquals(t *testing.T) {
	var asks []Ask
	for i := range 40 {
		asks = append(asks, ask(i, 100, 5000))
	}
	b := book(asks...)
	got := map[types.Key]int{}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		n := need(0)
		for i := range 4 {
			binary.LittleEndian.PutUint64(n.Job[8*i:], r.Uint64())
		}
		f, ok := b.Find(n)
		if !ok {
			t.Fatal("nobody found")
		}
		got[f.Ask.Device]++
	}
	for _, a := range asks {
		if n := got[a.Device]; n < 250 || n > 1000 {
			t.Errorf("%v got %d of 20,000 jobs, its share is 500", a.Device, n)
		}
	}
}

func TestTaken(t *testing.T) {
	b := book(ask(1, 100, 5000), ask(2, 200, 5000))
	for i, want := range []int{1, 1, 1, 1, 2, 2, 2, 2, 0} {
		f, ok := b.Find(need(i))
		if ok != (want > 0) || ok && f.Ask.Device != key(want) {
			t.Fatalf("job %d at %v %v, want %d", i, ok, f.Ask.Device, want)
		}
		b.Take(f.Ask.Device, class, 1)
	}
	b.Give(key(1), class, 1)
	if f, ok := b.Find(need(9)); !ok || f.Ask.Device != key(1) {
		t.Error("a device that has ended a job is not found")
	}
	b.Take(key(1), class, 1)
	b.Hear(key(2), class, 1, 1001)
	if f, ok := b.Find(need(9)); !ok || f.Ask.Device != key(2) {
		t.Error("a device with a free slot again is not found")
	}
}

func TestFailures(t *testing.T) {
	b := book(ask(1, 100, 8000), ask(2, 120, 8000))
	b.Failed(key(1))
	f, _ := b.Find(need(1))
	if f.Ask.Device != key(2) || f.Price != 133 {
		t.Errorf("%v for %d after the other failed, want the second for 133", f.Ask.Device, f.Price)
	}
	// It can't wash itself by asking anew.
	b.Remove(key(1), class)
	b.Put(ask(1, 100, 8000))
	b.Hear(key(1), class, 4, 1000)
	if f, _ := b.Find(need(1)); f.Ask.Device != key(2) {
		t.Error("who asks anew has never failed")
	}
	b.Done(key(1))
	if f, _ := b.Find(need(1)); f.Ask.Device != key(1) {
		t.Error("who did a job again stays behind")
	}
}

func TestFull(t *testing.T) {
	b := NewBook([16]byte{})
	for i := range Most {
		b.Put(ask(i, types.Credit(10+i), 5000))
	}
	if b.Put(ask(Most, 1<<20, 5000)) {
		t.Error("a full book took one that is worse than all")
	}
	if !b.Put(ask(Most, 1, 5000)) || b.Len(class) != Most {
		t.Error("a full book did not take one that is better")
	}
	for i := range 3 * Most {
		b.Failed(key(i))
	}
	if len(b.trust) > Most {
		t.Errorf("%d failures remembered", len(b.trust))
	}
}

// TestRank holds Find against a plain search of everything.
func TestRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBook([16]byte{byte(rapid.IntRange(0, 3).Draw(t, "secret"))})
		all := map[types.Key]*entry{}
		for range rapid.IntRange(0, 60).Draw(t, "asks") {
			a := ask(rapid.IntRange(0, 30).Draw(t, "device"), types.Credit(rapid.IntRange(1, 12).Draw(t, "price")*100),
				types.Bp(rapid.IntRange(0, 4).Draw(t, "quality")*2500))
			a.Owner = account(rapid.IntRange(0, 8).Draw(t, "owner"))
			b.Put(a)
			b.Hear(a.Device, class, uint32(rapid.IntRange(0, 2).Draw(t, "free")), 1000)
			if rapid.IntRange(0, 9).Draw(t, "gone") == 0 {
				b.Remove(a.Device, class)
			}
		}
		for k, e := range b.classes[class].orEmpty() {
			all[k] = e
		}
		n := need(rapid.IntRange(0, 9).Draw(t, "job"))
		n.Price = types.Credit(rapid.IntRange(1, 13).Draw(t, "most") * 100)
		f, ok := b.Find(n)
		best, next := uint64(1<<64-1), uint64(1<<64-1)
		for _, e := range all {
			if _, fits := e.fits(n); fits {
				best = min(best, e.score)
			}
		}
		if ok != (best < 1<<64-1) {
			t.Fatalf("found %v, best score %d", ok, best)
		}
		if !ok {
			if f.Passed.Total() != len(all) {
				t.Fatalf("%d of %d passed over", f.Passed.Total(), len(all))
			}
			return
		}
		won := all[f.Ask.Device]
		for _, e := range all {
			if _, fits := e.fits(n); fits && e.Owner != won.Owner {
				next = min(next, e.score)
			}
		}
		if won.score != best {
			t.Fatalf("score %d won, the best is %d", won.score, best)
		}
		if (f.Next == nil) != (next == 1<<64-1) || f.Next != nil && all[f.Next.Device].score != next {
			t.Fatalf("next is %v, want score %d", f.Next, next)
		}
		if f.Price < won.Price || f.Price > n.Price || f.Next == nil && f.Price != won.Price {
			t.Fatalf("paid %d for an ask of %d, most %d", f.Price, won.Price, n.Price)
		}
		if !slices.IsSortedFunc(b.classes[class].ranked, compare) || len(b.classes[class].ranked) != len(all) {
			t.Fatal("out of order")
		}
	})
}

func (r *ranking) orEmpty() map[types.Key]*entry {
	if r == nil {
		return nil
	}
	return r.of
}

func BenchmarkFind(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, price := range map[string]func() types.Credit{
		"prices differ": func() types.Credit { return types.Credit(100 + r.IntN(100_000)) },
		"all alike":     func() types.Credit { return 100 },
	} {
		b.Run(name, func(b *testing.B) {
			k := NewBook([16]byte{1})
			for i := range 10_000 {
				a := ask(i, price(), types.Bp(1+r.IntN(10_000)))
				if name == "all alike" {
					a.Quality = 5000
				}
				k.Put(a)
				k.Hear(a.Device, class, uint32(r.IntN(3)), 1000)
			}
			needs := make([]*Need, 256)
			for i := range needs {
				needs[i] = need(i)
				needs[i].Price = 1 << 30
			}
			b.ResetTimer()
			for i := range b.N {
				if _, ok := k.Find(needs[i%256]); !ok {
					b.Fatal("nobody found")
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		})
	}
}
