package command

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/config"
	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/server"
	servercmd "github.com/cosmos/cosmos-sdk/server/cmd"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/core/econ"
)

// blockTime is what `init` writes; `testnet` has a flag.
const blockTime = 5 * time.Second

// DefaultHome is where commands look without --home: $CAIRN_HOME, or .cairn in the user's home.
func DefaultHome() string {
	if home := os.Getenv("CAIRN_HOME"); home != "" {
		return home
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return ".cairn"
	}
	return filepath.Join(user, ".cairn")
}

// Chain makes the chain's commands. Nothing of the chain itself is made for a command that is only listed or
// explained: its codecs are with the first command that runs, or with Complete.
type Chain struct {
	home       string
	categories []econ.Category
	encoding   func() app.Encoding
	late       map[*cobra.Command]func() ([]*cobra.Command, error) // what makes the subcommands that are not there yet
}

// New returns the chain's commands to be. encoding is app.NewEncoding, and is called at most once; categories are
// those that a chain starts with that the commands make.
func New(encoding func() app.Encoding, categories []econ.Category) *Chain {
	return &Chain{home: DefaultHome(), categories: categories, encoding: sync.OnceValue(encoding), late: map[*cobra.Command]func() ([]*cobra.Command, error){}}
}

// Commands returns the commands, to be added to a root. Those with subcommands for every module have none until
// Complete.
func (ch *Chain) Commands() []*cobra.Command {
	root := &cobra.Command{Use: app.Name}
	addServer(root, ch.home, ch.categories)
	ch.addClient(root)
	commands := taken(root)
	for _, c := range commands {
		ch.mount(c)
	}
	return commands
}

// Complete makes the subcommands of the command that a command line is for, be it to run it, to explain it or
// to complete the line in a shell. Without arguments it makes those of all commands.
func (ch *Chain) Complete(root *cobra.Command, args ...string) error {
	for c, make := range ch.late {
		if len(args) > 0 && !within(root, args, c) {
			continue
		}
		delete(ch.late, c)
		list, err := make()
		if err != nil {
			return err
		}
		c.AddCommand(list...)
	}
	return nil
}

// within reports whether a command line is for c or something below it.
func within(root *cobra.Command, args []string, c *cobra.Command) bool {
	switch args[0] {
	case "help", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd: // cobra's own: what follows is a command line
		args = args[1:]
	}
	found, _, _ := root.Find(args)
	for ; found != nil; found = found.Parent() {
		if found == c {
			return true
		}
	}
	return false
}

// context is what the SDK's commands begin with.
func (ch *Chain) context() client.Context {
	enc := ch.encoding()
	return client.Context{}.
		WithCodec(enc.Codec).
		WithInterfaceRegistry(enc.InterfaceRegistry).
		WithTxConfig(enc.TxConfig).
		WithLegacyAmino(enc.Amino).
		WithAccountRetriever(authtypes.AccountRetriever{}).
		WithHomeDir(ch.home).
		WithViper("CAIRN").
		WithInput(os.Stdin)
}

// mount gives c the flags and the preparation that a root command of its own would bring.
func (ch *Chain) mount(c *cobra.Command) {
	f := pflag.NewFlagSet(c.Name(), pflag.ContinueOnError)
	f.String(flags.FlagHome, ch.home, "folder of the node's configuration and data")
	f.String(flags.FlagLogLevel, "info", "trace, debug, info, warn, error, none, or a list of module:level")
	f.String(flags.FlagLogFormat, "plain", "plain or json")
	f.Bool(flags.FlagLogNoColor, false, "no colours in logs")
	f.Bool("trace", false, "print a stack trace with errors")
	f.String(flags.FlagChainID, "", "the chain's id")
	f.VisitAll(func(flag *pflag.Flag) { // a command's own flag of that name stays
		if c.Flags().Lookup(flag.Name) == nil {
			c.PersistentFlags().AddFlag(flag)
		}
	})
	own := c.PersistentPreRunE
	c.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if own != nil {
			if err := own(cmd, args); err != nil {
				return err
			}
		}
		return prepare(cmd, ch.context())
	}
}

// prepare reads the configuration in the home and puts client and server contexts where the SDK's commands look.
func prepare(cmd *cobra.Command, ctx client.Context) error {
	cmd.SetOut(cmd.OutOrStdout())
	cmd.SetErr(cmd.ErrOrStderr())
	if cmd.Context() == nil {
		cmd.SetContext(context.Background())
	}
	cmd.SetContext(servercmd.CreateExecuteContext(cmd.Context()))
	ctx = ctx.WithCmdContext(cmd.Context()).WithOutput(cmd.OutOrStdout())
	ctx, err := client.ReadPersistentCommandFlags(ctx, cmd.Flags())
	if err != nil {
		return err
	}
	if err := local.Writable(ctx.HomeDir); err != nil {
		return err
	}
	if ctx, err = config.ReadFromClientConfig(ctx); err != nil {
		return fmt.Errorf("client.toml of %s: %w", ctx.HomeDir, err)
	}
	if err := client.SetCmdClientContextHandler(ctx, cmd); err != nil {
		return err
	}
	if err := writeServerConfig(ctx.HomeDir); err != nil {
		return err
	}
	return server.InterceptConfigsPreRunHandler(cmd, "", nil, app.CometConfig(blockTime))
}
