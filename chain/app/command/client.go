package command

import (
	"context"
	"fmt"
	"slices"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/debug"
	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/client/keys"
	"github.com/cosmos/cosmos-sdk/client/rpc"
	addresscodec "github.com/cosmos/cosmos-sdk/codec/address"
	"github.com/cosmos/cosmos-sdk/runtime/services"
	"github.com/cosmos/cosmos-sdk/server"
	authcli "github.com/cosmos/cosmos-sdk/x/auth/client/cli"
	genutilcli "github.com/cosmos/cosmos-sdk/x/genutil/client/cli"
	"github.com/cosmos/gogoproto/proto"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/cairn-network/cairn/chain/app"

	"cosmossdk.io/client/v2/autocli"
	"cosmossdk.io/client/v2/autocli/flag"
	"cosmossdk.io/core/appmodule"
)

// addClient adds what talks to a node, or prepares a genesis. What is below query, tx and genesis comes with
// Chain.Complete.
func (ch *Chain) addClient(root *cobra.Command) {
	query := &cobra.Command{
		Use: "query", Aliases: []string{"q"}, Short: "Read the chain's state",
		SuggestionsMinimumDistance: 2, RunE: client.ValidateCmd,
	}
	tx := &cobra.Command{
		Use: "tx", Short: "Sign and send transactions",
		SuggestionsMinimumDistance: 2, RunE: client.ValidateCmd,
	}
	genesis := &cobra.Command{
		Use: "genesis", Short: "Application's genesis-related subcommands",
		SuggestionsMinimumDistance: 2, RunE: client.ValidateCmd,
	}
	ch.late[query], ch.late[tx], ch.late[genesis] = ch.queries, ch.transactions, ch.genesis
	root.AddCommand(query, tx, genesis, keys.Commands(), debug.Cmd())
}

func (ch *Chain) queries() ([]*cobra.Command, error) {
	builder, opts, err := ch.modules()
	if err != nil {
		return nil, err
	}
	built, err := builder.BuildQueryCommand(context.Background(), opts, nil)
	if err != nil {
		return nil, fmt.Errorf("command: build queries: %w", err)
	}
	return append(taken(built),
		rpc.WaitTxCmd(), rpc.ValidatorCommand(),
		server.QueryBlockCmd(), server.QueryBlocksCmd(), server.QueryBlockResultsCmd(),
		authcli.QueryTxCmd(), authcli.QueryTxsByEventsCmd(),
	), nil
}

func (ch *Chain) transactions() ([]*cobra.Command, error) {
	builder, opts, err := ch.modules()
	if err != nil {
		return nil, err
	}
	own := map[string]*cobra.Command{}
	for name, m := range opts.Modules {
		if m, ok := m.(autocli.HasCustomTxCommand); ok {
			if c := m.GetTxCmd(); c != nil {
				own[name] = c
			}
		}
	}
	built, err := builder.BuildMsgCommand(context.Background(), opts, own)
	if err != nil {
		return nil, fmt.Errorf("command: build transactions: %w", err)
	}
	return append(taken(built),
		authcli.GetSignCommand(), authcli.GetSignBatchCommand(),
		authcli.GetMultiSignCommand(), authcli.GetMultiSignBatchCmd(),
		authcli.GetValidateSignaturesCommand(), authcli.GetBroadcastCommand(),
		authcli.GetEncodeCommand(), authcli.GetDecodeCommand(), authcli.GetSimulateCmd(),
	), nil
}

func (ch *Chain) genesis() ([]*cobra.Command, error) {
	return taken(genutilcli.Commands(ch.encoding().TxConfig, app.Basics(), ch.home)), nil
}

// taken takes a command's subcommands from it.
func taken(c *cobra.Command) []*cobra.Command {
	list := slices.Clone(c.Commands())
	c.RemoveCommand(list...)
	return list
}

// modules returns what makes commands of the modules' protobuf services.
func (ch *Chain) modules() (*autocli.Builder, autocli.AppOptions, error) {
	all := app.Modules(ch.encoding())
	modules := map[string]appmodule.AppModule{}
	for name, m := range all {
		if am, ok := m.(appmodule.AppModule); ok {
			modules[name] = am
		}
	}
	opts := autocli.AppOptions{
		Modules:               modules,
		ModuleOptions:         services.ExtractAutoCLIOptions(all),
		AddressCodec:          addresscodec.NewBech32Codec(app.Prefix),
		ValidatorAddressCodec: addresscodec.NewBech32Codec(app.Prefix + "valoper"),
		ConsensusAddressCodec: addresscodec.NewBech32Codec(app.Prefix + "valcons"),
		ClientCtx:             ch.context(),
	}
	files, err := proto.MergedRegistry() // proto.HybridResolver would not know what an enum of another file can be
	if err != nil {
		return nil, opts, fmt.Errorf("command: descriptors: %w", err)
	}
	builder := &autocli.Builder{
		Builder: flag.Builder{
			TypeResolver:          protoregistry.GlobalTypes,
			FileResolver:          files,
			AddressCodec:          opts.AddressCodec,
			ValidatorAddressCodec: opts.ValidatorAddressCodec,
			ConsensusAddressCodec: opts.ConsensusAddressCodec,
		},
		GetClientConn: func(cmd *cobra.Command) (grpc.ClientConnInterface, error) {
			return client.GetClientQueryContext(cmd)
		},
		AddQueryConnFlags: func(c *cobra.Command) {
			flags.AddQueryFlagsToCmd(c)
			flags.AddKeyringFlags(c.Flags())
		},
		AddTxConnFlags: flags.AddTxFlagsToCmd,
	}
	if err := builder.ValidateAndComplete(); err != nil {
		return nil, opts, fmt.Errorf("command: modules: %w", err)
	}
	return builder, opts, nil
}
