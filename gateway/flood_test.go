package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// count returns how many keys are pending and how many are kept, counted one by one, and holds the counters
// against that.
func (f *fixture) count(t *testing.T) (pending, kept int) {
	t.Helper()
	err := f.market.store.db.View(func(tx *bbolt.Tx) error {
		n := map[string]int{}
		for _, b := range [][]byte{pendingBucket, orderBucket, walletBucket, apiBucket} {
			n[string(b)] = tx.Bucket(b).Stats().KeyN
		}
		pending, kept = n[string(pendingBucket)], n[string(walletBucket)]
		if n[string(orderBucket)] != pending || n[string(apiBucket)] != pending+kept ||
			tx.Bucket(pendingBucket).Sequence() != uint64(pending) || tx.Bucket(walletBucket).Sequence() != uint64(kept) {
			t.Errorf("the buckets do not agree: %v, counters %d and %d", n, tx.Bucket(pendingBucket).Sequence(), tx.Bucket(walletBucket).Sequence())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pending, kept
}

// ask asks for a key as somebody at an address would, through a proxy on this machine.
func (f *fixture) ask(from string, account types.Account) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "http://localhost/v1/keys", strings.NewReader(`{"account":"`+account.String()+`"}`))
	r.RemoteAddr = "127.0.0.1:9"
	r.Header.Set("X-Forwarded-For", "203.0.113.1, "+from)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	return w
}

// TestFlood: a hundred thousand requests for keys, from one address and from thousands, keep nobody out, and
// leave nothing behind.
func TestFlood(t *testing.T) {
	f := newFixture(t)
	f.proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	s := f.market.store
	now := time.Now()
	s.now = func() time.Time { now = now.Add(time.Nanosecond); return now }
	f.limit.now = func() time.Time { return now }
	s.room, s.db.NoSync, s.db.MaxBatchDelay = 500, true, 0

	honest := func(from string) {
		t.Helper()
		w := f.ask(from, alice)
		var k Key
		if err := json.Unmarshal(w.Body.Bytes(), &k); w.Code != 200 || err != nil {
			t.Fatalf("an honest user: %d %s", w.Code, w.Body)
		}
		f.flood(t, 100, "10.1.%d.%d") // while it grants
		f.grant(t, alice, k)
		if code, body := f.do(t, "GET", "/iot/v1/secret", k.APIKey, ""); code != 200 {
			t.Fatalf("an honest user, after its grant: %d %s", code, body)
		}
	}
	refused := 0
	for range 97_000 {
		if w := f.ask("198.51.100.7", mallory); w.Code == http.StatusTooManyRequests {
			refused++
			if after, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || after < 1 || after > int(keyEvery/time.Second) {
				t.Fatalf("Retry-After: %q", w.Header().Get("Retry-After"))
			}
		}
	}
	if pending, _ := f.count(t); refused != 97_000-keyBurst || pending != keyBurst {
		t.Errorf("one address was refused %d times and has %d keys", refused, pending)
	}
	f.flood(t, 3000, "10.0.%d.%d")
	if pending, _ := f.count(t); pending <= int(s.room)-64 || pending > int(s.room) {
		t.Errorf("%d keys are pending, of %d places", pending, s.room)
	}
	honest("192.0.2.1") // when all places are taken
	late := f.ask("192.0.2.2", alice)
	var unused Key
	if err := json.Unmarshal(late.Body.Bytes(), &unused); err != nil {
		t.Fatal(err)
	}
	f.grant(t, alice, unused) // and does not come for a while

	now = now.Add(keepPending + 2*time.Second)
	for pending, before := 1, 0; pending != before; {
		before = pending
		if err := f.market.release(t.Context(), s.now().Add(-keepPending), 256); err != nil {
			t.Fatal(err)
		}
		pending, _ = f.count(t)
	}
	if pending, kept := f.count(t); pending != 0 || kept != 2 {
		t.Errorf("after the flood %d keys are pending and %d kept", pending, kept)
	}
	if code, body := f.do(t, "GET", "/iot/v1/secret", unused.APIKey, ""); code != 200 {
		t.Errorf("who granted a key and came late: %d %s", code, body)
	}
	honest("198.51.100.7") // even from the address that flooded
}

// flood asks for n keys, each from an address of its own.
func (f *fixture) flood(t *testing.T, n int, format string) {
	t.Helper()
	for i := range n {
		if w := f.ask(fmt.Sprintf(format, i/250, i%250), mallory); w.Code != 200 {
			t.Fatalf("address %d: %d %s", i, w.Code, w.Body)
		}
	}
}

// TestExpiryWithChain: what follows each notice is what frees places.
func TestExpiryWithChain(t *testing.T) {
	f := newFixture(t)
	f.create(t, alice)
	ahead := time.Now().Add(keepPending + 2*time.Second)
	f.market.store.now = func() time.Time { return ahead }
	if err := f.market.upkeep(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if pending, kept := f.count(t); pending != 0 || kept != 0 {
		t.Errorf("%d pending, %d kept", pending, kept)
	}
}

// TestLimiterIsBounded: more addresses than are remembered leave those who wait longest remembered.
func TestLimiterIsBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newLimiter(func() time.Time { return now })
	busy := netip.MustParsePrefix("198.51.100.7/32")
	for l.allow(busy) == 0 {
	}
	for i := range maxAddresses + 1000 {
		l.allow(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
	}
	if len(l.due) > maxAddresses || l.allow(busy) == 0 {
		t.Errorf("%d addresses are remembered; the busy one is forgotten: %v", len(l.due), l.due[busy])
	}
	now = now.Add(keyEvery)
	if l.allow(busy) != 0 || l.allow(busy) == 0 {
		t.Error("one more try comes with time, and only one")
	}
}

func TestAddressOf(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"198.51.100.7:1", "", "198.51.100.7/32"},
		{"198.51.100.7:1", "203.0.113.9", "198.51.100.7/32"}, // not a proxy of ours: whatever it says
		{"192.0.2.1:1", "1.2.3.4, 203.0.113.9", "203.0.113.9/32"},
		{"192.0.2.1:1", "nonsense", "192.0.2.1/32"},
		{"[::ffff:198.51.100.7]:1", "", "198.51.100.7/32"},
		{"[2001:db8:1:2ff:3::4]:1", "", "2001:db8:1:200::/56"},
		{"[fe80::1%eth0]:1", "", "fe80::/56"},
		{"@", "", "invalid Prefix"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		r.Header.Set("X-Forwarded-For", c.forwarded)
		if got := addressOf(r, proxies).String(); got != c.want {
			t.Errorf("%s for %q: %s, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
}

// TestEveryRefusalIsAProblem: also for paths and methods that there are none of, and with what to do.
func TestEveryRefusalIsAProblem(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		method, path string
		code         int
		reason       types.Reason
	}{
		{"GET", "/v1/nothing", 404, role.NotFound},
		{"DELETE", "/v1/status", 405, role.BadMethod},
		{"GET", "/v1/keys", 405, role.BadMethod},
		{"GET", "/v1/credit", 401, NoKey},
	} {
		code, body := f.do(t, c.method, c.path, "", "")
		var p role.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || code != c.code || p.Reason != c.reason || p.Message == "" || p.Try == "" {
			t.Errorf("%s %s: %d %s", c.method, c.path, code, body)
		}
	}
}
