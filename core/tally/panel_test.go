package tally

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// listed is a state whose registry lists devices and attesters.
func listed(t *testing.T, changes ...Change) *State {
	t.Helper()
	rules, err := NewRules(1, plain)
	if err != nil {
		t.Fatal(err)
	}
	frame := &Frame{Chain: "cairn-test-1", Epoch: 1, Blocks: []BlockHash{{}}, MinOpening: 1}
	batch := NewBatch("cairn-test-1", nil)
	next, _, _, err := Apply(rules, NewState("cairn-test-1", 0), frame, batch, changes, nil)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// plain is a category without rules.
var plain = Verifier{
	Spec:   &Spec{Category: 5, Name: "plain", Kinds: []Kind{{Kind: 1, Name: "note"}}, Quota: Quota{Count: 1, Bytes: 1024}, MaxState: 1},
	Verify: func(*Input) *Output { return &Output{} },
}

func attesterOf(n byte, owner byte, power uint64) Change {
	return Change{Attester: &Attester{Key: types.Key{n}, Owner: types.Account{owner}, Power: power}}
}

func deviceOf(n byte, owner byte, bond types.Ustone, categories ...types.Category) Change {
	return Change{Device: &Device{Key: types.Key{n}, Owner: types.Account{owner}, Categories: categories, Cell: 1, Bond: bond}}
}

// TestRegistryLists: the registry lists attesters with power, and the devices of a category, in the order of keys.
func TestRegistryLists(t *testing.T) {
	s := listed(t, attesterOf(9, 1, 5), attesterOf(3, 2, 7), attesterOf(4, 2, 0), deviceOf(8, 1, 10, 5, 6), deviceOf(2, 1, 10, 5), deviceOf(1, 1, 10, 6))
	var keys []byte
	for a := range s.Attesters() {
		keys = append(keys, a.Key[0])
	}
	for d := range s.Devices(5) {
		keys = append(keys, d.Key[0])
		if !slices.Contains(d.Categories, 5) {
			t.Errorf("device %d serves %v", d.Key[0], d.Categories)
		}
	}
	if want := []byte{3, 9, 2, 8}; !slices.Equal(keys, want) {
		t.Errorf("listed %v, want %v", keys, want)
	}
	for d := range s.Devices(6) {
		if d.Key[0] != 1 {
			t.Errorf("the first of category 6 is %d", d.Key[0])
		}
		break
	}
}

// TestPanel: a draw is short of nobody who may be drawn, names nobody twice, no two of one owner, none of the
// device's owner, nobody who is barred, and is the same for whoever makes it.
func TestPanel(t *testing.T) {
	var changes []Change
	for n := byte(1); n <= 12; n++ {
		changes = append(changes, attesterOf(n, n/2, 100))
	}
	changes = append(changes, deviceOf(200, 3, 50, 5), deviceOf(201, 77, 50, 5))
	s := listed(t, changes...)
	spec := &Spec{Category: 5, Name: "plain", Drawn: Verifiers, Draws: []Draw{{Purpose: "probe/1", Seats: 4}, {Purpose: "probe/2", Seats: 4}, {Purpose: "few", Seats: 3}}}
	for i := range 200 {
		spec.Draws = append(spec.Draws, Draw{Purpose: string(rune('a' + i)), Seats: 12, Bar: func(r Registry, d *Device, k types.Key) bool {
			if r != Registry(s) || d.Key != (types.Key{200}) {
				t.Errorf("barred from %v", d)
			}
			return k == types.Key{1}
		}})
	}
	p, err := NewPanel(spec, s, types.Hash{1})
	if err != nil {
		t.Fatal(err)
	}
	again, _ := NewPanel(spec, s, types.Hash{1})
	other, _ := NewPanel(spec, s, types.Hash{2})
	device := s.Device(types.Key{200})
	drawn := p.Draw(device, "probe/1")
	if len(drawn) != 4 || !slices.Equal(drawn, again.Draw(device, "probe/1")) {
		t.Fatalf("drawn %v", drawn)
	}
	if p.Draw(device, "probe/3") != nil {
		t.Error("there is a draw that the category does not have")
	}
	assigned := p.Assigned("few")
	for _, d := range []*Device{device, s.Device(types.Key{201})} {
		of := p.Draw(d, "few")
		for n := byte(1); n <= 12; n++ {
			k := types.Key{n}
			told := slices.ContainsFunc(assigned[k], func(o *Device) bool { return o.Key == d.Key })
			if told != slices.Contains(of, k) {
				t.Errorf("witness %d is assigned %v, and drawn for %v are %v", n, assigned[k], d.Key, of)
			}
		}
	}
	differs := 0
	for _, d := range [][]types.Key{p.Draw(device, "probe/2"), p.Draw(s.Device(types.Key{201}), "probe/1"), other.Draw(device, "probe/1")} {
		if !slices.Equal(d, drawn) {
			differs++
		}
	}
	if differs != 3 {
		t.Errorf("%d of 3 other draws differ", differs)
	}
	for i := range 200 {
		owners := map[types.Account]bool{device.Owner: true}
		purpose := string(rune('a' + i))
		for _, k := range p.Draw(device, purpose) {
			a := s.Attester(k)
			if owners[a.Owner] || k == (types.Key{1}) {
				t.Fatalf("%q: %v of %v is drawn", purpose, k, a.Owner)
			}
			owners[a.Owner] = true
		}
		if len(owners) != 7-1 { // owners 0 to 6; the only key of owner 0 is barred, owner 3 is the device's
			t.Fatalf("%q: %d owners", purpose, len(owners)-1)
		}
	}
}

// TestPanelWeighs: a candidate is drawn in proportion to its weight, a peer's being what is left of its bond;
// one without is not drawn.
func TestPanelWeighs(t *testing.T) {
	half := deviceOf(3, 3, 200, 5)
	half.Device.Slashed = 100
	gone := deviceOf(4, 4, 200, 5)
	gone.Device.Slashed = 300
	s := listed(t, deviceOf(1, 1, 100, 5), deviceOf(2, 2, 300, 5), half, gone, deviceOf(5, 5, 0, 5), deviceOf(6, 6, 500, 6), deviceOf(9, 9, 1, 5))
	const tries = 5000
	spec := &Spec{Category: 5, Name: "plain", Drawn: Peers}
	for i := range tries {
		spec.Draws = append(spec.Draws, Draw{Purpose: string(rune(i)), Seats: 1})
	}
	p, err := NewPanel(spec, s, types.Hash{7})
	if err != nil {
		t.Fatal(err)
	}
	count := map[byte]int{}
	for i := range tries {
		for _, k := range p.Draw(s.Device(types.Key{9}), string(rune(i))) {
			count[k[0]]++
		}
	}
	for n, share := range map[byte]int{1: 20, 2: 60, 3: 20} {
		if got := 100 * count[n] / tries; got < share-3 || got > share+3 {
			t.Errorf("%d is drawn in %d %% of draws, want %d", n, got, share)
		}
	}
	if len(count) != 3 {
		t.Errorf("drawn: %v", count)
	}
	if p, err := NewPanel(&Spec{Category: 5}, s, types.Hash{}); p != nil || err != nil || p.Draw(s.Device(types.Key{9}), "x") != nil {
		t.Error("a category without witnesses draws some")
	}
	var nobody *Panel
	if nobody.Draw(s.Device(types.Key{9}), "x") != nil {
		t.Error("no panel draws somebody")
	}
}

// TestDrawsChecked: what a category draws is bounded, and each draw has a name of its own.
func TestDrawsChecked(t *testing.T) {
	for what, s := range map[string]*Spec{
		"candidates and no draw":   {Drawn: Peers},
		"a draw of nobody":         {Draws: []Draw{{Purpose: "a", Seats: 1}}},
		"no seat":                  {Drawn: Peers, Draws: []Draw{{Purpose: "a"}}},
		"too many seats":           {Drawn: Peers, Draws: []Draw{{Purpose: "a", Seats: MaxSeats + 1}}},
		"no name":                  {Drawn: Peers, Draws: []Draw{{Seats: 1}}},
		"one name twice":           {Drawn: Peers, Draws: []Draw{{Purpose: "a", Seats: 1}, {Purpose: "a", Seats: 2}}},
		"more draws than are told": {Drawn: Peers, Draws: make([]Draw, MaxDraws+1)},
	} {
		if s.checkDraws() == nil {
			t.Errorf("%s is taken", what)
		}
	}
	if err := (&Spec{Drawn: Verifiers, Draws: []Draw{{Purpose: "a", Seats: 1}, {Purpose: "b", Seats: MaxSeats}}}).checkDraws(); err != nil {
		t.Error(err)
	}
}
