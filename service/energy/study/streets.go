package study

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/service/energy"
)

// Finding is what was found on all made-up streets of one cause.
type Finding struct {
	Cause    string            `json:"cause"`
	Streets  int               `json:"streets"`
	Homes    int               `json:"homes"`
	Days     int               `json:"honest_days"` // of all homes, added up
	Flagged  int               `json:"flagged"`     // days with an alarm
	Freezes  int               `json:"freezes"`
	Exported uint64            `json:"exported_wh"`
	Withheld uint64            `json:"withheld_wh"`
	Why      map[string]uint64 `json:"withheld_by_wh"` // by reason
	Worst    float64           `json:"worst_home_bp"`  // withheld of one home
	Attacks  []Detection       `json:"attacks"`
}

// Detection is how often an attack was caught within a week.
type Detection struct {
	Attack   Attack `json:"attack"`
	Weeks    int    `json:"weeks"`
	Caught   int    `json:"caught"`
	Accepted int64  `json:"accepted_wh"` // beyond what was accepted of the honest home
	Claimed  int64  `json:"claimed_wh"`  // beyond what the honest home exported
}

// StreetOptions say which streets are made up, and who cheats there.
type StreetOptions struct {
	Rules    tally.Verifier
	Causes   []string // nil: all
	Climates []string // nil: all
	Seeds    []uint64
	Attacks  []Attack // nil: all; empty: none
	Cheats   int      // homes of each street that cheat, those with the cause first
	Days     int      // of each street
	Progress func(done, of int)
}

// Streets makes streets up and studies them: what the rules cost the honest and how often they catch a cheat,
// by cause.
func Streets(ctx context.Context, o StreetOptions) ([]Finding, error) {
	if o.Attacks == nil {
		o.Attacks = Attacks
	}
	var list []Made
	findings := map[string]*Finding{}
	var out []Finding
	for i := range Causes {
		c := &Causes[i]
		if len(o.Causes) > 0 && !slices.Contains(o.Causes, c.Name) {
			continue
		}
		f := &Finding{Cause: c.Name, Why: map[string]uint64{}}
		for _, a := range o.Attacks {
			f.Attacks = append(f.Attacks, Detection{Attack: a})
		}
		findings[c.Name] = f
		for k := range Climates {
			l := &Climates[k]
			if len(o.Climates) > 0 && !slices.Contains(o.Climates, l.Name) || c.snow && !l.Snow {
				continue
			}
			for _, seed := range o.Seeds {
				list = append(list, Made{Cause: c.Name, Climate: l.Name, Seed: seed, Days: o.Days})
			}
		}
	}
	results, errs := make([]*Result, len(list)), make([]error, len(list))
	each(ctx, len(list), o.Progress, func(i int) { results[i], errs[i] = o.study(ctx, list[i]) })
	err := ctx.Err()
	for i, m := range list {
		switch {
		case errs[i] != nil && err == nil:
			err = fmt.Errorf("%w: %+v", errs[i], m)
		case errs[i] == nil && results[i] != nil: // else there was no time for it
			findings[m.Cause].add(results[i])
		}
	}
	for i := range Causes {
		if f := findings[Causes[i].Name]; f != nil {
			out = append(out, *f)
		}
	}
	return out, err
}

func (o *StreetOptions) study(ctx context.Context, m Made) (*Result, error) {
	r, err := Make(m)
	if err != nil {
		return nil, err
	}
	var cheats []int
	for i := range r.Homes {
		if h := &r.Homes[i]; h.Odd && len(cheats) < o.Cheats {
			cheats = append(cheats, h.Number)
		}
	}
	if cheats == nil {
		cheats = []int{0}
	}
	return Run(ctx, r, Options{Rules: o.Rules, Attacks: o.Attacks, Homes: cheats, Weeks: true})
}

// add takes a street's study over.
func (f *Finding) add(s *Result) {
	f.Streets++
	for _, h := range s.Honest {
		f.Homes++
		f.Days += h.Days
		f.Flagged += len(h.Alarms)
		f.Freezes += h.Freezes
		f.Exported += h.Exported
		f.Withheld += h.Withheld
		for _, c := range h.Counted.Counts() {
			if c.Reason != energy.CountNetted {
				f.Why[string(c.Reason)] += c.Wh
			}
		}
		f.Worst = max(f.Worst, bp(h.Withheld, h.Exported))
	}
	for i := range f.Attacks {
		d := &f.Attacks[i]
		for _, r := range s.Rows {
			if r.Attack == d.Attack && r.Rule == Cairn && r.Days == windowLong {
				d.Weeks += r.Windows
				d.Caught += int(math.Round(r.Caught * float64(r.Windows)))
			}
		}
		for _, k := range s.Fake {
			if k.Attack == d.Attack {
				d.Accepted += k.Accepted
				d.Claimed += k.Claimed
			}
		}
	}
}
