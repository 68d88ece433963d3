// Package command is the command line of a device: init, code, config, run, status, doctor and unit.
// cmd/cairn-node is made of it, and cmd/cairn carries it as `cairn node`.
//
// A command prints for people, or one JSON value with --json. Its errors are for Run to print: what failed and
// why in one line, then what to do about it. Run returns 0, 1 for what failed, and 2 for a command line that
// was not understood.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// New returns the command with its subcommands. devices are what a device can provide.
func New(devices []role.Device) *cobra.Command {
	root := &cobra.Command{
		Use:           "node",
		Short:         "Provide what this machine has to spare",
		Long:          "A device offers what it has, proves what it provides, and is paid by what was counted.\nIt holds a key of its own and no money: what it earns goes to its owner's account.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().String("home", "", "the device's home (default $CAIRN_NODE_HOME, else ~/.cairn-node)")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage{c.CommandPath(), err} })
	root.AddCommand(initCommand(devices), codeCommand(), runCommand(devices), statusCommand(), doctorCommand(devices), unitCommand())
	for _, c := range root.Commands() {
		c.Args = noArguments
	}
	root.AddCommand(configCommand(devices))
	root.Args, root.RunE = cobra.ArbitraryArgs, func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage{c.CommandPath(), fmt.Errorf("%s: unknown command %q", c.CommandPath(), args[0])}
		}
		return c.Help()
	}
	return root
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage{c.CommandPath(), fmt.Errorf("%s: takes no arguments, has %q", c.CommandPath(), args)}
	}
	return nil
}

// usage says that a command line was not understood.
type usage struct {
	command string
	err     error
}

func (u usage) Error() string {
	if types.ReasonOf(u.err) != "" {
		return u.err.Error()
	}
	first, rest, _ := strings.Cut(u.err.Error(), "\n") // cobra adds what may have been meant
	return strings.TrimRight(fmt.Sprintf("%s: %s\n%s", first, types.BadArgument, rest), "\n")
}
func (u usage) Unwrap() []error { return []error{u.err, types.BadArgument} }

// advice is an error with what to do about it.
type advice struct {
	error
	try string
}

func (a advice) Unwrap() error { return a.error }

// Run executes one command line, prints what went wrong, and returns the exit status.
func Run(ctx context.Context, root *cobra.Command, args []string, stderr io.Writer) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var u usage
	var a advice
	switch {
	case err == nil:
		return 0
	case errors.As(err, &u):
		fmt.Fprintf(stderr, "%v\ntry: %s --help\n", err, u.command)
		return 2
	}
	fmt.Fprintln(stderr, err)
	try := role.Info(types.ReasonOf(err)).Try
	if errors.As(err, &a) {
		try = a.try
	}
	if try != "" {
		fmt.Fprintln(stderr, "try:", try)
	}
	return 1
}

func homeOf(c *cobra.Command) (string, error) {
	if home, _ := c.Flags().GetString("home"); home != "" {
		return filepath.Abs(home)
	}
	if home := os.Getenv("CAIRN_NODE_HOME"); home != "" {
		return filepath.Abs(home)
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", advice{fmt.Errorf("home: %w", err), "name one with --home"}
	}
	return filepath.Join(user, ".cairn-node"), nil
}

// output prints v as JSON if --json is set, and calls human if not.
func output(c *cobra.Command, v any, human func(io.Writer)) error {
	if asJSON, _ := c.Flags().GetBool("json"); asJSON {
		return json.NewEncoder(c.OutOrStdout()).Encode(v)
	}
	human(c.OutOrStdout())
	return nil
}

func jsonFlag(c *cobra.Command) {
	c.Flags().Bool("json", false, "print JSON: stable names, amounts in base units")
}
