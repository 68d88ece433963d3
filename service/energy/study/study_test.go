package study

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role/geo"
)

// pacific is California's wall clock, with hours named by their start.
var pacific = clock{offset: -8 * 3600, starts: true, summer: summerUS}

// record writes homes that a wall clock with summer time recorded, which names hours by their start: a clear
// sky of the category's own bound, clouds that all see, and roofs that look to the east, up, and to the west.
func record(t *testing.T, homes, days int) string {
	t.Helper()
	dir := t.TempDir()
	place := energy.PlaceAt(geo.Direction(34.09, -117.44), 400)
	for h := range homes {
		var b strings.Builder
		fmt.Fprintln(&b, "month,hour,day_type,non_shiftable_load,solar_generation")
		wall := time.Date(2016, 8, 31, 23, 0, 0, 0, time.UTC)
		for i := range days * 24 {
			w := wall.Add(time.Duration(i) * time.Hour)
			hour := w.Hour() + 1
			begins := pacific.unix(w)
			sum := 0.0
			for q := range int64(4) {
				at := begins + q*900 + 450
				_, bound := place.Bound(at)
				_, look := place.Bound(at + int64(h%3-1)*2400) // a roof that looks east sees the sun to come
				sum += float64(min(look, bound)) / (1 << 30) / 4
			}
			cloud := 0.75 + 0.25*math.Sin(float64(i/24)*1.7)
			solar := sum * 0.45 * cloud * (1 + 0.02*float64(h))
			fmt.Fprintf(&b, "%d,%d,%d,0.3,%.3f\n", int(w.Month()), hour, (int(w.Weekday())+6)%7+1, solar)
		}
		file := filepath.Join(dir, fmt.Sprintf("home_%d.csv", h+1))
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// short are thresholds under which a test takes weeks and not months.
func short() energy.Thresholds {
	limits := energy.DefaultThresholds()
	limits.Commissioning, limits.Ratios = 10, 10
	return limits
}

// TestRead: the sun tells what clock the recorder had, and where the summer ends an hour is filled.
func TestRead(t *testing.T) {
	r, err := Read(DefaultConfig(record(t, 6, 100)))
	if err != nil {
		t.Fatal(err)
	}
	const clock = "UTC-9 if hours are named by their end, UTC-8 if by their start, " +
		"daylight saving as in the United States (0."
	if !strings.HasPrefix(r.Clock, clock) || r.First*900 != 1472713200 {
		t.Errorf("%s, from %s", r.Clock, time.Unix(int64(r.First)*900, 0).UTC())
	}
	if n := len(r.Homes[0].PV); n != 4*(100*24+1) {
		t.Errorf("%d quarter hours", n)
	}
	for _, bad := range []Config{
		{}, {Dir: t.TempDir(), KWp: []float64{4}}, {Dir: t.TempDir(), Latitude: 91, KWp: []float64{4}},
	} {
		if _, err := Read(bad); err == nil {
			t.Errorf("%+v is read", bad)
		}
	}
}

// TestRun: on made-up homes the honest are left alone, the rules that are there for the gross cheats catch them, and
// each rule that is loosened lets its cheat pass.
func TestRun(t *testing.T) {
	r, err := Read(DefaultConfig(record(t, 6, 50)))
	if err != nil {
		t.Fatal(err)
	}
	week := func(limits energy.Thresholds, a Attack) float64 {
		o := Options{Rules: energy.With(limits), Attacks: []Attack{a}, Homes: []int{2}}
		s, err := Run(context.Background(), r, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Rows) != 2*len(Rules) {
			t.Fatalf("%d rows", len(s.Rows))
		}
		for _, h := range s.Honest {
			if len(h.Alarms) > 0 || h.Withheld*200 > h.Exported {
				t.Errorf("honest home %d: alarms %v, %d of %d Wh withheld", h.Home, h.Alarms, h.Withheld, h.Exported)
			}
		}
		for _, row := range s.Rows {
			if row.Rule == Cairn && row.Days == 7 {
				return row.Caught
			}
		}
		return -1
	}
	blind := short() // neither neighbours nor sky raise an alarm
	blind.MinPeers, blind.SkyShare = 5, 1<<20
	blind.PeerClear, blind.CutClear, blind.AheadClear = 1<<20, 1<<20, 1<<20
	for _, a := range []Attack{"x1.5", "x2", "flat", "night"} {
		if got := week(short(), a); got != 1 {
			t.Errorf("%s: %v of weeks are caught", a, got)
		}
		if got := week(blind, a); got != 0 {
			t.Errorf("%s: %v of weeks are caught without the rules: the test shows nothing", a, got)
		}
	}
}

// TestShort: a recording of which no week can count is refused, whether it is studied or drawn.
func TestShort(t *testing.T) {
	for _, hours := range []int{3, 30, 24 * 12} {
		r, err := Make(Made{Cause: "none", Climate: "desert", Seed: 1, Days: 13, Homes: 6})
		if err != nil {
			t.Fatal(err)
		}
		for h := range r.Homes {
			r.Homes[h].PV, r.Homes[h].Load = r.Homes[h].PV[:4*hours], r.Homes[h].Load[:4*hours]
		}
		if _, err := Run(context.Background(), r, Options{Rules: energy.With(short())}); !errors.Is(err, errShort) {
			t.Errorf("%d hours are studied: %v", hours, err)
		}
		if _, err := r.Week(context.Background(), energy.With(short()), 1, "x2", 0); !errors.Is(err, errShort) {
			t.Errorf("a week of %d hours is drawn: %v", hours, err)
		}
	}
}

// TestFreezesAreTold: a home that is frozen without its study's cheating (here it doubles from some day on) is told
// with its rows, in JSON too.
func TestFreezesAreTold(t *testing.T) {
	r, err := Read(DefaultConfig(record(t, 6, 50)))
	if err != nil {
		t.Fatal(err)
	}
	for i := 30 * perDay; i < len(r.Homes[1].PV); i++ {
		r.Homes[1].PV[i] *= 2
	}
	s, err := Run(context.Background(), r, Options{Rules: energy.With(short()), Attacks: []Attack{"x1.5"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range s.Rows {
		frozen := row.Home == 2 && row.Rule == Cairn
		if frozen != (row.Freezes > 0) || row.HonestDays == 0 || row.Windows == 0 {
			t.Errorf("%+v", row)
		}
		raw, err := json.Marshal(row)
		if err != nil || !strings.Contains(string(raw), fmt.Sprintf(`"freezes":%d`, row.Freezes)) {
			t.Errorf("%s, %v", raw, err)
		}
	}
}

// TestWeek: the drawing is well-formed and shows the alarm.
func TestWeek(t *testing.T) {
	r, err := Read(DefaultConfig(record(t, 6, 40)))
	if err != nil {
		t.Fatal(err)
	}
	w, err := r.Week(context.Background(), energy.With(short()), 1, "x2", 0)
	if err != nil {
		t.Fatal(err)
	}
	svg := string(w.SVG())
	if w.Caught == 0 || !strings.Contains(svg, "first alarm on day") || !strings.HasSuffix(svg, "</svg>\n") ||
		strings.Count(svg, "<polygon") != 2 {
		t.Errorf("caught %d: %.300s", w.Caught, svg)
	}
	if _, err := r.Week(context.Background(), energy.With(short()), 9, "x2", 0); err == nil {
		t.Error("a home that is not there")
	}
}

// TestRecordedHomes holds the rules to their targets on recorded homes: set CAIRN_ENERGY_DATA to a folder of the
// CityLearn challenge 2022.
func TestRecordedHomes(t *testing.T) {
	dir := os.Getenv("CAIRN_ENERGY_DATA")
	if dir == "" {
		t.Skip("CAIRN_ENERGY_DATA names no folder of recorded homes")
	}
	r, err := Read(DefaultConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Rules: energy.New(), Attacks: []Attack{"x1.5", "x2", "flat", "night"}}
	s, err := Run(context.Background(), r, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range s.Rows {
		if row.Rule != Cairn || row.Days != 7 {
			continue
		}
		least := 1.0
		if row.Attack == "x1.5" {
			least = 0.95
		}
		if row.Caught < least || row.HonestFlagged > 0.01 || row.WithheldBp > 50 {
			t.Errorf("%+v", row)
		}
	}
	for _, h := range s.Honest {
		if h.Freezes > 0 {
			t.Errorf("honest home %d is frozen %d times", h.Home, h.Freezes)
		}
	}
}
