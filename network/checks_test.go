package network

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/mac"
	"github.com/cairn-network/cairn/service/compute/provider"
	live "github.com/cairn-network/cairn/service/compute/witness/live"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/verifier"
	"github.com/cairn-network/cairn/witness"
)

// stepper computes chains of processors, a round in so long of the test's clock; a cheat makes up its rounds.
type stepper struct {
	round time.Duration
	cheat bool
}

func (p *stepper) Class() types.Class { return compute.Wasm }
func (p *stepper) Profiles() []compute.Profile {
	return []compute.Profile{{Name: compute.WasmProfile}}
}
func (p *stepper) Prepare(context.Context, *provider.Task) error { return nil }
func (p *stepper) Run(ctx context.Context, _ *provider.Task) (*compute.Result, compute.Files, error) {
	<-ctx.Done()
	return nil, nil, ctx.Err()
}
func (p *stepper) ReadyMix(context.Context) error { return nil }
func (p *stepper) Mix(ctx context.Context, seed types.Hash, each func(types.Hash) error) error {
	for {
		time.Sleep(p.round)
		root := types.Sum(seed[:])
		if !p.cheat {
			root = mac.Mix(seed)
		}
		if err := each(root); err != nil {
			return err
		}
		seed = types.Sum(seed[:], root[:])
	}
}

// TestChecks: five verifiers with their witnesses check two devices, over the bus and by a fake clock. The
// honest one's free slots are ordered by the network after two checks; the one that makes its rounds up has no
// rate, and less quality.
func TestChecks(t *testing.T) {
	synctest.Test(t, testChecks)
}

func testChecks(t *testing.T) {
	const chainID = "checks-1"
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("CAIRN_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rules := compute.New()
	params := rules.Spec.Defaults()
	params.Rules = compute.LocalRules().Encode()
	owners := []types.Account{{0xa, 1}, {0xa, 2}}
	cfg := ledger.Config{Chain: chainID, Genesis: time.Now(), Interval: 400 * time.Millisecond, Params: []tally.Params{params},
		Econ: econ.Default(), Balances: map[types.Account]types.Ustone{owners[0]: 1e12, owners[1]: 1e12}}
	seats := seated(t, &cfg, 5, log)
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
		v, stop := runSeated(t, ctx, seat, chain, memory, rules)
		engines, stops = append(engines, v), append(stops, stop)
		w, err := witness.New(witness.Config{Dir: t.TempDir(), Key: seat.Key, VRF: seat.VRF, Pin: pin, Dial: memory.Dial, View: v.View, Ledger: v},
			[]tally.Verifier{rules}, []role.Witness{{Category: types.Compute, Run: live.New(live.Config{}).Run}}, log.With("witness", i))
		if err != nil {
			t.Fatal(err)
		}
		stops = append(stops, engine(t, ctx, fmt.Sprint("witness ", i), w.Run, nil))
	}
	var nodes []*node.Node
	for i, owner := range owners {
		home := t.TempDir()
		key, err := node.CreateKey(home)
		if err != nil {
			t.Fatal(err)
		}
		statement := evidence.Statement{Chain: chainID, Device: key.Public(), Owner: owner,
			Categories: []types.Category{types.Compute}, Cell: 0x8a1fb46622dffff, Expiry: 1000}.Sign(key)
		if _, err := chain.Submit(ctx, owner, ledger.Register{Statement: *statement, Bond: 10 * params.Bond}); err != nil {
			t.Fatal(err)
		}
		p, err := provider.New(provider.Config{Open: func(string) ([]provider.Executor, []provider.Lack, error) {
			return []provider.Executor{&stepper{round: 250 * time.Millisecond, cheat: i == 1}}, nil, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		n, err := node.New(node.Config{Home: home, Owner: owner, Pin: pin, Dial: memory.Dial}, []role.Provider{p.Role()}, log.With("node", i))
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
		stops = append(stops, engine(t, ctx, fmt.Sprint("node ", i), n.Run, nil))
	}
	go chain.Run(ctx)
	var ordered, cheated bool // whether the honest device's work, and the cheat's, has weight
	failed := 0               // checks of the cheat that were refused
	seen := map[types.Epoch]bool{}
	for range 600 {
		time.Sleep(time.Second)
		headers, err := chain.Headers(ctx, 0, 256)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range headers {
			if h.Raw == nil || seen[h.Epoch] {
				continue
			}
			report, err := engines[0].Report(h.Hash)
			if err != nil {
				continue
			}
			seen[h.Epoch] = true
			for _, r := range report.Refused {
				switch {
				case r.Author == nodes[0].Key():
					t.Errorf("epoch %d: something of the honest device is refused: %s", h.Epoch, r.Reason)
				case r.Author == nodes[1].Key() && r.Reason == compute.CheckFailed:
					failed++
				}
			}
			for _, d := range report.Devices {
				ordered = ordered || d.Device == nodes[0].Key() && !d.Weight.IsZero()
				cheated = cheated || d.Device == nodes[1].Key() && !d.Weight.IsZero()
			}
		}
		if ordered && failed >= 2 {
			break
		}
	}
	if !ordered || failed < 2 || cheated {
		t.Errorf("ordered of the honest device: %v, of the cheat: %v, whose checks failed %d times, in %d epochs", ordered, cheated, failed, len(seen))
	}
	cancel()
	for _, stop := range stops {
		stop()
	}
}
