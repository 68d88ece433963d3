package agent

import (
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// hears hands on an ask as the bus would: under the subject of whoever publishes it.
func hears(a *Asks, by types.Key, ask receipt.Ask, device types.PrivateKey) {
	a.Hear(chain, bus.Message{Subject: bus.AskOf(&receipt.Ask{Device: by, Category: ask.Category, Class: ask.Class, Cell: ask.Cell}), Data: ask.Sign(device).Encode()})
}

// TestAskFlood: whoever can publish under its own name neither makes up devices that offer something, nor
// brings back what a device offered before, nor has so many offers that those of others have to go.
func TestAskFlood(t *testing.T) {
	m := NewAsks(100)
	flooder, honest := bustest.Key(3), bustest.Key(4)
	ask := func(k types.PrivateKey, class types.Class, price uint64, until types.Epoch) receipt.Ask {
		return receipt.Ask{Chain: chain, Device: k.Public(), Category: types.Storage, Class: class, Price: price, Until: until}
	}
	cheap := ask(honest, 1, 1, 9)
	hears(m, honest.Public(), cheap, honest)
	hears(m, honest.Public(), ask(honest, 1, 50, 9), honest)
	hears(m, flooder.Public(), cheap, honest)
	kept := func() *receipt.SignedAsk { return m.Get(honest.Public(), types.Storage, 1) }
	if got := kept(); got == nil || got.Ask.Price != 50 {
		t.Fatalf("somebody else brought back an old ask: %+v", got)
	}
	for i := range byte(200) {
		made := types.NewPrivateKey([32]byte{7, i})
		hears(m, flooder.Public(), ask(made, 1, 1, 1<<60), made)
	}
	if kept() == nil || m.Len() != 1 {
		t.Fatalf("%d asks after those of made-up devices; the honest one is there: %v", m.Len(), kept() != nil)
	}
	for class := range types.Class(200) {
		hears(m, flooder.Public(), ask(flooder, class+1, 1, 1<<60), flooder)
	}
	if kept() == nil {
		t.Fatalf("one device's %d asks push another's out", m.Len()-1)
	}
}

// TestSome: of more devices than there is room for, as many as there is room for are remembered, all classes of
// each; those that were at first and still are stay so; and two memories choose differently.
func TestSome(t *testing.T) {
	const most = 20
	a, b := NewAsks(most), NewAsks(most)
	keys := map[types.Key]bool{}
	offer := func(seed byte, a *Asks) {
		k := types.NewPrivateKey([32]byte{9, seed})
		for class := range types.Class(2) {
			hears(a, k.Public(), receipt.Ask{Chain: chain, Device: k.Public(), Category: types.Storage, Class: class + 1, Until: 9}, k)
		}
		keys[k.Public()] = true
	}
	have := func(a *Asks) map[types.Key][]*receipt.SignedAsk { return a.ByDevice(types.Storage) }
	for seed := range byte(100) {
		offer(seed, a)
	}
	first := have(a)
	for seed := range byte(100) {
		offer(99-seed, b)
		offer(seed, a)
	}
	again := have(a)
	if len(first) != most || len(again) != most || a.Len() != 2*most || len(a.ranked) != most {
		t.Fatalf("%d devices, then %d, with %d asks and %d ranks", len(first), len(again), a.Len(), len(a.ranked))
	}
	same := 0
	for k := range again {
		if first[k] == nil {
			t.Errorf("%v is remembered only the second time", k)
		}
		if have(b)[k] != nil {
			same++
		}
	}
	if same == most {
		t.Error("two memories chose the same devices")
	}
	a.Expire(9 + 25)
	if a.Len() != 0 || len(a.ranked) != 0 {
		t.Errorf("%d asks and %d ranks are left of what has lapsed", a.Len(), len(a.ranked))
	}
	offer(200, a)
	if a.Len() != 2 {
		t.Error("there is no room after all lapsed")
	}
}

// TestMoved: a device that moves is known by what it asks where it is now, in whatever order the bus shows what
// it keeps of it.
func TestMoved(t *testing.T) {
	k := bustest.Key(5)
	here, there := types.CellAt(types.Vector{types.One, 0, 0}, 7), types.CellAt(types.Vector{0, types.One, 0}, 7)
	old := receipt.Ask{Chain: chain, Device: k.Public(), Category: types.Storage, Class: 1, Cell: here, Until: 9}
	moved := receipt.Ask{Chain: chain, Device: k.Public(), Category: types.Storage, Class: 1, Cell: there, Until: 10}
	for _, order := range [][]receipt.Ask{{old, moved}, {moved, old}} {
		a := NewAsks(10)
		for _, ask := range order {
			hears(a, k.Public(), ask, k)
		}
		if got := a.Get(k.Public(), types.Storage, 1); got == nil || got.Ask.Cell != there {
			t.Errorf("%+v", got)
		}
	}
	a := NewAsks(10)
	hears(a, k.Public(), moved, k)
	moved.Until, moved.Price = 4, 7 // it asks anew at the same place, for a shorter time
	hears(a, k.Public(), moved, k)
	if got := a.Get(k.Public(), types.Storage, 1); got.Ask.Price != 7 {
		t.Errorf("%+v", got)
	}
}
