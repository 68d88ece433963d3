package line

import (
	"context"
	"crypto/rand"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// simulate runs a scenario on a simulated line, in virtual time.
func simulate(t *testing.T, s scenario, rate, seed uint64, change func(*simulated)) (out reading) {
	synctest.Test(t, func(t *testing.T) {
		at := newSimulated(rate, seed)
		if s.slice {
			begin := time.Now()
			at.slice = func(from netip.AddrPort) bool {
				return from == challengerAt(int(time.Since(begin)/(100*time.Millisecond))%8)
			}
		}
		if change != nil {
			change(at)
		}
		out = s.run(t, at, rate)
	})
	return out
}

// TestSimulated: an honest line reads what the design says, and no attack reads more than the line.
func TestSimulated(t *testing.T) {
	const rate = 10_000_000
	for seed := range uint64(3) {
		for _, c := range append([]scenario{honest(0), honest(2)}, attacks...) {
			if got := simulate(t, c, rate, seed, nil); got.proven < c.least || got.proven > c.most {
				t.Errorf("seed %d: %s: %+v, want %v to %v", seed, c.name, got, c.least, c.most)
			}
		}
	}
}

// TestRelated: without the rule of networks, four liars beside each other would lift a line.
func TestRelated(t *testing.T) {
	s := scenario{liars: 4, related: true}
	with := simulate(t, s, 10_000_000, 1, nil)
	s.near = true
	without := simulate(t, s, 10_000_000, 1, nil)
	if with.proven > 1.01 || without.proven < 1.2 || with.reasons[pob.Related] != 3 {
		t.Errorf("with the rule %+v, without %+v", with, without)
	}
}

// TestLoss: of a line that loses one packet in fifty both ways the reply arrives, and it reads that much less; and a device
// far away has its reply there in time.
func TestLoss(t *testing.T) {
	if got := simulate(t, honest(0), 10_000_000, 1, func(s *simulated) { s.loss = 0.02 }); got.proven < 0.60 || got.proven > 0.68 {
		t.Errorf("with loss: %+v", got)
	}
	if got := simulate(t, honest(0), 10_000_000, 1, func(s *simulated) { s.delay = 110 * time.Millisecond }); got.proven < 0.58 || got.proven > 0.68 {
		t.Errorf("from far away: %+v", got)
	}
}

// bench is one challenger with a test that begins in a second, and a socket of somebody's.
func bench(t *testing.T, f func(ctx context.Context, c *Challenger, s Sending, stranger *node, heard <-chan *Heard)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		at := newSimulated(100_000_000, 1)
		c := NewChallenger(at.challenger(t, 0), ChallengerConfig{Chain: testChain, Key: key("challenger").Public(), Uplink: 100_000_000})
		go c.Run(ctx)
		s := Sending{Test: pob.ID{1}, Device: key("device").Public(), T0: time.Now().Add(time.Second), Send: 3 * time.Second, Reply: 300 * time.Millisecond, Packets: 500}
		heard := make(chan *Heard, 1)
		go func() {
			h, err := c.Challenge(ctx, s)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			heard <- h
		}()
		synctest.Wait()
		f(ctx, c, s, at.open(deviceAt(0), false), heard)
		cancel()
	})
}

// got reads what comes to a socket within some time.
func got(n *node, d time.Duration) (out [][]byte) {
	end := time.After(d)
	for {
		select {
		case d := <-n.in:
			out = append(out, d.b)
		case <-end:
			return out
		}
	}
}

// TestConsent: nobody is sent more than a twentieth of what came from there, until the device has signed what was sent
// there.
func TestConsent(t *testing.T) {
	device := key("device")
	say := func(s Sending) ([]byte, token) {
		var tok token
		rand.Read(tok[:])
		b := append(packet(hello, tok, helloSize), s.Test[:]...)
		return append(b, make([]byte, helloSize-len(b))...), tok
	}
	agree := func(s Sending, by types.PrivateKey, tok token, cookie []byte) []byte {
		sig := by.Sign(DomainConsent, testChain, consented(s.Test, key("challenger").Public(), tok, cookie))
		return append(append(append(packet(consent, tok, consentSize), s.Test[:]...), cookie...), sig[:]...)
	}
	for name, c := range map[string]struct {
		try  func(s Sending, n *node)
		most int // bytes that come in answer
	}{
		"a hello without its filling": {func(s Sending, n *node) {
			b, _ := say(s)
			n.WriteToUDPAddrPort(b[:100], challengerAt(0))
		}, 0},
		"a test that there is not": {func(s Sending, n *node) {
			s.Test[0]++
			b, _ := say(s)
			n.WriteToUDPAddrPort(b, challengerAt(0))
		}, 0},
		"a hello": {func(s Sending, n *node) {
			b, _ := say(s)
			n.WriteToUDPAddrPort(b, challengerAt(0))
		}, helloSize / 20},
		"consent without its cookie": {func(s Sending, n *node) {
			_, tok := say(s)
			n.WriteToUDPAddrPort(agree(s, device, tok, make([]byte, cookieSize)), challengerAt(0))
		}, 0},
		"consent of somebody else": {func(s Sending, n *node) {
			b, tok := say(s)
			n.WriteToUDPAddrPort(b, challengerAt(0))
			cookie := got(n, 100*time.Millisecond)[0][head:]
			for range 20 {
				n.WriteToUDPAddrPort(agree(s, key("somebody"), tok, cookie), challengerAt(0))
			}
		}, 0},
		"consent with another address's cookie": {func(s Sending, n *node) {
			b, tok := say(s)
			other := n.net.open(deviceAt(1), false)
			other.WriteToUDPAddrPort(b, challengerAt(0))
			cookie := got(other, 100*time.Millisecond)[0][head:]
			n.WriteToUDPAddrPort(agree(s, device, tok, cookie), challengerAt(0))
		}, 0},
	} {
		bench(t, func(_ context.Context, _ *Challenger, s Sending, n *node, heard <-chan *Heard) {
			c.try(s, n)
			sum := 0
			for _, b := range got(n, 5*time.Second) {
				sum += len(b)
			}
			if sum > c.most {
				t.Errorf("%s: %d bytes come back", name, sum)
			}
			if h := <-heard; h.From.IsValid() || h.Reply != nil || h.Sent > 0 {
				t.Errorf("%s: %+v", name, h)
			}
		})
	}
	bench(t, func(_ context.Context, _ *Challenger, s Sending, n *node, heard <-chan *Heard) { // and with it, it sends
		b, tok := say(s)
		n.WriteToUDPAddrPort(b, challengerAt(0))
		n.WriteToUDPAddrPort(agree(s, device, tok, got(n, 100*time.Millisecond)[0][head:]), challengerAt(0))
		if all := got(n, 5*time.Second); len(all) != 1+int(s.Packets) {
			t.Errorf("%d packets come", len(all))
		}
		if h := <-heard; h.From != deviceAt(0) || h.Sent != s.Packets {
			t.Errorf("%+v", h)
		}
	})
	// Consent that comes when the test has begun is none.
	bench(t, func(_ context.Context, _ *Challenger, s Sending, n *node, heard <-chan *Heard) {
		b, tok := say(s)
		n.WriteToUDPAddrPort(b, challengerAt(0))
		cookie := got(n, 1100*time.Millisecond)[0][head:]
		n.WriteToUDPAddrPort(agree(s, device, tok, cookie), challengerAt(0))
		if all := got(n, 5*time.Second); len(all) > 0 {
			t.Errorf("after consent that came late %d packets come", len(all))
		}
		<-heard
	})
}

// TestSpoof: who is not on the way can put no wrong tags between the right ones, nor end the test.
func TestSpoof(t *testing.T) {
	const rate = 10_000_000
	synctest.Test(t, func(t *testing.T) {
		at := newSimulated(rate, 1)
		begin := time.Now()
		time.AfterFunc(1010*time.Millisecond, func() { // as the test begins: the queue is not full yet
			for i := range pob.Seats { // under each challenger's address
				forged := &node{net: at, at: challengerAt(i)}
				for n := range uint32(8) { // of packets that have not come yet
					n += 400
					b := append(packet(data, token{}, pob.Payload), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
					forged.WriteToUDPAddrPort(append(b, make([]byte, pob.Payload-len(b))...), deviceAt(0))
				}
				(&node{net: at, at: deviceAt(0)}).WriteToUDPAddrPort(makePart(token{}, []byte("no reply"), 0, 1), challengerAt(i))
			}
		})
		if got := honest(0).run(t, at, rate); got.proven < 0.58 || len(got.reasons) > 0 {
			t.Errorf("%+v after %v", got, time.Since(begin))
		}
	})
}

// TestBusy: a challenger takes no more than its uplink carries, and no test twice; a device has no more challengers than
// maxJoins.
func TestBusy(t *testing.T) {
	bench(t, func(ctx context.Context, c *Challenger, s Sending, n *node, heard <-chan *Heard) {
		if _, err := c.Challenge(ctx, s); err == nil || err == Busy {
			t.Errorf("a test runs twice: %v", err)
		}
		s.Test, s.Packets = pob.ID{2}, 27_000
		if _, err := c.Challenge(ctx, s); err != Busy {
			t.Errorf("more than the uplink carries: %v", err)
		}
		r := NewReceiver(n, ReceiverConfig{Chain: testChain, Sign: func(string, []byte) (s types.Signature) { return s }})
		joining, stop := context.WithCancel(ctx)
		for i := range maxJoins {
			go r.Join(joining, Joining{Test: s.Test, Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 1, byte(i)}), 1), Packets: 10})
		}
		synctest.Wait()
		if _, err := r.Join(ctx, Joining{Address: challengerAt(1)}); types.ReasonOf(err) != types.DeviceBusy {
			t.Errorf("one challenger too many: %v", err)
		}
		stop()
		<-heard
		synctest.Wait()
	})
}

// FuzzTake: no packet ends either end.
func FuzzTake(f *testing.F) {
	for kind := hello; kind <= ack; kind++ {
		f.Add(append(packet(kind, token{}, 0), make([]byte, pob.Payload-head)...))
		f.Add(append(packet(kind, token{}, 0), 0, 0, 0, 1, 9))
	}
	at := newSimulated(1<<30, 1)
	c := NewChallenger(at.challenger(f, 0), ChallengerConfig{Chain: testChain})
	s := &sending{Sending: Sending{Packets: 9}, done: make(chan struct{})}
	c.tests[s.Test] = s
	r := NewReceiver(at.device(f, 0), ReceiverConfig{Chain: testChain})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < head || len(b) >= maxPacket {
			return
		}
		*s = sending{Sending: s.Sending, done: make(chan struct{}), from: deviceAt(0), closed: true}
		c.peers[deviceAt(0)] = s
		c.take(b, deviceAt(0))
		c.take(b, deviceAt(1))
		r.joins[challengerAt(0)] = &join{heard: make(chan []byte, 1), all: make(chan struct{}), got: pob.NewReceived(1)}
		r.take(b, challengerAt(0))
	})
}
