package servicetest

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
)

const thingChain = "cairn-test-1"

// thingKey is the key of thing n.
func thingKey(n int) types.PrivateKey {
	return types.NewPrivateKey(types.Hash{30: byte(n >> 8), 31: byte(n), 0: 1})
}

// roster returns a fleet of things.
func roster(t tester, things ...int) *fleet.Roster {
	var list []fleet.Thing
	for _, n := range things {
		list = append(list, fleet.Thing{Key: thingKey(n).Public()})
	}
	r, err := fleet.NewRoster(list)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return r
}

type tester interface {
	Fatalf(format string, args ...any)
}

// shows returns what a device says of the thing n at place i of a fleet, which agreed to be behind it.
func shows(r *fleet.Roster, i, n int, device types.Key, ticks uint64) *MeterShown {
	m := r.Member(i)
	m.Agree(thingKey(n), thingChain, device, 100)
	return &MeterShown{Member: *m, Ticks: ticks}
}

// TestThingRules: what a thing counted is its device's work if it is of its fleet and agreed to be, and each other
// thing is refused by name.
func TestThingRules(t *testing.T) {
	hub, thief := meterKey(1), meterKey(2)
	r := roster(t, 0, 1, 2, 3, 4)
	in := &service.Input{
		Chain: thingChain, Epoch: 5, Seed: types.Hash{9}, Params: Meter().Spec.Defaults(),
		Device: &tally.Device{Key: hub.Public(), Cell: 3, Fleet: r.Fleet()},
		State:  MeterLine{Register: 1000, Quality: 5000}.Encode(),
	}
	add := func(m *MeterShown) {
		in.Evidence = append(in.Evidence, say(in, hub, MeterThing, uint64(len(in.Evidence)), m.Encode()))
	}
	good := func(i int, ticks uint64) *MeterShown { return shows(r, i, i, hub.Public(), ticks) }
	add(good(1, 700))
	path := good(2, 1)
	path.Member.Siblings[0][0] ^= 1
	add(path)
	place := good(2, 1)
	place.Member.Index = 3
	add(place)
	add(shows(r, 2, 2, thief.Public(), 1)) // agreed to be behind another device
	over := good(2, 1)
	over.Member.Agree(thingKey(2), thingChain, hub.Public(), 4)
	add(over)
	add(good(4, MeterMost))
	add(good(1, 50)) // the same thing again
	in.Evidence = append(in.Evidence, say(in, hub, MeterThing, 90, []byte{0xff}))
	in.Evidence = append(in.Evidence, say(in, hub, MeterReading, 91, (&MeterRegister{Device: hub.Public(), Register: 1100}).Encode()))
	add(good(3, MeterMost-100-750)) // all that the device's own ticks leave
	out := Meter().Verify(in)
	var got []types.Reason
	for _, v := range out.Evidence {
		got = append(got, v.Reason)
	}
	want := []types.Reason{"", types.NotInFleet, types.NotInFleet, types.NoConsent, types.ConsentEnded, MeterFast, "", types.BadEncoding, "", ""}
	if !slices.Equal(got, want) {
		t.Errorf("have %q, want %q", got, want)
	}
	things := summaryThings(out.Summary)
	if len(things) != 2 || things[0] != (thingTicks{thingKey(1).Public(), 750}) || things[1].Ticks != MeterMost-850 {
		t.Errorf("things: %+v", things)
	}
	if len(out.Ordered) != 1 || out.Ordered[0].Units != types.U64(100) {
		t.Errorf("the device's own: %+v", out.Ordered)
	}
	in.Device.Fleet = fleet.Fleet{}
	for i, v := range Meter().Verify(in).Evidence[:2] {
		if v.Reason != types.NoFleet {
			t.Errorf("without a fleet, item %d: %q", i, v.Reason)
		}
	}
}

// hubs tallies one epoch of devices, each in a cell of its own and with one bond, and returns the sum of their
// weights. What each shows is made for it by show, what its register moves by is own.
func hubs(t *testing.T, n int, own uint64, things *fleet.Roster, show func(device int, key types.Key) []*MeterShown) uint64 {
	t.Helper()
	rules, err := tally.NewRules(1, Meter())
	if err != nil {
		t.Fatal(err)
	}
	params := Meter().Spec.Defaults()
	params.Threshold = 0
	frame := &tally.Frame{Chain: thingChain, Epoch: 1, VRF: make([]byte, 80), Seed: types.Hash{1}, Params: []tally.Params{params},
		Blocks: []tally.BlockHash{{Height: 10, Hash: types.Hash{7}}}}
	var changes []tally.Change
	var items []tally.Item
	for i := range n {
		key := meterKey(byte(1 + i))
		d := &tally.Device{Key: key.Public(), Owner: types.Account{byte(i)}, Categories: []types.Category{MeterCategory},
			Cell: 0x8a1fb46622dffff, Bond: params.Bond, Fleet: things.Fleet()}
		changes = append(changes, tally.Change{Device: d})
		say := func(kind evidence.Kind, body []byte) {
			e := evidence.Sign(key, evidence.Payload{Chain: thingChain, Category: MeterCategory, Kind: kind, Epoch: 1, Seq: uint64(len(items) + 1),
				Anchor: evidence.Anchor{Height: 10, Hash: [16]byte{7}}, Body: body})
			items = append(items, tally.Item{Type: tally.Evidence, Raw: e.Raw})
		}
		say(MeterReading, (&MeterRegister{Device: d.Key, Register: own}).Encode())
		for _, m := range show(i, d.Key) {
			say(MeterThing, m.Encode())
		}
	}
	batch := tally.NewBatch(thingChain, items)
	_, header, _, err := tally.Apply(rules, tally.NewState(thingChain, 0), frame, batch, changes, tally.CheckSignatures(batch, thingChain))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range header.Totals.Categories {
		if sum, ok := c.Weight.Uint64(); ok {
			return sum
		}
		t.Fatalf("weight %v", c.Weight)
	}
	return 0
}

// TestThingsPayNoMore is rule 3 of "What must hold" where devices have fleets: neither work that is split over many
// things, nor one thing behind many devices, nor any number of things, pays more than a device without any could
// earn.
func TestThingsPayNoMore(t *testing.T) {
	all := roster(t, 0, 1, 2, 3, 4, 5, 6, 7)
	const ticks = 1000
	none := func(int, types.Key) []*MeterShown { return nil }
	alone := hubs(t, 1, ticks, all, none)
	full := hubs(t, 1, MeterMost, all, none)
	if alone == 0 || full != alone*MeterMost/ticks {
		t.Fatalf("one device weighs %d, and %d at most", alone, full)
	}
	one := func(of func(device int) []int, each uint64) func(int, types.Key) []*MeterShown {
		return func(device int, key types.Key) (list []*MeterShown) {
			for _, n := range of(device) {
				list = append(list, shows(all, n, n, key, each))
			}
			return list
		}
	}
	same := func(int) []int { return []int{3} }
	eight := func(int) []int { return []int{0, 1, 2, 3, 4, 5, 6, 7} }
	its := func(device int) []int { return []int{device} }
	for name, c := range map[string]struct {
		got, most uint64
	}{
		"one thing":                      {hubs(t, 1, 0, all, one(same, ticks)), alone},
		"split over eight things":        {hubs(t, 1, 0, all, one(eight, ticks/8)), alone},
		"split over eight devices":       {hubs(t, 8, 0, all, one(its, ticks/8)), alone},
		"one thing behind eight":         {hubs(t, 8, 0, all, one(same, ticks)), alone},
		"eight things behind eight":      {hubs(t, 8, 0, all, one(eight, ticks/8)), alone},
		"eight things, all they can":     {hubs(t, 1, 0, all, one(eight, MeterMost)), full},
		"beside a register that is full": {hubs(t, 1, MeterMost, all, one(eight, MeterMost)), full},
		"eight devices, all they can":    {hubs(t, 8, MeterMost, all, one(eight, MeterMost)), 8 * full},
	} {
		if c.got > c.most || c.got == 0 {
			t.Errorf("%s: weighs %d, at most %d", name, c.got, c.most)
		}
	}
}
