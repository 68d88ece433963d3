package network

import (
	"encoding/json"
	"reflect"
	"testing"
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
