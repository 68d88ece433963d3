package provider

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
)

// siteOf is a site whose grid meter has a number.
func siteOf(meter byte) energy.Site { return energy.Site{Grid: types.Hash{meter}} }

func recordOf(k, exp uint64) energy.Record {
	return energy.Record{K: k, Present: 1<<energy.Export | 1<<energy.Import, Wh: [energy.Registers]uint64{exp, 2 * exp}}
}

// say writes a plan down: "site", "reset export 5→1 (2)", "records 3-5".
func say(p *plan) (out []string) {
	for _, e := range p.make() {
		switch e.kind {
		case energy.KindSite:
			s, err := energy.DecodeSite(e.body)
			if err != nil {
				panic(err)
			}
			out = append(out, fmt.Sprintf("site %d", s.Grid[0]))
		case energy.KindReset:
			r, err := energy.DecodeReset(e.body)
			if err != nil {
				panic(err)
			}
			out = append(out, fmt.Sprintf("reset %v %d→%d (%d)", r.Register, r.Last, r.First, r.Cause))
		case energy.KindMeter:
			list, err := energy.DecodeMeter(e.body, nil)
			if err != nil || len(list) != len(e.list) {
				panic(fmt.Sprint(list, e.list, err))
			}
			out = append(out, fmt.Sprintf("records %d-%d", list[0].K, list[len(list)-1].K))
		}
	}
	return out
}

// TestPlan: what is handed in, given what the tally has.
func TestPlan(t *testing.T) {
	a, b := siteOf(1), siteOf(2)
	at := func(site energy.Site, k, exp uint64, sent types.Epoch) entry {
		return entry{Record: recordOf(k, exp), Site: site, Sent: sent}
	}
	has := func(site energy.Site, k, exp uint64) *energy.State {
		return &energy.State{Site: site, K: k, Wh: recordOf(k, exp).Wh}
	}
	for name, c := range map[string]struct {
		plan plan
		want []string
		late int
	}{
		"nothing yet":   {plan{state: new(energy.State), site: &a, done: 100}, []string{"site 1"}, 0},
		"all is well":   {plan{state: has(a, 9, 90), site: &a, done: 100}, nil, 0},
		"one epoch":     {plan{state: has(a, 95, 1), site: &a, done: 100, entries: []entry{at(a, 96, 2, 0), at(a, 97, 3, 0), at(a, 99, 4, 0), at(a, 100, 5, 0)}}, []string{"records 96-99"}, 0},
		"what counts":   {plan{state: has(a, 97, 3), site: &a, done: 100, entries: []entry{at(a, 96, 2, 0), at(a, 97, 3, 0), at(a, 98, 4, 0)}}, []string{"records 98-98"}, 0},
		"on its way":    {plan{state: has(a, 95, 1), site: &a, done: 100, tallied: 6, entries: []entry{at(a, 96, 2, 7), at(a, 97, 3, 0)}}, []string{"records 97-97"}, 0},
		"lost":          {plan{state: has(a, 95, 1), site: &a, done: 100, tallied: 7, entries: []entry{at(a, 96, 2, 7), at(a, 97, 3, 0)}}, []string{"records 96-96", "records 97-97"}, 0},
		"lost before":   {plan{state: has(a, 95, 1), site: &a, done: 100, tallied: 6, entries: []entry{at(a, 96, 2, 6), at(a, 97, 3, 7), at(a, 98, 4, 0)}}, []string{"records 96-96", "records 97-97", "records 98-98"}, 0},
		"site refused":  {plan{state: new(energy.State), site: &a, sited: 6, tallied: 6, done: 100, entries: []entry{at(a, 96, 2, 6), at(a, 97, 3, 7)}}, []string{"site 1", "records 96-96", "records 97-97"}, 0},
		"too late":      {plan{state: has(a, 95, 1), site: &a, done: 1000, entries: []entry{at(a, 96, 2, 0), at(a, 327, 2, 0), at(a, 328, 2, 0), at(a, 999, 3, 0)}}, []string{"records 328-999"}, 2},
		"began anew":    {plan{state: has(a, 95, 50), site: &a, done: 100, entries: []entry{at(a, 96, 60, 0), at(a, 97, 5, 0)}}, []string{"records 96-96", "reset export 60→5 (2)", "reset import 120→10 (2)", "records 97-97"}, 0},
		"anew, flying":  {plan{state: has(a, 95, 50), site: &a, done: 100, tallied: 6, entries: []entry{at(a, 96, 5, 7), at(a, 97, 6, 0)}}, []string{"records 97-97"}, 0},
		"swapped":       {plan{state: has(a, 95, 50), site: &b, done: 100, entries: []entry{at(a, 96, 60, 0), at(b, 97, 900, 0)}}, []string{"records 96-96", "site 2", "reset export 60→900 (1)", "reset import 120→1800 (1)", "records 97-97"}, 0},
		"no record yet": {plan{state: has(a, 95, 50), site: &b, done: 100}, nil, 0},
		"past site":     {plan{state: has(b, 95, 50), site: &b, done: 100, entries: []entry{at(a, 96, 60, 7), at(b, 97, 900, 7)}, tallied: 7}, []string{"records 97-97"}, 1},
		"site flying":   {plan{state: new(energy.State), site: &a, sited: 7, tallied: 6, done: 100, entries: []entry{at(a, 96, 2, 0)}}, []string{"records 96-96"}, 0},
		"site lost":     {plan{state: new(energy.State), site: &a, sited: 7, tallied: 7, done: 100, entries: []entry{at(a, 96, 2, 7)}}, []string{"site 1", "records 96-96"}, 0},
	} {
		got := say(&c.plan)
		if diff := cmp.Diff(c.want, got); diff != "" || c.plan.late != c.late {
			t.Errorf("%s: %d late (want %d), -want +got\n%s", name, c.plan.late, c.late, diff)
		}
	}
}

// TestJournal: what put has returned from is in the file, whatever happens then; beyond keepFor the oldest go.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(filepath.Join(dir, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	tracks := map[string]*track{"grid/export": {Meter: "m", series: series{Wh: 7, Known: true, Step: 1, Finest: 1, Base: 1, Values: 1, Counters: map[string]counter{"c": {Raw: 7, High: 1 << 32}}}}}
	e := &entry{Record: recordOf(5, 7), Site: siteOf(1), Sent: 3}
	if _, err := j.put(e, tracks, 0); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "journal.db")) // as a process that was killed leaves it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "copy.db"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := openJournal(filepath.Join(dir, "copy.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer after.close()
	list, err := after.after(0)
	if err != nil || !cmp.Equal(list, []entry{*e}) {
		t.Errorf("%+v, %v", list, err)
	}
	kept, err := after.tracks()
	if err != nil || !cmp.Equal(kept, tracks, cmp.AllowUnexported(track{})) {
		t.Errorf("%+v, %v", kept, err)
	}
	if dropped, err := j.put(&entry{Record: recordOf(5+keepFor, 8)}, nil, 4); err != nil || dropped != 1 {
		t.Errorf("%d dropped, %v", dropped, err)
	}
	if list, err := j.after(0); err != nil || len(list) != 1 || list[0].Record.K != 5+keepFor {
		t.Errorf("%+v, %v", list, err)
	}
}
