// Package latest is a value of which only the newest matters, for one who sets it and many who watch it: the
// chain's newest block, the newest notice.
package latest

import (
	"context"
	"sync"
)

// Value is a value that changes, and tells whoever watches it. Its zero value is ready, and has no value yet.
// All methods are safe for concurrent use.
type Value[T any] struct {
	mu      sync.Mutex
	value   T
	known   bool
	readers map[chan T]bool
}

// Set changes the value.
func (l *Value[T]) Set(value T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value, l.known = value, true
	for c := range l.readers {
		select {
		case <-c: // nobody read the one before
		default:
		}
		c <- value // there is room: only the holder of mu writes
	}
}

// Get returns the value, and whether there is one.
func (l *Value[T]) Get() (T, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value, l.known
}

// Watch delivers the value and then each further one until ctx ends; a slow reader misses all but the newest.
func (l *Value[T]) Watch(ctx context.Context) <-chan T {
	c := make(chan T, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readers == nil {
		l.readers = map[chan T]bool{}
	}
	l.readers[c] = true
	if l.known {
		c <- l.value
	}
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.readers, c)
		close(c)
	})
	return c
}
