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

// Bounds of what verifiers call: further calls are thrown away.
const (
	callRate  = 8  // of one verifier in a second
	callsWait = 64 // for one slow reader
)

// What a role may call is what a message takes.
var _ = [1]struct{}{}[bus.MaxCall-role.MaxCall]

// calls hands on what verifiers call.
type calls struct {
	mu      sync.Mutex // guards what follows
	readers map[chan role.Called]bool
	second  int64
	heard   map[types.Key]int // in this second
}

// allow takes one of a verifier's tries.
func (c *calls) allow(by types.Key, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := now.Unix(); s != c.second || c.heard == nil {
		c.second, c.heard = s, map[types.Key]int{}
	}
	c.heard[by]++
	return c.heard[by] <= callRate
}

func (c *calls) tell(said role.Called) {
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
	now := time.Now()
	who, err := bus.ParseWord(bus.Owner(m.Subject))
	if err != nil || r.engine.agent.Pin().Set.Power(who) == 0 || !r.calls.allow(who, now) {
		return
	}
	c, by, err := bus.Open[bus.Call](m.Data, r.Chain())
	if err != nil || by != who || c.Category != r.spec.Category || !bus.Timely(c.Time, now) {
		r.log.Debug("a call is thrown away", "subject", m.Subject, "error", err)
		return
	}
	r.calls.tell(role.Called{By: by, Body: c.Body})
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
func (r *runner) Calls(ctx context.Context) <-chan role.Called {
	out := make(chan role.Called, callsWait)
	r.calls.mu.Lock()
	defer r.calls.mu.Unlock()
	if r.calls.readers == nil {
		r.calls.readers = map[chan role.Called]bool{}
	}
	r.calls.readers[out] = true
	context.AfterFunc(ctx, func() {
		r.calls.mu.Lock()
		defer r.calls.mu.Unlock()
		delete(r.calls.readers, out)
		close(out)
	})
	return out
}
