package customer

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

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// Patience with a device: for a connection, and for the whole of one request.
const (
	dialTimeout    = 5 * time.Second
	requestTimeout = 60 * time.Second
)

// device speaks the transfer protocol with one device for one payer. It is safe for concurrent use.
type device struct {
	key     types.Key
	address string
	http    *http.Client
}

// dialer connects to an address: role.Market.Dial.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dial prepares the connection; nothing is sent before the first request.
func dial(by dialer, payer types.PrivateKey, ask *receipt.SignedAsk) (*device, error) {
	terms, err := storage.DecodeTerms(ask.Ask.Terms)
	if err != nil {
		return nil, err
	}
	config, err := role.ClientTLS(payer, ask.Ask.Device)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			return by(ctx, network, address)
		},
		TLSClientConfig:     config,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		MaxConnsPerHost:     4,
		IdleConnTimeout:     time.Minute,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second, MaxReadFrameSize: 1 << 20, MaxReceiveBufferPerStream: 4 << 20, MaxReceiveBufferPerConnection: 16 << 20},
	}
	return &device{key: ask.Ask.Device, address: terms.Address, http: &http.Client{Transport: transport, Timeout: requestTimeout}}, nil
}

// do sends a request and returns the answer's body, which the caller closes.
func (d *device) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+d.address+path, nil)
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		l := &lent{data: body}
		defer l.takeBack()
		req.Body, req.ContentLength = l.open(), int64(len(body))
		req.GetBody = func() (io.ReadCloser, error) { return l.open(), nil }
	}
	res, err := d.http.Do(req)
	if err != nil {
		var of *url.Error // its long URL says nothing to whoever reads this
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, fmt.Errorf("device %v at %s: %w", d.key, d.address, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	var p role.Problem
	if json.Unmarshal(raw, &p) != nil {
		return nil, fmt.Errorf("device %v: %s", d.key, res.Status)
	}
	return nil, types.Refuse(p.Reason, "device %v: %s", d.key, p.Message)
}

// lent is a request's body that belongs to somebody else: a cancelled request's transport may read on for a
// while after Do has returned, but then the pipeline has new bytes in there.
type lent struct {
	mu   sync.Mutex
	data []byte
	gone bool
}

// takeBack makes every further read fail. When it returns, none is under way.
func (l *lent) takeBack() {
	l.mu.Lock()
	l.data, l.gone = nil, true
	l.mu.Unlock()
}

func (l *lent) open() io.ReadCloser { return io.NopCloser(&lentReader{lent: l}) }

// lentReader reads a lent body once from its start; the transport opens another where it sends a request again.
type lentReader struct {
	*lent
	at int
}

func (r *lentReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return 0, errTakenBack
	}
	if r.at == len(r.data) {
		return 0, io.EOF
	}
	n := copy(p, r.data[r.at:])
	r.at += n
	return n, nil
}

var errTakenBack = errors.New("the request is over")

// call sends body and reads an answer of at most limit bytes.
func (d *device) call(ctx context.Context, method, path string, body []byte, limit int64) ([]byte, error) {
	res, err := d.do(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = types.Refuse(types.Oversize, "an answer of more than %d bytes", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("device %v: %s %s: %w", d.key, method, path, err)
	}
	return raw, nil
}

// stage sends a shard.
func (d *device) stage(ctx context.Context, id types.Hash, shard []byte) error {
	_, err := d.call(ctx, "PUT", storage.PathShard+id.String(), shard, 4096)
	return err
}

// read reads a whole shard and checks that it is the one.
func (d *device) read(ctx context.Context, session types.SessionID, id types.Hash, into *pipeline.Incoming) error {
	res, err := d.do(ctx, "GET", storage.PathShard+id.String()+"?session="+session.String(), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	into.Reset()
	if _, err := into.ReadFrom(res.Body); err != nil {
		return fmt.Errorf("device %v: shard %v: %w", d.key, id, err)
	}
	if err := into.Check(); err != nil {
		return fmt.Errorf("device %v: %w", d.key, err)
	}
	return nil
}

// slice reads a part of a shard of size bytes with its proof, and checks it.
func (d *device) slice(ctx context.Context, session types.SessionID, id types.Hash, size, offset, length int) ([]byte, error) {
	query := "?session=" + session.String() + "&offset=" + strconv.Itoa(offset) + "&length=" + strconv.Itoa(length)
	proof, err := d.call(ctx, "GET", storage.PathShard+id.String()+query, nil, int64(storage.MaxSlice(size, length)))
	if err != nil {
		return nil, err
	}
	if _, err := storage.VerifySlice(id, size, offset, length, proof); err != nil {
		return nil, fmt.Errorf("device %v: shard %v: %w: %w", d.key, id, err, storage.ShardMismatch)
	}
	return proof, nil
}

// newest returns the newest receipt that the device has of an egress session.
func (d *device) newest(ctx context.Context, id types.SessionID, chain string) (*receipt.Signed, error) {
	raw, err := d.call(ctx, "GET", storage.PathSession+id.String()+storage.PathNewest, nil, receipt.MaxSigned)
	if err != nil {
		return nil, err
	}
	return receipt.Decode(raw, chain)
}

func (d *device) commit(ctx context.Context, c *storage.Commit) (*storage.Committed, error) {
	raw, err := d.call(ctx, "POST", storage.PathCommit, c.Encode(), 4096)
	if err != nil {
		return nil, err
	}
	return storage.DecodeCommitted(raw)
}

func (d *device) ladder(ctx context.Context, l *storage.Ladder) error {
	_, err := d.call(ctx, "POST", storage.PathLadder, l.Encode(), 4096)
	return err
}

func (d *device) receipt(ctx context.Context, s *receipt.Signed) error {
	_, err := d.call(ctx, "POST", storage.PathReceipt, s.Encode(), 4096)
	return err
}

func (d *device) session(ctx context.Context, id types.SessionID) (*storage.SessionStatus, error) {
	raw, err := d.call(ctx, "GET", storage.PathSession+id.String(), nil, 4096)
	if err != nil {
		return nil, err
	}
	return storage.DecodeSessionStatus(raw)
}

func (d *device) losses(ctx context.Context, id types.SessionID, after uint64) (storage.Losses, error) {
	path := storage.PathSession + id.String() + storage.PathLosses + "?after=" + strconv.FormatUint(after, 10)
	raw, err := d.call(ctx, "GET", path, nil, 1<<20)
	if err != nil {
		return nil, err
	}
	return storage.DecodeLosses(raw)
}

// maxDevices bounds how many connections are kept; beyond it one that is not in use goes.
const maxDevices = 4096

// pool keeps the connections of all wallets.
type pool struct {
	dial dialer // set before the first get
	mu   sync.Mutex
	open map[poolKey]*device
}

type poolKey struct {
	payer, device types.Key
	terms         types.Hash // of the ask: a device that moves has a new one
}

var errNoAsk = errors.New("the device offers nothing now")

// get returns the connection of a payer to the device of an ask.
func (p *pool) get(w role.Wallet, ask *receipt.SignedAsk) (*device, error) {
	if ask == nil {
		return nil, errNoAsk
	}
	key := poolKey{w.Payer(), ask.Ask.Device, types.Sum(ask.Ask.Terms)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.open[key]; d != nil {
		return d, nil
	}
	d, err := dial(p.dial, w.TLS(), ask)
	if err != nil {
		return nil, err
	}
	if p.open == nil {
		p.open = map[poolKey]*device{}
	}
	for k, old := range p.open {
		if len(p.open) < maxDevices {
			break
		}
		old.http.CloseIdleConnections()
		delete(p.open, k)
	}
	p.open[key] = d
	return d, nil
}
