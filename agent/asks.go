package agent

import (
	"slices"
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// MaxAsks bounds how many asks are remembered by default; beyond it the ones that lapse first are forgotten. MaxAsksEach is how many of them
// are one device's: no further class of it is heard then, so that no device pushes the others out.
const (
	MaxAsks     = 200_000
	MaxAsksEach = tally.MaxAsks
)

// Offered names an ask: a device has one for each class of a category.
type Offered struct {
	Device   types.Key
	Category types.Category
	Class    types.Class
}

// Asks remembers what devices offer: of each the newest ask that it keeps on the bus. All methods are safe for concurrent use.
type Asks struct {
	most int

	mu    sync.RWMutex
	known map[Offered]*receipt.SignedAsk
	each  map[types.Key]int // of each device
}

// NewAsks returns a memory for at most so many.
func NewAsks(most int) *Asks {
	return &Asks{most: most, known: map[Offered]*receipt.SignedAsk{}, each: map[types.Key]int{}}
}

// Hear takes in an ask of a chain, from its device alone: whoever could hand in another's could make up devices, or bring back what one
// asked before. It reports whether the message was one.
func (a *Asks) Hear(chain string, m bus.Message) bool {
	ask, err := receipt.DecodeAsk(m.Data, chain)
	if err != nil || m.Subject != bus.AskSubject(ask.Ask.Device, ask.Ask.Category, ask.Ask.Class) || !ask.Verify() {
		return false
	}
	a.put(ask)
	return true
}

func (a *Asks) put(ask *receipt.SignedAsk) {
	at := Offered{ask.Ask.Device, ask.Ask.Category, ask.Ask.Class}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[at] == nil {
		if a.each[at.Device] >= MaxAsksEach {
			return
		}
		a.each[at.Device]++
	}
	a.known[at] = ask
	if len(a.known) <= a.most {
		return
	}
	var first Offered
	var until types.Epoch
	for at, old := range a.known {
		if until == 0 || old.Ask.Until < until {
			first, until = at, old.Ask.Until
		}
	}
	a.forget(first)
}

func (a *Asks) forget(at Offered) {
	delete(a.known, at)
	if a.each[at.Device]--; a.each[at.Device] <= 0 {
		delete(a.each, at.Device)
	}
}

// Expire forgets what lapsed so long before epoch e that nobody asks why it is passed over.
func (a *Asks) Expire(e types.Epoch) {
	const shown = 24
	a.mu.Lock()
	defer a.mu.Unlock()
	for at, ask := range a.known {
		if ask.Ask.Until+shown < e {
			a.forget(at)
		}
	}
}

// Len is how many there are.
func (a *Asks) Len() int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return len(a.known)
}

// Class returns all asks of a class, in any order; lapsed ones too.
func (a *Asks) Class(c types.Category, class types.Class) []*receipt.SignedAsk {
	return a.where(func(at Offered) bool { return at.Category == c && at.Class == class })
}

func (a *Asks) where(fits func(Offered) bool) (list []*receipt.SignedAsk) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for at, ask := range a.known {
		if fits(at) {
			list = append(list, ask)
		}
	}
	return list
}

// ByDevice returns the asks of a category by device, each device's in the order of classes.
func (a *Asks) ByDevice(c types.Category) map[types.Key][]*receipt.SignedAsk {
	out := map[types.Key][]*receipt.SignedAsk{}
	for _, ask := range a.where(func(at Offered) bool { return at.Category == c }) {
		out[ask.Ask.Device] = append(out[ask.Ask.Device], ask)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b *receipt.SignedAsk) int { return int(a.Ask.Class) - int(b.Ask.Class) })
	}
	return out
}

// Devices returns at most so many of those that offer something.
func (a *Asks) Devices(most int) (keys []types.Key) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for key := range a.each {
		if len(keys) == most {
			break
		}
		keys = append(keys, key)
	}
	return keys
}
