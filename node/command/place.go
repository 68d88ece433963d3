package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/geo"
)

// placeResolution is that of the cell that --lat and --lon give: some 5 km², a quarter of a town. Everybody can
// read it on the chain.
const placeResolution = 7

// cellOf returns where the flags say that the device is.
func cellOf(c *cobra.Command) (types.Cell, error) {
	f := c.Flags()
	text, _ := f.GetString("cell")
	lat, _ := f.GetFloat64("lat")
	lon, _ := f.GetFloat64("lon")
	degrees := f.Changed("lat") || f.Changed("lon")
	bad := func(format string, args ...any) error {
		return usage{c.CommandPath(), fmt.Errorf(c.CommandPath()+": "+format, args...)}
	}
	switch {
	case text != "" && degrees:
		return 0, bad("--cell or --lat and --lon, not both")
	case text != "":
		var cell types.Cell
		if err := cell.UnmarshalText([]byte(text)); err != nil {
			return 0, advice{fmt.Errorf("init: cell: %w", err), "say where the device is with --lat DEGREES --lon DEGREES instead"}
		}
		return cell, nil
	case !degrees:
		return 0, bad("where is the device? --lat and --lon, or --cell, are missing")
	case !f.Changed("lat") || !f.Changed("lon"):
		return 0, bad("--lat and --lon go together")
	case !(lat >= -90 && lat <= 90): // not a number is neither
		return 0, bad("--lat %v: want degrees from -90 to 90", lat)
	case !(lon >= -180 && lon <= 180):
		return 0, bad("--lon %v: want degrees from -180 to 180", lon)
	}
	// Floats do here: the cell that comes of it is what is signed.
	return types.CellAt(geo.Direction(lat, lon), placeResolution), nil
}
