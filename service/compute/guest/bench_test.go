package guest

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/cairn-network/cairn/service/compute/fuel"
)

var kernels = []string{"fib", "sort", "matrix", "sieve", "crc", "sha"}

// spent is the processor time of this process.
func spent() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// loaded is a compiled module of kernels.
type loaded struct {
	r wazero.Runtime
	c wazero.CompiledModule
}

func load(b *testing.B, module []byte) loaded {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features))
	b.Cleanup(func() { r.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	c, err := r.CompileModule(ctx, module)
	if err != nil {
		b.Fatal(err)
	}
	return loaded{r, c}
}

// kernel runs one, and returns its processor time, what it wrote and its fuel.
func (l loaded) kernel(b *testing.B, k int) (took time.Duration, out string, used uint64) {
	ctx := context.Background()
	var buf bytes.Buffer
	m, err := l.r.InstantiateModule(ctx, l.c, wazero.NewModuleConfig().WithName("").WithStartFunctions().WithArgs("bench", fmt.Sprint(k)).WithStdout(&buf))
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close(ctx)
	left, counts := m.ExportedGlobal(fuel.Fuel).(api.MutableGlobal)
	if counts {
		left.Set(plenty)
	}
	before := spent()
	m.ExportedFunction("_start").Call(ctx)
	took = spent() - before
	if counts {
		used = plenty - left.Get()
	}
	return took, buf.String(), used
}

// BenchmarkFuel compares the processor time of kernels with fuel with that without, and with V8's. Each is a
// geometric mean over the kernels.
func BenchmarkFuel(b *testing.B) {
	plain := compileC(b, &builtBench, "testdata/bench.c")
	metered, err := fuel.Rewrite(plain)
	if err != nil {
		b.Fatal(err)
	}
	with, without := load(b, metered), load(b, plain)
	dir := b.TempDir()
	for name, m := range map[string][]byte{"plain": plain, "metered": metered} {
		if err := os.WriteFile(filepath.Join(dir, name), m, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	var jobs []v8Job
	for _, name := range []string{"plain", "metered"} {
		for k := range kernels {
			jobs = append(jobs, v8Job{Module: filepath.Join(dir, name), Dir: dir, Args: []string{"bench", fmt.Sprint(k)}, Fuel: plenty})
		}
	}
	var ratio, inside, beside, native, fuels, seconds float64
	b.ResetTimer()
	for range b.N {
		v := inV8(b, jobs...)
		for k := range kernels {
			a, out, _ := without.kernel(b, k)
			m, same, used := with.kernel(b, k)
			if out != same || v[k].Stdout != out || v[k+len(kernels)].Stdout != out || v[k+len(kernels)].Fuel != used {
				b.Fatalf("%s came to %q, with fuel to %q, in V8 to %q with %d fuel, not %d", kernels[k], out, same, v[k].Stdout, v[k+len(kernels)].Fuel, used)
			}
			ratio += math.Log(float64(m) / float64(a))
			inside += math.Log(v[k+len(kernels)].Ns / v[k].Ns)
			beside += math.Log(float64(m) / v[k].Ns)
			native += float64(a)
			fuels += float64(used)
			seconds += m.Seconds()
		}
	}
	n := float64(b.N * len(kernels))
	b.ReportMetric(math.Exp(ratio/n), "ratio")
	b.ReportMetric(math.Exp(inside/n), "v8-ratio")
	b.ReportMetric(math.Exp(beside/n), "beside-v8")
	b.ReportMetric(fuels/seconds/1e9, "Gfuel/s")
	b.ReportMetric(native/n/1e6, "plain-ms")
	b.ReportMetric(seconds/n*1e3, "metered-ms")
}

// BenchmarkStart is the time from handing in a job to its first output, with a child that waits for it, beside
// starting an empty process.
func BenchmarkStart(b *testing.B) {
	p := pool(b, Config{Spare: 2})
	j := Job{Module: prepare(b, p, guestC(b)), Args: []string{"guest"}, Fuel: plenty, Pages: 64}
	nothing, err := exec.LookPath("true")
	if err != nil {
		b.Fatal(err)
	}
	var jobs, bare []time.Duration
	b.ResetTimer()
	for range b.N {
		until(b, "children are ready", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.idle) == p.spare })
		out := &first{text: make(chan string, 1)}
		j.Stdout = out
		begin := time.Now()
		r := start(b, p, j)
		<-out.text
		jobs = append(jobs, time.Since(begin))
		if _, err := r.Wait(); err != nil {
			b.Fatal(err)
		}
		begin = time.Now()
		if err := exec.Command(nothing).Run(); err != nil {
			b.Fatal(err)
		}
		bare = append(bare, time.Since(begin))
	}
	at := func(d []time.Duration, percent int) float64 {
		slices.Sort(d)
		return float64(d[min(len(d)-1, len(d)*percent/100)].Microseconds()) / 1e3
	}
	b.ReportMetric(at(jobs, 50), "p50-ms")
	b.ReportMetric(at(jobs, 99), "p99-ms")
	b.ReportMetric(at(bare, 50), "bare-p50-ms")
	b.ReportMetric(at(bare, 99), "bare-p99-ms")
}
