package verifier

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

const benchChain = "bench-1"

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// everybody lets all keys log on: verifier for the first, devices for the rest.
type everybody struct{ verifier types.Key }

func (a everybody) Authorize(_ context.Context, key types.Key) (bus.Pass, error) {
	if key == a.verifier {
		return bus.Full(bus.RoleVerifier), nil
	}
	return bus.Full(bus.RoleDevice), nil
}

// bench is a category with one kind of evidence and no limits that matter.
var bench = tally.Verifier{
	Spec: &tally.Spec{
		Category: 3, Name: "bench", Kinds: []tally.Kind{{Kind: 1, Name: "reading"}},
		Quota: tally.Quota{Count: 1 << 30, Bytes: 1<<32 - 1},
	},
	Verify: func(*tally.Input) *tally.Output { return &tally.Output{} },
}

func benchHead(devices []types.PrivateKey) *headView {
	v := newRegistry(tally.NewState(benchChain, 0), nil)
	for _, d := range devices {
		v.devices[d.Public()] = &tally.Device{Key: d.Public(), Categories: []types.Category{3}}
	}
	return &headView{
		head: ledger.Block{Height: 1, Epoch: 1}, epoch: &ledger.Epoch{Epoch: 1, First: 1, Cut: 20},
		blocks: []tally.BlockHash{{Height: 1}}, registry: v,
	}
}

// benchIntake makes an intake by itself.
func benchIntake(t testing.TB, link bus.Bus, workers int) *intake {
	t.Helper()
	key := types.NewPrivateKey([32]byte{8})
	me := &self{cfg: Config{Key: key, Workers: workers}, key: key.Public(), chain: benchChain, bus: link, log: quiet}
	rules := newRuleBook([]tally.Verifier{bench})
	pools, err := openMempools(t.TempDir(), benchChain, rules, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pools.close() })
	return newIntake(me, rules, pools)
}

// benchEnvelopes signs count envelopes of a storage answer's size, perDevice of each device.
func benchEnvelopes(devices []types.PrivateKey, count int) []*evidence.Envelope {
	out := make([]*evidence.Envelope, count)
	for i := range out {
		body := make([]byte, 160)
		binary.BigEndian.PutUint64(body, uint64(i))
		out[i] = evidence.Sign(devices[i*len(devices)/count], evidence.Payload{
			Chain: benchChain, Category: 3, Kind: 1, Epoch: 1, Seq: uint64(i), Anchor: evidence.Anchor{Height: 1}, Body: body,
		})
	}
	return out
}

func benchDevices(n int) []types.PrivateKey {
	out := make([]types.PrivateKey, n)
	for i := range out {
		out[i] = types.NewPrivateKey([32]byte{9, byte(i), byte(i >> 8)})
	}
	return out
}

// rawRate is what the library does with batches of 1,024 distinct keys' signatures, per second and core.
func rawRate(envelopes []*evidence.Envelope) float64 {
	start, n := processor(), 0
	for n == 0 || processor()-start < time.Second {
		at := n % len(envelopes)
		rawBatch(envelopes[at : at+BatchSize])
		n += BatchSize
	}
	return float64(n) / (processor() - start).Seconds()
}

// processor is the processor time that the process has used on all cores: rates per core do not depend on what
// else the machine does.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rawBatch checks a batch as anybody would.
func rawBatch(envelopes []*evidence.Envelope) {
	v := ed25519.NewBatchVerifierWithCapacity(len(envelopes))
	for _, e := range envelopes {
		v.AddWithOptions(e.Author[:], e.Message(), e.Signature[:], types.VerifyOptions)
	}
	if !v.VerifyBatchOnly(nil) {
		panic("a wrong signature")
	}
}

// BenchmarkVerify compares the verifying part of intake with the library alone, batch by batch in turn. Target:
// ≥ 0.85.
func BenchmarkVerify(b *testing.B) {
	devices := benchDevices(1024)
	envelopes := benchEnvelopes(devices, 8<<10)
	items := make([]*item, len(envelopes))
	for i, e := range envelopes {
		items[i], _ = open(tally.Evidence, e.Raw, benchChain)
	}
	var ours, theirs time.Duration
	n := 0
	for b.Loop() {
		for from := 0; from < len(items); from += BatchSize {
			start := processor()
			for _, ok := range checkAll(items[from : from+BatchSize]) {
				if !ok {
					b.Fatal("refused")
				}
			}
			ours += processor() - start
			start = processor()
			rawBatch(envelopes[from : from+BatchSize])
			theirs += processor() - start
			n += BatchSize
		}
	}
	b.ReportMetric(float64(n)/ours.Seconds(), "envelopes/s")
	b.ReportMetric(float64(n)/theirs.Seconds(), "raw/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
}

// BenchmarkIntake measures bus → decode → signature → kept → ack in one process, authors and acks included, per
// core: per second of processor time. Target: ≥ 0.5 of the raw rate.
func BenchmarkIntake(b *testing.B) {
	for _, per := range []int{1, 8, 32} {
		b.Run(map[int]string{1: "Submit1", 8: "Submit8", 32: "Submit32"}[per], func(b *testing.B) { benchSubmits(b, per) })
	}
}

func benchSubmits(b *testing.B, per int) {
	devices := benchDevices(1024)
	envelopes := benchEnvelopes(devices, 32<<10)
	raw := rawRate(envelopes)
	var submits [][]byte
	var subjects []string
	for from := 0; from < len(envelopes); from += per {
		s := &bus.Submit{Chain: benchChain}
		for _, e := range envelopes[from : from+per] {
			s.Items = append(s.Items, bus.Item{Type: bus.Evidence, Raw: e.Raw})
		}
		submits = append(submits, bus.Encode(s))
		subjects = append(subjects, bus.SubmitSubject(envelopes[from].Author, 0))
	}
	key := types.NewPrivateKey([32]byte{8})
	n := 0
	var used time.Duration
	cores := runtime.GOMAXPROCS(0)
	for b.Loop() {
		b.StopTimer()
		ctx, cancel := context.WithCancel(context.Background())
		mem := bus.NewMemory(everybody{key.Public()}, quiet)
		link, err := mem.Dial(ctx, key)
		if err != nil {
			b.Fatal(err)
		}
		in := benchIntake(b, link, cores)
		if err := in.turn(benchHead(devices)); err != nil {
			b.Fatal(err)
		}
		var acked atomic.Int64
		if err := link.Subscribe(ctx, bus.AckSubject(types.Key{}, types.Key{}), func(m bus.Message) {
			var sealed bus.Sealed
			var ack bus.Ack
			if types.DecodeLimit(m.Data, &sealed, bus.MaxMessage) == nil && types.DecodeLimit(sealed.Body, &ack, bus.MaxMessage) == nil {
				acked.Add(int64(len(ack.Accepted)))
			}
		}); err != nil {
			b.Fatal(err)
		}
		done := make(chan struct{})
		go func() { in.run(ctx); close(done) }()
		links := map[string]bus.Bus{}
		for i, d := range devices {
			if links[bus.SubmitSubject(d.Public(), 0)], err = mem.Dial(ctx, devices[i]); err != nil {
				b.Fatal(err)
			}
		}
		time.Sleep(10 * time.Millisecond)
		b.StartTimer()
		start := processor()
		for i, s := range submits {
			for int64(i*per)-acked.Load() > bus.Pending/2 {
				time.Sleep(time.Millisecond)
			}
			if err := links[subjects[i]].Publish(ctx, subjects[i], s); err != nil {
				b.Fatal(err)
			}
		}
		for deadline := time.Now().Add(20 * time.Second); acked.Load() < int64(len(envelopes)); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				b.Fatalf("%d of %d envelopes acknowledged", acked.Load(), len(envelopes))
			}
		}
		b.StopTimer()
		used += processor() - start
		if got := in.open.count(); got != len(envelopes) {
			b.Fatalf("kept %d of %d", got, len(envelopes))
		}
		n += len(envelopes)
		cancel()
		<-done
		b.StartTimer()
	}
	raw = (raw + rawRate(envelopes)) / 2 // before and after: other work on the machine comes and goes
	rate := float64(n) / used.Seconds()
	b.ReportMetric(rate, "envelopes/s/core")
	b.ReportMetric(raw, "raw/s")
	b.ReportMetric(rate/raw, "ratio")
}
