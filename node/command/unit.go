package command

import (
	"fmt"
	"io"
	"os"
	"os/user"

	"github.com/spf13/cobra"
)

// unitText is a systemd service: restarted whatever happens, with nothing of the system but its home to write to.
const unitText = `[Unit]
Description=Cairn device
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=%s run --home %s
User=%s
Restart=always
RestartSec=5
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=%s
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
`

func unitCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "unit",
		Short:   "Print a systemd unit that runs the device from boot on",
		Example: "  cairn-node unit | sudo tee /etc/systemd/system/cairn-node.service\n  sudo systemctl enable --now cairn-node",
	}
	jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		home, err := homeOf(c)
		if err != nil {
			return err
		}
		if _, err := load(home); err != nil {
			return err
		}
		program, err := os.Executable()
		if err != nil {
			return fmt.Errorf("unit: %w", err)
		}
		who, err := user.Current()
		if err != nil {
			return fmt.Errorf("unit: %w", err)
		}
		if c.Parent().Name() == "node" {
			program += " node"
		}
		text := fmt.Sprintf(unitText, program, home, who.Username, home)
		return output(c, map[string]string{"unit": text}, func(w io.Writer) { fmt.Fprint(w, text) })
	}
	return c
}
