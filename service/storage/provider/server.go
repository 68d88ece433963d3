package provider

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sync/semaphore"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
)

// A connection gets headerTime for the handshake and for each request's head, and for a body patience plus what
// it takes at slowest bytes a second. One that is slower is cut off.
const (
	headerTime = 10 * time.Second
	patience   = 15 * time.Second
	slowest    = 64 << 10
	idleTime   = 2 * time.Minute
	maxStreams = 64  // requests at once on one connection
	maxWaiting = 256 // requests of payers that are not known yet

	lastRequests = 2 * time.Second // that requests under way get when the device stops
)

// server is the transfer protocol.
type server struct {
	d       *device
	http    *http.Server
	listen  net.Listener
	memory  *semaphore.Weighted // bytes of buffers in use
	waiting *semaphore.Weighted
	active  atomic.Int64 // requests
	buffers sync.Pool    // of *[storage.MaxShard]byte
	reasons []types.ReasonInfo
}

// bind listens where the device is told to. Where any port will do, it takes the one that it had before, if
// that is still free: asks that name it stay true over a restart.
func (d *device) bind() (net.Listener, error) {
	host, port, err := net.SplitHostPort(d.cfg.Listen)
	anywhere := err == nil && port == "0"
	if before := d.books.port(); anywhere && before != "" {
		if l, err := net.Listen("tcp", net.JoinHostPort(host, before)); err == nil {
			return l, nil
		}
	}
	l, err := net.Listen("tcp", d.cfg.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, types.Refuse(types.PortInUse, "storage: %s: %v", d.cfg.Listen, err)
	}
	if err != nil {
		return nil, fmt.Errorf("storage: listen on %s: %w", d.cfg.Listen, err)
	}
	if _, port, err := net.SplitHostPort(l.Addr().String()); anywhere && err == nil {
		if err := d.books.setPort(port); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

var portKey = []byte("port")

// port is the one that the device listened on last; "" where that was not its own choice.
func (b *books) port() (port string) {
	_ = b.db.View(func(tx *bbolt.Tx) error { // fails only when it is closed
		port = string(tx.Bucket(metaBucket).Get(portKey))
		return nil
	})
	return port
}

func (b *books) setPort(port string) error {
	return b.update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(portKey, []byte(port)) })
}

// listen opens the port, so that a taken one ends Run at once.
func (d *device) listen() (*server, error) {
	config, err := role.ServerTLS(d.host.TLS())
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	l, err := d.bind()
	if err != nil {
		return nil, err
	}
	if d.address = d.cfg.Address; d.address == "" {
		d.address = l.Addr().String()
	}
	limits := conns.Limits{Total: d.cfg.Connections, PerAddress: max(d.cfg.Connections/8, 1)}
	s := &server{
		d: d, listen: tls.NewListener(conns.Limit(l, limits, d.log), config), memory: semaphore.NewWeighted(max(d.cfg.Memory, 2*storage.MaxShard)),
		waiting: semaphore.NewWeighted(maxWaiting), reasons: storage.New().Spec.Reasons,
	}
	s.buffers.New = func() any { return new([storage.MaxShard]byte) }
	s.http = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug), Protocols: new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReadFrameSize: 256 << 10, MaxReceiveBufferPerConnection: 4 << 20, MaxReceiveBufferPerStream: 1 << 20,
			SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second, WriteByteTimeout: patience,
		},
	}
	s.http.Protocols.SetHTTP2(true)
	return s, nil
}

// run serves until ctx ends, then lets requests end for a moment.
func (s *server) run(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.listen) }()
	s.d.log.Info("storage: serving", "listen", s.listen.Addr(), "address", s.d.address)
	select {
	case err := <-failed:
		return fmt.Errorf("storage: serve: %w", err)
	case <-ctx.Done():
	}
	// Idle connections do not keep it: Shutdown would wait a second for each side to notice.
	err := s.listen.Close()
	for end := time.Now().Add(lastRequests); s.active.Load() > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // the last answers leave
	if err = errors.Join(err, s.http.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
		s.d.log.Debug("storage: close", "err", err)
	}
	<-failed
	return nil
}

// peer is who asks.
type peer struct {
	role.Payer
	key types.Key
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	on := func(pattern string, f func(http.ResponseWriter, *http.Request, *peer) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.active.Add(1)
			defer s.active.Add(-1)
			p, err := s.peer(r)
			if err == nil {
				err = f(w, r, p)
			}
			if err != nil {
				role.WriteError(w, err, status(err), s.reasons...)
			}
		})
	}
	on("PUT "+storage.PathShard+"{id}", s.putShard)
	on("GET "+storage.PathShard+"{id}", s.getShard)
	on("POST "+storage.PathCommit, s.postCommit)
	on("POST "+storage.PathLadder, s.postLadder)
	on("POST "+storage.PathReceipt, s.postReceipt)
	on("GET "+storage.PathSession+"{id}", s.getSession)
	on("GET "+storage.PathSession+"{id}"+storage.PathLosses, s.getLosses)
	on("GET "+storage.PathSession+"{id}"+storage.PathNewest, s.getReceipt)
	return mux
}

// status maps a refusal to its HTTP status (RFC 9110).
func status(err error) int {
	switch types.ReasonOf(err) {
	case storage.Full, types.DiskFull, storage.FolderGone:
		return http.StatusInsufficientStorage
	case storage.Unpaid, types.OverBudget, types.UnknownKey, types.KeyExpired:
		return http.StatusPaymentRequired
	case storage.NoShard, storage.SessionUnknown:
		return http.StatusNotFound
	case storage.RootMismatch, storage.AskExpired, storage.SessionClosed, storage.HoldingStale, storage.HoldingTerms, types.FallingTotals, types.SessionMismatch:
		return http.StatusConflict
	case storage.TooSlow:
		return http.StatusRequestTimeout
	case types.Oversize:
		return http.StatusRequestEntityTooLarge
	case "":
		return http.StatusInternalServerError
	}
	return http.StatusUnprocessableEntity
}

// errStarting: the device has not heard of the network yet.
var errStarting = errors.New("the device has not heard of the network yet")

// peer returns who asks. A payer that is not known yet is asked for; the request waits for a moment.
func (s *server) peer(r *http.Request) (*peer, error) {
	key, err := role.PeerKey(r.TLS)
	if err != nil {
		return nil, err
	}
	until := time.Now().Add(payerWait)
	waits := false
	for {
		known, err := s.d.host.Payer(r.Context(), key)
		v := s.d.news.Load()
		switch {
		case err == nil && !known.Account.IsZero() && v != nil && known.Expiry < v.Epoch:
			return nil, types.Refuse(types.KeyExpired, "storage: payer %v", key)
		case err == nil && !known.Account.IsZero() && v != nil:
			return &peer{known, key}, nil
		case time.Now().After(until) && v == nil:
			return nil, errStarting
		case time.Now().After(until):
			return nil, types.Refuse(types.UnknownKey, "storage: payer %v", key)
		}
		if !waits {
			if !s.waiting.TryAcquire(1) {
				return nil, types.Refuse(types.UnknownKey, "storage: payer %v, and too many others", key)
			}
			defer s.waiting.Release(1)
			waits = true
		}
		if err := sleep(r.Context(), 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// body reads a request's body of at most limit bytes into buf, which it makes longer if need be. Its sender has
// to keep up.
func (s *server) body(w http.ResponseWriter, r *http.Request, buf []byte, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, types.Refuse(types.Oversize, "storage: a body of %d bytes, at most %d are taken", r.ContentLength, limit)
	}
	length := r.ContentLength
	if length < 0 {
		length = limit
	}
	if err := s.allow(w, length, (*http.ResponseController).SetReadDeadline); err != nil {
		return nil, err
	}
	in := http.MaxBytesReader(w, r.Body, limit)
	n := 0
	var end [1]byte // where buf is full, the end is still to be seen: most bodies are shards that fill it
	for {
		into := buf[n:]
		if len(into) == 0 {
			into = end[:]
		}
		m, err := in.Read(into)
		if n == len(buf) && m > 0 {
			buf = append(buf, end[0])
			buf = buf[:cap(buf)]
		}
		n += m
		var over *http.MaxBytesError
		switch {
		case errors.Is(err, io.EOF):
			return buf[:n], nil
		case errors.As(err, &over):
			return nil, types.Refuse(types.Oversize, "storage: a body of more than %d bytes", limit)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, types.Refuse(storage.TooSlow, "storage: %d of %d bytes came in time", n, length)
		case err != nil:
			return nil, fmt.Errorf("storage: read request: %w", err)
		}
	}
}

// allow sets a deadline that leaves time for n bytes.
func (s *server) allow(w http.ResponseWriter, n int64, set func(*http.ResponseController, time.Time) error) error {
	return set(http.NewResponseController(w), time.Now().Add(s.d.cfg.patience+time.Duration(n)*time.Second/slowest))
}

// buffer waits for memory and returns a shard's worth of it, which goes back with the function.
func (s *server) buffer(ctx context.Context) (*[storage.MaxShard]byte, func(), error) {
	if err := s.memory.Acquire(ctx, storage.MaxShard); err != nil {
		return nil, nil, err
	}
	buf := s.buffers.Get().(*[storage.MaxShard]byte)
	return buf, func() {
		s.buffers.Put(buf)
		s.memory.Release(storage.MaxShard)
	}, nil
}

func sessionID(text string) (id types.SessionID, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(id) {
		return id, types.Refuse(types.BadEncoding, "storage: session %.64q", text)
	}
	return types.SessionID(raw), nil
}
