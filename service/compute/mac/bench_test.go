package mac

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// processorTime is what this process has computed, in nanoseconds: other programs on the machine come and go.
func processorTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkRound does a round as a device does it (both factors, the product, the root over its rows) and then
// looks into it as a witness does: 16 rows with their paths. Limit: a look costs 1/80 of a round of order
// 1,024.
func BenchmarkRound(b *testing.B) {
	for _, n := range []int{512, 1024, 2048} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			seed := types.Sum([]byte("bench"))
			var prove, verify int64
			for b.Loop() {
				start := processorTime()
				p := Compute(seed, n)
				tree := p.Tree()
				proven := processorTime()
				const looks = 8 // a look is short beside the clock's step
				for range looks {
					c := NewChecker(seed, n, tree.Root())
					for k := range 16 {
						i := (31 * k) % n
						if row := p.Row(i); !Shown(tree.Root(), n, row, tree.Proof(i)) || !c.Row(i, row) {
							b.Fatal("a right row is refused")
						}
					}
				}
				prove, verify = prove+proven-start, verify+(processorTime()-proven)/looks
				seed = tree.Root()
			}
			b.ReportMetric(float64(prove)/float64(b.N)/1e6, "prove-cpu-ms")
			b.ReportMetric(float64(verify)/float64(b.N)/1e6, "verify-cpu-ms")
			b.ReportMetric(float64(verify)/float64(prove), "verify/prove")
			b.ReportMetric(float64(n)*float64(n)*float64(n)*float64(b.N)/float64(prove), "GMAC/cpu-s")
		})
	}
}

// BenchmarkRecompute is what one fault costs whoever tallies, at the largest order.
func BenchmarkRecompute(b *testing.B) {
	row := make([]byte, 4*MaxOrder)
	for b.Loop() {
		Recompute(types.Hash{1}, MaxOrder, 1, row)
	}
}

// BenchmarkMix is one round of a processor, natively.
func BenchmarkMix(b *testing.B) {
	seed := types.Hash{1}
	for b.Loop() {
		seed = Mix(seed)
	}
}
