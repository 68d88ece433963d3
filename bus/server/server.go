// Package server embeds the message bus: a NATS server (core NATS: no JetStream, no MQTT, no WebSocket) with
// Cairn's rules of who may log on and who may say what, and a keeper of last messages.
//
// A client logs on by signing the server's nonce with its Ed25519 key (an nkey of type user). The server asks
// the Authorizer what the key may do and gives it the permissions of package bus: to publish under its own
// subjects, and to listen to what concerns it. From time to time it asks again, and disconnects whoever may no
// longer be there.
//
// The keeper is a client inside the process. It stores each message below `last` in a file (kept.db, bbolt) and
// hands out what it has. It replaces JetStream, whose interface would let any client create streams, and whose
// bounds are per stream: there, one publisher's flood drives out everybody else's messages. Here each publisher
// fills a shelf of its own. The file is not synced at each write: what it holds is refreshed by its publishers;
// after a power cut a broken file is thrown away.
//
// Servers form a cluster (Config.Cluster): what is published at one is heard at all. They join by TLS in both
// directions, each with its key, and only those whose keys are named; whoever else calls is hung up on in the
// handshake. Each has a keeper, which keeps everything, whichever server it was published at; who publishes or
// asks is answered by that of its own server. A server that comes back asks the keepers of the others for what
// it missed (cluster.go), and has them answer until it has it. Bounds of connections are each server's own.
package server

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// Config says where and how the bus listens.
type Config struct {
	Listen string      // host:port; port 0 takes a free one
	Dir    string      // of the keeper's file; it is made if it does not exist
	TLS    *tls.Config // nil serves without TLS
	// MaxClients bounds how many devices and payers are logged on at a time, of whom payers may be half.
	// Default 65,536. Verifiers and gateways have places beside those.
	MaxClients int
	// PerKey bounds the connections with one key, and PerAccount those of all keys that one account answers
	// for: payers, and 16 times as many devices without a bond. Default 8 and 64. Whoever is beyond a bound is
	// not let in.
	PerKey     int
	PerAccount int
	// Strangers bounds the connections that have not logged on, which have two seconds for it; PerAddress those
	// from one address: an IPv4 address or an IPv6 /64, and four times as many from an IPv6 /48. Those beyond
	// are closed. Near are addresses that may have half of Strangers each; nil: this machine's. Default 8,192
	// and 64.
	Strangers  int
	PerAddress int
	Near       []netip.Prefix
	// KeepBytes bounds what the keeper holds in total. Verifiers have half of it, devices a quarter, gateways
	// and payers an eighth each; who finds the part full, and keeps nothing that could go, is refused with
	// disk_full. Default 1 GiB.
	KeepBytes int64
	// KeepFor is how long a message is kept that nobody refreshes. Default 14 days.
	KeepFor time.Duration
	// Recheck is how often the Authorizer is asked about those who are logged on. Default 1 minute.
	Recheck time.Duration
	Cluster *Cluster // nil for one server
}

const (
	authTimeout = time.Second
	startup     = 10 * time.Second
	passStale   = 5 * time.Second // after which the chain is asked again about a key that wants more than it may
	reserved    = 2048            // connections of verifiers and gateways
)

// Server is a running bus.
type Server struct {
	config Config
	auth   bus.Authorizer
	log    *slog.Logger
	nats   *server.Server
	keeper *keeper
	inside ed25519.PrivateKey // with which the keeper logs on
	// insideID is the keeper's connection.
	insideID atomic.Uint64
	cancel   context.CancelFunc
	done     sync.WaitGroup

	places *places

	mu     sync.Mutex
	passes map[types.Key]known // of those who are logged on here, or keep something
	away   time.Time           // when the Authorizer could not be asked last
}

// known is what the Authorizer said of a key.
type known struct {
	pass bus.Pass
	at   time.Time
}

// passKept is for how many rechecks what is known of a key is remembered that is not logged on here: at another
// server of the cluster, perhaps.
const passKept = 15

// Serve starts a bus and returns when it takes connections. A port that is taken is port_in_use.
func Serve(config Config, auth bus.Authorizer, log *slog.Logger) (*Server, error) {
	defaults(&config)
	s := &Server{config: config, auth: auth, log: log, passes: map[types.Key]known{}}
	s.places = newPlaces(&s.config, func(id uint64) bool { return s.nats.GetClient(id) != nil })
	_, s.inside, _ = ed25519.GenerateKey(rand.Reader) // never fails
	options, err := s.options()
	if err != nil {
		return nil, fmt.Errorf("bus: serve: %w", err)
	}
	if err := probe(config.Listen); err != nil {
		return nil, err
	}
	if s.nats, err = server.NewServer(options); err != nil {
		return nil, fmt.Errorf("bus: serve: %w", err)
	}
	fatal := make(chan error, 1)
	s.nats.SetLoggerV2(&logger{log, fatal}, false, false, false)
	s.nats.Start()
	if err := s.ready(fatal); err != nil {
		s.nats.Shutdown()
		return nil, err
	}
	if s.keeper, err = newKeeper(s); err != nil {
		s.nats.Shutdown()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.done.Go(func() { s.recheck(ctx) })
	s.done.Go(func() { s.keeper.run(ctx) })
	s.done.Go(func() { newWatch(s).run(ctx) })
	if config.Cluster != nil {
		s.done.Go(func() { s.keeper.mend(ctx, s.peers) })
	}
	return s, nil
}

func defaults(c *Config) {
	if c.MaxClients == 0 {
		c.MaxClients = 1 << 16
	}
	if c.KeepBytes == 0 {
		c.KeepBytes = 1 << 30
	}
	if c.KeepFor == 0 {
		c.KeepFor = 14 * 24 * time.Hour
	}
	if c.Recheck == 0 {
		c.Recheck = time.Minute
	}
	if c.PerKey == 0 {
		c.PerKey = 8
	}
	if c.PerAccount == 0 {
		c.PerAccount = 64
	}
	if c.Strangers == 0 {
		c.Strangers = 8192
	}
	if c.PerAddress == 0 {
		c.PerAddress = 64
	}
}

func hostPort(listen string) (string, int, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("listen on %q: %w", listen, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("listen on %q: %w", listen, err)
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

func (s *Server) options() (*server.Options, error) {
	host, port, err := hostPort(s.config.Listen)
	if err != nil {
		return nil, err
	}
	o := &server.Options{
		ServerName: "cairn-" + rand.Text()[:10],
		Host:       host,
		Port:       port,
		NoSigs:     true, NoLog: true, NoSystemAccount: true,
		MaxConn:       s.config.MaxClients + reserved + s.config.Strangers,
		MaxSubs:       2048, // per client
		MaxPayload:    bus.MaxMessage,
		MaxPending:    32 << 20, // per client; one that reads more slowly is disconnected and comes back
		WriteDeadline: 10 * time.Second,
		PingInterval:  30 * time.Second, MaxPingsOut: 2,
		AlwaysEnableNonce:          true,
		AuthTimeout:                (authTimeout + time.Second).Seconds(),
		CustomClientAuthentication: s,
	}
	if s.config.TLS != nil {
		o.TLSConfig, o.TLS, o.TLSTimeout = s.config.TLS, true, 5
	}
	if s.config.Cluster != nil {
		if err := s.config.Cluster.options(o); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// probe finds out early whether the port is free, for a better error than the server's own.
func probe(listen string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return listenError(listen, err)
	}
	return l.Close()
}

func listenError(listen string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("bus: listen on %s: %w: %w", listen, err, types.PortInUse)
	}
	return fmt.Errorf("bus: listen on %s: %w", listen, err)
}

func (s *Server) ready(fatal <-chan error) error {
	ready := make(chan bool, 1)
	go func() { ready <- s.nats.ReadyForConnections(startup) }()
	select {
	case err := <-fatal:
		return err
	case ok := <-ready:
		if !ok {
			return types.Refuse(types.BusUnavailable, "bus: the server was not ready within %v", startup)
		}
		return nil
	}
}

// URL is where clients reach the bus.
func (s *Server) URL() string { return s.nats.ClientURL() }

// NATS returns the server inside, for bus.Config.InProcess and for monitoring.
func (s *Server) NATS() *server.Server { return s.nats }

// Clients is how many are logged on, the keeper among them.
func (s *Server) Clients() int { return s.nats.NumClients() }

// Load is what a server has to do at a moment.
type Load struct {
	LoggedOn map[bus.Role]int // connections
	Storing  int              // kept messages that wait to be stored
	Asking   int              // queries that wait to be answered
	Slow     int64            // connections closed, ever, that did not read what they asked for
}

// Load says what there is to do now.
func (s *Server) Load() Load {
	l := Load{LoggedOn: map[bus.Role]int{}, Storing: s.keeper.first.Len() + s.keeper.puts.Len(), Asking: s.keeper.asks.Len(), Slow: s.nats.NumSlowConsumers()}
	for _, seat := range s.places.all() {
		l.LoggedOn[seat.role]++
	}
	return l
}

// Close disconnects everybody and stops.
func (s *Server) Close() {
	s.cancel()
	s.done.Wait()
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	s.keeper.close()
}

// Check implements server.Authentication: it lets a client in that signed the nonce with a key which may log on.
func (s *Server) Check(c server.ClientAuthentication) bool {
	if c.Kind() != server.CLIENT {
		return false
	}
	key, ok := signer(c)
	if !ok {
		s.log.Debug("log-on refused: the nonce is not signed", "from", c.RemoteAddress())
		return false
	}
	if key == types.Key(s.inside.Public().(ed25519.PublicKey)) {
		if id, ok := connection(c); ok {
			s.insideID.Store(id)
		}
		c.RegisterUser(&server.User{Username: "keeper"})
		return true
	}
	pass, err := s.pass(key, time.Nanosecond)
	if err != nil || pass.Role == bus.Nobody {
		s.log.Debug("log-on refused", "key", key, "from", c.RemoteAddress(), "error", err)
		return false
	}
	id, ok := connection(c)
	if !ok {
		s.log.Error("log-on refused: the connection has no number", "key", key, "from", c.RemoteAddress())
		return false
	}
	if full := s.places.take(id, key, pass); full != "" {
		s.log.Warn("log-on refused: too many "+full, "key", key, "account", pass.Account, "role", pass.Role, "from", c.RemoteAddress())
		return false
	}
	c.RegisterUser(&server.User{
		Username: bus.Word(key),
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: bus.Publishes(pass.Role, key)},
			Subscribe: &server.SubjectPermission{Allow: bus.Subscribes(pass.Role, key)},
		},
	})
	return true
}

// connection returns the server's number of a connection, which its name ends with: "address:port - cid:7".
func connection(c server.ClientAuthentication) (uint64, bool) {
	name, ok := c.(fmt.Stringer)
	if !ok {
		return 0, false
	}
	_, after, _ := strings.Cut(name.String(), " - cid:")
	digits, _, _ := strings.Cut(after, " ")
	id, err := strconv.ParseUint(digits, 10, 64)
	return id, err == nil
}

// pass returns what a key may be and keep. stale says how old the Authorizer's answer may be; 0 takes any.
// Where it can't be asked, the last answer holds.
func (s *Server) pass(key types.Key, stale time.Duration) (bus.Pass, error) {
	s.mu.Lock()
	k, ok := s.passes[key]
	s.mu.Unlock()
	if ok && (stale == 0 || time.Since(k.at) < stale) {
		return k.pass, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), authTimeout)
	defer cancel()
	pass, err := s.auth.Authorize(ctx, key)
	if err != nil {
		s.mu.Lock()
		s.away = time.Now()
		s.mu.Unlock()
		if ok {
			return k.pass, nil
		}
		return pass, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if pass.Role == bus.Nobody {
		delete(s.passes, key)
	} else {
		s.passes[key] = known{pass, time.Now()}
	}
	return pass, nil
}

// passOf is pass for the keeper, which nobody's key may hold up: while the Authorizer can't be asked, keys that
// log on elsewhere are not asked about.
func (s *Server) passOf(key types.Key, stale time.Duration) (bus.Pass, error) {
	s.mu.Lock()
	_, ok := s.passes[key]
	away := s.away
	s.mu.Unlock()
	if !ok && time.Since(away) < passStale {
		return bus.Pass{}, types.Refuse(types.BusUnavailable, "bus: nobody can be asked about %v", key)
	}
	return s.pass(key, stale)
}

// signer returns the key that signed the nonce.
func signer(c server.ClientAuthentication) (types.Key, bool) {
	o, nonce := c.GetOpts(), c.GetNonce()
	if o.Nkey == "" || len(nonce) == 0 {
		return types.Key{}, false
	}
	key, ok := parseNkey(o.Nkey)
	sig, err := base64.RawURLEncoding.DecodeString(o.Sig)
	if !ok || err != nil || len(sig) != len(types.Signature{}) {
		return types.Key{}, false
	}
	return key, key.VerifyMessage(nonce, types.Signature(sig))
}

func parseNkey(text string) (types.Key, bool) {
	raw, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(text))
	if err != nil || len(raw) != len(types.Key{}) {
		return types.Key{}, false
	}
	return types.Key(raw), true
}

// recheck asks again about everybody who is logged on, and disconnects whoever may no longer be what it logged
// on as. Of those whose key will count it asks more often: once it does, the others wait for what they say.
func (s *Server) recheck(ctx context.Context) {
	tick := time.NewTicker(s.config.Recheck)
	defer tick.Stop()
	soon := time.NewTicker(min(s.config.Recheck, passStale))
	defer soon.Stop()
	for {
		all := true
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-soon.C:
			all = false
		}
		here := map[types.Key]bus.Role{}
		for id, seat := range s.places.all() {
			if !all && seat.role != bus.RolePending {
				continue
			}
			role, asked := here[seat.key]
			if !asked {
				pass, err := s.pass(seat.key, time.Nanosecond)
				if err != nil {
					pass.Role = seat.role // whoever cannot be asked about stays
				}
				role = pass.Role
				here[seat.key] = role
			}
			if role != seat.role {
				s.log.Info("logged off", "key", seat.key, "was", seat.role, "is", role)
				_ = s.nats.DisconnectClientByID(id) // it has gone already
			}
		}
		if !all {
			continue
		}
		s.mu.Lock()
		for key, k := range s.passes {
			if _, ok := here[key]; !ok && time.Since(k.at) > passKept*s.config.Recheck {
				delete(s.passes, key)
			}
		}
		s.mu.Unlock()
	}
}

// logger hands the server's log on, and what would end the process to fatal.
type logger struct {
	log   *slog.Logger
	fatal chan<- error
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// Warnf leaves out that routes are not verified by names: they are by keys (Cluster).
func (l *logger) Warnf(format string, v ...any) {
	if !strings.HasPrefix(format, "TLS certificate chain and hostname of solicited routes will not be verified") {
		l.log.Warn(fmt.Sprintf(format, v...))
	}
}
func (l *logger) Errorf(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) } // mostly of clients' doing
func (l *logger) Debugf(string, ...any)          {}
func (l *logger) Tracef(string, ...any)          {}

func (l *logger) Fatalf(format string, v ...any) {
	err := fmt.Errorf("bus: serve: "+format, v...)
	for _, a := range v {
		if e, ok := a.(error); ok && errors.Is(e, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: %w", err, types.PortInUse)
		}
	}
	select {
	case l.fatal <- err:
	default:
	}
}
