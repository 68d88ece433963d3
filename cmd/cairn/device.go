package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/explorer"
)

func deviceCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "device", Short: "Devices: list them, register your own",
		Example: "  cairn device list\n  cairn device register cairn-claim:hF… --from me",
	}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List devices with what they earned", Args: exactly(), RunE: deviceList,
		Example: "  cairn device list\n  cairn device list --json"}
	show := &cobra.Command{Use: "show DEVICE", Short: "Show one device: earnings, refusals and why", Args: exactly("DEVICE"), RunE: deviceShow,
		Example: "  cairn device show did:key:z6Mk…"}
	c.AddCommand(homeFlags(list), homeFlags(show))
	return c
}

func deviceList(c *cobra.Command, _ []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	devices := []explorer.Device{}
	for after := ""; ; {
		var page []explorer.Device
		if err := a.get(c.Context(), "/api/devices?limit=1000&after="+url.QueryEscape(after), &page); err != nil {
			return fmt.Errorf("device list: %w", err)
		}
		devices = append(devices, page...)
		if len(page) < 1000 {
			break
		}
		after = page[len(page)-1].Device
	}
	return outputOf(c).print(devices, func(w io.Writer) {
		rows := make([][]string, len(devices))
		for i, d := range devices {
			rows[i] = []string{d.Device, d.Category, d.Status, fmt.Sprintf("%.2f %%", float64(d.Quality)/100),
				stone(d.Earned), stone(d.Claimed), strconv.FormatUint(d.Refused, 10)}
		}
		table(w, []string{"DEVICE", "PROVIDES", "STATUS", "QUALITY", "EARNED", "CLAIMED", "REFUSED"}, rows)
	})
}

func deviceShow(c *cobra.Command, args []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	var page explorer.DevicePage
	if err := a.get(c.Context(), "/api/devices/"+url.PathEscape(args[0]), &page); err != nil {
		return fmt.Errorf("device show: %w", err)
	}
	return outputOf(c).print(page, func(w io.Writer) {
		for _, d := range page.Devices {
			fmt.Fprintf(w, "%s\n  provides  %s\n  owner     %s\n  status    %s\n  quality   %.2f %%\n  earned    %s\n  claimed   %s\n",
				d.Device, d.Category, d.Owner, d.Status, float64(d.Quality)/100, stone(d.Earned), stone(d.Claimed))
		}
		for _, r := range page.Refusals {
			fmt.Fprintf(w, "  refused   %d × %s\n            try: %s\n", r.Count, r.Reason, tryOf(r.Reason))
		}
	})
}
