package radius

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"layeh.com/radius"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/wireless"
)

// secureSecret is the secret inside TLS, which all the world knows (RFC 6614 §2.3).
var secureSecret = []byte("radsec")

// SecureSecret returns the secret with which a packet that goes over TLS is made.
func SecureSecret() []byte { return secureSecret }

const (
	alpn          = "radius/1.0" // RFC 9765
	secureWait    = 10 * time.Second
	secureIdle    = 10 * time.Minute // a connection on which nothing comes for so long is closed
	secureWorking = 64               // requests of one connection that are worked on at once; then it is not read
	watchEvery    = 30 * time.Second // a client that hears nothing asks for a sign of life (RFC 3539)
)

// Secure answers RADIUS over TLS: the client's certificate is its key.
type Secure struct {
	Key    types.PrivateKey
	Handle Handler
	Log    *slog.Logger

	counters counters
	said     said
}

// Counts returns what the server has seen.
func (s *Secure) Counts() Counts { return s.counters.counts() }

// Serve answers what comes over a listener's connections, which the listener bounds (package conns), until ctx ends.
// It closes the listener and all connections.
func (s *Secure) Serve(ctx context.Context, l net.Listener) error {
	config, err := role.ServerTLS(s.Key)
	if err != nil {
		return err
	}
	config.NextProtos = []string{alpn}
	ctx, cancel := context.WithCancel(ctx)
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("radius: %w", err)
		}
		open.Go(func() {
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			s.connection(ctx, tls.Server(c, config))
		})
	}
}

func (s *Secure) connection(ctx context.Context, c *tls.Conn) {
	from := netip.AddrPort{}
	if at, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		from = at.AddrPort()
	}
	shake, done := context.WithTimeout(ctx, secureWait)
	err := c.HandshakeContext(shake)
	done()
	if err != nil {
		s.counters.strangers.Add(1)
		return
	}
	state := c.ConnectionState()
	peer, err := role.PeerKey(&state)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	var writing sync.Mutex
	places := make(chan struct{}, secureWorking)
	in := bufio.NewReader(c)
	for {
		raw, err := read(c, in)
		if err != nil {
			return
		}
		p, err := Parse(raw, secureSecret)
		if err != nil { // whoever sends such things over TLS is no RADIUS client (RFC 6614 §2.6)
			s.counters.refused(err)
			s.said.say(s.Log, string(types.ReasonOf(err)), from, err)
			return
		}
		s.counters.requests.Add(1)
		places <- struct{}{}
		working.Go(func() {
			defer func() { <-places }()
			raw := reply(ctx, s.Handle, s.Log, &Request{Packet: p, From: from, Peer: peer})
			if raw == nil {
				return
			}
			writing.Lock()
			defer writing.Unlock()
			_ = c.SetWriteDeadline(time.Now().Add(secureWait))
			if _, err := c.Write(raw); err != nil {
				c.Close()
				return
			}
			s.counters.answered.Add(1)
		})
	}
}

// read reads a packet. It waits long for the first byte and not for the rest.
func read(c net.Conn, in *bufio.Reader) ([]byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(secureIdle))
	if _, err := in.Peek(1); err != nil {
		return nil, err
	}
	_ = c.SetReadDeadline(time.Now().Add(secureWait))
	head, err := in.Peek(4)
	if err != nil {
		return nil, err
	}
	n := int(head[2])<<8 | int(head[3])
	if n < header || n > radius.MaxPacketLength {
		return nil, fmt.Errorf("a packet of %d bytes: %w", n, ErrForm)
	}
	raw := make([]byte, n)
	_, err = io.ReadFull(in, raw)
	return raw, err
}

// Client asks one gateway over TLS. It connects when it is needed first, and again when a connection has ended. It
// may be used by many goroutines; more than 256 requests at once wait for each other.
type Client struct {
	Key     types.PrivateKey
	Peer    types.Key // whom it wants to reach
	Address string
	// Dial connects to Address; it says which addresses may be dialled (role.DialDevice).
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex // guards link
	link *link
	turn sync.Mutex // held while somebody connects
}

// Exchange sends a request and returns the reply to it. The request's secret is SecureSecret. Whatever keeps a reply
// from coming is wireless.idp_unreachable.
func (c *Client) Exchange(ctx context.Context, request *Packet) (*Packet, error) {
	l, err := c.connect(ctx)
	if err != nil {
		return nil, types.Refuse(wireless.IdPUnreachable, "gateway %s: %v", c.Address, err)
	}
	reply, err := l.exchange(ctx, request)
	if err != nil {
		return nil, types.Refuse(wireless.IdPUnreachable, "gateway %s: %v", c.Address, err)
	}
	return reply, nil
}

// Close ends the connection. A client that was closed connects again when it is needed.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil {
		c.link.end(net.ErrClosed)
		c.link = nil
	}
}

func (c *Client) current() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil && c.link.over() {
		c.link = nil
	}
	return c.link
}

func (c *Client) connect(ctx context.Context) (*link, error) {
	if l := c.current(); l != nil {
		return l, nil
	}
	c.turn.Lock()
	defer c.turn.Unlock()
	if l := c.current(); l != nil {
		return l, nil
	}
	config, err := role.ClientTLS(c.Key, c.Peer)
	if err != nil {
		return nil, err
	}
	config.NextProtos = []string{alpn}
	ctx, cancel := context.WithTimeout(ctx, secureWait)
	defer cancel()
	raw, err := c.Dial(ctx, "tcp", c.Address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	l := &link{conn: conn, free: make(chan byte, 256), ended: make(chan struct{}), used: time.Now()}
	for id := range 256 {
		l.free <- byte(id)
	}
	go l.read()
	go l.watch()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	return l, nil
}

// link is one connection of a client's.
type link struct {
	conn    *tls.Conn
	free    chan byte // identifiers that no request has
	ended   chan struct{}
	writing sync.Mutex

	mu    sync.Mutex // guards what follows
	wait  [256]*waiting
	heard time.Time
	used  time.Time // when something was asked but for a sign of life
	err   error
}

type waiting struct {
	request *Packet
	reply   chan *Packet // of one
}

func (l *link) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

func (l *link) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		close(l.ended)
		l.conn.Close()
	}
}

func (l *link) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *link) exchange(ctx context.Context, request *Packet) (*Packet, error) {
	var id byte
	select {
	case id = <-l.free:
	case <-l.ended:
		return nil, l.why()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	request.Identifier = id
	raw, err := Encode(request)
	if err != nil {
		l.free <- id
		return nil, err
	}
	w := &waiting{request, make(chan *Packet, 1)}
	l.mu.Lock()
	l.wait[id] = w
	if request.Code != radius.CodeStatusServer {
		l.used = time.Now()
	}
	l.mu.Unlock()
	// The identifier of a request that nobody answered is not used again on this connection: a late reply would
	// be taken for another's.
	l.writing.Lock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(secureWait))
	_, err = l.conn.Write(raw)
	l.writing.Unlock()
	if err != nil {
		l.end(err)
		return nil, err
	}
	select {
	case reply := <-w.reply:
		return reply, nil
	case <-l.ended:
		return nil, l.why()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *link) read() {
	in := bufio.NewReader(l.conn)
	for {
		raw, err := read(l.conn, in)
		if err != nil {
			l.end(err)
			return
		}
		id := raw[1]
		l.mu.Lock()
		w := l.wait[id]
		l.wait[id] = nil
		l.heard = time.Now()
		l.mu.Unlock()
		if w == nil {
			l.end(fmt.Errorf("a reply to nothing that was asked: %w", ErrForm))
			return
		}
		reply, err := ParseReply(raw, w.request)
		if err != nil {
			l.end(err)
			return
		}
		w.reply <- reply
		l.free <- id
	}
}

// watch ends a connection whose other side is gone without a word, or that has too few identifiers left: those of
// requests that nobody answered.
func (l *link) watch() {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-l.ended:
			return
		case <-t.C:
		}
		l.mu.Lock()
		quiet, idle := time.Since(l.heard) > watchEvery, time.Since(l.used) > secureIdle
		l.mu.Unlock()
		if idle {
			l.end(net.ErrClosed)
			return
		}
		if !quiet {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), secureWait)
		_, err := l.exchange(ctx, radius.New(radius.CodeStatusServer, secureSecret))
		cancel()
		if err != nil {
			l.end(errors.Join(errors.New("the gateway gives no sign of life"), err))
			return
		}
	}
}
