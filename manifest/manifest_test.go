package manifest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

var update = flag.Bool("update", false, "write testdata anew")

// key is the one of the seed n and 31 zeros.
func key(n byte) types.PrivateKey { return types.NewPrivateKey([32]byte{n}) }

func example() Manifest {
	set := bus.Set{{Key: key(2).Public(), Power: 30}, {Key: key(3).Public(), Power: 70}}
	if string(set[0].Key[:]) > string(set[1].Key[:]) {
		set[0], set[1] = set[1], set[0]
	}
	return Manifest{
		Format: Format, Chain: "cairn-test", Published: 1_790_000_000, Genesis: types.Hash{1}, Block: Block{Height: 1234, Hash: types.Hash{2}},
		Epoch: 7, Verifiers: set, Regions: 2,
		Seeds: []string{"00112233445566778899aabbccddeeff00112233@node.example.org:26656"},
		RPC:   []string{"https://rpc.example.org:443", "http://192.0.2.7:26657"},
		Buses: []string{"tls://bus.example.org:4222", "nats://192.0.2.7:4222"}, Gateways: []string{"https://gateway.example.org/"},
	}
}

func sign(t testing.TB, m Manifest, by types.PrivateKey) *Signed {
	t.Helper()
	s, err := m.Sign(by)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGolden holds the file, and the bytes that are signed, against testdata.
func TestGolden(t *testing.T) {
	s := sign(t, example(), key(1))
	for name, got := range map[string][]byte{
		"manifest.json": s.Encode(), "manifest.hex": []byte(hex.EncodeToString(types.SigningBytes(kind, s.Manifest.Chain, types.Encode(&s.Manifest))) + "\n"),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-committed +from code):\n%s", name, diff)
		}
	}
	read, err := Fetch(t.Context(), "testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, read); diff != "" {
		t.Errorf("what was read is not what was written (-written +read):\n%s", diff)
	}
}

// TestRefused: no manifest gets past Sign or Parse that says something impossible, and none that its signer did
// not sign.
func TestRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Manifest){
		"format": func(m *Manifest) { m.Format = 2 }, "no chain": func(m *Manifest) { m.Chain = "" },
		"chain of two lines": func(m *Manifest) { m.Chain = "a\nb" }, "long chain": func(m *Manifest) { m.Chain = strings.Repeat("a", 65) },
		"no time": func(m *Manifest) { m.Published = 0 }, "year 10000": func(m *Manifest) { m.Published = 253402300800 },
		"no genesis": func(m *Manifest) { m.Genesis = types.Hash{} }, "no block": func(m *Manifest) { m.Block = Block{} },
		"no verifiers": func(m *Manifest) { m.Verifiers = nil },
		"powerless":    func(m *Manifest) { m.Verifiers = bus.Set{{Key: key(2).Public()}} },
		"out of order": func(m *Manifest) { m.Verifiers = bus.Set{m.Verifiers[1], m.Verifiers[0]} },
		"no region":    func(m *Manifest) { m.Regions = 0 }, "regions": func(m *Manifest) { m.Regions = MaxRegions + 1 },
		"no bus": func(m *Manifest) { m.Buses = nil }, "bus of http": func(m *Manifest) { m.Buses = []string{"http://a:1"} },
		"secret in a bus":  func(m *Manifest) { m.Buses = []string{"nats://me:secret@a:1"} },
		"one twice":        func(m *Manifest) { m.RPC = []string{"http://a:1", "http://a:1"} },
		"rpc of file":      func(m *Manifest) { m.RPC = []string{"file:///etc/passwd"} },
		"seed without id":  func(m *Manifest) { m.Seeds = []string{"a:1"} },
		"ca":               func(m *Manifest) { m.BusCA = "no certificate" },
		"gateway in clear": func(m *Manifest) { m.Gateways = []string{"http://gateway.example.org"} },
		"many": func(m *Manifest) {
			for i := range maxPlaces + 1 {
				m.RPC = append(m.RPC, fmt.Sprintf("http://a:%d", i+1))
			}
		},
		"long": func(m *Manifest) { m.RPC = []string{"http://" + strings.Repeat("a", maxPlace)} },
	} {
		m := example()
		spoil(&m)
		if _, err := m.Sign(key(1)); types.ReasonOf(err) != types.BadManifest {
			t.Errorf("%s: signed: %v", name, err)
		}
		forced := Signed{m, key(1).Public(), key(1).Sign(kind, m.Chain, types.Encode(&m))}
		if _, err := Parse(forced.Encode()); types.ReasonOf(err) != types.BadManifest {
			t.Errorf("%s: read: %v", name, err)
		}
	}
	whole := string(sign(t, example(), key(1)).Encode())
	for name, c := range map[string]struct {
		text string
		want types.Reason
	}{
		"another block":     {strings.Replace(whole, `"height": 1234`, `"height": 1235`, 1), types.BadSignature},
		"another bus":       {strings.Replace(whole, "bus.example.org", "bus.example.com", 1), types.BadSignature},
		"another signer":    {strings.Replace(whole, key(1).Public().String(), key(4).Public().String(), 1), types.BadSignature},
		"unknown field":     {strings.Replace(whole, `"format": 1,`, `"format": 1, "more": 1,`, 1), types.BadManifest},
		"field beside":      {strings.Replace(whole, `"signer"`, `"more": 1, "signer"`, 1), types.BadManifest},
		"said twice":        {strings.Replace(whole, `"height": 1234`, `"height": 1234, "height": 1`, 1), types.BadSignature},
		"something follows": {whole + "{}", types.BadManifest},
		"cut short":         {whole[:len(whole)-3], types.BadManifest},
		"next format":       {`{"manifest":{"format":2,"new":1},"signer":"x"}`, types.BadManifest},
		"nothing":           {"", types.BadManifest},
		"not an object":     {"[1]", types.BadManifest},
		"large":             {whole + strings.Repeat(" ", MaxSize), types.BadManifest},
	} {
		if _, err := Parse([]byte(c.text)); types.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	m := example()
	other := m
	other.Chain = "cairn-other"
	moved := Signed{other, key(1).Public(), sign(t, m, key(1)).Signature}
	if _, err := Parse(moved.Encode()); types.ReasonOf(err) != types.BadSignature {
		t.Errorf("a signature for one chain counts for another: %v", err)
	}
}

// TestKeep: a home's manifest is replaced by a newer one of the same key and chain, or of a key that is named,
// and by nothing else.
func TestKeep(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	if _, err := Load(home); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("nothing is there: %v", err)
	}
	keep := func(name string, by byte, signer types.Key, change func(*Manifest), want types.Reason) {
		t.Helper()
		m := example()
		change(&m)
		before, _ := os.ReadFile(filepath.Join(home, File))
		err := Keep(home, sign(t, m, key(by)), signer)
		if types.ReasonOf(err) != want || (err == nil) != (want == "") {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		after, _ := os.ReadFile(filepath.Join(home, File))
		if err != nil && !bytes.Equal(before, after) {
			t.Errorf("%s: refused, and yet the home's was changed", name)
		}
		if err == nil {
			if s, err := Load(home); err != nil || cmp.Diff(s.Manifest, m) != "" {
				t.Errorf("%s: kept something else: %v", name, err)
			}
		}
	}
	none := types.Key{}
	keep("another signer than demanded", 1, key(4).Public(), func(*Manifest) {}, types.OtherSigner)
	keep("the first", 1, none, func(*Manifest) {}, "")
	keep("the same", 1, none, func(*Manifest) {}, "")
	keep("another of the same time", 1, none, func(m *Manifest) { m.Regions = 3 }, types.StaleManifest)
	keep("an older one", 1, none, func(m *Manifest) { m.Published-- }, types.StaleManifest)
	keep("a stranger's", 4, none, func(m *Manifest) { m.Published++ }, types.OtherSigner)
	keep("another chain's", 1, none, func(m *Manifest) { m.Published++; m.Chain = "cairn-2" }, types.WrongChain)
	keep("of a chain that began anew from its export", 1, none, func(m *Manifest) { m.Published++; m.Genesis = types.Hash{9} }, "")
	keep("a newer one", 1, none, func(m *Manifest) { m.Published += 2 }, "")
	keep("of a new key, which is named, but old", 4, key(4).Public(), func(m *Manifest) { m.Published++ }, types.StaleManifest)
	keep("of a new key, which is named", 4, key(4).Public(), func(m *Manifest) { m.Published += 3 }, "")
	keep("of the old key again", 1, none, func(m *Manifest) { m.Published += 4 }, types.OtherSigner)
}

// TestFetch: from a URL as from a file, within bounds, and in the clear from this machine only.
func TestFetch(t *testing.T) {
	whole := sign(t, example(), key(1)).Encode()
	mux := http.NewServeMux()
	mux.HandleFunc("/m", func(w http.ResponseWriter, _ *http.Request) { w.Write(whole) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/m", http.StatusFound) })
	mux.HandleFunc("/clear", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://manifest.example.org/", http.StatusFound)
	})
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	for where, want := range map[string]types.Reason{
		plain.URL + "/m": "", plain.URL + "/away": "", secure.URL + "/m": "", secure.URL + "/away": "",
		secure.URL + "/clear": types.BadArgument, secure.URL + "/round": types.BadManifest, secure.URL + "/endless": types.BadManifest,
		secure.URL + "/nothing": types.NotFound, "http://192.0.2.1/m": types.BadArgument, "http://manifest.example.org/m": types.BadArgument,
		"ftp://manifest.example.org/m": types.BadArgument, "testdata/nothing.json": types.NotFound,
	} {
		s, err := fetch(t.Context(), where, secure.Client().Transport)
		if types.ReasonOf(err) != want || (err == nil) != (want == "") {
			t.Errorf("%s: %v, want %q", where, err, want)
		}
		if err == nil && !bytes.Equal(s.Encode(), whole) {
			t.Errorf("%s: something else came", where)
		}
	}
}

// FuzzParse: what is read is in bounds, and reads the same when it is written again.
func FuzzParse(f *testing.F) {
	f.Add(sign(f, example(), key(1)).Encode())
	f.Add([]byte(`{"manifest":{"format":1}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Parse(raw)
		if err != nil {
			if types.ReasonOf(err) == "" {
				t.Errorf("%v carries no reason", err)
			}
			return
		}
		again, err := Parse(s.Encode())
		if err != nil || cmp.Diff(s, again) != "" {
			t.Errorf("written again it is another: %v", err)
		}
	})
}

// FuzzCheck fuzzes what is signed, which FuzzParse seldom gets past the signature.
func FuzzCheck(f *testing.F) {
	raw, err := json.Marshal(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Manifest
		if json.Unmarshal(raw, &m) != nil {
			return
		}
		s, err := m.Sign(key(1))
		if err != nil {
			return
		}
		if _, err := Parse(s.Encode()); err != nil && len(s.Encode()) <= MaxSize {
			t.Errorf("what was signed is not read: %v", err)
		}
		if _, err := m.Pin(types.Region(m.Regions)); err == nil {
			t.Error("there is a pin of a region too many")
		}
	})
}
