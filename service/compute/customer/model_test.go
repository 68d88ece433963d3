package customer

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// liar is a device that sells answers of the model m, and says what the test likes.
type liar struct {
	*roletest.Device
	client *link.Client
	play   func(l *liar, s *link.Stream, number uint64, body []byte) error
	weigh  uint32 // of the session's ask; 0 stands for what it publishes

	mu       sync.Mutex
	price    uint64
	orders   int
	receipts []receipt.Receipt
	order    compute.Order
	wg       sync.WaitGroup
}

func newLiar(t *testing.T, w *roletest.World, name string, price uint64, play func(*liar, *link.Stream, uint64, []byte) error) *liar {
	t.Helper()
	l := &liar{Device: w.Device(name), price: price, play: play}
	l.client = link.NewClient(l.TLS(), new(net.Dialer).DialContext)
	l.Requests = map[string]role.RequestHandler{compute.KindOrder: {From: role.Payers, Serve: l.take}}
	l.Start(l)
	t.Cleanup(l.wg.Wait)
	return l
}

func (l *liar) terms(session types.SessionID, prompt uint32) []byte {
	return (&compute.Terms{Profiles: []compute.Profile{{Name: "model/m", Prompt: prompt, Completion: 4}}, Session: session}).Encode()
}

// Run implements role.Provider's.
func (l *liar) Run(ctx context.Context, host role.Host) error {
	notices := host.Notices(ctx)
	for {
		var n role.Notice
		select {
		case n = <-notices:
		case <-ctx.Done():
			return nil
		}
		free := types.U64(16 * compute.Slot(compute.Model))
		ask := receipt.Ask{Chain: host.Chain(), Device: host.Key(), Category: types.Compute, Class: compute.Model, Price: l.price, Capacity: free, Terms: l.terms(types.SessionID{}, 1), Until: n.Epoch + 10}
		if _, err := host.Offer(ctx, ask); err != nil {
			return err
		}
		host.Beat(compute.Model, free, false)
	}
}

func (l *liar) take(_ context.Context, host role.Host, r *role.Request) ([]byte, error) {
	call, err := compute.DecodeCall(r.Body)
	if err != nil {
		return nil, err
	}
	o := call.Order.Order
	ask := receipt.Ask{Chain: host.Chain(), Device: host.Key(), Category: types.Compute, Class: o.Class, Price: o.Ceiling, Terms: l.terms(o.Session, max(l.weigh, 1)), Until: o.Session.Expiry()}
	l.mu.Lock()
	l.orders++
	l.order = o
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	l.wg.Go(func() {
		defer cancel()
		l.serve(ctx, &o)
	})
	return (&compute.Answer{Order: o.Hash(), Ask: ask.Sign(l.TLS()).Encode()}).Encode(), nil
}

// serve joins the gateway and plays, request by request, until the stream breaks.
func (l *liar) serve(ctx context.Context, o *compute.Order) {
	s, err := l.client.Join(ctx, link.Gateway{Address: o.Gateway, Key: o.Link}, o.Hash())
	if err != nil {
		return
	}
	defer s.Close()
	var body []byte
	for {
		f, err := s.Read()
		if err != nil {
			return
		}
		switch f.Kind {
		case link.Receipt:
			if r, err := receipt.Decode(f.Data, roletest.Chain); err == nil {
				l.mu.Lock()
				l.receipts = append(l.receipts, r.Receipt)
				l.mu.Unlock()
			}
		case link.Request:
			if body = append(body, f.Data...); f.Stream == link.Whole {
				whole := body
				l.wg.Go(func() { _ = l.play(l, s, f.Offset, whole) })
				body = nil
			}
		}
	}
}

// paid is the most units that a receipt says.
func (l *liar) paid() (units uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.receipts {
		n, _ := l.receipts[i].Units.Uint64()
		units = max(units, n)
	}
	return units
}

func head(s *link.Stream, number uint64, kind string) error {
	return s.Write(link.Frame{Kind: link.Answer, Stream: link.Head, Offset: number, Data: append(binary.BigEndian.AppendUint16(nil, 200), kind...)})
}

func event(s *link.Stream, number uint64, words ...string) error {
	var b bytes.Buffer
	for _, w := range words {
		fmt.Fprintf(&b, "data: {\"choices\":[{\"delta\":{\"content\":%q}}]}\n\n", w)
	}
	return s.Write(link.Frame{Kind: link.Answer, Stream: link.Body, Offset: number, Data: b.Bytes()})
}

func claim(s *link.Stream, units uint64) error {
	return s.Write(link.Frame{Kind: link.State, Offset: units})
}

func done(s *link.Stream, number uint64) error {
	return s.Write(link.Frame{Kind: link.Answer, Stream: link.Done, Offset: number})
}

const request = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]%s}`

// chat sends a request and returns what came.
func (g *gateway) chat(more string) (status int, raw string) {
	var out []byte
	status = g.call("POST", "/chat/completions", []byte(fmt.Sprintf(request, more)), &out, "Content-Type", "application/json")
	return status, string(out)
}

func (g *gateway) seesModel(n int) {
	g.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if m, ok := g.model("m"); ok && m.Devices == n && m.Free >= uint32(n) || time.Now().After(end) {
			return
		}
	}
}

// TestModelCheats: what a device charges beyond the bytes that came is not paid, and it is left; what it gets
// for bytes that did come it keeps.
func TestModelCheats(t *testing.T) {
	body := uint64(len(fmt.Sprintf(request, "")))
	for name, c := range map[string]struct {
		more string
		play func(l *liar, s *link.Stream, n uint64, body []byte) error
		most uint64 // units that it is paid
		says string // in the stream
	}{
		"honest": {play: func(_ *liar, s *link.Stream, n uint64, _ []byte) error {
			_ = head(s, n, "text/event-stream")
			_ = event(s, n, "one ", "two")
			_ = claim(s, 5+4*2)
			return done(s, n)
		}, most: 13, says: "[DONE]"},
		"at the bound": {play: func(_ *liar, s *link.Stream, n uint64, _ []byte) error {
			_ = head(s, n, "text/event-stream")
			_ = event(s, n, "one ", "two")
			_ = claim(s, body+4*7)
			return done(s, n)
		}, most: body + 4*7, says: "[DONE]"},
		"invents a token": {play: func(_ *liar, s *link.Stream, n uint64, _ []byte) error {
			_ = head(s, n, "text/event-stream")
			_ = event(s, n, "one ", "two")
			return claim(s, body+4*7+1)
		}, says: "compute.tokens_unshown"},
		"charges before it answers": {play: func(_ *liar, s *link.Stream, n uint64, _ []byte) error { return claim(s, 1) }, says: "compute.tokens_unshown"},
		"counts a chunk twice": {play: func(_ *liar, s *link.Stream, n uint64, _ []byte) error { // it hopes that the wrapping counts
			_ = head(s, n, "text/event-stream")
			_ = event(s, n, "one ")
			_ = claim(s, body+4*8)
			return event(s, n, "one ")
		}, says: "compute.tokens_unshown"},
		"repeats chunks": {more: `,"max_tokens":2`, play: func(_ *liar, s *link.Stream, n uint64, _ []byte) error {
			_ = head(s, n, "text/event-stream")
			for range 100 {
				_ = event(s, n, "one ")
			}
			return claim(s, 200+4*2)
		}, says: "compute.tokens_unshown"},
		"goes on after the end": {play: func(_ *liar, s *link.Stream, n uint64, _ []byte) error {
			_ = head(s, n, "text/event-stream")
			_ = event(s, n, "one ")
			_ = done(s, n)
			_ = event(s, n, strings.Repeat("x", 1000))
			return claim(s, body+4*1000)
		}, says: "[DONE]"},
		"charges more at the end": {play: func(l *liar, s *link.Stream, n uint64, _ []byte) error {
			_ = head(s, n, "text/event-stream")
			_ = event(s, n, "one ")
			_ = done(s, n)
			res := &compute.Result{Stdout: compute.Nothing, Stderr: compute.Nothing, Output: compute.Files{}.Root(), Fuel: 1 << 30}
			l.mu.Lock()
			o := l.order
			l.mu.Unlock()
			leaf := &compute.SignedLeaf{Epoch: 1, Leaf: compute.Leaf{Session: o.Session, Index: o.Index, Job: o.Job, Result: res.Hash(), Fuel: 1 << 30, Mode: o.Mode}}
			leaf.Signature = l.Sign(compute.DomainLeaf, leaf.Payload())
			return s.Write(link.Frame{Kind: link.End, Data: (&compute.Ended{Result: res, Leaf: leaf}).Encode()})
		}, says: "[DONE]"},
	} {
		t.Run(name, func(t *testing.T) {
			w := roletest.New(t, compute.New())
			l := newLiar(t, w, "liar", 1_000_000, c.play)
			g := newGateway(t, w.Market("buyer", 1<<40))
			g.seesModel(1)
			status, raw := g.chat(c.more)
			if !strings.Contains(raw, c.says) {
				t.Errorf("%d %s", status, raw)
			}
			left := func() bool { // the gateway has left it
				g.mu.Lock()
				defer g.mu.Unlock()
				return len(g.running) == 0
			}
			for end := time.Now().Add(5 * time.Second); (l.paid() < c.most || c.most == 0 && !left()) && time.Now().Before(end); time.Sleep(time.Millisecond) {
			}
			g.stop()
			l.wg.Wait()
			if got := l.paid(); got != c.most {
				t.Errorf("it was paid for %d units, want %d", got, c.most)
			}
		})
	}
}

// TestModelWeights: a device that weighs tokens otherwise in a session than in what it publishes is not taken.
func TestModelWeights(t *testing.T) {
	w := roletest.New(t, compute.New())
	l := newLiar(t, w, "liar", 1_000_000, func(_ *liar, s *link.Stream, n uint64, _ []byte) error { return done(s, n) })
	l.weigh = 1000
	g := newGateway(t, w.Market("buyer", 1<<40))
	g.seesModel(1)
	if status, raw := g.chat(""); status != http.StatusTooManyRequests || !strings.Contains(raw, "device_compute.class_mismatch") {
		t.Errorf("%d %s", status, raw)
	}
}

// TestModelRanks: devices are compared by what tokens cost there, not by their prices alone, and the cheapest
// is paid what the next one asks.
func TestModelRanks(t *testing.T) {
	s := &shelves{of: map[string]*shelf{}, by: map[types.Key][]string{}}
	offer := func(n byte, price uint64, prompt, completion uint32) role.Offer {
		key := roletest.Key(string(rune('a' + n)))
		terms := compute.Terms{Profiles: []compute.Profile{{Name: "model/m", Prompt: prompt, Completion: completion}}}
		ask := receipt.Ask{Device: key.Public(), Category: types.Compute, Class: compute.Model, Price: price, Terms: terms.Encode(), Until: 10}
		return role.Offer{Ask: ask.Sign(key), Owner: types.Account{n + 1}, Quality: 10_000}
	}
	s.put([]role.Offer{offer(0, 100, 10, 40), offer(1, 500, 1, 4), offer(2, 100, 20_000, 1)}, nil)
	book := s.book("model/m")
	asks, _ := book.Asks(compute.Model, 10, 0)
	if len(asks) != 2 || asks[0].Device != roletest.Key("b").Public() || asks[0].Price != 500*7 || asks[1].Price != 100*70 {
		t.Fatalf("%+v", asks)
	}
	if len(s.models()) != 1 || s.devices() != 2 {
		t.Errorf("%v, %d devices", s.models(), s.devices())
	}
	if s.put(nil, nil); len(s.models()) != 0 {
		t.Errorf("%v", s.models())
	}
}
