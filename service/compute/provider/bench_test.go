package provider

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// BenchmarkFirstOutput: from an order of a warm guest to its answer, its first output and its end, with a journal on a real disk.
func BenchmarkFirstOutput(b *testing.B) {
	dir, err := os.MkdirTemp(os.Getenv("CAIRN_BENCH_DIR"), "")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	w := newWasmWorld(b, nil)
	if err := w.device.Stop(); err != nil {
		b.Fatal(err)
	}
	w.device.SetDir(dir)
	w.start()
	w.code = program(1)
	s := w.session(1000)
	w.end(w.run(s, "warm"))
	var answered, first, ended []time.Duration
	for b.Loop() {
		c := w.callWith(s, nil, func(c *compute.Call) { c.Order.Order.Mode = compute.Private }, "bench")
		began := time.Now()
		j, reason := w.ask(s, c)
		for reason == compute.Busy { // the one before is about to end
			j, reason = w.ask(s, c)
		}
		if reason != "" {
			b.Fatal(reason)
		}
		answered = append(answered, time.Since(began))
		for {
			w.mu.Lock()
			n := j.out[1].Len()
			w.mu.Unlock()
			if n > 0 {
				break
			}
			<-j.more
		}
		first = append(first, time.Since(began))
		w.end(j)
		ended = append(ended, time.Since(began))
	}
	for name, list := range map[string][]time.Duration{"answer": answered, "first": first, "end": ended} {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(list[len(list)*99/100].Microseconds())/1000, name+"-p99-ms")
	}
	w.clean(types.Superseded)
}
