package witness

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// callsWait is how many calls, and how much that was told, wait for one slow reader: further ones are thrown away.
const callsWait = 64

// What a role may call is what a message takes.
var (
	_ = [1]struct{}{}[bus.MaxCall-role.MaxCall]
	_ = [1]struct{}{}[bus.MaxTell-role.MaxTell]
)

// talk hands on what others call or tell.
type talk struct {
	mu      sync.Mutex // guards what follows
	readers map[chan role.Called]bool
}

func (c *talk) say(said role.Called) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.readers {
		select {
		case r <- said:
		default: // it is slow
		}
	}
}

// hear takes what came under a subject of calls. Verifiers alone can publish there.
func (r *runner) hear(m bus.Message) {
	if by, body, ok := r.heard.Hear(r.Chain(), r.engine.agent.Pin().Set, r.spec.Category, m); ok {
		r.calls.say(role.Called{By: by, Body: body})
	}
}

// told takes what somebody tells this verifier.
func (e *Engine) told(m bus.Message) {
	who, err := bus.ParseWord(bus.Owner(m.Subject))
	if err != nil || !e.tellers.Allow(who, time.Now()) {
		return
	}
	t, err := bus.Decode[bus.Tell](m.Data, e.agent.Chain())
	if err != nil {
		return
	}
	for _, r := range e.runners {
		if r.spec.Category == t.Category {
			r.tells.say(role.Called{By: who, Body: t.Body})
		}
	}
}

// Call implements role.VerifierHost.
func (r *runner) Call(ctx context.Context, body []byte) error {
	c := &bus.Call{Chain: r.Chain(), Category: r.spec.Category, Time: uint64(time.Now().UnixMilli()), Body: body}
	if err := c.Check(); err != nil {
		return fmt.Errorf("witness: call: %w", err)
	}
	b := r.engine.agent.Bus()
	if b == nil {
		return types.Refuse(types.BusUnavailable, "witness: call: there is no connection to the bus")
	}
	return b.Publish(ctx, bus.CallSubject(b.Key(), c.Category), bus.Seal(r.engine.cfg.Key, c))
}

// Calls implements role.VerifierHost.
func (r *runner) Calls(ctx context.Context) <-chan role.Called { return r.calls.listen(ctx) }

// Told implements role.AuditHost.
func (r *runner) Told(ctx context.Context) <-chan role.Called { return r.tells.listen(ctx) }

// listen delivers what is said from now on until ctx ends.
func (c *talk) listen(ctx context.Context) <-chan role.Called {
	out := make(chan role.Called, callsWait)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readers == nil {
		c.readers = map[chan role.Called]bool{}
	}
	c.readers[out] = true
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.readers, out)
		close(out)
	})
	return out
}
