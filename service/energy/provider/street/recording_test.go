package street

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
)

// record writes a folder with two homes of two days each: W for each kW of panels and kWh, by hour.
func record(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for home := 1; home <= 2; home++ {
		var b strings.Builder
		b.WriteString("hour,non_shiftable_load,solar_generation\n")
		for hour := range 48 {
			solar := 0
			if h := hour % 24; h >= 8 && h <= 16 {
				solar = 100 * (8 - max(h-12, 12-h))
			}
			fmt.Fprintf(&b, "%d,%d.5,%d\n", hour%24+1, home, solar)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("home_%d.csv", home)), []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	place := fmt.Sprintf(`{"cell": %q, "altitude": 4, "first": %d, "kwp": [2, 3]}`, rhine.String(), june)
	if err := os.WriteFile(filepath.Join(dir, "place.json"), []byte(place), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestRecording: a recording is replayed hour by hour in watt-hours, joule by joule conserved, and again when
// it is over.
func TestRecording(t *testing.T) {
	r, err := ReadRecording(record(t))
	if err != nil {
		t.Fatal(err)
	}
	s, now := open(t, func(c *Config) { c.Recording, c.Homes = r, r.Profiles(3) })
	last := s.sums()
	for hour := range 96 {
		now.Add(3600_000)
		for i, f := range s.sums() {
			kw, load := []uint64{2, 3, 2}[i], []uint64{1500, 2500, 1500}[i]
			solar := uint64(0)
			if h := hour % 24; h >= 8 && h <= 16 {
				solar = uint64(100 * (8 - max(h-12, 12-h)))
			}
			// A minute's power is whole watts, below what it is by less than one.
			if got := (f.pv - last[i].pv) / 3600; got > kw*solar || got+1 < kw*solar {
				t.Errorf("home %d, hour %d: made %d Wh, want %d", i+1, hour, got, kw*solar)
			}
			if got := (f.load - last[i].load) / 3600; got != load {
				t.Errorf("home %d, hour %d: used %d Wh, want %d", i+1, hour, got, load)
			}
			if !f.balanced() {
				t.Errorf("home %d: %+v", i+1, f)
			}
			last[i] = f
		}
	}
}

func TestRecordingRefused(t *testing.T) {
	for what, bad := range map[string]string{
		"empty": "", "no columns": "a,b\n1,2\n", "no rows": "non_shiftable_load,solar_generation\n", "short row": "non_shiftable_load,solar_generation\n1\n",
		"no number": "non_shiftable_load,solar_generation\n1,x\n", "negative": "non_shiftable_load,solar_generation\n-1,2\n",
		"not a number": "non_shiftable_load,solar_generation\nNaN,2\n", "endless": "non_shiftable_load,solar_generation\n1,Inf\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "home_1.csv"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRecording(dir); err == nil {
			t.Errorf("%s: read", what)
		}
	}
	if _, err := ReadRecording(t.TempDir()); err == nil {
		t.Error("read an empty folder")
	}
}

// TestRecordedHomes replays recorded homes, where a folder of them is named, and holds them to the bound:
// little of an honest year is above it.
func TestRecordedHomes(t *testing.T) {
	dir := os.Getenv("CAIRN_ENERGY_DATA")
	if dir == "" {
		t.Skip("CAIRN_ENERGY_DATA names no folder of recorded homes")
	}
	r, err := ReadRecording(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, now := open(t, func(c *Config) { c.Recording, c.Homes, c.Cell, c.Begin = r, r.Profiles(8), r.Cell, r.First })
	place, last := energy.PlaceOf(r.Cell, r.Altitude), s.sums()
	made, above := uint64(0), uint64(0)
	for range 60 * 96 {
		now.Add(lot.Interval * 1000)
		bright := place.Most(uint64(s.shown())/lot.Interval - 1)
		for i, f := range s.sums() {
			h, wh := s.homes[i], (f.pv-last[i].pv)/3600
			made += wh
			above += wh - min(wh, energy.Limit(uint64(h.PDC), uint64(h.PAC), bright, types.Bp(10_000)))
			last[i] = f
		}
	}
	if made == 0 || above*100 > made {
		t.Errorf("%d of %d Wh above the bound", above, made)
	}
	t.Logf("%d of %d Wh above the bound", above, made)
}
