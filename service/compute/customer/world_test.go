package customer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// module is the least that can run: a memory, and a _start that does nothing.
var module = []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00\x0a\x04\x01\x02\x00\x0b")

// play is what a test's device does with a job that it has accepted: it says what it likes.
type play func(r *run) error

// run is a job at a test's device.
type run struct {
	d     *device
	call  *compute.Call
	order types.Hash
	ctx   context.Context
	out   []byte // what the job writes
	fuel  uint64

	have   [link.Outputs]uint64       // of the gateway, when it was joined last
	joined func([link.Outputs]uint64) // is told so
}

// device is a device that speaks the protocol and runs nothing: what comes out, the test says.
type device struct {
	*roletest.Device
	price  uint64
	answer func(*compute.Order) types.Reason // nil: accepts
	play   play
	client *link.Client

	mu       sync.Mutex
	asks     map[types.SessionID]*receipt.SignedAsk
	accepted atomic.Int32
	receipts []*receipt.Signed
	wg       sync.WaitGroup
}

// newDevice begins to offer at a price.
func newDevice(t *testing.T, w *roletest.World, name string, price uint64, p play) *device {
	t.Helper()
	d := &device{Device: w.Device(name), price: price, play: p, asks: map[types.SessionID]*receipt.SignedAsk{}}
	d.client = link.NewClient(d.TLS(), new(net.Dialer).DialContext)
	d.Requests = map[string]role.RequestHandler{compute.KindOrder: {From: role.Payers, Serve: d.take}}
	d.Start(d)
	t.Cleanup(d.wg.Wait)
	return d
}

// last returns the newest receipt, once the device has done what it was to do.
func (d *device) last() receipt.Receipt {
	d.wg.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.receipts[len(d.receipts)-1].Receipt
}

// Run implements role.Provider's.
func (d *device) Run(ctx context.Context, host role.Host) error {
	notices := host.Notices(ctx)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	free := types.U64(16 * compute.Slot(compute.Wasm))
	terms := &compute.Terms{Profiles: []compute.Profile{{Name: compute.WasmProfile}}}
	for {
		select {
		case n := <-notices:
			ask := receipt.Ask{Chain: host.Chain(), Device: host.Key(), Category: types.Compute, Class: compute.Wasm, Price: d.price,
				Capacity: free, Terms: terms.Encode(), Until: n.Epoch + 10}
			if _, err := host.Offer(ctx, ask); err != nil {
				return err
			}
			host.Beat(compute.Wasm, free, false)
		case <-tick.C:
			host.Beat(compute.Wasm, free, false)
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *device) take(_ context.Context, host role.Host, r *role.Request) ([]byte, error) {
	call, err := compute.DecodeCall(r.Body)
	if err != nil {
		return nil, err
	}
	o := &call.Order.Order
	if !call.Order.Verify(host.Chain()) || o.Payer != r.From {
		return nil, types.Refuse(types.BadSignature, "order")
	}
	answer := &compute.Answer{Order: o.Hash(), Ask: []byte{}}
	if d.answer != nil {
		answer.Reason = d.answer(o)
	}
	if answer.Reason == "" {
		terms := &compute.Terms{Profiles: []compute.Profile{{Name: compute.WasmProfile}}, Session: o.Session}
		ask := receipt.Ask{Chain: host.Chain(), Device: host.Key(), Category: types.Compute, Class: o.Class, Price: o.Ceiling, Terms: terms.Encode(), Until: o.Session.Expiry()}
		d.mu.Lock()
		signed := d.asks[o.Session]
		if signed == nil {
			signed = ask.Sign(d.TLS())
			d.asks[o.Session] = signed
		}
		d.mu.Unlock()
		answer.Ask = signed.Encode()
		d.accepted.Add(1)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		d.wg.Go(func() {
			defer cancel()
			_ = d.play(&run{d: d, call: call, order: o.Hash(), ctx: ctx, out: []byte("hello\n"), fuel: 3_000_000_000})
		})
	}
	return answer.Encode(), nil
}

// join opens the stream, and returns from where on the gateway lacks output.
func (r *run) join() (*link.Stream, uint64, error) {
	o := &r.call.Order.Order
	for {
		s, err := r.d.client.Join(r.ctx, link.Gateway{Address: o.Gateway, Key: o.Link}, r.order)
		if types.ReasonOf(err) != "" || r.ctx.Err() != nil {
			return nil, 0, err
		}
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		f, err := s.Read()
		if err != nil {
			return nil, 0, err
		}
		r.have, err = link.ParseOffsets(f.Data)
		if r.joined != nil {
			r.joined(r.have)
		}
		return s, r.have[0], err
	}
}

// write sends what the gateway lacks of the output.
func (r *run) write(s *link.Stream, at uint64) error {
	if at >= uint64(len(r.out)) {
		return nil
	}
	return s.Write(link.Frame{Kind: link.Output, Stream: uint8(spool.Stdout), Offset: at, Data: r.out[at:]})
}

// ended is how the job ends if its device is honest.
func (r *run) ended() *compute.Ended {
	o := &r.call.Order.Order
	res := &compute.Result{Exit: 7, Stdout: types.Sum(r.out), Stderr: compute.Nothing, Output: compute.Files{}.Root(), Fuel: r.fuel}
	return &compute.Ended{Result: res, Leaf: r.leaf(compute.Leaf{Session: o.Session, Index: o.Index, Job: o.Job, Result: res.Hash(), Fuel: r.fuel, Mode: o.Mode})}
}

func (r *run) leaf(l compute.Leaf) *compute.SignedLeaf {
	s := &compute.SignedLeaf{Epoch: 1, Leaf: l}
	s.Signature = r.d.Sign(compute.DomainLeaf, s.Payload())
	return s
}

// finish sends the end, and waits until the gateway has it; what it signs until then is kept.
func (r *run) finish(s *link.Stream, e *compute.Ended) error {
	if err := s.Write(link.Frame{Kind: link.End, Data: e.Encode()}); err != nil {
		return err
	}
	return r.await(s, link.Kept)
}

func (r *run) await(s *link.Stream, kind link.Kind) error {
	for {
		f, err := s.Read()
		if err != nil {
			return err
		}
		if f.Kind == link.Receipt {
			signed, err := receipt.Decode(f.Data, roletest.Chain)
			if err != nil {
				return err
			}
			r.d.mu.Lock()
			r.d.receipts = append(r.d.receipts, signed)
			r.d.mu.Unlock()
		}
		if f.Kind == kind {
			return nil
		}
	}
}

// honest runs a job as it should.
func honest(r *run) error {
	s, at, err := r.join()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := r.write(s, at); err != nil {
		return err
	}
	if err := s.Write(link.Frame{Kind: link.State, Offset: r.fuel / 3}); err != nil {
		return err
	}
	return r.finish(s, r.ended())
}

// ending is honest, but for how it says that the job ended.
func ending(change func(*run, *compute.Ended)) play {
	return func(r *run) error {
		s, at, err := r.join()
		if err != nil {
			return err
		}
		defer s.Close()
		if err := r.write(s, at); err != nil {
			return err
		}
		e := r.ended()
		change(r, e)
		return r.finish(s, e)
	}
}

// gateway is a customer behind HTTP.
type gateway struct {
	*Customer
	t    *testing.T
	m    *roletest.Market
	http *httptest.Server
	stop func()
}

func newGateway(t *testing.T, m *roletest.Market, cfg ...Config) *gateway {
	t.Helper()
	c := New(append(cfg, Config{})[0])
	h, err := c.Mount(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Listen(role.Place{IP: "127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	g := &gateway{Customer: c, t: t, m: m, http: httptest.NewServer(h)}
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("gateway: %v", err)
		}
		g.http.CloseClientConnections()
		g.http.Close()
	})
	t.Cleanup(g.stop)
	return g
}

// sees waits until the gateway knows what so many devices ask and have free.
func (g *gateway) sees(n int) {
	g.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		asks, free := g.book.Asks(compute.Wasm, 100, g.now())
		if len(asks) == n && !slices.Contains(free, 0) {
			return
		}
		if time.Now().After(end) {
			g.t.Fatalf("the gateway knows %d devices, free are %v, want %d", len(asks), free, n)
		}
	}
}

// call sends a request and decodes the answer, whatever its status.
func (g *gateway) call(method, path string, body []byte, out any, header ...string) int {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.http.URL+path, bytes.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if p, ok := out.(*[]byte); ok {
		*p = raw
	} else if out != nil {
		if err := decode(raw, out); err != nil {
			g.t.Fatalf("%s %s: %s: %q: %v", method, path, res.Status, raw, err)
		}
	}
	return res.StatusCode
}

// submit submits the module, and returns the job's id.
func (g *gateway) submit(query string) string {
	g.t.Helper()
	var p Placement
	var raw []byte
	if status := g.call("POST", "/jobs?"+query, module, &raw, "Content-Type", "application/wasm"); status != http.StatusCreated {
		g.t.Fatalf("submit: %d %s", status, raw)
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		g.t.Fatal(err)
	}
	return p.ID
}

// result waits for a job's end.
func (g *gateway) result(id string) (r JobResult) {
	g.t.Helper()
	var raw []byte
	if status := g.call("GET", "/jobs/"+id+"/result?wait=1", nil, &raw); status != http.StatusOK {
		g.t.Fatalf("result: %d %s", status, raw)
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		g.t.Fatal(err)
	}
	return r
}

var errPlay = errors.New("the device goes away")

func short(k types.Key) string { return fmt.Sprintf("%.20s", k.String()) }

func decode(raw []byte, v any) error { return json.Unmarshal(raw, v) }
