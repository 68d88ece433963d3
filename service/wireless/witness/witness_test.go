package witness

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
	"github.com/cairn-network/cairn/service/wireless/line"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// Kinds of the category that these tests have: of wireless what bandwidth checks need.
const (
	kindEndpoint evidence.Kind = 1
	kindReport   evidence.Kind = 2
)

// endpoint is what a device hands in, and its line with what the last test read.
type endpoint struct {
	_       struct{} `cbor:",toarray"`
	Prefix  pob.Prefix
	Claim   uint64
	Results uint64
	Read    uint64
}

func rules(*role.Notice) pob.Rules {
	r := pob.DefaultRules()
	r.Whole, r.Young = 1, 1
	return r
}

// tested is a category of devices that are tested in every epoch.
func tested() tally.Verifier {
	spec := &tally.Spec{
		Category: types.Wireless, Name: "wireless", Drawn: tally.Verifiers, Draws: []tally.Draw{{Purpose: pob.ForTest, Seats: pob.Seats}},
		Classes: []tally.Class{{Class: 1, Name: "tunnel", Unit: "byte", Scale: 1}},
		Kinds:   []tally.Kind{{Kind: kindEndpoint, Name: "endpoint"}, {Kind: kindReport, Name: "report", Witness: true}},
		Quota:   tally.Quota{Count: 16, Bytes: 16 << 10}, Witness: tally.Quota{Count: 256, Bytes: 16 << 20},
		Params: tally.Params{Threshold: 1, Hex: 9, Bond: 1, Penalty: 1}, Economy: tally.Economy{Reference: 1, PriceUnit: 1, Quota: 1},
		MaxState: 100, Reasons: pob.Reasons(),
	}
	return tally.Verifier{Spec: spec, Subject: func(e *evidence.Envelope) (types.Key, error) {
		r, err := pob.DecodeReport(e.Body)
		if err != nil {
			return types.Key{}, err
		}
		return r.Device, nil
	}, Verify: func(in *tally.Input) *tally.Output {
		var at endpoint
		_ = types.Decode(in.State, &at)
		r := rules(nil)
		clock := &pob.Clock{Chain: in.Chain, Epoch: in.Epoch, Seed: in.Seed, Time: in.Time, Rules: &r, Conductors: pob.NewConductors(in.Registry, in.Seed)}
		subject := &pob.Subject{Device: in.Device.Key, Prefix: at.Prefix, Claim: at.Claim, Results: int(at.Results), Members: in.Panel.Draw(in.Device, pob.ForTest)}
		var said []pob.Said
		for _, e := range in.Reports {
			r, _ := pob.DecodeReport(e.Body)
			said = append(said, pob.Said{By: e.Author, Report: r})
		}
		got := clock.Judge(subject, said)
		out := &tally.Output{}
		for _, reason := range got.Reasons {
			out.Reports = append(out.Reports, tally.Verdict{Reason: reason})
		}
		for _, e := range in.Evidence {
			var now endpoint
			_ = types.Decode(e.Body, &now)
			at.Prefix, at.Claim = now.Prefix, now.Claim
		}
		if got.Tested {
			at.Results, at.Read = at.Results+1, got.Capacity
		}
		out.State = types.Encode(&at)
		return out
	}}
}

// network is sockets that reach each other after some milliseconds.
type network struct {
	mu    sync.Mutex
	nodes map[netip.AddrPort]*node
}

type node struct {
	net    *network
	at     netip.AddrPort
	in     chan []byte
	from   chan netip.AddrPort
	closed chan struct{}
	once   sync.Once
}

func (n *network) open(at netip.AddrPort) *node {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &node{net: n, at: at, in: make(chan []byte, 4096), from: make(chan netip.AddrPort, 4096), closed: make(chan struct{})}
	n.nodes[at] = s
	return s
}

func (s *node) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case got := <-s.in:
		return copy(b, got), <-s.from, nil
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (s *node) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	b = append([]byte{}, b...)
	time.AfterFunc(5*time.Millisecond, func() {
		s.net.mu.Lock()
		defer s.net.mu.Unlock()
		if dest := s.net.nodes[to]; dest != nil && len(dest.in) < cap(dest.in) {
			dest.from <- s.at
			dest.in <- b
		}
	})
	return len(b), nil
}

func (s *node) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.at) }

func (s *node) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func addr(a, b, c, d byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{a, b, c, d}), 7000)
}

// provider is a device that takes part in tests.
type provider struct {
	net     *network
	at      netip.AddrPort
	claim   uint64
	private []netip.Prefix

	mu     sync.Mutex
	device *line.Device
}

func (p *provider) Run(ctx context.Context, host role.Host) error {
	d := line.NewDevice(host, p.net.open(p.at), line.DeviceConfig{Rules: rules, Claim: func() uint64 { return p.claim }, Private: p.private})
	p.mu.Lock()
	p.device = d
	p.mu.Unlock()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { d.Run(ctx) })
	var epoch types.Epoch
	notices := host.Notices(ctx)
	for {
		select {
		case n := <-notices:
			d.Heard(n)
			if n.Epoch != epoch {
				epoch = n.Epoch
				if err := host.Submit(ctx, kindEndpoint, types.Encode(&endpoint{Prefix: pob.PrefixOf(p.at.Addr()), Claim: p.claim})); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *provider) serve(ctx context.Context, host role.Host, r *role.Request) ([]byte, error) {
	p.mu.Lock()
	d := p.device
	p.mu.Unlock()
	return d.Serve(ctx, r)
}

// world has verifiers, of which each is in a network of its own, and devices.
type world struct {
	*roletest.World
	t     *testing.T
	net   *network
	seats []*roletest.Verifier
}

func newWorld(t *testing.T, verifiers int) *world {
	w := &world{World: roletest.New(t, tested()), t: t, net: &network{nodes: map[netip.AddrPort]*node{}}}
	for i := range verifiers {
		v := w.Verifier("verifier " + string(rune('a'+i)))
		v.Open = func() (role.Socket, netip.AddrPort, error) {
			at := addr(8, byte(i), 0, 1)
			return w.net.open(at), at, nil
		}
		w.seats = append(w.seats, v)
	}
	return w
}

// run starts the witnesses but for those that are away.
func (w *world) run(away ...int) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	w.t.Cleanup(func() { cancel(); running.Wait() })
	for i, v := range w.seats {
		skip := false
		for _, a := range away {
			skip = skip || a == i
		}
		if skip {
			continue
		}
		running.Go(func() {
			if err := New(Config{Report: kindReport, Rules: rules, Subject: subject}).Run(ctx, v); err != nil {
				w.t.Error(err)
			}
		})
	}
	synctest.Wait()
}

func subject(raw []byte) (pob.Prefix, uint64, int, bool) {
	var at endpoint
	err := types.Decode(raw, &at)
	return at.Prefix, at.Claim, int(at.Results), err == nil && at.Prefix.Valid()
}

func (w *world) device(name string, at netip.AddrPort, claim uint64) *roletest.Device {
	p := &provider{net: w.net, at: at, claim: claim}
	d := w.Device(name)
	d.Requests = map[string]role.RequestHandler{line.KindTest: {From: role.Verifiers, Serve: p.serve}}
	d.Start(p)
	return d
}

// hour lets an epoch pass.
func (w *world) hour() {
	w.Await()
	w.Tell()
	time.Sleep(3500 * time.Second)
	synctest.Wait()
	w.Next()
}

func (w *world) read(d *roletest.Device) (at endpoint) {
	_ = types.Decode(w.State().CategoryLine(d.Key(), types.Wireless), &at)
	return at
}

func (w *world) refused(reason types.Reason) (n int) {
	for _, r := range w.Refused() {
		if r.Reason == reason {
			n++
		}
	}
	return n
}

// TestWitness: in each epoch eight verifiers challenge a device once, the tally takes their reports, and a line without
// bounds reads what it claims; also while two are away, and the conductor of a half among them.
func TestWitness(t *testing.T) {
	for _, away := range [][]int{nil, {0, 1}, {2, 3}, {4, 5}, {6, 7}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 8)
			w.run(away...)
			a, b := w.device("a", addr(9, 9, 9, 1), 1_000_000), w.device("b", addr(9, 9, 9, 2), 2_000_000)
			silent := w.Device("silent")
			if err := silent.Submit(t.Context(), kindEndpoint, types.Encode(&endpoint{Prefix: pob.Prefix{4, 9, 9, 9}, Claim: 1_000_000})); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				w.hour()
			}
			least := uint64(100) // in per cent of the claim: of six at a quarter more than it, within the window
			if len(away) > 0 {
				least = 72 // of four
			}
			for _, d := range []*roletest.Device{a, b} {
				at := w.read(d)
				if at.Results < 2 || at.Read < at.Claim*least/100 {
					t.Errorf("away %v: %+v", away, at)
				}
			}
			if at := w.read(silent); at.Results < 2 || at.Read != 0 {
				t.Errorf("away %v: who is silent: %+v", away, at)
			}
			if w.refused(pob.NotDrawn)+w.refused(pob.BadStart)+w.refused(pob.Duplicate)+w.refused(pob.Void) > 0 {
				t.Errorf("away %v: %+v", away, w.Refused())
			}
		})
	}
}

// TestNotTested: devices of the same prefix whose claims nobody can test keep no other from being tested.
func TestNotTested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		w.run()
		honest := w.device("honest", addr(9, 9, 9, 1), 1_000_000)
		for i := range 8 {
			d := w.Device("claims nothing " + string(rune('a'+i)))
			if err := d.Submit(t.Context(), kindEndpoint, types.Encode(&endpoint{Prefix: pob.Prefix{4, 9, 9, 9}, Claim: pob.MinClaim - 1})); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 {
			w.hour()
		}
		if at := w.read(honest); at.Results < 2 || at.Read < at.Claim {
			t.Errorf("%+v", at)
		}
	})
}

// TestCalls: what is no start of this epoch by its conductor, or begins at another time than now, begins no test.
func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		d := w.device("a", addr(9, 9, 9, 1), 1_000_000)
		w.hour()
		w.Await()
		n := w.Notice()
		r := rules(nil)
		host := w.seats[0]
		registry, _, err := host.Registry(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		clock := &pob.Clock{Chain: roletest.Chain, Epoch: n.Epoch, Seed: n.Seed, Time: n.EpochTime, Rules: &r, Conductors: pob.NewConductors(registry, n.Seed)}
		prefix := pob.PrefixOf(addr(9, 9, 9, 1).Addr())
		who, _ := clock.Conductors.Of(prefix)
		start := &pob.Start{Epoch: n.Epoch, Prefix: prefix}
		for _, v := range w.seats {
			if v.Key() == who[0].Key {
				start.Proof = v.Prove(pob.StartPurpose, n.Seed, pob.StartNumber(prefix, 0))
			}
		}
		at, err := clock.Begin(start)
		if err != nil {
			t.Fatal(err)
		}
		s := &seat{cfg: Config{Report: kindReport, Rules: rules, Subject: subject}, host: host, looks: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		if err := s.begin(ctx, &n); err != nil {
			t.Fatal(err)
		}
		if len(s.epoch.mine[prefix]) != 1 || s.epoch.mine[prefix][0].Device != d.Key() {
			t.Fatalf("%+v", s.epoch.mine)
		}
		change := func(f func(*pob.Start)) []byte {
			c := *start
			c.Proof = append([]byte{}, start.Proof...)
			f(&c)
			return c.Encode()
		}
		for _, c := range []struct {
			name string
			by   types.Key
			body []byte
			wait time.Duration // before it begins
			want types.Reason
		}{
			{"nonsense", who[0].Key, []byte("start"), 2 * time.Second, types.BadEncoding},
			{"another's", who[1].Key, start.Encode(), 2 * time.Second, pob.BadStart},
			{"another half", who[0].Key, change(func(s *pob.Start) { s.Half = 1 }), 2 * time.Second, pob.BadStart},
			{"another epoch", who[0].Key, change(func(s *pob.Start) { s.Epoch++ }), 2 * time.Second, pob.BadStart},
			{"a wrong proof", who[0].Key, change(func(s *pob.Start) { s.Proof[beacon.ProofSize-1] ^= 1 }), 2 * time.Second, pob.BadStart},
			{"too early", who[0].Key, start.Encode(), 2060 * time.Millisecond, types.ClockOff},
			{"too late", who[0].Key, start.Encode(), 90 * time.Millisecond, types.ClockOff},
			{"in time", who[0].Key, start.Encode(), 2 * time.Second, ""},
		} {
			s.mu.Lock()
			s.epoch.heard = map[heardAs]bool{}
			s.mu.Unlock()
			now := begins(at).Add(-c.wait)
			if err := s.called(now, &role.Called{By: c.by, Body: c.body}); types.ReasonOf(err) != c.want {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		}
		cancel()
		s.active.Wait()
	})
}
