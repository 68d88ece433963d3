package tally

import (
	"fmt"
	"math/bits"
	"slices"
	"sort"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/types"
)

// Candidates says among whom a category draws its witnesses.
type Candidates uint8

// Who may be drawn.
const (
	NoWitnesses Candidates = iota
	Verifiers              // attesters, each by its power
	Peers                  // devices that are registered for the category, each by its bond
)

// Draws of one panel try so often for each witness that is wanted, and no more: where few are eligible it is
// the shorter.
const panelTries = 32

// Panel draws the witnesses of a category in one epoch. It is made once an epoch, in time linear in the number
// of candidates; a draw then takes time that depends on how many witnesses are wanted alone. Witnesses and
// Verify make the same panel of the same registry view, so that who reports without having been drawn is found
// out. It never changes and may be used by many goroutines.
type Panel struct {
	from     Candidates
	category types.Category
	seed     types.Hash
	registry Registry
	keys     []types.Key // ascending
	upto     []uint64    // the sum of weights up to and with each
}

// NewPanel makes the panel of an epoch from its registry view and its seed; nil for a category without witnesses.
func NewPanel(s *Spec, r Registry, seed types.Hash) (*Panel, error) {
	if s.Drawn == NoWitnesses {
		return nil, nil
	}
	p := &Panel{from: s.Drawn, category: s.Category, seed: seed, registry: r}
	var sum, carry uint64
	add := func(key types.Key, weight uint64) bool {
		if weight == 0 {
			return true
		}
		if sum, carry = bits.Add64(sum, weight, 0); carry == 0 {
			p.keys, p.upto = append(p.keys, key), append(p.upto, sum)
		}
		return carry == 0
	}
	switch s.Drawn {
	case Verifiers:
		for a := range r.Attesters() {
			if !add(a.Key, a.Power) {
				break
			}
		}
	case Peers:
		for d := range r.Devices(s.Category) {
			if !add(d.Key, uint64(d.Bond-min(d.Bond, d.Slashed))) {
				break
			}
		}
	default:
		return nil, fmt.Errorf("tally: panel of %s: candidates %d", s.Name, s.Drawn)
	}
	if carry != 0 {
		return nil, fmt.Errorf("tally: panel of %s: the sum of weights leaves 64 bits", s.Name)
	}
	return p, nil
}

// Draw returns the witnesses of a device for a purpose of the category's own ("probe/2"), at most n, in the
// order in which they were drawn: never the device itself, never two of one owner, none of the device's owner,
// and nobody whom bar keeps out (nil bars nobody; it must follow from what Verify can recompute). There are
// fewer than n where too few candidates are eligible.
func (p *Panel) Draw(d *Device, purpose string, n int, bar func(types.Key) bool) []types.Key {
	if p == nil || len(p.keys) == 0 || n <= 0 {
		return nil
	}
	stream := beacon.NewStream(p.seed, fmt.Sprintf("witness/%d/%s/%s", p.category, purpose, d.Key[:]))
	total := p.upto[len(p.upto)-1]
	owners := []types.Account{d.Owner}
	var drawn []types.Key
	for tries := panelTries * (n + 1); tries > 0 && len(drawn) < min(n, len(p.keys)); tries-- {
		at := stream.Below(total)
		key := p.keys[sort.Search(len(p.upto), func(i int) bool { return p.upto[i] > at })]
		owner, ok := p.owner(key)
		if !ok || key == d.Key || slices.Contains(owners, owner) || bar != nil && bar(key) {
			continue
		}
		drawn, owners = append(drawn, key), append(owners, owner)
	}
	return drawn
}

func (p *Panel) owner(key types.Key) (types.Account, bool) {
	if p.from == Verifiers {
		if a := p.registry.Attester(key); a != nil {
			return a.Owner, true
		}
	} else if d := p.registry.Device(key); d != nil {
		return d.Owner, true
	}
	return types.Account{}, false
}
