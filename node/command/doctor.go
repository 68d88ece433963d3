package command

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
)

func doctorCommand(devices []role.Device) *cobra.Command {
	c := &cobra.Command{
		Use: "doctor", Short: "Look whether the device's home and its machine are in order, and mend what can be mended",
		Long: `doctor looks at the clock, the disk, the key, the settings, the stores and the shards of a device, and says of each what is wrong, what is lost by it and what
to do. While the device runs it only looks. With --repair it moves aside what is damaged and can be made anew or done without: it deletes
nothing. It exits 1 if something is bad.`,
		Example: "  cairn-node doctor\n  cairn-node doctor --repair",
	}
	c.Flags().Bool("repair", false, "move aside what is damaged and can be made anew or done without (the device may not run)")
	jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		home, err := homeOf(c)
		if err != nil {
			return err
		}
		if _, err := node.LoadKey(home); err != nil {
			if _, err := load(home); err != nil && types.ReasonOf(err) == types.NotFound {
				return err
			}
		}
		_, err = fetchStatus(c.Context(), home)
		running := err == nil
		repair, _ := c.Flags().GetBool("repair")
		if running && repair {
			return advice{types.Refuse(types.HomeBusy, "doctor: the device in %s runs", home), "stop it first"}
		}
		list := []health.Finding{health.Version(), health.Clock(time.Now(), time.Time{}, time.Time{}), health.Disk(home, disk.Limits{Warn: disk.Warn, Stop: disk.Stop})}
		files := append(node.Files(home), node.KeptFiles(home, devices)...)
		found, fine := health.Examine(home, files, !running)
		if repair {
			if err := health.Mend(home, files, found, health.Aside); err != nil {
				return types.Refuse(types.HomeUnwritable, "doctor: %v", err)
			}
		}
		list = append(append(list, health.Count(fine)), found...)
		if err := output(c, list, func(w io.Writer) { health.Print(w, list) }); err != nil {
			return err
		}
		if health.Worst(list) == health.Bad {
			return advice{types.Refuse(types.HomeDamaged, "doctor: something is wrong with %s", home), "what it says above; --repair mends what can be mended"}
		}
		return nil
	}
	return c
}
