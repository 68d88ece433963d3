package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// Bounds of connections to ports of containers.
const (
	// MaxConns is how many a job may have at once. What a stream of HTTP/2 may have on its way, times this, is what its
	// connection may have: so none of them waits for another one that nobody reads.
	MaxConns = 16
	// IdleTime is for how long nothing may come or go on one.
	IdleTime = 5 * time.Minute

	maxPiece   = 32 << 10  // bytes of a piece
	portBuffer = 256 << 10 // bytes that may be on their way on one
)

// Conn is a connection to a port of a job's container, with one end at the gateway and one at the device. It
// travels on a stream of HTTP/2 of its own, whose windows hold up whoever sends more than the other side takes;
// all of a job are on one TLS connection, so that a customer who takes nothing holds up nobody else. Each
// direction is pieces, [length u16 ‖ bytes], and ends with an empty one: what ends without it broke off.
//
// Deadlines do nothing; a Conn closes itself when nothing has come or gone for IdleTime.
type Conn struct {
	in    *bufio.Reader
	close func(clean bool) // clean: both directions have ended
	idle  time.Duration
	timer *time.Timer

	reading sync.Mutex  // guards what follows
	left    int         // of the piece
	ended   atomic.Bool // the other side's direction; read without the lock, too

	writing sync.Mutex // guards what follows
	out     io.Writer
	flush   func() error
	over    atomic.Bool // this side's direction

	once   sync.Once
	closed chan struct{}
}

func newConn(in io.Reader, out io.Writer, flush func() error, idle time.Duration, closer func(clean bool)) *Conn {
	c := &Conn{in: bufio.NewReaderSize(in, 4<<10), out: out, flush: flush, close: closer, idle: idle}
	c.closed = make(chan struct{})
	c.timer = time.AfterFunc(time.Hour, func() { _ = c.Close() })
	c.timer.Reset(idle) // not before c is whole
	return c
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.ended.Load() {
		return 0, io.EOF
	}
	if c.left == 0 {
		var head [2]byte
		if _, err := io.ReadFull(c.in, head[:]); err != nil {
			return 0, c.broke(err)
		}
		if c.left = int(binary.BigEndian.Uint16(head[:])); c.left == 0 {
			c.ended.Store(true)
			return 0, io.EOF
		}
	}
	n, err := c.in.Read(p[:min(len(p), c.left)])
	c.left -= n
	if n > 0 {
		c.timer.Reset(c.idle)
		return n, nil
	}
	return 0, c.broke(err)
}

// broke is how a connection ends that does not end as it should.
func (c *Conn) broke(err error) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for len(p) > 0 {
		piece := p[:min(len(p), maxPiece)]
		if err := c.send(piece); err != nil {
			return n, err
		}
		c.timer.Reset(c.idle)
		n += len(piece)
		p = p[len(piece):]
	}
	return n, nil
}

// send sends a piece. writing is held.
func (c *Conn) send(piece []byte) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	if c.over.Load() {
		return io.ErrClosedPipe
	}
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(piece)), uint16(len(piece)))
	if _, err := c.out.Write(append(b, piece...)); err != nil {
		return c.broke(err)
	}
	return c.flush()
}

// CloseWrite says that nothing more is written.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	err := c.send(nil)
	c.over.Store(true)
	return err
}

// Close ends the connection: directions that have not ended break off.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.timer.Stop()
		close(c.closed)
		c.close(c.ended.Load() && c.over.Load())
	})
	return nil
}

// Closed is closed once the connection is.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

type address struct{}

func (address) Network() string { return "port" }
func (address) String() string  { return "container" }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return address{} }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return address{} }

// SetDeadline does nothing.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Relay copies from each of two connections to the other one until both have ended, or one breaks. It closes both.
func Relay(a, b io.ReadWriteCloser) {
	var both sync.WaitGroup
	copyTo := func(to, from io.ReadWriteCloser) {
		_, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
		if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		} else if err == nil {
			err = errors.ErrUnsupported // who can't be told that this is all is told by the end
		}
		if err != nil {
			_, _ = a.Close(), b.Close() // the other copy ends
		}
	}
	both.Go(func() { copyTo(a, b) })
	both.Go(func() { copyTo(b, a) })
	both.Wait()
	_, _ = a.Close(), b.Close()
}

// ParseOpen reads the data of an Open frame.
func ParseOpen(data []byte) (port uint16, err error) {
	if len(data) != 2 {
		return 0, types.Refuse(types.BadEncoding, "link: a port of %d bytes", len(data))
	}
	return binary.BigEndian.Uint16(data), nil
}

// OpenPort is the data of an Open frame.
func OpenPort(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

// Port opens the device's end of a connection that its gateway has asked for (Open), by its number.
func (c *Client) Port(ctx context.Context, g Gateway, order types.Hash, number uint64) (*Conn, error) {
	h, err := c.ofJob(g, order)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	in, out := io.Pipe()
	at := fmt.Sprintf("https://%s%s%x/%d", g.Address, pathPort, order[:], number)
	r, err := http.NewRequestWithContext(ctx, "POST", at, in)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("link: %w", err)
	}
	wait := time.AfterFunc(Silence, cancel)
	res, err := do(h, g, r)
	wait.Stop()
	if err != nil {
		cancel()
		return nil, errors.Join(err, in.Close())
	}
	return newConn(res.Body, out, func() error { return nil }, c.idle, func(clean bool) {
		_ = out.Close() // both never fail
		if clean {      // what was written is still on its way: the gateway ends the stream when it has it
			late := time.AfterFunc(Silence, cancel)
			go func() {
				_, _ = io.Copy(io.Discard, res.Body)
				late.Stop()
				cancel()
				_ = res.Body.Close()
			}()
			return
		}
		_ = in.CloseWithError(io.ErrClosedPipe)
		cancel()
		_ = res.Body.Close()
	}), nil
}

// ofJob returns what connects to ports of one job: its connection is no other job's.
func (c *Client) ofJob(g Gateway, order types.Hash) (*http.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.jobs[order]; h != nil {
		return h, nil
	}
	h, err := c.connect(g, portBuffer, MaxConns*portBuffer)
	if err != nil {
		return nil, err
	}
	c.jobs[order] = h
	return h, nil
}

// Leave forgets the connection of a job that has ended.
func (c *Client) Leave(order types.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.jobs[order]; h != nil {
		h.CloseIdleConnections()
		delete(c.jobs, order)
	}
}

func (s *Server) port(w http.ResponseWriter, r *http.Request) {
	device, order, err := who(r)
	var number uint64
	if err == nil {
		if number, err = strconv.ParseUint(r.PathValue("number"), 10, 64); err != nil {
			err = types.Refuse(types.BadEncoding, "link: %.40q is no number", r.PathValue("number"))
		}
	}
	var take func(*Conn)
	if err == nil {
		take, err = s.jobs.Port(device, order, number)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	s.active.Add(1)
	defer s.active.Done()
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	c := newConn(r.Body, w, control.Flush, s.idle, func(bool) {
		now := time.Now() // what waits for the other side waits no longer
		_ = control.SetReadDeadline(now)
		_ = control.SetWriteDeadline(now)
	})
	defer context.AfterFunc(r.Context(), func() { _ = c.Close() })()
	defer context.AfterFunc(s.ctx, func() { _ = c.Close() })()
	if control.Flush() != nil {
		_ = c.Close()
	}
	take(c)
	<-c.Closed()
	_ = c.Close()    // whoever closes it is waited for
	c.reading.Lock() // and who reads or writes at this moment
	defer c.reading.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
}
