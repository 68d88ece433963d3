package provider

import (
	"sync"
	"time"

	"github.com/cairn-network/cairn/service/energy"
)

// clock tells energy time, and whether it can be believed.
type clock struct {
	wall  func() time.Time
	begin time.Time // what has passed since is measured without regard to the wall clock

	mu    sync.Mutex // guards what follows
	rules energy.Clock
	known bool     // rules are
	heard []notice // newest last
}

// notice is when a notice said that it was what time.
type notice struct {
	at   time.Duration // since begin
	said time.Time
}

const (
	maxHeard = 64             // notices that are compared
	heardFor = 24 * time.Hour // and for how long: crystals drift by some seconds a day
)

func newClock(wall func() time.Time) *clock { return &clock{wall: wall, begin: time.Now()} }

// hear takes a notice.
func (c *clock) hear(rules energy.Clock, said uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rules, c.known = rules, true
	now := time.Since(c.begin)
	for len(c.heard) > 0 && (len(c.heard) >= maxHeard || now-c.heard[0].at > heardFor) {
		c.heard = c.heard[1:]
	}
	c.heard = append(c.heard, notice{now, time.Unix(int64(said), 0)})
}

// recall takes the rules of an earlier run: good until the first notice.
func (c *clock) recall(rules energy.Clock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rules, c.known = rules, true
}

// skew returns how far the wall clock is ahead of the chain's, and whether any notice tells. A notice comes
// late, never early: the latest time that one of them amounts to now is the best.
func (c *clock) skew() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.heard) == 0 {
		return 0, false
	}
	now := time.Since(c.begin)
	best := c.heard[0].said.Add(now - c.heard[0].at)
	for _, n := range c.heard[1:] {
		if t := n.said.Add(now - n.at); t.After(best) {
			best = t
		}
	}
	return c.wall().Round(0).Sub(best), true
}

// believed reports whether the wall clock is near the chain's; one that nothing speaks against is.
func (c *clock) believed() (ok bool, skew time.Duration, checked bool) {
	skew, checked = c.skew()
	return !checked || skew <= maxSkew && skew >= -maxSkew, skew, checked
}

// now returns energy time in milliseconds; 0 while no rules are known.
func (c *clock) now() uint64 {
	wall := c.wall().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known || wall < 0 {
		return 0
	}
	return c.rules.AtMilli(uint64(wall))
}

// ago returns what energy time was at a time that the machine's own clock told.
func (c *clock) ago(t time.Time) uint64 {
	wall := c.wall().Add(-time.Since(t)).UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known || wall < 0 {
		return 0
	}
	return c.rules.AtMilli(uint64(wall))
}

// rate returns how many seconds of energy time pass in one.
func (c *clock) rate() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return uint64(max(c.rules.Rate, 1))
}

// pace is how long a poll takes in real time.
func (c *clock) pace(poll time.Duration) time.Duration {
	return min(max(poll/time.Duration(c.rate()), fastest), slowest)
}
