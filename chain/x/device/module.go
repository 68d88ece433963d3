// Package device is the module of operators, makers, models, devices, bonds and suspensions: see its keeper.
package device

import (
	"context"

	"cosmossdk.io/core/appmodule"
	"github.com/cosmos/cosmos-sdk/client"
	gwruntime "github.com/grpc-ecosystem/grpc-gateway/runtime"
	"google.golang.org/grpc"

	"github.com/cairn-network/cairn/chain/base"
	"github.com/cairn-network/cairn/chain/x/device/keeper"
	"github.com/cairn-network/cairn/chain/x/device/types"
)

var _ appmodule.HasEndBlocker = AppModule{}

// Basic is what the module offers without its keeper.
var Basic = base.Basic[types.GenesisState, *types.GenesisState]{
	Module: types.ModuleName, Amino: types.RegisterLegacyAminoCodec, Interfaces: types.RegisterInterfaces, Default: types.DefaultGenesis,
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

// EndBlock forgets what is old.
func (m AppModule) EndBlock(ctx context.Context) error { return m.Try(ctx, m.keeper.EndBlock) }
