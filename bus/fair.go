package bus

import (
	"context"
	"sync"
)

// MaxEach is how many messages of one publisher wait for a handler that SubscribeFair calls.
const MaxEach = 64

// SubscribeFair is Subscribe for what everybody may ask: the publishers of what waits are served in turn, and
// of each at most MaxEach messages wait. Further ones are dropped, so that whoever asks too much keeps nobody
// else waiting: who is not answered asks again.
func SubscribeFair(ctx context.Context, b Bus, pattern string, handle func(Message)) error {
	q := NewFair[Message](MaxEach)
	err := b.Subscribe(ctx, pattern, func(m Message) { q.Put(owner(m.Subject), len(m.Data), m) })
	if err != nil {
		return err
	}
	go func() {
		for m, ok := q.Wait(ctx); ok; m, ok = q.Wait(ctx) {
			handle(m)
		}
	}()
	return nil
}

// Fair is a queue for each of many, who are served in turn. Of each at most so many wait, and no more than a
// quarter of what room is left: so one who fills the queue leaves room for others. In all Pending entries of
// PendingBytes wait. All methods are safe for concurrent use.
type Fair[T any] struct {
	each int
	wake chan struct{} // there is something, and nobody who waits has been told

	mu      sync.Mutex             // guards what follows
	waiting map[string]*backlog[T] // by whose they are; none is empty
	turn    []string               // who has something waiting, the next one first
	count   int
	bytes   int
}

type backlog[T any] struct {
	list  []sized[T]
	bytes int
}

type sized[T any] struct {
	v    T
	size int
}

// NewFair returns an empty queue in which at most so many entries of each wait.
func NewFair[T any](each int) *Fair[T] {
	return &Fair[T]{each: each, waiting: map[string]*backlog[T]{}, wake: make(chan struct{}, 1)}
}

// Put appends an entry of so many bytes, and reports whether there was room for it.
func (q *Fair[T]) Put(by string, size int, v T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	mine := q.waiting[by]
	switch {
	case q.count >= Pending || q.bytes+size > PendingBytes:
		return false
	case mine == nil:
		mine = new(backlog[T])
		q.waiting[by] = mine
		q.turn = append(q.turn, by)
	case len(mine.list) >= min(q.each, (Pending-q.count)/4) || mine.bytes+size > (PendingBytes-q.bytes)/4:
		return false
	}
	mine.list, mine.bytes = append(mine.list, sized[T]{v, size}), mine.bytes+size
	q.count, q.bytes = q.count+1, q.bytes+size
	q.ring()
	return true
}

func (q *Fair[T]) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Take returns the next entry, or false if there is none.
func (q *Fair[T]) Take() (v T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turn) == 0 {
		return v, false
	}
	by := q.turn[0]
	q.turn = q.turn[1:]
	mine := q.waiting[by]
	m := mine.list[0]
	mine.list, mine.bytes = mine.list[1:], mine.bytes-m.size
	if len(mine.list) > 0 {
		q.turn = append(q.turn, by)
	} else {
		delete(q.waiting, by)
	}
	q.count, q.bytes = q.count-1, q.bytes-m.size
	if q.count > 0 {
		q.ring() // for the next one who waits
	}
	return m.v, true
}

// Wait returns the next entry as soon as there is one, or false when ctx ends.
func (q *Fair[T]) Wait(ctx context.Context) (v T, ok bool) {
	for ctx.Err() == nil {
		if v, ok := q.Take(); ok {
			return v, true
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
		}
	}
	return v, false
}

// Ready is a channel that has something to receive when there may be an entry to Take.
func (q *Fair[T]) Ready() <-chan struct{} { return q.wake }

// Len is how many entries wait.
func (q *Fair[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}
