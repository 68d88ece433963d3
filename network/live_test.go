package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/http"
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
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/servicetest"
	"github.com/cairn-network/cairn/verifier"
)

// TestLive takes what somebody waits for through a NATS bus, a verifier, a gateway and two devices: what the
// devices have free is in their offers, a wallet that can pay takes of it within the deadline of an order, one
// that can't gets nothing, a device that is gone is known to be gone, and a larger thing comes to who pays.
func TestLive(t *testing.T) {
	t.Parallel()
	const chainID = "live-1"
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("CAIRN_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	owner, poor, meter, door := types.Account{0xa}, types.Account{0xc}, servicetest.Meter(), types.NewPrivateKey([32]byte{9})
	params := meter.Spec.Defaults()
	seat := verifier.Config{Dir: filepath.Join(t.TempDir(), "v"), Key: types.NewPrivateKey([32]byte{1}), VRF: types.NewPrivateKey([32]byte{2}),
		Account: types.Account{0xb}, Workers: 1, Log: log}
	chain := ledger.New(ledger.Config{Chain: chainID, Genesis: time.Now(), Interval: 60 * time.Millisecond, Params: []tally.Params{params}, Econ: econ.Default(),
		Opening: 1, Balances: map[types.Account]types.Ustone{owner: 1_000_000_000_000, poor: 1_000_000, seat.Account: 1_000_000_000},
		Verifiers: []tally.Attester{{Key: seat.Key.Public(), VRF: seat.VRF.Public(), Owner: seat.Account, Power: 1000}}})
	nats, err := server.Serve(server.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()}, verifier.NewAuthorizer(chain, door.Public()), log)
	if err != nil {
		t.Fatal(err)
	}
	defer nats.Close()
	dial := func(ctx context.Context, key types.PrivateKey) (bus.Bus, error) {
		return bus.Dial(ctx, bus.Config{URLs: []string{nats.URL()}, Slowest: 200 * time.Millisecond}, key, log)
	}
	link, err := dial(ctx, seat.Key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verifier.New(seat, chain, link, []tally.Verifier{meter})
	if err != nil {
		t.Fatal(err)
	}
	stops := []func(){engine(t, ctx, "verifier", v.Run, func() { link.Close(); v.Close() })}
	epoch, err := chain.Epoch(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	pin := bus.Pin{Chain: chainID, Epoch: 1, Set: bus.SetOf(epoch.Verifiers)}
	customer := &meterDoor{}
	asCustomer := customer.role()
	heard := make(chan role.Beat, 1024)
	asCustomer.Heard = func(b role.Beat) {
		select {
		case heard <- b:
		default:
		}
	}
	g, err := gateway.New(gateway.Config{Dir: t.TempDir(), Key: door, Pin: pin, Dial: dial}, chain, []role.Customer{asCustomer}, log)
	if err != nil {
		t.Fatal(err)
	}
	open := func(account types.Account, msgs ...ledger.Msg) role.Wallet {
		t.Helper()
		code, body := post(t, g.Handler(), "/v1/keys", fmt.Sprintf(`{"account":%q}`, account))
		if code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		key := parseKey(t, body)
		for _, msg := range append(msgs, ledger.GrantKey{Key: key.Payer, Limit: 1 << 40, Expiry: 1000, Proof: consent(t, key)}) {
			if _, err := chain.Submit(ctx, account, msg); err != nil {
				t.Fatal(err)
			}
		}
		r, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+key.APIKey)
		w, err := customer.market.Wallet(r)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	payer := open(owner, ledger.Buy{Amount: 1_000_000_000})
	without := open(poor)
	const stock = 1000
	var devices []types.Key
	var gone []func()
	for i := range byte(2) {
		home := t.TempDir()
		key, err := node.CreateKey(home)
		if err != nil {
			t.Fatal(err)
		}
		statement := evidence.Statement{Chain: chainID, Device: key.Public(), Owner: owner, Nonce: [16]byte{i},
			Categories: []types.Category{servicetest.MeterCategory}, Cell: 0x8a1fb46622dffff, Expiry: 100}.Sign(key)
		if _, err := chain.Submit(ctx, owner, ledger.Register{Statement: *statement, Bond: 10 * params.Bond}); err != nil {
			t.Fatal(err)
		}
		n, err := node.New(node.Config{Home: home, Owner: owner, Pin: pin, Dial: dial, Resend: 100 * time.Millisecond},
			[]role.Provider{servicetest.MeterProvider{Step: 10, Stock: stock}.Role()}, log)
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, key.Public())
		gone = append(gone, engine(t, ctx, fmt.Sprint("node ", i), n.Run, nil))
	}
	stops = append(stops, engine(t, ctx, "gateway", g.Run, func() { g.Close() }))
	go chain.Run(ctx)

	market := customer.market
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	free := func(device types.Key) (left uint64, beats bool) {
		t.Helper()
		offers, _, err := market.Offers(ctx, role.Want{Class: servicetest.MeterStock, Device: device})
		if err != nil || len(offers) != 1 || offers[0].Beat == nil {
			return 0, false
		}
		left, _ = offers[0].Beat.Free.Uint64()
		return left, true
	}
	for _, d := range devices {
		until("what a device has free is on offer", func() bool { left, beats := free(d); return beats && left == stock })
	}
	take := func(w role.Wallet, d types.Key, n uint64) (left uint64, err error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		answer, err := market.Ask(ctx, w, role.Question{Device: d, Kind: servicetest.MeterTake, Body: binary.BigEndian.AppendUint64(nil, n)})
		if err != nil {
			return 0, err
		}
		return binary.BigEndian.Uint64(answer), nil
	}
	until("the payer's credits count", func() bool { return payer.Balance() > 0 })
	var left uint64
	until("the payer's order is taken", func() bool { left, err = take(payer, devices[0], 300); return err == nil })
	if left != stock-300 {
		t.Errorf("%d ticks are left", left)
	}
	until("the offer shows it", func() bool { left, _ := free(devices[0]); return left == stock-300 })
	for what, c := range map[string]struct {
		err  func() error
		want types.Reason
	}{
		"more than there is": {func() error { _, err := take(payer, devices[0], stock); return err }, servicetest.MeterSoldOut},
		"without credits":    {func() error { _, err := take(without, devices[0], 1); return err }, types.OverBudget},
		"the log, without credits": {func() error {
			_, err := market.Fetch(ctx, without, role.Fetch{Device: devices[0], Hash: types.Sum(servicetest.MeterLog(devices[0])), Most: 1 << 20, Path: filepath.Join(t.TempDir(), "log")})
			return err
		}, types.OverBudget},
	} {
		if err := c.err(); types.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
	path := filepath.Join(t.TempDir(), "log")
	want := servicetest.MeterLog(devices[0])
	if _, err := market.Fetch(ctx, payer, role.Fetch{Device: devices[0], Hash: types.Sum(want), Most: 1 << 20, Path: path}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of the log: %v", len(got), err)
	}
	gone[1]()
	until("a device that is gone is known to be", func() bool { _, err := take(payer, devices[1], 1); return types.ReasonOf(err) == types.DeviceAway })
	if len(heard) == 0 {
		t.Error("the customer has heard no beat")
	}
	gone[0]()
	cancel()
	for _, stop := range stops {
		stop()
	}
}
