package eap

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

const (
	maxTalks  = 1 << 10 // conversations that are half done, in all
	maxEach   = 1 << 7  // and of one asker
	maxRounds = 200     // of one conversation: two messages of maxMessage in fragments
	life      = 30 * time.Second
	maxInner  = 4 << 10 // bytes of what a tunnel carries
	stateSize = 16

	fragment    = 1000 // bytes of a fragment where the access point does not say what fits
	minFragment = 200
)

// Config says what a Server offers.
type Config struct {
	Certificate tls.Certificate
	// Clients vouch for the certificates of users, for EAP-TLS; nil: EAP-TLS is not offered.
	Clients *x509.CertPool
	// Password checks the name and the password of a user, for EAP-TTLS; nil: EAP-TTLS is not offered.
	Password func(ctx context.Context, user, password string) error
	// Methods are those offered, the first first; nil for all that can be.
	Methods []Method
}

// Server has conversations with users' machines. It may be used by many goroutines.
type Server struct {
	config Config
	offer  []Method

	mu    sync.Mutex // guards what follows
	talks map[string]*talk
	each  map[string][]*talk // by asker, the oldest first
}

// NewServer makes a server.
func NewServer(c Config) (*Server, error) {
	s := &Server{config: c, talks: map[string]*talk{}, each: map[string][]*talk{}}
	for _, m := range []Method{TLS, TTLS} {
		if can := m == TLS && c.Clients != nil || m == TTLS && c.Password != nil; can && (c.Methods == nil || slices.Contains(c.Methods, m)) {
			s.offer = append(s.offer, m)
		}
	}
	if c.Methods != nil {
		slices.SortFunc(s.offer, func(a, b Method) int { return slices.Index(c.Methods, a) - slices.Index(c.Methods, b) })
	}
	if len(s.offer) == 0 {
		return nil, errors.New("eap: neither a pool of certificates nor passwords: no method can be offered")
	}
	return s, nil
}

// Step is what is to be said to a user's machine.
type Step struct {
	Packet []byte // the EAP packet
	State  []byte // of a challenge: what the next request has to name; nil if it was the last packet
	// Of the last packet: whether the user was accepted, who it is, and the master session key.
	Accepted bool
	User     string
	MSK      []byte
	// Why the user was not accepted.
	Err error
}

// Talks is how many conversations are half done.
func (s *Server) Talks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.talks)
}

// Take takes an EAP packet in and returns what to answer. by is the asker, who vouches for the access point; state is
// what the request named, nil for a conversation's first; mtu is what fits into a packet of the user's, 0 if nobody
// said. An error means that the packet is dropped.
func (s *Server) Take(ctx context.Context, by string, state, raw []byte, mtu int) (*Step, error) {
	r, err := parseResponse(raw)
	if err != nil {
		return nil, err
	}
	if state == nil {
		if r.method != identity {
			return nil, fmt.Errorf("a conversation that begins with type %d: %w", r.method, ErrForm)
		}
		t, err := s.begin(by)
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.fragment = fragment; mtu > 0 {
			t.fragment = min(max(mtu-10, minFragment), fragment) // heads: EAP's, flags and length
		}
		t.id = r.id + 1
		t.last = packet(codeRequest, t.id, byte(t.method), flagStart)
		return &Step{Packet: t.last, State: []byte(t.state)}, nil
	}
	s.mu.Lock()
	t := s.talks[string(state)]
	s.mu.Unlock()
	if t == nil || t.by != by {
		return nil, fmt.Errorf("a conversation that is not known, or no longer: %w", ErrForm)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil, errOver
	}
	if r.id != t.id {
		return nil, fmt.Errorf("a response to %d where %d was asked: %w", r.id, t.id, ErrForm)
	}
	ctx, cancel := context.WithTimeout(ctx, life)
	defer cancel()
	step := t.take(ctx, r)
	if step.State == nil {
		s.forget(t)
	} else {
		t.timer.Reset(life)
	}
	return step, nil
}

// begin begins a conversation.
func (s *Server) begin(by string) (*talk, error) {
	var state [stateSize]byte
	_, _ = rand.Read(state[:])
	t := &talk{server: s, by: by, state: string(state[:]), method: s.offer[0]}
	s.mu.Lock()
	if own := s.each[by]; len(own) >= maxEach {
		oldest := own[0]
		s.remove(oldest)
		go oldest.end()
	}
	if n := len(s.talks); n >= maxTalks {
		s.mu.Unlock()
		return nil, types.Refuse(types.DeviceBusy, "%d conversations of EAP are half done", n)
	}
	s.talks[t.state] = t
	s.each[by] = append(s.each[by], t)
	t.timer = time.AfterFunc(life, func() {
		s.mu.Lock()
		s.remove(t)
		s.mu.Unlock()
		t.end()
	})
	s.mu.Unlock()
	return t, nil
}

// remove takes a conversation off the lists; s.mu is held.
func (s *Server) remove(t *talk) {
	if s.talks[t.state] != t {
		return
	}
	delete(s.talks, t.state)
	if left := slices.DeleteFunc(s.each[t.by], func(o *talk) bool { return o == t }); len(left) > 0 {
		s.each[t.by] = left
	} else {
		delete(s.each, t.by)
	}
}

// forget ends a conversation whose lock the caller holds.
func (s *Server) forget(t *talk) {
	s.mu.Lock()
	s.remove(t)
	s.mu.Unlock()
	t.stop()
}

// talk is one conversation.
type talk struct {
	server *Server
	by     string
	state  string
	timer  *time.Timer

	mu       sync.Mutex // guards what follows
	method   Method
	id       byte // of the request that waits for a response
	last     []byte
	rounds   int
	fragment int
	over     bool

	in     []byte // what came of a message so far
	total  int    // what its first fragment said
	out    []byte // what is left of a message of ours
	wire   *wire
	cancel context.CancelFunc
	done   chan struct{} // closed when TLS has ended: then the result is set
	result result
}

type result struct {
	user string
	msk  []byte
	err  error
}

func (t *talk) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
}

func (t *talk) stop() {
	if t.over {
		return
	}
	t.over = true
	t.timer.Stop()
	if t.wire != nil {
		t.cancel()
		close(t.wire.ended)
	}
}

func (t *talk) ask(data []byte) *Step {
	t.id++
	t.last = packet(codeRequest, t.id, append([]byte{byte(t.method)}, data...)...)
	return &Step{Packet: t.last, State: []byte(t.state)}
}

func (t *talk) fail(err error) *Step { return &Step{Packet: packet(codeFailure, t.id), Err: err} }

// take takes a response to the last request in.
func (t *talk) take(ctx context.Context, r response) *Step {
	if t.rounds++; t.rounds > maxRounds {
		return t.fail(fmt.Errorf("more than %d rounds", maxRounds))
	}
	if r.method == nak && t.wire == nil {
		for _, m := range t.server.offer {
			if m != t.method && bytes.IndexByte(r.data, byte(m)) >= 0 {
				t.method = m
				return t.ask([]byte{flagStart})
			}
		}
		return t.fail(fmt.Errorf("the machine wants methods %v, and %v are offered", r.data, t.server.offer))
	}
	if r.method != t.method {
		return t.fail(fmt.Errorf("a response of type %d to one of %d: %w", r.method, t.method, ErrForm))
	}
	p, err := parsePiece(r.data)
	if err != nil {
		return t.fail(err)
	}
	if len(t.out) > 0 { // the fragment before was taken
		if len(p.data) > 0 || p.more {
			return t.fail(fmt.Errorf("a message where a fragment is to be acknowledged: %w", ErrForm))
		}
		return t.send(false)
	}
	if len(t.in)+len(p.data) > maxMessage {
		return t.fail(fmt.Errorf("a message of more than %d bytes: %w", maxMessage, ErrForm))
	}
	t.in = append(t.in, p.data...)
	t.total = max(t.total, p.total)
	if p.more {
		if len(p.data) == 0 {
			return t.fail(fmt.Errorf("an empty fragment: %w", ErrForm))
		}
		return t.ask([]byte{0})
	}
	message, total := t.in, t.total
	t.in, t.total = nil, 0
	if total != 0 && total != len(message) {
		return t.fail(fmt.Errorf("a message of %d bytes that said it has %d: %w", len(message), total, ErrForm))
	}
	return t.message(ctx, message)
}

// message takes a whole message in.
func (t *talk) message(ctx context.Context, message []byte) *Step {
	if t.wire == nil {
		t.start()
		if _, err := t.wire.settle(ctx, t.done); err != nil {
			return t.fail(err)
		}
	}
	select {
	case <-t.done: // TLS ended with what it said last, and that was taken
		if len(message) > 0 && t.result.err == nil {
			return t.fail(fmt.Errorf("a message after the last: %w", ErrForm))
		}
		return t.finish()
	default:
	}
	if len(message) == 0 {
		return t.fail(fmt.Errorf("an empty message where TLS waits for one: %w", ErrForm))
	}
	if err := t.wire.give(ctx, message); err != nil {
		return t.fail(err)
	}
	out, err := t.wire.settle(ctx, t.done)
	if err != nil {
		return t.fail(err)
	}
	if t.out = out; len(out) > 0 {
		return t.send(true)
	}
	select {
	case <-t.done:
		return t.finish()
	default:
		return t.ask([]byte{0}) // TLS is content, and the tunnel waits for what comes through it
	}
}

func (t *talk) send(first bool) *Step {
	var data []byte
	data, t.out = cut(t.out, first, t.fragment)
	return t.ask(data)
}

func (t *talk) finish() *Step {
	if t.result.err != nil {
		return t.fail(t.result.err)
	}
	return &Step{Packet: packet(codeSuccess, t.id), Accepted: true, User: t.result.user, MSK: t.result.msk}
}

// start has TLS work, until it is done or the conversation ends.
func (t *talk) start() {
	t.wire, t.done = newWire(), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	method, w, done := t.method, t.wire, t.done
	go func() {
		defer close(done)
		t.result = t.server.serve(ctx, method, w)
	}()
}

// serve is the conversation as TLS sees it.
func (s *Server) serve(ctx context.Context, method Method, w *wire) (r result) {
	config := &tls.Config{Certificates: []tls.Certificate{s.config.Certificate}, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}
	if method == TLS {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, s.config.Clients
	}
	conn := tls.Server(w, config)
	if r.err = conn.HandshakeContext(ctx); r.err != nil {
		return r
	}
	state := conn.ConnectionState()
	if r.msk, r.err = masterKey(&state, method); r.err != nil {
		return r
	}
	if method == TLS {
		r.user = userOf(state.PeerCertificates[0])
		if state.Version >= tls.VersionTLS13 { // that no more of the handshake comes (RFC 9190 §2.5)
			_, r.err = conn.Write([]byte{0})
		}
		return r
	}
	inner := make([]byte, 0, maxInner)
	for {
		n, err := conn.Read(inner[len(inner):cap(inner)])
		if inner = inner[:len(inner)+n]; err != nil {
			r.err = err
			return r
		}
		user, password, complete, err := parsePAP(inner)
		switch {
		case err != nil:
			r.err = err
			return r
		case complete:
			r.user, r.err = user, s.config.Password(ctx, user, password)
			return r
		case len(inner) == cap(inner):
			r.err = fmt.Errorf("more than %d bytes inside the tunnel: %w", maxInner, ErrForm)
			return r
		}
	}
}

// masterKey makes the master session key (RFC 5216 §2.3, RFC 5281 §8, RFC 9190 §2.3, RFC 9427 §2.1).
func masterKey(state *tls.ConnectionState, method Method) ([]byte, error) {
	label, about := "EXPORTER_EAP_TLS_Key_Material", []byte{byte(method)}
	if state.Version < tls.VersionTLS13 {
		label, about = "client EAP encryption", nil
		if method == TTLS {
			label = "ttls keying material"
		}
	}
	key, err := state.ExportKeyingMaterial(label, about, 128)
	if err != nil {
		return nil, fmt.Errorf("TLS 1.2 without extended master secret: %w", err)
	}
	return key[:64], nil
}

// userOf returns who a certificate is for (RFC 5216 §5.2).
func userOf(c *x509.Certificate) string {
	switch {
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0]
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	}
	return c.Subject.CommonName
}
