// Command cairn is the whole of Cairn in one program: a network on one machine, a validator, a device, a gateway, and the
// commands of customers and operators.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cairn:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	root := &cobra.Command{
		Use:           "cairn",
		Short:         "Physical infrastructure, owned by the people who run it",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	chain, err := command.NewCommands()
	if err != nil {
		return err
	}
	root.AddCommand(chain...)
	return root.ExecuteContext(ctx)
}
