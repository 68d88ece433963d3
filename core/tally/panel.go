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

// Bounds of what a category may draw.
const (
	MaxDraws = 16
	MaxSeats = 64
)

// Draw is one draw of witnesses that a category makes for each of its devices in every epoch.
type Draw struct {
	Purpose string // a word of the category's own, no two the same: probe/2
	Seats   int    // how many witnesses, at most MaxSeats
	// Bar reports whether a candidate is kept out; nil keeps nobody out. It is asked about candidates of
	// another owner than the device's alone, and it must depend on nothing but what it is given.
	Bar func(r Registry, d *Device, candidate types.Key) bool
}

// checkDraws says what is wrong with a category's draws.
func (s *Spec) checkDraws() error {
	if (s.Drawn == NoWitnesses) != (len(s.Draws) == 0) || len(s.Draws) > MaxDraws {
		return fmt.Errorf("%d draws of candidates %d", len(s.Draws), s.Drawn)
	}
	for i, d := range s.Draws {
		if d.Seats < 1 || d.Seats > MaxSeats || d.Purpose == "" || slices.ContainsFunc(s.Draws[:i], func(o Draw) bool { return o.Purpose == d.Purpose }) {
			return fmt.Errorf("draw %q of %d seats", d.Purpose, d.Seats)
		}
	}
	return nil
}

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
	draws    []Draw
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
	p := &Panel{from: s.Drawn, category: s.Category, draws: s.Draws, seed: seed, registry: r}
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

// Draw returns the witnesses of a device for a purpose (Spec.Draws), in the order in which they were drawn:
// never the device itself, never two of one owner, none of the device's owner, and nobody whom the draw bars.
// There are fewer than it has seats where too few candidates are eligible, and none for a purpose that the
// category does not have.
func (p *Panel) Draw(d *Device, purpose string) []types.Key {
	if p == nil || len(p.keys) == 0 {
		return nil
	}
	at := slices.IndexFunc(p.draws, func(d Draw) bool { return d.Purpose == purpose })
	if at < 0 {
		return nil
	}
	draw := &p.draws[at]
	stream := beacon.NewStream(p.seed, fmt.Sprintf("witness/%d/%s/%s", p.category, purpose, d.Key[:]))
	total := p.upto[len(p.upto)-1]
	owners := []types.Account{d.Owner}
	var drawn []types.Key
	for tries := panelTries * (draw.Seats + 1); tries > 0 && len(drawn) < min(draw.Seats, len(p.keys)); tries-- {
		at := stream.Below(total)
		key := p.keys[sort.Search(len(p.upto), func(i int) bool { return p.upto[i] > at })]
		owner, ok := p.owner(key)
		if !ok || key == d.Key || slices.Contains(owners, owner) || draw.Bar != nil && draw.Bar(p.registry, d, key) {
			continue
		}
		drawn, owners = append(drawn, key), append(owners, owner)
	}
	return drawn
}

// Assigned returns the devices that each witness was drawn for, for a purpose, in the order of their keys. It
// takes time and memory linear in the number of devices and seats.
func (p *Panel) Assigned(purpose string) map[types.Key][]*Device {
	out := map[types.Key][]*Device{}
	if p == nil {
		return out
	}
	for d := range p.registry.Devices(p.category) {
		for _, witness := range p.Draw(d, purpose) {
			out[witness] = append(out[witness], d)
		}
	}
	return out
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
