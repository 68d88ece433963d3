package home

import (
	"sync"
	"time"
)

// Wrong passwords are bounded, by device and by user: who guesses is told that it is refused without a look, for a
// while.
const (
	guessDevice      = 100 // wrong ones of a device at once
	guessDeviceAgain = time.Second
	guessUser        = 10 // of a user at once, by whatever device
	guessUserAgain   = 30 * time.Second
	guessKept        = 1 << 16 // devices and users that are remembered; beyond these whoever is new may not be wrong
)

// guesses counts wrong passwords. The zero value is ready.
type guesses struct {
	mu   sync.Mutex
	free map[string]time.Time // when all of its places are free again
	wide time.Time            // when it was looked last for entries that say nothing any more
}

// may reports whether somebody has a place left.
func (g *guesses) may(who string, most int, again time.Duration, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, known := g.free[who]
	if !known && len(g.free) >= guessKept {
		g.clean(now)
		return len(g.free) < guessKept
	}
	return at.Sub(now) <= time.Duration(most-1)*again
}

// wrong takes a place.
func (g *guesses) wrong(who string, again time.Duration, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free == nil {
		g.free = map[string]time.Time{}
	}
	at := g.free[who]
	if at.Before(now) {
		at = now
	}
	g.free[who] = at.Add(again)
}

func (g *guesses) clean(now time.Time) {
	if now.Sub(g.wide).Abs() < time.Second {
		return
	}
	g.wide = now
	for who, at := range g.free {
		if at.Before(now) {
			delete(g.free, who)
		}
	}
}
