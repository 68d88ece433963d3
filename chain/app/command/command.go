package command

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/config"
	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/server"
	servercmd "github.com/cosmos/cosmos-sdk/server/cmd"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"

	"cosmossdk.io/log/v2"
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

// NewCommands returns the chain's commands. It builds an application in memory to learn its services, so call it only
// when one of them may be wanted.
func NewCommands() ([]*cobra.Command, error) {
	home := DefaultHome()
	model := app.New(log.NewNopLogger(), dbm.NewMemDB(), true, viper.New())
	enc := model.Encoding()
	ctx := client.Context{}.
		WithCodec(enc.Codec).
		WithInterfaceRegistry(enc.InterfaceRegistry).
		WithTxConfig(enc.TxConfig).
		WithLegacyAmino(enc.Amino).
		WithAccountRetriever(authtypes.AccountRetriever{}).
		WithHomeDir(home).
		WithViper("CAIRN").
		WithInput(os.Stdin)

	root := &cobra.Command{Use: app.Name}
	addServer(root, home)
	addClient(root, enc, home)
	if err := addModules(root, model, ctx); err != nil {
		return nil, err
	}
	commands := root.Commands()
	root.RemoveCommand(commands...)
	for _, c := range commands {
		mount(c, ctx, home)
	}
	return commands, nil
}

// mount gives c the flags and the preparation that a root command of its own would bring.
func mount(c *cobra.Command, ctx client.Context, home string) {
	f := pflag.NewFlagSet(c.Name(), pflag.ContinueOnError)
	f.String(flags.FlagHome, home, "folder of the node's configuration and data")
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
		return prepare(cmd, ctx)
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
	ctx = ctx.WithCmdContext(cmd.Context())
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
