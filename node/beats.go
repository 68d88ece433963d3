package node

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// beatSoonest is how long after a beat the next one of the same ask may be published, when something has changed.
const beatSoonest = time.Second

// beats says how much is free of what the providers offer. All methods are safe for concurrent use.
type beats struct {
	work chan struct{} // something has changed

	mu  sync.Mutex // guards what follows
	all map[class]*beat
}

// class names what a device has one ask of.
type class struct {
	category types.Category
	class    types.Class
}

// beat is what is said of one ask.
type beat struct {
	ask      *receipt.Ask    // nil while nothing was offered
	ctx      context.Context // of the provider; nil while it has said nothing
	free     types.U128
	draining bool
	changed  bool
	sent     time.Time
	time     uint64 // of the newest one
}

func newBeats() beats { return beats{work: make(chan struct{}, 1), all: map[class]*beat{}} }

func (b *beats) get(c class) *beat {
	if b.all[c] == nil {
		b.all[c] = new(beat)
	}
	return b.all[c]
}

// offer has beats speak of another ask.
func (b *beats) offer(a *receipt.Ask) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.get(class{a.Category, a.Class})
	e.ask, e.changed = a, true
	agent.Poke(b.work)
}

// say has beats say what is free, while ctx lasts.
func (b *beats) say(ctx context.Context, c class, free types.U128, draining bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.get(c)
	e.changed = e.changed || e.ctx == nil || e.ctx.Err() != nil || e.free != free || e.draining != draining
	e.ctx, e.free, e.draining = ctx, free, draining
	if e.changed {
		agent.Poke(b.work)
	}
}

// due returns what is to be said now, with where.
func (b *beats) due(chain string, now time.Time) map[string]*bus.Beat {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]*bus.Beat{}
	for c, e := range b.all {
		since := now.Sub(e.sent)
		if e.ask == nil || e.ctx == nil || e.ctx.Err() != nil || since < beatSoonest || !e.changed && since < bus.BeatEvery-beatSoonest/2 {
			continue
		}
		e.sent, e.changed = now, false
		t := uint64(now.UnixMilli())
		if e.time >= t && e.time < t+uint64(bus.MaxAhead.Milliseconds()) {
			t = e.time + 1
		}
		e.time = t // where the clock was set back by more, nobody has believed what it was before
		free := e.free
		if free.Cmp(e.ask.Capacity) > 0 {
			free = e.ask.Capacity
		}
		out[bus.BeatOf(e.ask)] = &bus.Beat{Chain: chain, Category: c.category, Class: c.class, Ask: e.ask.Hash(), Free: free, Draining: e.draining, Time: e.time}
	}
	return out
}

// run beats until ctx ends.
func (b *beats) run(ctx context.Context, a *agent.Agent, key types.PrivateKey) {
	a.Each(ctx, beatSoonest, b.work, func() {}, func(link bus.Bus) bool {
		for subject, beat := range b.due(a.Chain(), time.Now()) {
			if link.Publish(ctx, subject, bus.Seal(key, beat)) != nil {
				return false // the next one says it
			}
		}
		return true
	})
}

// Beat implements role.Host.
func (r *runner) Beat(c types.Class, free types.U128, draining bool) {
	r.mu.Lock()
	run := r.ctx
	r.mu.Unlock()
	r.node.beats.say(run, class{r.provider.Category, c}, free, draining)
}
