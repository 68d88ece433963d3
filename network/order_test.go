package network

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/gateway"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/servicetest"
	"github.com/cairn-network/cairn/verifier"
)

// meterDoor is Meter's customer: it only keeps its market.
type meterDoor struct{ market role.Market }

func (d *meterDoor) role() role.Customer {
	return role.Customer{
		Category: servicetest.MeterCategory,
		Mount: func(m role.Market) (http.Handler, error) {
			d.market = m
			return http.NewServeMux(), nil
		},
		Run: func(ctx context.Context) error { <-ctx.Done(); return nil },
	}
}

// doorman is a verifier's authorizer that also lets a gateway on.
type doorman struct {
	bus.Authorizer
	gateway types.Key
}

func (d doorman) Authorize(ctx context.Context, key types.Key) (bus.Pass, error) {
	if key == d.gateway {
		return bus.Full(bus.RoleGateway), nil
	}
	return d.Authorizer.Authorize(ctx, key)
}

// TestOrderEngines takes an order through all engines: a device says by an ask what it sells for, a wallet
// orders at the gateway, the tally sells at the price of the rules in force, and the gateway reads what was
// bought out of the state and out of the outputs.
func TestOrderEngines(t *testing.T) {
	t.Parallel()
	const chainID, price = "orders-1", 3000
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	owner, meter, door := types.Account{0xa}, servicetest.Meter(), types.NewPrivateKey([32]byte{9})
	params := meter.Spec.Defaults()
	params.Rules = (&servicetest.MeterRules{Price: price}).Encode()
	seat := verifier.Config{Dir: filepath.Join(t.TempDir(), "v"), Key: types.NewPrivateKey([32]byte{1}), VRF: types.NewPrivateKey([32]byte{2}),
		Account: types.Account{0xb}, Workers: 1, Log: log}
	chain := ledger.New(ledger.Config{Chain: chainID, Genesis: time.Now(), Interval: 60 * time.Millisecond, Params: []tally.Params{params}, Econ: econ.Default(),
		Opening: 1, Balances: map[types.Account]types.Ustone{owner: 1_000_000_000_000, seat.Account: 1_000_000_000},
		Verifiers: []tally.Attester{{Key: seat.Key.Public(), VRF: seat.VRF.Public(), Owner: seat.Account, Power: 1000}}})
	memory := bus.NewMemory(doorman{verifier.NewAuthorizer(chain), door.Public()}, log)
	dial := func(ctx context.Context, key types.PrivateKey) (bus.Bus, error) { return memory.Dial(ctx, key) }
	link, err := dial(ctx, seat.Key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verifier.New(seat, chain, link, []tally.Verifier{meter})
	if err != nil {
		t.Fatal(err)
	}
	stops := []func(){engine(t, ctx, "verifier", v.Run, func() { v.Close() })}
	epoch, err := chain.Epoch(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}

	home := t.TempDir()
	device, err := node.CreateKey(home)
	if err != nil {
		t.Fatal(err)
	}
	statement := evidence.Statement{Chain: chainID, Device: device.Public(), Owner: owner, Categories: []types.Category{servicetest.MeterCategory},
		Cell: 0x8a1fb46622dffff, Expiry: 100}.Sign(device)
	customer := &meterDoor{}
	pin := bus.Pin{Chain: chainID, Epoch: 1, Set: bus.SetOf(epoch.Verifiers)}
	g, err := gateway.New(gateway.Config{Dir: t.TempDir(), Key: door, Pin: pin, Dial: dial}, chain, []role.Customer{customer.role()}, log)
	if err != nil {
		t.Fatal(err)
	}
	code, body := post(t, g.Handler(), "/v1/keys", fmt.Sprintf(`{"account":%q}`, owner))
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	key := parseKey(t, body)
	for _, msg := range []ledger.Msg{
		ledger.Register{Statement: *statement, Bond: 10 * params.Bond}, ledger.Buy{Amount: 1_000_000_000},
		ledger.GrantKey{Key: key.Payer, Limit: 1 << 40, Expiry: 1000, Proof: consent(t, key)},
	} {
		if _, err := chain.Submit(ctx, owner, msg); err != nil {
			t.Fatal(err)
		}
	}
	n, err := node.New(node.Config{Home: home, Owner: owner, Pin: pin, Dial: dial, Resend: 100 * time.Millisecond},
		[]role.Provider{servicetest.MeterProvider{Step: 4500, Least: price - 1}.Role()}, log)
	if err != nil {
		t.Fatal(err)
	}
	stops = append(stops, engine(t, ctx, "node", n.Run, nil), engine(t, ctx, "gateway", g.Run, func() { g.Close() }))
	go chain.Run(ctx)

	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s\n%+v", what, n.Status())
			}
		}
	}
	market := func() role.Market { return customer.market }
	until("the gateway tells the rules in force", func() bool { return bytes.Equal(market().Notice().Rules, params.Rules) })
	until("the device's ask is in its line", func() bool {
		l, err := market().Line(ctx, device.Public())
		return err == nil && servicetest.ParseMeterLine(l.State).Least == price-1
	})
	wallet, err := g.Wallet(ctx, key.APIKey)
	if err != nil {
		t.Fatal(err)
	}
	order := receipt.Order{Chain: chainID, Category: servicetest.MeterCategory, Session: types.NewSessionID(500, [12]byte{1}), Payer: wallet.Payer(),
		Limit: price, Most: types.U64(2000), Cap: 7 * price, Seq: 1, First: 1}
	if err := market().Order(ctx, &receipt.SignedOrder{Order: order, Signature: wallet.Sign("order", types.Encode(&order))}); err != nil {
		t.Fatal(err)
	}
	session := tally.SessionKey{Payer: order.Payer, ID: order.Session}
	var state role.OrderState
	until("the order has spent its cap", func() bool {
		state, err = market().OrderState(ctx, session)
		return err == nil && state.Amount == 7*price
	})
	if state.Units != types.U64(7000) || state.Waiting != 0 || state.Refused != "" {
		t.Fatalf("the order: %+v", state)
	}
	var sold uint64
	for e := types.Epoch(1); e <= state.Tallied; e++ {
		outputs, err := market().Outputs(ctx, e, servicetest.MeterSalePrefix(device.Public()))
		if types.ReasonOf(err) == types.RegionSkipped {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outputs {
			var sale servicetest.MeterSale
			var buyers []servicetest.MeterBuyer
			if err := types.Decode(o.Data, &sale); err != nil || types.Sum(o.Detail) != sale.Buyers || types.Decode(o.Detail, &buyers) != nil ||
				len(buyers) != 1 || buyers[0].Session != session {
				t.Fatalf("output %+v, %v", o, err)
			}
			sold += sale.Ticks
		}
	}
	if sold != 7000 {
		t.Errorf("outputs show %d ticks sold", sold)
	}
	if l, err := market().Line(ctx, device.Public()); err != nil || servicetest.ParseMeterLine(l.State).Sold != 7000 {
		t.Errorf("the device's line: %+v, %v", servicetest.ParseMeterLine(l.State), err)
	}
	for _, stop := range stops {
		stop()
	}
}

func post(t *testing.T, h http.Handler, path, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "http://localhost"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func parseKey(t *testing.T, body string) (k gateway.Key) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// consent is the session key's signature that it serves the account.
func consent(t *testing.T, k gateway.Key) types.Signature {
	t.Helper()
	raw, err := hex.DecodeString(k.Consent)
	if err != nil {
		t.Fatal(err)
	}
	return types.Signature(raw)
}
