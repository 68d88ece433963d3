package bus

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cairn-network/cairn/core/types"
)

// Memory is a bus inside one process, for tests of engines. It follows the same rules as NATS: who may log on,
// who publishes where, what is kept, what is dropped. SetDown takes it away and brings it back.
type Memory struct {
	auth Authorizer
	log  *slog.Logger

	mu     sync.Mutex
	down   bool
	subs   []*memorySub      // in the order of subscription
	kept   map[string][]byte // by subject
	shelf  *Shelves
	boxes  map[string]func([]byte) // by reply subject
	serial uint64
}

// NewMemory returns an empty bus.
func NewMemory(auth Authorizer, log *slog.Logger) *Memory {
	return &Memory{auth: auth, log: log, kept: map[string][]byte{}, shelf: NewShelves(nil), boxes: map[string]func([]byte){}}
}

// SetDown makes the bus unreachable for everybody, or reachable again: subscriptions then go on, and those of
// kept messages get them once more.
func (m *Memory) SetDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.down
	m.down = down
	if was && !down {
		for _, s := range m.subs {
			if s.last {
				m.replay(s)
			}
		}
	}
}

// Dial logs key on.
func (m *Memory) Dial(ctx context.Context, key types.PrivateKey) (Bus, error) {
	m.mu.Lock()
	down := m.down
	m.mu.Unlock()
	if down {
		return nil, errDown("log on")
	}
	pass, err := m.auth.Authorize(ctx, key.Public())
	if err != nil {
		return nil, fmt.Errorf("bus: log on: %w", err)
	}
	if pass.Role == Nobody {
		return nil, types.Refuse(types.NotPermitted, "bus: log on as %v", key.Public())
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &memoryBus{m: m, key: key.Public(), role: pass.Role, ctx: ctx, cancel: cancel}, nil
}

func errDown(what string) error { return types.Refuse(types.BusUnavailable, "bus: %s", what) }

// replay hands the kept messages that fit to s. The caller holds mu.
func (m *Memory) replay(s *memorySub) {
	for _, subject := range slices.Sorted(maps.Keys(m.kept)) {
		if Match(s.pattern, subject) {
			s.force(Message{Subject: subject, Data: slices.Clone(m.kept[subject])})
		}
	}
}

// send hands a message to all who listen and returns how many they are.
func (m *Memory) send(by types.Key, subject, reply string, data []byte, keep bool) (int, error) {
	var pass Pass
	if keep {
		var err error
		if pass, err = m.auth.Authorize(context.Background(), by); err != nil {
			return 0, fmt.Errorf("bus: keep %s: %w", subject, err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return 0, errDown("publish " + subject)
	}
	if keep {
		gone, refused := m.shelf.Put(subject, len(data), pass)
		if refused != "" {
			return 0, notKept(refused, subject)
		}
		for _, subject := range gone {
			delete(m.kept, subject)
		}
		m.kept[subject] = slices.Clone(data)
	}
	return m.deliver(subject, reply, data), nil
}

// deliver hands a message to all who listen and returns how many they are. The caller holds mu.
func (m *Memory) deliver(subject, reply string, data []byte) (n int) {
	for _, s := range m.subs {
		if Match(s.pattern, subject) && !s.over() {
			s.put(Message{Subject: subject, Reply: reply, Data: slices.Clone(data)})
			n++
		}
	}
	return n
}

// memoryBus is one who logged on.
type memoryBus struct {
	m       *Memory
	key     types.Key
	role    Role
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	dropped atomic.Uint64
}

var _ Bus = (*memoryBus)(nil)

func (b *memoryBus) Key() types.Key  { return b.key }
func (b *memoryBus) Dropped() uint64 { return b.dropped.Load() }
func (b *memoryBus) Close()          { b.cancel() }

func (b *memoryBus) Connected() bool {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	return !b.m.down && b.ctx.Err() == nil
}

func (b *memoryBus) publish(subject, reply string, data []byte, keep bool) (int, error) {
	if b.ctx.Err() != nil {
		return 0, errDown("publish after Close")
	}
	if err := checkPublish(b.key, subject, data, keep); err != nil {
		return 0, err
	}
	if !mayPublish(b.role, b.key, subject) {
		return 0, notPermitted("publish under", subject)
	}
	return b.m.send(b.key, subject, reply, data, keep)
}

func (b *memoryBus) Publish(_ context.Context, subject string, data []byte) error {
	_, err := b.publish(subject, "", data, false)
	return err
}

func (b *memoryBus) PublishLast(_ context.Context, subject string, data []byte) error {
	_, err := b.publish(subject, "", data, true)
	return err
}

// keptPage is how many messages Memory shows in one page.
const keptPage = 3

func (b *memoryBus) Kept(_ context.Context, pattern, after string) (page []Message, more bool, err error) {
	plan, ok := PlanKept(pattern)
	if !ok {
		return nil, false, types.Refuse(types.BadEncoding, "bus: kept messages of %s", pattern)
	}
	order := func(subject string) string {
		if plan.Turned {
			return Turn(subject)
		}
		return subject
	}
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if b.m.down || b.ctx.Err() != nil {
		return nil, false, errDown("kept messages of " + pattern)
	}
	var fit []string
	for subject := range b.m.kept {
		if Match(pattern, subject) && (after == "" || order(subject) > order(after)) {
			fit = append(fit, subject)
		}
	}
	slices.SortFunc(fit, func(a, b string) int { return strings.Compare(order(a), order(b)) })
	for _, subject := range fit[:min(len(fit), keptPage)] {
		page = append(page, Message{Subject: subject, Data: slices.Clone(b.m.kept[subject])})
	}
	return page, len(fit) > keptPage, nil
}

func (b *memoryBus) Subscribe(ctx context.Context, pattern string, handle func(Message)) error {
	return b.subscribe(ctx, pattern, handle, false)
}

func (b *memoryBus) SubscribeLast(ctx context.Context, pattern string, handle func(Message)) error {
	return b.subscribe(ctx, pattern, handle, true)
}

func (b *memoryBus) subscribe(ctx context.Context, pattern string, handle func(Message), last bool) error {
	if err := checkPattern(pattern, last); err != nil {
		return err
	}
	if !maySubscribe(b.role, b.key, pattern) {
		return notPermitted("listen to", pattern)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.ctx, cancel)
	s := &memorySub{pattern: pattern, last: last, bus: b, ctx: ctx, wake: make(chan struct{}, 1)}
	b.m.mu.Lock()
	if b.m.down || b.ctx.Err() != nil {
		b.m.mu.Unlock()
		stop()
		cancel()
		return errDown("listen to " + pattern)
	}
	if last {
		b.m.replay(s)
	}
	b.m.subs = append(b.m.subs, s)
	b.m.mu.Unlock()
	for m, ok := s.take(); ok; m, ok = s.take() {
		handle(m)
	}
	go func() {
		defer cancel()
		defer stop()
		s.run(handle)
		b.m.mu.Lock()
		defer b.m.mu.Unlock()
		b.m.subs = slices.DeleteFunc(b.m.subs, func(o *memorySub) bool { return o == s })
	}()
	return nil
}

func (b *memoryBus) Request(ctx context.Context, subject string, data []byte) (answer []byte, err error) {
	err = b.Gather(ctx, subject, data, func(a []byte) bool {
		answer = a
		return false
	})
	return answer, err
}

func (b *memoryBus) Gather(ctx context.Context, subject string, data []byte, handle func([]byte) bool) error {
	answers := make(chan []byte, answersAhead(subject))
	b.m.mu.Lock()
	b.m.serial++
	reply := replySubject(subject, strconv.FormatUint(b.m.serial, 10))
	b.m.boxes[reply] = func(a []byte) {
		select {
		case answers <- a:
		default:
			b.dropped.Add(1)
		}
	}
	b.m.mu.Unlock()
	defer func() {
		b.m.mu.Lock()
		delete(b.m.boxes, reply)
		b.m.mu.Unlock()
	}()
	n, err := b.publish(subject, reply, data, false)
	if err == nil && n == 0 {
		err = fmt.Errorf("bus: %s: %w", subject, ErrNobody)
	}
	for err == nil {
		select {
		case a := <-answers:
			if !handle(a) {
				return nil
			}
		case <-b.ctx.Done():
			err = errDown("closed")
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return err
}

func (b *memoryBus) Respond(_ context.Context, to Message, data []byte) error {
	if err := checkAnswer(to, data); err != nil {
		return err
	}
	if !mayPublish(b.role, b.key, to.Reply) {
		return notPermitted("answer", to.Subject)
	}
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if b.m.down || b.ctx.Err() != nil {
		return errDown("answer " + to.Subject)
	}
	if box := b.m.boxes[to.Reply]; box != nil {
		box(slices.Clone(data))
	}
	b.m.deliver(to.Reply, "", data)
	return nil
}

// memorySub is a subscription: a queue, and the goroutine that empties it.
type memorySub struct {
	pattern string
	last    bool
	bus     *memoryBus
	ctx     context.Context
	wake    chan struct{}

	mu    sync.Mutex
	queue []Message
	bytes int
}

// over reports whether the subscription has ended. Close ends the bus's context at once, and from it the
// subscription's a little later.
func (s *memorySub) over() bool { return s.ctx.Err() != nil || s.bus.ctx.Err() != nil }

func (s *memorySub) put(m Message) {
	s.mu.Lock()
	full := len(s.queue) >= Pending || s.bytes+len(m.Data) > PendingBytes
	if !full {
		s.queue = append(s.queue, m)
		s.bytes += len(m.Data)
	}
	s.mu.Unlock()
	if full {
		if s.bus.dropped.Add(1)%Pending == 1 {
			s.bus.m.log.Warn("a slow reader misses messages", "pattern", s.pattern)
		}
		return
	}
	s.ring()
}

// force queues a kept message, whose number is bounded already.
func (s *memorySub) force(m Message) {
	s.mu.Lock()
	s.queue = append(s.queue, m)
	s.bytes += len(m.Data)
	s.mu.Unlock()
	s.ring()
}

func (s *memorySub) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *memorySub) take() (Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.queue = nil
		return Message{}, false
	}
	m := s.queue[0]
	s.queue = s.queue[1:]
	s.bytes -= len(m.Data)
	return m, true
}

func (s *memorySub) run(handle func(Message)) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		}
		for m, ok := s.take(); ok; m, ok = s.take() {
			if s.over() {
				return
			}
			handle(m)
		}
	}
}
