package study

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/fixed"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role/command"
	"github.com/cairn-network/cairn/service/role/geo"
)

// Bound is what `cairn energy bound` prints.
type Bound struct {
	CosZenith float64 `json:"cos_zenith"`
	Bound     float64 `json:"bound_w_m2"`
}

// boundCommand makes the verb bound.
func boundCommand(shell command.Shell) *cobra.Command {
	c := &cobra.Command{
		Use: "bound", Short: "The most that the sun can give a panel at a place and a time, as the tally computes it",
		Args:    command.Exactly(shell),
		Example: "  cairn energy bound --lat 34.10 --lon -117.40 --alt 400 --unix 1782071100 --json",
		RunE:    func(c *cobra.Command, _ []string) error { return runBound(shell, c) },
	}
	f := c.Flags()
	f.Float64("lat", 0, "degrees north")
	f.Float64("lon", 0, "degrees east")
	f.Int("alt", 0, "metres above the sea")
	f.Int64("unix", 0, "Unix seconds")
	for _, name := range []string{"lat", "lon", "unix"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // it was made above
		}
	}
	return shell.Flags(c, false)
}

func runBound(shell command.Shell, c *cobra.Command) error {
	f := c.Flags()
	lat, _ := f.GetFloat64("lat")
	lon, _ := f.GetFloat64("lon")
	alt, _ := f.GetInt("alt")
	unix, _ := f.GetInt64("unix")
	if err := onEarth(lat, lon, alt); err != nil {
		return shell.Usage(c, fmt.Errorf("%s: %w", c.CommandPath(), err))
	}
	place := energy.PlaceAt(geo.Direction(lat, lon), int64(alt))
	cos, most := place.Bound(unix)
	out := Bound{CosZenith: float64(cos) / float64(fixed.One), Bound: float64(most) / float64(fixed.One)}
	return shell.Print(c, out, func(w io.Writer) {
		fmt.Fprintf(w, "cosine of the sun's zenith angle  %.6f\nmost that the sun can give        %.1f W/m²\n",
			out.CosZenith, out.Bound)
	})
}
