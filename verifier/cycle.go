package verifier

import (
	"context"
	"sync"
)

// Cycle is a background loop that tests can pause and step. Its zero value is ready.
type Cycle struct {
	once    sync.Once
	trigger chan chan struct{}
	work    sync.Mutex // held while the loop's function runs

	mu     sync.Mutex
	paused chan struct{} // nil while it is not
}

func (c *Cycle) init() { c.once.Do(func() { c.trigger = make(chan chan struct{}) }) }

// Pause keeps the loop from starting its function again, and returns when it does not run.
func (c *Cycle) Pause() {
	c.init()
	c.mu.Lock()
	if c.paused == nil {
		c.paused = make(chan struct{})
	}
	c.mu.Unlock()
	c.work.Lock()
	c.work.Unlock() //nolint:staticcheck // waits for the function to return
}

// Resume undoes Pause.
func (c *Cycle) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused != nil {
		close(c.paused)
		c.paused = nil
	}
}

// Trigger runs the loop's function once, paused or not, and returns when it has. It returns early if ctx ends.
func (c *Cycle) Trigger(ctx context.Context) {
	c.init()
	done := make(chan struct{})
	select {
	case c.trigger <- done:
		select {
		case <-done:
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
}

// pausing returns what ends a pause, nil if there is none.
func (c *Cycle) pausing() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paused
}

func (c *Cycle) step(do func()) {
	c.work.Lock()
	defer c.work.Unlock()
	do()
}

// run calls do for each event until ctx ends. What comes while the loop is paused is dropped but for the newest.
func run[T any](ctx context.Context, c *Cycle, events <-chan T, do func(context.Context, T)) {
	c.init()
	var last T
	var have bool
	step := func() { c.step(func() { do(ctx, last) }) }
	for {
		paused := c.pausing()
		if have && paused == nil {
			have = false
			step()
			continue
		}
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-events:
			if !ok {
				return
			}
			last, have = ev, true
		case done := <-c.trigger:
			have = false
			step()
			close(done)
		case <-paused: // nil, and so never ready, while the loop is not paused
		}
	}
}
