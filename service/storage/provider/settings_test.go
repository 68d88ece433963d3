package provider

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestMaker(t *testing.T) {
	offer, line, err := Device().Find(t.Context(), filepath.Join(t.TempDir(), "not", "there", "yet"))
	if err != nil || !strings.Contains(line, "GiB free") {
		t.Fatalf("%q: %v", line, err)
	}
	if offer == nil {
		t.Skip("this disk is too full to offer anything")
	}
	var o Settings
	if err := json.Unmarshal(offer, &o); err != nil || o.Capacity == 0 || o.Price == 0 || o.Egress == 0 {
		t.Fatalf("%s: %v", offer, err)
	}
	if own := ownAddress(); own != "" { // it is this machine's: a listener takes it
		l, err := net.Listen("tcp", net.JoinHostPort(own, "0"))
		if err != nil || o.Address != net.JoinHostPort(own, "7440") || !strings.Contains(line, o.Address) {
			t.Errorf("proposed %q in %q: %v", o.Address, line, err)
		} else {
			l.Close()
		}
		if _, err := provide(offer); err != nil {
			t.Errorf("what is proposed cannot be run: %v", err)
		}
	}
	o.Address = ""
	offer, _ = json.Marshal(&o)
	if _, err := provide(offer); err == nil || !strings.Contains(err.Error(), "address") {
		t.Errorf("an offer that tells customers no address: %v", err)
	}
	o.Address = "example.org:7440"
	full, _ := json.Marshal(&o)
	if p, err := provide(full); err != nil || p.Category != Device().Category {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{`{"listen":":1","address":"x:1","speed":9}`, `{"listen":"nonsense"}`, `[]`, `{"listen":"h:1","price":1099511627776}`} {
		if _, err := provide(json.RawMessage(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
