package bus

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/cairn-network/cairn/core/types"
)

// Config says where the bus is.
type Config struct {
	// URLs are the servers' addresses, nats://host:port or tls://host:port; any one of them leads to the whole
	// cluster.
	URLs []string
	// TLS is used where a server demands it; nil takes the system's roots.
	TLS *tls.Config
	// Timeout bounds one attempt to connect, and an exchange whose context has no deadline. Default 5 s.
	Timeout time.Duration
	// Slowest is the longest wait between two attempts to connect again; the first ones come sooner. Default 15 s.
	Slowest time.Duration
	// InProcess connects without a socket, if it is set (a *server.Server of package nats-server).
	InProcess nats.InProcessConnProvider
}

// nonceSize is the length of a NATS server's nonce: 11 random bytes in unpadded URL-safe base64.
const nonceSize = 15

// SignNonce signs what a NATS server asks to be signed at log-on, and nothing that is not shaped like its
// nonce. So a server cannot have anything else signed: every other message of the protocol contains a zero byte
// or starts with 0x84.
func SignNonce(key types.PrivateKey, nonce []byte) ([]byte, error) {
	if len(nonce) != nonceSize {
		return nil, types.Refuse(types.BadEncoding, "bus: a nonce of %d bytes, want %d", len(nonce), nonceSize)
	}
	for _, c := range nonce {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return nil, types.Refuse(types.BadEncoding, "bus: %q is no nonce", nonce)
		}
	}
	sig := key.SignMessage(nonce)
	return sig[:], nil
}

// natsBus is a connection to NATS. Its subscriptions survive reconnections; those of kept messages fetch them anew.
type natsBus struct {
	key    types.Key
	log    *slog.Logger
	config Config
	nc     *nats.Conn
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	sent   atomic.Int64 // the newest number

	mu      sync.Mutex
	live    map[*nats.Subscription]bool
	dropped uint64                 // by subscriptions that have ended
	last    map[*natsSub]bool      // subscriptions of kept messages, to be fetched anew
	denied  map[string]func(error) // by subject: publications that wait for an answer
	refused time.Time              // when it was said last that a publication was not permitted
}

// natsSub is a subscription. handling serializes what arrives live with what was kept.
type natsSub struct {
	pattern  string
	ctx      context.Context
	handle   func(Message)
	handling sync.Mutex
}

var _ Bus = (*natsBus)(nil)

// Dial logs key on to a NATS server and stays connected until Close, through whatever happens to the server. It
// fails with bus_unavailable if no server can be reached now, and with not_permitted if the server does not
// know the key.
func Dial(ctx context.Context, config Config, key types.PrivateKey, log *slog.Logger) (Bus, error) {
	if config.Timeout == 0 {
		config.Timeout = 5 * time.Second
	}
	if config.Slowest == 0 {
		config.Slowest = 15 * time.Second
	}
	public := key.Public()
	nkey, err := nkeys.Encode(nkeys.PrefixByteUser, public[:])
	if err != nil {
		return nil, fmt.Errorf("bus: log on as %v: %w", public, err)
	}
	b := &natsBus{key: public, log: log, config: config, live: map[*nats.Subscription]bool{}, last: map[*natsSub]bool{}, denied: map[string]func(error){}}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	options := []nats.Option{
		nats.Name(Word(public)),
		nats.Nkey(string(nkey), func(nonce []byte) ([]byte, error) { return SignNonce(key, nonce) }),
		nats.CustomInboxPrefix(inbox + "." + Word(public)),
		nats.Timeout(config.Timeout),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a key may be registered again
		nats.ReconnectBufSize(-1),   // what cannot be sent now is the sender's to keep
		nats.CustomReconnectDelay(b.delay),
		nats.PingInterval(20 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(b.failed),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if b.ctx.Err() == nil {
				log.Warn("the bus is gone", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			log.Info("the bus is back")
			b.refetch()
		}),
	}
	if config.TLS != nil {
		options = append(options, nats.Secure(config.TLS))
	}
	if config.InProcess != nil {
		options = append(options, nats.InProcessServer(config.InProcess))
	}
	type dialled struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan dialled, 1)
	go func() {
		nc, err := nats.Connect(strings.Join(config.URLs, ","), options...)
		done <- dialled{nc, err}
	}()
	select {
	case d := <-done:
		if d.err != nil {
			return nil, fmt.Errorf("bus: log on as %v: %w", public, natsError(d.err))
		}
		b.nc = d.nc
		return b, nil
	case <-ctx.Done():
		go func() {
			if d := <-done; d.nc != nil {
				d.nc.Close()
			}
		}()
		return nil, fmt.Errorf("bus: log on as %v: %w", public, ctx.Err())
	}
}

// Move has a bus that Dial returned look for its servers at other addresses from now on. It leaves the server
// that it is with where that is none of them. A bus of another kind has no servers, and stays as it is.
func Move(b Bus, urls []string) error {
	n, ok := b.(*natsBus)
	if !ok {
		return nil
	}
	at := place(n.nc.ConnectedUrl()) // before: afterwards it names one of the new
	if err := n.nc.SetServerPool(urls); err != nil {
		return fmt.Errorf("bus: servers %v: %w", urls, err)
	}
	if at == "" || slices.ContainsFunc(urls, func(u string) bool { return place(u) == at }) {
		return nil
	}
	if err := n.nc.ForceReconnect(); err != nil {
		return fmt.Errorf("bus: leave %s: %w", at, err)
	}
	return nil
}

// place is host:port of a server's address; "" where it names none.
func place(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "4222"))
}

// delay is how long to wait before the servers are tried again: doubling from 100 ms to Slowest, less up to a half at
// random, so that a thousand devices do not come back in one moment.
func (b *natsBus) delay(attempt int) time.Duration {
	d := min(b.config.Slowest, 100*time.Millisecond<<min(max(attempt-1, 0), 16))
	return d - rand.N(d/2)
}

// natsError adds our reason to an error of the client.
func natsError(err error) error {
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return fmt.Errorf("%w: the server does not know the key, or has as many connections of it or its account as it takes: %w",
			err, types.NotPermitted)
	case errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("%w: %w", err, types.NotPermitted)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", err, types.Oversize)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, nats.ErrNoResponders):
		return ErrNobody
	}
	return fmt.Errorf("%w: %w", err, types.BusUnavailable)
}

// failed is called by the client for what went wrong in the background.
func (b *natsBus) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) && sub != nil {
		b.log.Warn("a slow reader misses messages", "pattern", sub.Subject)
		return
	}
	if subject := deniedSubject(err, "Publish"); subject != "" {
		b.mu.Lock()
		tell := b.denied[subject]
		b.mu.Unlock()
		if tell != nil {
			tell(err)
			return
		}
		if !b.says() {
			return
		}
	}
	b.log.Warn("bus", "error", err)
}

// says reports whether a minute is over since a refused publication was logged: who may not say something may
// try it with each message.
func (b *natsBus) says() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.refused) < time.Minute {
		return false
	}
	b.refused = time.Now()
	return true
}

var denial = regexp.MustCompile(`(Publish|Subscription) to "([^"]+)"`)

// deniedSubject returns the subject that a server's refusal names, if it refuses what.
func deniedSubject(err error, what string) string {
	m := denial.FindStringSubmatch(err.Error())
	if m == nil || m[1] != what || !errors.Is(err, nats.ErrPermissionViolation) {
		return ""
	}
	return m[2]
}

func (b *natsBus) Key() types.Key  { return b.key }
func (b *natsBus) Connected() bool { return b.nc.IsConnected() }

func (b *natsBus) Dropped() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.dropped
	for sub := range b.live {
		if d, err := sub.Dropped(); err == nil {
			n += uint64(d)
		}
	}
	return n
}

func (b *natsBus) Close() {
	b.cancel()
	b.nc.Close()
}

func (b *natsBus) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, b.config.Timeout)
}

func (b *natsBus) Publish(_ context.Context, subject string, data []byte) error {
	if err := checkPublish(b.key, subject, data, false); err != nil {
		return err
	}
	if err := b.nc.Publish(subject, data); err != nil {
		return fmt.Errorf("bus: publish %s: %w", subject, natsError(err))
	}
	return nil
}

func (b *natsBus) PublishLast(ctx context.Context, subject string, data []byte) error {
	if err := checkPublish(b.key, subject, data, true); err != nil {
		return err
	}
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	ctx, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	b.mu.Lock()
	b.denied[subject] = refuse
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.denied, subject)
		b.mu.Unlock()
	}()
	answer, err := b.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Data: data, Header: nats.Header{SentHeader: {b.number()}}})
	switch {
	case err != nil && context.Cause(ctx) != nil && errors.Is(context.Cause(ctx), nats.ErrPermissionViolation):
		return fmt.Errorf("bus: publish %s: %w", subject, natsError(context.Cause(ctx)))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("bus: publish %s: nobody keeps it: %w: %w", subject, err, types.BusUnavailable)
	case err != nil:
		return fmt.Errorf("bus: publish %s: %w", subject, natsError(err))
	case len(answer.Data) > 0:
		return notKept(types.Reason(answer.Data), subject)
	}
	return nil
}

// number returns when something is sent: microseconds, each higher than the one before.
func (b *natsBus) number() string {
	for {
		last := b.sent.Load()
		if now := max(last+1, time.Now().UnixMicro()); b.sent.CompareAndSwap(last, now) {
			return strconv.FormatInt(now, 10)
		}
	}
}

func (b *natsBus) Subscribe(ctx context.Context, pattern string, handle func(Message)) error {
	if err := checkPattern(pattern, false); err != nil {
		return err
	}
	return b.subscribe(&natsSub{pattern: pattern, ctx: ctx, handle: handle})
}

func (b *natsBus) SubscribeLast(ctx context.Context, pattern string, handle func(Message)) error {
	if err := checkPattern(pattern, true); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &natsSub{pattern: pattern, ctx: ctx, handle: handle}
	s.handling.Lock() // what arrives live waits until what was kept has been handed over
	defer s.handling.Unlock()
	if err := b.subscribe(s); err != nil {
		cancel()
		return err
	}
	if err := b.fetch(ctx, s); err != nil {
		cancel()
		return err
	}
	b.mu.Lock()
	b.last[s] = true
	b.mu.Unlock()
	context.AfterFunc(ctx, func() {
		cancel()
		b.mu.Lock()
		delete(b.last, s)
		b.mu.Unlock()
	})
	return nil
}

func (b *natsBus) subscribe(s *natsSub) error {
	sub, err := b.nc.Subscribe(s.pattern, func(m *nats.Msg) {
		s.handling.Lock()
		defer s.handling.Unlock()
		if s.ctx.Err() == nil && b.ctx.Err() == nil {
			s.handle(Message{Subject: m.Subject, Reply: m.Reply, Data: m.Data})
		}
	})
	if err == nil {
		err = sub.SetPendingLimits(Pending, PendingBytes)
	}
	if err == nil {
		err = b.nc.FlushTimeout(b.config.Timeout)
	}
	if err == nil {
		if last := b.nc.LastError(); last != nil && deniedSubject(last, "Subscription") == s.pattern {
			err = last
		}
	}
	if err != nil {
		if sub != nil {
			_ = sub.Unsubscribe() // the connection is closed, or the server does not know it
		}
		return fmt.Errorf("bus: listen to %s: %w", s.pattern, natsError(err))
	}
	b.mu.Lock()
	b.live[sub] = true
	b.mu.Unlock()
	context.AfterFunc(s.ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if n, err := sub.Dropped(); err == nil {
			b.dropped += uint64(n)
		}
		delete(b.live, sub)
		_ = sub.Unsubscribe() // fails on a closed connection, which is as good
	})
	return nil
}

// fetch hands over the kept messages of s. The caller holds s.handling.
func (b *natsBus) fetch(ctx context.Context, s *natsSub) error {
	after := ""
	for {
		page, more, err := b.Kept(ctx, s.pattern, after)
		if err != nil {
			return err
		}
		for _, m := range page {
			if ctx.Err() != nil || b.ctx.Err() != nil {
				return nil
			}
			s.handle(m)
			after = m.Subject
		}
		if !more {
			return nil
		}
	}
}

func (b *natsBus) Kept(ctx context.Context, pattern, after string) (list []Message, more bool, err error) {
	raw, err := b.Request(ctx, KeepSubject(b.key), types.Encode(&KeepQuery{Pattern: pattern, After: after}))
	if err != nil {
		return nil, false, fmt.Errorf("bus: kept messages of %s: %w", pattern, err)
	}
	if why := keepRefusal(raw); why != "" {
		return nil, false, types.Refuse(why, "bus: kept messages of %s", pattern)
	}
	var page KeepPage
	if err := types.DecodeLimit(raw, &page, MaxMessage); err != nil {
		return nil, false, fmt.Errorf("bus: kept messages of %s: %w", pattern, err)
	}
	for _, k := range page.Kept {
		if !Match(pattern, k.Subject) {
			return nil, false, types.Refuse(types.BadEncoding, "bus: kept messages of %s: there is %.255q among them", pattern, k.Subject)
		}
		list = append(list, Message{Subject: k.Subject, Data: k.Data})
	}
	return list, page.More && len(list) > 0, nil
}

// keepRefusal returns the reason that a keeper answered with instead of a page, which begins with the byte of
// an array.
func keepRefusal(raw []byte) types.Reason {
	if len(raw) == 0 || raw[0] < 'a' || raw[0] > 'z' {
		return ""
	}
	return types.Reason(raw)
}

// refetch fetches what was kept while the connection was lost. If that fails, the messages are simply those
// that come.
func (b *natsBus) refetch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.last {
		go func() {
			s.handling.Lock()
			defer s.handling.Unlock()
			if err := b.fetch(s.ctx, s); err != nil && s.ctx.Err() == nil && b.ctx.Err() == nil {
				b.log.Warn("bus", "error", err)
			}
		}()
	}
}

func (b *natsBus) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if err := checkPublish(b.key, subject, data, false); err != nil {
		return nil, err
	}
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	if strings.HasPrefix(subject, requestWord+".") { // its answer is not for the client's own inbox
		var answer []byte
		err := b.Gather(ctx, subject, data, func(a []byte) bool {
			answer = a
			return false
		})
		return answer, err
	}
	m, err := b.nc.RequestWithContext(ctx, subject, data)
	if err != nil {
		return nil, fmt.Errorf("bus: request %s: %w", subject, natsError(err))
	}
	return m.Data, nil
}

func (b *natsBus) Gather(ctx context.Context, subject string, data []byte, handle func([]byte) bool) error {
	if err := checkPublish(b.key, subject, data, false); err != nil {
		return err
	}
	reply, answers := replySubject(subject, crand.Text()), make(chan *nats.Msg, answersAhead(subject))
	sub, err := b.nc.ChanSubscribe(reply, answers)
	if err != nil {
		return fmt.Errorf("bus: gather %s: %w", subject, natsError(err))
	}
	defer sub.Unsubscribe()
	if err := b.nc.PublishRequest(subject, reply, data); err != nil {
		return fmt.Errorf("bus: gather %s: %w", subject, natsError(err))
	}
	for {
		select {
		case m := <-answers:
			if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
				return fmt.Errorf("bus: gather %s: %w", subject, natsError(nats.ErrNoResponders))
			}
			if !handle(m.Data) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-b.ctx.Done():
			return errDown("gather " + subject + ": closed")
		}
	}
}

func (b *natsBus) Respond(_ context.Context, to Message, data []byte) error {
	if err := checkAnswer(to, data); err != nil {
		return err
	}
	if err := b.nc.Publish(to.Reply, data); err != nil {
		return fmt.Errorf("bus: answer %s: %w", to.Subject, natsError(err))
	}
	return nil
}
