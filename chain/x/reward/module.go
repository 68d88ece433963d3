// Package reward is the module of the economy's parameters and of what is minted: see its keeper.
package reward

import (
	"context"

	"cosmossdk.io/core/appmodule"
	"github.com/cosmos/cosmos-sdk/client"
	gwruntime "github.com/grpc-ecosystem/grpc-gateway/runtime"
	"google.golang.org/grpc"

	"github.com/cairn-network/cairn/chain/base"
	"github.com/cairn-network/cairn/chain/x/reward/keeper"
	"github.com/cairn-network/cairn/chain/x/reward/types"
)

var _ appmodule.HasEndBlocker = AppModule{}

// Basic is what the module offers without its keeper.
var Basic = base.Basic[types.GenesisState, *types.GenesisState]{
	Module: types.ModuleName, Amino: types.RegisterLegacyAminoCodec, Interfaces: types.RegisterInterfaces,
	Default: func() *types.GenesisState { return types.DefaultGenesis() },
	Routes: func(ctx client.Context, mux *gwruntime.ServeMux) error {
		return types.RegisterQueryHandlerClient(context.Background(), mux, types.NewQueryClient(ctx))
	},
}

// AppModule is the module with its keeper.
type AppModule struct {
	base.Module[types.GenesisState, *types.GenesisState]
	keeper keeper.Keeper
}

// NewAppModule returns the module.
func NewAppModule(k keeper.Keeper) AppModule {
	return AppModule{keeper: k, Module: base.Module[types.GenesisState, *types.GenesisState]{
		Basic: Basic, Keeper: k,
		Messages: func(r grpc.ServiceRegistrar) { types.RegisterMsgServer(r, keeper.NewMsgServer(k)) },
		Queries:  func(r grpc.ServiceRegistrar) { types.RegisterQueryServer(r, keeper.NewQueryServer(k)) },
	}}
}

// EndBlock counts fees and passes the validators' part on.
func (m AppModule) EndBlock(ctx context.Context) error { return m.Try(ctx, m.keeper.EndBlock) }
