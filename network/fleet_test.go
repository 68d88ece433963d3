package network

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/servicetest"
	"github.com/cairn-network/cairn/verifier"
)

// TestFleet: two nodes, three verifiers, and the things behind one of the nodes. What a thing of its fleet counts
// earns it weight from the epoch on that shows the fleet; what is not of it, or did not agree, is refused by name.
// The other node commits to the same things, which gains it nothing. A fleet that is replaced leaves out the thing
// that it no longer has.
func TestFleet(t *testing.T) {
	t.Parallel()
	const chainID = "fleet-1"
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	meter := servicetest.Meter()
	params := meter.Spec.Defaults()
	params.Threshold = 0
	owners := []types.Account{{0xa, 1}, {0xa, 2}}
	cfg := ledger.Config{Chain: chainID, Genesis: time.Now(), Interval: 60 * time.Millisecond, Params: []tally.Params{params},
		Econ: econ.Default(), Balances: map[types.Account]types.Ustone{owners[0]: 1e12, owners[1]: 1e12}}
	seats := seated(t, &cfg, 3, log)
	chain := ledger.New(cfg)
	memory := bus.NewMemory(verifier.NewAuthorizer(chain), log)
	first, err := chain.Epoch(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	pin := bus.Pin{Chain: chainID, Epoch: 1, Set: bus.SetOf(first.Verifiers)}
	var stops []func()
	var engines []*verifier.Verifier
	for _, seat := range seats {
		v, stop := runSeated(t, ctx, seat, chain, memory, meter)
		engines, stops = append(engines, v), append(stops, stop)
	}

	// Three things; the hub shows each of them, and one of them by a wrong path as well. The second did not agree to
	// be behind it.
	thing := func(n byte) types.PrivateKey { return types.NewPrivateKey([32]byte{9, n}) }
	roster := func(keys ...byte) *fleet.Roster {
		var list []fleet.Thing
		for _, n := range keys {
			list = append(list, fleet.Thing{Key: thing(n).Public(), Attributes: []byte("hall")})
		}
		r, err := fleet.NewRoster(list)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	all, fewer := roster(0, 1, 2), roster(1, 2)
	var nodes []*node.Node
	for i, owner := range owners {
		home := t.TempDir()
		key, err := node.CreateKey(home)
		if err != nil {
			t.Fatal(err)
		}
		show := func(n byte, spoil func(*fleet.Member)) servicetest.MeterShown {
			m := all.Member(int(n))
			m.Agree(thing(n), chainID, key.Public(), 1000)
			if i > 0 { // what the other node can have seen of it
				m.Agree(thing(n), chainID, nodes[0].Key(), 1000)
			}
			spoil(m)
			return servicetest.MeterShown{Member: *m, Ticks: 100}
		}
		things := []servicetest.MeterShown{
			show(0, func(*fleet.Member) {}),
			show(1, func(m *fleet.Member) { m.Consent = types.Signature{} }),
			show(2, func(m *fleet.Member) { m.Index = 1 }),
		}
		if i > 0 {
			things = things[:1]
		}
		statement := evidence.Statement{Chain: chainID, Device: key.Public(), Owner: owner,
			Categories: []types.Category{servicetest.MeterCategory}, Cell: 0x8a1fb46622dffff, Expiry: 100}.Sign(key)
		if _, err := chain.Submit(ctx, owner, ledger.Register{Statement: *statement, Bond: 10 * params.Bond}); err != nil {
			t.Fatal(err)
		}
		provider := servicetest.MeterProvider{Things: things}
		n, err := node.New(node.Config{Home: home, Owner: owner, Pin: pin, Dial: memory.Dial, Resend: 100 * time.Millisecond},
			[]role.Provider{provider.Role()}, log)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
		stops = append(stops, engine(t, ctx, fmt.Sprint("node ", i), n.Run, nil))
	}
	go chain.Run(ctx)
	hub, thief := nodes[0], nodes[1]
	refused := func(n *node.Node, reason types.Reason) (count uint64) {
		for _, r := range n.Status().Refused {
			if r.Reason == reason {
				count += r.Count
			}
		}
		return count
	}
	// Weights of each tally, as verifiers report them.
	weights := map[types.Epoch]map[types.Key]types.U128{}
	look := func() {
		headers, err := chain.Headers(ctx, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range headers {
			if h.Raw == nil || weights[h.Epoch] != nil {
				continue
			}
			report, err := engines[0].Report(h.Hash)
			if err != nil {
				continue // it is not recomputed yet
			}
			weights[h.Epoch] = map[types.Key]types.U128{}
			for _, d := range report.Devices {
				weights[h.Epoch][d.Device] = d.Weight
			}
		}
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s\n%+v\n%+v", what, hub.Status(), thief.Status())
			}
			look()
		}
	}
	// weighed returns the newest epoch in which a device's work earned weight.
	weighed := func(n *node.Node) (e types.Epoch) {
		for epoch, w := range weights {
			if w := w[n.Key()]; !w.IsZero() {
				e = max(e, epoch)
			}
		}
		return e
	}
	until("both are refused without a fleet", func() bool { return refused(hub, types.NoFleet) >= 3 && refused(thief, types.NoFleet) >= 1 })
	if e := weighed(hub); e != 0 {
		t.Errorf("work without a fleet has earned weight in epoch %d", e)
	}
	epoch := func() types.Epoch {
		t.Helper()
		head, err := chain.Head(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return head.Epoch
	}
	// set sets a fleet, between two epochs that it returns.
	set := func(n int, f fleet.Fleet) (before, after types.Epoch) {
		t.Helper()
		before = epoch()
		if _, err := chain.Submit(ctx, owners[n], ledger.SetFleet{Device: nodes[n].Key(), Fleet: f}); err != nil {
			t.Fatal(err)
		}
		return before, epoch()
	}
	before, after := set(0, all.Fleet())
	set(1, all.Fleet())
	until("the thing's work earns weight", func() bool { return weighed(hub) > after })
	until("what is not of the fleet, or did not agree, is refused", func() bool {
		return refused(hub, types.NoConsent) >= 2 && refused(hub, types.NotInFleet) >= 2 && refused(thief, types.NoConsent) >= 2
	})
	for epoch, w := range weights {
		if w := w[hub.Key()]; !w.IsZero() && epoch <= before {
			t.Errorf("the thing counts in epoch %d, its fleet was set in %d or later", epoch, before)
		}
	}
	was := refused(hub, types.NotInFleet)
	_, after = set(0, fewer.Fleet())
	until("the thing that the fleet no longer has is refused", func() bool { return refused(hub, types.NotInFleet) >= was+6 })
	if e := weighed(hub); e > after+1 {
		t.Errorf("the thing earned weight in epoch %d, its fleet was replaced in %d or before", e, after)
	}
	if e := weighed(thief); e != 0 {
		t.Errorf("the other node has earned weight in epoch %d by things that never agreed", e)
	}
	cancel()
	for _, stop := range stops {
		stop()
	}
}
