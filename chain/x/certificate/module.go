// Package certificate is the module of certificates over ranges of a register that only rises: see its keeper.
package certificate

import (
	"context"

	"github.com/cosmos/cosmos-sdk/client"
	gwruntime "github.com/grpc-ecosystem/grpc-gateway/runtime"
	"google.golang.org/grpc"

	"github.com/cairn-network/cairn/chain/base"
	"github.com/cairn-network/cairn/chain/x/certificate/keeper"
	"github.com/cairn-network/cairn/chain/x/certificate/types"
)

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
}

// NewAppModule returns the module.
func NewAppModule(k keeper.Keeper) AppModule {
	return AppModule{base.Module[types.GenesisState, *types.GenesisState]{
		Basic: Basic, Keeper: k,
		Messages: func(r grpc.ServiceRegistrar) { types.RegisterMsgServer(r, keeper.NewMsgServer(k)) },
		Queries:  func(r grpc.ServiceRegistrar) { types.RegisterQueryServer(r, keeper.NewQueryServer(k)) },
	}}
}
