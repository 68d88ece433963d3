package verifier

import (
	"cmp"
	"slices"

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

// unable notes why nothing can be said of an epoch's header.
func (v *Verifier) unable(e types.Epoch, why error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.abstains[e] = why.Error()
	for old := range v.abstains {
		if old+maxAbstains <= e {
			delete(v.abstains, old)
		}
	}
}

// able notes that an epoch's header could be checked.
func (v *Verifier) able(e types.Epoch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.abstains, e)
}

// stillAbstains forgets abstentions that do not matter any more: of epochs before the newest final header, and of those that have no header
// and take none.
func (v *Verifier) stillAbstains(p *path, head ledger.Block) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for e := range v.abstains {
		open := e+1 >= head.Epoch && !slices.ContainsFunc(p.all, func(h *ledger.Header) bool { return h.Epoch == e })
		stands := slices.ContainsFunc(p.headers, func(h *ledger.Header) bool { return h.Epoch == e && v.states[h.Hash] == nil })
		if !open && (!stands || p.final != nil && e < p.final.Epoch) {
			delete(v.abstains, e)
		}
	}
}

// Abstained returns the epochs whose headers this verifier cannot check at present, oldest first, and why: for pages and doctors.
func (v *Verifier) Abstained() []Abstention {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]Abstention, 0, len(v.abstains))
	for e, why := range v.abstains {
		out = append(out, Abstention{e, why})
	}
	slices.SortFunc(out, func(a, b Abstention) int { return cmp.Compare(a.Epoch, b.Epoch) })
	return out
}
