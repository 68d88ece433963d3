// Command cairn is the whole of Cairn in one program: a network on one machine, a validator, a device, a
// gateway, and the commands of customers and operators.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/command"
	"github.com/cairn-network/cairn/internal/buildinfo"
	device "github.com/cairn-network/cairn/node/command"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/all/provider"
	"github.com/cairn-network/cairn/service/all/spec"
	role "github.com/cairn-network/cairn/service/role/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stderr))
}

// run executes one command line and returns its exit status: 0, 1 for what failed, 2 for what was not
// understood, 3 for what shows less than was asked for; or the status of a program that it ran (command.Exit).
func run(ctx context.Context, args []string, stderr io.Writer) int {
	chain := command.New(app.NewEncoding, service.Genesis(spec.Categories()))
	return complete(ctx, chain, newRoot(chain.Commands()), args, stderr)
}

// complete executes a command line once the chain's commands are all there that it may name.
func complete(ctx context.Context, chain *command.Chain, root *cobra.Command, args []string, stderr io.Writer) int {
	if len(args) > 0 {
		if err := chain.Complete(root, args...); err != nil {
			report(stderr, err)
			return 1
		}
	}
	return execute(ctx, root, args, stderr)
}

func execute(ctx context.Context, root *cobra.Command, args []string, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "node" { // it has its own way to say what went wrong
		return device.Run(ctx, root, args, stderr)
	}
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	if err != nil && !errors.As(err, &usage) && strings.HasPrefix(err.Error(), "unknown command") { // cobra has no type for it
		err = usageError{root.CommandPath(), err}
	}
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s\ntry: %s\n", plain(err), usage.try())
		return 2
	}
	var exit role.Exit
	if errors.As(err, &exit) {
		return int(exit)
	}
	report(stderr, err)
	if errors.As(err, new(inconclusive)) {
		return 3
	}
	return 1
}

// noun is what a command does that only groups others: it lists them.
func noun(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{c.CommandPath(), fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath())}
	}
	return c.Help()
}

// newRoot is the whole program: the chain's commands, Cairn's own and a device's.
func newRoot(chain []*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:           "cairn",
		Short:         "Physical infrastructure, owned by the people who run it",
		Version:       buildinfo.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Example:       "  cairn up\n  cairn " + strings.Join(append(tries(), "device list"), "\n  cairn "),
	}
	root.SetFlagErrorFunc(flagError)
	root.AddGroup(&cobra.Group{ID: "network", Title: "Network:"}, &cobra.Group{ID: "chain", Title: "Chain (as in other Cosmos SDK chains):"})
	for _, c := range chain {
		c.GroupID = "chain"
		root.AddCommand(c)
	}
	for _, c := range verbs() {
		c.GroupID = "network"
		if c.HasSubCommands() {
			c.Args, c.RunE = cobra.ArbitraryArgs, noun
		}
		root.AddCommand(c)
	}
	node := device.New(provider.Devices())
	node.GroupID = "network"
	root.AddCommand(node)
	return root
}
