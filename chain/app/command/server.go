package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/client/pruning"
	"github.com/cosmos/cosmos-sdk/client/snapshot"
	"github.com/cosmos/cosmos-sdk/server"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	servertypes "github.com/cosmos/cosmos-sdk/server/types"
	genutilcli "github.com/cosmos/cosmos-sdk/x/genutil/client/cli"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	"github.com/spf13/cobra"
	"github.com/spf13/viper"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/internal/disk"

	"cosmossdk.io/log/v2"
)

// addServer adds what runs a node or cares for its data.
func addServer(root *cobra.Command, home string, categories []econ.Category) {
	server.AddCommandsWithStartCmdOptions(root, home, newApp, export, server.StartCmdOptions{})
	root.AddCommand(
		initCommand(home, categories),
		testnetCommand(categories),
		server.StatusCommand(),
		pruning.Cmd(newApp, home),
		snapshot.Cmd(newApp),
		renewCommand(),
	)
	for _, c := range root.Commands() {
		if c.Name() == "start" {
			c.PreRunE = checkGenesis
			start(c)
		}
		if c.Name() == "export" {
			dated(c)
		}
	}
}

// start has the SDK's command run the node through package local, which ends in order where CometBFT's own end
// may panic with peers connected. What only the SDK offers (no consensus in the process, a CPU profile) stays
// the SDK's.
func start(c *cobra.Command) {
	run := c.RunE
	c.Flags().String("disk-warn", disk.Size(disk.Warn), "free disk space below which the log warns (0: never)")
	c.Flags().String("disk-stop", disk.Size(disk.Stop), "free disk space below which the node stops, while it can do so in order (0: never)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		s := server.GetServerContextFromCmd(cmd)
		limits, err := diskLimits(s.Viper)
		if err != nil {
			return err
		}
		if !s.Viper.GetBool("with-comet") || s.Viper.GetBool("grpc-only") || s.Viper.GetString("cpu-profile") != "" {
			return run(cmd, args)
		}
		options := map[string]any{}
		for _, key := range s.Viper.AllKeys() {
			options[key] = s.Viper.Get(key)
		}
		n, err := local.Start(cmd.Context(), local.Config{
			Home: s.Config.RootDir, SDK: s.Logger, Alone: true, Options: options, Disk: limits,
			Configure: func(comet *cmtcfg.Config, _ *serverconfig.Config) { *comet = *s.Config },
		})
		if err != nil {
			return err
		}
		<-n.Done()
		return errors.Join(n.Err(), n.Stop())
	}
}

// diskLimits reads the flags, which the environment (CAIRN_DISK_STOP) and app.toml may set as well.
func diskLimits(v *viper.Viper) (disk.Limits, error) {
	warn, err1 := disk.ParseSize(v.GetString("disk-warn"))
	stop, err2 := disk.ParseSize(v.GetString("disk-stop"))
	limits := disk.Limits{Warn: warn, Stop: stop}
	return limits, errors.Join(err1, err2, limits.Check())
}

// initCommand is the SDK's, with this chain's consensus parameters written over the SDK's in the genesis document,
// and the categories that a new chain starts with.
func initCommand(home string, categories []econ.Category) *cobra.Command {
	c := genutilcli.InitCmd(app.Basics(categories...), home)
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := run(cmd, args); err != nil {
			return err
		}
		path := server.GetServerContextFromCmd(cmd).Config.GenesisFile()
		doc, err := genutiltypes.AppGenesisFromFile(path)
		if err != nil {
			return fmt.Errorf("read %s back: %w", path, err)
		}
		keys := doc.Consensus.Params.Validator
		doc.Consensus.Params = app.ConsensusParams(21 * 24 * time.Hour)
		doc.Consensus.Params.Validator = keys
		return doc.SaveAs(path)
	}
	return c
}

// checkGenesis turns the most frequent mistake into a sentence.
func checkGenesis(cmd *cobra.Command, _ []string) error {
	path := server.GetServerContextFromCmd(cmd).Config.GenesisFile()
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return fmt.Errorf("%s is missing: run `cairn init NAME` first, or `cairn up` for a whole network", path)
	}
	return nil
}

// writeServerConfig writes app.toml with this chain's defaults where none is.
func writeServerConfig(home string) error {
	path := filepath.Join(home, "config", "app.toml")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		return err
	}
	serverconfig.SetConfigTemplate(serverconfig.DefaultConfigTemplate)
	serverconfig.WriteConfigFile(path, app.ServerConfig()) // the folder was proven writable
	return nil
}

func newApp(logger log.Logger, db dbm.DB, opts servertypes.AppOptions) servertypes.Application {
	return app.New(logger, db, true, opts, server.DefaultBaseappOptions(opts)...)
}

// export loads the state as of a height (-1: the last) and writes it as genesis.
func export(logger log.Logger, db dbm.DB, height int64, zero bool, _ []string, opts servertypes.AppOptions, modules []string) (servertypes.ExportedApp, error) {
	if zero {
		return servertypes.ExportedApp{}, fmt.Errorf("a ledger of epochs cannot start again at height zero: export without --for-zero-height")
	}
	a := app.New(logger, db, height == -1, opts)
	defer a.Close() // the SDK leaves the database open
	if height != -1 {
		if err := a.LoadHeight(height); err != nil {
			return servertypes.ExportedApp{}, fmt.Errorf("load block %d: %w", height, err)
		}
	}
	return a.Export(modules)
}
