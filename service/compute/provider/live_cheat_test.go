package provider

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/mac"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// lyingHost is what a witness is given that reports something else than it saw.
type lyingHost struct {
	role.VerifierHost
	lie func(*compute.Sighting)
}

func (h *lyingHost) Submit(ctx context.Context, kind evidence.Kind, body []byte) error {
	if kind == compute.KindSighting {
		s, err := compute.DecodeSighting(body)
		if err != nil {
			return err
		}
		h.lie(s)
		body = s.Encode()
	}
	return h.VerifierHost.Submit(ctx, kind, body)
}

// core computes chains for all who share it, a round at a time, or makes them up.
type core struct {
	*script
	free  chan struct{}
	round time.Duration
	mix   func(seed types.Hash) types.Hash
}

func newCore(free chan struct{}, round time.Duration, mix func(types.Hash) types.Hash) *core {
	return &core{&script{gates: map[string]chan struct{}{}}, free, round, mix}
}

func (x *core) ReadyMix(context.Context) error { return nil }

func (x *core) Mix(ctx context.Context, seed types.Hash, each func(types.Hash) error) error {
	for {
		select {
		case x.free <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		time.Sleep(x.round)
		<-x.free
		root := x.mix(seed)
		if err := each(root); err != nil {
			return err
		}
		seed = types.Sum(seed[:], root[:])
	}
}

// TestLiveLiars: two of five witnesses report what they like. For a device that makes up its rounds they can do
// nothing; one that does not has the rate that the others saw.
func TestLiveLiars(t *testing.T) {
	for name, lie := range map[string]func(*compute.Sighting){
		"for":     func(s *compute.Sighting) { s.OK = true },
		"against": func(s *compute.Sighting) { s.Count, s.OK = 0, false },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newCheckWorld(t, 5, twoSlots, func(c *Config) {
				if name == "for" {
					free := make(chan struct{}, 2)
					c.Open = func(string) ([]Executor, []Lack, error) {
						return []Executor{newCore(free, 20*time.Millisecond, func(seed types.Hash) types.Hash { return types.Sum(seed[:]) })}, nil, nil
					}
				}
			}, func(i int, h role.VerifierHost) role.VerifierHost {
				if i < 2 {
					return &lyingHost{h, lie}
				}
				return h
			})
			w.checks(2)
			s, least, most := w.state(), compute.Rate(8, compute.CPU, 0), compute.Rate(10, compute.CPU, 0)
			if name == "for" {
				least, most = 0, 0
			}
			if s.Slot == 0 || min(s.Rates[0], s.Rates[1]) < least || max(s.Rates[0], s.Rates[1]) > most || s.Quality > compute.FirstQuality != (name == "against") {
				t.Errorf("two lie %s: %+v, want rates from %d to %d", name, s, least, most)
			}
		})
	}
}

// TestLiveOneCore: two devices on one core have together no higher rate than one has, as one slot is for all devices
// of a network.
func TestLiveOneCore(t *testing.T) {
	rates := func(devices int) (sum uint64) {
		synctest.Test(t, func(t *testing.T) {
			free := make(chan struct{}, 1)
			w := newCheckWorld(t, 3, compute.Hardware{Round: compute.CPU, Slots: 1}, func(c *Config) {
				c.Slots = 1
				c.Open = func(string) ([]Executor, []Lack, error) {
					return []Executor{newCore(free, 240*time.Millisecond, mac.Mix)}, nil, nil
				}
			}, nil)
			all := []*roletest.Device{w.device}
			for len(all) < devices {
				d := w.Device("another on it")
				p, err := New(w.cfg)
				if err != nil {
					t.Fatal(err)
				}
				d.Requests = p.Role().Requests
				d.Start(p)
				all = append(all, d)
			}
			w.epochs(1)
			w.checks(2 * devices)
			for _, d := range all {
				s, err := compute.DecodeState(w.State().CategoryLine(d.Key(), types.Compute))
				if err != nil {
					t.Fatal(err)
				}
				sum += s.Rates[1]
			}
		})
		return sum
	}
	one, two := rates(1), rates(2)
	t.Logf("one device has a rate of %d, two on the same core %d", one, two)
	if one == 0 || two > one {
		t.Errorf("one device has a rate of %d, two on the same core %d", one, two)
	}
}

// TestLiveReusedNonces: a device answers with the nonces of a slot before, for which it can have computed everything
// by now. Nobody who drew a nonce for this slot takes that for an answer, and no tally does.
func TestLiveReusedNonces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *checkWorld
		var mu sync.Mutex
		var old []compute.SignedNonce
		w = newCheckWorld(t, 5, twoSlots, func(c *Config) {
			c.step = func(at string) {
				if at != "slot" {
					return
				}
				d := w.p.device.Load()
				d.checks.mu.Lock()
				c := d.checks.bySlot[d.checks.last]
				d.checks.mu.Unlock()
				c.mu.Lock()
				defer c.mu.Unlock()
				mu.Lock()
				defer mu.Unlock()
				if old == nil {
					old = c.nonces
				}
				c.nonces = old
			}
		}, nil)
		w.checks(3)
		s := w.state()
		if s.Slot == 0 || s.Ready() > 0 || s.Rates[1] > 0 || w.refused(compute.NonceMissing) == 0 {
			t.Errorf("%d checks, %+v, %+v", w.count(compute.KindCheck), s, w.Refused())
		}
	})
}

// hankel multiplies matrices whose entry (i, j) is x[i+j], in O(n²): C[i+1][j+1] = C[i][j] − a[i]·b[j] + a[i+n]·b[j+n].
// It takes the numbers from the first rows of those that the seed asks for.
func hankel(seed types.Hash, n int) *mac.Product {
	a, b, c := make([]int8, 2*n), make([]int8, 2*n), make([]int32, n*n)
	mac.Row(a, seed, mac.A, 0)
	mac.Row(b, seed, mac.B, 0)
	for i := range n {
		for j := range n {
			if i > 0 && j > 0 {
				c[i*n+j] = c[(i-1)*n+j-1] - int32(a[i-1])*int32(b[j-1]) + int32(a[i-1+n])*int32(b[n+j-1])
				continue
			}
			for k := range n {
				c[i*n+j] += int32(a[i+k]) * int32(b[k+j])
			}
		}
	}
	return &mac.Product{N: n, C: c}
}

// TestLiveHankel: the shortcut for structured matrices makes twenty rounds in the time of one. Witnesses look into four,
// and one row is a proof.
func TestLiveHankel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCheckWorld(t, 3, products, func(c *Config) {
			c.Slots = 1
			c.product = func(seed types.Hash, n int) *mac.Product {
				time.Sleep(pace / 4)
				return hankel(seed, n)
			}
			c.row = func(seed types.Hash, n, i int) []byte { return hankel(seed, n).Row(i) }
		}, nil)
		w.checks(1)
		s := w.state()
		if w.count(compute.KindFault) == 0 || s.Faults == 0 || s.Ready() > 0 || s.Rates[0] > 0 || w.refused(compute.RowWrong) == 0 {
			t.Errorf("%d checks, %d faults, %+v", w.count(compute.KindCheck), w.count(compute.KindFault), s)
		}
	})
}
