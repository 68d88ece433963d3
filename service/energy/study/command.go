package study

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role/command"
)

// Commands returns the verbs fraud, plot and bound.
func Commands(shell command.Shell) []*cobra.Command {
	table := &cobra.Command{
		Use: "fraud", Short: "Measure on recorded homes what the rules catch of those who cheat",
		Args: command.Exactly(shell),
		Long: `fraud reads home_1.csv, home_2.csv … of a folder, lets each home cheat in turn in eight ways, and counts
how often Cairn's rule and three simpler ones notice within a day and within a week, and what they cost those who are
honest. With --made it makes streets up instead, of homes that have some cause to look odd, under five climates, and
says for each cause what the rules cost the honest, and what they catch.`,
		Example: `  cairn energy fraud --data homes
  cairn energy fraud --data homes --lat 34.09 --lon -117.44 --alt 400 --clock America/Los_Angeles --json
  cairn energy fraud --made --seeds 102 --doc docs/energy-fraud.md`,
		RunE: func(c *cobra.Command, _ []string) error {
			made, _ := c.Flags().GetBool("made")
			if data, _ := c.Flags().GetString("data"); made == (data != "") {
				return shell.Usage(c, fmt.Errorf("%s: want either --data or --made", c.CommandPath()))
			} else if made {
				return runMade(shell, c)
			}
			return runTable(shell, c)
		},
	}
	plot := &cobra.Command{
		Use: "plot", Short: "Draw an honest and a tampered week of a recorded home with the bound",
		Args:    command.Exactly(shell),
		Example: "  cairn energy plot --data homes --home 1 --attack x1.5 --out week.svg",
		RunE:    func(c *cobra.Command, _ []string) error { return runPlot(shell, c) },
	}
	for _, c := range []*cobra.Command{table, plot} {
		d := DefaultConfig("")
		f := c.Flags()
		f.String("data", "", "folder of recorded homes")
		f.Float64("lat", d.Latitude, "latitude, in degrees")
		f.Float64("lon", d.Longitude, "longitude, in degrees, east is positive")
		f.Int("alt", d.Altitude, "altitude, in metres")
		f.String("clock", "auto",
			"the recorder's clock: UTC-8, UTC+05:30, a zone such as America/Los_Angeles, or auto: as the sun tells, "+
				"if it does")
		f.String("hours", "", "rows name hours by their start or their end (default as the sun tells, if it does)")
		f.Int("year", 0, "year of the first row (default the first from 2016 on with the recording's weekdays)")
		f.Float64Slice("kwp", d.KWp, "kW of panels of each home, the last for all further ones")
		f.Bool("json", false, "print JSON")
	}
	if err := plot.MarkFlagRequired("data"); err != nil {
		panic(err)
	}
	f := table.Flags()
	f.Bool("made", false, "make streets up instead of reading recorded homes; takes an hour")
	f.IntSlice("seeds", []int{102}, "seeds of made-up streets: one street of each cause and climate is made of each")
	f.Int("cheats", 1, "homes of each made-up street that cheat, one after the other")
	f.StringSlice("causes", nil, "causes of made-up streets (default all)")
	f.StringSlice("climates", nil, "climates of made-up streets (default all)")
	f.String("doc", "", "write what was found into a part of this document as well (docs/energy-fraud.md)")
	plot.Flags().Int("home", 1, "number of the home")
	plot.Flags().String("attack", "x1.5", "how it cheats: "+names(Attacks))
	plot.Flags().Int("day", 0,
		"day on which the week begins, from the first that counts (default one in the middle of the recording)")
	plot.Flags().String("out", "week.svg", "file to write")
	return []*cobra.Command{table, plot, boundCommand(shell)}
}

func names(list []Attack) string {
	var out []string
	for _, a := range list {
		out = append(out, string(a))
	}
	return strings.Join(out, ", ")
}

// recording reads what the flags name.
func recording(c *cobra.Command) (*Recording, error) {
	f := c.Flags()
	var cfg Config
	cfg.Dir, _ = f.GetString("data")
	cfg.Latitude, _ = f.GetFloat64("lat")
	cfg.Longitude, _ = f.GetFloat64("lon")
	cfg.Altitude, _ = f.GetInt("alt")
	cfg.Clock, _ = f.GetString("clock")
	cfg.Hours, _ = f.GetString("hours")
	cfg.Year, _ = f.GetInt("year")
	cfg.KWp, _ = f.GetFloat64Slice("kwp")
	return Read(cfg)
}

// refuse says why there is no study, with a reason and what to do about it.
func refuse(shell command.Shell, c *cobra.Command, err error) error {
	err = fmt.Errorf("energy %s: %w", c.Name(), err)
	try := "Name a folder with home_1.csv and so on, and where it was recorded."
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, ErrClock):
		try = "Say what clock it was, --clock UTC-8 or --clock America/Los_Angeles, with --hours start or end; " +
			"and check --lat and --lon."
	case errors.Is(err, errShort):
		try = "Record for longer: all homes have to be commissioned, and a week has to remain."
	case errors.Is(err, fs.ErrNotExist):
		return shell.Advise(types.Refuse(types.NotFound, "%v", err), try)
	}
	return shell.Advise(types.Refuse(types.BadArgument, "%v", err), try)
}

func runTable(shell command.Shell, c *cobra.Command) error {
	r, err := recording(c)
	if err != nil {
		return refuse(shell, c, err)
	}
	fmt.Fprintf(c.ErrOrStderr(), "%d homes, %d days, %s\n", len(r.Homes), len(r.Homes[0].PV)/perDay, r.Clock)
	s, err := Run(c.Context(), r, Options{Rules: energy.New(), Progress: func(done, of int) {
		fmt.Fprintf(c.ErrOrStderr(), "\r%d of %d", done, of)
		if done == of {
			fmt.Fprintln(c.ErrOrStderr())
		}
	}})
	if err != nil {
		return refuse(shell, c, err)
	}
	if doc, _ := c.Flags().GetString("doc"); doc != "" {
		if err := fill(doc, "recorded", s.recorded(r)); err != nil {
			return fmt.Errorf("energy fraud: %w", err)
		}
	}
	return shell.Print(c, s.Rows, s.print)
}

// print writes the study for people: all homes together, then what each lost that was honest.
func (s *Result) print(w io.Writer) {
	head, rows := s.byRule()
	for i := range head {
		head[i] = strings.ToUpper(head[i])
	}
	command.Table(w, head, rows)
	fmt.Fprintln(w)
	head, rows = s.byHome()
	for i := range head {
		head[i] = strings.ToUpper(head[i])
	}
	command.Table(w, head, rows)
}

// byRule is what each rule catches, all homes together.
func (s *Result) byRule() (head []string, table [][]string) {
	head = []string{"rule", "days"}
	for _, a := range Attacks {
		head = append(head, string(a))
	}
	head = append(head, "honest days flagged", "withheld")
	for _, rule := range Rules {
		for _, days := range []int{windowShort, windowLong} {
			row := []string{string(rule), fmt.Sprint(days)}
			var flagged, withheld float64
			for _, a := range Attacks {
				sum, n := 0.0, 0
				for _, r := range s.Rows {
					if r.Rule == rule && r.Days == days && r.Attack == a {
						sum, n = sum+r.Caught, n+1
						flagged += r.HonestFlagged
						withheld += r.WithheldBp
					}
				}
				row = append(row, fmt.Sprintf("%.1f %%", 100*sum/float64(max(n, 1))))
			}
			n := float64(len(s.Rows)) / float64(2*len(Rules))
			row = append(row, fmt.Sprintf("%.2f %%", 100*flagged/n), fmt.Sprintf("%.2f %%", withheld/n/100))
			table = append(table, row)
		}
	}
	return head, table
}

// byHome is what became of each home while it was honest.
func (s *Result) byHome() (head []string, homes [][]string) {
	for _, h := range s.Honest {
		homes = append(homes, []string{
			fmt.Sprint(h.Home), fmt.Sprint(h.Days), fmt.Sprint(len(h.Alarms)), fmt.Sprint(h.Freezes),
			fmt.Sprint(h.Exported), fmt.Sprint(h.Withheld),
		})
	}
	return []string{"honest home", "days", "alarms", "freezes", "exported Wh", "withheld Wh"}, homes
}

// runMade studies made-up streets.
func runMade(shell command.Shell, c *cobra.Command) error {
	f := c.Flags()
	o := StreetOptions{Rules: energy.New(), Days: 365, Progress: func(done, of int) {
		fmt.Fprintf(c.ErrOrStderr(), "\r%d of %d streets", done, of)
		if done == of {
			fmt.Fprintln(c.ErrOrStderr())
		}
	}}
	o.Cheats, _ = f.GetInt("cheats")
	seeds, _ := f.GetIntSlice("seeds")
	for _, s := range seeds {
		o.Seeds = append(o.Seeds, uint64(s))
	}
	o.Causes, _ = f.GetStringSlice("causes")
	o.Climates, _ = f.GetStringSlice("climates")
	for _, name := range o.Causes {
		if !slices.ContainsFunc(Causes, func(c Cause) bool { return c.Name == name }) {
			return shell.Usage(c, fmt.Errorf("%s: no cause %q", c.CommandPath(), name))
		}
	}
	for _, name := range o.Climates {
		if !slices.ContainsFunc(Climates, func(c Climate) bool { return c.Name == name }) {
			return shell.Usage(c, fmt.Errorf("%s: no climate %q", c.CommandPath(), name))
		}
	}
	list, err := Streets(c.Context(), o)
	if err != nil {
		return refuse(shell, c, err)
	}
	if doc, _ := f.GetString("doc"); doc != "" {
		if err := fill(doc, "made", o.made(list)); err != nil {
			return fmt.Errorf("energy fraud: %w", err)
		}
	}
	return shell.Print(c, list, printFindings(list))
}

func runPlot(shell command.Shell, c *cobra.Command) error {
	f := c.Flags()
	home, _ := f.GetInt("home")
	attack, _ := f.GetString("attack")
	day, _ := f.GetInt("day")
	out, _ := f.GetString("out")
	if !slices.Contains(Attacks, Attack(attack)) {
		return shell.Usage(c, fmt.Errorf("%s: no attack %q: want one of %s", c.CommandPath(), attack, names(Attacks)))
	}
	r, err := recording(c)
	if err != nil {
		return refuse(shell, c, err)
	}
	week, err := r.Week(c.Context(), energy.New(), home, Attack(attack), day)
	switch {
	case errors.Is(err, errNoWeek):
		return shell.Usage(c, fmt.Errorf("%s: %w", c.CommandPath(), err))
	case err != nil:
		return refuse(shell, c, err)
	}
	if err := os.WriteFile(out, week.SVG(), 0o644); err != nil {
		return fmt.Errorf("energy plot: %w", err)
	}
	drawn := map[string]any{"file": out, "home": home, "attack": attack, "caught_on_day": week.Caught}
	return shell.Print(c, drawn, func(w io.Writer) {
		fmt.Fprintf(w, "%s: home %d, caught on day %d of 7 (0: not at all)\n", out, home, week.Caught)
	})
}
