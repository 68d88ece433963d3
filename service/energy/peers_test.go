package energy

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

// TestMedian: the median of the neighbours is that of a plain list of the others' values, wherever one's own
// lie, and as of whatever interval: in between and beyond those at which values end, and asked in any order.
func TestMedian(t *testing.T) {
	limits := DefaultThresholds()
	rapid.Check(t, func(r *rapid.T) {
		p := newPeers(&limits, nil)
		last := rapid.SampledFrom([]uint64{1, 3, 200}).Draw(r, "last")
		owners := rapid.SampledFrom([]uint32{2, 5, 200}).Draw(r, "owners")
		seed := rapid.Uint64().Draw(r, "seed")
		dice := rand.New(rand.NewPCG(seed, 1))
		var all []standing
		for range rapid.SampledFrom([]int{0, 4, 20, 64, 65, 400}).Draw(r, "devices") {
			s := standing{owner: dice.Uint32N(owners), k: 10 + 2*dice.Uint64N(last), value: dice.Uint64N(1 + dice.Uint64N(300))}
			all = append(all, s)
			p.add(home, byYield, 3, s)
		}
		for range 50 {
			me, k := dice.Uint32N(owners+1), 9+dice.Uint64N(2*last+2)
			want, enough := plainMedian(all, k, me, &limits)
			if got, ok := p.median(home, byYield, 3, k, me); ok != enough || got != want {
				r.Fatalf("as of %d without those of %d the median of %v is %d, %v; want %d, %v", k, me, all, got, ok, want, enough)
			}
		}
		want, enough := plainMedian(all, 0, owners, &limits)
		lines := p.remember(3)
		if enough != (len(lines) == len(neighbourhoods)) {
			r.Fatalf("enough: %v, %d lines", enough, len(lines))
		}
		for _, l := range lines {
			if c, err := decodeCell(l.State); err != nil || uint64(c.days[0].Yield) != want || int(c.days[0].Devices) != len(all) {
				r.Fatalf("remembered of %d devices: %+v, %v; want %d", len(all), c, err, want)
			}
		}
	})
}

// plainMedian is the lower median of what reaches k and is not of an owner, by sorting it.
func plainMedian(all []standing, k uint64, without uint32, t *Thresholds) (uint64, bool) {
	var others []uint64
	seen := map[uint32]bool{}
	for _, s := range all {
		if s.owner != without && s.k >= k {
			others = append(others, s.value)
			seen[s.owner] = true
		}
	}
	if len(others) < t.MinPeers || len(seen) < t.MinOwners {
		return 0, false
	}
	slices.Sort(others)
	return others[(len(others)-1)/2], true
}

// TestNeighbourhood: the smallest neighbourhood that has enough is asked.
func TestNeighbourhood(t *testing.T) {
	limits := DefaultThresholds()
	p := newPeers(&limits, nil)
	far := home // the same zone, another cell of resolution 5
	for digit := uint64(0); far.Parent(5) == home.Parent(5) || !far.Valid(); digit++ {
		far = home&^(7<<30) | types.Cell(digit)<<30
	}
	if far.Parent(3) != home.Parent(3) {
		t.Fatalf("%v and %v", far.Parent(3), home.Parent(3))
	}
	for i := range uint32(6) {
		p.add(far, byYield, 1, standing{owner: i, k: 1, value: 100})
	}
	if m, ok := p.median(home, byYield, 1, 1, 99); !ok || m != 100 {
		t.Errorf("%d, %v", m, ok)
	}
	p.rankings = map[pool]*ranking{}
	for i := range uint32(5) {
		p.add(home, byYield, 1, standing{owner: 10 + i, k: 1, value: 50})
	}
	if m, ok := p.median(home, byYield, 1, 1, 99); !ok || m != 50 {
		t.Errorf("%d, %v", m, ok)
	}
}

// TestCoarseCell: devices that say no more than their zone are neighbours within it, and not of those of other
// zones who say as little.
func TestCoarseCell(t *testing.T) {
	limits := DefaultThresholds()
	p := newPeers(&limits, nil)
	for i := range uint32(5) {
		p.add(home.Parent(3), byYield, 1, standing{owner: i, k: 1, value: 100})
		p.add(elsewhere.Parent(3), byYield, 1, standing{owner: 10 + i, k: 1, value: 900})
		p.add(elsewhere.Parent(3), byYield, 1, standing{owner: 10 + i, k: 1, value: 900})
	}
	for _, cell := range []types.Cell{home.Parent(3), home} {
		if m, ok := p.median(cell, byYield, 1, 1, 99); !ok || m != 100 {
			t.Errorf("at %v: %d, %v", cell, m, ok)
		}
	}
	for _, c := range p.remember(1) {
		if !c.Cell.Valid() {
			t.Errorf("a line of %v", c.Cell)
		}
	}
}

// TestRemembered: a device that hands three cloudy days in late is held to what its neighbours had made on each.
func TestRemembered(t *testing.T) {
	for _, off := range []rule{0, rulePeers} {
		v := newVillage(t, off, solar("cheat"))
		v.settle()
		before := v.cheat.state()
		v.cloud = 25
		first := v.done()
		for range 3 * 24 {
			for _, d := range v.honest {
				d.hour(func(k uint64) flows { return v.sun(d, k) })
			}
			v.step()
		}
		var records []Record
		for k := first; k < v.done(); k++ {
			records = append(records, v.cheat.read(k, v.cheat.sunny(k, 0))) // no clouds over this roof
		}
		v.cheat.hand(records...)
		v.days(2, func(k uint64) flows { return v.sun(v.cheat, k) })
		s := v.cheat.state()
		if cut := s.Sums.PeerCap - before.Sums.PeerCap; (cut > 0) != (off == 0) || (s.FrozeFor > 0) != (off == 0) {
			t.Errorf("rules off %b: %d Wh were cut, frozen for %d days: %+v", off, cut, s.FrozeFor, s.Sums)
		}
	}
}

// TestMeterOfOld: who adds a battery keeps its right to the meters that it had.
func TestMeterOfOld(t *testing.T) {
	w := newWorld(t)
	a := w.device("a", solar("x"))
	w.step()
	b := w.device("b", solar("x"))
	w.step()
	a.site = battery("x")
	a.submit(KindSite, a.site.Encode())
	w.step()
	if a.state().Taken || !b.state().Taken {
		t.Errorf("a %v, b %v", a.state().Taken, b.state().Taken)
	}
}

// TestBirth: where all begin together, all know their neighbours when they are commissioned, and not a season later.
func TestBirth(t *testing.T) {
	v := newVillage(t, 0, solar("cheat"))
	v.days(6, func(k uint64) flows { return v.sun(v.cheat, k) })
	for _, d := range v.devices {
		if s := d.state(); s.Commissioned != 4 || s.Base == 0 {
			t.Errorf("%s: %d days of commissioning, base %d", d.name, s.Commissioned, s.Base)
		}
	}
}
