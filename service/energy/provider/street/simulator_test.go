package street_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider"
	"github.com/cairn-network/cairn/service/energy/provider/street"
)

var quiet = slog.New(slog.DiscardHandler)

// TestSimulator: the street is found where it was after a restart, and a home's provider takes what the street
// offers.
func TestSimulator(t *testing.T) {
	dir := t.TempDir()
	rules := new(street.Simulator).Rules(uint64(time.Now().Unix()), 8000)
	if err := energy.New().CheckRules(rules); err != nil {
		t.Fatal(err)
	}
	first, stop, err := new(street.Simulator).Start(dir, 3, rules, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range first {
		if _, err := provider.Device().New(d.Settings); err != nil || d.Cell != energy.LocalCell || d.Name == "" {
			t.Errorf("%s in %v: %v: %s", d.Name, d.Cell, err, d.Settings)
		}
	}
	stop()
	second, stop, err := new(street.Simulator).Start(dir, 4, rules, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if len(second) != 4 {
		t.Fatalf("%d homes", len(second))
	}
	for i, d := range first {
		if string(d.Settings) != string(second[i].Settings) {
			t.Errorf("home %d is offered as %s, was %s", i+1, second[i].Settings, d.Settings)
		}
	}
	if _, _, err := (&street.Simulator{Data: t.TempDir()}).Start(dir, 4, rules, quiet); err == nil || !strings.Contains(err.Error(), "another home") {
		t.Errorf("the street has another year now: %v", err)
	}
	if _, _, err := new(street.Simulator).Start(t.TempDir(), 1, []byte{1}, quiet); err == nil {
		t.Error("it follows rules that cannot be read")
	}
}

// TestSimulatorData: a street that replays a recording stands where that was made, and begins at ten in the
// morning there.
func TestSimulatorData(t *testing.T) {
	data := t.TempDir()
	csv := "non_shiftable_load,solar_generation\n" + strings.Repeat("0.5,300\n", 24)
	place, _ := json.Marshal(map[string]any{"cell": "872986002ffffff", "altitude": 4, "first": 1_470_034_800, "kwp": []int{4}})
	for name, text := range map[string]string{"home_1.csv": csv, "place.json": string(place)} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sim := &street.Simulator{Data: data}
	raw := sim.Rules(1_800_000_000, 8000)
	here, err := energy.DecodeRules(raw)
	if err != nil {
		t.Fatal(err)
	}
	there, err := energy.DecodeRules(new(street.Simulator).Rules(1_800_000_000, 8000))
	if err != nil || here.Clock.Energy <= there.Clock.Energy {
		t.Errorf("morning comes at %d in the west, at %d in the east: %v", here.Clock.Energy, there.Clock.Energy, err)
	}
	devices, stop, err := sim.Start(t.TempDir(), 2, raw, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, d := range devices {
		if _, err := provider.Device().New(d.Settings); err != nil || d.Cell.String() != "872986002ffffff" {
			t.Errorf("%s in %v: %v", d.Name, d.Cell, err)
		}
	}
}
