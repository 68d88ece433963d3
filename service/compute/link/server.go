package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Jobs is what a gateway's Server asks. Whatever it refuses, the device gets with its reason.
type Jobs interface {
	// Input opens an input, by SHA-256, of the job that a device accepted an order of. It returns its length.
	Input(device types.Key, order, input types.Hash) (io.ReadSeekCloser, uint64, error)
	// Join is called when the device has opened the job's stream, and returns when it is done with it: the stream is
	// closed then. A device that was cut off may open a second one before the first is known to be broken.
	Join(ctx context.Context, device types.Key, order types.Hash, s *Stream) error
	// Port is asked for the connection of a number that the gateway has asked the device for. take gets it, and sees to it that
	// it is closed.
	Port(device types.Key, order types.Hash, number uint64) (take func(*Conn), err error)
}

const (
	pathInput = "/input/"
	pathJob   = "/job/"
	pathPort  = "/port/"

	maxStreams = 1024 // jobs and inputs at once on one connection
	idleTime   = 5 * time.Minute
)

// Server is the gateway's end.
type Server struct {
	http   *http.Server
	config *tls.Config
	key    types.Key
	log    *slog.Logger
	jobs   Jobs
	ctx    context.Context // ends with Serve
	stop   context.CancelFunc
	active sync.WaitGroup // streams
	idle   time.Duration  // of a Conn
}

// NewServer returns a Server that is key.
func NewServer(key types.PrivateKey, jobs Jobs, log *slog.Logger) (*Server, error) {
	config, err := role.ServerTLS(key)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	s := &Server{config: config, key: key.Public(), log: log, jobs: jobs, idle: IdleTime}
	s.ctx, s.stop = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.Handle("GET "+pathInput+"{order}/{hash}", role.Pace{}.Serve(http.HandlerFunc(s.input)))
	mux.HandleFunc("POST "+pathJob+"{order}", s.job)
	mux.HandleFunc("POST "+pathPort+"{order}/{number}", s.port)
	s.http = &http.Server{
		Handler: mux, ReadHeaderTimeout: Silence, IdleTimeout: idleTime, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), Protocols: new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: MaxConns * portBuffer, MaxReceiveBufferPerStream: portBuffer,
			SendPingTimeout: Silence, PingTimeout: Silence / 2, WriteByteTimeout: Silence,
		},
	}
	s.http.Protocols.SetHTTP2(true)
	return s, nil
}

// Key is what devices pin.
func (s *Server) Key() types.Key { return s.key }

// Serve serves until ctx ends. It closes l, whose connections the caller has bounded (conns.Limit).
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() {
		s.stop()
		if err := s.http.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Debug("link: close", "err", err)
		}
	})()
	err := s.http.Serve(tls.NewListener(l, s.config))
	s.stop()
	s.active.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("link: %w", err)
}

// who returns whose request it is, and of which order.
func who(r *http.Request) (device types.Key, order types.Hash, err error) {
	if device, err = role.PeerKey(r.TLS); err != nil {
		return device, order, err
	}
	order, err = parseHash(r.PathValue("order"))
	return device, order, err
}

func parseHash(s string) (types.Hash, error) {
	h, err := types.ParseHash(s)
	if err != nil {
		return h, types.Refuse(types.BadEncoding, "link: %.80q is no hash", s)
	}
	return h, nil
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusForbidden
	if types.ReasonOf(err) == "" {
		status = http.StatusInternalServerError
	}
	role.WriteError(w, err, status)
}

func (s *Server) input(w http.ResponseWriter, r *http.Request) {
	device, order, err := who(r)
	if err != nil {
		refuse(w, err)
		return
	}
	hash, err := parseHash(r.PathValue("hash"))
	if err != nil {
		refuse(w, err)
		return
	}
	f, size, err := s.jobs.Input(device, order, hash)
	if err != nil {
		refuse(w, err)
		return
	}
	defer f.Close() // only read
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Etag", strconv.Quote(hash.String()))
	w.Header().Set("X-Size", strconv.FormatUint(size, 10))
	http.ServeContent(w, r, "", time.Time{}, f)
}

func (s *Server) job(w http.ResponseWriter, r *http.Request) {
	device, order, err := who(r)
	if err != nil {
		refuse(w, err)
		return
	}
	s.active.Add(1)
	defer s.active.Done()
	control := http.NewResponseController(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	w.Header().Set("Content-Type", "application/octet-stream")
	// The answer's head goes out with the first frame, so that a refusal can still be one.
	stream := newStream(r.Body, w, control.Flush, func() {
		cancel()
		now := time.Now() // what waits for the other side waits no longer
		_ = control.SetReadDeadline(now)
		_ = control.SetWriteDeadline(now)
	})
	defer context.AfterFunc(ctx, stream.Close)()
	err = s.jobs.Join(ctx, device, order, stream)
	untouched := stream.abandon() // nobody writes any more from here on
	if err == nil {
		return
	}
	s.log.Debug("link: a job's stream", "device", device, "order", order, "err", err)
	if untouched && types.ReasonOf(err) != "" {
		refuse(w, err)
		return
	}
	panic(http.ErrAbortHandler) // the stream breaks, so that the device sees that this was not its end
}
