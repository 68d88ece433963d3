package verifier

import (
	"maps"
	"slices"
	"sync"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Abstention is an epoch whose header this verifier can neither sign nor vote on, for a reason of its own.
type Abstention struct {
	Epoch types.Epoch `json:"epoch"`
	Why   string      `json:"why"`
}

// maxAbstains bounds how many are remembered: the newest.
const maxAbstains = pathStep

// abstentions are the epochs of which nothing can be said.
type abstentions struct {
	mu  sync.Mutex
	why map[types.Epoch]string
}

// note notes why nothing can be said of an epoch's header.
func (a *abstentions) note(e types.Epoch, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.why[e] = why.Error()
	maps.DeleteFunc(a.why, func(old types.Epoch, _ string) bool { return old+maxAbstains <= e })
}

// clear notes that an epoch's header could be checked.
func (a *abstentions) clear(e types.Epoch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.why, e)
}

// of returns why nothing can be said of an epoch's header, "" if it can.
func (a *abstentions) of(e types.Epoch) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.why[e]
}

// expire forgets what does not matter any more: epochs before the newest final header, and those that have no
// header and take none.
func (a *abstentions) expire(p *path, head ledger.Block, known func(types.Hash) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.why, func(e types.Epoch, _ string) bool {
		open := e+1 >= head.Epoch && !slices.ContainsFunc(p.all, func(h *ledger.Header) bool { return h.Epoch == e })
		stands := slices.ContainsFunc(p.headers, func(h *ledger.Header) bool { return h.Epoch == e && !known(h.Hash) })
		return !open && (!stands || p.final != nil && e < p.final.Epoch)
	})
}

// list returns them, oldest first.
func (a *abstentions) list() []Abstention {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Abstention, 0, len(a.why))
	for _, e := range slices.Sorted(maps.Keys(a.why)) {
		out = append(out, Abstention{e, a.why[e]})
	}
	return out
}
