package network

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/settings"
	"github.com/cairn-network/cairn/process"
)

// TestRoleSettings: the settings of each role are documented, are read back as they were written, and what
// can't work is refused with its name.
func TestRoleSettings(t *testing.T) {
	for _, s := range []any{BusSettings{}, VerifierSettings{}, GatewaySettings{}} {
		if list := settings.Undocumented(reflect.TypeOf(s)); len(list) > 0 {
			t.Errorf("%T: not documented: %v", s, list)
		}
	}
	home, role := t.TempDir(), Bus()
	s := role.Defaults()
	s.Chain.ID, s.Cluster.Listen = "c-1", "127.0.0.1:6222"
	s.Cluster.Servers = []BusServer{{Key: bustest.Key(1).Public(), Address: "10.0.0.1:6222"}, {Key: bustest.Key(2).Public()}}
	s.Gateways = []types.Key{bustest.Key(3).Public()}
	if _, err := role.Init(home, s, false); err != nil {
		t.Fatal(err)
	}
	if got, err := role.Load(home); err != nil || !reflect.DeepEqual(*got, s) {
		t.Errorf("%+v, want %+v: %v", got, s, err)
	}
	for says, change := range map[string]func(*BusSettings){
		"cluster.servers[1].key": func(s *BusSettings) { s.Cluster.Servers[1].Key = s.Cluster.Servers[0].Key },
		"cluster.listen":         func(s *BusSettings) { s.Cluster.Listen = "" },
		"chain.id":               func(s *BusSettings) { s.Chain.ID = "" },
		"chain.rpc":              func(s *BusSettings) { s.Chain.RPC = nil },
		"tls":                    func(s *BusSettings) { s.TLS.Certificate = "x.pem" },
		"recheck":                func(s *BusSettings) { s.Recheck = 0 },
		"listen":                 func(s *BusSettings) { s.Listen = "4222" },
	} {
		bad := s
		bad.Cluster.Servers = append([]BusServer(nil), s.Cluster.Servers...)
		change(&bad)
		if err := role.Check(home, &bad); types.ReasonOf(err) != types.BadArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	v := Verifier()
	for what, places := range map[string]BusPlaces{"no bus": {}, "no certificates": {Servers: []string{"tls://b:4222"}, CA: "none"}} {
		bad := v.Defaults()
		bad.Bus = places
		if err := v.Check(home, &bad); types.ReasonOf(err) != types.BadArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestBusKey: a server keeps its key, and does not start with one that is damaged.
func TestBusKey(t *testing.T) {
	home := t.TempDir()
	key, err := BusKey(home)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := BusKey(home); err != nil || again.Public() != key.Public() {
		t.Errorf("another key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(home, busKeyFile), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := BusKey(home); err == nil {
		t.Error("a damaged key is made anew: the other servers would not know it")
	}
}

// TestVerifierNeedsKeys: without keys a verifier says how to make them, instead of waiting for anything.
func TestVerifierNeedsKeys(t *testing.T) {
	home, role := t.TempDir(), Verifier()
	s := role.Defaults()
	s.Process = process.Default("")
	s.Process.DiskWarn, s.Process.DiskStop = 0, 0
	if _, err := role.Init(home, s, false); err != nil {
		t.Fatal(err)
	}
	err := role.Start(t.Context(), home, os.Stderr, nil)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "cairn verifier keys") {
		t.Errorf("%v", err)
	}
}
