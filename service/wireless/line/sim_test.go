package line

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// simulated is a network in memory: devices behind one line, which has a rate each way and a queue, and challengers beyond
// it. Its time is that of package time: in a bubble of synctest, a virtual one.
type simulated struct {
	rate  uint64 // bit/s each way
	delay time.Duration
	loss  float64 // each way
	// slice, if not nil, says whose packets the device's line lets through: the others are dropped before they cross.
	slice func(from netip.AddrPort) bool

	mu    sync.Mutex
	rand  *rand.Rand
	nodes map[netip.AddrPort]*node
	free  [2]time.Time // when the line is free again: down, up
}

// node is a socket.
type node struct {
	net    *simulated
	at     netip.AddrPort
	behind bool // the line
	in     chan datagram
	closed chan struct{}
	once   sync.Once
}

type datagram struct {
	from netip.AddrPort
	b    []byte
}

const (
	simQueue = 100 * time.Millisecond
	frame    = 42 // of Ethernet, IPv4 and UDP
)

func newSimulated(rate uint64, seed uint64) *simulated {
	return &simulated{rate: rate, delay: 15 * time.Millisecond, rand: rand.New(rand.NewPCG(seed, 0)), nodes: map[netip.AddrPort]*node{}}
}

func (s *simulated) open(at netip.AddrPort, behind bool) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &node{net: s, at: at, behind: behind, in: make(chan datagram, 4096), closed: make(chan struct{})}
	s.nodes[at] = n
	return n
}

func (s *simulated) device(_ testing.TB, i int) Conn { return s.open(deviceAt(i), true) }

func (s *simulated) challenger(_ testing.TB, i int) Conn { return s.open(challengerAt(i), false) }

func (n *node) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-n.in:
		return copy(b, d.b), d.from, nil
	case <-n.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (n *node) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	s := n.net
	s.mu.Lock()
	defer s.mu.Unlock()
	dest := s.nodes[to]
	if dest == nil || s.rand.Float64() < s.loss || s.slice != nil && dest.behind && b[0] == data && !s.slice(n.at) {
		return len(b), nil
	}
	wait := s.delay + time.Duration(s.rand.Int64N(int64(time.Millisecond)))
	if n.behind != dest.behind {
		way, now := &s.free[0], time.Now()
		if n.behind {
			way = &s.free[1]
		}
		if way.Before(now) {
			*way = now
		}
		if way.Sub(now) > simQueue {
			return len(b), nil
		}
		*way = way.Add(time.Duration(uint64(len(b)+frame) * 8 * uint64(time.Second) / s.rate))
		wait += way.Sub(now)
	}
	d := datagram{from: n.at, b: append([]byte{}, b...)}
	time.AfterFunc(wait, func() {
		select {
		case dest.in <- d:
		case <-dest.closed:
		default:
		}
	})
	return len(b), nil
}

func (n *node) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(n.at) }

func (n *node) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}
