package tally

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// crowd is a region of n devices that are each paid by a customer of their own. Signatures are empty:
// benchmarks leave them out, as the tally takes verdicts.
type crowd struct {
	rules *Rules
	state *State
	n     int
}

func crowdKey(kind string, i int) types.Key {
	return types.Key(types.Sum([]byte(kind), binary.BigEndian.AppendUint64(nil, uint64(i))))
}

func newCrowd(t testing.TB, n int) *crowd {
	c := &crowd{rules: testRules(t), state: NewState(testChain, 0), n: n}
	changes := make([]Change, 0, 3*n)
	for i := range n {
		changes = append(changes,
			Change{Device: &Device{Key: crowdKey("device", i), Owner: account(i), Categories: []types.Category{other}, Cell: cell(i), Bond: 2000}},
			Change{Holder: &Holder{Account: account(i), Bought: 1 << 30}},
			Change{Grant: &Grant{Key: crowdKey("payer", i), Account: account(i), Limit: 1 << 30, Expiry: 1000}})
	}
	c.apply(t, Pool{Parts: 16}, c.batch(1, true), changes)
	return c
}

// batch holds one receipt for each device, and its ask if the session opens.
func (c *crowd) batch(epoch types.Epoch, opening bool) *Batch {
	items, names := make([]Item, 0, 2*c.n), make([]Name, 0, 2*c.n)
	for i := range c.n {
		ask := receipt.Ask{Chain: testChain, Device: crowdKey("device", i), Category: other, Class: 1, Price: 1000, Until: 1 << 20}
		if opening {
			items = append(items, Item{Ask, (&receipt.SignedAsk{Ask: ask}).Encode()})
			names = append(names, Name{Author: ask.Device, Type: Ask})
		}
		r := receipt.Receipt{Chain: testChain, Category: other, Session: session(900, i), Payer: crowdKey("payer", i), Device: ask.Device,
			Terms: ask.Hash(), Units: types.U64(uint64(epoch) * 1_000_000), Amount: types.Credit(epoch) * 1000, Seq: uint64(epoch), First: 1}
		items = append(items, Item{Receipt, (&receipt.Signed{Receipt: r, PayerSig: types.Signature{1}, DeviceSig: types.Signature{2}}).Encode()})
		names = append(names, Name{Author: ask.Device, Type: Receipt, Seq: r.Seq})
	}
	b, err := DecodeBatch(Arrange(items, names).Encode())
	if err != nil {
		panic(err)
	}
	return b
}

func (c *crowd) frame(fold *Settlement) *Frame {
	f := &Frame{Chain: testChain, Epoch: c.state.Epoch() + 1, VRF: make([]byte, 80), PreviousEpoch: c.state.Epoch(), MinOpening: 100, Fold: fold}
	if c.state.Epoch() > 0 {
		f.Previous = types.Hash{1}
	}
	return f
}

func (c *crowd) apply(t testing.TB, p Pool, b *Batch, changes []Change) {
	signed := make([]bool, len(b.Items))
	for i := range signed {
		signed[i] = true
	}
	var fold *Settlement
	if s := c.state.Totals(); s.Spent > 0 {
		fold = &Settlement{Owed: s.Spent - s.Settled, Settled: s.Spent - s.Settled, Payout: types.Ustone(s.Spent-s.Settled) * 2}
	}
	next, header, _, err := p.Apply(c.rules, c.state, c.frame(fold), b, changes, signed)
	if err != nil {
		t.Fatal(err)
	}
	if header.Totals.Refused != 0 {
		t.Fatalf("%d refused", header.Totals.Refused)
	}
	c.state = next
}

// BenchmarkApply tallies regions in which every device has a receipt, everything but the checking of
// signatures: per device it should cost the same from 10,000 to 1,000,000.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		for _, workers := range []int{1, 2} {
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(5 << 29)) // as a verifier does
			b.Run(fmt.Sprintf("devices=%07d/cpu=%d", n, workers), func(b *testing.B) {
				if n > 100_000 && testing.Short() {
					b.Skip("takes 2 GiB and half a minute")
				}
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(workers)) // a collector that fills an idle processor is nobody's cost
				c := newCrowd(b, n)
				p := Pool{Parts: 16}
				if workers > 1 {
					p = workersOf(workers)
				}
				var peak uint64
				var cpu time.Duration
				for b.Loop() {
					b.StopTimer()
					batch := c.batch(c.state.Epoch()+1, false)
					debug.FreeOSMemory()
					before := cpuTime()
					b.StartTimer()
					c.apply(b, p, batch, nil)
					b.StopTimer()
					cpu += cpuTime() - before
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					peak = max(peak, m.HeapSys-m.HeapReleased)
					b.StartTimer()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/device")
				b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/float64(n), "cpu-ns/device")
				b.ReportMetric(float64(peak)/(1<<20), "MiB")
			})
		}
	}
}

// cpuTime is what the process has computed so far, on all processors: a measure that other programs do not disturb.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// workersOf is a Pool of as many goroutines.
func workersOf(workers int) Pool {
	return Pool{Parts: 8 * workers, Run: func(n int, do func(int)) {
		next, done := make(chan int), make(chan struct{})
		for range workers {
			go func() {
				for i := range next {
					do(i)
				}
				done <- struct{}{}
			}()
		}
		for i := range n {
			next <- i
		}
		close(next)
		for range workers {
			<-done
		}
	}}
}

func TestCrowd(t *testing.T) {
	c := newCrowd(t, 500)
	start := c.state
	batch := c.batch(2, false)
	c.apply(t, Pool{}, batch, nil)
	want := c.state
	for _, p := range []Pool{{Parts: 3}, parallel(7), backwards(64), parallel(256), parallel(1000)} {
		c.state = start
		c.apply(t, p, batch, nil)
		if !slices.Equal(c.state.hashes(), want.hashes()) {
			t.Fatalf("%d parts: another state", p.Parts)
		}
	}
}
