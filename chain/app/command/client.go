package command

import (
	"fmt"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/debug"
	"github.com/cosmos/cosmos-sdk/client/keys"
	"github.com/cosmos/cosmos-sdk/client/rpc"
	addresscodec "github.com/cosmos/cosmos-sdk/codec/address"
	"github.com/cosmos/cosmos-sdk/runtime/services"
	"github.com/cosmos/cosmos-sdk/server"
	authcli "github.com/cosmos/cosmos-sdk/x/auth/client/cli"
	genutilcli "github.com/cosmos/cosmos-sdk/x/genutil/client/cli"
	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app"

	"cosmossdk.io/client/v2/autocli"
	"cosmossdk.io/core/appmodule"
)

// addClient adds what talks to a node, or prepares a genesis.
func addClient(root *cobra.Command, enc app.Encoding, home string) {
	query := &cobra.Command{
		Use: "query", Aliases: []string{"q"}, Short: "Read the chain's state",
		SuggestionsMinimumDistance: 2, RunE: client.ValidateCmd,
	}
	query.AddCommand(
		rpc.WaitTxCmd(), rpc.ValidatorCommand(),
		server.QueryBlockCmd(), server.QueryBlocksCmd(), server.QueryBlockResultsCmd(),
		authcli.QueryTxCmd(), authcli.QueryTxsByEventsCmd(),
	)
	tx := &cobra.Command{
		Use: "tx", Short: "Sign and send transactions",
		SuggestionsMinimumDistance: 2, RunE: client.ValidateCmd,
	}
	tx.AddCommand(
		authcli.GetSignCommand(), authcli.GetSignBatchCommand(),
		authcli.GetMultiSignCommand(), authcli.GetMultiSignBatchCmd(),
		authcli.GetValidateSignaturesCommand(), authcli.GetBroadcastCommand(),
		authcli.GetEncodeCommand(), authcli.GetDecodeCommand(), authcli.GetSimulateCmd(),
	)
	root.AddCommand(
		query, tx, keys.Commands(), debug.Cmd(),
		genutilcli.Commands(enc.TxConfig, app.Basics(), home),
	)
}

// addModules adds each module's queries and transactions below query and tx.
func addModules(root *cobra.Command, model *app.App, ctx client.Context) error {
	modules := map[string]appmodule.AppModule{}
	for name, m := range model.Manager().Modules {
		if am, ok := m.(appmodule.AppModule); ok {
			modules[name] = am
		}
	}
	opts := autocli.AppOptions{
		Modules:               modules,
		ModuleOptions:         services.ExtractAutoCLIOptions(model.Manager().Modules),
		AddressCodec:          addresscodec.NewBech32Codec(app.Prefix),
		ValidatorAddressCodec: addresscodec.NewBech32Codec(app.Prefix + "valoper"),
		ConsensusAddressCodec: addresscodec.NewBech32Codec(app.Prefix + "valcons"),
		ClientCtx:             ctx,
	}
	if err := opts.EnhanceRootCommand(root); err != nil {
		return fmt.Errorf("command: build queries and transactions: %w", err)
	}
	return nil
}
