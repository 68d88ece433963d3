package explorer

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

//go:embed page/*.html page/style.css
var files embed.FS

// Status is where the network stands.
type Status struct {
	ChainID string         `json:"chain_id"`
	Height  uint64         `json:"height"`
	Time    time.Time      `json:"time"`
	Epoch   types.Epoch    `json:"epoch"`
	Cut     uint64         `json:"cut"`
	Supply  *ledger.Supply `json:"supply"`
	// Verifiers are those that run beside this page.
	Verifiers []Verifier `json:"verifiers,omitempty"`
}

// Verifier is how a verifier stands.
type Verifier struct {
	Key types.Key `json:"key"`
	// Abstains lists the epochs whose headers it can neither sign nor vote on at present, for a reason of its
	// own: its chain node, its link to the bus, its disk.
	Abstains []Abstention `json:"abstains,omitempty"`
}

// Abstention is such an epoch.
type Abstention struct {
	Epoch types.Epoch `json:"epoch"`
	Why   string      `json:"why"`
}

// errNotFound is answered with 404.
var errNotFound = errors.New("there is nothing under this address")

// route is one path below /api: what answers it returns JSON, what serves it writes by itself.
type route struct {
	role.Route
	answer func(*http.Request) (any, error)
	serve  http.HandlerFunc
}

func (x *Explorer) routes() []route {
	get := func(path, summary string, out any, answer func(*http.Request) (any, error), query ...string) route {
		return route{Route: role.Route{Method: "GET", Path: "/api" + path, Summary: summary, Open: true, Query: query, Out: out}, answer: answer}
	}
	bundle := get("/tallies/{epoch}/{region}/bundle", "All that a tally was made from, for `cairn tally verify`", []byte(nil), nil)
	bundle.serve = x.bundle
	return []route{
		get("/status", "Where the network stands", Status{}, func(r *http.Request) (any, error) { return x.status(r.Context()) }),
		get("/supply", "The chain's ledger of money, and whether it balances", ledger.Supply{},
			func(r *http.Request) (any, error) { return x.ledger.Supply(r.Context()) }),
		get("/devices", "Devices by key, a row for each category", []Device(nil), func(r *http.Request) (any, error) {
			return x.index.devices(r.Context(), role.Query(r, "after"), "", number(r, "limit"))
		}, "after", "limit"),
		get("/devices/{device}", "A device with its refusals and its past", DevicePage{},
			func(r *http.Request) (any, error) { return x.device(r) }),
		get("/tallies", "Tallies, newest first", []Tally(nil),
			func(r *http.Request) (any, error) { return x.index.tallies(r.Context(), number(r, "limit")) }, "limit"),
		get("/tallies/{epoch}/{region}", "A tally with its refusals", TallyPage{},
			func(r *http.Request) (any, error) { return x.tally(r) }),
		get("/proof/{device}", "A device's leaf in the newest final header and its proof, to be checked by hand (docs/proof.md)", Proof{},
			func(r *http.Request) (any, error) { return x.proof(r) }),
		get("/claim/{device}", "The same as `cairn.tally.v1.Claim`, for MsgClaim; bytes in base64", Claim{},
			func(r *http.Request) (any, error) { return x.claim(r) }),
		bundle,
		get("/refusals", "How often what was refused, newest first", []RefusalCount(nil), func(r *http.Request) (any, error) {
			return x.index.refusals(r.Context(), role.Query(r, "device"), types.Epoch(number(r, "epoch")), number(r, "limit"))
		}, "device", "epoch", "limit"),
	}
}

// Routes describes what is served below /api.
func Routes() []role.Route {
	var out []role.Route
	for _, rt := range new(Explorer).routes() {
		out = append(out, rt.Route)
	}
	return out
}

// Handler serves the pages and /api/.
func (x *Explorer) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range x.routes() {
		serve := rt.serve
		if serve == nil {
			serve = func(w http.ResponseWriter, r *http.Request) { x.answer(w, r, rt.answer) }
		}
		mux.HandleFunc(rt.Method+" "+rt.Path, serve)
	}
	x.pages(mux)
	return role.Guard(role.Coherent(mux), x.cfg.Hosts)
}

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(role.Query(r, name))
	return max(n, 0)
}

// answer writes what f returns as JSON.
func (x *Explorer) answer(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	out, err := f(r)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Access-Control-Allow-Origin", "*") // public data
	if err != nil {
		x.fail(w, err)
		return
	}
	json.NewEncoder(w).Encode(out)
}

// fail answers with err as a role.Problem.
func (x *Explorer) fail(w http.ResponseWriter, err error) {
	status := x.code(err)
	if types.ReasonOf(err) == "" && status == http.StatusNotFound {
		err = fmt.Errorf("%w: %w", err, role.NotFound)
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	role.WriteError(w, err, status)
}

// code maps an error to its HTTP status, and logs what nobody asked for.
func (x *Explorer) code(err error) int {
	switch {
	case errors.Is(err, errNotFound), errors.Is(err, ledger.ErrNotFound), types.ReasonOf(err) == types.UnknownBlob:
		return http.StatusNotFound
	case types.ReasonOf(err) == types.NotFinal, types.ReasonOf(err) == types.UnknownAuthor:
		return http.StatusConflict
	case types.ReasonOf(err) != "":
		if status := role.Info(types.ReasonOf(err)).Status; status != http.StatusInternalServerError {
			return status
		}
	}
	x.log.Error("explorer: request", "err", err)
	return http.StatusInternalServerError
}

func (x *Explorer) status(ctx context.Context) (*Status, error) {
	head, err := x.ledger.Head(ctx)
	if err != nil {
		return nil, fmt.Errorf("head: %w", err)
	}
	supply, err := x.ledger.Supply(ctx)
	if err != nil {
		return nil, fmt.Errorf("supply: %w", err)
	}
	s := &Status{ChainID: x.ledger.Chain(), Height: head.Height, Time: head.Time.UTC(), Epoch: head.Epoch, Supply: supply}
	if e, err := x.ledger.Epoch(ctx, head.Epoch); err == nil {
		s.Cut = e.Cut
	}
	if x.cfg.Verifiers != nil {
		s.Verifiers = x.cfg.Verifiers()
	}
	return s, nil
}

// DevicePage is one device with its past.
type DevicePage struct {
	Devices  []Device       `json:"devices"` // one for each category
	Refusals []RefusalCount `json:"refusals"`
	History  []Point        `json:"history"`
}

func (x *Explorer) device(r *http.Request) (*DevicePage, error) {
	ctx, id := r.Context(), r.PathValue("device")
	devices, err := x.index.devices(ctx, "", id, 16)
	if err != nil {
		return nil, err
	}
	if len(devices) == 0 {
		return nil, fmt.Errorf("device %.80s: %w", id, errNotFound)
	}
	p := &DevicePage{Devices: devices}
	if p.Refusals, err = x.index.refusals(ctx, id, 0, 100); err != nil {
		return nil, err
	}
	p.History, err = x.index.history(ctx, id, 200)
	return p, err
}

// TallyPage is one tally with its refusals.
type TallyPage struct {
	Tally    Tally          `json:"tally"`
	Refusals []RefusalCount `json:"refusals"`
}

func (x *Explorer) tally(r *http.Request) (*TallyPage, error) {
	epoch, err1 := strconv.ParseUint(r.PathValue("epoch"), 10, 64)
	region, err2 := strconv.ParseUint(r.PathValue("region"), 10, 16)
	if err1 != nil || err2 != nil {
		return nil, errNotFound
	}
	t, err := x.index.tally(r.Context(), types.Epoch(epoch), types.Region(region))
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, fmt.Errorf("tally %d of region %d: %w", epoch, region, errNotFound)
	}
	p := &TallyPage{Tally: *t}
	p.Refusals, err = x.index.refusals(r.Context(), "", t.Epoch, 100)
	return p, err
}

// front is what the first page shows.
type front struct {
	Status   *Status
	Devices  []Device
	Tallies  []Tally
	Refusals []RefusalCount
}

func (x *Explorer) front(r *http.Request) (any, error) {
	ctx := r.Context()
	var f front
	var err error
	if f.Status, err = x.status(ctx); err != nil {
		return nil, err
	}
	if f.Devices, err = x.index.devices(ctx, "", "", 200); err != nil {
		return nil, err
	}
	if f.Tallies, err = x.index.tallies(ctx, 12); err != nil {
		return nil, err
	}
	f.Refusals, err = x.index.refusals(ctx, "", 0, 20)
	return &f, err
}

// pages registers the HTML pages.
func (x *Explorer) pages(mux *http.ServeMux) {
	page := func(path, name string, f func(*http.Request) (any, error)) {
		t := template.Must(template.New("layout.html").Funcs(funcs).ParseFS(files, "page/layout.html", "page/"+name))
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { x.render(w, r, t, f) })
	}
	page("/{$}", "front.html", x.front)
	page("/device/{device}", "device.html", func(r *http.Request) (any, error) { return x.device(r) })
	page("/tally/{epoch}/{region}", "tally.html", func(r *http.Request) (any, error) { return x.tally(r) })
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "page/style.css")
	})
}

func (x *Explorer) render(w http.ResponseWriter, r *http.Request, t *template.Template, f func(*http.Request) (any, error)) {
	data, err := f(r)
	if err != nil {
		http.Error(w, err.Error(), x.code(err))
		return
	}
	var page strings.Builder
	view := map[string]any{"Chain": x.ledger.Chain(), "Data": data}
	if err := t.Execute(&page, view); err != nil {
		http.Error(w, "the page could not be rendered", x.code(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'")
	h.Set("X-Content-Type-Options", "nosniff")
	w.Write([]byte(page.String()))
}

// funcs print base units as people read them.
var funcs = template.FuncMap{
	"stone":  func(u types.Ustone) string { return decimal(uint64(u)) },
	"dollar": func(c types.Credit) string { return "$" + decimal(uint64(c)) },
	"percent": func(b types.Bp) string {
		return fmt.Sprintf("%d.%02d %%", b/100, b%100)
	},
	"short": func(s string) string {
		s = strings.TrimPrefix(s, "did:key:")
		if len(s) > 20 {
			return s[:10] + "…" + s[len(s)-6:]
		}
		return s
	},
	"minus": func(a, b types.Ustone) types.Ustone {
		if b > a {
			return 0
		}
		return a - b
	},
}

// decimal prints millionths with thousands separated by thin spaces.
func decimal(u uint64) string {
	whole := strconv.FormatUint(u/1_000_000, 10)
	var b strings.Builder
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(c)
	}
	return fmt.Sprintf("%s.%06d", b.String(), u%1_000_000)
}
