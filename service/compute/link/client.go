package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Gateway is where a device finds the gateway of an order.
type Gateway struct {
	Address string    // host:port
	Key     types.Key // its Server's
}

// MaxGateways bounds to how many gateways a Client keeps connections. One more takes the place of the one unused for
// longest.
const MaxGateways = 256

const dialTime = 5 * time.Second

// Client is the device's end.
type Client struct {
	key  types.PrivateKey
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	known map[Gateway]*gateway
	jobs  map[types.Hash]*http.Client // to ports of jobs, by order
	idle  time.Duration               // of a Conn
}

type gateway struct {
	http *http.Client
	used time.Time
}

// NewClient returns a Client that is key. An order is a stranger's: dial decides which addresses may be reached
// at all (role.DialDevice).
func NewClient(key types.PrivateKey, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Client {
	return &Client{key: key, dial: dial, known: map[Gateway]*gateway{}, jobs: map[types.Hash]*http.Client{}, idle: IdleTime}
}

// Close closes all connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for g, k := range c.known {
		k.http.CloseIdleConnections()
		delete(c.known, g)
	}
	for o, h := range c.jobs {
		h.CloseIdleConnections()
		delete(c.jobs, o)
	}
}

// to returns what connects to a gateway.
func (c *Client) to(g Gateway) (*http.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[g]; k != nil {
		k.used = time.Now()
		return k.http, nil
	}
	h, err := c.connect(g, 1<<20, 8<<20)
	if err != nil {
		return nil, err
	}
	if len(c.known) >= MaxGateways {
		var oldest Gateway
		for o, k := range c.known {
			if oldest == (Gateway{}) || k.used.Before(c.known[oldest].used) {
				oldest = o
			}
		}
		c.known[oldest].http.CloseIdleConnections()
		delete(c.known, oldest)
	}
	c.known[g] = &gateway{h, time.Now()}
	return h, nil
}

// connect returns what makes one connection to a gateway, on which so many bytes may be on their way, of one stream
// and of all.
func (c *Client) connect(g Gateway, stream, all int) (*http.Client, error) {
	config, err := role.ClientTLS(c.key, g.Key)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTime)
			defer cancel()
			return c.dial(ctx, network, address)
		},
		TLSClientConfig: config, TLSHandshakeTimeout: dialTime, ForceAttemptHTTP2: true, IdleConnTimeout: idleTime,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: Silence, PingTimeout: Silence / 2, WriteByteTimeout: Silence,
			MaxReceiveBufferPerStream: stream, MaxReceiveBufferPerConnection: all,
		},
	}}, nil
}

func (c *Client) do(g Gateway, r *http.Request) (*http.Response, error) {
	h, err := c.to(g)
	if err != nil {
		return nil, err
	}
	return do(h, g, r)
}

func do(h *http.Client, g Gateway, r *http.Request) (*http.Response, error) {
	res, err := h.Do(r)
	if err != nil {
		var of *url.Error // its long URL says nothing to whoever reads this
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, fmt.Errorf("gateway at %s: %w", g.Address, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what there is of it
	var p role.Problem
	if json.Unmarshal(raw, &p) != nil || p.Reason == "" {
		return nil, fmt.Errorf("gateway at %s: %s", g.Address, res.Status)
	}
	return nil, types.Refuse(p.Reason, "gateway at %s: %s", g.Address, p.Message)
}

// Input returns an input of an order's job from an offset on, and how long it is altogether.
func (c *Client) Input(ctx context.Context, g Gateway, order, input types.Hash, offset uint64) (io.ReadCloser, uint64, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("https://%s%s%x/%x", g.Address, pathInput, order[:], input[:]), nil)
	if err != nil {
		return nil, 0, fmt.Errorf("link: %w", err)
	}
	if offset > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	res, err := c.do(g, r)
	if err != nil {
		return nil, 0, err
	}
	size, err := strconv.ParseUint(res.Header.Get("X-Size"), 10, 64)
	if err == nil && offset > 0 && res.StatusCode != http.StatusPartialContent {
		err = fmt.Errorf("the whole came instead of what begins at %d", offset)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("gateway at %s: input %v: %w", g.Address, input, err), res.Body.Close())
	}
	return res.Body, size, nil
}

// Join opens the stream of an order's job. What the gateway refuses comes with its reason: a job that is not
// this device's, or that it has long had the end of.
func (c *Client) Join(ctx context.Context, g Gateway, order types.Hash) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	in, out := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, "POST", fmt.Sprintf("https://%s%s%x", g.Address, pathJob, order[:]), in)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("link: %w", err)
	}
	wait := time.AfterFunc(Silence, cancel)
	res, err := c.do(g, r)
	if err != nil {
		cancel()
		return nil, errors.Join(err, in.Close())
	}
	wait.Stop()
	return newStream(res.Body, out, func() error { return nil }, func() {
		_ = out.Close() // both never fail
		_ = in.CloseWithError(io.ErrClosedPipe)
		cancel()
		_ = res.Body.Close()
	}), nil
}
