package compute

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestReach: what rules let be reached, and that there is one way to write each.
func TestReach(t *testing.T) {
	for text, want := range map[string]string{
		"PyPI.org.:443": "pypi.org:443", "*.example.ORG:*": "*.example.org:*", "10.1.2.3/8:5432": "10.0.0.0/8:5432",
		"192.0.2.1:80":         "192.0.2.1:80",
		"[2001:DB8::1/32]:443": "[2001:db8::/32]:443", "[::1]:1": "[::1]:1", "0.0.0.0/0:443": "0.0.0.0/0:443",
		"[::ffff:192.0.2.1]:80": "192.0.2.1:80",
	} {
		r, err := ParseReach(text)
		if err != nil || r.String() != want {
			t.Errorf("%s: %v %v, want %s", text, r, err, want)
		}
		if again, err := ParseReach(want); err != nil || again != r {
			t.Errorf("%s: %v %v", want, again, err)
		}
	}
	for _, bad := range []string{"", ":", "a", "a:", ":1", "a:0", "a:65536", "a:x", "a b:1", "a..b:1", "*:1", "*a.b:1",
		"*.:1", "a.*:1", "10.0.0.0/33:1", "::1:1", "[::1:1", "[a", "2001:db8::/32:1", "http://a:1", "a/b:1",
		strings.Repeat("a", 64) + ":1", strings.Repeat("a.", 80) + "a:1", "[::ffff:10.0.0.0/104]:1"} {
		if r, err := ParseReach(bad); err == nil {
			t.Errorf("%q is %v", bad, r)
		}
	}
	rules, err := ParseEgress([]string{"pypi.org:443", "*.example.org:80", "10.0.0.0/8:*"})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"pypi.org:443": true, "PYPI.org:443": true, "pypi.org:80": false, "a.pypi.org:443": false,
		"evilpypi.org:443": false, "a.b.example.org:80": true,
		"example.org:80": false, "evilexample.org:80": false, "10.2.3.4:9": true, "11.0.0.1:9": false,
		"10.0.0.0/8:*": true, "0.0.0.0/0:*": false, "*.example.org:80": true, "pypi.org:*": false,
	} {
		r, err := ParseReach(text)
		if err != nil || Covers(rules, r) != want {
			t.Errorf("%s: %v %v", text, Covers(rules, r), err)
		}
	}
}

// TestTermsEgress: terms that let nothing be reached are what they were before there were such rules; others name
// them in one way, of class oci alone.
func TestTermsEgress(t *testing.T) {
	plain := Terms{Profiles: []Profile{{Name: OCIProfile}}}
	open := plain
	open.Egress = []string{"*.example.org:443", "pypi.org:443"}
	raw := open.Encode()
	got, err := DecodeTerms(raw, OCI)
	if err != nil || !slices.Equal(got.Egress, open.Egress) || !got.Runs(OCIProfile) || !bytes.Equal(got.Encode(), raw) {
		t.Fatalf("%+v %v", got, err)
	}
	if got, err := DecodeTerms(plain.Encode(), OCI); err != nil || got.Egress != nil {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range [][]string{
		{"pypi.org:443", "*.example.org:443"}, {"pypi.org:443", "pypi.org:443"}, {"PyPI.org:443"}, {"nonsense"},
	} {
		open.Egress = bad
		if _, err := DecodeTerms(open.Encode(), OCI); types.ReasonOf(err) != types.BadEncoding {
			t.Errorf("%v: %v", bad, err)
		}
	}
	wasm := Terms{Profiles: []Profile{{Name: WasmProfile}}, Egress: []string{"pypi.org:443"}}
	if _, err := DecodeTerms(wasm.Encode(), Wasm); types.ReasonOf(err) != types.BadEncoding {
		t.Errorf("class wasm: %v", err)
	}
	// The longer form with an empty list is no second encoding of the shorter one.
	raw = types.Encode(&openTerms{Profiles: plain.Profiles, Egress: []string{}})
	if _, err := DecodeTerms(raw, OCI); types.ReasonOf(err) != types.BadEncoding {
		t.Error(err)
	}
}
