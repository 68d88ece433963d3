package radius

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"layeh.com/radius"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/service/wireless"
)

const (
	// at most so many requests are worked on at once, and of one address half of them; what comes beyond is
	// dropped and counted: an access point sends again what nobody answers.
	maxWorking  = 1 << 10
	maxPerPoint = maxWorking / 2

	sayAgain = time.Minute // between two lines in the log about one kind of packet that was dropped
)

// Request is a request that was taken.
type Request struct {
	*Packet
	From netip.AddrPort
	Peer types.Key // whose certificate the other side has; zero over UDP
}

// Handler answers a request with one of its Response, or with nil, which drops it. It is called from several
// goroutines.
type Handler func(ctx context.Context, r *Request) *Packet

// Counts is what a server has seen since it began.
type Counts struct {
	Requests   uint64 // that were signed and new
	Answered   uint64
	Duplicates uint64 // that were answered as before, or while the first was worked on
	Malformed  uint64
	Unsigned   uint64 // wireless.radius_unsigned
	Secret     uint64 // wireless.radius_secret
	Strangers  uint64 // from addresses that have no secret here
	Dropped    uint64 // for want of a place
}

// counters are Counts while they change.
type counters struct {
	requests, answered, duplicates, malformed, unsigned, secret, strangers, dropped atomic.Uint64
}

func (c *counters) counts() Counts {
	return Counts{c.requests.Load(), c.answered.Load(), c.duplicates.Load(), c.malformed.Load(),
		c.unsigned.Load(), c.secret.Load(), c.strangers.Load(), c.dropped.Load()}
}

// refused counts a packet that Parse did not take.
func (c *counters) refused(err error) {
	switch types.ReasonOf(err) {
	case wireless.RadiusUnsigned:
		c.unsigned.Add(1)
	case wireless.RadiusSecret:
		c.secret.Add(1)
	default:
		c.malformed.Add(1)
	}
}

// Server answers RADIUS over UDP.
type Server struct {
	// Secret returns the secret that is shared with an address, nil for a stranger.
	Secret func(netip.Addr) []byte
	Handle Handler
	Log    *slog.Logger

	counters counters
	said     said
	mu       sync.Mutex // guards cache
	cache    cache
}

// Counts returns what the server has seen.
func (s *Server) Counts() Counts { return s.counters.counts() }

// Refused returns the last packet that was refused, and when: nil for none.
func (s *Server) Refused() (err error, at time.Time) { return s.said.last() }

// Serve answers what comes to a socket until ctx ends, and closes the socket. It returns when all that was begun
// is done.
func (s *Server) Serve(ctx context.Context, socket *net.UDPConn) error {
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()
	_ = socket.SetReadBuffer(4 << 20) // the kernel gives what it may
	places := conns.NewCount(conns.Limits{Total: maxWorking, PerAddress: maxPerPoint})
	buf := make([]byte, radius.MaxPacketLength+1)
	for {
		n, from, err := socket.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("radius: %w", err)
			}
			continue // of one packet: what was sent before could not be delivered
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		secret := s.Secret(from.Addr())
		if secret == nil {
			s.counters.strangers.Add(1)
			s.said.say(s.Log, "strangers", from, errStranger)
			continue
		}
		p, err := Parse(buf[:n], secret)
		if err != nil {
			s.counters.refused(err)
			s.said.say(s.Log, string(types.ReasonOf(err)), from, err)
			continue
		}
		if !places.Take(from.Addr()) {
			s.counters.dropped.Add(1)
			s.said.say(s.Log, "places", from, errPlaces)
			continue
		}
		key := asked{from, p.Code, p.Identifier, p.Authenticator}
		s.mu.Lock()
		again, isNew := s.cache.take(key, time.Now())
		s.mu.Unlock()
		if !isNew {
			places.Give(from.Addr())
			s.counters.duplicates.Add(1)
			if again != nil {
				_, _ = socket.WriteToUDPAddrPort(again, from)
			}
			continue
		}
		s.counters.requests.Add(1)
		working.Go(func() {
			defer places.Give(from.Addr())
			raw := s.answer(ctx, &Request{Packet: p, From: from})
			s.mu.Lock()
			s.cache.put(key, raw)
			s.mu.Unlock()
			if raw != nil {
				s.counters.answered.Add(1)
				_, _ = socket.WriteToUDPAddrPort(raw, from)
			}
		})
	}
}

var (
	errStranger = errors.New("no secret is set for this address")
	errPlaces   = errors.New("as many requests as may be are worked on")
)

func (s *Server) answer(ctx context.Context, r *Request) []byte {
	return reply(ctx, s.Handle, s.Log, r)
}

// reply has a request answered; nil for no answer. Status-Server (RFC 5997) is answered here.
func reply(ctx context.Context, handle Handler, log *slog.Logger, r *Request) []byte {
	var p *Packet
	if r.Code == radius.CodeStatusServer {
		p = r.Response(radius.CodeAccessAccept)
	} else if p = handle(ctx, r); p == nil {
		return nil
	}
	raw, err := EncodeReply(p)
	if err != nil {
		log.Error("a reply cannot be encoded", "code", p.Code, "err", err)
		return nil
	}
	return raw
}

// said writes lines about what was dropped, of each kind one in a while, and remembers the last.
type said struct {
	mu   sync.Mutex // guards what follows
	at   map[string]time.Time
	err  error
	when time.Time
}

func (s *said) say(log *slog.Logger, kind string, from netip.AddrPort, err error) {
	now := time.Now()
	s.mu.Lock()
	s.err, s.when = fmt.Errorf("from %v: %w", from.Addr(), err), now
	quiet := now.Sub(s.at[kind]) < sayAgain
	if !quiet {
		if s.at == nil {
			s.at = map[string]time.Time{} // of as many kinds as there are reasons
		}
		s.at[kind] = now
	}
	s.mu.Unlock()
	if !quiet {
		log.Warn("packets of RADIUS are dropped", "from", from.String(), "err", err)
	}
}

func (s *said) last() (error, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err, s.when
}
