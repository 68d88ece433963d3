package customer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// here is where the test's homes are: below one cell of resolution 3.
var here = types.Cell(0x831f8dfffffffff)

// town is a seller with panels, a consumer whose meter belongs to the account that buys, and the gateway's
// customer of that account.
type town struct {
	*roletest.World
	t        *testing.T
	market   *door
	seller   *house
	consumer *house
	*Customer
	http http.Handler
}

// door is the twin's market, with what can go wrong at it.
type door struct {
	*roletest.Market
	mu      sync.Mutex
	down    error           // what Order answers, if set
	orders  []receipt.Order // that came through
	tallied types.Epoch     // if set: what Notice says, and from where on epochs have no header
	voided  types.Epoch     // an epoch without a header
	silent  int             // so many questions for lines are not answered
	calls   map[string]int  // of Outputs, by prefix
}

func (d *door) Order(ctx context.Context, o *receipt.SignedOrder) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down != nil {
		return d.down
	}
	err := d.Market.Order(ctx, o)
	if err == nil {
		d.orders = append(d.orders, o.Order)
	}
	return err
}

func (d *door) Line(ctx context.Context, device types.Key) (role.Line, error) {
	d.mu.Lock()
	silent := d.silent > 0
	d.silent = max(d.silent-1, 0)
	d.mu.Unlock()
	if silent {
		return role.Line{}, types.Refuse(types.BusUnavailable, "nobody answers")
	}
	return d.Market.Line(ctx, device)
}

func (d *door) Notice() role.Notice {
	n := d.Market.Notice()
	if d.tallied != 0 {
		n.Tallied = d.tallied
	}
	return n
}

func (d *door) Outputs(ctx context.Context, e types.Epoch, prefix []byte) ([]role.Output, error) {
	d.mu.Lock()
	d.calls[string(prefix)]++
	d.mu.Unlock()
	if e == d.voided {
		return nil, types.Refuse(types.RegionSkipped, "epoch %d", e)
	}
	return d.Market.Outputs(ctx, e, prefix)
}

// house is a device that hands in readings.
type house struct {
	t   *testing.T
	d   *roletest.Device
	wh  [energy.Registers]uint64
	seq uint64
}

// flow is what a house does in a quarter hour.
type flow struct{ pv, exp, imp uint64 }

func newTown(t *testing.T) *town {
	w := roletest.New(t, energy.New())
	w.Cell, w.MinOpening = here, 10_000
	c := &town{World: w, t: t, market: &door{Market: w.Market("company", 50_000_000), calls: map[string]int{}}}
	c.seller = &house{t: t, d: w.Device("seller")}
	c.consumer = &house{t: t, d: c.market.Device("consumer")}
	c.certified()
	c.open()
	return c
}

// open starts the customer on the disk that is there.
func (c *town) open() {
	c.t.Helper()
	c.Customer = New(Config{})
	var err error
	if c.http, err = c.Mount(c.market); err != nil {
		c.t.Fatal(err)
	}
	books := c.Customer.books
	c.t.Cleanup(func() { books.db.Close() })
}

// crash ends the customer as kill -9 would, and starts another.
func (c *town) crash() {
	c.t.Helper()
	c.Customer.books.db.Close()
	c.open()
}

// follow lets the customer do what the present notice calls for.
func (c *town) follow() {
	c.t.Helper()
	if err := c.step(c.t.Context(), c.market.Notice()); err != nil {
		c.t.Fatal(err)
	}
}

// hours lets hours pass in which each quarter is the same, and the customer follows.
func (c *town) hours(n int, seller, consumer flow) {
	c.t.Helper()
	for range n {
		c.seller.hour(c.Epoch(), seller)
		c.consumer.hour(c.Epoch(), consumer)
		c.Next()
		c.follow()
	}
}

// settle declares the houses, has the seller ask, and lets their first readings count.
func (c *town) settle() {
	c.t.Helper()
	meter := func(name string) types.Hash { return energy.MeterID("Test", "M", name) }
	c.seller.submit(energy.KindSite, (&energy.Site{Technology: energy.Solar, PDC: 8000, PAC: 6000, Grid: meter("s1"), PV: meter("s2")}).Encode())
	c.consumer.submit(energy.KindSite, (&energy.Site{Grid: meter("c1")}).Encode())
	c.seller.ask(energy.Community, 90)
	c.seller.ask(energy.Certificate, 10)
	c.hours(1, flow{}, flow{})
}

func (h *house) submit(kind evidence.Kind, body []byte) {
	h.t.Helper()
	if err := h.d.Submit(h.t.Context(), kind, body); err != nil {
		h.t.Fatal(err)
	}
}

// ask offers a class.
func (h *house) ask(class types.Class, price uint64) {
	h.t.Helper()
	h.seq++
	ask, err := h.d.Offer(h.t.Context(), receipt.Ask{
		Chain: roletest.Chain, Device: h.d.Key(), Category: types.Energy, Class: class, Cell: here, Price: price,
		Terms: (&energy.AskTerms{Seq: h.seq}).Encode(), Until: 1 << 30,
	})
	if err = errors.Join(err, h.d.SubmitAsk(h.t.Context(), ask)); err != nil {
		h.t.Fatal(err)
	}
}

// hour hands in the four readings of an epoch.
func (h *house) hour(e types.Epoch, f flow) {
	h.t.Helper()
	var records []energy.Record
	for i := range uint64(4) {
		h.wh[energy.PV] += f.pv
		h.wh[energy.Export] += f.exp
		h.wh[energy.Import] += f.imp
		r := energy.Record{K: hourOf(e)/900 + i, Boot: 1, Present: 1<<energy.Export | 1<<energy.Import, Wh: h.wh}
		if h.seq > 0 { // who asks has panels
			r.Present |= 1 << energy.PV
		}
		for reg := range energy.Registers {
			if !r.Present.Has(reg) {
				r.Wh[reg] = 0
			}
		}
		records = append(records, r)
	}
	for _, m := range energy.Pack(records) {
		h.submit(energy.KindMeter, m.Encode())
	}
}

// hourOf is when an epoch begins: one is an hour.
func hourOf(e types.Epoch) uint64 {
	return roletest.Genesis + uint64(e-1)*roletest.Blocks*roletest.BlockTime
}

// do sends a request and decodes its answer, which must have a status.
func do[T any](c *town, status int, method, path string, in any) (out T) {
	c.t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		c.t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(c.t.Context(), method, path, bytes.NewReader(raw))
	r.Header.Set("Content-Type", "application/json")
	c.http.ServeHTTP(w, r)
	if w.Code != status {
		c.t.Fatalf("%s %s %s: %d, want %d: %s", method, path, raw, w.Code, status, w.Body)
	}
	if text, ok := any(&out).(*string); ok {
		*text = w.Body.String()
		return out
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		c.t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
	}
	return out
}

// community and certificate are orders as most tests sign them.
func (c *town) community() Terms {
	key := c.consumer.d.Key()
	return Terms{Rule: "community", Meter: &key, Limit: 250, Wh: 1000, Cap: 1_000_000}
}

func company() Terms {
	return Terms{Rule: "certificate", Limit: 20, Wh: 150, Cap: 500_000, Beneficiary: "Bakery Ltd"}
}

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
