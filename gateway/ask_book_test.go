package gateway

import (
	"context"
	"encoding/binary"
	"maps"
	"runtime"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// roll is a registry that counts what is asked of it.
type roll struct {
	ledger.Reader
	devices map[types.Key]ledger.Device
	asked   int // questions
	shown   int // devices in answers
}

func (r *roll) DevicesByKey(_ context.Context, keys []types.Key) (list []ledger.Device, err error) {
	r.asked++
	for _, k := range keys {
		if d, ok := r.devices[k]; ok {
			list = append(list, d)
		}
	}
	r.shown += len(list)
	return list, nil
}

func (r *roll) DevicesOf(_ context.Context, owner types.Account, from []byte) (list []ledger.Device, next []byte, err error) {
	r.asked++
	keys := slices.SortedFunc(maps.Keys(r.devices), func(a, b types.Key) int { return slices.Compare(a[:], b[:]) })
	for _, k := range keys {
		if r.devices[k].Owner != owner || slices.Compare(k[:], from) < 0 {
			continue
		}
		if len(list) == 1000 {
			return list, k[:], nil
		}
		list = append(list, r.devices[k])
		r.shown++
	}
	return list, nil, nil
}

// stranger is a device's key.
func stranger(n int) types.PrivateKey {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[1:], uint64(n)+1)
	return types.NewPrivateKey(seed)
}

// counter is the market of the fixture's one category, with devices of ours.
func counter(f *fixture) (*categoryMarket, *roll) {
	r := &roll{devices: map[types.Key]ledger.Device{}}
	f.market.registry = newRegistryCache(r)
	f.market.mu.Lock()
	f.market.notice.Epoch = 5
	f.market.mu.Unlock()
	return &categoryMarket{market: f.market, name: "iot", category: types.IoT}, r
}

// TestNear: offers near cells are found on the bus by their zone, and judged by where the registry has their
// devices; of one device, wherever it is. What was found a moment ago is not asked for again.
func TestNear(t *testing.T) {
	f := newFixture(t)
	v, reg := counter(f)
	f.market.asks[types.IoT].anywhere = agent.NewAsks(0) // as if there were too many to know these
	f.logOn(t)
	here := types.CellAt(types.Vector{types.One, 0, 0}, 7)
	far := types.CellAt(types.Vector{0, 0, types.One}, 7)
	places := []types.Cell{here, here, here, far, far, 0}
	for i, at := range places {
		k := stranger(i)
		claims := at
		if i == 4 {
			claims = here // it says that it is here
		}
		reg.devices[k.Public()] = ledger.Device{Device: tally.Device{Key: k.Public(), Owner: types.Account{byte(i)}, Categories: []types.Category{types.IoT}, Cell: at}}
		b, err := f.bus.Dial(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		ask := receipt.Ask{Chain: chain, Device: k.Public(), Category: types.IoT, Class: 1, Cell: claims, Price: uint64(10 - i), Until: 9}
		if err := b.PublishLast(t.Context(), bus.AskOf(&ask), ask.Sign(k).Encode()); err != nil {
			t.Fatal(err)
		}
	}
	find := func(w role.Want) (keys []types.Key) {
		t.Helper()
		offers, _, err := v.Offers(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range offers {
			keys = append(keys, o.Ask.Ask.Device)
		}
		return keys
	}
	want := []types.Key{stranger(2).Public(), stranger(1).Public(), stranger(0).Public()} // the cheapest first
	if got := find(role.Want{Class: 1, Near: []types.Cell{here}}); !slices.Equal(got, want) {
		t.Errorf("near: %v, want %v", got, want)
	}
	if got := find(role.Want{Class: 1, Near: []types.Cell{here.Parent(3), here.Parent(5)}}); !slices.Equal(got, want) {
		t.Errorf("in the zone: %v, want %v", got, want)
	}
	if reg.asked != 1 || reg.shown != 4 {
		t.Errorf("the registry was asked %d times and showed %d devices", reg.asked, reg.shown)
	}
	for i := range places {
		if got := find(role.Want{Class: 1, Device: stranger(i).Public()}); len(got) != 1 || got[0] != stranger(i).Public() {
			t.Errorf("device %d: %v", i, got)
		}
	}
	if got := find(role.Want{Class: 2, Near: []types.Cell{here}}); len(got) != 0 {
		t.Errorf("another class: %v", got)
	}
	f.bus.SetDown(true)
	if got := find(role.Want{Class: 1, Near: []types.Cell{here}}); len(got) != 3 {
		t.Errorf("a moment later, with the bus away: %v", got)
	}
	f.bus.SetDown(false)
	for what, near := range map[string][]types.Cell{"too many cells": make([]types.Cell, role.MaxNear+1), "a cell as large as a continent": {here.Parent(1)}} {
		if _, _, err := v.Offers(t.Context(), role.Want{Class: 1, Near: near}); types.ReasonOf(err) != BadRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestCrowd: of a category that very many devices offer, a gateway remembers some, and of the registry what it
// needs of those. The others cost it nothing, though they are registered and offer the same.
func TestCrowd(t *testing.T) {
	f := newFixture(t)
	v, reg := counter(f)
	const room, all = 300, 3000
	known := agent.NewAsks(room)
	f.market.asks[types.IoT].anywhere = known
	for i := range all {
		k := stranger(i)
		reg.devices[k.Public()] = ledger.Device{Device: tally.Device{Key: k.Public(), Owner: types.Account{7}, Categories: []types.Category{types.IoT}}}
		a := receipt.Ask{Chain: chain, Device: k.Public(), Category: types.IoT, Class: 1, Until: 9}
		hears(f.market, k.Public(), a, k)
	}
	if err := f.market.freshen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reg.shown != room || reg.asked != (room+ledger.MaxKeys-1)/ledger.MaxKeys {
		t.Errorf("the registry was asked %d times and showed %d devices, of which %d are remembered", reg.asked, reg.shown, room)
	}
	offers, _, err := v.Offers(t.Context(), role.Want{Class: 1})
	if err != nil || len(offers) != room || reg.shown != room {
		t.Errorf("%d offers, and the registry showed %d devices: %v", len(offers), reg.shown, err)
	}
	some, err := v.Devices(t.Context(), types.Account{})
	if err != nil || len(some) != room {
		t.Errorf("%d devices that offer something: %v", len(some), err)
	}
	own, err := v.Devices(t.Context(), types.Account{7})
	if err != nil || len(own) != all {
		t.Errorf("%d devices of their owner: %v", len(own), err)
	}
	before := reg.asked
	if again, err := v.Devices(t.Context(), types.Account{7}); err != nil || len(again) != all || reg.asked != before {
		t.Errorf("%d devices of their owner, for %d questions more: %v", len(again), reg.asked-before, err)
	}
	f.market.registry.mu.Lock()
	f.market.registry.owners = maxRegistered // others' devices fill it
	f.market.registry.mu.Unlock()
	if _, err := v.Devices(t.Context(), types.Account{8}); err != nil {
		t.Fatal(err)
	}
	if n := len(f.market.registry.known) + f.market.registry.owners; n != 0 {
		t.Errorf("%d lines are remembered beside as many as there is room for", n)
	}
}

// BenchmarkCrowd measures a gateway's memory by how many devices are registered and offer the category that it
// sells. Up to maxAnywhere it grows with them; from there on it is flat.
func BenchmarkCrowd(b *testing.B) {
	for b.Loop() {
		var used [2]uint64
		for i, n := range []int{1000, 100_000} {
			used[i] = crowd(b, n)
		}
		b.ReportMetric(float64(used[0])/(1<<20), "MiB-1000")
		b.ReportMetric(float64(used[1])/(1<<20), "MiB-100000")
	}
}

// crowd returns the memory that the offers of n devices, and their lines of the registry, take at a gateway.
func crowd(b *testing.B, n int) uint64 {
	reader := &endless{}
	m := newMarket(Config{}, reader, nil)
	m.asks[types.IoT] = newAskBook()
	m.notice.Epoch = 5
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	hear := m.hear(m.asks[types.IoT], 1)
	for i := range n {
		k := stranger(i)
		a := receipt.Ask{Chain: chain, Device: k.Public(), Category: types.IoT, Class: 1, Until: 9}
		hear(bus.Message{Subject: bus.AskOf(&a), Data: a.Sign(k).Encode()})
	}
	if err := m.freshen(b.Context()); err != nil {
		b.Fatal(err)
	}
	after := heap()
	runtime.KeepAlive(m)
	return after - min(after, before)
}

// endless is a registry that has every device.
type endless struct{ ledger.Reader }

func (*endless) Chain() string { return chain }

func (*endless) DevicesByKey(_ context.Context, keys []types.Key) (list []ledger.Device, err error) {
	for _, k := range keys {
		list = append(list, ledger.Device{Device: tally.Device{Key: k, Owner: types.Account{1}, Categories: []types.Category{types.IoT}}})
	}
	return list, nil
}

// TestOffersOfRegion: a gateway remembers no asks of other regions, which would take up the room of its own,
// and passes over a device that says that it is in the gateway's region, as the registry has it elsewhere.
func TestOffersOfRegion(t *testing.T) {
	f := newFixture(t)
	f.logOn(t)
	v, reg := counter(f)
	places := [2]types.Cell{0x891e15b7003ffff, 0x8a1fb46622dffff}
	if r := [2]types.Region{types.RegionOf(places[0], 2), types.RegionOf(places[1], 2)}; r != [2]types.Region{0, 1} {
		t.Fatalf("regions %v", r)
	}
	hear := f.market.hear(f.market.asks[types.IoT], 2)
	for i, c := range []struct {
		says types.Cell
		is   types.Region
	}{{places[0], 0}, {places[1], 1}, {places[0], 1}, {places[1], 0}} {
		k := stranger(i)
		reg.devices[k.Public()] = ledger.Device{Device: tally.Device{Key: k.Public(), Categories: []types.Category{types.IoT}}, Region: c.is}
		ask := receipt.Ask{Chain: chain, Device: k.Public(), Category: types.IoT, Class: 1, Cell: c.says, Price: 1, Until: 9}
		hear(bus.Message{Subject: bus.AskOf(&ask), Data: ask.Sign(k).Encode()})
	}
	if n := f.market.asks[types.IoT].anywhere.Len(); n != 2 {
		t.Errorf("asks of %d devices are remembered, want those of 2", n)
	}
	offers, passed, err := v.Offers(t.Context(), role.Want{Class: 1})
	if err != nil || len(offers) != 1 || offers[0].Ask.Ask.Device != stranger(0).Public() {
		t.Errorf("offers %+v, %v", offers, err)
	}
	if len(passed) != 1 || passed[0] != (role.Passed{Device: stranger(2).Public(), Reason: types.WrongRegion}) {
		t.Errorf("passed over: %+v", passed)
	}
}
