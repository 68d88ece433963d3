package provider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// TestEgressSold: what a device lets containers reach is in the market and in quotes; a job that has to reach something
// goes only where it may, and reaches it.
func TestEgressSold(t *testing.T) {
	out := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "outside") }))
	defer out.Close()
	at := strings.TrimPrefix(out.URL, "http://")
	rules, err := compute.ParseEgress([]string{"*.example.org:443", at})
	if err != nil {
		t.Fatal(err)
	}
	s := newShop(t, rules...)
	list := compute.Egress(rules)
	id := s.submitWith(map[string]any{"egress": []string{at}}, 20_000, "wget", "-q", "-O", "-", out.URL)
	if e := s.result(id); e.Exit == nil || *e.Exit != 0 || s.logs(id) != "outside\n" {
		t.Errorf("%+v %q", e, s.logs(id))
	}
	var market []struct{ Egress []string }
	if s.do("GET", "/market?class=oci", nil, http.StatusOK, &market); len(market) != 1 || !slices.Equal(market[0].Egress, list) {
		t.Errorf("market: %+v", market)
	}
	ask := func(egress ...string) []byte {
		raw, err := json.Marshal(map[string]any{"profile": compute.OCIProfile, "price": 2 * containerPrice, "egress": egress})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	var quote struct{ Egress []string }
	if s.do("POST", "/quotes", ask("API.example.org:443", at), http.StatusOK, &quote); !slices.Equal(quote.Egress, list) {
		t.Errorf("quote: %+v", quote)
	}
	var refusal struct {
		Reason types.Reason
		Passed map[string]int `json:"passed_over"`
	}
	s.do("POST", "/quotes", ask("pypi.org:443"), http.StatusServiceUnavailable, &refusal)
	if refusal.Reason != compute.NoMatch || refusal.Passed["egress"] != 1 {
		t.Errorf("%+v", refusal)
	}
	s.do("POST", "/quotes", ask("nonsense"), http.StatusBadRequest, nil)
}
