package line

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// Figures of a device.
const (
	maxJoins  = 4 * pob.Seats          // challengers at a time
	again     = 100 * time.Millisecond // until a packet before the test is sent again
	partAgain = 40 * time.Millisecond  // until a part of a reply is
	queue     = 120 * time.Millisecond // for which a device waits for what lies in queues on the way
	margin    = 60 * time.Millisecond  // that is left for the reply beside the way there and back
)

// ReceiverConfig says who receives.
type ReceiverConfig struct {
	Chain string
	// Sign signs in the domains DomainConsent and pob.DomainReply.
	Sign func(kind string, payload []byte) types.Signature
}

// Receiver is a device's end, for all its challengers.
type Receiver struct {
	conn Conn
	cfg  ReceiverConfig
	wait time.Duration // beyond what is said above; of tests

	mu    sync.Mutex // guards what follows
	joins map[netip.AddrPort]*join
	first map[pob.ID]time.Time // when the first packet of a test came
}

// Joining is what a challenger told the device of a test.
type Joining struct {
	Test       pob.ID
	Challenger types.Key
	Address    netip.AddrPort // of its socket
	Send       time.Duration
	Reply      time.Duration
	Packets    uint32 // at most as many as the device's claim gives
}

// join is one challenger's part of a test.
type join struct {
	Joining
	token  token
	heard  chan []byte // nonce, ready and acknowledgements, copied
	all    chan struct{}
	closed bool // no packet counts any more
	got    *pob.Received
}

// NewReceiver returns a device's end on a socket, which Run closes. A receive buffer of some megabytes keeps packets
// from being lost at a busy device: see Buffer.
func NewReceiver(conn Conn, cfg ReceiverConfig) *Receiver {
	return &Receiver{conn: conn, cfg: cfg, joins: map[netip.AddrPort]*join{}, first: map[pob.ID]time.Time{}}
}

// Run takes packets until ctx ends.
func (r *Receiver) Run(ctx context.Context) error {
	return read(ctx, r.conn, r.take)
}

// Join agrees to be sent to, receives, and replies. It returns how many packets came when the challenger has the reply,
// pob_no_reply if it did not take it in time, or nothing came at all.
func (r *Receiver) Join(ctx context.Context, j Joining) (came uint32, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*j.Send+2*j.Reply+10*time.Second)
	defer cancel()
	j.Address = unmap(j.Address)
	n := &join{Joining: j, heard: make(chan []byte, 64), all: make(chan struct{}), got: pob.NewReceived(j.Packets)}
	rand.Read(n.token[:])
	if err := r.add(n); err != nil {
		return 0, err
	}
	defer r.remove(n)
	way, err := r.agree(ctx, n)
	if err != nil {
		return 0, err
	}
	if err := r.receive(ctx, n, way); err != nil {
		return 0, err
	}
	return r.reply(ctx, n)
}

func (r *Receiver) add(n *join) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.joins) >= maxJoins || r.joins[n.Address] != nil {
		return types.Refuse(types.DeviceBusy, "wireless: %d challengers at a time, one from each address", len(r.joins))
	}
	r.joins[n.Address] = n
	return nil
}

func (r *Receiver) remove(n *join) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.joins, n.Address)
	for _, other := range r.joins {
		if other.Test == n.Test {
			return
		}
	}
	delete(r.first, n.Test)
}

// agree dials a challenger, and returns how long the way there and back took.
func (r *Receiver) agree(ctx context.Context, n *join) (way time.Duration, err error) {
	b := packet(hello, n.token, helloSize)
	b = append(append(b, n.Test[:]...), make([]byte, helloSize-len(b)-len(n.Test))...)
	clock := time.NewTicker(again)
	defer clock.Stop()
	asked := time.Now() // of hellos that are lost the way seems longer, and the reply goes a little earlier
	for {
		r.conn.WriteToUDPAddrPort(b, n.Address)
		for waiting := true; waiting; {
			select {
			case got := <-n.heard:
				switch {
				case got[0] == nonce && len(got) == nonceSize && b[0] == hello:
					way = time.Since(asked)
					cookie := got[head:]
					sig := r.cfg.Sign(DomainConsent, consented(n.Test, n.Challenger, n.token, cookie))
					b = append(append(append(packet(consent, n.token, consentSize), n.Test[:]...), cookie...), sig[:]...)
					waiting = false
				case got[0] == ready && b[0] == consent:
					return way, nil
				}
			case <-clock.C:
				waiting = false
			case <-ctx.Done():
				return 0, types.Refuse(pob.NoReply, "wireless: challenger %v does not answer at %v", n.Challenger, n.Address)
			}
		}
	}
}

// receive waits until all packets have come, or it is time to reply: as late as the reply still arrives in time, by the
// first packet of the test and the way, and no longer than packets lie in queues.
func (r *Receiver) receive(ctx context.Context, n *join, way time.Duration) error {
	clock := time.NewTicker(10 * time.Millisecond)
	defer clock.Stop()
	for {
		select {
		case <-n.all:
			return nil
		case <-clock.C:
			first, ok := r.began(n.Test)
			if ok && time.Since(first) >= n.Send+min(queue, n.Reply-way-margin)+r.wait {
				return nil
			}
		case <-ctx.Done():
			return types.Refuse(pob.NoReply, "wireless: nothing came from challenger %v", n.Challenger)
		}
	}
}

func (r *Receiver) began(test pob.ID) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, ok := r.first[test]
	return first, ok
}

// close ends what counts, and returns the reply.
func (r *Receiver) close(n *join) (pob.Reply, uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n.closed = true
	count, _ := n.got.Count()
	return n.got.Reply(n.Test, n.Challenger, pob.NetOf(n.Address.Addr())), count
}

// reply sends the reply until it is acknowledged.
func (r *Receiver) reply(ctx context.Context, n *join) (came uint32, err error) {
	reply, came := r.close(n)
	raw := (&pob.SignedReply{Reply: reply, Signature: r.cfg.Sign(pob.DomainReply, reply.Payload())}).Encode()
	count := (len(raw) + partSize - 1) / partSize
	acked := make([]bool, count)
	left := count
	clock := time.NewTicker(partAgain)
	defer clock.Stop()
	end := time.NewTimer(n.Reply + queue)
	defer end.Stop()
	for {
		for i := range count {
			if !acked[i] {
				r.conn.WriteToUDPAddrPort(makePart(n.token, raw, i, count), n.Address)
			}
		}
		for waiting := true; waiting; {
			select {
			case got := <-n.heard:
				if i := index(got); i < count && !acked[i] {
					acked[i] = true
					if left--; left == 0 {
						return came, nil
					}
				}
			case <-clock.C:
				waiting = false
			case <-end.C:
				return came, types.Refuse(pob.Late, "wireless: challenger %v did not take the reply in time", n.Challenger)
			case <-ctx.Done():
				return came, ctx.Err()
			}
		}
	}
}

// index is that of an acknowledged part; beyond all of them for another packet.
func index(b []byte) int {
	if b[0] != ack || len(b) != head+2 {
		return maxParts
	}
	return int(binary.BigEndian.Uint16(b[head:]))
}

// take takes a packet.
func (r *Receiver) take(b []byte, from netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.joins[from]
	if n == nil || n.token != token(b[1:head]) {
		return
	}
	if b[0] != data {
		if len(b) <= nonceSize {
			select {
			case n.heard <- append([]byte{}, b...):
			default:
			}
		}
		return
	}
	if n.closed || len(b) != pob.Payload {
		return
	}
	if _, ok := r.first[n.Test]; !ok {
		r.first[n.Test] = time.Now()
	}
	if n.got.Add(binary.BigEndian.Uint32(b[head:]), pob.Tag(b[head+4:dataHead])) {
		if _, all := n.got.Count(); all {
			close(n.all)
		}
	}
}

// Buffer asks for a receive buffer that holds what comes in a moment in which the device does something else. What the
// system gives may be less.
func Buffer(conn interface{ SetReadBuffer(int) error }) { _ = conn.SetReadBuffer(4 << 20) }
