package command

import (
	"fmt"
	"os"

	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/server"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app/local"
)

// dated has the SDK's export give the genesis the time of the last block: with that of the first chain, time
// would run backwards.
func dated(c *cobra.Command) {
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := cmd.Flags().GetString(flags.FlagOutputDocument)
		if err != nil {
			return err
		}
		f, err := os.CreateTemp("", "cairn-export-")
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		f.Close()
		defer os.Remove(f.Name())
		if err := cmd.Flags().Set(flags.FlagOutputDocument, f.Name()); err != nil {
			return err
		}
		if err := run(cmd, args); err != nil {
			return err
		}
		doc, err := genutiltypes.AppGenesisFromFile(f.Name())
		if err != nil {
			return fmt.Errorf("export: read it back: %w", err)
		}
		if err := local.Dated(server.GetServerContextFromCmd(cmd).Config.RootDir, doc); err != nil {
			return err
		}
		if to != "" {
			return doc.SaveAs(to)
		}
		if err := doc.SaveAs(f.Name()); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		raw, err := os.ReadFile(f.Name())
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		_, err = cmd.OutOrStdout().Write(raw)
		return err
	}
}

// renewCommand begins a chain anew from its export.
func renewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "renew GENESIS",
		Short: "Begin the chain of a home anew from a genesis that was exported from it",
		Long: `Begin the chain of a home anew from a genesis that was exported from it.

The chain goes on with the next height, and has no block of before: what tallies need of those is in the export. Keys, and what the validator
signed last, stay; the old data is moved aside, to a folder that is printed. Every validator does the same, with the same file; then all
start again.`,
		Example: `  cairn export --home ~/.cairn/chain/0 --output-document export.json
  cairn renew export.json --home ~/.cairn/chain/0`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc, err := genutiltypes.AppGenesisFromFile(args[0])
			if err != nil {
				return fmt.Errorf("renew: %w", err)
			}
			old, err := local.Renew(server.GetServerContextFromCmd(cmd).Config.RootDir, doc)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "block %d will be the first; what was before is in %s\n", doc.InitialHeight, old)
			return nil
		},
	}
}
