package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// memo is a store that forgets with the test.
type memo struct{ m sync.Map }

func (s *memo) Get(name string) []byte {
	if v, ok := s.m.Load(name); ok {
		return v.([]byte)
	}
	return nil
}

func (s *memo) Put(name string, value []byte) error { s.m.Store(name, value); return nil }

// asker logs an agent on.
func (w *world) asker(key types.PrivateKey, as bus.Role) *agent.Agent {
	w.t.Helper()
	w.roles.Set(key.Public(), as)
	a, err := agent.New(agent.Config{Key: key, Pin: bus.Pin{Chain: chain, Epoch: 1, Set: w.set}, Dial: w.memory.Dial, Store: new(memo), Log: quiet})
	ok(w.t, err)
	go a.Run(w.ctx, func(context.Context, bus.Bus) error { return nil })
	w.until("the asker is logged on", func() bool { return a.Bus() != nil })
	return a
}

// fund has verifiers say what a payer has.
func (w *world) fund(key types.Key, balance types.Credit) {
	for _, v := range w.verifiers {
		v.do(func() {
			v.payers[key] = bus.PayerLine{Key: key, Account: types.Account{1}, Limit: 100, Expiry: 1000, Balance: balance}
		})
	}
}

// counter serves "count": it counts what it serves, and answers with the number.
type counter struct {
	provider
	served atomic.Int64
	hold   chan struct{} // "hold" waits for it
}

func newCounter() *counter {
	return &counter{provider: *newProvider(), hold: make(chan struct{})}
}

func (c *counter) role() role.Provider {
	p := c.provider.role()
	p.Requests = map[string]role.RequestHandler{
		"count": {From: role.Payers | role.Verifiers, Serve: func(_ context.Context, host role.Host, r *role.Request) ([]byte, error) {
			return fmt.Appendf(nil, "%d %s", c.served.Add(1), r.Body), nil
		}},
		"steps": {From: role.Verifiers, Serve: func(ctx context.Context, host role.Host, r *role.Request) ([]byte, error) {
			for i := range byte(3) {
				if err := r.Send([]byte{i}); err != nil {
					return nil, err
				}
			}
			return []byte("done"), nil
		}},
		"hold": {From: role.Anybody, Serve: func(ctx context.Context, _ role.Host, r *role.Request) ([]byte, error) {
			c.served.Add(1)
			select {
			case <-c.hold:
			case <-ctx.Done():
			}
			return nil, nil
		}},
		"refuse": {From: role.Payers, Serve: func(context.Context, role.Host, *role.Request) ([]byte, error) {
			return nil, types.Refuse("storage.busy", "not now")
		}},
		"fail": {From: role.Payers, Serve: func(context.Context, role.Host, *role.Request) ([]byte, error) {
			return nil, errors.New("a path that is nobody's affair")
		}},
		"panic": {From: role.Payers, Serve: func(context.Context, role.Host, *role.Request) ([]byte, error) { panic("oh") }},
		"long": {From: role.Payers, Serve: func(context.Context, role.Host, *role.Request) ([]byte, error) {
			return make([]byte, role.MaxAsked+1), nil
		}},
	}
	return p
}

// counting starts a device that counts.
func (w *world) counting() (*device, *counter) {
	w.t.Helper()
	c := newCounter()
	d := w.start(w.home(), c.role())
	<-c.hosts
	w.until("the device has logged on and heard a notice", func() bool { return d.agent.Bus() != nil && d.agent.Notice() != nil })
	return d, c
}

func ask(a *agent.Agent, key types.PrivateKey, wait time.Duration, q role.Question) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	return a.Ask(ctx, key, types.Storage, q)
}

const long = 10 * time.Second

func TestAsk(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	payer, poor, stranger, door := bustest.Key(1), bustest.Key(2), bustest.Key(3), bustest.Key(4)
	w.fund(payer.Public(), 50)
	w.fund(poor.Public(), 0)
	gateway := w.asker(door, bus.RoleGateway)
	_, err := ask(gateway, payer, long, role.Question{Device: bustest.Key(77).Public(), Kind: "count"})
	wantReason(t, err, types.DeviceAway)
	d, _ := w.counting()
	answer, err := ask(gateway, payer, long, role.Question{Device: d.Key(), Kind: "count", Body: []byte("job")})
	ok(t, err)
	if string(answer) != "1 job" {
		t.Fatalf("the answer is %q", answer)
	}
	for _, c := range []struct {
		kind   string
		by     types.PrivateKey
		reason types.Reason
	}{
		{"count", poor, types.OverBudget}, {"count", stranger, types.UnknownKey}, {"count", payer, ""}, {"count", w.verifiers[0].key, ""},
		{"steps", payer, types.NotPermitted}, {"hold", payer, types.NotPermitted}, {"nothing", payer, types.UnknownRequest},
		{"refuse", payer, "storage.busy"}, {"fail", payer, types.DeviceFailed}, {"panic", payer, types.DeviceFailed}, {"long", payer, types.Oversize},
		{"", payer, types.BadEncoding},
	} {
		if _, err := ask(gateway, c.by, long, role.Question{Device: d.Key(), Kind: c.kind}); types.ReasonOf(err) != c.reason || (err == nil) != (c.reason == "") {
			t.Errorf("%s: %v, want %q", c.kind, err, c.reason)
		}
	}
	_, err = ask(gateway, payer, long, role.Question{Device: d.Key(), Kind: "count", Body: make([]byte, role.MaxAsked+1)})
	wantReason(t, err, types.Oversize)
	_, err = ask(gateway, door, 50*time.Millisecond, role.Question{Device: d.Key(), Kind: "hold"})
	wantReason(t, err, types.DeviceLate)
}

// TestParts: the parts of an answer come in order, ahead of it, with their times.
func TestParts(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	d, _ := w.counting()
	began := time.Now()
	a := w.asker(bustest.Key(1), bus.RoleGateway)
	var got []byte
	answer, err := ask(a, w.verifiers[0].key, long, role.Question{Device: d.Key(), Kind: "steps", Each: func(p role.Part) {
		if p.Number != uint32(p.Body[0]) || p.At.Before(began) {
			t.Errorf("part %d came at %v with %x", p.Number, p.At, p.Body)
		}
		got = append(got, p.Body...)
	}})
	ok(t, err)
	if string(answer) != "done" || !bytes.Equal(got, []byte{0, 1, 2}) {
		t.Fatalf("%x, then %q", got, answer)
	}
}

// direct logs on, and sends requests as they are.
type direct struct {
	w   *world
	bus bus.Bus
}

func (w *world) direct(key types.PrivateKey, as bus.Role) *direct {
	w.t.Helper()
	w.roles.Set(key.Public(), as)
	b, err := w.memory.Dial(w.ctx, key)
	ok(w.t, err)
	w.t.Cleanup(b.Close)
	return &direct{w, b}
}

func (d *direct) send(to types.Key, raw []byte) (*bus.Answer, error) {
	ctx, cancel := context.WithTimeout(d.w.ctx, time.Second)
	defer cancel()
	data, err := d.bus.Request(ctx, bus.RequestSubject(d.bus.Key(), to), raw)
	if err != nil {
		return nil, err
	}
	a, by, err := bus.Open[bus.Answer](data, chain)
	if err == nil && (by != to || a.Request != types.Sum(raw)) {
		err = fmt.Errorf("%v answers %v", by, a.Request)
	}
	return a, err
}

func wish(device types.Key, kind string, id byte) *bus.Request {
	return &bus.Request{Chain: chain, Device: device, Category: types.Storage, Kind: kind, ID: [16]byte{id}, Time: uint64(time.Now().UnixMilli()),
		Wait: 5000, Body: []byte("x")}
}

// TestReplay: who sends a request again, whoever that is, has the device do nothing again: not while it
// remembers the answer, not later, and not after a restart.
func TestReplay(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	payer := bustest.Key(1)
	w.fund(payer.Public(), 50)
	d, c := w.counting()
	door, other := w.direct(bustest.Key(2), bus.RoleGateway), w.direct(bustest.Key(3), bus.RoleGateway)
	raw := bus.Seal(payer, wish(d.Key(), "count", 1))
	for i := range 5 {
		a, err := []*direct{door, other}[i%2].send(d.Key(), raw)
		ok(t, err)
		if string(a.Body) != "1 x" || a.Reason != "" {
			t.Fatalf("time %d: %q, %q", i, a.Body, a.Reason)
		}
	}
	twin := wish(d.Key(), "count", 1)
	twin.Body = []byte("another")
	a, err := door.send(d.Key(), bus.Seal(payer, twin))
	ok(t, err)
	if a.Reason != types.AskedBefore {
		t.Errorf("another request with its id: %q, %q", a.Body, a.Reason)
	}
	// Its answer is too long to be remembered.
	d.desk.mu.Lock()
	for _, s := range d.desk.seen {
		d.desk.kept -= len(s.answer)
		s.answer = nil
	}
	d.desk.mu.Unlock()
	a, err = door.send(d.Key(), raw)
	ok(t, err)
	if a.Reason != types.AskedBefore {
		t.Errorf("without its answer: %q, %q", a.Body, a.Reason)
	}
	// It is forgotten, and the device's clock is set back.
	began := time.Now()
	d.desk.set(func() time.Time { return began.Add(bus.MaxBehind + bus.MaxAhead + time.Second) })
	fresh := wish(d.Key(), "count", 2)
	fresh.Time += uint64((bus.MaxBehind + bus.MaxAhead).Milliseconds())
	a, err = door.send(d.Key(), bus.Seal(payer, fresh))
	ok(t, err)
	if string(a.Body) != "2 x" {
		t.Fatalf("a request of then: %q, %q", a.Body, a.Reason)
	}
	for i, later := range []time.Duration{bus.MaxBehind + bus.MaxAhead + time.Second, 0} {
		d.desk.set(func() time.Time { return began.Add(later) })
		a, err = []*direct{door, other}[i].send(d.Key(), raw)
		ok(t, err)
		if a.Reason != types.StaleRequest {
			t.Errorf("after it was forgotten, %v later: %q, %q", later, a.Body, a.Reason)
		}
	}
	if n := c.served.Load(); n != 2 {
		t.Errorf("two requests were served %d times", n)
	}
}

// TestReplayAfterRestart: a device that starts again remembers nothing, and serves nothing that it may have served.
func TestReplayAfterRestart(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	payer := bustest.Key(1)
	w.fund(payer.Public(), 50)
	d, _ := w.counting()
	door := w.direct(bustest.Key(2), bus.RoleGateway)
	raw := bus.Seal(payer, wish(d.Key(), "count", 1))
	_, err := door.send(d.Key(), raw)
	ok(t, err)
	d.stop()
	again := newCounter()
	d = w.start(d.home, again.role())
	<-again.hosts
	w.until("the device is back", func() bool { return d.agent.Bus() != nil && d.agent.Notice() != nil })
	a, err := door.send(d.Key(), raw)
	ok(t, err)
	if a.Reason != types.StaleRequest || again.served.Load() != 0 {
		t.Errorf("%q, %q, served %d times", a.Body, a.Reason, again.served.Load())
	}
	d.desk.set(func() time.Time { return time.Now().Add(2 * deskStep) })
	later := wish(d.Key(), "count", 2)
	later.Time += uint64((2 * deskStep).Milliseconds())
	a, err = door.send(d.Key(), bus.Seal(payer, later))
	ok(t, err)
	if string(a.Body) != "1 x" {
		t.Errorf("a while later: %q, %q", a.Body, a.Reason)
	}
}

// TestForgedRequest: what is not for this device, or not signed by who it says, is not answered, and nothing is
// done for it.
func TestForgedRequest(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	payer := bustest.Key(1)
	w.fund(payer.Public(), 50)
	d, c := w.counting()
	door := w.direct(bustest.Key(2), bus.RoleGateway)
	bend := func(change func(*bus.Request)) []byte {
		r := wish(d.Key(), "count", 9)
		change(r)
		return bus.Seal(payer, r)
	}
	var forged bus.Sealed
	ok(t, types.Decode(bus.Seal(bustest.Key(5), wish(d.Key(), "count", 8)), &forged))
	forged.Signer = payer.Public()
	for what, raw := range map[string][]byte{
		"for another device":   bend(func(r *bus.Request) { r.Device = bustest.Key(9).Public() }),
		"of another chain":     bend(func(r *bus.Request) { r.Chain = "other" }),
		"in another's name":    types.Encode(&forged),
		"signed as an answer":  types.Encode(&bus.Sealed{Body: types.Encode(wish(d.Key(), "count", 7)), Signer: payer.Public(), Signature: payer.Sign("answer", chain, types.Encode(wish(d.Key(), "count", 7)))}),
		"that is none":         []byte("garbage"),
		"that is far too long": make([]byte, bus.MaxMessage),
	} {
		ctx, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
		_, err := door.bus.Request(ctx, bus.RequestSubject(door.bus.Key(), d.Key()), raw)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a request %s: %v", what, err)
		}
	}
	for what, change := range map[string]func(*bus.Request){
		"long ago":   func(r *bus.Request) { r.Time -= uint64((bus.MaxBehind + time.Second).Milliseconds()) },
		"yet to be":  func(r *bus.Request) { r.Time += uint64((bus.MaxAhead + 2*time.Second).Milliseconds()) },
		"never made": func(r *bus.Request) { r.Time = 0 },
		"overflow":   func(r *bus.Request) { r.Time = 1<<64 - 1 },
	} {
		a, err := door.send(d.Key(), bend(change))
		ok(t, err)
		if a.Reason != types.StaleRequest {
			t.Errorf("a request of a time %s: %q, %q", what, a.Body, a.Reason)
		}
	}
	if n := c.served.Load(); n != 0 {
		t.Errorf("%d of them were served", n)
	}
}

// TestForgedAnswer: what the device did not sign for this request is no answer to it; neither is what comes too late.
func TestForgedAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	device, liar, payer := bustest.Key(1), bustest.Key(2), bustest.Key(3)
	a := w.asker(bustest.Key(4), bus.RoleGateway)
	w.roles.Set(device.Public(), bus.RoleDevice)
	link, err := w.memory.Dial(w.ctx, device)
	ok(t, err)
	t.Cleanup(link.Close)
	var old []byte // an answer to an earlier request
	ok(t, link.Subscribe(w.ctx, bus.RequestSubject(types.Key{}, device.Public()), func(m bus.Message) {
		r, err := bus.ReadRequest(m.Data, chain)
		if err != nil {
			t.Error(err)
			return
		}
		honest := bus.Answer{Chain: chain, Request: r.Hash, Last: true, Body: []byte("yes")}
		switch r.Kind {
		case "honest":
			old = bus.Seal(device, &honest)
			link.Respond(w.ctx, m, old)
		case "forged":
			link.Respond(w.ctx, m, bus.Seal(liar, &honest))
		case "old":
			link.Respond(w.ctx, m, old)
		case "garbage":
			link.Respond(w.ctx, m, []byte("garbage"))
		case "late":
			time.Sleep(100 * time.Millisecond)
			link.Respond(w.ctx, m, bus.Seal(device, &honest))
		case "after": // lies do not keep the truth from being heard
			link.Respond(w.ctx, m, []byte("garbage"))
			link.Respond(w.ctx, m, old)
			link.Respond(w.ctx, m, bus.Seal(device, &honest))
		case "twice":
			for _, part := range []uint32{0, 1, 1, 0, 5} {
				link.Respond(w.ctx, m, bus.Seal(device, &bus.Answer{Chain: chain, Request: r.Hash, Part: part}))
			}
			honest.Part = 6
			link.Respond(w.ctx, m, bus.Seal(device, &honest))
		}
	}))
	_, err = ask(a, payer, long, role.Question{Device: device.Public(), Kind: "honest"})
	ok(t, err)
	var all sync.WaitGroup
	for _, c := range []struct {
		kind   string
		wait   time.Duration
		reason types.Reason
	}{
		{"after", long, ""}, {"twice", long, ""}, {"forged", 2 * time.Second, types.BadAnswer}, {"old", 2 * time.Second, types.BadAnswer},
		{"garbage", 2 * time.Second, types.BadAnswer}, {"silent", 50 * time.Millisecond, types.DeviceLate}, {"late", 20 * time.Millisecond, types.DeviceLate},
	} {
		all.Go(func() {
			var parts []uint32
			answer, err := ask(a, payer, c.wait, role.Question{Device: device.Public(), Kind: c.kind, Each: func(p role.Part) { parts = append(parts, p.Number) }})
			if types.ReasonOf(err) != c.reason || (err == nil) != (string(answer) == "yes") {
				t.Errorf("%s: %q, %v, want %q", c.kind, answer, err, c.reason)
			}
			if c.kind == "twice" && fmt.Sprint(parts) != "[0 1 5]" {
				t.Errorf("the parts are %v", parts)
			}
		})
	}
	all.Wait()
}

// TestFlood: of one who asks without end little is looked at, and the others are served.
func TestFlood(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	flooder, payer := bustest.Key(1), bustest.Key(2)
	w.fund(flooder.Public(), 50)
	w.fund(payer.Public(), 50)
	d, c := w.counting()
	began := time.Now()
	d.desk.set(func() time.Time { return began }) // the flood takes no time
	subject := bus.RequestSubject(flooder.Public(), d.Key())
	for i := range 3000 {
		r := wish(d.Key(), "count", 0)
		r.ID, r.Time = [16]byte{1, byte(i), byte(i >> 8)}, uint64(began.UnixMilli())
		d.desk.take(w.ctx, d.agent.Bus(), bus.Message{Subject: subject, Data: bus.Seal(flooder, r),
			Reply: "answer." + bus.Word(d.Key()) + "." + bus.Word(flooder.Public()) + ".x"})
	}
	other := wish(d.Key(), "count", 1)
	other.Time = uint64(began.UnixMilli())
	answer, err := w.direct(payer, bus.RolePayer).send(d.Key(), bus.Seal(payer, other))
	ok(t, err)
	if answer.Reason != "" {
		t.Errorf("the other one is refused: %s", answer.Reason)
	}
	d.desk.mu.Lock()
	looked := d.desk.senders[flooder.Public()].due.Sub(began) / (time.Second / deskRate)
	told := d.desk.senders[flooder.Public()].told.Sub(began) / (time.Second / deskRate)
	d.desk.mu.Unlock()
	if told != deskBurst {
		t.Errorf("%d times the flooder was told so", told)
	}
	if looked > deskBurst || c.served.Load() > deskBurst+1 {
		t.Errorf("%d requests were looked at, %d served", looked, c.served.Load())
	}
}

// TestStrangers: one who brings requests of ever new keys that nobody granted has verifiers asked a few times,
// not each time.
func TestStrangers(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	payer := bustest.Key(2)
	w.fund(payer.Public(), 50)
	d, _ := w.counting()
	a := w.direct(bustest.Key(1), bus.RolePayer)
	reasons := map[types.Reason]int{}
	for i := range 100 {
		stranger := bustest.Key(1000 + i)
		answer, err := a.send(d.Key(), bus.Seal(stranger, wish(d.Key(), "count", 1)))
		ok(t, err)
		reasons[answer.Reason]++
	}
	if reasons[types.UnknownKey] != deskStrangers || reasons[types.DeviceBusy] != 100-deskStrangers {
		t.Errorf("strangers are refused: %v", reasons)
	}
	if n := len(d.payers.keys()); n > deskStrangers {
		t.Errorf("%d strangers are remembered in payers' places", n)
	}
	if answer, err := w.direct(bustest.Key(3), bus.RoleGateway).send(d.Key(), bus.Seal(payer, wish(d.Key(), "count", 1))); err != nil || answer.Reason != "" {
		t.Errorf("another one: %+v, %v", answer, err)
	}
}

// TestPlaces: nobody takes all places, and those of verifiers are their own.
func TestPlaces(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	d, c := w.counting()
	fill := func(key types.PrivateKey) (held int) {
		a := w.direct(key, bus.RoleGateway)
		for i := range 2 * deskSlots {
			before := c.served.Load()
			raw := bus.Seal(key, wish(d.Key(), "hold", byte(i)))
			done := make(chan types.Reason, 1)
			go func() {
				if answer, err := a.send(d.Key(), raw); err == nil {
					done <- answer.Reason
				}
			}()
			w.until("it is served or refused", func() bool { return c.served.Load() > before || len(done) > 0 })
			if c.served.Load() > before {
				held++
			} else if why := <-done; why != types.DeviceBusy {
				t.Fatal(why)
			}
		}
		return held
	}
	if n := fill(bustest.Key(1)); n != deskSlots/2 {
		t.Errorf("the first takes %d places", n)
	}
	if n := fill(bustest.Key(2)); n != deskSlots/4 {
		t.Errorf("the second takes %d places", n)
	}
	for more := 16; more > 0; {
		n := fill(bustest.Key(10 + more))
		if more -= n; n == 0 {
			t.Fatalf("%d places are left, and another one gets none", more)
		}
	}
	if n := fill(bustest.Key(5)); n != 0 {
		t.Errorf("%d more than there are", n)
	}
	verifier := w.verifiers[0]
	if answer, err := w.direct(bustest.Key(3), bus.RoleGateway).send(d.Key(), bus.Seal(verifier.key, wish(d.Key(), "steps", 1))); err != nil || answer.Reason != "" {
		t.Errorf("a verifier: %+v, %v", answer, err)
	}
	close(c.hold)
	w.until("all places are free again", func() bool { return d.desk.free() })
}

// TestLateLookup: what waited for verifiers for longer than its asker waits is not done.
func TestLateLookup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	payer := bustest.Key(1)
	w.fund(payer.Public(), 50)
	d, c := w.counting()
	for _, v := range w.verifiers {
		v.mu.Lock() // it takes its time
	}
	door := w.direct(bustest.Key(2), bus.RoleGateway)
	r := wish(d.Key(), "count", 1)
	r.Wait = 1000
	began := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := door.send(d.Key(), bus.Seal(payer, r))
		sent <- err
	}()
	w.until("it is looked up", d.desk.asking)
	d.desk.set(func() time.Time { return began.Add(2 * time.Second) })
	for _, v := range w.verifiers {
		v.mu.Unlock()
	}
	w.until("it has been looked up", func() bool { return !d.desk.asking() })
	if _, known, err := d.payers.peek(payer.Public()); !known || err != nil {
		t.Fatalf("the payer is not known: %v", err)
	}
	if err := <-sent; !errors.Is(err, context.DeadlineExceeded) || c.served.Load() != 0 {
		t.Errorf("%v, served %d times", err, c.served.Load())
	}
}

// TestEndlessAnswer: a device that does not stop answering is given up.
func TestEndlessAnswer(t *testing.T) {
	w := newWorld(t, 4)
	device, key := bustest.Key(1), bustest.Key(2)
	a := w.asker(key, bus.RoleGateway)
	w.roles.Set(device.Public(), bus.RoleDevice)
	link, err := w.memory.Dial(w.ctx, device)
	ok(t, err)
	t.Cleanup(link.Close)
	next := make(chan struct{}, 64)
	ok(t, link.Subscribe(w.ctx, bus.RequestSubject(types.Key{}, device.Public()), func(m bus.Message) {
		garbage := make([]byte, bus.MaxMessage)
		for range 100 {
			link.Respond(w.ctx, m, garbage)
			time.Sleep(time.Millisecond)
		}
		close(next)
	}))
	_, err = ask(a, key, long, role.Question{Device: device.Public(), Kind: "x"})
	wantReason(t, err, types.BadAnswer)
	if !strings.Contains(err.Error(), "longer") {
		t.Error(err)
	}
	<-next
}
