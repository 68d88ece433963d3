package energy

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

// TestMedian: the median of the neighbours is that of a plain list of the others' values, wherever one's own lie.
func TestMedian(t *testing.T) {
	limits := DefaultThresholds()
	rapid.Check(t, func(r *rapid.T) {
		p := newPeers(&limits, nil)
		owners := []types.Account{{1}, {2}, {3}, {4}, {5}}
		var all []standing
		for i := range rapid.IntRange(0, 20).Draw(r, "devices") {
			s := standing{key: types.Key{byte(i)}, owner: rapid.SampledFrom(owners).Draw(r, "owner"), k: rapid.Uint64Range(5, 7).Draw(r, "k"), value: rapid.Uint64Max(9).Draw(r, "value")}
			all = append(all, s)
			p.add(home, byYield, 3, s)
		}
		me, k := owners[0], rapid.Uint64Range(5, 7).Draw(r, "at")
		var others []uint64
		seen := map[types.Account]bool{}
		for _, s := range all {
			if s.owner != me && s.k >= k {
				others = append(others, s.value)
				seen[s.owner] = true
			}
		}
		slices.Sort(others)
		got, ok := p.median(home, byYield, 3, k, me)
		if want := len(others) >= limits.MinPeers && len(seen) >= limits.MinOwners; ok != want {
			r.Fatalf("%d neighbours of %d owners: %v", len(others), len(seen), ok)
		} else if ok && got != others[(len(others)-1)/2] {
			r.Fatalf("the median is %d, want that of %v", got, others)
		}
	})
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
	for i := range byte(6) {
		p.add(far, byYield, 1, standing{key: types.Key{i}, owner: types.Account{i}, k: 1, value: 100})
	}
	if m, ok := p.median(home, byYield, 1, 1, types.Account{99}); !ok || m != 100 {
		t.Errorf("%d, %v", m, ok)
	}
	p.rankings = map[rank]*ranking{}
	for i := range byte(5) {
		p.add(home, byYield, 1, standing{key: types.Key{10 + i}, owner: types.Account{10 + i}, k: 1, value: 50})
	}
	if m, ok := p.median(home, byYield, 1, 1, types.Account{99}); !ok || m != 50 {
		t.Errorf("%d, %v", m, ok)
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
