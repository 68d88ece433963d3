package network

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/all/customer"
)

// TestAddresses: what categories listen on stands beside the other addresses, and is read back.
func TestAddresses(t *testing.T) {
	for _, want := range []Addresses{
		{ChainID: "c", API: "http://127.0.0.1:1", PID: 7},
		{ChainID: "c", PID: 7, Listeners: map[string]string{"modbus": "127.0.0.1:2", "modbus_tls": "127.0.0.1:3"}},
	} {
		raw, err := json.MarshalIndent(&want, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var got Addresses
		if err := json.Unmarshal(raw, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read as %+v: %v", raw, got, err)
		}
		var flat map[string]any
		if err := json.Unmarshal(raw, &flat); err != nil || flat["chain_id"] != "c" || flat["Listeners"] != nil {
			t.Errorf("%v: %v", flat, err)
		}
		for name, address := range want.Listeners {
			if flat[name] != address {
				t.Errorf("%s is %v in the file, want %s", name, flat[name], address)
			}
		}
	}
	var bad Addresses
	if json.Unmarshal([]byte(`{"pid":"x"}`), &bad) == nil {
		t.Error("a process that is no number is taken")
	}
}

// TestOldHome: a home that another version began is not touched, and it says what to do.
func TestOldHome(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, layoutFile)
	old := []byte(`{"chain_id":"cairn-local-1","validators":1,"nodes":8,"homes":8}`)
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Home: home, Listen: "127.0.0.1:0"})
	if types.ReasonOf(err) != types.HomeFormat {
		t.Errorf("%v", err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, old) {
		t.Errorf("the layout is now %s: %v", now, err)
	}
}

// Beside what listens by itself, network.json names where clients of protocols over HTTP begin.
func TestListeners(t *testing.T) {
	got := listeners("http://127.0.0.1:8420", map[string]string{"modbus": "127.0.0.1:2"}, customer.Customers())
	for name, want := range map[string]string{
		"modbus": "127.0.0.1:2", "compute": "http://127.0.0.1:8420/compute/v1", "openai": "http://127.0.0.1:8420/compute/v1",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}
