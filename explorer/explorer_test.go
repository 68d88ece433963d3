package explorer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

func key(n byte) types.Key { return types.NewPrivateKey([32]byte{n}).Public() }

// chain is a ledger of two devices and two tallies.
type chain struct {
	ledger.Reader
	headers []*ledger.Header
	block   ledger.Block
}

func (c *chain) Chain() string                              { return "cairn-test-1" }
func (c *chain) Head(context.Context) (ledger.Block, error) { return c.block, nil }
func (c *chain) Supply(context.Context) (*ledger.Supply, error) {
	return &ledger.Supply{Genesis: 4e14, Supply: 4e14, Balanced: true}, nil
}
func (c *chain) Epoch(context.Context, types.Epoch) (*ledger.Epoch, error) {
	return &ledger.Epoch{Cut: 60}, nil
}
func (c *chain) Headers(context.Context, types.Region, int) ([]*ledger.Header, error) {
	return c.headers, nil
}
func (c *chain) Claimed(context.Context, types.Key) (types.Ustone, error) { return 40, nil }
func (c *chain) Devices(context.Context) ([]ledger.Device, error) {
	return []ledger.Device{
		{Device: tally.Device{Key: key(1), Owner: types.Account{1}, Categories: []types.Category{types.Storage}, Cell: 0x891f8e0c2d7ffff,
			Fleet: fleet.Fleet{Root: types.Hash{1}, Count: 12}}},
		{Device: tally.Device{Key: key(2), Owner: types.Account{2}, Categories: []types.Category{types.Storage}, Suspended: 99}},
	}, nil
}
func (c *chain) Watch(ctx context.Context) <-chan ledger.Block {
	blocks := make(chan ledger.Block, 1)
	blocks <- c.block
	context.AfterFunc(ctx, func() { close(blocks) })
	return blocks
}

// digests are what verifiers keep.
type digests map[types.Epoch]*Digest

func (d digests) Digest(_ context.Context, e types.Epoch, _ types.Region) (*Digest, error) {
	if d[e] == nil {
		return nil, ledger.ErrNotFound
	}
	return d[e], nil
}

func (d digests) Claim(_ context.Context, device types.Key) (*ledger.Claim, error) {
	if device != key(1) {
		return nil, types.Refuse(types.NotFinal, "no final header")
	}
	return &ledger.Claim{Epoch: 2, Leaf: tally.Leaf{Device: device, Amount: 90}, Proof: merkle.SumProof{Index: 1, Count: 2, Siblings: []merkle.Node{{Sum: 7}}}}, nil
}

func (d digests) Bundle(_ context.Context, e types.Epoch, _ types.Region, w io.Writer) error {
	_, err := fmt.Fprintf(w, "bundle of %d", e)
	return err
}

func header(e types.Epoch, status ledger.Status, amount types.Ustone) *ledger.Header {
	h := tally.Header{Chain: "cairn-test-1", Epoch: e, Totals: tally.Totals{Amount: amount, Spent: 77, Counted: 5, Refused: 2}, Count: 2, VRF: []byte{1}}
	return &ledger.Header{Epoch: e, Status: status, Raw: h.Encode(), Hash: h.Hash(), Height: uint64(20*e + 1)}
}

func newExplorer(t *testing.T, path string, c *chain, d Tallies) *Explorer {
	t.Helper()
	x, err := New(Config{Path: path}, c, d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

func world() (*chain, digests) {
	c := &chain{headers: []*ledger.Header{header(2, ledger.Accepted, 100), header(1, ledger.Final, 60)}, block: ledger.Block{Height: 50, Epoch: 3, Time: time.Unix(1, 0)}}
	d := digests{}
	for e := types.Epoch(1); e <= 2; e++ {
		d[e] = &Digest{
			Lines:    []Line{{Device: key(1), Category: types.Storage, Quality: 9900, Amount: types.Ustone(50 * e)}, {Device: key(2), Category: types.Storage, Quality: 4000, Amount: 10}},
			Refusals: []Refusal{{Device: key(2), Reason: "storage.answer_chunk", Count: 2}},
		}
	}
	return c, d
}

func catchUp(t *testing.T, x *Explorer) {
	t.Helper()
	if err := x.follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := x.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func get[T any](t *testing.T, h http.Handler, path string, code int) T {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != code {
		t.Fatalf("%s: %d %s: %v", path, w.Code, w.Body, err)
	}
	return v
}

func TestAPI(t *testing.T) {
	c, d := world()
	x := newExplorer(t, filepath.Join(t.TempDir(), "index.db"), c, d)
	catchUp(t, x)
	h := x.Handler()
	devices := get[[]Device](t, h, "/api/devices", 200)
	if len(devices) != 2 {
		t.Fatalf("%+v", devices)
	}
	by := map[string]Device{}
	for _, d := range devices {
		by[d.Device] = d
	}
	if one := by[key(1).String()]; one.Earned != 100 || one.Claimed != 40 || one.Quality != 9900 || one.Status != "active" || one.Category != "storage" || one.Refused != 0 || one.Things != 12 {
		t.Errorf("%+v", one)
	}
	if two := by[key(2).String()]; two.Earned != 10 || two.Status != "suspended" || two.Refused != 4 || two.Things != 0 {
		t.Errorf("%+v", two)
	}
	tallies := get[[]Tally](t, h, "/api/tallies", 200)
	if len(tallies) != 2 || tallies[0].Epoch != 2 || tallies[0].Status != ledger.Accepted || tallies[0].Amount != 100 || tallies[1].Status != ledger.Final || tallies[1].Refused != 2 {
		t.Errorf("%+v", tallies)
	}
	page := get[DevicePage](t, h, "/api/devices/"+key(2).String(), 200)
	if len(page.History) != 2 || len(page.Refusals) != 1 || page.Refusals[0].Count != 4 || page.Refusals[0].Reason != "storage.answer_chunk" {
		t.Errorf("%+v", page)
	}
	if claim := get[Claim](t, h, "/api/claim/"+key(1).String(), 200); claim.Epoch != 2 || claim.Index != 1 || len(claim.Siblings) != 40 {
		t.Errorf("%+v", claim)
	}
	if p := get[map[string]string](t, h, "/api/claim/"+key(2).String(), 409); p["reason"] != string(types.NotFinal) {
		t.Errorf("%+v", p)
	}
	for _, path := range []string{"/api/devices/did:key:nobody", "/api/tallies/9/0", "/api/tallies/x/y"} {
		get[map[string]string](t, h, path, 404)
	}
}

// TestVoid: what a voided tally said is gone, and the index follows a header from accepted to final.
func TestVoid(t *testing.T) {
	c, d := world()
	x := newExplorer(t, "", c, d)
	catchUp(t, x)
	c.headers[0].Status, c.headers[1].Status = ledger.Voided, ledger.Final
	catchUp(t, x)
	page := get[DevicePage](t, x.Handler(), "/api/devices/"+key(1).String(), 200)
	if len(page.History) != 1 || page.History[0].Epoch != 1 || page.Devices[0].Earned != 50 {
		t.Errorf("%+v", page)
	}
}

// TestLateDigest: a digest that could not be had at first is taken in later, and the index survives a restart
// and another chain.
func TestLateDigest(t *testing.T) {
	c, d := world()
	late := d[2]
	delete(d, 2)
	path := filepath.Join(t.TempDir(), "index.db")
	x := newExplorer(t, path, c, d)
	catchUp(t, x)
	if got := get[DevicePage](t, x.Handler(), "/api/devices/"+key(1).String(), 200); got.Devices[0].Earned != 50 {
		t.Errorf("%+v", got)
	}
	x.Close()
	d[2] = late
	x = newExplorer(t, path, c, d)
	catchUp(t, x)
	if got := get[DevicePage](t, x.Handler(), "/api/devices/"+key(1).String(), 200); got.Devices[0].Earned != 100 {
		t.Errorf("%+v", got)
	}
	if ix, err := openIndex(path, "another-chain"); err != nil {
		t.Fatal(err)
	} else if rows, err := ix.tallies(t.Context(), 10); err != nil || len(rows) != 0 {
		t.Errorf("another chain sees %+v: %v", rows, err)
	}
}

// TestPages: the pages render, name no other host, and escape what devices and customers chose.
func TestPages(t *testing.T) {
	c, d := world()
	d[2].Refusals = append(d[2].Refusals, Refusal{Device: key(1), Reason: "<script>alert(1)</script>", Count: 1})
	x := newExplorer(t, "", c, d)
	catchUp(t, x)
	h := x.Handler()
	for _, path := range []string{"/", "/device/" + key(1).String(), "/tally/2/0", "/style.css"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
		body := w.Body.String()
		if w.Code != 200 || strings.Contains(body, "<script>") || strings.Contains(body, "http://") || strings.Contains(body, "https://") {
			t.Errorf("%s: %d\n%s", path, w.Code, body)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/", nil))
	for _, want := range []string{"lang=\"en\"", "Skip to content", "balanced", "storage.answer_chunk", "99.00 %"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the first page does not say %q", want)
		}
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("policy %q", csp)
	}
}

// TestAbstains: what a verifier cannot check is in the status, and on the first page.
func TestAbstains(t *testing.T) {
	c, d := world()
	x := newExplorer(t, "", c, d)
	if s := get[map[string]any](t, x.Handler(), "/api/status", 200); s["verifiers"] != nil {
		t.Errorf("verifiers of nobody: %v", s["verifiers"])
	}
	x.cfg.Verifiers = func() []Verifier {
		return []Verifier{{Key: key(7)}, {Key: key(8), Abstains: []Abstention{{Epoch: 2, Why: "its node is ill"}}}}
	}
	s := get[Status](t, x.Handler(), "/api/status", 200)
	if len(s.Verifiers) != 2 || len(s.Verifiers[1].Abstains) != 1 || s.Verifiers[1].Abstains[0].Epoch != 2 {
		t.Errorf("%+v", s.Verifiers)
	}
	w := httptest.NewRecorder()
	x.Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/", nil))
	if !strings.Contains(w.Body.String(), "abstains</strong> in epoch 2: its node is ill") {
		t.Error("the page says nothing of it")
	}
}
