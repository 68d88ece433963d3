package network

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/servicetest"
	"github.com/cairn-network/cairn/verifier"
)

// TestEngines runs four verifiers and two devices on a NATS bus and a ledger in memory: what the devices'
// providers hand in is counted, and the devices learn what they earned, over a restart of the bus, of a device
// and of a verifier.
func TestEngines(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("CAIRN_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	owner, meter := types.Account{0xa}, servicetest.Meter()
	cfg := ledger.Config{Chain: "engines-1", Genesis: time.Now(), Interval: 60 * time.Millisecond, Params: []tally.Params{meter.Spec.Defaults()}, Econ: econ.Default(),
		Balances: map[types.Account]types.Ustone{owner: 1_000_000_000_000}}
	var verifiers []verifier.Config
	for i := range byte(4) {
		v := verifier.Config{Dir: filepath.Join(t.TempDir(), "v"), Key: types.NewPrivateKey([32]byte{1, i}), VRF: types.NewPrivateKey([32]byte{2, i}),
			Account: types.Account{0xb, i}, Workers: 1, Log: log.With("verifier", i)}
		verifiers = append(verifiers, v)
		cfg.Verifiers = append(cfg.Verifiers, tally.Attester{Key: v.Key.Public(), VRF: v.VRF.Public(), Owner: v.Account, Power: 1000})
		cfg.Balances[v.Account] = 1_000_000_000
	}
	chain := ledger.New(cfg)
	dir := t.TempDir()
	serve := func(listen string) *server.Server {
		s, err := server.Serve(server.Config{Listen: listen, Dir: dir}, verifier.NewAuthorizer(chain), log)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	nats := serve("127.0.0.1:0")
	defer func() { nats.Close() }()
	url := nats.URL()
	dial := func(ctx context.Context, key types.PrivateKey) (bus.Bus, error) {
		return bus.Dial(ctx, bus.Config{URLs: []string{url}, Slowest: 200 * time.Millisecond}, key, log)
	}
	startVerifier := func(i int) (stop func()) {
		link, err := dial(ctx, verifiers[i].Key)
		if err != nil {
			t.Fatal(err)
		}
		v, err := verifier.New(verifiers[i], chain, link, []tally.Verifier{meter})
		if err != nil {
			t.Fatal(err)
		}
		return engine(t, ctx, fmt.Sprint("verifier ", i), v.Run, func() { link.Close(); v.Close() })
	}
	var stops []func()
	for i := range verifiers {
		stops = append(stops, startVerifier(i))
	}
	epoch, err := chain.Epoch(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	pin := bus.Pin{Chain: "engines-1", Epoch: 1, Set: bus.SetOf(epoch.Verifiers)}
	startNode := func(home string) (*node.Node, func()) {
		n, err := node.New(node.Config{Home: home, Owner: owner, Pin: pin, Dial: dial, Resend: 100 * time.Millisecond},
			[]role.Provider{paid{servicetest.MeterProvider{Step: 10}.Role(), types.NewPrivateKey([32]byte{4})}.role()}, log.With("node", filepath.Base(home)))
		if err != nil {
			t.Fatal(err)
		}
		return n, engine(t, ctx, home, n.Run, nil)
	}
	payer := types.NewPrivateKey([32]byte{4})
	if _, err := chain.Submit(ctx, owner, ledger.Buy{Amount: 1_000_000_000},
		ledger.GrantKey{Key: payer.Public(), Limit: 1 << 40, Expiry: 1000, Proof: payer.Sign("grant", "engines-1", evidence.GrantBytes(owner))}); err != nil {
		t.Fatal(err)
	}
	var nodes []*node.Node
	var homes []string
	var stopNodes []func()
	for i := range byte(2) {
		home := filepath.Join(t.TempDir(), fmt.Sprint(i))
		key, err := node.CreateKey(home)
		if err != nil {
			t.Fatal(err)
		}
		statement := evidence.Statement{Chain: "engines-1", Device: key.Public(), Owner: owner, Nonce: [16]byte{i},
			Categories: []types.Category{servicetest.MeterCategory}, Cell: 0x8a1fb46622dffff, Expiry: 100}.Sign(key)
		if _, err := chain.Submit(ctx, owner, ledger.Register{Statement: *statement, Bond: 10 * meter.Spec.Params.Bond}); err != nil {
			t.Fatal(err)
		}
		n, stop := startNode(home)
		nodes, homes, stopNodes = append(nodes, n), append(homes, home), append(stopNodes, stop)
	}
	go chain.Run(ctx)
	until := func(what string, ok func(node.Status) bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			a, b := nodes[0].Status(), nodes[1].Status()
			if ok(a) && ok(b) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("never: %s\n%+v\n%+v", what, a, b)
			}
		}
	}
	counted := func(s node.Status) bool { return s.Online && s.Counted >= 4 && s.Acked >= 4 }
	until("the devices' work is counted", counted)
	until("the devices have earned", func(s node.Status) bool { return s.Earned.Total > 0 && s.Earned.Today > 0 })
	until("some of it is final", func(s node.Status) bool { return s.Earned.Final > 0 })

	// A device stops and comes back; so does a verifier; so does the bus.
	stopNodes[0]()
	nodes[0], stopNodes[0] = startNode(homes[0])
	stops[3]()
	nats.Close()
	time.Sleep(300 * time.Millisecond)
	nats = serve(url[len("nats://"):])
	stops[3] = startVerifier(3)
	before := nodes[1].Status().Counted
	until("work goes on", func(s node.Status) bool { return counted(s) && (s.Device != nodes[1].Key() || s.Counted > before) })
	for _, n := range nodes {
		for _, r := range n.Status().Refused {
			if r.Reason == types.Equivocation || r.Reason == types.StaleSeq {
				t.Errorf("%v: %+v", n.Key(), r)
			}
		}
	}
	for _, stop := range append(stopNodes, stops...) {
		stop()
	}
}

// paid is a meter that a customer pays for one tick more in each epoch.
type paid struct {
	meter role.Provider
	payer types.PrivateKey
}

func (p paid) role() role.Provider {
	out := p.meter
	out.Run = func(ctx context.Context, host role.Host) error {
		go p.pay(ctx, host)
		return p.meter.Run(ctx, host)
	}
	return out
}

func (p paid) pay(ctx context.Context, host role.Host) {
	ask, err := host.Offer(ctx, receipt.Ask{Class: servicetest.MeterTicks, Price: 1000 * servicetest.MeterScale, Until: 1000})
	if err != nil {
		host.Log().Error("offer", "error", err)
		return
	}
	key := host.Key()
	id := [12]byte(key[:])
	for n := range host.Notices(ctx) {
		if register, _ := servicetest.MeterState(n.Line); register == 0 {
			continue
		}
		if known, err := host.Payer(ctx, p.payer.Public()); err != nil || known.Balance == 0 {
			host.Log().Debug("payer", "error", err)
			continue
		}
		r := receipt.Receipt{Chain: host.Chain(), Category: servicetest.MeterCategory, Session: types.NewSessionID(500, id),
			Payer: p.payer.Public(), Device: host.Key(), Terms: ask.Ask.Hash(), Units: types.U64(uint64(n.Epoch)), Amount: types.Credit(1000 * n.Epoch),
			Seq: uint64(n.Epoch), First: 1}
		if err := host.SubmitReceipt(ctx, &receipt.Signed{Receipt: r, PayerSig: r.Sign(p.payer)}); err != nil {
			host.Log().Error("receipt", "error", err)
		}
	}
}

// engine runs an engine until stop, which waits for its end.
func engine(t *testing.T, ctx context.Context, what string, run func(context.Context) error, clean func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if clean != nil {
			clean()
		}
	}
}
