package line

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	chacha "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// Busy is the error of a challenger whose uplink other tests take up.
var Busy = errors.New("wireless: the uplink is taken by other tests")

// Figures of a challenger.
const (
	maxTests      = 1024                   // at a time
	maxSignatures = 8                      // that are looked at for one test
	tick          = 300 * time.Microsecond // in which several packets may be due
	maxBurst      = 64                     // packets in one tick, after a stall; what was missed beyond goes later, and not after the end
)

// ChallengerConfig says who sends.
type ChallengerConfig struct {
	Chain  string
	Key    types.Key
	Uplink uint64           // bit/s that all its tests may take at a time
	Now    func() time.Time // nil for the machine's clock
}

// Challenger sends to devices that agreed to it.
type Challenger struct {
	conn Conn
	cfg  ChallengerConfig
	key  [32]byte // of cookies

	mu    sync.Mutex // guards what follows
	tests map[pob.ID]*sending
	peers map[netip.AddrPort]*sending // those that have consent, by where it came from
	taken uint64                      // bit/s
}

// Sending is a test, as a challenger runs it.
type Sending struct {
	Test    pob.ID
	Device  types.Key
	T0      time.Time
	Send    time.Duration
	Reply   time.Duration
	Packets uint32
	Secret  types.Hash
}

// Heard is what came of one.
type Heard struct {
	From    netip.AddrPort // from where the device agreed; invalid if it did not
	Reply   *pob.SignedReply
	Arrival time.Duration // from T0 until the reply was complete
	Sent    uint32        // packets
}

// sending is one that runs.
type sending struct {
	Sending
	done chan struct{} // closed when the reply is complete

	mu         sync.Mutex // guards what follows
	closed     bool       // nothing is taken any more
	from       netip.AddrPort
	token      token
	signatures int
	parts      [][]byte
	have       int
	reply      *pob.SignedReply
	arrival    time.Duration
}

// NewChallenger returns one that sends from a socket, which Run closes.
func NewChallenger(conn Conn, cfg ChallengerConfig) *Challenger {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Challenger{conn: conn, cfg: cfg, tests: map[pob.ID]*sending{}, peers: map[netip.AddrPort]*sending{}}
	rand.Read(c.key[:])
	return c
}

// Run takes packets until ctx ends.
func (c *Challenger) Run(ctx context.Context) error {
	return read(ctx, c.conn, c.take)
}

// read hands packets on until ctx ends.
func read(ctx context.Context, conn Conn, take func(b []byte, from netip.AddrPort)) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if stop() {
			conn.Close()
		}
	}()
	b := make([]byte, maxPacket)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("wireless: bandwidth check: %w", err)
		case err != nil: // somebody's port is closed, which some systems say here
			continue
		}
		if n >= head && n < maxPacket {
			take(b[:n], unmap(from))
		}
	}
}

// Challenge runs a test, and returns what was heard when the reply is there or the time is over. It is Busy if the uplink
// is taken.
func (c *Challenger) Challenge(ctx context.Context, s Sending) (*Heard, error) {
	rate := uint64(s.Packets) * 8 * pob.Payload * uint64(time.Second) / max(uint64(s.Send), 1)
	t := &sending{Sending: s, done: make(chan struct{})}
	c.mu.Lock()
	switch {
	case len(c.tests) >= maxTests || c.taken+rate > c.cfg.Uplink:
		c.mu.Unlock()
		return nil, Busy
	case c.tests[s.Test] != nil:
		c.mu.Unlock()
		return nil, fmt.Errorf("wireless: test %x runs already", s.Test)
	}
	c.tests[s.Test] = t
	c.taken += rate
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.tests, s.Test)
		if from, _ := t.agreed(); c.peers[from] == t {
			delete(c.peers, from)
		}
		c.taken -= rate
	}()
	if err := sleep(ctx, s.T0.Sub(c.cfg.Now())); err != nil {
		return nil, err
	}
	to, token := t.agreed()
	sent := uint32(0)
	if to.IsValid() {
		sent = c.send(ctx, t, to, token)
	}
	end := time.NewTimer(s.T0.Add(s.Send + s.Reply).Sub(c.cfg.Now()))
	defer end.Stop()
	select {
	case <-t.done:
	case <-end.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h := t.heard()
	h.Sent = sent
	return h, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send sends the packets of a test, and none after the end. Each is due at a moment by chance within its share of the
// time: of senders whose beats are steady, a queue that is full drops always the same ones (Floyd and Jacobson 1992,
// traffic phase effects), and the smallest counts would say little of the line.
func (c *Challenger) send(ctx context.Context, t *sending, to netip.AddrPort, tok token) (sent uint32) {
	var seed [32]byte
	rand.Read(seed[:])
	chance := chacha.NewChaCha8(seed) // as a filler, nothing on the way can make it smaller
	b := append(packet(data, tok, pob.Payload), make([]byte, pob.Payload-head)...)
	share := t.Send / time.Duration(t.Packets)
	due := func() time.Duration {
		return t.Send*time.Duration(sent)/time.Duration(t.Packets) + time.Duration(chance.Uint64()%uint64(max(share, 1)))
	}
	next := due()
	clock := time.NewTimer(0)
	defer clock.Stop()
	for sent < t.Packets {
		passed := c.cfg.Now().Sub(t.T0)
		if passed >= t.Send {
			return sent
		}
		for burst := 0; burst < maxBurst && next <= passed && sent < t.Packets; burst++ {
			binary.BigEndian.PutUint32(b[head:], sent)
			tag := pob.MakeTag((*[32]byte)(&t.Secret), t.Test, sent)
			copy(b[head+4:], tag[:])
			chance.Read(b[dataHead:])
			c.conn.WriteToUDPAddrPort(b, to) // one that is lost is lost
			sent++
			next = due()
		}
		clock.Reset(max(next-passed, tick))
		select {
		case <-clock.C:
		case <-t.done:
			return sent
		case <-ctx.Done():
			return sent
		}
	}
	return sent
}

// cookie follows from an address: whoever can show it gets what is sent there.
func (c *Challenger) cookie(from netip.AddrPort, t token, test pob.ID) []byte {
	h := hmac.New(sha256.New, c.key[:])
	a, _ := from.MarshalBinary() // of a valid one it does not fail
	h.Write(a)
	h.Write(t[:])
	h.Write(test[:])
	return h.Sum(nil)
}

// take takes a packet.
func (c *Challenger) take(b []byte, from netip.AddrPort) {
	t := token(b[1:head])
	switch {
	case b[0] == hello && len(b) == helloSize:
		id := pob.ID(b[head : head+16])
		if c.test(id) != nil {
			c.conn.WriteToUDPAddrPort(append(packet(nonce, t, nonceSize), c.cookie(from, t, id)...), from)
		}
	case b[0] == consent && len(b) == consentSize:
		id, cookie := pob.ID(b[head:head+16]), b[head+16:head+16+cookieSize]
		s := c.test(id)
		if s == nil || !hmac.Equal(cookie, c.cookie(from, t, id)) {
			return
		}
		sig := types.Signature(b[consentSize-64:])
		if s.agree(from, t, func() bool {
			return s.Device.Verify(DomainConsent, c.cfg.Chain, consented(id, c.cfg.Key, t, cookie), sig)
		}) {
			c.join(from, s)
			c.conn.WriteToUDPAddrPort(packet(ready, t, head), from)
		}
	case b[0] == part && len(b) > partHead:
		if s := c.replying(from, t); s != nil && s.part(b[head:], c.cfg.Now()) {
			c.conn.WriteToUDPAddrPort(append(packet(ack, t, head+2), b[head:head+2]...), from)
		}
	}
}

func (c *Challenger) test(id pob.ID) *sending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tests[id]
}

// join notes whose replies come from an address.
func (c *Challenger) join(from netip.AddrPort, s *sending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tests[s.Test] == s {
		c.peers[from] = s
	}
}

// replying returns the test in which somebody has agreed from an address with a token.
func (c *Challenger) replying(from netip.AddrPort, t token) *sending {
	c.mu.Lock()
	s := c.peers[from]
	c.mu.Unlock()
	if s == nil || !s.is(from, t) {
		return nil
	}
	return s
}

// agree takes consent, of which the first counts, until the test begins.
func (s *sending) agree(from netip.AddrPort, t token, signed func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from.IsValid() {
		return s.from == from && s.token == t
	}
	if s.closed || s.signatures >= maxSignatures {
		return false
	}
	s.signatures++
	if !signed() {
		return false
	}
	s.from, s.token = from, t
	return true
}

// agreed returns to where to send, and takes no consent from then on.
func (s *sending) agreed() (netip.AddrPort, token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.from, s.token
}

func (s *sending) is(from netip.AddrPort, t token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed && s.from == from && s.token == t
}

// part takes a piece of the reply, and reports whether it belongs to it.
func (s *sending) part(b []byte, now time.Time) bool {
	index, count, piece := int(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:])), b[4:]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts == nil && count > 0 && count <= maxParts {
		s.parts = make([][]byte, count)
	}
	if count != len(s.parts) || index >= count || len(piece) > partSize || index < count-1 && len(piece) != partSize {
		return false
	}
	if s.parts[index] != nil {
		return true
	}
	s.parts[index] = append([]byte{}, piece...)
	if s.have++; s.have < count {
		return true
	}
	var raw []byte
	for _, p := range s.parts {
		raw = append(raw, p...)
	}
	if reply, err := pob.DecodeReply(raw); err == nil {
		s.reply, s.arrival = reply, now.Sub(s.T0)
	}
	close(s.done)
	return true
}

func (s *sending) heard() *Heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Heard{From: s.from, Reply: s.reply, Arrival: s.arrival}
}
