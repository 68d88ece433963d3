package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Bounds of what a gateway hears of beats, for all categories whose customers hear them together: a bus takes
// 2,048 subscriptions of a client. It listens device by device, to those whose offers it knows: so it does not
// hear the rest of the network, and stops listening to one that beats too often.
const (
	maxBeating = maxAnywhere // devices whose offers anywhere are remembered
	maxSought  = 256         // devices that were found near somewhere: beyond it those go that were looked for longest ago
	beatBurst  = 256         // beats of one device at once, and then one each beatPace; one that beats more is not heard for beatRest
	beatPace   = 50 * time.Millisecond
	beatRest   = time.Minute
)

// live is what the gateway hears of what is free, in one category. All methods are safe for concurrent use.
type live struct {
	market    *market
	category  types.Category
	heard     func(role.Beat)
	remembers func(device types.Key) bool // whether offers of a device are remembered
	most      int                         // devices that are listened to whose offers anywhere are remembered
	near      int                         // the same, of those that were found near somewhere
	work      chan struct{}               // there is somebody to listen to
	now       func() time.Time

	mu      sync.Mutex // guards what follows
	beating map[types.Key]*pulse
	sought  int // of beating
}

// pulse is what is heard of one device.
type pulse struct {
	sought bool      // it is listened to because it was found near somewhere
	used   time.Time // when its asks were known last
	asks   map[types.Class]*beaten
	stop   context.CancelFunc // ends listening; nil while nobody listens
	due    time.Time          // when it has its whole burst again
	rest   time.Time          // until when it is not listened to
}

// beaten is an ask with its newest beat.
type beaten struct {
	hash     types.Hash
	capacity types.U128
	time     uint64 // the beat's own
	beat     role.Beat
}

func newLive(m *market, c types.Category, heard func(role.Beat)) *live {
	return &live{market: m, category: c, heard: heard, remembers: func(k types.Key) bool { return m.asks[c].anywhere.Has(k) },
		most: maxBeating, near: maxSought, work: make(chan struct{}, 1), now: time.Now, beating: map[types.Key]*pulse{}}
}

// know has the beats of an ask heard. sought says that it is only known because somebody looked for it.
func (l *live) know(a *receipt.Ask, sought bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.beating[a.Device]
	if p == nil {
		if !l.room(sought) {
			return
		}
		p = &pulse{sought: sought, asks: map[types.Class]*beaten{}}
		l.beating[a.Device] = p
		if sought {
			l.sought++
		}
		agent.Poke(l.work)
	}
	if p.sought && !sought {
		p.sought = false
		l.sought--
	}
	p.used = l.now()
	hash := a.Hash()
	if e := p.asks[a.Class]; (e == nil || e.hash != hash) && (e != nil || len(p.asks) < agent.MaxAsksEach) {
		p.asks[a.Class] = &beaten{hash: hash, capacity: a.Capacity}
	}
}

// room makes room for one more device, if it can: of those that were found the one goes that was looked for
// longest ago, of the others one whose offers are not remembered any more. mu is held.
func (l *live) room(sought bool) bool {
	if sought && l.sought < l.near || !sought && len(l.beating)-l.sought < l.most {
		return true
	}
	var goes types.Key
	for key, p := range l.beating {
		switch oldest := l.beating[goes]; {
		case p.sought != sought:
		case !sought && !l.remembers(key), sought && (oldest == nil || p.used.Before(oldest.used)):
			goes = key
		}
	}
	if l.beating[goes] == nil {
		return false
	}
	l.drop(goes)
	return true
}

// drop stops listening to a device. mu is held.
func (l *live) drop(device types.Key) {
	p := l.beating[device]
	delete(l.beating, device)
	if p.sought {
		l.sought--
	}
	if p.stop != nil {
		p.stop()
	}
}

// run listens to whom there is to listen to, until ctx ends.
func (l *live) run(ctx context.Context) {
	l.market.agent.Each(ctx, time.Second, l.work, func() {}, func(b bus.Bus) bool {
		for device := range l.silent() {
			if !l.listen(ctx, b, device) {
				return false
			}
		}
		return true
	})
}

// silent returns those whom nobody listens to.
func (l *live) silent() map[types.Key]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[types.Key]bool{}
	for device, p := range l.beating {
		if p.stop == nil && !l.now().Before(p.rest) {
			out[device] = true
		}
	}
	return out
}

// listen listens to a device, and reports whether the bus could be reached.
func (l *live) listen(ctx context.Context, b bus.Bus, device types.Key) bool {
	ctx, cancel := context.WithCancel(ctx)
	if !l.begin(device, cancel) {
		return true
	}
	err := b.Subscribe(ctx, bus.BeatsOf(device, l.category), func(m bus.Message) {
		if beat, ok := l.hear(device, m); ok {
			l.heard(beat)
		}
	})
	if err != nil {
		l.end(device)
		l.market.log.Debug("gateway: a device's beats are not to be had", "device", device, "err", err)
		return false
	}
	return true
}

// begin notes what ends listening, and reports whether somebody is to listen.
func (l *live) begin(device types.Key, stop context.CancelFunc) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.beating[device]
	if p == nil || p.stop != nil {
		stop()
		return false
	}
	p.stop = stop
	return true
}

// end ends listening to a device for a while.
func (l *live) end(device types.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.beating[device]; p != nil && p.stop != nil {
		p.stop()
		p.stop, p.rest = nil, l.now().Add(time.Second)
	}
}

// hear takes in a message of a device, if it is a beat of an ask that is known, later than what was heard, and
// of no more than the ask's capacity.
func (l *live) hear(device types.Key, m bus.Message) (role.Beat, bool) {
	if !l.allow(device) || len(m.Data) > bus.MaxBeat {
		return role.Beat{}, false
	}
	beat, by, err := bus.Open[bus.Beat](m.Data, l.market.chain)
	if err != nil || by != device || beat.Category != l.category || !bus.Timely(beat.Time, l.now()) {
		return role.Beat{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.beating[device]
	if p == nil {
		return role.Beat{}, false
	}
	e := p.asks[beat.Class]
	if e == nil || e.hash != beat.Ask || beat.Free.Cmp(e.capacity) > 0 || beat.Time <= e.time {
		return role.Beat{}, false
	}
	e.time = beat.Time
	e.beat = role.Beat{Device: device, Class: beat.Class, Ask: beat.Ask, Free: beat.Free, Draining: beat.Draining, At: l.now()}
	return e.beat, true
}

// allow takes one of a device's tries. One that has used them up is not listened to for a while.
func (l *live) allow(device types.Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.beating[device]
	if p == nil {
		return false
	}
	now := l.now()
	if p.due.Before(now) {
		p.due = now
	}
	if p.due.Sub(now) > (beatBurst-1)*beatPace {
		if p.stop != nil {
			p.stop()
			p.stop, p.rest = nil, now.Add(beatRest)
			l.market.log.Warn("gateway: a device beats too often, and is not heard for a while", "device", device, "category", l.category)
		}
		return false
	}
	p.due = p.due.Add(beatPace)
	return true
}

// get returns the newest beat of an ask; nil if it is silent.
func (l *live) get(device types.Key, class types.Class, ask types.Hash) *role.Beat {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.beating[device]
	if p == nil {
		return nil
	}
	e := p.asks[class]
	if e == nil || e.hash != ask || e.time == 0 || l.now().Sub(e.beat.At) >= role.Silent {
		return nil
	}
	beat := e.beat
	return &beat
}
