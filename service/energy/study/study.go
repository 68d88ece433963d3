package study

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/service/energy"
)

// Rule is a way to catch those who cheat.
type Rule string

// Rules are those that are compared. Cairn is the category's own.
var Rules = []Rule{Cairn, "cap135", "cap110", "cosine"}

// Cairn is the rule of this category: energy.New.
const Cairn Rule = "cairn"

// Row is a line of the table.
type Row struct {
	Home          int     `json:"home"`
	Attack        Attack  `json:"attack"`
	Rule          Rule    `json:"rule"`
	Days          int     `json:"days"`           // of the window: 1 or 7
	Windows       int     `json:"windows"`        // of so many days
	Caught        float64 `json:"caught"`         // share of windows
	HonestDays    int     `json:"honest_days"`    // that count
	HonestFlagged float64 `json:"honest_flagged"` // share of honest days
	Freezes       int     `json:"freezes"`        // of the honest home, under Cairn's rule
	WithheldBp    float64 `json:"withheld_bp"`    // of what the honest home exported
}

// Result is what was found.
type Result struct {
	Rows   []Row
	Honest []Honest // by home, under Cairn's rule
	Fake   []Fake   // by home and attack, under Cairn's rule
	First  uint32   // the first solar day that counts …
	Days   int      // … of so many
}

// Honest is what became of a home that did not cheat.
type Honest struct {
	Home     int
	Days     int      // that count
	Alarms   []uint32 // solar days among them with an alarm
	Freezes  int
	Exported uint64      // Wh
	Withheld uint64      // … of which could neither be sold nor issued
	Year     uint64      // bp withheld of all that was exported, commissioning included
	Sums     energy.Sums // over all of the recording
	Counted  energy.Sums // over the days that count
}

// Fake is how much energy that never was could be sold, over windows of seven days. Accepted is what was accepted
// beyond what the honest home had accepted, in Wh; Claimed is what was claimed beyond what it had exported.
type Fake struct {
	Home     int
	Attack   Attack
	Accepted int64
	Claimed  int64
}

// windows are the lengths of attacks, in days.
const (
	windowShort = 1
	windowLong  = 7
)

// patience is how many days the study waits for all homes to be commissioned and compared.
const patience = 120

// Quarter hours of an hour; hours of an epoch, where there are many streets to study.
const (
	perHour   = 4
	longEpoch = 3
)

// days cuts a recording into solar days. It returns the quarter hour in which each whole day begins, and the
// end of the last one.
func (r *Recording) days() (first uint32, at []int) {
	n := len(r.Homes[0].PV)
	last := int64(-1)
	for i := range n {
		d := r.place.Day(int64(r.First+uint64(i)) * lot.Interval)
		if i > 0 && d != last {
			if len(at) == 0 {
				first = uint32(d)
			}
			at = append(at, i)
		}
		last = d
	}
	return first, at
}

// bench is a study under way.
type bench struct {
	r       *Recording
	rules   tally.Verifier
	first   uint32 // the solar day that begins at[0]
	at      []int
	starts  []region   // at the beginning of each day
	showing [][]meters // … and what the meters show, by day and home
	ready   int        // the first day that counts
	alarms  [][]bool   // of the honest, by home and day
	honest  []Honest
	allow   map[Rule][][]uint64 // by home and quarter hour
	weeks   bool                // only Cairn's rule, and only every second week
	epoch   int                 // quarter hours
}

// Options say what is studied.
type Options struct {
	Rules    tally.Verifier     // those of Cairn
	Attacks  []Attack           // nil: all
	Homes    []int              // numbers of those that cheat, one after the other, among the others; nil: all
	Weeks    bool               // only Cairn's rule, and only every second week
	Progress func(done, of int) // told after each attack on each home; nil for nobody. Calls do not overlap
}

// errShort is why a recording is refused: it is too short for a week that counts.
var errShort = errors.New("the recording is too short")

// Run studies a recording.
func Run(ctx context.Context, r *Recording, o Options) (*Result, error) {
	attacks := o.Attacks
	if attacks == nil {
		attacks = Attacks
	}
	var cheats []int
	for i := range r.Homes {
		if o.Homes == nil || slices.Contains(o.Homes, r.Homes[i].Number) {
			cheats = append(cheats, i)
		}
	}
	b := &bench{r: r, rules: o.Rules, weeks: o.Weeks, epoch: perHour}
	if o.Weeks {
		b.epoch *= longEpoch
	}
	if _, err := b.begin(ctx); err != nil {
		return nil, err
	}
	b.allow = map[Rule][][]uint64{}
	for rule := range caps {
		if o.Weeks {
			break
		}
		for i := range r.Homes {
			b.allow[rule] = append(b.allow[rule], r.limits(rule, &r.Homes[i]))
		}
	}
	out := &Result{First: b.first + uint32(b.ready), Days: len(b.at) - 1 - b.ready, Honest: b.honest}
	out.Rows = make([]Row, 0, len(cheats)*len(attacks)*2*len(Rules))
	rows := make([][]Row, len(cheats)*len(attacks))
	out.Fake = make([]Fake, len(rows))
	each(ctx, len(rows), o.Progress, func(j int) {
		rows[j], out.Fake[j] = b.attack(cheats[j/len(attacks)], attacks[j%len(attacks)])
	})
	out.Rows = append(out.Rows, slices.Concat(rows...)...)
	return out, ctx.Err()
}

// each calls do with 0 to n−1, on all processors, until ctx ends. After each call it tells progress, if that is not
// nil; calls of progress do not overlap.
func each(ctx context.Context, n int, progress func(done, of int), do func(i int)) {
	jobs := make(chan int)
	var tasks sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range runtime.GOMAXPROCS(0) {
		tasks.Go(func() {
			for i := range jobs {
				do(i)
				mu.Lock()
				if done++; progress != nil {
					progress(done, n)
				}
				mu.Unlock()
			}
		})
	}
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		jobs <- i
	}
	close(jobs)
	tasks.Wait()
}

// begin has all homes be honest, and returns the day before which a week has to begin: there is at least one
// that counts.
func (b *bench) begin(ctx context.Context) (last int, err error) {
	b.first, b.at = b.r.days()
	if len(b.at) < 2 {
		return 0, fmt.Errorf("study: %w: less than two days", errShort)
	}
	if err := b.live(ctx); err != nil {
		return 0, err
	}
	if last = len(b.at) - 1 - windowLong; b.ready >= last {
		return 0, fmt.Errorf("study: %w: after %d days not all of %d homes are commissioned and have been compared "+
			"with enough neighbours: want more days or homes", errShort, len(b.at), len(b.r.Homes))
	}
	return last, nil
}

// live has all homes be honest, hour by hour, and keeps their states at the beginning of each day.
func (b *bench) live(ctx context.Context) error {
	n := len(b.r.Homes)
	g := region{street: b.r.street(b.rules), done: b.r.First}
	show := make([]meters, n)
	records := make([][]energy.Record, n)
	b.ready = len(b.at)
	b.alarms = make([][]bool, n)
	b.honest = make([]Honest, n)
	end := b.at[len(b.at)-1]
	day := 0
	var before []*energy.State
	begin := make([]energy.Sums, n) // when the days begin to count
	for i := 0; i < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i == b.at[day] {
			b.starts, b.showing = append(b.starts, g), append(b.showing, slices.Clone(show))
			day++
		}
		next := min((i/b.epoch+1)*b.epoch, b.at[day])
		for h := range records {
			records[h] = records[h][:0]
			for k := i; k < next; k++ {
				home := &b.r.Homes[h]
				records[h] = append(records[h], show[h].read(b.r.First+uint64(k), home.PV[k], home.Load[k]))
			}
		}
		if reason := g.pass(b.r.First+uint64(next), records); reason != "" {
			return fmt.Errorf("study: an honest home's reading is refused: %v", reason)
		}
		if day > 0 && i == b.at[day-1] {
			// The first epoch of a day closes the day before.
			all := true
			for h := range b.alarms {
				s := g.state(h)
				all = all && s.Base > 0 && s.PeerEnvelope > 0
				caught := alarmed(s, b.first+uint32(day)-2)
				b.alarms[h] = append(b.alarms[h], caught)
				if b.ready < len(b.at) {
					b.honest[h].Days++
					if caught {
						b.honest[h].Alarms = append(b.honest[h].Alarms, b.first+uint32(day)-2)
					}
					if before[h].FrozeOn != s.FrozeOn {
						b.honest[h].Freezes++
					}
					before[h] = s
				}
			}
			if (all || day > patience) && b.ready == len(b.at) {
				b.ready = day - 1
				for h := range n {
					before = append(before, g.state(h))
					begin[h] = before[h].Sums
				}
			}
		}
		i = next
	}
	b.starts, b.showing = append(b.starts, g), append(b.showing, show)
	for h := range n {
		s := g.state(h).Sums
		o := &b.honest[h]
		o.Home = b.r.Homes[h].Number
		o.Exported, o.Withheld = s.Exported-begin[h].Exported, s.Withheld()-begin[h].Withheld()
		o.Sums, o.Counted = s, less(s, begin[h])
		o.Year = s.Withheld() * 10_000 / max(s.Exported, 1)
	}
	return nil
}

// less returns the sums since an earlier time.
func less(s, earlier energy.Sums) energy.Sums {
	return energy.Sums{
		Exported: s.Exported - earlier.Exported, Uncertified: s.Uncertified - earlier.Uncertified,
		Netted: s.Netted - earlier.Netted, Gap: s.Gap - earlier.Gap,
		Conservation: s.Conservation - earlier.Conservation, AboveSky: s.AboveSky - earlier.AboveSky,
		Origin: s.Origin - earlier.Origin, PeerCap: s.PeerCap - earlier.PeerCap, Frozen: s.Frozen - earlier.Frozen,
		Lapsed: s.Lapsed - earlier.Lapsed, Taken: s.Taken - earlier.Taken, Crowded: s.Crowded - earlier.Crowded,
	}
}

// alarmed reports whether a day that was the last to close had an alarm.
func alarmed(s *energy.State, day uint32) bool {
	return s.Alarms>>1&1 == 1 && s.Day == day+1 || s.FrozeOn == day && s.FrozeOn > 0
}

// attack lets one home cheat for a week, beginning with each day, and for a day.
func (b *bench) attack(home int, a Attack) ([]Row, Fake) {
	h := &b.r.Homes[home]
	fake := Fake{Home: h.Number, Attack: a}
	var windows, caught [windowLong + 1]int
	var by [windowLong + 1]map[Rule]int
	by[windowShort], by[windowLong] = map[Rule]int{}, map[Rule]int{}
	last := len(b.at) - 1
	for day := b.ready; day < last; day++ {
		length := windowShort
		if (day-b.ready)%windowLong == 0 && day+windowLong < last {
			length = windowLong
		}
		if b.weeks && (day-b.ready)%(2*windowLong) != 0 || b.weeks && length != windowLong {
			continue
		}
		from := b.at[day]
		claim := b.r.tamper(h, a, from, b.at[day+length]-from)
		if b.starts[day].state(home).Frozen > b.first+uint32(day) || same(claim, h.PV[from:], h.PDC) {
			continue // there is nothing to be gained
		}
		first, accepted, claimed := b.window(home, day, length, claim)
		for _, days := range []int{windowShort, windowLong} {
			if days > length || days < length && b.weeks {
				continue
			}
			windows[days]++
			if first <= days {
				caught[days]++
			}
			for rule, allow := range b.allow {
				n := b.at[day+days] - from
				if refused, _, _ := above(allow[home][from:][:n], claim[:n]); refused {
					by[days][rule]++
				}
			}
		}
		if length == windowLong {
			fake.Accepted += accepted
			fake.Claimed += claimed
		}
	}
	var rows []Row
	for _, rule := range Rules {
		if b.weeks && rule != Cairn {
			break
		}
		flagged, withheld := b.cost(home, rule)
		for _, days := range []int{windowShort, windowLong} {
			if b.weeks && days != windowLong {
				continue
			}
			n := caught[days]
			if rule != Cairn {
				n = by[days][rule]
			}
			row := Row{
				Home: h.Number, Attack: a, Rule: rule, Days: days,
				Windows: windows[days], Caught: share(n, windows[days]),
				HonestDays: b.honest[home].Days, HonestFlagged: flagged, WithheldBp: withheld,
			}
			if rule == Cairn {
				row.Freezes = b.honest[home].Freezes
			}
			rows = append(rows, row)
		}
	}
	return rows, fake
}

// same reports whether a claim is within 100 Wh per kW of what was made: twice the production of dead panels is still
// nothing.
func same(claim, made []uint32, pdc uint32) bool {
	apart := uint64(0)
	for i, wh := range claim {
		apart += uint64(max(wh, made[i]) - min(wh, made[i]))
	}
	return apart*1000 < 100*uint64(pdc)
}

// window lets a home claim something for so many days. It returns the first day on which it was caught, from 1,
// or a high number if it was not; how much more was accepted than if it had been honest; and how much more it
// claims to have exported.
func (b *bench) window(home, day, length int, claim []uint32) (caught int, accepted, claimed int64) {
	g := b.starts[day]
	show := slices.Clone(b.showing[day])
	caught = 1 << 30
	n := len(b.r.Homes)
	records := make([][]energy.Record, n)
	from := b.at[day]
	cheat := show[home]
	for d := day; d <= day+length && d < len(b.at); d++ {
		// The day after the last one is honest; its first quarter hour closes the one before.
		end := b.at[min(d+1, len(b.at)-1)]
		if d == day+length {
			end = min(b.at[d]+1, len(b.r.Homes[0].PV))
		}
		for h := range n {
			records[h] = records[h][:0]
			for i := b.at[d]; i < end; i++ {
				pv := b.r.Homes[h].PV[i]
				if h == home && d < day+length {
					pv = claim[i-from]
				}
				records[h] = append(records[h], show[h].read(b.r.First+uint64(i), pv, b.r.Homes[h].Load[i]))
			}
		}
		if d == day+length {
			cheat.exp = show[home].exp
		}
		refused := g.pass(b.r.First+uint64(end), records)
		s := g.state(home)
		if refused != "" {
			caught = min(caught, d-day+1)
		}
		if d > day && alarmed(s, b.first+uint32(d)-1) {
			caught = min(caught, d-day)
		}
	}
	// The same days of the honest home: there are as many starts as showings.
	last := min(day+length, len(b.starts)-1)
	claimed = int64(cheat.exp - b.showing[last][home].exp)
	accepted = int64(gained(g.state(home)) - gained(b.starts[last].state(home)))
	return caught, accepted, claimed
}

// gained is what a device could have sold at the time. Energy that lapsed later counts: it lapsed only because nobody
// buys here.
func gained(s *energy.State) uint64 {
	return s.Sums.Community + s.Sums.Certificate + s.Sums.Sealed + s.Sums.Lapsed + s.Lots.Total()
}

// cost returns what a rule does to a home that is honest: the share of days on which the rule suspects it, and
// how many bp of its energy the rule withholds.
func (b *bench) cost(home int, rule Rule) (flagged, withheld float64) {
	if rule == Cairn {
		o := &b.honest[home]
		return share(len(o.Alarms), o.Days), bp(o.Withheld, o.Exported)
	}
	days, n := 0, 0
	var all, lost uint64
	for d := b.ready; d+1 < len(b.at); d++ {
		from, to := b.at[d], b.at[d+1]
		refused, claimed, less := above(b.allow[rule][home][from:to], b.r.Homes[home].PV[from:to])
		if refused {
			n++
		}
		days++
		all += claimed
		lost += less
	}
	return share(n, days), bp(lost, all)
}

// share returns n/of, to four digits.
func share(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return math.Round(float64(n)/float64(of)*1e4) / 1e4
}

// bp returns part/of in basis points, to two digits.
func bp(part, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return math.Round(float64(part)/float64(of)*1e6) / 1e2
}
