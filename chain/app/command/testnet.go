package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"

	"cosmossdk.io/math"
)

const stone = 1_000_000 // ustone

func testnetCommand(categories []econ.Category) *cobra.Command {
	c := &cobra.Command{
		Use:   "testnet",
		Short: "Make a chain of several validators on this machine, and run it",
	}
	c.AddCommand(testnetInitCommand(categories), testnetStartCommand())
	return c
}

func testnetInitCommand(categories []econ.Category) *cobra.Command {
	var (
		n       int
		out, id string
		block   time.Duration
		epoch   uint64
	)
	c := &cobra.Command{
		Use:   "init-files",
		Short: "Write homes, keys and one genesis for several validators",
		Long: "Write one home per validator under --output-dir, with keys in its test keyring, ports that are free now, and one\n" +
			"genesis for all. Run them with `cairn testnet start`, or one by one with `cairn start --home DIR/validator-N`.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 1 || n > 100 {
				return fmt.Errorf("--validators %d: 1 to 100", n)
			}
			g := local.Genesis{
				ChainID: id, BlockTime: block, Categories: categories,
				Stake: math.NewInt(1_000_000 * stone), Balance: math.NewInt(1_000_000 * stone),
			}
			if epoch != 0 {
				g.Edit = shortEpochs(epoch)
			}
			for i := range n {
				g.Homes = append(g.Homes, filepath.Join(out, fmt.Sprintf("validator-%d", i)))
			}
			validators, err := local.Init(g)
			if err != nil {
				return err
			}
			return describe(cmd.OutOrStdout(), validators)
		},
	}
	c.Flags().IntVar(&n, "validators", 4, "how many")
	c.Flags().StringVarP(&out, "output-dir", "o", ".testnet", "folder of the homes")
	c.Flags().StringVar(&id, "id", "cairn-testnet", "the chain's id")
	c.Flags().DurationVar(&block, "block-time", time.Second, "time between blocks")
	c.Flags().Uint64Var(&epoch, "epoch-blocks", 0, "blocks of an epoch, 10 or more, with an appeal window of one epoch, for trying things; 0: as a chain across machines has it")
	return c
}

// shortEpochs changes a genesis so that epochs have so many blocks, and their tallies are final after the next.
func shortEpochs(blocks uint64) func(codec.Codec, app.State, []local.Validator) error {
	return func(cdc codec.Codec, state app.State, _ []local.Validator) error {
		var g tallytypes.GenesisState
		if err := cdc.UnmarshalJSON(state[tallytypes.ModuleName], &g); err != nil {
			return err
		}
		g.Params.EpochBlocks, g.Params.AppealWindow, g.Params.VoteBlocks = blocks, 1, max(1, blocks/2)
		raw, err := cdc.MarshalJSON(&g)
		state[tallytypes.ModuleName] = raw
		return err
	}
}

func describe(w io.Writer, validators []local.Validator) error {
	type line struct {
		Name, Home, Account, RPC, GRPC, REST string
	}
	var lines []line
	for _, v := range validators {
		lines = append(lines, line{v.Name, v.Home, v.Account.String(), v.Addresses.RPC, v.Addresses.GRPC, v.Addresses.REST})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(lines)
}

func testnetStartCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "start",
		Short: "Run every validator that init-files made, in one process, until interrupted",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			homes, err := filepath.Glob(filepath.Join(out, "validator-*"))
			if err != nil || len(homes) == 0 {
				return fmt.Errorf("no validator in %s: run `cairn testnet init-files` first", out)
			}
			logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
			ended := make(chan struct{}, len(homes))
			var nodes []*local.Node
			defer func() {
				for _, n := range nodes {
					err = errors.Join(err, n.Stop())
				}
			}()
			for _, home := range homes {
				n, err := local.Start(cmd.Context(), local.Config{Home: home, Logger: logger.With("validator", filepath.Base(home))})
				if err != nil {
					return err
				}
				nodes = append(nodes, n)
				go func() { <-n.Done(); ended <- struct{}{} }()
				fmt.Fprintf(cmd.OutOrStdout(), "%s: rpc http://%s, rest http://%s\n", filepath.Base(home), n.Addresses().RPC, n.Addresses().REST)
			}
			select {
			case <-cmd.Context().Done():
			case <-ended:
			}
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output-dir", "o", ".testnet", "folder of the homes")
	return c
}
