package provider

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/mac"
	"github.com/cairn-network/cairn/service/compute/witness/live"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// pace is how long a round takes in a world of checks, whose clock is a fake one.
const pace = 400 * time.Millisecond

// chains is an Executor that computes chains of processors at pace. bend says what comes out of round t; nil for what
// should.
type chains struct {
	*script
	bend func(t int, seed types.Hash) types.Hash
}

func (x *chains) ReadyMix(context.Context) error { return nil }

func (x *chains) Mix(ctx context.Context, seed types.Hash, each func(types.Hash) error) error {
	for t := 0; ; t++ {
		time.Sleep(pace)
		root := types.Hash{}
		if x.bend != nil {
			root = x.bend(t, seed)
		} else {
			root = mac.Mix(seed)
		}
		if err := each(root); err != nil {
			return err
		}
		seed = types.Sum(seed[:], root[:])
	}
}

// checkWorld is devices, and verifiers who witness their checks, by a fake clock.
type checkWorld struct {
	*roletest.World
	t       testing.TB
	device  *roletest.Device
	p       *Provider
	cfg     Config
	seats   []*roletest.Verifier
	handed  map[evidence.Kind]int // by everybody
	mu      sync.Mutex
	witness []func() // ends one
}

// newCheckWorld makes one of so many verifiers, in its first epoch whose checks count. change bends the device, host
// what a witness is given.
func newCheckWorld(t *testing.T, verifiers int, h compute.Hardware, change func(*Config), host func(int, role.VerifierHost) role.VerifierHost) *checkWorld {
	w := &checkWorld{World: roletest.New(t, compute.New()), t: t, handed: map[evidence.Kind]int{}}
	rules := &compute.Rules{Rarity: 180, Models: []compute.Hardware{h}}
	w.Rules = map[types.Category][]byte{types.Compute: rules.Encode()}
	w.Drop = func(_ types.Key, item tally.ItemType, kind evidence.Kind) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if item == tally.Evidence {
			w.handed[kind]++
		}
		return false
	}
	w.cfg = Config{
		Slots: 2, Prices: map[types.Class]uint64{compute.Wasm: price},
		Open: func(string) ([]Executor, []Lack, error) {
			return []Executor{&chains{script: &script{gates: map[string]chan struct{}{}}}}, nil, nil
		},
	}
	if change != nil {
		change(&w.cfg)
	}
	w.device = w.Device("device")
	for i := range verifiers {
		w.seats = append(w.seats, w.Verifier(fmt.Sprint("verifier ", i)))
	}
	w.Await()
	w.start()
	for i, v := range w.seats {
		var as role.VerifierHost = v
		if host != nil {
			as = host(i, v)
		}
		if as == nil {
			continue // this one does not witness
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := live.New(live.Config{}).Run(ctx, as); err != nil {
				t.Error(err)
			}
		}()
		stop := sync.OnceFunc(func() { cancel(); <-done })
		w.witness = append(w.witness, stop)
		t.Cleanup(stop)
	}
	synctest.Wait()
	w.Tell()
	w.epochs(1)
	return w
}

// start runs the device anew.
func (w *checkWorld) start() {
	var err error
	if w.p, err = New(w.cfg); err != nil {
		w.t.Fatal(err)
	}
	w.device.Requests = w.p.Role().Requests
	w.device.Start(w.p)
}

// epochs lets so many epochs pass.
func (w *checkWorld) epochs(n int) {
	for range n {
		time.Sleep(time.Until(time.Unix(int64(roletest.Genesis+uint64(w.Epoch())*roletest.Blocks*roletest.BlockTime), 0)))
		w.Next()
	}
}

// checks lets epochs pass until so many checks were handed in.
func (w *checkWorld) checks(n int) {
	w.t.Helper()
	for tries := 0; w.count(compute.KindCheck) < n; tries++ {
		if tries == 8 {
			w.t.Fatalf("%d checks in %d epochs", w.count(compute.KindCheck), tries)
		}
		w.epochs(1)
	}
}

func (w *checkWorld) state() *compute.State {
	s, err := compute.DecodeState(w.State().CategoryLine(w.device.Key(), types.Compute))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// count is how many pieces of evidence of a kind were handed in.
func (w *checkWorld) count(kind evidence.Kind) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.handed[kind]
}

// refused counts what tallies refused for a reason.
func (w *checkWorld) refused(reason types.Reason) (n int) {
	for _, r := range w.Refused() {
		if r.Reason == reason {
			n++
		}
	}
	return n
}

var (
	twoSlots = compute.Hardware{Round: compute.CPU, Slots: 2}
	products = compute.Hardware{Round: compute.MAC, N: mac.MinOrder, Slots: 1}
)

// bendChains has the device's chains compute something else.
func bendChains(bend func(t int, seed types.Hash) types.Hash) func(*Config) {
	return func(c *Config) {
		c.Open = func(string) ([]Executor, []Lack, error) {
			return []Executor{&chains{&script{gates: map[string]chan struct{}{}}, bend}}, nil, nil
		}
	}
}

// TestLiveChecks: verifiers call checks, an honest device answers them, and after two of them it has a rate; nothing
// that anybody handed in was refused.
func TestLiveChecks(t *testing.T) {
	for _, verifiers := range []int{4, 6} {
		synctest.Test(t, func(t *testing.T) {
			var w *checkWorld
			w = newCheckWorld(t, verifiers, twoSlots, bendChains(func(_ int, seed types.Hash) types.Hash {
				d := w.p.device.Load()
				d.mu.Lock()
				defer d.mu.Unlock()
				if d.slots > 0 {
					t.Errorf("%d slots are taken from customers by a check", d.slots)
				}
				return mac.Mix(seed)
			}), nil)
			w.checks(2)
			s, n := w.state(), w.count(compute.KindCheck)
			// Two chains of 5 rounds each, of which the last ends with the window.
			most := compute.Rate(10, compute.CPU, 0)
			if n < 2 || s.Slot == 0 || min(s.Rates[0], s.Rates[1]) < most*8/10 || max(s.Rates[0], s.Rates[1]) > most || s.Quality <= compute.FirstQuality {
				t.Errorf("%d verifiers: %d checks, %+v", verifiers, n, s)
			}
			seats := 3
			if verifiers >= 5 {
				seats = 5
			}
			if got := w.count(compute.KindSighting); got != seats*n {
				t.Errorf("%d verifiers: %d sightings of %d checks, want %d of each", verifiers, got, n, seats)
			}
			for _, r := range w.Refused() {
				t.Errorf("%d verifiers: refused: %+v", verifiers, r)
			}
			if list := w.p.Remarks(); len(list) > 0 {
				t.Errorf("the owner is told %+v", list)
			}
		})
	}
}

// TestLiveSkipped: a device that makes up every second round passes no check, and has no rate.
func TestLiveSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCheckWorld(t, 5, twoSlots, bendChains(func(t int, seed types.Hash) types.Hash {
			if t%2 == 1 { // of four rounds two: all but never do three witnesses miss them
				return types.Sum([]byte("made up"), seed[:])
			}
			return mac.Mix(seed)
		}), nil)
		w.checks(2)
		if s := w.state(); w.count(compute.KindCheck) < 2 || s.Slot == 0 || s.Ready() > 0 || s.Quality >= compute.FirstQuality || w.refused(compute.CheckFailed) == 0 {
			t.Errorf("%d checks, %+v", w.count(compute.KindCheck), s)
		}
	})
}

// TestLiveProducts: rows of products are shown and looked into. A device that has a tenth of them wrong is found out,
// with a proof; one that is honest passes.
func TestLiveProducts(t *testing.T) {
	at := func(bad bool) func(*Config) {
		row := func(seed types.Hash, n, i int) []byte {
			b := mac.ProductRow(seed, n, i)
			if bad && i%10 == 3 {
				b[0] ^= 1
			}
			return b
		}
		return func(c *Config) {
			c.Slots, c.row = 1, row
			c.product = func(seed types.Hash, n int) *mac.Product {
				time.Sleep(2 * pace)
				p := mac.Compute(seed, n)
				for i := range n {
					if bad && i%10 == 3 {
						p.C[i*n] ^= 1
					}
				}
				return p
			}
		}
	}
	for _, bad := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newCheckWorld(t, 3, products, at(bad), nil)
			w.checks(2)
			s, n := w.state(), w.count(compute.KindCheck)
			faults := w.count(compute.KindFault)
			switch {
			case n < 2 || s.Slot == 0:
				t.Fatalf("bad %v: %d checks, %+v", bad, n, s)
			case bad && (faults == 0 || s.Faults == 0 || s.Suspended == 0 || s.Ready() > 0 || w.refused(compute.RowWrong) == 0):
				t.Errorf("bad rows: %d faults of %d checks, %+v", faults, n, s)
			case !bad && (faults > 0 || s.Ready() != compute.Rate(2, compute.MAC, mac.MinOrder)*3600/1_000_000 || len(w.Refused()) > 0):
				t.Errorf("right rows: %d faults of %d checks, %+v, %+v", faults, n, s, w.Refused())
			}
		})
	}
}

// bentHost is what a lying or broken witness is given.
type bentHost struct {
	role.VerifierHost
	ask func(ctx context.Context, q role.Question, ask func(context.Context, role.Question) ([]byte, error)) ([]byte, error)
}

func (h *bentHost) Ask(ctx context.Context, q role.Question) ([]byte, error) {
	return h.ask(ctx, q, h.VerifierHost.Ask)
}

// TestLiveStalled: two of five witnesses are away or stall, and the device loses a moment, not the check.
func TestLiveStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCheckWorld(t, 5, twoSlots, nil, func(i int, h role.VerifierHost) role.VerifierHost {
			switch i {
			case 0:
				return nil
			case 1: // so late that its nonce is not waited for
				return &bentHost{h, func(ctx context.Context, q role.Question, ask func(context.Context, role.Question) ([]byte, error)) ([]byte, error) {
					time.Sleep(time.Second)
					return ask(ctx, q)
				}}
			}
			return h
		})
		w.checks(2)
		s, n := w.state(), w.count(compute.KindCheck)
		if n < 2 || min(s.Rates[0], s.Rates[1]) < compute.Rate(8, compute.CPU, 0) || s.Quality <= compute.FirstQuality {
			t.Errorf("%d checks, %+v", n, s)
		}
		for _, r := range w.Refused() {
			t.Errorf("refused: %+v", r)
		}
	})
}

// TestLiveKilled: a device that is killed while it computes signs nothing for that slot again, whatever it is asked,
// and answers the next one. What it did not hand in costs it a quarter of its quality.
func TestLiveKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *checkWorld
		var once sync.Once
		again := make(chan error, 8)
		w = newCheckWorld(t, 5, twoSlots, func(c *Config) { c.Slots = 2 }, func(i int, h role.VerifierHost) role.VerifierHost {
			return &bentHost{h, func(ctx context.Context, q role.Question, ask func(context.Context, role.Question) ([]byte, error)) ([]byte, error) {
				if q.Kind == compute.KindLive {
					once.Do(func() {
						time.AfterFunc(1900*time.Millisecond, func() {
							w.device.Stop()
							w.start()
							w.Tell()
							_, err := ask(context.Background(), role.Question{Device: q.Device, Kind: q.Kind, Body: q.Body})
							again <- err
						})
					})
				}
				return ask(ctx, q)
			}}
		})
		w.checks(2)
		if err := <-again; !errors.Is(err, compute.SlotUnproven) {
			t.Errorf("after a restart the same slot is answered: %v", err)
		}
		s := w.state()
		for q, i := compute.FirstQuality-compute.FirstQuality/4, 0; ; i++ { // as if it had hidden that check, and the others passed
			if q == s.Quality {
				break
			}
			if q += (compute.FullQuality - q) / 16; i == w.count(compute.KindCheck) {
				t.Errorf("quality %d after %d checks", s.Quality, i)
				break
			}
		}
		if s.Slot == 0 || s.Rates[0] == 0 || s.Faults != 0 {
			t.Errorf("%d checks, %+v, %+v", w.count(compute.KindCheck), s, w.Refused())
		}
	})
}

// TestLiveStrangers: who was not drawn begins no check, a witness has one nonce in it, and too few witnesses, or a
// clock that is off by more than a slot or two, begin none. None of it keeps a check from taking place.
func TestLiveStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCheckWorld(t, 6, twoSlots, nil, func(int, role.VerifierHost) role.VerifierHost { return nil })
		_, panel, err := w.seats[0].Registry(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		row := w.State().Device(w.device.Key())
		members, _ := compute.Panel(panel.Draw(row, compute.ForSlot))
		by := map[types.Key]*roletest.Verifier{}
		var stranger *roletest.Verifier
		for _, v := range w.seats {
			by[v.Key()], stranger = v, v
		}
		for _, m := range members {
			delete(by, m)
		}
		for _, v := range by {
			stranger = v
		}
		seat := func(i int) *roletest.Verifier {
			for _, v := range w.seats {
				if v.Key() == members[i] {
					return v
				}
			}
			return nil
		}
		slot := uint64(time.Now().Unix()) / compute.SlotTime
		call := func(v *roletest.Verifier, slot uint64, nonce byte) chan error {
			n := compute.Nonce{Epoch: w.Epoch(), Device: w.device.Key(), Slot: slot, Nonce: types.Hash{nonce}}
			s := compute.Summons{Fired: compute.Fired{Epoch: n.Epoch, Slot: slot, Proof: make([]byte, 80)}, Round: compute.CPU, Slots: 2,
				Nonce: compute.SignedNonce{Witness: v.Key(), Nonce: n.Nonce, Signature: v.Sign(compute.DomainNonce, types.Encode(&n))}}
			out := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				_, err := v.Ask(ctx, role.Question{Device: w.device.Key(), Kind: compute.KindLive, Body: s.Encode()})
				out <- err
			}()
			synctest.Wait()
			return out
		}
		want := func(what string, c chan error, reason types.Reason) {
			t.Helper()
			if err := <-c; types.ReasonOf(err) != reason {
				t.Errorf("%s: %v, want %q", what, err, reason)
			}
		}
		want("one who was not drawn", call(stranger, slot, 1), compute.WitnessNotDrawn)
		want("two slots ahead", call(seat(0), slot+2, 1), compute.SlotUnproven)
		want("three slots ago", call(seat(0), slot-3, 1), compute.SlotUnproven)
		// One alone, an early liar, and f: none begins anything, and none uses up the slot.
		first := call(seat(0), slot, 1)
		want("a second nonce", call(seat(0), slot, 2), compute.WitnessNotDrawn)
		second := call(seat(1), slot, 1)
		want("one of f", first, compute.NonceMissing)
		want("the other of f", second, compute.NonceMissing)
		if n := w.count(compute.KindCheck); n != 0 {
			t.Errorf("%d checks were begun by f", n)
		}
		slot = uint64(time.Now().Unix()) / compute.SlotTime
		var all []chan error
		for i := range members {
			all = append(all, call(seat(i), slot, 1))
			time.Sleep(50 * time.Millisecond)
		}
		for i, c := range all {
			want(fmt.Sprint("member ", i), c, "")
		}
		want("the slot again", call(seat(0), slot, 3), compute.NonceMissing)
		if n := w.count(compute.KindCheck); n != 1 {
			t.Errorf("%d checks, want one", n)
		}
	})
}
