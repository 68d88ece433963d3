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
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/gateway"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/servicetest"
	"github.com/cairn-network/cairn/verifier"
)

// regionPrice is what a region's market pays, per 1,000 ticks.
const regionPrice = 3000

// regionDoors are the gateways' keys.
type regionDoors struct {
	bus.Authorizer
	keys [2]types.Key
}

func (d regionDoors) Authorize(ctx context.Context, key types.Key) (bus.Pass, error) {
	if key == d.keys[0] || key == d.keys[1] {
		return bus.Full(bus.RoleGateway), nil
	}
	return d.Authorizer.Authorize(ctx, key)
}

// regionWorld is two regions of one chain: two verifiers that run in both, and in each a gateway and a device.
type regionWorld struct {
	t         *testing.T
	ctx       context.Context
	chain     *ledger.Memory
	engines   [2][2]*verifier.Verifier // by region, then verifier
	nodes     [2]*node.Node
	doors     [2]*gateway.Gateway
	customers [2]*meterDoor
	keys      [2]gateway.Key
	stops     []func()
}

// until waits, and sees at each step that the supply balances.
func (w *regionWorld) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if s, err := w.chain.Supply(w.ctx); err != nil || !s.Balanced {
			w.t.Fatalf("%s: supply %+v, %v", what, s, err)
		}
		if time.Now().After(end) {
			w.t.Fatalf("never: %s\n%+v\n%+v", what, w.nodes[0].Status(), w.nodes[1].Status())
		}
	}
}

// order has the customer's wallet of a region order there, and returns the session.
func (w *regionWorld) order(at types.Region, n byte, cap types.Credit) tally.SessionKey {
	w.t.Helper()
	wallet, err := w.doors[at].Wallet(w.ctx, w.keys[at].APIKey)
	if err != nil {
		w.t.Fatal(err)
	}
	o := receipt.Order{Chain: w.chain.Chain(), Region: at, Category: servicetest.MeterCategory, Session: types.NewSessionID(500, [12]byte{n}),
		Payer: wallet.Payer(), Limit: regionPrice, Most: types.U64(2000), Cap: cap, Seq: 1, First: w.customers[at].market.Notice().Epoch}
	hand := func(o receipt.Order) error {
		return w.customers[at].market.Order(w.ctx, &receipt.SignedOrder{Order: o, Signature: wallet.Sign("order", types.Encode(&o))})
	}
	elsewhere := o
	elsewhere.Region = 1 - at
	if err := hand(elsewhere); types.ReasonOf(err) != types.WrongRegion {
		w.t.Fatalf("an order for the other region: %v", err)
	}
	if err := hand(o); err != nil {
		w.t.Fatal(err)
	}
	return tally.SessionKey{Payer: o.Payer, ID: o.Session}
}

func (w *regionWorld) state(at types.Region, s tally.SessionKey) role.OrderState {
	state, err := w.customers[at].market.OrderState(w.ctx, s)
	if err != nil {
		return role.OrderState{}
	}
	return state
}

// spent is what a region's newest header says that its customers spent.
func (w *regionWorld) spent(at types.Region) types.Credit {
	w.t.Helper()
	for _, h := range w.headers(at) {
		if h.Raw != nil && h.Status != ledger.Voided {
			decoded, err := tally.DecodeHeader(h.Raw)
			if err != nil {
				w.t.Fatal(err)
			}
			return decoded.Totals.Spent
		}
	}
	return 0
}

func (w *regionWorld) headers(at types.Region) []*ledger.Header {
	w.t.Helper()
	list, err := w.chain.Headers(w.ctx, at, 200)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *regionWorld) submit(from types.Account, msgs ...ledger.Msg) {
	w.t.Helper()
	if _, err := w.chain.Submit(w.ctx, from, msgs...); err != nil {
		w.t.Fatal(err)
	}
}

// TestRegionEngines: one customer buys from a device in each of two regions, at a gateway of each. The credits
// that it bought for one are worth nothing in the other; one region skips an epoch and the other goes on; both
// owners claim; anybody recomputes what either signed.
func TestRegionEngines(t *testing.T) {
	t.Parallel()
	w := newRegionWorld(t)
	owner, buyer := types.Account{0xa}, types.Account{0xc}

	// Credits are there in region 0 only. Ordering for all of them in both regions at once is the attack: in
	// region 1 they buy nothing.
	account, err := w.chain.Account(w.ctx, buyer)
	if err != nil || account.In(0) == 0 || account.In(1) != 0 {
		t.Fatalf("account %+v, %v", account, err)
	}
	w.until("the tallies know the customer's keys", func() bool {
		for r, door := range w.doors {
			if line, err := door.Wallet(w.ctx, w.keys[r].APIKey); err != nil || r == 0 && line.Balance() == 0 {
				return false
			}
		}
		return w.nodes[0].Status().Counted > 0 && w.nodes[1].Status().Counted > 0
	})
	var sessions [2]tally.SessionKey
	for r := range types.Region(2) {
		sessions[r] = w.order(r, 1, min(account.In(0), 7*regionPrice))
	}
	w.until("region 0 sells", func() bool { return w.state(0, sessions[0]).Amount == 7*regionPrice })
	at := w.newest(1)
	w.until("region 1 has tallies after that", func() bool { return w.newest(1) > at+1 })
	if s := w.state(1, sessions[1]); s.Amount != 0 || s.Waiting != 1 {
		t.Fatalf("an order with no credits behind it in its region: %+v", s)
	}
	if a, b := w.spent(0), w.spent(1); a != 7*regionPrice || b != 0 {
		t.Fatalf("spent %d and %d", a, b)
	}
	w.submit(buyer, ledger.Buy{Region: 1, Amount: 1_000_000_000})
	again := byte(1)
	w.until("region 1 sells for credits of its own", func() bool {
		now := w.state(1, sessions[1])
		if now.Refused == types.WrongEpoch { // on a slow machine its 24 epochs are over: the customer orders anew
			again++
			sessions[1] = w.order(1, again, 7*regionPrice)
		}
		return now.Amount == 7*regionPrice
	})

	// Region 1 skips an epoch that region 0 does not skip, and goes on afterwards from where it was. (On a slow
	// machine a region may skip one by itself, so it is not any epoch.)
	for _, v := range w.engines[1] {
		v.Rounds.Pause()
	}
	var skipped types.Epoch
	w.until("region 1 skips, and region 0 does not", func() bool {
		has := map[types.Epoch]bool{}
		for _, h := range w.headers(0) {
			has[h.Epoch] = h.Raw != nil
		}
		for _, h := range w.headers(1) {
			if h.Status == ledger.Skipped && has[h.Epoch] {
				skipped = max(skipped, h.Epoch)
			}
		}
		return skipped > w.newest(1)
	})
	for _, v := range w.engines[1] {
		v.Rounds.Resume()
	}
	w.until("both go on", func() bool { return w.newest(0) > skipped && w.newest(1) > skipped })

	// What was sold in each is paid to its owner by a proof against a header of its region.
	for r := range w.nodes {
		device := w.nodes[r].Key()
		w.until("a claim is final", func() bool {
			c, err := w.engines[r][0].Proof(w.ctx, device, false)
			return err == nil && c.Leaf.Amount > 0
		})
		c, err := w.engines[r][0].Proof(w.ctx, device, false)
		if err != nil || c.Region != types.Region(r) {
			t.Fatalf("claim %+v, %v", c, err)
		}
		w.submit(owner, ledger.Claims{Claims: []ledger.Claim{c}})
		if paid, err := w.chain.Claimed(w.ctx, device); err != nil || paid != c.Leaf.Amount {
			t.Errorf("region %d: claimed %d of %d, %v", r, paid, c.Leaf.Amount, err)
		}
	}

	// Both regions' headers are what comes out when they are computed again from what the chain says.
	for r := range types.Region(2) {
		checked := 0
		for _, h := range w.headers(r) {
			if h.Raw == nil || checked == 3 {
				continue
			}
			w.recomputed(h)
			checked++
		}
		if checked == 0 {
			t.Errorf("region %d has no header", r)
		}
	}
	if s, err := w.chain.Supply(w.ctx); err != nil || !s.Balanced || s.Spent != 14*regionPrice {
		t.Errorf("supply %+v, %v", s, err)
	}
	for _, stop := range w.stops {
		stop()
	}
}

// newest is the epoch of a region's newest header that stands.
func (w *regionWorld) newest(at types.Region) types.Epoch {
	for _, h := range w.headers(at) {
		if h.Raw != nil {
			return h.Epoch
		}
	}
	return 0
}

// recomputed computes a header again, as `cairn tally verify` does.
func (w *regionWorld) recomputed(h *ledger.Header) {
	w.t.Helper()
	b, err := w.engines[h.Region][1].Bundle(w.ctx, h.Epoch)
	if err != nil {
		w.t.Fatalf("bundle of epoch %d, region %d: %v", h.Epoch, h.Region, err)
	}
	check, err := verifier.Recompute(b, h.Hash, 1, []tally.Verifier{servicetest.Meter()}, 1)
	if err != nil || !check.Equal {
		w.t.Fatalf("epoch %d, region %d: %+v, %v", h.Epoch, h.Region, check, err)
	}
	found, err := verifier.Compare(w.ctx, w.chain, b, h.Epoch, h.Region)
	if err != nil {
		w.t.Fatal(err)
	}
	if check.Add(found); !check.Equal {
		w.t.Fatalf("epoch %d, region %d, against the chain: %s %+v", h.Epoch, h.Region, check.Why, check.Differs)
	}
}

func newRegionWorld(t *testing.T) *regionWorld {
	const chainID = "regions-1"
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("CAIRN_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	owner, buyer, meter := types.Account{0xa}, types.Account{0xc}, servicetest.Meter()
	params := meter.Spec.Defaults()
	params.Rules = (&servicetest.MeterRules{Price: regionPrice}).Encode()
	cfg := ledger.Config{Chain: chainID, Regions: 2, Genesis: time.Now(), Interval: 60 * time.Millisecond, Params: []tally.Params{params}, Econ: econ.Default(),
		Opening: 1, Balances: map[types.Account]types.Ustone{owner: 1e12, buyer: 1e12}}
	var seats []verifier.Config
	for i := range byte(2) {
		v := verifier.Config{Key: types.NewPrivateKey([32]byte{1, i}), VRF: types.NewPrivateKey([32]byte{2, i}), Account: types.Account{0xb, i}, Workers: 1}
		seats = append(seats, v)
		cfg.Verifiers = append(cfg.Verifiers, tally.Attester{Key: v.Key.Public(), VRF: v.VRF.Public(), Owner: v.Account, Power: 1000})
		cfg.Balances[v.Account] = 1e9
	}
	w := &regionWorld{t: t, ctx: ctx, chain: ledger.New(cfg)}
	doors := [2]types.PrivateKey{types.NewPrivateKey([32]byte{9, 0}), types.NewPrivateKey([32]byte{9, 1})}
	memory := bus.NewMemory(regionDoors{verifier.NewAuthorizer(w.chain), [2]types.Key{doors[0].Public(), doors[1].Public()}}, log)
	epoch, err := w.chain.Epoch(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	for r := range types.Region(2) {
		pin := bus.Pin{Chain: chainID, Region: r, Epoch: 1, Set: bus.SetOf(epoch.Verifiers)}
		for i, seat := range seats {
			seat.Dir, seat.Region, seat.Log = t.TempDir(), r, log.With("region", r, "verifier", i)
			link, err := memory.Dial(ctx, seat.Key)
			if err != nil {
				t.Fatal(err)
			}
			v, err := verifier.New(seat, w.chain, link, []tally.Verifier{meter})
			if err != nil {
				t.Fatal(err)
			}
			w.engines[r][i] = v
			w.stops = append(w.stops, engine(t, ctx, fmt.Sprint("verifier ", i), v.Run, func() { link.Close(); v.Close() }))
		}
		w.customers[r] = &meterDoor{}
		w.doors[r], err = gateway.New(gateway.Config{Dir: filepath.Join(t.TempDir(), "g"), Key: doors[r], Pin: pin, Dial: memory.Dial}, w.chain,
			[]role.Customer{w.customers[r].role()}, log.With("gateway", r))
		if err != nil {
			t.Fatal(err)
		}
		code, body := post(t, w.doors[r].Handler(), "/v1/keys", fmt.Sprintf(`{"account":%q}`, buyer))
		if code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		if w.keys[r] = parseKey(t, body); w.keys[r].Region != r {
			t.Fatalf("a key of region %d at the gateway of %d", w.keys[r].Region, r)
		}
		w.submit(buyer, ledger.GrantKey{Region: r, Key: w.keys[r].Payer, Limit: 1 << 40, Expiry: 1000, Proof: consent(t, w.keys[r])})
		home := t.TempDir()
		device, err := node.CreateKey(home)
		if err != nil {
			t.Fatal(err)
		}
		statement := evidence.Statement{Chain: chainID, Device: device.Public(), Owner: owner, Nonce: [16]byte{byte(r)},
			Categories: []types.Category{servicetest.MeterCategory}, Cell: ledgertest.Cells[r], Expiry: 100}.Sign(device)
		w.submit(owner, ledger.Register{Statement: *statement, Bond: 10 * params.Bond})
		w.nodes[r], err = node.New(node.Config{Home: home, Owner: owner, Cell: ledgertest.Cells[r], Pin: pin, Dial: memory.Dial, Resend: 100 * time.Millisecond},
			[]role.Provider{servicetest.MeterProvider{Step: 4500, Least: regionPrice - 1}.Role()}, log.With("node", r))
		if err != nil {
			t.Fatal(err)
		}
		w.stops = append(w.stops, engine(t, ctx, fmt.Sprint("node ", r), w.nodes[r].Run, nil),
			engine(t, ctx, fmt.Sprint("gateway ", r), w.doors[r].Run, func() { w.doors[r].Close() }))
	}
	w.submit(buyer, ledger.Buy{Region: 0, Amount: 1_000_000_000})
	go w.chain.Run(ctx)
	return w
}

// TestNetworkOfRegions: a whole network of two regions. All its devices are in one; what is stored there is
// paid for there, while the tallies of the other have nothing to count, and all agree about both.
func TestNetworkOfRegions(t *testing.T) {
	if !soak {
		t.Skip("TestRegionEngines shows regions in less time")
	}
	whole(t)
	home := t.TempDir()
	n, s, err := begin(t.Context(), Config{Home: home, Regions: 2, Homes: -1, BlockTime: quick, Log: logTo(home)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	if s.Claimed == 0 {
		t.Errorf("%+v", s)
	}
	for region := range types.Region(2) {
		headers, err := n.Ledger().Headers(t.Context(), region, 100)
		if err != nil {
			t.Fatal(err)
		}
		made := 0
		for _, h := range headers {
			if h.Raw == nil {
				continue
			}
			made++
			decoded, err := tally.DecodeHeader(h.Raw)
			if err != nil || decoded.Region != region || region != n.region() && decoded.Totals.Spent != 0 {
				t.Errorf("region %d: %+v, %v", region, decoded, err)
			}
		}
		if made < 3 {
			t.Errorf("region %d: %d headers of %d epochs", region, made, len(headers))
		}
	}
	if supply, err := n.Ledger().Supply(t.Context()); err != nil || !supply.Balanced {
		t.Errorf("supply %+v, %v", supply, err)
	}
}
