package command

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
)

func configCommand(devices []role.Device) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Write the settings file with every default, or check it",
		Long: "The settings are in node.yaml of the device's home: the device's own, and a section for each category that it\n" +
			"provides. The environment overrides the file, and flags override the environment. Secrets are in files of their own.",
		Example: "  cairn-node config check",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage{c.CommandPath(), fmt.Errorf("%s: there is no %q", c.CommandPath(), args[0])}
			}
			return usage{c.CommandPath(), errors.New("usage: " + c.CommandPath() + " init|check")}
		},
	}
	check := &cobra.Command{
		Use:     "check",
		Short:   "Say whether the settings can be read, and where not",
		Example: "  cairn-node config check\n  cairn-node config check --json",
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return runCheck(c, devices) },
	}
	jsonFlag(check)
	write := initCommand(devices)
	write.Args = noArguments
	c.AddCommand(write, check)
	return c
}

func runCheck(c *cobra.Command, devices []role.Device) error {
	home, err := homeOf(c)
	if err != nil {
		return err
	}
	s, err := load(home)
	if err != nil {
		return err
	}
	providers, err := providersOf(s, devices)
	if err != nil {
		return err
	}
	network, err := joined(home)
	if err == nil {
		_, err = network.Pin(s.Region)
	}
	if err != nil {
		return err
	}
	names := make([]string, len(providers))
	for i, p := range providers {
		names[i] = p.Category.String()
	}
	type summary struct {
		File     string        `json:"file"`
		Owner    types.Account `json:"owner"`
		Provides []string      `json:"provides"`
	}
	path := filepath.Join(home, node.SettingsFile)
	return output(c, summary{path, s.Owner, names}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: provides %s for %v\n", path, strings.Join(names, ", "), s.Owner)
	})
}
