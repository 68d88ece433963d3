package study

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role/command"
)

// Targets of the design: at most 1 % of honest days flagged, 0.5 % of what honest homes export withheld, 0.1
// freezes a home-year; within a week ×1.5 caught in 95 % of weeks, ×2, flat and night in all.
const (
	mostFlagged, mostWithheld, mostFreezes = 0.01, 0.005, 0.1
	leastHalf                              = 0.95
)

// Fingerprint names the thresholds that figures were measured under.
func Fingerprint(t energy.Thresholds) string {
	return fmt.Sprintf("%x", types.Sum([]byte(fmt.Sprintf("%+v", t))))[:16]
}

// interval returns the 95 % interval of a share of n (E. B. Wilson, "Probable inference", JASA 22 (1927)). It takes
// weeks and days for independent, which those of one home are not.
func interval(hit, n int) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	const z = 1.96
	p, m := float64(hit)/float64(n), float64(n)
	mid, half := p+z*z/(2*m), z*math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(0, (mid-half)/(1+z*z/m)), min(1, (mid+half)/(1+z*z/m))
}

// missed returns which targets the homes of a cause miss.
func (f *Finding) missed() []string {
	var out []string
	if share(f.Flagged, f.Days) > mostFlagged {
		out = append(out, "flagged")
	}
	if f.withheld() > mostWithheld {
		out = append(out, "withheld")
	}
	if f.freezes() > mostFreezes {
		out = append(out, "freezes")
	}
	for _, d := range f.Attacks {
		least := map[Attack]float64{"x1.5": leastHalf, "x2": 1, "flat": 1, "night": 1}[d.Attack]
		if d.Weeks > 0 && float64(d.Caught) < least*float64(d.Weeks) {
			out = append(out, string(d.Attack))
		}
	}
	return out
}

func (f *Finding) withheld() float64 { return float64(f.Withheld) / float64(max(f.Exported, 1)) }
func (f *Finding) freezes() float64  { return float64(f.Freezes) * 365 / float64(max(f.Days, 1)) }

// table returns findings as lines of a table.
func table(list []Finding) (head []string, rows [][]string) {
	head = []string{"cause", "streets", "home-days", "flagged", "withheld", "worst home", "freezes a year"}
	for i := range list {
		f := &list[i]
		low, high := interval(f.Flagged, f.Days)
		row := []string{
			f.Cause, fmt.Sprint(f.Streets), fmt.Sprint(f.Days),
			fmt.Sprintf("%.2f %% (%.2f–%.2f)", 100*float64(f.Flagged)/float64(max(f.Days, 1)), 100*low, 100*high),
			fmt.Sprintf("%.2f %%", 100*f.withheld()), fmt.Sprintf("%.1f %%", f.Worst/100),
			fmt.Sprintf("%.2f", f.freezes()),
		}
		for k := range f.Attacks {
			d := &f.Attacks[k]
			if i == 0 {
				head = append(head, strings.Replace(string(d.Attack), "x", "×", 1))
			}
			low, high := interval(d.Caught, d.Weeks)
			caught := 100 * float64(d.Caught) / float64(max(d.Weeks, 1))
			row = append(row, fmt.Sprintf("%.0f %% (%.0f–%.0f)", caught, 100*low, 100*high))
		}
		missed := strings.Join(f.missed(), ", ")
		if missed == "" {
			missed = "none"
		}
		rows = append(rows, append(row, missed))
	}
	return append(head, "targets missed"), rows
}

// markdown writes a table as Markdown.
func markdown(w io.Writer, head []string, rows [][]string) {
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, r := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(r, " | "))
	}
}

// made writes what was found on made-up streets as a part of the document.
func (o *StreetOptions) made(list []Finding) []byte {
	var b bytes.Buffer
	weeks := 0
	for i := range list {
		if len(list[i].Attacks) > 0 {
			weeks += list[i].Attacks[0].Weeks
		}
	}
	fmt.Fprintf(&b, "Seeds %s, %d days a street, %d of its homes cheat, %d weeks of each attack; thresholds %s. "+
		"In brackets 95 %% intervals, days and weeks taken for\n"+
		"independent, which those of one home are not: the true ones are wider.\n\n",
		strings.Trim(fmt.Sprint(o.Seeds), "[]"), o.Days, o.Cheats, weeks, Fingerprint(energy.DefaultThresholds()))
	head, rows := table(list)
	honest := func(r []string) []string { return append(slices.Clone(r[:7]), r[len(r)-1]) }
	var left, right [][]string
	for i, r := range rows {
		left = append(left, honest(r))
		line := []string{r[0]}
		if len(list[i].Attacks) > 0 {
			line = append(line, fmt.Sprint(list[i].Attacks[0].Weeks))
		}
		right = append(right, append(line, r[7:len(r)-1]...))
	}
	markdown(&b, honest(head), left)
	fmt.Fprint(&b, "\nWeeks in which a cheat is caught:\n\n")
	markdown(&b, append([]string{"cause", "weeks"}, head[7:len(head)-1]...), right)
	fmt.Fprint(&b, "\nOf what was claimed beyond what the honest home exported, so much was accepted, in percent "+
		"(below 0: the cheat lost more than he gained):\n\n")
	var fake [][]string
	for i := range list {
		row := []string{list[i].Cause}
		for _, d := range list[i].Attacks {
			cell := "–"
			if d.Claimed > 0 {
				cell = fmt.Sprint(100 * d.Accepted / d.Claimed)
			}
			row = append(row, cell)
		}
		fake = append(fake, row)
	}
	markdown(&b, append([]string{"cause"}, head[7:len(head)-1]...), fake)
	fmt.Fprint(&b, "\nThe causes, and how much was withheld for which reason, in percent of what was exported:\n\n")
	var causes [][]string
	for i := range list {
		var why []string
		for _, name := range sorted(list[i].Why) {
			if s := 100 * float64(list[i].Why[name]) / float64(max(list[i].Exported, 1)); s >= 0.005 {
				why = append(why, fmt.Sprintf("%s %.2f", strings.TrimPrefix(name, "energy."), s))
			}
		}
		for k := range Causes {
			if Causes[k].Name == list[i].Cause {
				causes = append(causes, []string{list[i].Cause, Causes[k].What, strings.Join(why, ", ")})
			}
		}
	}
	markdown(&b, []string{"cause", "what it is", "withheld"}, causes)
	return b.Bytes()
}

func sorted(m map[string]uint64) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// recorded writes what was found on recorded homes as a part of the document.
func (s *Result) recorded(r *Recording) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d homes, %d days each from the day on which all are commissioned; thresholds %s. "+
		"The clock: %s.\n\n", len(s.Honest), s.Days, Fingerprint(energy.DefaultThresholds()), r.Clock)
	head, rows := s.byRule()
	markdown(&b, head, rows)
	fmt.Fprintln(&b)
	head, rows = s.byHome()
	markdown(&b, head, rows)
	return b.Bytes()
}

// fill replaces a part of a document: what stands between the comments "begin NAME" and "end NAME".
func fill(file, name string, part []byte) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("study: %w", err)
	}
	begin, end := fmt.Sprintf("<!-- begin %s -->\n", name), fmt.Sprintf("<!-- end %s -->", name)
	from, to := bytes.Index(raw, []byte(begin)), bytes.Index(raw, []byte(end))
	if from < 0 || to < from {
		return types.Refuse(types.BadArgument, "study: %s has no part %s", file, name)
	}
	out := slices.Concat(raw[:from+len(begin)], part, raw[to:])
	if err := os.WriteFile(file, out, 0o644); err != nil {
		return fmt.Errorf("study: %w", err)
	}
	return nil
}

// printFindings writes findings for people.
func printFindings(list []Finding) func(io.Writer) {
	return func(w io.Writer) {
		head, rows := table(list)
		for i := range head {
			head[i] = strings.ToUpper(head[i])
		}
		command.Table(w, head, rows)
	}
}
