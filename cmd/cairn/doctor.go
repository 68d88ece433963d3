package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/network"
	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/all/provider"
)

func doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "doctor", Short: "Look whether a home and its machine are in order, and mend what can be mended", Args: exactly(), RunE: doctor,
		Long: `doctor looks at the clock, the disk, ports, versions, keys and stores of a home, and says of each what is wrong, what is lost by it and
what to do. Where a network runs it only looks; where none does it reads every store whole, which takes a while with large ones. With --repair it
moves aside what is damaged and can be made anew or done without: it deletes nothing. It exits 1 if something is bad.`,
		Example: "  cairn doctor\n  cairn doctor --repair\n  cairn doctor --json",
	}
	c.Flags().Bool("repair", false, "move aside what is damaged and can be made anew or done without (nothing may run)")
	c.Flags().String("disk-warn", disk.Size(disk.Warn), "free disk space below which it warns (0: never)")
	c.Flags().String("disk-stop", disk.Size(disk.Stop), "free disk space below which a network does not run (0: never)")
	return homeFlags(c)
}

func doctor(c *cobra.Command, _ []string) error {
	home, err := homeOf(c)
	if err != nil {
		return err
	}
	limits, err := diskOf(c)
	if err != nil {
		return usageError{c.CommandPath(), err}
	}
	repair, _ := c.Flags().GetBool("repair")
	list, err := network.Doctor(home, limits, repair, provider.Devices(), customer.Customers())
	if err != nil {
		return err
	}
	if err := outputOf(c).print(list, func(w io.Writer) { health.Print(w, list) }); err != nil {
		return err
	}
	if health.Worst(list) == health.Bad {
		return advice{types.Refuse(types.HomeDamaged, "doctor: something is wrong with %s", home), fmt.Sprintf("what it says above; with --repair, %s mends what can be mended", c.CommandPath())}
	}
	return nil
}
