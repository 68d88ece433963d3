package tunnel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Client is the customer's end of one tunnel.
type Client struct {
	bill   *Bill
	conn   *http.ClientConn
	out    *io.PipeWriter
	due    chan struct{}
	places chan struct{} // taken by streams
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	last State
	base uint64 // signed for by the account before this session
}

// Dial opens a session at a device. dial decides which addresses may be reached at all (role.DialDevice).
func Dial(ctx context.Context, key types.PrivateKey, t Terms, address string, b *Bill,
	dial func(ctx context.Context, network, address string) (net.Conn, error)) (*Client, error) {
	config, err := role.ClientTLS(key, t.Device)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext: dial, TLSClientConfig: config, TLSHandshakeTimeout: Patience, Protocols: new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: MaxStreams * window,
			SendPingTimeout: silence / 2, PingTimeout: silence / 4, WriteByteTimeout: silence,
		},
	}
	transport.Protocols.SetHTTP2(true)
	conn, err := transport.NewClientConn(ctx, "https", address)
	if err != nil {
		return nil, err
	}
	c := &Client{bill: b, conn: conn, due: make(chan struct{}, 1), places: make(chan struct{}, MaxStreams)}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	in, out := io.Pipe()
	c.out = out
	r, _ := http.NewRequestWithContext(c.ctx, http.MethodPost, "https://device/", in)
	opening := time.AfterFunc(2*Patience, func() { c.end(types.Refuse(types.DeviceLate, "the tunnel did not open")) })
	defer opening.Stop()
	defer context.AfterFunc(ctx, func() { c.end(ctx.Err()) })()
	go func() { _ = writeFrame(out, types.Encode(Open{Session: t.Session, Ask: t.Ask, First: t.First})) }()
	answer, err := conn.RoundTrip(r)
	if err == nil {
		err = refused(answer)
	}
	if err == nil {
		err = c.hear(answer.Body)
	}
	if err != nil {
		c.end(err)
		return nil, err
	}
	c.base = c.last.Units
	go func() {
		for {
			if err := c.hear(answer.Body); err != nil {
				c.end(err)
				return
			}
		}
	}()
	go c.pay()
	return c, nil
}

func (c *Client) end(err error) {
	c.cancel(err)
	_ = c.out.CloseWithError(err)
	_ = c.conn.Close()
}

// hear reads a state. A refusal in it ends nothing: what is refused is said to whoever asks for State.
func (c *Client) hear(r io.Reader) error {
	raw, err := readFrame(r)
	if err != nil {
		return err
	}
	var s State
	if err := types.Decode(raw, &s); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = s
	return nil
}

// State returns what the device said last, and the refusal in it.
func (c *Client) State() (State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.last.err()
}

// pay sends receipts as they are due, and beats.
func (c *Client) pay() {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		var raw []byte
		select {
		case <-c.due:
			r, err := c.bill.Sign()
			if err != nil {
				c.end(err)
				return
			}
			if r != nil {
				raw = r.Encode()
			}
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		if err := writeFrame(c.out, raw); err != nil {
			c.end(err)
			return
		}
	}
}

func (c *Client) count(n int) error {
	if c.bill.Add(n) {
		c.sign()
	}
	return context.Cause(c.ctx)
}

func (c *Client) sign() {
	select {
	case c.due <- struct{}{}:
	default:
	}
}

// Close signs for what is unpaid, waits until the device has it or ctx ends, and closes the tunnel.
func (c *Client) Close(ctx context.Context) {
	// Receipts of before may still be on their way.
	if count, _ := c.bill.Counted(); count > 0 {
		c.sign()
		for c.ctx.Err() == nil && ctx.Err() == nil {
			if s, _ := c.State(); s.Units-c.base >= count {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	c.end(net.ErrClosed)
}

func refused(answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	defer answer.Body.Close()
	var p role.Problem
	if err := json.NewDecoder(io.LimitReader(answer.Body, 4<<10)).Decode(&p); err != nil || p.Reason == "" {
		return fmt.Errorf("the device says %s", answer.Status)
	}
	return types.Refuse(p.Reason, "%.300s", p.Message)
}

// Serve takes connections of SOCKS5 (RFC 1928, CONNECT without a password) and of HTTP CONNECT until ctx ends. It
// closes l, whose connections the caller has bounded.
func (c *Client) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var active sync.WaitGroup
	defer active.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		active.Go(func() {
			defer conn.Close()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			defer context.AfterFunc(c.ctx, cancel)()
			c.one(ctx, cancel, conn)
		})
	}
}

func (c *Client) one(ctx context.Context, cancel func(), conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(Patience))
	in := bufio.NewReaderSize(conn, 4<<10)
	to, answer, err := greet(in, conn)
	if err != nil {
		return
	}
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	default:
		answer(types.Refuse(types.OverQuota, "%d connections are open", MaxStreams))
		return
	}
	body, up := io.Pipe()
	r := (&http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: "device"}, Host: to, Header: http.Header{}, Body: body}).WithContext(ctx)
	late := time.AfterFunc(DialTime+Patience, cancel)
	resp, err := c.conn.RoundTrip(r)
	late.Stop()
	if err == nil {
		err = refused(resp)
	}
	if answer(err); err != nil {
		_ = up.CloseWithError(err)
		return
	}
	defer resp.Body.Close()
	_ = conn.SetDeadline(time.Time{})
	go func() {
		err := relay(in, func(b []byte) error { _, err := up.Write(b); return err }, c.count)
		if err != nil {
			cancel()
		}
		_ = up.CloseWithError(err)
	}()
	err = relay(resp.Body, func(b []byte) error {
		_ = conn.SetWriteDeadline(time.Now().Add(Stall))
		_, err := conn.Write(b)
		return err
	}, c.count)
	if tcp, ok := conn.(*net.TCPConn); ok && err != nil {
		_ = tcp.SetLinger(0) // it broke, and does not look like an end
	}
	_ = up.CloseWithError(io.ErrClosedPipe)
}
