package network

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/servicetest"
	"github.com/cairn-network/cairn/verifier"
	"github.com/cairn-network/cairn/witness"
)

// TestWitnesses: five verifiers with witnesses look at two devices. What the honest one reads out counts; what
// the other one reads out, and does not show to the witnesses that were drawn for it, is refused and costs it
// of its bond. One witness reports on everybody that nobody's register moves: where it was not drawn that is
// refused, and where it was it changes nothing.
func TestWitnesses(t *testing.T) { testWitnesses(t, false) }

// TestPeers is the same where devices are drawn as witnesses: they know no registry, and ask the verifiers whom
// they were drawn for.
func TestPeers(t *testing.T) { testWitnesses(t, true) }

func testWitnesses(t *testing.T, peers bool) {
	t.Parallel()
	const chainID = "witnesses-1"
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("CAIRN_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	meter := servicetest.Meter()
	if peers {
		meter = servicetest.PeerMeter()
	}
	devices := []servicetest.MeterProvider{{Step: 1000, Live: true}, {Step: 1000, Lie: 5000, Live: true}}
	verifiers := 5
	if peers {
		verifiers = 4
		for range 5 {
			devices = append(devices, servicetest.MeterProvider{Step: 1000, Live: true})
		}
	}
	var owners []types.Account
	for i := range devices {
		owners = append(owners, types.Account{0xa, byte(i) + 1})
	}
	var nodes []*node.Node
	var mu sync.Mutex // guards nodes while a witness may ask for all
	all := func() (keys []types.Key) {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range nodes {
			keys = append(keys, n.Key())
		}
		return keys
	}
	params := meter.Spec.Defaults()
	cfg := ledger.Config{Chain: chainID, Genesis: time.Now(), Interval: 60 * time.Millisecond, Params: []tally.Params{params},
		Econ: econ.Default(), Balances: map[types.Account]types.Ustone{}}
	for _, owner := range owners {
		cfg.Balances[owner] = 1e12
	}
	seats := seated(t, &cfg, verifiers, log)
	chain := ledger.New(cfg)
	memory := bus.NewMemory(verifier.NewAuthorizer(chain), log)
	epoch, err := chain.Epoch(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	pin := bus.Pin{Chain: chainID, Epoch: 1, Set: bus.SetOf(epoch.Verifiers)}
	var stops []func()
	var engines []*verifier.Verifier
	for i, seat := range seats {
		v, stop := runSeated(t, ctx, seat, chain, memory, meter)
		engines, stops = append(engines, v), append(stops, stop)
		if peers {
			continue
		}
		who := servicetest.MeterWitness{Ask: i%2 == 1}.Role()
		if i == 0 {
			strangers := servicetest.Strangers(all)
			who.Run = func(ctx context.Context, host role.VerifierHost) error { return strangers(ctx, host) }
		}
		w, err := witness.New(witness.Config{
			Dir: t.TempDir(), Key: seat.Key, VRF: seat.VRF, Pin: pin, Dial: memory.Dial, View: v.View, Resend: 100 * time.Millisecond,
			Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		}, []tally.Verifier{meter}, []role.Witness{who}, log.With("witness", i))
		if err != nil {
			t.Fatal(err)
		}
		stops = append(stops, engine(t, ctx, fmt.Sprint("witness ", i), w.Run, nil))
	}
	for i, p := range devices {
		if peers {
			p.Witness = servicetest.MeterWitness{Ask: i%2 == 1}.Run
		}
		if peers && i == 2 {
			p.Witness = servicetest.Strangers(all)
		}
		home := t.TempDir()
		key, err := node.CreateKey(home)
		if err != nil {
			t.Fatal(err)
		}
		statement := evidence.Statement{Chain: chainID, Device: key.Public(), Owner: owners[i],
			Categories: []types.Category{servicetest.MeterCategory}, Cell: 0x8a1fb46622dffff, Expiry: 100}.Sign(key)
		if _, err := chain.Submit(ctx, owners[i], ledger.Register{Statement: *statement, Bond: 10 * params.Bond}); err != nil {
			t.Fatal(err)
		}
		n, err := node.New(node.Config{Home: home, Owner: owners[i], Pin: pin, Dial: memory.Dial, Resend: 100 * time.Millisecond,
			Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
			[]role.Provider{p.Role()}, log.With("node", i))
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		nodes = append(nodes, n)
		mu.Unlock()
		stops = append(stops, engine(t, ctx, fmt.Sprint("node ", i), n.Run, nil))
	}
	go chain.Run(ctx)
	honest, liar, stranger := nodes[0], nodes[1], seats[0].Key.Public()
	if peers {
		stranger = nodes[2].Key()
	}
	refusedOf := func(n *node.Node, reason types.Reason) (count uint64) {
		for _, r := range n.Status().Refused {
			if r.Reason == reason {
				count += r.Count
			}
		}
		return count
	}
	var undrawn, drawn int // reports of the stranger that were refused, in tallies that were looked at
	ordered := false       // whether the honest device's work earned weight
	seen := map[types.Epoch]bool{}
	look := func() {
		headers, err := chain.Headers(ctx, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range headers {
			if h.Raw == nil || seen[h.Epoch] {
				continue
			}
			report, err := engines[1].Report(h.Hash)
			if err != nil {
				continue // it is not recomputed yet
			}
			seen[h.Epoch] = true
			caught := false // enough witnesses were in time, and saw that the liar lies
			for _, r := range report.Refused {
				caught = caught || r.Author == liar.Key() && r.Reason == servicetest.MeterOverstated
				switch {
				case r.Author != stranger:
				case r.Reason == servicetest.MeterNotDrawn:
					undrawn++
				case r.Reason == types.WrongEpoch, r.Reason == types.OverQuota, r.Reason == types.UnknownCategory:
					// It came with another epoch's, or before the device was in the view: the machine is slow,
					// and the category was not asked.
				default:
					drawn++
					t.Logf("a report of the stranger is refused in epoch %d: %s", h.Epoch, r.Reason)
				}
			}
			for _, d := range report.Devices {
				ordered = ordered || d.Device == honest.Key() && !d.Weight.IsZero()
				if caught && d.Device == liar.Key() && !d.Weight.IsZero() {
					t.Errorf("the liar's work has earned weight in epoch %d", h.Epoch)
				}
			}
		}
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		look()
		h, l := honest.Status(), liar.Status()
		if undrawn > 0 && ordered && h.Counted >= 6 && refusedOf(liar, servicetest.MeterOverstated) >= 3 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("never: %d refused of the stranger\n%+v\n%+v", undrawn, h, l)
		}
	}
	if n := refusedOf(honest, servicetest.MeterOverstated); n != 0 {
		t.Errorf("%d readings of the honest device are refused", n)
	}
	if drawn != 0 {
		t.Errorf("%d reports of the stranger are refused for another reason", drawn)
	}
	cancel()
	for _, stop := range stops {
		stop()
	}
}
