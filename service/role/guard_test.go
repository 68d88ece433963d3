package role

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// What browsers send when a page of another site uses somebody's browser against this server, and what programs
// and the server's own page send.
func TestGuard(t *testing.T) {
	done := 0
	count := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { done++ })
	h := Guard(count, []string{"Cairn.example", "other.example."})
	for _, c := range []struct {
		what, method, host string
		header             []string // names and values in turn
		want               types.Reason
	}{
		{"curl", "POST", "127.0.0.1:8420", nil, ""},
		{"curl by IPv6", "POST", "[::1]:8420", nil, ""},
		{"localhost", "GET", "localhost:8420", nil, ""},
		{"localhost in capitals", "GET", "LocalHost:8420", nil, ""},
		{"IPv6 without a port", "GET", "[::1]", nil, ""},
		{"a name below localhost", "GET", "home.localhost", nil, ""},
		{"a name that the operator gave", "PUT", "Cairn.Example:443", nil, ""},
		{"the same, written out", "PUT", "cairn.example.", nil, ""},
		{"one that the operator wrote out", "PUT", "other.example", nil, ""},
		{"HTTP/1.0 without a host", "GET", "", nil, ""},
		{"the page itself", "POST", "127.0.0.1:8420", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://127.0.0.1:8420"}, ""},
		{"typed by hand", "GET", "127.0.0.1:8420", []string{"Sec-Fetch-Site", "none"}, ""},
		{"another site's picture", "GET", "127.0.0.1:8420", []string{"Sec-Fetch-Site", "cross-site"}, ""}, // it cannot read the answer

		{"a rebound name", "GET", "evil.example:8420", nil, BadHost},
		{"a rebound name that looks like an address", "GET", "127.0.0.1.evil.example", nil, BadHost},
		{"a rebound name, from its own page", "POST", "evil.example", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://evil.example"}, BadHost},
		{"a name that ends alike", "GET", "notlocalhost", nil, BadHost},
		{"another site's form", "POST", "127.0.0.1:8420", []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://evil.example"}, BadOrigin},
		{"another port's page", "POST", "127.0.0.1:8420", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:9999"}, BadOrigin},
		{"an old browser", "DELETE", "127.0.0.1:8420", []string{"Origin", "http://evil.example"}, BadOrigin},
		{"a sandboxed frame", "PUT", "127.0.0.1:8420", []string{"Origin", "null"}, BadOrigin},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		r.Host = c.host
		for i := 0; i < len(c.header); i += 2 {
			r.Header.Set(c.header[i], c.header[i+1])
		}
		w, before := httptest.NewRecorder(), done
		h.ServeHTTP(w, r)
		var p Problem
		json.Unmarshal(w.Body.Bytes(), &p)
		if p.Reason != c.want || (done > before) != (c.want == "") {
			t.Errorf("%s: %d %q, want %q", c.what, w.Code, p.Reason, c.want)
		}
		if c.want != "" && (w.Code/100 != 4 || p.Try == "") {
			t.Errorf("%s: status %d, try %q", c.what, w.Code, p.Try)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "anything.example"
	before := done
	Guard(count, []string{AnyHost}).ServeHTTP(httptest.NewRecorder(), r)
	if done != before+1 {
		t.Error("the operator lets every name in")
	}
}

// A form of another site's page can be sent without asking that site first, if its type is one of three or none
// (Fetch standard, "CORS-safelisted request-header"). JSON cannot.
func TestReadJSON(t *testing.T) {
	for _, c := range []struct {
		kind, body string
		want       types.Reason
	}{
		{"application/json", `{"a": 1}`, ""},
		{"application/json; charset=utf-8", `{"a": 1}`, ""},
		{"Application/JSON", "{\"a\": 1}\n", ""},
		{"application/merge-patch+json", `{"a": 1}`, ""},
		{"", `{"a": 1}`, BadMedia},
		{"text/plain", `{"a": 1}`, BadMedia},
		{"application/x-www-form-urlencoded", `{"a": 1}`, BadMedia},
		{"multipart/form-data; boundary=x", `{"a": 1}`, BadMedia},
		{"text/json+json/", `{"a": 1}`, BadMedia},
		{"text/x+json", `{"a": 1}`, BadMedia},
		{"application/json", `{"a": 1` + strings.Repeat(" ", 100) + `}`, types.Oversize},
		{"application/json", `{"a": 1, "b": 2}`, BadRequest},
		{"application/json", `{"a": 1} {"a": 2}`, BadRequest},
		{"application/json", ``, BadRequest},
	} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(c.body))
		if c.kind != "" {
			r.Header.Set("Content-Type", c.kind)
		}
		r.Body = http.MaxBytesReader(nil, r.Body, 50)
		var v struct{ A int }
		err := ReadJSON(r, &v)
		if types.ReasonOf(err) != c.want {
			t.Errorf("%q of %q: %v, want %q", c.body, c.kind, err, c.want)
		}
	}
}
