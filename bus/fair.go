package bus

import (
	"context"
	"sync"
)

// MaxEach is how many messages of one publisher wait for a handler that SubscribeFair calls.
const MaxEach = 64

// SubscribeFair is Subscribe for what everybody may ask: the publishers of what waits are served in turn, and of each at most MaxEach
// messages wait. Further ones are dropped, so that whoever asks too much keeps nobody else waiting: who is not answered asks again.
func SubscribeFair(ctx context.Context, b Bus, pattern string, handle func(Message)) error {
	q := &fair{waiting: map[string][]Message{}, wake: make(chan struct{}, 1)}
	if err := b.Subscribe(ctx, pattern, q.put); err != nil {
		return err
	}
	go func() {
		for ctx.Err() == nil {
			if m, ok := q.take(); ok {
				handle(m)
				continue
			}
			select {
			case <-q.wake:
			case <-ctx.Done():
			}
		}
	}()
	return nil
}

// fair is a queue for each publisher.
type fair struct {
	wake chan struct{}

	mu      sync.Mutex           // guards what follows
	waiting map[string][]Message // by publisher; none is empty
	turn    []string             // publishers with something waiting, the next one first
	count   int
	bytes   int
}

func (q *fair) put(m Message) {
	by := owner(m.Subject)
	q.mu.Lock()
	mine := q.waiting[by]
	full := len(mine) >= MaxEach || q.count >= Pending || q.bytes+len(m.Data) > PendingBytes
	if !full {
		if len(mine) == 0 {
			q.turn = append(q.turn, by)
		}
		q.waiting[by] = append(mine, m)
		q.count, q.bytes = q.count+1, q.bytes+len(m.Data)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *fair) take() (Message, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turn) == 0 {
		return Message{}, false
	}
	by := q.turn[0]
	q.turn = q.turn[1:]
	m := q.waiting[by][0]
	if rest := q.waiting[by][1:]; len(rest) > 0 {
		q.waiting[by] = rest
		q.turn = append(q.turn, by)
	} else {
		delete(q.waiting, by)
	}
	q.count, q.bytes = q.count-1, q.bytes-len(m.Data)
	return m, true
}
