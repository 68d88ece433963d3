package study

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write writes a made-up street as a recorder would whose clock is c, by whole hours from the first midnight of its
// wall that comes.
func write(t *testing.T, r *Recording, c *clock, kwp float64) string {
	t.Helper()
	dir := t.TempDir()
	// The wall's rows, until one begins after the recording.
	begin := time.Unix(int64(r.First)*900, 0).UTC().Truncate(24 * time.Hour).Add(72 * time.Hour)
	for h := range r.Homes {
		var b strings.Builder
		fmt.Fprintln(&b, "month,hour,day_type,non_shiftable_load,solar_generation")
		for i := 0; ; i++ {
			w := begin.Add(time.Duration(i) * time.Hour)
			at := int(c.unix(w)/900) - int(r.First)
			if at+4 > len(r.Homes[h].PV) {
				break
			}
			sum := uint32(0)
			for _, wh := range r.Homes[h].PV[at:][:4] {
				sum += wh
			}
			// Rows name the month of what the wall shows at their end, or a moment before midnight.
			solar := float64(sum) / float64(r.Homes[h].PDC) * 1000
			fmt.Fprintf(&b, "%d,%d,%d,0.3,%.3f\n", int(w.Month()), w.Hour()+1, (int(w.Weekday())+6)%7+1, solar)
		}
		file := filepath.Join(dir, fmt.Sprintf("home_%d.csv", h+1))
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestTellClock: of streets under five skies, whose roofs look anywhere, and with any of three clocks, the sun tells
// the right one or none; none only where days are always as long, or nothing tells half an hour from nothing.
func TestTellClock(t *testing.T) {
	told, unsure := 0, 0
	for n, climate := range Climates {
		r, err := Make(Made{Cause: "orientation", Climate: climate.Name, Seed: 7, Days: 330, Homes: 4})
		if err != nil {
			t.Fatal(err)
		}
		own := int64(math.Round(climate.Longitude/15)) * 3600
		summer := []func(time.Time) bool{summerUS, summerEU, summerEU, summerEU, summerAU}[n]
		for _, c := range []clock{
			{offset: own - 3600}, {offset: own, starts: true, summer: summer}, {offset: own + 1800},
		} {
			cfg := Config{Dir: write(t, r, &c, 1), KWp: []float64{1}}
			cfg.Latitude, cfg.Longitude, cfg.Altitude = climate.Latitude, climate.Longitude, climate.Altitude
			got, err := Read(cfg)
			if err != nil {
				if !errors.Is(err, ErrClock) {
					t.Fatal(err)
				}
				unsure++
				t.Logf("%s, %+d s, starts %v, summer %v: %v", climate.Name, c.offset, c.starts, c.summer != nil, err)
				continue
			}
			told++
			begin := time.Unix(int64(r.First)*900, 0).UTC().Truncate(24 * time.Hour).Add(72 * time.Hour)
			if int64(got.First)*900 != c.unix(begin) {
				t.Errorf("%s, %+d s, starts %v, summer %v: taken for %s, %+d s off",
					climate.Name, c.offset, c.starts, c.summer != nil, got.Clock, int64(got.First)*900-c.unix(begin))
			}
		}
	}
	t.Logf("%d told, %d unsure", told, unsure)
	if told < 13 {
		t.Errorf("%d of 15 clocks are told", told)
	}
}

// TestNamedClock: a clock that is named is taken as it is named, with hours as they are named; what is none is
// refused.
func TestNamedClock(t *testing.T) {
	dir := record(t, 6, 100)
	for _, test := range []struct{ clock, hours string }{
		{"America/Los_Angeles", "start"}, {"America/Los_Angeles", ""},
		{"auto", ""}, {"auto", "start"}, {"UTC-7", "start"},
	} {
		cfg := DefaultConfig(dir)
		cfg.Clock, cfg.Hours = test.clock, test.hours
		r, err := Read(cfg)
		if err != nil || r.First*900 != 1472713200 {
			t.Errorf("%+v: %+v, %v", test, r, err)
		}
	}
	for _, test := range []struct{ clock, hours string }{
		{"Mars/Olympus", ""}, {"UTC8", ""}, {"UTC-8:07", ""}, {"UTC+99", ""}, {"auto", "middle"}, {"Local", ""},
	} {
		cfg := DefaultConfig(dir)
		cfg.Clock, cfg.Hours = test.clock, test.hours
		if _, err := Read(cfg); err == nil {
			t.Errorf("%+v is taken", test)
		}
	}
	for name, want := range map[string]int64{"UTC": 0, "UTC-8": -28_800, "UTC+05:30": 19_800, "UTC-3:30": -12_600} {
		if c, err := parseClock(name); err != nil || c.offset != want {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}
