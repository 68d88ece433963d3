package agent

import (
	"sync"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// Calls takes what verifiers call to a category's witnesses: what they sealed under their own subjects, in time, and of
// each a few in a second. Others are thrown away.
type Calls struct{ Pace Pace }

// Hear returns who called what in a message that came under a subject of calls, and whether it is to be taken.
func (c *Calls) Hear(chain string, set bus.Set, category types.Category, m bus.Message) (by types.Key, body []byte, ok bool) {
	now := time.Now()
	who, err := bus.ParseWord(bus.Owner(m.Subject))
	if err != nil || set.Power(who) == 0 || !c.Pace.Allow(who, now) {
		return who, nil, false
	}
	call, by, err := bus.Open[bus.Call](m.Data, chain)
	if err != nil || by != who || call.Category != category || !bus.Timely(call.Time, now) {
		return who, nil, false
	}
	return by, call.Body, true
}

// Pace takes a few messages of each publisher in a second.
type Pace struct {
	mu     sync.Mutex // guards what follows
	second int64
	heard  map[types.Key]int // in this second
}

// Bounds of a Pace.
const (
	paceEach = 8       // of one publisher in a second
	paceAll  = 1 << 12 // publishers in a second
)

// Allow takes one of a publisher's tries.
func (p *Pace) Allow(by types.Key, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := now.Unix(); s != p.second || p.heard == nil {
		p.second, p.heard = s, map[types.Key]int{}
	}
	if p.heard[by] == 0 && len(p.heard) >= paceAll {
		return false
	}
	p.heard[by]++
	return p.heard[by] <= paceEach
}
