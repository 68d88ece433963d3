package energy

import (
	"fmt"
	"testing"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

func lotOf(k, from, wh uint64) lot.Lot { return lot.Lot{K: k, From: from, To: from + wh} }

// BenchmarkHour judges one hour of one home: an envelope of four records, and the four intervals before it.
// Limit: 20 µs, 50,000 device-hours a second. It also reports the bytes of a home's line, and of its evidence
// for a quarter hour.
func BenchmarkHour(b *testing.B) {
	v := newVillage(b, 0, battery("cheat"))
	v.settle()
	for range 12 {
		for _, d := range v.devices {
			d.hour(func(k uint64) flows { return v.sun(d, k) })
		}
		v.step()
	}
	d := v.cheat
	d.hour(func(k uint64) flows { return v.sun(d, k) })
	in := d.input()
	envelope := len(d.evidence[0].Raw)
	var out *tally.Output
	b.ReportAllocs()
	began := processorTime()
	for b.Loop() {
		out = v.rules.verify(in)
	}
	spent := processorTime() - began
	if out.Evidence[0].Reason != "" {
		b.Fatal(out.Evidence[0].Reason)
	}
	b.ReportMetric(float64(b.N)/spent.Seconds(), "device-hours/s")
	b.ReportMetric(float64(len(d.line)), "bytes/line")
	b.ReportMetric(float64(envelope)/4, "bytes/quarter")
}

// BenchmarkCross crosses an hour of many homes, a third of which buy, with a company that buys what is left.
func BenchmarkCross(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b)
			w.time = noon
			for i := range n {
				name := fmt.Sprint("d", i)
				d := w.device(name, solar(name))
				if i%3 == 0 {
					w.buys(d, 100+uint64(i%200), 500, 1<<40)
					w.orders[i/3].Order.Session = types.NewSessionID(1<<20, [12]byte{byte(i), byte(i >> 8), byte(i >> 16), 1})
				} else {
					d.ask(Community, 90+uint64(i%100))
				}
				d.ask(Certificate, uint64(i%50))
				d.hand(d.record(w.done() - 1))
			}
			w.company("company", 0, 60, 1<<30, 1<<50)
			in := &tally.CrossInput{Chain: testChain, Epoch: w.epoch, Seed: w.seed(), Params: w.params, Registry: w, Orders: w.orders}
			for hour := range 3 {
				in.Summaries = in.Summaries[:0]
				for i, d := range w.devices {
					d.hour(func(k uint64) flows {
						if i%3 == 0 {
							return flows{imp: 300}
						}
						return flows{pv: 400, exp: 300}
					})
					out := w.rules.verify(d.input())
					d.line, d.evidence, d.asks = out.State, nil, nil
					in.Summaries = append(in.Summaries, tally.Summary{Device: &d.reg, Summary: out.Summary})
				}
				in.Time = w.time
				if hour < 2 {
					w.time += 3600
				}
			}
			var out *tally.CrossOutput
			b.ReportAllocs()
			for b.Loop() {
				out = w.rules.cross(in)
			}
			if len(out.Fills) < n/3 {
				b.Fatalf("%d fills", len(out.Fills))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/device")
		})
	}
}
