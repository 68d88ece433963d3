package provider

import (
	"context"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// BenchmarkCheck is what a live check takes of one slot, from the beginning of its guest to its end, and what
// share that is of the time from one check to the next where the chain says nothing else. Limit: 0.1 %.
func BenchmarkCheck(b *testing.B) {
	e, lacks, err := OpenWasm(b.TempDir(), 1)
	if err != nil {
		b.Fatal(err)
	}
	if len(lacks) > 0 {
		b.Skipf("the machine lacks %v", lacks)
	}
	x := e.(*wasm)
	defer x.Close()
	if err := x.ReadyMix(b.Context()); err != nil {
		b.Fatal(err)
	}
	rounds := 0
	var took time.Duration
	for b.Loop() {
		start := time.Now()
		ctx, cancel := context.WithTimeout(b.Context(), compute.Window*time.Millisecond)
		_ = x.Mix(ctx, types.Sum([]byte("bench")), func(types.Hash) error { // it ends with the window
			rounds++
			return ctx.Err()
		})
		cancel()
		took += time.Since(start)
	}
	each := took.Seconds() / float64(b.N)
	b.ReportMetric(float64(rounds)/float64(b.N), "rounds")
	b.ReportMetric(each*1000, "slot-ms")
	b.ReportMetric(100*each/float64(compute.DefaultRules().Rarity*compute.SlotTime), "duty-%")
}
