package study

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/service/energy"
)

// TestMake: equal streets are equal, each climate and cause makes one, and no honest quarter hour of a clean
// street is above the sky's bound.
func TestMake(t *testing.T) {
	for i := range Causes {
		m := Made{Cause: Causes[i].Name, Climate: Climates[i%len(Climates)].Name, Seed: 3, Days: 30}
		a, err := Make(m)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := Make(m)
		odd := 0
		for h := range a.Homes {
			if !slices.Equal(a.Homes[h].PV, b.Homes[h].PV) {
				t.Fatalf("%+v: home %d is not twice the same", m, h+1)
			}
			if a.Homes[h].Odd {
				odd++
			}
			for k, wh := range a.Homes[h].PV {
				bright := a.place.Most(a.First + uint64(k))
				most := energy.Limit(uint64(a.Homes[h].PDC), uint64(a.Homes[h].PAC), bright, 10_000)
				if m.Cause == "none" && uint64(wh) > most {
					t.Fatalf("%+v: home %d made %d Wh, at most %d", m, h+1, wh, most)
				}
			}
		}
		if len(a.Homes[0].PV) != 30*perDay || odd == 0 {
			t.Errorf("%+v: %d quarter hours, %d odd homes", m, len(a.Homes[0].PV), odd)
		}
	}
	for _, m := range []Made{{Cause: "ghosts", Climate: "desert"}, {Cause: "none", Climate: "moon"}} {
		if _, err := Make(m); err == nil {
			t.Errorf("%+v is made", m)
		}
	}
}

// TestStreets: the study of made-up streets counts what it should: honest homes are not flagged on a clean
// street under a clear sky, a cheat of twice the sun is caught each week, and one without a gain has no week.
func TestStreets(t *testing.T) {
	list, err := Streets(context.Background(), StreetOptions{
		Rules: energy.With(short()), Causes: []string{"none"}, Climates: []string{"desert"}, Seeds: []uint64{1},
		Attacks: []Attack{"x2"}, Cheats: 1, Days: 70,
	})
	if err != nil {
		t.Fatal(err)
	}
	f := list[0]
	if len(list) != 1 || f.Homes != 12 || f.Days < 300 ||
		f.Flagged > 3 || f.Exported == 0 || f.Withheld*100 > f.Exported {
		t.Errorf("%+v", f)
	}
	if d := f.Attacks[0]; d.Weeks < 2 || d.Caught != d.Weeks || d.Claimed == 0 || d.Accepted >= d.Claimed {
		t.Errorf("%+v", d)
	}
	if missed := f.missed(); f.Flagged*100 <= f.Days && len(missed) > 0 {
		t.Errorf("missed %v", missed)
	}
	f.Freezes, f.Attacks[0].Caught = f.Days, 0
	if missed := f.missed(); !slices.Contains(missed, "freezes") || !slices.Contains(missed, "x2") {
		t.Errorf("missed %v", missed)
	}
	if dead := make([]uint32, 96); !same(dead, dead, 4000) || same([]uint32{500}, []uint32{0}, 4000) {
		t.Error("what has no gain is not told from what has")
	}
}

// TestInterval: against values of the literature.
func TestInterval(t *testing.T) {
	for _, test := range []struct {
		hit, n    int
		low, high float64
	}{{0, 10, 0, 0.278}, {10, 10, 0.722, 1}, {5, 10, 0.237, 0.763}, {0, 0, 0, 1}} {
		low, high := interval(test.hit, test.n)
		if math.Abs(low-test.low) > 0.001 || math.Abs(high-test.high) > 0.001 {
			t.Errorf("%d of %d: %.3f to %.3f, want %+v", test.hit, test.n, low, high, test)
		}
	}
}

// TestDocument: the tables of docs/energy-fraud.md were measured under the thresholds in force; and a part of a
// document is replaced, no more.
func TestDocument(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/energy-fraud.md")
	if err != nil {
		t.Fatal(err)
	}
	now := "thresholds " + Fingerprint(energy.DefaultThresholds())
	if all := strings.Count(string(raw), "; thresholds "); all == 0 || strings.Count(string(raw), "; "+now) != all {
		t.Errorf("not all of %d tables are of %s: run the commands in docs/energy-fraud.md anew", all, now)
	}
	file := filepath.Join(t.TempDir(), "doc.md")
	text := "a\n<!-- begin made -->\nold\n<!-- end made -->\nb\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fill(file, "made", []byte("new\n")); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); string(got) != strings.Replace(text, "old", "new", 1) {
		t.Errorf("%q", got)
	}
	if err := fill(file, "recorded", nil); err == nil {
		t.Error("a part that is not there is filled")
	}
}
