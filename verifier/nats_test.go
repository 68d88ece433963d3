package verifier

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// TestOverNATS runs four verifiers over a real NATS server and a chain that has its own clock: nothing waits
// for anything to come to rest. A device resends until more than two thirds acknowledged, as devices do.
func TestOverNATS(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds of real time")
	}
	ctx, cancel := context.WithCancel(t.Context())
	owner := types.Account{0xa}
	cfg := ledger.Config{
		Chain: testChain, Params: []tally.Params{workSpec.Defaults()}, Econ: econ.Default(), Interval: 150 * time.Millisecond,
		Balances: map[types.Account]types.Ustone{owner: 100_000_000_000_000}, Genesis: time.Now(),
	}
	var peers []Config
	dir := t.TempDir()
	for i := range 4 {
		p := Config{
			Dir: filepath.Join(dir, fmt.Sprint(i)), Key: types.NewPrivateKey([32]byte{1, byte(i)}), VRF: types.NewPrivateKey([32]byte{2, byte(i)}),
			Account: types.Account{0xb, byte(i)}, Workers: 1, Log: quiet,
		}
		peers = append(peers, p)
		cfg.Verifiers = append(cfg.Verifiers, tally.Attester{Key: p.Key.Public(), VRF: p.VRF.Public(), Owner: p.Account, Power: 1000})
	}
	chain := ledger.New(cfg)
	d := &device{key: types.NewPrivateKey([32]byte{3}), n: &network{chain: chain, ctx: ctx}}
	st := evidence.Statement{
		Chain: testChain, Device: d.key.Public(), Owner: owner, Categories: []types.Category{types.Storage}, Cell: 0x8a1fb46622dffff, Expiry: 1000,
	}
	if _, err := chain.Submit(ctx, owner, ledger.Register{Statement: *st.Sign(d.key), Bond: workSpec.Params.Bond}); err != nil {
		t.Fatal(err)
	}
	s, err := server.Serve(server.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()}, NewAuthorizer(chain), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dial := func(key types.PrivateKey) bus.Bus {
		link, err := bus.Dial(ctx, bus.Config{URLs: []string{s.URL()}}, key, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	var wg sync.WaitGroup
	for _, p := range peers {
		v, err := New(p, chain, dial(p.Key), []tally.Verifier{work})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := v.Run(ctx); err != nil {
				t.Error(err)
			}
			v.bus.Close()
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() { chain.Run(ctx) })
	defer wg.Wait()
	defer cancel()

	link := dial(d.key)
	defer link.Close()
	var mu sync.Mutex
	acks := map[types.Hash]map[types.Key]types.Epoch{}
	if err := link.Subscribe(ctx, bus.AckSubject(types.Key{}, d.key.Public()), func(m bus.Message) {
		ack, who, err := bus.Open[bus.Ack](m.Data, testChain)
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, h := range ack.Accepted {
			if acks[h] == nil {
				acks[h] = map[types.Key]types.Epoch{}
			}
			acks[h][who] = ack.Epoch
		}
	}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(90 * time.Second)
	wait := func(what string, done func() bool) {
		t.Helper()
		for !done() {
			if time.Now().After(deadline) {
				t.Fatalf("waited for %s in vain", what)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	for counted := 0; counted < 2; {
		var e *evidence.Envelope
		var epoch types.Epoch
		wait("more than two thirds of acks", func() bool {
			head, _ := chain.Head(ctx)
			if head.Epoch < 2 {
				return false
			}
			if e == nil || e.Epoch != head.Epoch { // too late for the epoch it was made for
				e = d.envelope(reading, nil)
			}
			submit := &bus.Submit{Chain: testChain, Items: []bus.Item{evidenceItem(e)}}
			if err := link.Publish(ctx, bus.SubmitSubject(d.key.Public(), 0), bus.Encode(submit)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			epoch = e.Epoch
			return len(acks[e.Hash]) >= 3
		})
		var h *ledger.Header
		wait("the header", func() bool {
			h, err = chain.Header(ctx, epoch, 0)
			return err == nil && h.Status != ledger.Open
		})
		if h.Raw == nil {
			t.Logf("epoch %d was skipped: a slow machine", epoch)
			continue
		}
		header, err := tally.DecodeHeader(h.Raw)
		if err != nil || header.Totals.Counted == 0 {
			t.Fatalf("epoch %d: %+v, %v: what was acknowledged is not counted", epoch, header, err)
		}
		t.Logf("epoch %d: round %d, counted %d", epoch, header.Round, header.Totals.Counted)
		counted++
	}
}
