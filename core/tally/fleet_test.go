package tally

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/types"
)

// TestFleetView: the registry view shows a fleet from the epoch on whose changes set it, until others replace it or
// take it back; also beside devices that have none, and after a device left.
func TestFleetView(t *testing.T) {
	w := newWorld(t)
	hub, bare := w.device(1), w.device(2)
	first, second := fleet.Fleet{Root: types.Hash{1}, Count: 3}, fleet.Fleet{Root: types.Hash{2}, Count: fleet.MaxCount}
	line := *w.changes[0].Device
	for i, f := range []fleet.Fleet{first, second, {}, first} {
		line.Fleet = f
		w.changes = append(w.changes, Change{Device: &line})
		w.tally()
		if got := w.state.Device(hub.id).Fleet; got != f {
			t.Fatalf("epoch %d: fleet %+v, want %+v", i+1, got, f)
		}
		for d := range w.state.Devices(thing) {
			if want := map[types.Key]fleet.Fleet{hub.id: f}[d.Key]; d.Fleet != want {
				t.Fatalf("epoch %d: device %v is listed with fleet %+v, want %+v", i+1, d.Key, d.Fleet, want)
			}
		}
		if got := w.state.Device(bare.id).Fleet; !got.None() {
			t.Fatalf("epoch %d: device without a fleet has %+v", i+1, got)
		}
		hub.say(thing, kindNote, i) // the line is written again, with what it has of evidence
		w.tally()
		if got := w.state.Device(hub.id).Fleet; got != f {
			t.Fatalf("after an item the fleet is %+v, want %+v", got, f)
		}
	}
	var pages [][]byte
	for p := range w.state.Pages() {
		pages = append(pages, p.Raw)
	}
	again, err := DecodeState(w.state.Hash(), pages)
	if err != nil || again.Device(hub.id).Fleet != first {
		t.Fatalf("a state from its pages: %v", err)
	}
	for _, bad := range []fleet.Fleet{{Root: types.Hash{1}}, {Root: types.Hash{1}, Count: fleet.MaxCount + 1}} {
		line.Fleet = bad
		if err := new(Line).register(&line); err == nil {
			t.Errorf("fleet %+v is taken", bad)
		}
	}
}

// TestFleetGolden holds the bytes of a registry with a fleet. Those of one without are in golden.json, and were
// there before fleets.
func TestFleetGolden(t *testing.T) {
	w := newWorld(t)
	hub := w.device(1)
	w.device(2)
	w.changes[0].Device.Fleet = fleet.Fleet{Root: types.Sum([]byte("things")), Count: 100_000}
	hub.say(thing, kindNote, 1)
	changes := EncodeChanges(w.changes)
	w.tally()
	var b strings.Builder
	line := func(name string, raw []byte) { b.WriteString(name + " " + hex.EncodeToString(raw) + "\n") }
	line("changes", changes)
	for p := range w.state.Pages() {
		line("page", p.Raw)
	}
	line("header", w.header.Encode())
	line("rest", w.state.Line(hub.id).Rest())
	line("leaf", types.Encode(w.state.Line(hub.id).Leaf(hub.id)))
	if *update {
		if err := os.WriteFile("testdata/fleet.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/fleet.txt")
	if err != nil || string(want) != b.String() {
		t.Fatalf("%v\nhave\n%swant\n%s", err, b.String(), want)
	}
}
