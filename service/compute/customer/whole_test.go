package customer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/provider"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// counting runs the program of the first round, whatever the module says: 20 units for each byte that it reads.
type counting struct{}

func (counting) Class() types.Class { return compute.Wasm }

func (counting) Profiles() []compute.Profile { return []compute.Profile{{Name: compute.WasmProfile}} }

func (counting) Prepare(_ context.Context, t *provider.Task) error {
	f, _, err := t.Open(t.Job.Code)
	if err != nil {
		return err
	}
	return f.Close()
}

func (counting) Run(ctx context.Context, t *provider.Task) (*compute.Result, compute.Files, error) {
	in, size, err := t.Open(t.Job.Stdin)
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	text := make([]byte, size)
	if _, err := io.ReadFull(in, text); err != nil {
		return nil, nil, err
	}
	used := uint64(0)
	for used < 20*size {
		allowed, more := t.Meter.Allowed()
		if allowed <= used {
			select {
			case <-more:
				continue
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		}
		used = min(used+50_000_000, 20*size, allowed)
		t.Meter.Used(used)
	}
	out := []byte(count(text))
	if _, err := t.Stdout.Write(out); err != nil {
		return nil, nil, err
	}
	return &compute.Result{Stdout: sha256.Sum256(out), Stderr: compute.Nothing, Output: compute.Files{}.Root(), Fuel: used}, compute.Files{}, nil
}

// newProvider runs a device of the category.
func newProvider(t *testing.T, w *roletest.World, name string, price uint64, slots uint32) *roletest.Device {
	t.Helper()
	p, err := provider.New(provider.Config{
		Slots: slots, Prices: map[types.Class]uint64{compute.Wasm: price}, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Open: func(string) ([]provider.Executor, []provider.Lack, error) {
			return []provider.Executor{counting{}}, nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := w.Device(name)
	r := p.Role()
	d.Requests = r.Requests
	d.Start(p)
	return d
}

// TestWhole: a gateway and devices do jobs beside each other, over whole tallies, and what was signed is what
// is paid.
func TestWhole(t *testing.T) {
	w, m := newWorld(t)
	a := newProvider(t, w, "a", 400, 4)
	b := newProvider(t, w, "b", 600, 4)
	w.Next()
	g := newGateway(t, m)
	g.sees(2)
	text := firstText()[:1<<20]
	var in Input
	if status := g.call("POST", "/inputs", text, &in); status != 201 || in.Hash != types.Hash(sha256.Sum256(text)).String() {
		t.Fatal(status, in)
	}
	const jobs = 12
	var wg sync.WaitGroup
	var mu sync.Mutex
	var paid types.Credit
	want := count(text)
	for i := range jobs {
		wg.Go(func() {
			var p Placement
			var raw []byte
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) { // all slots may be taken for a moment
				if status := g.call("POST", fmt.Sprintf("/jobs?name=%d&price=5000&stdin=%s", i, in.Hash), module, &raw); status == 201 {
					break
				}
				if time.Now().After(end) {
					t.Errorf("job %d: %s", i, raw)
					return
				}
			}
			if err := decode(raw, &p); err != nil {
				t.Error(err)
				return
			}
			r := g.result(p.ID)
			var out []byte
			g.call("GET", "/jobs/"+p.ID+"/logs", nil, &out)
			if r.State != Done || *r.Exit != 0 || string(out) != want || r.Fuel != 20<<20 || r.Tries != 1 {
				t.Errorf("job %d wrote %q: %+v", i, out, r)
			}
			mu.Lock()
			defer mu.Unlock()
			paid += r.Paid
		})
	}
	wg.Wait()
	if paid < jobs*20*400/1000-jobs || paid > jobs*20*5000/1000 {
		t.Errorf("paid %d", paid)
	}
	spent := func() types.Credit { return w.State().Balance(m.Account()).Spent }
	for range 6 {
		if spent() == paid {
			break
		}
		w.Next()
	}
	if spent() != paid {
		t.Errorf("the account spent %d, its receipts say %d; refused %+v", spent(), paid, w.Refused())
	}
	if got := w.State().Line(a.Key()).Paid() + w.State().Line(b.Key()).Paid(); got != paid {
		t.Errorf("devices were paid %d of %d", got, paid)
	}
}

// TestFirstWhole: a first round between a gateway and a device that only count.
func TestFirstWhole(t *testing.T) {
	w, m := newWorld(t)
	newProvider(t, w, "a", 4, 4)
	newProvider(t, w, "b", 6, 4)
	w.Next()
	g := newGateway(t, m)
	did, err := g.FirstRound(t.Context(), m)
	if err != nil || !strings.Contains(did, "for $0.000002,") {
		t.Errorf("%q, %v", did, err)
	}
}

// TestNext: whose job has ended finds the device free again at once, not only when that says so the next time.
func TestNext(t *testing.T) {
	w, m := newWorld(t)
	newProvider(t, w, "a", 4, 1)
	w.Next()
	g := newGateway(t, m)
	g.sees(1)
	for i := range 5 {
		if r := g.result(g.submit("")); r.State != Done || r.Tries != 1 {
			t.Errorf("job %d: %+v", i, r)
		}
	}
}
