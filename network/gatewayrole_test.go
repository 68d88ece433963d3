package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/all/provider"
)

// TestGatewaySettings: what init writes is read back the same, and what can't work is refused with its name.
func TestGatewaySettings(t *testing.T) {
	home, role := t.TempDir(), Gateway()
	s := role.Defaults()
	s.Public, s.Ports = "gateway.example.org", map[string]uint16{"compute_link": 8421}
	s.Chain.ID, s.Hosts, s.Private = "c-1", []string{"gateway.example.org"}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if _, err := role.Init(home, s, false); err != nil {
		t.Fatal(err)
	}
	if got, err := role.Load(home); err != nil || !reflect.DeepEqual(*got, s) {
		t.Errorf("%+v, want %+v: %v", got, s, err)
	}
	for says, change := range map[string]func(*GatewaySettings){
		"bus.servers": func(s *GatewaySettings) { s.Bus.Servers = nil },
		"chain.rpc":   func(s *GatewaySettings) { s.Chain.RPC = nil },
		"listen":      func(s *GatewaySettings) { s.Listen = "8420" },
		"public":      func(s *GatewaySettings) { s.Public = "gateway.example.org:8421" },
		"tls":         func(s *GatewaySettings) { s.TLS.Certificate = "nothing.pem" },
	} {
		bad := s
		change(&bad)
		if err := role.Check(home, &bad); types.ReasonOf(err) != types.BadArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// beside is a gateway that is a process of its own, but for the process.
type beside struct {
	t    *testing.T
	home string
	stop func()
	api  string
}

// run starts it. It serves at once, whatever is away.
func (b *beside) run() {
	b.t.Helper()
	os.Remove(filepath.Join(b.home, apiFile))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	role := Gateway()
	go func() { done <- role.Start(ctx, b.home, io.Discard, nil) }()
	stopped := false
	b.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("the gateway ended: %v", err)
		}
	}
	b.t.Cleanup(b.stop)
	b.until("it serves", func() bool {
		raw, err := os.ReadFile(filepath.Join(b.home, apiFile))
		b.api = "http://" + string(raw)
		return err == nil
	})
}

func (b *beside) until(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never: %s", what)
		}
	}
}

// healthy reports whether its health says so.
func (b *beside) healthy() bool {
	r, err := process.Ask(b.t.Context(), b.home)
	return err == nil && r.Healthy && slices.ContainsFunc(r.Checks, func(c process.Check) bool { return c.Name == "gateway" })
}

// call sends a request with an API key.
func call(t *testing.T, method, url, key string, body []byte) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, raw
}

// TestSecondGateway: a gateway of its own joins by the network's manifest. Begun while chain and bus are away,
// it waits and says so; what an account stored through the first it reads through the second, also after that
// was stopped; and it is back when the network is.
func TestSecondGateway(t *testing.T) {
	whole(t)
	b := &beside{t: t, home: t.TempDir()}
	key, err := GatewayKey(b.home)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Home: t.TempDir(), Homes: -1, Gateways: []types.Key{key.Public()}}
	n, _, err := begin(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	joins, err := manifest.Load(cfg.Home)
	if err != nil {
		t.Fatal(err)
	}
	published := httptest.NewServer(http.FileServer(http.Dir(cfg.Home)))
	defer published.Close()
	role := Gateway()
	s := role.Defaults()
	s.Join(&joins.Manifest)
	s.Bus.Servers, s.Bus.Network = []string{"nats://127.0.0.1:1"}, published.URL+"/"+manifest.File // where the bus is now, only the newest manifest says
	s.Process.Listen, s.Listen, s.Private, s.Process.DiskStop = "127.0.0.1:0", "127.0.0.1:0", near, 0
	if _, err := role.Init(b.home, s, false); err != nil {
		t.Fatal(err)
	}
	b.run()
	b.until("it has all that it needs", b.healthy)

	mine, err := ReadCustomer(cfg.Home)
	if err != nil {
		t.Fatal(err)
	}
	made, err := CreateKey(t.Context(), n.Ledger(), b.api, KeyRequest{Account: mine.Account, Label: "second", Limit: 1_000_000, Epochs: 1000})
	if err != nil {
		t.Fatal(err)
	}
	first, second := n.Addresses().API+"/storage/v1/objects", b.api+"/storage/v1/objects"
	data := []byte(strings.Repeat("stored through one, read through the other. ", 1000))
	status, raw := call(t, "PUT", first+"?name=kept", mine.APIKey, data)
	var o struct{ ID string }
	if err := json.Unmarshal(raw, &o); status != http.StatusCreated || err != nil {
		t.Fatalf("%d %s", status, raw)
	}
	status, record := call(t, "GET", first+"/"+o.ID+"/recovery", mine.APIKey, nil)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, record)
	}
	if status, raw := call(t, "GET", second+"/"+o.ID, made.APIKey, nil); status != http.StatusNotFound {
		t.Errorf("before it was told: %d %s", status, raw)
	}
	if status, raw := call(t, "PUT", second+"/"+o.ID+"/recovery", made.APIKey, record); status != http.StatusOK {
		t.Fatalf("%d %s", status, raw)
	}
	read := func(what string) {
		t.Helper()
		b.until(what, func() bool { // its key counts from the next epoch on
			status, raw = call(t, "GET", second+"/"+o.ID, made.APIKey, nil)
			return status == http.StatusOK && bytes.Equal(raw, data)
		})
	}
	read("the second reads what was stored through the first")

	// Doctor looks at the home of a gateway, and of a node of the chain, beside them and where they have stopped.
	well := func(what, home string) []health.Finding {
		t.Helper()
		list, err := Doctor(home, disk.Limits{}, false, provider.Devices(), customer.Customers())
		if err != nil || health.Worst(list) != health.OK {
			t.Errorf("%s: %+v, %v", what, list, err)
		}
		return list
	}
	well("a gateway that runs", b.home)
	node := filepath.Join(cfg.Home, "chain", "0")
	well("a node that runs", node)
	if _, err := Doctor(node, disk.Limits{}, true, nil, nil); !errors.Is(err, types.HomeBusy) {
		t.Errorf("repair beside a node that runs: %v", err)
	}
	b.stop()
	well("a gateway that has stopped", b.home)
	var seen []string
	for _, f := range homeFiles(b.home, customer.Customers()) {
		path := filepath.Join(b.home, f.Path)
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			continue
		}
		seen = append(seen, f.Path)
		undo := harm(t, path, "zeros")
		list, err := Doctor(b.home, disk.Limits{}, false, provider.Devices(), customer.Customers())
		if !slices.ContainsFunc(list, func(d health.Finding) bool {
			return d.Level != health.OK && d.What == f.Path && d.Lost != "" && d.Try != ""
		}) {
			t.Errorf("%s: %+v, %v", f.Path, list, err)
		}
		if f.Remedy != health.Remake && f.Path != manifest.File {
			if err := role.Start(t.Context(), b.home, io.Discard, nil); err == nil {
				t.Errorf("it starts with a damaged %s", f.Path)
			}
		}
		undo()
	}
	for _, path := range []string{"gateway.yaml", "gateway.key", "manifest.json", "explorer.db", "data/wallets.db"} {
		if !slices.Contains(seen, path) {
			t.Errorf("doctor does not look at %s", path)
		}
	}
	b.run()
	second = b.api + "/storage/v1/objects"
	b.until("it has all that it needs again", b.healthy)
	read("it knows wallet and file after a stop")

	n.Stop()
	well("a node that has stopped", node)
	b.until("it says that the bus is away", func() bool { return !b.healthy() })
	b.stop()
	b.run() // nothing is there
	second = b.api + "/storage/v1/objects"
	if status, raw := call(t, "GET", second, made.APIKey, nil); status != http.StatusServiceUnavailable || !strings.Contains(string(raw), string(types.ChainUnavailable)) {
		t.Errorf("while it waits: %d %s", status, raw)
	}
	if n, err = Start(t.Context(), Config{Home: cfg.Home, Listen: "127.0.0.1:0", Gateways: cfg.Gateways}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	b.until("it goes on when chain and bus are back", b.healthy)
	read("as before")
}
