// Package conns bounds the connections that a listener has open: in all, and from one address, so that nobody
// alone can hold every place.
//
// An address is an IPv4 address or an IPv6 /64, which is what one machine gets. A site gets up to an IPv6 /48:
// it may have as much as four addresses. Addresses of this machine may have half of all places: a reverse proxy
// stands there, and tests do. Whatever comes beyond a bound is closed at once, so that who waits is told by an
// error and not by silence.
package conns

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	site      = 4           // addresses' worth of places that an IPv6 /48 has
	sayAgain  = time.Minute // between two lines in the log that connections were refused
	hostBits  = 64
	siteBits  = 48
	nearShare = 2 // an address that is near has one place in so many
)

// Limits says how many connections may be open.
type Limits struct {
	Total      int
	PerAddress int
	// Near are addresses that may have half of Total each. Nil: those of this machine.
	Near []netip.Prefix
}

// loopback is who is near where nothing else is said.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Count counts the places that are taken. It may be used by many goroutines.
type Count struct {
	limits Limits

	mu    sync.Mutex // guards what follows
	total int
	held  map[netip.Prefix]int // by address and by site; at most two entries for each place
}

// NewCount returns a count with all places free.
func NewCount(limits Limits) *Count {
	if limits.Near == nil {
		limits.Near = loopback
	}
	return &Count{limits: limits, held: map[netip.Prefix]int{}}
}

// bound is how many places all of a prefix have together.
type bound struct {
	of   netip.Prefix
	most int
}

// bounds lists what an address is counted under. What is no IP address, as a pipe, is near.
func (c *Count) bounds(addr netip.Addr) []bound {
	addr = addr.Unmap().WithZone("")
	near := !addr.IsValid()
	for _, p := range c.limits.Near {
		near = near || p.Contains(addr)
	}
	switch {
	case near:
		return []bound{{exactly(addr), max(c.limits.Total/nearShare, 1)}}
	case addr.Is4():
		return []bound{{exactly(addr), c.limits.PerAddress}}
	}
	host, _ := addr.Prefix(hostBits) // both lengths fit
	around, _ := addr.Prefix(siteBits)
	return []bound{{host, c.limits.PerAddress}, {around, site * c.limits.PerAddress}}
}

func exactly(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// Take takes a place, if one is left for the address.
func (c *Count) Take(addr netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	bounds := c.bounds(addr)
	if c.total >= c.limits.Total {
		return false
	}
	for _, b := range bounds {
		if c.held[b.of] >= b.most {
			return false
		}
	}
	c.total++
	for _, b := range bounds {
		c.held[b.of]++
	}
	return true
}

// Give gives a place back that was taken.
func (c *Count) Give(addr netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	for _, b := range c.bounds(addr) {
		if c.held[b.of]--; c.held[b.of] <= 0 {
			delete(c.held, b.of)
		}
	}
}

// Total is how many places are taken.
func (c *Count) Total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// AddrOf returns the IP address of one end of a connection; the zero Addr if it has none.
func AddrOf(at net.Addr) netip.Addr {
	if tcp, ok := at.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr()
	}
	return netip.Addr{}
}

// Logger is what is told of connections that were closed; *slog.Logger is one.
type Logger interface {
	Warn(message string, args ...any)
}

// Limit returns a listener that hands on the connections of l within the limits, and closes the others. It says
// so in the log, at most once a minute. TLS belongs around it, not below it: a handshake holds a place as well.
func Limit(l net.Listener, limits Limits, log Logger) net.Listener {
	return &listener{Listener: l, count: NewCount(limits), log: log}
}

type listener struct {
	net.Listener
	count *Count
	log   Logger

	mu      sync.Mutex // guards what follows
	refused int        // since it was said last
	said    time.Time
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := AddrOf(c.RemoteAddr())
		if l.count.Take(addr) {
			return &conn{Conn: c, leave: sync.OnceFunc(func() { l.count.Give(addr) })}, nil
		}
		c.Close()
		l.refuse(c.RemoteAddr())
	}
}

func (l *listener) refuse(from net.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	if now := time.Now(); now.Sub(l.said) >= sayAgain {
		l.log.Warn("connections closed: too many are open, in all or from one address", "closed", l.refused, "last", from, "at", l.Addr(),
			"total", l.count.limits.Total, "per_address", l.count.limits.PerAddress)
		l.refused, l.said = 0, now
	}
}

type conn struct {
	net.Conn
	leave func()
}

// CloseWrite is that of connections which have one.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}
