package tunnel

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/wireless"
)

// Server is the device's end.
type Server struct {
	Key    types.PrivateKey
	Policy *Policy
	// Open opens a session of a payer's, whom TLS has proven, or refuses it.
	Open  func(ctx context.Context, payer types.Key, o Open) (*Session, error)
	Epoch func() types.Epoch
	Log   *slog.Logger
	Waits time.Duration // what is held up at W waits so long for a receipt; 0 stands for Patience
}

// joined is one TLS connection: its session, once there is one.
type joined struct {
	mu      sync.Mutex
	begun   bool
	session *Session
	say     func(State)
	ctx     context.Context // ends with the control stream
}

type joinedKey struct{}

// Serve serves until ctx ends. It closes l, whose connections the caller has bounded (conns.Limit).
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	config, err := role.ServerTLS(s.Key)
	if err != nil {
		return err
	}
	h := &http.Server{
		Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: Patience, IdleTimeout: silence, MaxHeaderBytes: 4 << 10,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), Protocols: new(http.Protocols),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, joinedKey{}, &joined{})
		},
		BaseContext: func(net.Listener) context.Context { return ctx },
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: MaxStreams + 1, MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: MaxStreams * window,
			SendPingTimeout: silence / 2, PingTimeout: silence / 4, WriteByteTimeout: silence,
		},
	}
	h.Protocols.SetHTTP2(true)
	defer context.AfterFunc(ctx, func() { _ = h.Close() })()
	err = h.Serve(tls.NewListener(l, config))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	j := r.Context().Value(joinedKey{}).(*joined)
	var err error
	switch r.Method {
	case http.MethodPost:
		err = s.control(w, r, j)
	case http.MethodConnect:
		err = s.connect(w, r, j)
	default:
		err = types.Refuse(role.BadMethod, "%.20s", r.Method)
	}
	if err != nil {
		s.Log.Debug("tunnel: a stream", "err", err)
		role.WriteError(w, err, http.StatusForbidden)
	}
}

// control serves a control stream. An error is one that nothing was sent before.
func (s *Server) control(w http.ResponseWriter, r *http.Request, j *joined) error {
	payer, err := role.PeerKey(r.TLS)
	if err != nil {
		return err
	}
	j.mu.Lock()
	again := j.begun
	j.begun = true
	j.mu.Unlock()
	if again {
		return types.Refuse(types.BadArgument, "a connection has one control stream")
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(Patience))
	raw, err := readFrame(r.Body)
	if err != nil {
		return err
	}
	var o Open
	if err := types.Decode(raw, &o); err != nil {
		return err
	}
	session, err := s.Open(r.Context(), payer, o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var writing sync.Mutex
	say := func(st State) {
		writing.Lock()
		defer writing.Unlock()
		if ctx.Err() != nil {
			return
		}
		_ = rc.SetWriteDeadline(time.Now().Add(Stall))
		if writeFrame(w, types.Encode(st)) != nil || rc.Flush() != nil {
			cancel()
		}
	}
	defer func() { // nobody writes after this function
		cancel()
		writing.Lock()
		defer writing.Unlock()
	}()
	j.mu.Lock()
	j.session, j.say, j.ctx = session, say, ctx
	j.mu.Unlock()
	say(state(session.payer.Balance(), nil))
	for ctx.Err() == nil {
		_ = rc.SetReadDeadline(time.Now().Add(silence))
		raw, err := readFrame(r.Body)
		if err != nil {
			break
		}
		if len(raw) > 0 {
			var signed *receipt.Signed
			if signed, err = receipt.Decode(raw, session.Terms.Chain); err == nil {
				err = session.Receive(signed, s.Epoch(), time.Now())
			}
		}
		say(state(session.payer.Balance(), err))
	}
	return nil
}

// connect serves a connection to a destination. An error is one that nothing was sent before.
func (s *Server) connect(w http.ResponseWriter, r *http.Request, j *joined) error {
	j.mu.Lock()
	session, say, alive := j.session, j.say, j.ctx
	j.mu.Unlock()
	if session == nil {
		return types.Refuse(types.BadArgument, "open a session first")
	}
	if len(r.Host) > maxHost {
		return types.Refuse(wireless.DestDenied, "a name of %d bytes", len(r.Host))
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(alive, cancel)()
	to, err := s.Policy.Dial(ctx, "tcp", r.Host)
	if err != nil {
		return err
	}
	defer to.Close()
	rc := http.NewResponseController(w)
	idle := time.AfterFunc(Idle, cancel)
	defer idle.Stop()
	defer context.AfterFunc(ctx, func() {
		past := time.Unix(1, 0)
		_ = rc.SetReadDeadline(past)
		_ = rc.SetWriteDeadline(past)
		_ = to.Close()
	})()
	w.WriteHeader(http.StatusOK)
	if rc.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
	take := func(n int) error {
		idle.Reset(Idle)
		wait, done := context.WithTimeout(ctx, cmp.Or(s.Waits, Patience))
		defer done()
		err := session.payer.Wait(wait, n)
		if err != nil && ctx.Err() == nil {
			say(state(session.payer.Balance(), err))
		}
		return err
	}
	up := make(chan struct{})
	go func() {
		defer close(up)
		err := relay(r.Body, func(b []byte) error {
			_ = to.SetWriteDeadline(time.Now().Add(Stall))
			_, err := to.Write(b)
			return err
		}, take)
		if err == nil {
			err = to.(*net.TCPConn).CloseWrite()
		}
		if err != nil {
			cancel()
		}
	}()
	err = relay(to, func(b []byte) error {
		_ = rc.SetWriteDeadline(time.Now().Add(Stall))
		if _, err := w.Write(b); err != nil {
			return err
		}
		return rc.Flush()
	}, take)
	if ctx.Err() != nil || err != nil {
		cancel()
		<-up
		panic(http.ErrAbortHandler) // it breaks, so that nobody takes this for the end
	}
	_ = rc.SetReadDeadline(time.Unix(1, 0))
	<-up
	return nil
}

// relay moves bytes until their end, each piece once it is counted.
func relay(from io.Reader, to func([]byte) error, take func(int) error) error {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if err := take(n); err != nil {
				return err
			}
			if err := to(b[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
