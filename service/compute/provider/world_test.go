package provider

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
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

// price of a world's devices: a micro-credit for 10⁶ fuel, so that small jobs cost something.
const price = 1000

// script is an Executor whose jobs do what their arguments say: out:TEXT, err:TEXT, cat (copies standard
// input), burn:FUEL, left:NAME=TEXT, zero:NAME=LENGTH, exit:CODE, trap, and wait:NAME until the test opens that gate. What they do costs no time.
type script struct {
	mu    sync.Mutex
	gates map[string]chan struct{}
	runs  int
	bad   types.Reason // of Prepare
	done  uint64       // units that jobs have used in all runs
}

func (x *script) Class() types.Class          { return compute.Wasm }
func (x *script) Profiles() []compute.Profile { return []compute.Profile{{Name: compute.WasmProfile}} }

func (x *script) gate(name string) chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gates[name] == nil {
		x.gates[name] = make(chan struct{})
	}
	return x.gates[name]
}

func (x *script) Prepare(_ context.Context, t *Task) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.bad != "" {
		return types.Refuse(x.bad, "byte 17")
	}
	f, _, err := t.Open(t.Job.Code)
	if err == nil {
		err = f.Close()
	}
	return err
}

func (x *script) Run(ctx context.Context, t *Task) (*compute.Result, compute.Files, error) {
	x.mu.Lock()
	x.runs++
	x.mu.Unlock()
	stdout, stderr := sha256.New(), sha256.New()
	r := &compute.Result{}
	left := compute.Files{}
	leave := func(name string, content []byte) error {
		f := compute.File{Path: name, Size: uint64(len(content))}
		err := t.Left(f, bytes.NewReader(content))
		f.Hash = types.Sum(content)
		left = append(left, f)
		return err
	}
	burn := func(n uint64) error {
		for n > 0 {
			if r.Fuel == t.Job.Limit {
				r.Trap = compute.TrapFuel
				return nil
			}
			allowed, more := t.Meter.Allowed()
			step := min(n, less(allowed, r.Fuel), 50_000_000, t.Job.Limit-r.Fuel)
			if step == 0 {
				select {
				case <-more:
				case <-ctx.Done():
					return ctx.Err()
				}
				continue
			}
			n -= step
			r.Fuel += step
			x.mu.Lock()
			x.done += step
			x.mu.Unlock()
			t.Meter.Used(r.Fuel)
		}
		return nil
	}
	for _, arg := range t.Job.Args {
		op, what, _ := strings.Cut(arg, ":")
		var err error
		switch op {
		case "out":
			_, err = io.MultiWriter(stdout, t.Stdout).Write([]byte(what))
		case "err":
			_, err = io.MultiWriter(stderr, t.Stderr).Write([]byte(what))
		case "cat":
			var in io.ReadCloser
			if in, _, err = t.Open(t.Job.Stdin); err == nil {
				_, err = io.Copy(io.MultiWriter(stdout, t.Stdout), in)
				err = errors.Join(err, in.Close())
			}
		case "left": // NAME=TEXT; without a text what it found
			if name, text, ok := strings.Cut(what, "="); ok {
				err = leave(name, []byte(text))
			} else {
				i, _ := t.Files.Find(name)
				left = append(left, t.Files[i])
				err = t.Left(t.Files[i], nil)
			}
		case "zero": // NAME=LENGTH
			name, text, _ := strings.Cut(what, "=")
			n, _ := strconv.Atoi(text)
			err = leave(name, make([]byte, n))
		case "burn":
			n, _ := strconv.ParseUint(what, 10, 64)
			err = burn(n)
		case "exit":
			n, _ := strconv.ParseUint(what, 10, 32)
			r.Exit = uint32(n)
		case "trap":
			r.Trap = compute.TrapGuest
		case "fail":
			err = errors.New("the machine is broken")
		case "wait":
			select {
			case <-x.gate(what):
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			return nil, nil, err
		}
		if r.Trap != "" {
			break
		}
	}
	r.Stdout, r.Stderr = types.Hash(stdout.Sum(nil)), types.Hash(stderr.Sum(nil))
	r.Output = left.Root()
	return r, left, nil
}

// world is one device, and a customer with a gateway.
type world struct {
	*roletest.World
	t      testing.TB
	device *roletest.Device
	exec   *script
	p      *Provider
	cfg    Config
	*gateway
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{World: roletest.New(t, compute.New()), t: t, exec: &script{gates: map[string]chan struct{}{}}}
	w.MinOpening = 1000
	w.cfg = Config{
		Slots: 4, Prices: map[types.Class]uint64{compute.Wasm: price}, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Open: func(string) ([]Executor, []Lack, error) { return []Executor{w.exec}, nil, nil },
	}
	if change != nil {
		change(&w.cfg)
	}
	w.device = w.Device("device")
	w.gateway = w.gate("customer", 1<<40)
	w.start()
	return w
}

// start runs the device anew.
func (w *world) start() {
	w.t.Helper()
	var err error
	if w.p, err = New(w.cfg); err != nil {
		w.t.Fatal(err)
	}
	w.device.Requests = w.p.Role().Requests
	w.device.Start(w.p)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { // an earlier Run may still be taken for this one
		if d := w.p.device.Load(); d != nil {
			d.mu.Lock()
			epoch := d.now()
			d.mu.Unlock()
			if epoch > 0 {
				return
			}
			w.Tell()
		}
		if time.Now().After(end) {
			w.t.Fatal("the device does not begin")
		}
	}
}

// gateway is a customer's side: it orders, gets what comes out, and pays.
type gateway struct {
	w      *world
	market *roletest.Market
	server *link.Server
	stop   func()
	addr   string

	mu     sync.Mutex
	inputs map[types.Hash][]byte
	jobs   map[types.Hash]*ordered
	// pay decides about a receipt before it is signed; nil pays all.
	pay  func(*receipt.Receipt) bool
	hold bool   // does not say that it keeps ends
	code []byte // the module that it orders; nil for a script
	seq  uint64
}

// purse is a session as the gateway keeps it.
type purse struct {
	id      types.SessionID
	index   uint64
	units   uint64
	cost    types.U128
	ask     *receipt.SignedAsk
	newest  *receipt.Signed
	ceiling uint64
}

type ordered struct {
	order  compute.Order
	call   *compute.Call
	purse  *purse
	out    [link.Outputs + 1]bytes.Buffer
	twice  int // bytes that came again
	used   uint64
	paid   uint64
	paused bool
	ended  *compute.Ended
	done   chan struct{}
	more   chan struct{} // holds one when something came
}

func (w *world) gate(name string, credits types.Credit) *gateway {
	g := &gateway{w: w, market: w.Market(name, credits), inputs: map[types.Hash][]byte{}, jobs: map[types.Hash]*ordered{}}
	g.serve("127.0.0.1:0")
	w.device.Payer(w.t.Context(), g.market.Payer()) // a node has looked it up before it passes a request on
	return g
}

// Port implements link.Jobs: this gateway asks for none.
func (g *gateway) Port(types.Key, types.Hash, uint64) (func(*link.Conn), error) {
	return nil, types.Refuse(compute.NoJob, "no ports here")
}

func (g *gateway) serve(addr string) {
	t := g.w.t
	var err error
	if g.server, err = link.NewServer(g.market.TLS(), g, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	for range 100 { // the port may still be held by what was closed a moment ago
		if l, err = net.Listen("tcp", addr); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	g.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.server.Serve(ctx, l)
	}()
	g.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(func() { g.stop() })
}

func (g *gateway) session(expiry types.Epoch) *purse {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seq++
	return &purse{id: types.NewSessionID(g.w.Epoch()+expiry, [12]byte{byte(g.seq), byte(g.seq >> 8), g.market.Payer()[0], g.market.Payer()[1]}), ceiling: 2 * price}
}

// call makes an order of the session's next job.
func (g *gateway) call(p *purse, args ...string) *compute.Call {
	return g.callWith(p, nil, nil, args...)
}

// callWith is call for a job that reads something, and an order that is changed before it is signed. Inputs of
// more than 100 bytes do not ride along.
func (g *gateway) callWith(p *purse, stdin []byte, change func(*compute.Call), args ...string) *compute.Call {
	code := g.code
	if code == nil {
		code = []byte("code")
	}
	c := &compute.Call{Files: compute.Files{}, Job: compute.Job{
		Profile: compute.WasmProfile, Code: types.Sum(code), Args: args, Env: []string{}, Stdin: types.Sum(stdin), Input: compute.Files{}.Root(), Limit: 20_000_000_000, Pages: 16,
	}}
	for _, b := range [][]byte{code, stdin} {
		in := compute.Input{Hash: types.Sum(b), Size: uint64(len(b)), Data: b}
		if len(b) == 0 {
			continue
		}
		g.mu.Lock()
		g.inputs[in.Hash] = b
		g.mu.Unlock()
		if len(b) > 100 {
			in.Data = []byte{}
		}
		c.Inputs = append(c.Inputs, in)
	}
	slices.SortFunc(c.Inputs, func(a, b compute.Input) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	c.Order.Order = compute.Order{
		Device: g.w.device.Key(), Payer: g.market.Payer(), Session: p.id, Index: p.index, Class: compute.Wasm, Slots: 1, Price: price, Ceiling: p.ceiling, RunnerUp: []byte{},
		Deadline: uint64(time.Now().Add(2 * time.Second).UnixMilli()), Mode: compute.Public, Gateway: g.addr, Link: g.server.Key(),
	}
	if change != nil {
		change(c)
	}
	o := &c.Order.Order
	o.Job = c.Job.Hash()
	c.Order.Signature = g.market.Sign(compute.DomainOrder, o.Payload())
	return c
}

// ask brings a call to the device; the answer's reason, "" if it accepts.
func (g *gateway) ask(p *purse, c *compute.Call) (*ordered, types.Reason) {
	g.w.t.Helper()
	o := &c.Order.Order
	j := &ordered{order: *o, call: c, purse: p, done: make(chan struct{}), more: make(chan struct{}, 1)}
	g.mu.Lock()
	if old := g.jobs[o.Hash()]; old != nil {
		j = old
	} else {
		g.jobs[o.Hash()] = j
	}
	g.mu.Unlock()
	raw, err := g.market.Ask(g.w.t.Context(), g.market, role.Question{Device: o.Device, Kind: compute.KindOrder, Body: c.Encode()})
	if err != nil {
		return nil, types.ReasonOf(err)
	}
	answer, err := compute.DecodeAnswer(raw)
	if err != nil {
		g.w.t.Fatal(err)
	}
	ask, err := answer.Accepts(roletest.Chain, o, g.w.Epoch())
	if err != nil {
		if answer.Reason == "" {
			g.w.t.Fatal(err)
		}
		return nil, answer.Reason
	}
	g.mu.Lock()
	if p.ask != nil && p.ask.Ask.Hash() != ask.Ask.Hash() {
		g.w.t.Error("a session has two asks")
	}
	p.ask = ask
	p.index = max(p.index, o.Index+1)
	g.mu.Unlock()
	return j, ""
}

// run orders a job that the device has to accept.
func (g *gateway) run(p *purse, args ...string) *ordered {
	g.w.t.Helper()
	return g.runCall(p, g.call(p, args...))
}

func (g *gateway) runCall(p *purse, c *compute.Call) *ordered {
	g.w.t.Helper()
	j, reason := g.ask(p, c)
	if reason != "" {
		g.w.t.Fatalf("refused: %s", reason)
	}
	return j
}

// end waits until a job has ended.
func (g *gateway) end(j *ordered) *compute.Ended {
	g.w.t.Helper()
	select {
	case <-j.done:
	case <-time.After(20 * time.Second):
		g.w.t.Fatalf("a job does not end: used %d, paid %d", j.used, j.paid)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return j.ended
}

// until waits until something is so of a job.
func (g *gateway) until(j *ordered, what string, is func() bool) {
	g.w.t.Helper()
	for end := time.After(20 * time.Second); ; {
		g.mu.Lock()
		yes := is()
		g.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-j.more:
		case <-time.After(100 * time.Millisecond):
		case <-end:
			g.w.t.Fatalf("%s: never", what)
		}
	}
}

func (g *gateway) Input(device types.Key, order, input types.Hash) (io.ReadSeekCloser, uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, ok := g.inputs[input]
	if g.jobs[order] == nil || device != g.w.device.Key() || !ok {
		return nil, 0, types.Refuse(compute.InputMissing, "input %v", input)
	}
	return nopCloser{bytes.NewReader(b)}, uint64(len(b)), nil
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

func (g *gateway) Join(_ context.Context, device types.Key, order types.Hash, s *link.Stream) error {
	g.mu.Lock()
	j := g.jobs[order]
	if j == nil || device != g.w.device.Key() {
		g.mu.Unlock()
		return types.Refuse(compute.NoJob, "order %v", order)
	}
	var at [link.Outputs]uint64
	for i := range at {
		at[i] = uint64(j.out[i+1].Len())
	}
	from := link.Offsets(at)
	g.mu.Unlock()
	if err := s.Write(link.Frame{Kind: link.From, Data: from}); err != nil {
		return err
	}
	for {
		f, err := s.Read()
		if err != nil {
			return err
		}
		reply, last, err := g.frame(j, f)
		if err != nil {
			return err
		}
		for _, f := range reply {
			if err := s.Write(f); err != nil {
				return err
			}
		}
		select {
		case j.more <- struct{}{}:
		default:
		}
		if last {
			return nil
		}
	}
}

func (g *gateway) frame(j *ordered, f link.Frame) (reply []link.Frame, last bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch f.Kind {
	case link.Output:
		out := &j.out[f.Stream]
		have := uint64(out.Len())
		if f.Offset > have {
			return nil, false, fmt.Errorf("output at %d, %d are here", f.Offset, have)
		}
		j.twice += int(min(have-f.Offset, uint64(len(f.Data))))
		out.Write(f.Data[min(have-f.Offset, uint64(len(f.Data))):])
	case link.State:
		j.used, j.paused = f.Offset, len(f.Data) > 0
		if r := g.owe(j, f.Offset); r != nil {
			reply = append(reply, link.Frame{Kind: link.Receipt, Data: r.Encode()})
		}
	case link.End:
		e, err := compute.DecodeEnded(f.Data)
		if err != nil {
			g.w.t.Error(err)
			return nil, false, err
		}
		if l := &e.Leaf.Leaf; !e.Leaf.Verify(roletest.Chain, j.order.Device) || l.Index != j.order.Index || l.Session != j.order.Session || l.Job != j.order.Job {
			g.w.t.Errorf("the leaf is not that of the order: %+v", l)
		}
		if j.ended != nil && e.Leaf.Leaf != j.ended.Leaf.Leaf {
			g.w.t.Errorf("two ends of one job: %+v and %+v", j.ended.Leaf.Leaf, e.Leaf.Leaf)
		}
		first := j.ended == nil
		j.ended = e
		r := g.owe(j, e.Leaf.Leaf.Fuel)
		if r == nil {
			r = j.purse.newest // it may have been lost with a device that stopped
		}
		if r != nil {
			reply = append(reply, link.Frame{Kind: link.Receipt, Data: r.Encode()})
		}
		if first {
			close(j.done)
		}
		if !g.hold {
			reply = append(reply, link.Frame{Kind: link.Kept})
		}
		return reply, !g.hold, nil
	}
	return reply, false, nil
}

// owe signs for what a job has used beyond what was paid. The caller holds mu.
func (g *gateway) owe(j *ordered, used uint64) *receipt.Signed {
	p := j.purse
	if used <= j.paid || p.ask == nil {
		return nil
	}
	cost, err := p.cost.Add(types.Mul64(used-j.paid, j.order.Price))
	if err != nil {
		g.w.t.Fatal(err)
	}
	full, _ := cost.MulDiv(1, compute.Scale(j.order.Class))
	amount, _ := full.Uint64()
	r := receipt.Receipt{
		Chain: roletest.Chain, Category: types.Compute, Session: p.id, Payer: g.market.Payer(), Device: j.order.Device, Terms: p.ask.Ask.Hash(),
		Units: types.U64(p.units + used - j.paid), Amount: types.Credit(amount), Seq: 1, First: 1,
	}
	if p.newest != nil {
		r.Seq = p.newest.Receipt.Seq + 1
	}
	if g.pay != nil && !g.pay(&r) {
		return nil
	}
	p.units += used - j.paid
	p.cost, j.paid = cost, used
	p.newest = &receipt.Signed{Receipt: r, PayerSig: g.market.Sign("receipt", r.Bytes())}
	return p.newest
}

// tallied is what the last tally has of a session.
func (w *world) tallied() types.Credit {
	if line := w.State().Line(w.device.Key()); line != nil {
		return line.Paid()
	}
	return 0
}

// clean fails if a tally refused anything but for some reasons.
func (w *world) clean(but ...types.Reason) {
	w.t.Helper()
	for _, r := range w.Refused() {
		if !slices.Contains(but, r.Reason) {
			w.t.Errorf("epoch %d: item of type %d refused with %s", r.Epoch, r.Type, r.Reason)
		}
	}
}

// now returns the provider's device, which runs.
func (w *world) now() *device { return w.p.device.Load() }

// ended waits until the device has nothing that runs.
func (w *world) settled() {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		d := w.now()
		d.mu.Lock()
		busy := 0
		for j := range maps.Values(d.jobs) {
			if !j.record.Kept {
				busy++
			}
		}
		d.mu.Unlock()
		if busy == 0 {
			return
		}
	}
	w.t.Fatal("jobs do not come to rest")
}

// TestMain puts the devices' disks into memory where there is such a file system.
func TestMain(m *testing.M) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		os.Setenv("TMPDIR", "/dev/shm")
	}
	os.Exit(m.Run())
}
