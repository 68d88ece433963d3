package network

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/gateway"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/compute"
	computes "github.com/cairn-network/cairn/service/compute/customer"
	"github.com/cairn-network/cairn/service/compute/provider"
	audits "github.com/cairn-network/cairn/service/compute/witness"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/verifier"
	"github.com/cairn-network/cairn/witness"
)

// overcharging is an executor that says of each job that it cost one unit more.
type overcharging struct{ provider.Executor }

func (o overcharging) Run(ctx context.Context, t *provider.Task) (*compute.Result, compute.Files, error) {
	r, f, err := o.Executor.Run(ctx, t)
	if err == nil {
		r.Fuel++
	}
	return r, f, err
}

// audited is a network of two devices, a gateway, a bus, and four verifiers whose witnesses audit.
type audited struct {
	devices []types.Key
	run     func(query string) (device types.Key) // a job, to its end
	line    func(device types.Key) *compute.State
	until   func(what string, ok func() bool)
	restart func() // of the gateway
}

// newAudited makes one whose first device, the cheaper one, runs jobs as cheat says, and is what bend makes of it; nil
// for what it is.
func newAudited(t *testing.T, chainID string, cheat func(provider.Executor) provider.Executor, bend func(*role.Provider)) *audited {
	t.Helper()
	w := &audited{}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("CAIRN_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	_, lacks, err := provider.OpenWasm(t.TempDir(), 1)
	if err != nil || len(lacks) > 0 {
		t.Skip("this machine holds no guests: ", lacks, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rules, door, buyer := compute.New(), types.NewPrivateKey([32]byte{9}), types.Account{0xc}
	params := rules.Spec.Defaults()
	cfg := ledger.Config{Chain: chainID, Genesis: time.Now(), Interval: 150 * time.Millisecond, Params: []tally.Params{params}, Econ: econ.Default(), Opening: 1,
		Balances: map[types.Account]types.Ustone{buyer: 1e12}}
	seats := seated(t, &cfg, 4, log)
	owners := []types.Account{{0xa, 1}, {0xa, 2}}
	for _, o := range owners {
		cfg.Balances[o] = 1e12
	}
	chain := ledger.New(cfg)
	nats, err := server.Serve(server.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()}, verifier.NewAuthorizer(chain, door.Public()), log)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context, key types.PrivateKey) (bus.Bus, error) {
		return bus.Dial(ctx, bus.Config{URLs: []string{nats.URL()}, Slowest: 200 * time.Millisecond}, key, log)
	}
	epoch, err := chain.Epoch(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	pin := bus.Pin{Chain: chainID, Epoch: 1, Set: bus.SetOf(epoch.Verifiers)}
	var stops []func()
	var engines []*verifier.Verifier
	for i, seat := range seats {
		link, err := dial(ctx, seat.Key)
		if err != nil {
			t.Fatal(err)
		}
		v, err := verifier.New(seat, chain, link, []tally.Verifier{rules})
		if err != nil {
			t.Fatal(err)
		}
		engines = append(engines, v)
		w, err := openWitness(t.TempDir(), witness.Config{Key: seat.Key, VRF: seat.VRF, Pin: pin, Dial: dial, Private: near, Resend: 100 * time.Millisecond}, v,
			[]tally.Verifier{rules}, []role.Witness{audits.New(audits.Config{}).Role()}, log.With("witness", i))
		if err != nil {
			t.Fatal(err)
		}
		stops = append(stops, engine(t, ctx, fmt.Sprint("witness ", i), w.Run, nil),
			engine(t, ctx, fmt.Sprint("verifier ", i), v.Run, func() { link.Close(); v.Close() }))
	}
	for i, owner := range owners {
		p, err := provider.New(provider.Config{
			Slots: 1, Prices: map[types.Class]uint64{compute.Wasm: 1_000_000 * (1 + uint64(i))}, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
			Open: func(dir string) ([]provider.Executor, []provider.Lack, error) {
				e, lacks, err := provider.OpenWasm(dir, 1)
				if e != nil && i == 0 {
					e = cheat(e)
				}
				return []provider.Executor{e}, lacks, err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		home := t.TempDir()
		key, err := node.CreateKey(home)
		if err != nil {
			t.Fatal(err)
		}
		statement := evidence.Statement{Chain: chainID, Device: key.Public(), Owner: owner, Categories: []types.Category{types.Compute},
			Cell: 0x8a1fb46622dffff, Expiry: 100}.Sign(key)
		if _, err := chain.Submit(ctx, owner, ledger.Register{Statement: *statement, Bond: 10 * params.Bond}); err != nil {
			t.Fatal(err)
		}
		r := p.Role()
		if i == 0 && bend != nil {
			bend(&r)
		}
		n, err := node.New(node.Config{Home: home, Owner: owner, Pin: pin, Dial: dial, Resend: 100 * time.Millisecond}, []role.Provider{r}, log.With("node", i))
		if err != nil {
			t.Fatal(err)
		}
		w.devices = append(w.devices, key.Public())
		stops = append(stops, engine(t, ctx, fmt.Sprint("node ", i), n.Run, nil))
	}
	dir := t.TempDir()
	open := func() *gateway.Gateway {
		t.Helper()
		c := computes.New(computes.Config{})
		g, err := gateway.New(gateway.Config{Dir: dir, Key: door, Pin: pin, Dial: dial, Private: near}, chain, []role.Customer{c.Role()}, log)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Listen(role.Place{IP: "127.0.0.1"}); err != nil {
			t.Fatal(err)
		}
		return g
	}
	g := open()
	code, body := post(t, g.Handler(), "/v1/keys", fmt.Sprintf(`{"account":%q}`, buyer))
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	key := parseKey(t, body)
	for _, msg := range []ledger.Msg{ledger.Buy{Amount: 1_000_000_000}, ledger.GrantKey{Key: key.Payer, Limit: 1 << 40, Expiry: 1000, Proof: consent(t, key)}} {
		if _, err := chain.Submit(ctx, buyer, msg); err != nil {
			t.Fatal(err)
		}
	}
	serve := func() (stop func()) {
		ctx, cancel := context.WithCancel(ctx)
		wait := engine(t, ctx, "gateway", g.Run, func() { g.Close() })
		return func() { cancel(); wait() }
	}
	stop := serve()
	w.restart = func() {
		stop()
		g = open()
		stop = serve()
	}
	go chain.Run(ctx)

	module, err := os.ReadFile(filepath.Join("..", "service", "compute", "customer", "program", "count.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	call := func(method, path string, body []byte, out any) (int, string) {
		t.Helper()
		r := httptest.NewRequestWithContext(ctx, method, "http://localhost/compute/v1"+path, bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+key.APIKey)
		r.Header.Set("Content-Type", "application/wasm")
		rec := httptest.NewRecorder()
		g.Handler().ServeHTTP(rec, r)
		if rec.Code < 300 && out != nil {
			if err := json.Unmarshal(rec.Body.Bytes(), out); err != nil {
				t.Fatal(err)
			}
		}
		return rec.Code, rec.Body.String()
	}
	w.until = func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	w.run = func(query string) (device types.Key) {
		t.Helper()
		var in struct{ Hash string }
		if code, body := call("POST", "/inputs", bytes.Repeat([]byte("words to count\n"), 1<<10), &in); code != http.StatusCreated {
			t.Fatal(code, body)
		}
		var job struct{ ID, Device string }
		w.until("a device takes the job", func() bool {
			code, _ := call("POST", "/jobs?price=100000000&stdin="+in.Hash+query, module, &job)
			return code < 300
		})
		if code, body := call("GET", "/jobs/"+job.ID+"/result?wait=1", nil, nil); code != http.StatusOK {
			t.Fatal(code, body)
		}
		device, err := types.ParseKey(job.Device)
		if err != nil {
			t.Fatal(err)
		}
		return device
	}
	w.line = func(device types.Key) *compute.State {
		t.Helper()
		headers, err := chain.Headers(ctx, 0, 1)
		if err != nil || len(headers) == 0 {
			return &compute.State{}
		}
		raw, err := engines[0].Line(ctx, headers[0].Epoch, types.Compute, device)
		if err != nil {
			return &compute.State{}
		}
		s, err := compute.DecodeState(raw)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Cleanup(func() {
		stop()
		cancel()
		for _, stop := range stops {
			stop()
		}
		nats.Close()
	})
	return w
}

// TestAudits: real jobs on two devices, through a gateway, a bus, and four verifiers whose witnesses audit. The
// cheaper device charges a unit too much: it is audited without anybody doing anything, and is suspended. So
// the next job goes to the honest one, which passes, and rises.
func TestAudits(t *testing.T) {
	t.Parallel()
	w := newAudited(t, "audits-1", func(e provider.Executor) provider.Executor { return overcharging{e} }, nil)
	devices, run, line, until := w.devices, w.run, w.line, w.until
	until("the device that asks less has a job", func() bool { return run("") == devices[0] }) // as soon as it is heard
	// A slow machine may miss an epoch: then there is another job.
	again := func(device types.Key) {
		if s := line(device); s.Epoch != 0 && s.Results[0].Count+s.Results[1].Count == 0 {
			run("")
		}
	}
	until("the device that charges too much is suspended", func() bool {
		again(devices[0])
		return line(devices[0]).Faults > 0
	})
	if s := line(devices[1]); s.Faults != 0 {
		t.Errorf("%+v", s)
	}
	until("the other one gets the jobs, passes and rises", func() bool {
		again(devices[1])
		return line(devices[1]).Passed > 0
	})
	if s := line(devices[1]); s.Quality <= compute.FirstQuality || s.Faults != 0 {
		t.Errorf("%+v", s)
	}
}
