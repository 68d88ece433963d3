package gateway

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

const chain = "cairn-test-1"

func key(n byte) types.PrivateKey { return types.NewPrivateKey([32]byte{n}) }

var (
	alice   = types.Account{1}
	mallory = types.Account{2}
)

type anybody struct{}

func (anybody) Authorize(_ context.Context, k types.Key) (bus.Pass, error) {
	switch k {
	case key(9).Public():
		return bus.Full(bus.RoleGateway), nil
	case key(8).Public():
		return bus.Full(bus.RoleVerifier), nil
	}
	return bus.Full(bus.RoleDevice), nil
}

// fixture is a gateway between twins.
type fixture struct {
	*Gateway
	ledger *ledger.Memory
	bus    *bus.Memory
	server *httptest.Server
	dir    string
}

// secretive is a category that tells each account its secret: what must not leak.
type secretive struct{ market role.Market }

func (s *secretive) role() role.Customer {
	return role.Customer{Category: types.IoT, Mount: s.mount, Run: func(ctx context.Context) error { <-ctx.Done(); return nil }}
}

func (s *secretive) mount(m role.Market) (http.Handler, error) {
	s.market = m
	mux := http.NewServeMux()
	mux.HandleFunc("GET /secret", func(w http.ResponseWriter, r *http.Request) {
		wallet, err := m.Wallet(r)
		if err != nil {
			role.Fail(w, err)
			return
		}
		secret := wallet.Secret("test")
		w.Write([]byte(hex.EncodeToString(secret[:])))
	})
	return mux, nil
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), bus: bus.NewMemory(anybody{}, slog.New(slog.DiscardHandler))}
	f.ledger = ledger.New(ledger.Config{
		Chain: chain, Regions: 2, Balances: map[types.Account]types.Ustone{alice: 1e12, mallory: 1e12},
		Verifiers: []tally.Attester{{Key: key(8).Public(), VRF: key(7).Public(), Power: 100}},
	})
	f.ledger.Advance(1)
	f.open(t)
	return f
}

func (f *fixture) open(t *testing.T) {
	t.Helper()
	var err error
	f.Gateway, err = New(f.config(t), f.ledger, []role.Customer{new(secretive).role()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f.server = httptest.NewServer(f.Handler())
	t.Cleanup(func() { f.server.Close(); f.Close() })
}

// config is that of a gateway that believes the chain's verifiers.
func (f *fixture) config(t *testing.T) Config {
	t.Helper()
	return Config{Dir: f.dir, Key: key(9), Pin: bus.Pin{Chain: chain, Set: f.notice(t).Set}, Dial: f.bus.Dial}
}

// notice is what verifiers say of the chain as it is.
func (f *fixture) notice(t *testing.T) *bus.Notice {
	t.Helper()
	head, err := f.ledger.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ep, err := f.ledger.Epoch(t.Context(), head.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	n := &bus.Notice{Chain: chain, Epoch: ep.Epoch, Height: head.Height, Hash: head.Hash, Time: uint64(head.Time.Unix()), First: ep.First, Cut: ep.Cut,
		EpochTime: uint64(ep.Time.Unix()), Seed: ep.Seed, Challenged: ep.Challenged, MinOpening: ep.MinOpening, Set: bus.SetOf(ep.Verifiers)}
	n.Params, n.Rules = bus.RulesOf(ep.Params)
	return n
}

// logOn has the gateway on the bus.
func (f *fixture) logOn(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.market.agent.Run(ctx, f.market.begin)
	}()
	t.Cleanup(func() { cancel(); <-done })
	for end := time.Now().Add(10 * time.Second); f.market.agent.Bus() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(f.market.agent.Problem())
		}
	}
}

func (f *fixture) do(t *testing.T, method, path, api, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if api != "" {
		req.Header.Set("Authorization", "Bearer "+api)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out bytes.Buffer
	out.ReadFrom(res.Body)
	return res.StatusCode, out.String()
}

func (f *fixture) create(t *testing.T, account types.Account) Key {
	t.Helper()
	code, body := f.do(t, "POST", "/v1/keys", "", `{"account":"`+account.String()+`"}`)
	var k Key
	if err := json.Unmarshal([]byte(body), &k); code != 200 || err != nil {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	return k
}

// grant has the account grant a key on chain, as its wallet would.
func (f *fixture) grant(t *testing.T, from types.Account, k Key) {
	t.Helper()
	consent, err := hex.DecodeString(k.Consent)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := f.ledger.Submit(t.Context(), from, ledger.GrantKey{Region: k.Region, Key: k.Payer, Limit: 1000, Expiry: 100, Proof: types.Signature(consent)})
		done <- err
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		case <-time.After(time.Millisecond):
			f.ledger.Advance(1)
		}
	}
}

// TestKeyOfRegion: a key that its account granted in another region is told apart, and nothing is signed with it.
func TestKeyOfRegion(t *testing.T) {
	f := newFixture(t)
	k := f.create(t, alice)
	if k.Region != 0 {
		t.Fatalf("key %+v", k)
	}
	k.Region = 1
	f.grant(t, alice, k)
	if code, body := f.do(t, "GET", "/iot/v1/secret", k.APIKey, ""); code != 409 || !strings.Contains(body, string(types.WrongRegion)) {
		t.Fatalf("%d %s", code, body)
	}
}

// TestNamingAnAccountGivesNothing: a key of somebody else's account opens nothing until that account grants it.
func TestNamingAnAccountGivesNothing(t *testing.T) {
	f := newFixture(t)
	mine := f.create(t, alice)
	if code, body := f.do(t, "GET", "/iot/v1/secret", mine.APIKey, ""); code != 402 || !strings.Contains(body, string(types.UnknownKey)) {
		t.Fatalf("before the grant: %d %s", code, body)
	}
	f.grant(t, alice, mine)
	code, secret := f.do(t, "GET", "/iot/v1/secret", mine.APIKey, "")
	if code != 200 || len(secret) != 64 {
		t.Fatalf("after the grant: %d %s", code, secret)
	}
	theirs := f.create(t, alice) // mallory names alice's account
	if code, body := f.do(t, "GET", "/iot/v1/secret", theirs.APIKey, ""); code != 402 {
		t.Fatalf("another's key reads the account's secret: %d %s", code, body)
	}
	// Mallory grants it for an account of its own: the key's consent is for alice's, so the chain refuses; and
	// if it were granted, the gateway would see another account.
	consent, _ := hex.DecodeString(theirs.Consent)
	if types.Key(theirs.Payer).Verify("grant", chain, evidence.GrantBytes(mallory), types.Signature(consent)) {
		t.Fatal("the consent serves any account")
	}
}

// TestEndedGrant: a key whose grant the account ended reads nothing any more, however often it was used before.
func TestEndedGrant(t *testing.T) {
	f := newFixture(t)
	lost := f.create(t, alice)
	f.grant(t, alice, lost)
	read := func(now types.Epoch) (int, string) {
		f.market.mu.Lock()
		f.market.notice.Epoch = now
		f.market.mu.Unlock()
		return f.do(t, "GET", "/iot/v1/secret", lost.APIKey, "")
	}
	for _, now := range []types.Epoch{1, 100} { // the last is still the grant's
		if code, body := read(now); code != 200 {
			t.Fatalf("in epoch %d: %d %s", now, code, body)
		}
	}
	if code, body := read(101); code != 402 || !strings.Contains(body, string(types.KeyExpired)) {
		t.Fatalf("after the grant: %d %s", code, body)
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	for name, c := range map[string]struct {
		method, path, api, body string
		code                    int
		reason                  types.Reason
	}{
		"no key":          {"GET", "/v1/credit", "", "", 401, NoKey},
		"unknown key":     {"GET", "/v1/credit", "cairn_nonsense", "", 401, NoKey},
		"no account":      {"POST", "/v1/keys", "", `{}`, 400, BadRequest},
		"bad account":     {"POST", "/v1/keys", "", `{"account":"cosmos1xyz"}`, 400, BadRequest},
		"unknown field":   {"POST", "/v1/keys", "", `{"account":"` + alice.String() + `","admin":true}`, 400, BadRequest},
		"not JSON":        {"POST", "/v1/keys", "", `account`, 400, BadRequest},
		"oversize":        {"POST", "/v1/keys", "", `{"label":"` + strings.Repeat("x", maxBody) + `"}`, 413, types.Oversize},
		"too long a name": {"POST", "/v1/keys", "", `{"account":"` + alice.String() + `","label":"` + strings.Repeat("x", 65) + `"}`, 400, BadText},
		"a name unseen":   {"POST", "/v1/keys", "", `{"account":"` + alice.String() + `","label":"a\u001b[2J"}`, 400, BadText},
	} {
		code, body := f.do(t, c.method, c.path, c.api, c.body)
		var p role.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || code != c.code || p.Reason != c.reason {
			t.Errorf("%s: %d %s, want %d %s", name, code, body, c.code, c.reason)
		}
	}
}

// TestKeysSurviveARestart: an API key is known after the gateway was killed, and its secret is the same.
func TestKeysSurviveARestart(t *testing.T) {
	f := newFixture(t)
	k := f.create(t, alice)
	f.grant(t, alice, k)
	_, before := f.do(t, "GET", "/iot/v1/secret", k.APIKey, "")
	f.server.Close()
	f.Close()
	f.open(t)
	if code, after := f.do(t, "GET", "/iot/v1/secret", k.APIKey, ""); code != 200 || after != before {
		t.Errorf("%d %s, was %s", code, after, before)
	}
}

// TestOpenAPI holds the description against the routes: everything that is served is described.
func TestOpenAPI(t *testing.T) {
	f := newFixture(t)
	_, body := f.do(t, "GET", "/openapi.json", "", "")
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Summary   string
			Responses map[string]any
		}
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%v\n%s", err, body)
	}
	n := 0
	for path, ops := range doc.Paths {
		for method, op := range ops {
			n++
			if op.Summary == "" || op.Responses["200"] == nil {
				t.Errorf("%s %s: %+v", method, path, op)
			}
			if code, _ := f.do(t, strings.ToUpper(method), path, "", "{}"); code == 404 || code == 405 {
				t.Errorf("%s %s is described and not served: %d", method, path, code)
			}
		}
	}
	if n != len(f.routes()) {
		t.Errorf("%d described, %d served", n, len(f.routes()))
	}
}

// TestPromises: what a wallet signed counts against what it may spend until a tally has counted it, and never twice.
func TestPromises(t *testing.T) {
	f := newFixture(t)
	k := f.create(t, alice)
	f.grant(t, alice, k)
	w, err := f.Wallet(t.Context(), k.APIKey)
	if err != nil {
		t.Fatal(err)
	}
	f.logOn(t)
	m := f.market
	m.mu.Lock()
	// Of the 130 that were spent, an order bought 30: those cover no promise.
	m.payers[w.Payer()] = bus.PayerLine{Key: w.Payer(), Account: alice, Limit: 1000, Expiry: 50, Spent: 130, Ordered: 30, Balance: 700}
	m.notice.Epoch = 3
	m.mu.Unlock()
	sign := func(session byte, amount types.Credit) error {
		r := receipt.Receipt{Chain: chain, Session: types.NewSessionID(40, [12]byte{session}), Payer: w.Payer(), Device: key(3).Public(), Amount: amount}
		return m.Publish(t.Context(), &receipt.Signed{Receipt: r})
	}
	for _, step := range []struct {
		session byte
		amount  types.Credit
		want    types.Credit
	}{
		{1, 60, 700},  // all of it counted already: 100 were spent
		{1, 150, 650}, // 50 beyond
		{2, 30, 620},
		{2, 30, 620}, // the same again
	} {
		if err := sign(step.session, step.amount); err != nil {
			t.Fatal(err)
		}
		if got := w.Balance(); got != step.want {
			t.Errorf("after %+v: %d", step, got)
		}
	}
	if err := sign(1, 149); types.ReasonOf(err) != types.FallingTotals {
		t.Errorf("falling totals: %v", err)
	}
	if before := m.store.promised(w.Payer()); before != 180 {
		t.Errorf("%d are promised, want 180", before)
	}
	clear(m.store.sums) // as after a restart
	if err := m.store.addUp(); err != nil || m.store.promised(w.Payer()) != 180 {
		t.Errorf("%d are promised after a restart: %v", m.store.promised(w.Payer()), err)
	}
	m.mu.Lock()
	m.notice.Epoch = 51
	m.mu.Unlock()
	if got := w.Balance(); got != 0 {
		t.Errorf("an expired key can spend %d", got)
	}
}

// TestForgotten: a session is forgotten some time after its end, and what it promised stays counted, across a
// restart too. What nobody claimed can be spent again once the payer has no session left, and not before
// verifiers have said what was claimed.
func TestForgotten(t *testing.T) {
	f := newFixture(t)
	k := f.create(t, alice)
	f.grant(t, alice, k)
	w, err := f.Wallet(t.Context(), k.APIKey)
	if err != nil {
		t.Fatal(err)
	}
	f.logOn(t)
	m := f.market
	at := func(now, asked types.Epoch, spent types.Credit) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.payers[w.Payer()] = bus.PayerLine{Key: w.Payer(), Account: alice, Limit: 1000, Expiry: 500, Spent: spent, Balance: 1000 - spent}
		m.notice.Epoch, m.notice.Tallied, m.asked = now, now-1, asked
	}
	sign := func(session byte, expiry types.Epoch, amount types.Credit) {
		t.Helper()
		r := receipt.Receipt{Chain: chain, Category: types.IoT, Session: types.NewSessionID(expiry, [12]byte{session}), Payer: w.Payer(), Device: key(session).Public(), Amount: amount}
		if err := m.Publish(t.Context(), &receipt.Signed{Receipt: r}); err != nil {
			t.Fatal(err)
		}
	}
	live := func() (n int) {
		t.Helper()
		if err := m.store.forget(m.Notice().Epoch, m.paid); err != nil {
			t.Fatal(err)
		}
		if err := m.store.promises(w.Payer(), func(p Promise) {
			if !p.Device.IsZero() {
				n++
			}
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	spendable := func(want types.Credit) {
		t.Helper()
		for range 2 {
			if got := w.Balance(); got != want {
				t.Errorf("%d can be spent, want %d", got, want)
			}
			clear(m.store.sums) // as after a restart
			if err := m.store.addUp(); err != nil {
				t.Fatal(err)
			}
		}
	}
	at(3, 3, 0)
	sign(1, 10, 100)
	sign(2, 20, 200)
	at(10+keepEnded, 10+keepEnded, 90) // the first device claims 90 of 100
	if n := live(); n != 2 {
		t.Errorf("%d sessions, and the first ended %d epochs ago", n, keepEnded)
	}
	at(11+keepEnded, 11+keepEnded, 90)
	if n := live(); n != 1 {
		t.Errorf("%d sessions are left", n)
	}
	spendable(1000 - 300)
	at(21+keepEnded, 20+keepEnded, 90) // what verifiers said is of the epoch before
	if n := live(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	spendable(1000 - 300)
	at(22+keepEnded, 22+keepEnded, 90) // the second claims nothing
	sign(3, 30, 50)
	at(31+keepEnded, 31+keepEnded, 140)
	if n := live(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	spendable(1000 - 140)
	code, body := f.do(t, "GET", "/v1/credit", k.APIKey, "")
	var c Credit
	if err := json.Unmarshal([]byte(body), &c); err != nil || code != 200 || len(c.Spending) != 1 || c.Spending[0].Amount != 350 || !c.Spending[0].Device.IsZero() {
		t.Errorf("%d %s: %v", code, body, err)
	}
}

// TestOffers: an offer of a device that the chain does not know, that is suspended, or that has lapsed is
// passed over with a reason; a forged one is not even heard.
func TestOffers(t *testing.T) {
	f := newFixture(t)
	m := f.market
	v, reg := counter(f)
	ask := func(k types.PrivateKey, until types.Epoch, price uint64) receipt.Ask {
		return receipt.Ask{Chain: chain, Device: k.Public(), Category: types.IoT, Class: 1, Price: price, Until: until}
	}
	for i := byte(10); i < 15; i++ {
		d := tally.Device{Key: key(i).Public(), Owner: types.Account{i}, Categories: []types.Category{types.IoT}}
		switch i {
		case 12:
			d.Suspended = 5
		case 14:
			d.Categories[0] = types.Storage
		}
		reg.devices[d.Key] = ledger.Device{Device: d}
	}
	m.quality[serving{key(13).Public(), types.IoT}] = 9000
	for i, a := range map[byte]receipt.Ask{
		10: ask(key(10), 9, 1), 11: ask(key(11), 4, 1), 12: ask(key(12), 9, 1), 13: ask(key(13), 9, 5), 14: ask(key(14), 9, 1), 20: ask(key(20), 9, 1),
	} {
		hears(m, a.Device, a, key(i))
	}
	hears(m, key(13).Public(), ask(key(13), 9, 0), key(20)) // forged
	offers, passed, err := v.Offers(t.Context(), role.Want{Class: 1})
	if err != nil || len(offers) != 2 || offers[0].Ask.Ask.Device != key(13).Public() || offers[0].Ask.Ask.Price != 5 || offers[1].Ask.Ask.Device != key(10).Public() {
		t.Errorf("%+v: %v", offers, err)
	}
	why := map[types.Key]types.Reason{}
	for _, p := range passed {
		why[p.Device] = p.Reason
	}
	if why[key(11).Public()] != AskLapsed || why[key(12).Public()] != types.Suspended || why[key(20).Public()] != types.UnknownAuthor ||
		why[key(14).Public()] != role.NotInService || len(passed) != 4 {
		t.Errorf("%v", why)
	}
}

// TestAwaited: credits that were bought a moment ago are shown as such, until a tally shows them or has had the
// time to.
func TestAwaited(t *testing.T) {
	f := newFixture(t)
	k := f.create(t, alice)
	f.grant(t, alice, k)
	done := make(chan error, 1)
	go func() {
		_, err := f.ledger.Submit(t.Context(), alice, ledger.Buy{Amount: 1000})
		done <- err
	}()
	for open := true; open; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			open = false
		case <-time.After(time.Millisecond):
			f.ledger.Advance(1)
		}
	}
	if code, body := f.do(t, "GET", "/iot/v1/secret", k.APIKey, ""); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	awaited := func() (c Credit) {
		t.Helper()
		code, body := f.do(t, "GET", "/v1/credit", k.APIKey, "")
		if err := json.Unmarshal([]byte(body), &c); code != 200 || err != nil {
			t.Fatalf("%d %s: %v", code, body, err)
		}
		return c
	}
	set := func(now types.Epoch, line bus.PayerLine) {
		f.market.mu.Lock()
		defer f.market.mu.Unlock()
		f.market.notice.Epoch = now
		f.market.payers[k.Payer] = line
	}
	if c := awaited(); c.Awaited == 0 || c.Seconds == 0 {
		t.Errorf("before a tally: %+v", c)
	}
	set(1, bus.PayerLine{Limit: 1000, Expiry: 100})
	if c := awaited(); c.Awaited == 0 {
		t.Errorf("the key is known, the credits not yet: %+v", c)
	}
	set(1, bus.PayerLine{Limit: 1000, Expiry: 100, Balance: 5})
	if c := awaited(); c.Awaited != 0 || c.Spendable != 5 {
		t.Errorf("they count: %+v", c)
	}
	set(50, bus.PayerLine{Limit: 1000, Expiry: 100})
	if c := awaited(); c.Awaited != 0 || c.Seconds != 0 {
		t.Errorf("an account that has spent them: %+v", c)
	}
}
