package agent

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// MaxAsking bounds by default of how many devices asks are remembered, and MaxAsksEach how many of them are one
// device's: no further class of it is heard then.
const (
	MaxAsking   = 50_000
	MaxAsksEach = tally.MaxAsks
)

// Asks remembers what devices offer: of each the newest ask that it keeps on the bus. Of more devices than
// there is room for it remembers some, drawn by a secret of its own: nobody can choose a device's key so that
// it is among them, and a device that is stays so, whoever comes. All methods are safe for concurrent use.
type Asks struct {
	most int
	salt [32]byte

	mu     sync.RWMutex
	known  map[types.Key][]*receipt.SignedAsk // of each device at most MaxAsksEach, none twice for a class
	ranked ranks                              // the same devices
}

// ranks is a heap of devices, the one that goes first at its top.
type ranks []ranked

type ranked struct {
	rank   types.Hash
	device types.Key
}

func (r ranks) Len() int           { return len(r) }
func (r ranks) Less(i, j int) bool { return bytes.Compare(r[i].rank[:], r[j].rank[:]) > 0 }
func (r ranks) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *ranks) Push(x any)        { *r = append(*r, x.(ranked)) }
func (r *ranks) Pop() any {
	last := len(*r) - 1
	x := (*r)[last]
	*r = (*r)[:last]
	return x
}

// NewAsks returns a memory for those of at most so many devices.
func NewAsks(most int) *Asks {
	a := &Asks{most: most, known: map[types.Key][]*receipt.SignedAsk{}}
	rand.Read(a.salt[:])
	return a
}

// FindAsks returns the asks of a chain that the bus keeps below a pattern, in any order: of at most so many
// devices, and of what is on the first pages that the bus shows. Of a device that has moved the newer ask counts.
func FindAsks(ctx context.Context, b bus.Bus, chain, pattern string, devices, pages int) ([]*receipt.SignedAsk, error) {
	found := NewAsks(devices)
	for after, more := "", true; more && pages > 0; pages-- {
		var page []bus.Message
		var err error
		if page, more, err = b.Kept(ctx, pattern, after); err != nil {
			return nil, fmt.Errorf("agent: look for %s: %w", pattern, err)
		}
		for _, m := range page {
			after = m.Subject
			found.Hear(chain, m)
		}
	}
	return found.all(), nil
}

func (a *Asks) all() []*receipt.SignedAsk {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Concat(slices.Collect(maps.Values(a.known))...)
}

// Hear takes in an ask of a chain, from its device alone: whoever could hand in another's could make up devices, or
// bring back what one asked before. It reports whether the message was one, as far as it looked: one of a device that
// there is no room for is not read.
func (a *Asks) Hear(chain string, m bus.Message) bool {
	if device, err := bus.ParseWord(bus.Owner(m.Subject)); err == nil && !a.hasRoom(device) {
		return true
	}
	ask, err := receipt.DecodeAsk(m.Data, chain)
	if err != nil || m.Subject != bus.AskOf(&ask.Ask) || !ask.Verify() {
		return false
	}
	a.put(ask)
	return true
}

func (a *Asks) rank(device types.Key) types.Hash { return types.Sum(a.salt[:], device[:]) }

// hasRoom reports whether a device's asks are, or would be, remembered.
func (a *Asks) hasRoom(device types.Key) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.known[device] != nil || len(a.known) < a.most {
		return true
	}
	mine := a.rank(device)
	return len(a.ranked) > 0 && bytes.Compare(mine[:], a.ranked[0].rank[:]) < 0
}

func (a *Asks) put(ask *receipt.SignedAsk) {
	device := ask.Ask.Device
	a.mu.Lock()
	defer a.mu.Unlock()
	list, isKnown := a.known[device]
	at := find(list, ask.Ask.Category, ask.Ask.Class)
	switch {
	case at < 0 && len(list) >= MaxAsksEach:
		return
	case at < 0:
		list = append(list, ask)
	case bus.AskOf(&list[at].Ask) != bus.AskOf(&ask.Ask) && ask.Ask.Until < list[at].Ask.Until:
		return // the device has moved, and the bus still keeps what it asked elsewhere
	default:
		list[at] = ask
	}
	a.known[device] = list
	if isKnown {
		return
	}
	heap.Push(&a.ranked, ranked{a.rank(device), device})
	if len(a.known) > a.most {
		delete(a.known, heap.Pop(&a.ranked).(ranked).device)
	}
}

func find(list []*receipt.SignedAsk, c types.Category, class types.Class) int {
	return slices.IndexFunc(list, func(s *receipt.SignedAsk) bool { return s.Ask.Category == c && s.Ask.Class == class })
}

// Expire forgets what lapsed so long before epoch e that nobody asks why it is passed over.
func (a *Asks) Expire(e types.Epoch) {
	const shown = 24
	a.mu.Lock()
	defer a.mu.Unlock()
	for device, list := range a.known {
		list = slices.DeleteFunc(list, func(s *receipt.SignedAsk) bool { return s.Ask.Until+shown < e })
		if a.known[device] = list; len(list) == 0 {
			delete(a.known, device)
		}
	}
	a.ranked = slices.DeleteFunc(a.ranked, func(r ranked) bool { return a.known[r.device] == nil })
	heap.Init(&a.ranked)
}

// Len is how many there are.
func (a *Asks) Len() (n int) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, list := range a.known {
		n += len(list)
	}
	return n
}

// Get returns a device's ask of a class; nil for none.
func (a *Asks) Get(device types.Key, c types.Category, class types.Class) *receipt.SignedAsk {
	a.mu.RLock()
	defer a.mu.RUnlock()
	list := a.known[device]
	if at := find(list, c, class); at >= 0 {
		return list[at]
	}
	return nil
}

// Has reports whether asks of a device are remembered.
func (a *Asks) Has(device types.Key) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.known[device] != nil
}

// Class returns all asks of a class, in any order; lapsed ones too.
func (a *Asks) Class(c types.Category, class types.Class) (all []*receipt.SignedAsk) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, list := range a.known {
		if at := find(list, c, class); at >= 0 {
			all = append(all, list[at])
		}
	}
	return all
}

// ByDevice returns the asks of a category by device, each device's in the order of classes.
func (a *Asks) ByDevice(c types.Category) map[types.Key][]*receipt.SignedAsk {
	a.mu.RLock()
	defer a.mu.RUnlock()
	out := map[types.Key][]*receipt.SignedAsk{}
	for device, all := range a.known {
		list := slices.DeleteFunc(slices.Clone(all), func(s *receipt.SignedAsk) bool { return s.Ask.Category != c })
		if len(list) == 0 {
			continue
		}
		slices.SortFunc(list, func(a, b *receipt.SignedAsk) int { return int(a.Ask.Class) - int(b.Ask.Class) })
		out[device] = list
	}
	return out
}

// Devices returns at most so many of those that offer something.
func (a *Asks) Devices(most int) (keys []types.Key) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for key := range a.known {
		if len(keys) == most {
			break
		}
		keys = append(keys, key)
	}
	return keys
}
