package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
)

// moodyRoles is an Authorizer that can't be asked at times.
type moodyRoles struct {
	*bustest.Roles
	away atomic.Bool
}

func (m *moodyRoles) Authorize(ctx context.Context, key types.Key) (bus.Pass, error) {
	if m.away.Load() {
		return bus.Pass{}, errors.New("the chain is away")
	}
	return m.Roles.Authorize(ctx, key)
}

// buses is a cluster of servers, each of which can be stopped and started.
type buses struct {
	t         *testing.T
	roles     *bustest.Roles
	moods     []*moodyRoles // the same, as each server asks it
	addresses []string      // for servers
	ports     []string      // for clients
	dirs      []string
	alone     time.Duration
	running   []*server.Server
}

func freePort(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", testutil.Port(t, "tcp"))
}

// serverKey is the key of the i-th server.
func serverKey(i int) types.PrivateKey { return bustest.Key(1000 + i) }

func newBuses(t *testing.T, n int) *buses {
	t.Helper()
	b := &buses{t: t, roles: new(bustest.Roles), running: make([]*server.Server, n)}
	for range n {
		b.moods = append(b.moods, &moodyRoles{Roles: b.roles})
		b.addresses, b.ports, b.dirs = append(b.addresses, freePort(t)), append(b.ports, freePort(t)), append(b.dirs, t.TempDir())
	}
	for i := range n {
		b.start(i)
	}
	b.until("they are one", func() bool {
		return !slices.ContainsFunc(b.running, func(s *server.Server) bool { return s.Peers() != n-1 || !s.Whole() })
	})
	return b
}

// config is what the i-th server runs with.
func (b *buses) config(i int) server.Config {
	c := &server.Cluster{Name: "test", Listen: b.addresses[i], Key: serverKey(i), Alone: b.alone}
	for j, a := range b.addresses {
		if j != i {
			c.Peers = append(c.Peers, server.Peer{Key: serverKey(j).Public(), Address: a})
		}
	}
	return server.Config{Listen: b.ports[i], Dir: b.dirs[i], Cluster: c}
}

func (b *buses) start(i int) {
	b.t.Helper()
	s, err := server.Serve(b.config(i), b.moods[i], quiet)
	if err != nil {
		b.t.Fatal(err)
	}
	b.running[i] = s
	b.t.Cleanup(func() {
		if b.running[i] == s {
			s.Close()
		}
	})
}

func (b *buses) stop(i int) {
	b.running[i].Close()
	b.running[i] = nil
}

func (b *buses) until(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never: %s", what)
		}
	}
}

// dial logs on at some of the servers.
func (b *buses) dial(n int, role bus.Role, at ...int) bus.Bus {
	b.t.Helper()
	b.roles.Set(bustest.Key(n).Public(), role)
	var urls []string
	for _, i := range at {
		urls = append(urls, "nats://"+b.ports[i])
	}
	link, err := bus.Dial(b.t.Context(), bus.Config{URLs: urls, Slowest: 200 * time.Millisecond}, bustest.Key(n), quiet)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(link.Close)
	return link
}

// kept lists what the i-th server keeps, as it says itself.
func (b *buses) kept(i int) map[string]string {
	b.t.Helper()
	link := b.dial(900+i, bus.RoleGateway, i)
	defer link.Close()
	list := map[string]string{}
	b.until("its keeper answers", func() bool {
		ctx, stop := context.WithTimeout(b.t.Context(), 5*time.Second)
		defer stop()
		clear(list)
		return link.SubscribeLast(ctx, "last.>", func(m bus.Message) { list[m.Subject] = string(m.Data) }) == nil
	})
	return list
}

// TestCluster: clients of two servers hear each other, what is published at one is kept by all, and who
// published is answered by one.
func TestCluster(t *testing.T) {
	b := newBuses(t, 3)
	device, gateway := b.dial(1, bus.RoleDevice, 0), b.dial(2, bus.RoleGateway, 1)
	heard := make(chan bus.Message, 100)
	if err := gateway.SubscribeLast(t.Context(), "last.ask.>", func(m bus.Message) { heard <- m }); err != nil {
		t.Fatal(err)
	}
	subject := bus.AskOf(&receipt.Ask{Device: device.Key(), Category: 3, Class: 1})
	b.until("an ask crosses", func() bool {
		if err := device.PublishLast(t.Context(), subject, []byte("ask")); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-heard:
			return string(m.Data) == "ask"
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	for i := range 3 {
		b.until("it is kept everywhere", func() bool { return b.kept(i)[subject] == "ask" })
	}
	// What was said to be kept is in the next answer at that server.
	reader := b.dial(3, bus.RoleGateway, 0)
	for n := range 40 {
		want, got := fmt.Sprint(n), ""
		if err := device.PublishLast(t.Context(), subject, []byte(want)); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		if err := reader.SubscribeLast(ctx, subject, func(m bus.Message) { got = string(m.Data) }); err != nil || got != want {
			t.Fatalf("kept is %q, published was %q (%v)", got, want, err)
		}
		stop()
	}
	// Only the keeper of its own server answers a publisher. Another's, which may be behind, has no say.
	device.Close()
	nc, _ := raw(t, "nats://"+b.ports[0], bustest.Key(1))
	answers, err := nc.SubscribeSync("_INBOX." + bus.Word(device.Key()) + ".put")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest(subject, answers.Subject, []byte("again")); err != nil {
		t.Fatal(err)
	}
	if m, err := answers.NextMsg(20 * time.Second); err != nil || len(m.Data) > 0 {
		t.Fatalf("its own keeper: %v, %v", m, err)
	}
	for i := range 3 {
		b.until("it is kept everywhere", func() bool { return b.kept(i)[subject] == "again" }) // after which others would have answered
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := answers.Pending(); err != nil || n != 0 {
		t.Errorf("%d other keepers answered (%v)", n, err)
	}
}

// TestWholeFromWhole: a server that lost its disk is not whole by what it gets from one that is not whole itself.
func TestWholeFromWhole(t *testing.T) {
	b := newBuses(t, 3)
	b.alone = time.Hour
	device := b.dial(1, bus.RoleDevice, 1)
	subject := bus.AskOf(&receipt.Ask{Device: device.Key(), Category: 3, Class: 1})
	b.stop(0)
	if err := device.PublishLast(t.Context(), subject, []byte("while 0 was away")); err != nil {
		t.Fatal(err)
	}
	b.until("the other one has it", func() bool { return len(b.kept(2)) == 1 })
	b.stop(1)
	b.stop(2)
	b.dirs[1] = t.TempDir()
	b.start(0)
	b.start(1)
	b.until("two have met", func() bool { return b.running[0].Peers() == 1 && b.running[1].Peers() == 1 })
	time.Sleep(500 * time.Millisecond) // some rounds
	if b.running[0].Whole() || b.running[1].Whole() {
		t.Error("it is whole by what one has that was away")
	}
	b.start(2)
	b.until("all are whole", func() bool {
		return !slices.ContainsFunc(b.running, func(s *server.Server) bool { return !s.Whole() })
	})
	for i := range 3 {
		if got := b.kept(i)[subject]; got != "while 0 was away" {
			t.Errorf("server %d keeps %q", i, got)
		}
	}
}

// TestServerGone: clients with a list of servers go to another when theirs ends; nothing that was kept is lost;
// and the server that comes back, even with nothing, has what was published while it was away before it
// answers.
func TestServerGone(t *testing.T) {
	b := newBuses(t, 3)
	device := b.dial(1, bus.RoleDevice, 0, 1, 2)
	gateway := b.dial(2, bus.RoleGateway, 2)
	var mu sync.Mutex
	heard := map[string]string{}
	if err := gateway.SubscribeLast(t.Context(), "last.ask.>", func(m bus.Message) {
		mu.Lock()
		defer mu.Unlock()
		heard[m.Subject] = string(m.Data)
	}); err != nil {
		t.Fatal(err)
	}
	publish := func(class types.Class, text string) {
		t.Helper()
		b.until("it is kept: "+text, func() bool {
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			return device.PublishLast(ctx, bus.AskOf(&receipt.Ask{Device: device.Key(), Category: 3, Class: class}), []byte(text)) == nil
		})
	}
	publish(1, "first")
	publish(2, "second")
	for j := range 3 { // a server that is lost at once loses what it alone has
		b.until("all have both", func() bool { return len(b.kept(j)) == 2 })
	}
	for i := range 2 { // wherever the device is, it loses its server once
		b.stop(i)
		publish(1, fmt.Sprintf("newer %d", i))
		publish(types.Class(3+i), fmt.Sprintf("while %d was away", i))
		newer := fmt.Sprintf("newer %d", i)
		for j := range 3 {
			if j != i {
				b.until("what stayed up has it all", func() bool {
					list := b.kept(j)
					return len(list) == 3+i && list[bus.AskOf(&receipt.Ask{Device: device.Key(), Category: 3, Class: 1})] == newer
				})
			}
		}
		if i == 1 {
			b.dirs[i] = t.TempDir() // it lost its disk
		}
		b.start(i)
		if got, want := b.kept(i), b.kept(2); !equal(got, want) { // the first answer that it gives
			t.Errorf("server %d keeps %v, want %v", i, got, want)
		}
	}
	// What passed it by while two servers met it hears when the device asks again, as devices do.
	for subject, text := range b.kept(2) {
		if err := device.PublishLast(t.Context(), subject, []byte(text)); err != nil {
			t.Error(err)
		}
	}
	b.until("the gateway heard all", func() bool { mu.Lock(); defer mu.Unlock(); return equal(heard, b.kept(2)) })
}

// TestMove: a client that is told other addresses leaves a server that is none of them, and what it subscribed
// to comes along; one that is with one of them stays.
func TestMove(t *testing.T) {
	b := newBuses(t, 2)
	device := b.dial(1, bus.RoleDevice, 0)
	heard := make(chan string, 16)
	if err := device.Subscribe(t.Context(), bus.AckSubject(types.Key{}, device.Key()), func(m bus.Message) { heard <- string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	on := func(i int) bool {
		return b.running[i].Load().LoggedOn[bus.RoleDevice] == 1 && b.running[1-i].Load().LoggedOn[bus.RoleDevice] == 0
	}
	b.until("it is where it dialled", func() bool { return on(0) })
	if err := bus.Move(device, []string{"nats://" + b.ports[1]}); err != nil {
		t.Fatal(err)
	}
	b.until("it has moved", func() bool { return on(1) })
	verifier := b.dial(2, bus.RoleVerifier, 0)
	b.until("it hears there", func() bool {
		if err := verifier.Publish(t.Context(), bus.AckSubject(verifier.Key(), device.Key()), []byte("ack")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-heard:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	if err := bus.Move(device, []string{"nats://" + b.ports[0], "nats://" + b.ports[1]}); err != nil {
		t.Fatal(err)
	}
	if err := device.Publish(t.Context(), bus.SubmitSubject(device.Key(), 0), []byte("still there")); err != nil || !on(1) {
		t.Errorf("it left a server that was named: %v", err)
	}
}

// TestChainAway: a server whose chain can't be asked does not keep what strangers to it publish at others, and
// has it once the chain is back; meanwhile it goes on with those it knows.
func TestChainAway(t *testing.T) {
	t.Parallel()
	b := newBuses(t, 2)
	verifier := b.dial(1, bus.RoleVerifier, 1)
	b.kept(1) // its own clients are known, before
	b.moods[1].away.Store(true)
	late := b.dial(2, bus.RoleDevice, 0)
	subject := bus.AskOf(&receipt.Ask{Device: late.Key(), Category: 3, Class: 1})
	if err := late.PublishLast(t.Context(), subject, []byte("ask")); err != nil {
		t.Fatal(err)
	}
	if err := verifier.PublishLast(t.Context(), bus.NoticeSubject(verifier.Key(), 0), []byte("notice")); err != nil {
		t.Fatal(err)
	}
	b.until("it is kept where it was published", func() bool { return len(b.kept(0)) == 2 })
	b.moods[1].away.Store(false)
	b.until("it is kept at the other", func() bool { return b.kept(1)[subject] == "ask" })
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// TestStrangersRoute: a server whose key is not named joins no cluster, with or without TLS, whatever it calls
// itself; what it publishes is not heard.
func TestStrangersRoute(t *testing.T) {
	b := newBuses(t, 2)
	gateway := b.dial(2, bus.RoleGateway, 0)
	heard := make(chan bus.Message, 100)
	if err := gateway.SubscribeLast(t.Context(), "last.ask.>", func(m bus.Message) { heard <- m }); err != nil {
		t.Fatal(err)
	}
	thief := bustest.Key(66)
	config := b.config(0) // all that it could know of the cluster
	config.Listen, config.Dir = "127.0.0.1:0", t.TempDir()
	config.Cluster.Listen, config.Cluster.Key, config.Cluster.Alone = freePort(t), thief, time.Millisecond
	config.Cluster.Peers = append(config.Cluster.Peers, server.Peer{Key: serverKey(0).Public(), Address: b.addresses[0]})
	s, err := server.Serve(config, b.roles, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b.roles.Set(bustest.Key(3).Public(), bus.RoleDevice)
	device, err := bus.Dial(t.Context(), bus.Config{URLs: []string{s.URL()}}, bustest.Key(3), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	for range 20 { // a second's worth of attempts to join, twice as many as there are retries
		if err := device.PublishLast(t.Context(), bus.AskOf(&receipt.Ask{Device: device.Key(), Category: 3, Class: 1}), []byte("mine")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if s.Peers() != 0 || b.running[0].Peers() != 1 || b.running[1].Peers() != 1 {
		t.Errorf("a stranger has %d peers; the servers have %d and %d", s.Peers(), b.running[0].Peers(), b.running[1].Peers())
	}
	select {
	case m := <-heard:
		t.Errorf("a stranger is heard: %s", m.Data)
	default:
	}
	// A handshake with the key of another is none: the certificate alone can be had by whoever asks a server for it.
	for name, config := range map[string]*tls.Config{"no certificate": {InsecureSkipVerify: true}, "plain": nil} {
		c, err := net.Dial("tcp", b.addresses[0])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if config != nil {
			c = tls.Client(c, config)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"name\":\"x\",\"cluster\":\"test\"}\r\nPING\r\n")
		buf, n := make([]byte, 4096), 0
		for err == nil && n < len(buf) {
			var more int
			more, err = c.Read(buf[n:])
			n += more
		}
		if err == nil {
			t.Errorf("%s: the server goes on: %q", name, buf[:n])
		} else if slices.Contains([]string{"PONG\r\n"}, string(buf[:n])) {
			t.Errorf("%s: the server answers", name)
		}
	}
}
