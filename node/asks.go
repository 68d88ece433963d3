package node

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
)

// showTimeout is how long the bus has to keep an ask.
const showTimeout = 3 * time.Second

// board keeps the providers' asks published. All methods are safe for concurrent use.
type board struct {
	work chan struct{} // something is hidden

	mu   sync.Mutex
	asks map[string]*offer // by subject
}

// offer is an ask that is kept published.
type offer struct {
	raw   []byte
	ctx   context.Context // of the provider
	shown bool            // since it was made, an epoch began, or the bus was last away
}

func newBoard() board { return board{work: make(chan struct{}, 1), asks: map[string]*offer{}} }

// put has an ask published under a subject while ctx lasts, in place of the one before.
func (b *board) put(ctx context.Context, subject string, raw []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asks[subject] = &offer{raw: raw, ctx: ctx}
}

// again has all asks published again.
func (b *board) again() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.asks {
		a.shown = false
	}
	agent.Poke(b.work)
}

// run publishes what is hidden until ctx ends, and tries again after wait.
func (b *board) run(ctx context.Context, a *agent.Agent, wait time.Duration) {
	a.Each(ctx, wait, b.work, b.again, func(link bus.Bus) bool {
		b.show(ctx, link)
		return true
	})
}

// show publishes what is hidden, as far as the bus takes it.
func (b *board) show(ctx context.Context, link bus.Bus) {
	for subject, a := range b.hidden() {
		ctx, cancel := context.WithTimeout(ctx, showTimeout)
		err := link.PublishLast(ctx, subject, a.raw)
		cancel()
		if err != nil {
			return // the next turn tries again
		}
		b.mu.Lock()
		a.shown = true
		b.mu.Unlock()
	}
}

// hidden returns the asks of running providers that are not published.
func (b *board) hidden() map[string]*offer {
	b.mu.Lock()
	defer b.mu.Unlock()
	hidden := map[string]*offer{}
	for subject, a := range b.asks {
		switch {
		case a.ctx.Err() != nil:
			delete(b.asks, subject)
		case !a.shown:
			hidden[subject] = a
		}
	}
	return hidden
}
