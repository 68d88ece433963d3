// Package base is what the modules of this chain have in common: how each offers its codec, its REST routes and
// its genesis to the SDK. A module embeds Module, and adds what is its own: blocks' beginnings and ends,
// commands.
package base

import (
	"context"
	"encoding/json"
	"fmt"

	"cosmossdk.io/core/appmodule"
	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	gwruntime "github.com/grpc-ecosystem/grpc-gateway/runtime"
	"google.golang.org/grpc"

	"github.com/cairn-network/cairn/chain/refusal"
)

// State is a module's genesis state.
type State[G any] interface {
	*G
	codec.ProtoMarshaler
	Validate() error
}

// Basic is what a module offers without its keeper.
type Basic[G any, P State[G]] struct {
	Module     string
	Amino      func(*codec.LegacyAmino)                        // names the messages for Amino JSON
	Interfaces func(codectypes.InterfaceRegistry)              // makes the messages known
	Routes     func(client.Context, *gwruntime.ServeMux) error // mounts the REST interface
	Default    func() P                                        // the state of a new chain
}

// Keeper is what a module needs of its keeper.
type Keeper[P any] interface {
	InitGenesis(ctx context.Context, g P) error
	ExportGenesis(ctx context.Context) (P, error)
}

// Module is a module with its keeper.
type Module[G any, P State[G]] struct {
	Basic[G, P]
	Keeper   Keeper[P]
	Messages func(grpc.ServiceRegistrar) // mounts what takes messages
	Queries  func(grpc.ServiceRegistrar) // mounts what answers queries
}

type some struct{ codec.ProtoMarshaler }

func (some) Validate() error { return nil }

var (
	_ module.AppModuleBasic      = Module[some, *some]{}
	_ module.HasGenesis          = Module[some, *some]{}
	_ module.HasConsensusVersion = Module[some, *some]{}
	_ appmodule.AppModule        = Module[some, *some]{}
	_ appmodule.HasServices      = Module[some, *some]{}
)

// Name returns the module's name.
func (b Basic[G, P]) Name() string { return b.Module }

// RegisterLegacyAminoCodec names the messages for Amino JSON.
func (b Basic[G, P]) RegisterLegacyAminoCodec(cdc *codec.LegacyAmino) { b.Amino(cdc) }

// RegisterInterfaces makes the messages known.
func (b Basic[G, P]) RegisterInterfaces(r codectypes.InterfaceRegistry) { b.Interfaces(r) }

// RegisterGRPCGatewayRoutes mounts the REST interface.
func (b Basic[G, P]) RegisterGRPCGatewayRoutes(ctx client.Context, mux *gwruntime.ServeMux) {
	if err := b.Routes(ctx, mux); err != nil {
		panic(err) // the routes are constant
	}
}

// DefaultGenesis returns the state of a new chain.
func (b Basic[G, P]) DefaultGenesis(cdc codec.JSONCodec) json.RawMessage {
	return cdc.MustMarshalJSON(b.Default())
}

// ValidateGenesis checks a state.
func (b Basic[G, P]) ValidateGenesis(cdc codec.JSONCodec, _ client.TxEncodingConfig, raw json.RawMessage) error {
	g := P(new(G))
	if err := cdc.UnmarshalJSON(raw, g); err != nil {
		return fmt.Errorf("genesis of %s: %w", b.Module, err)
	}
	return g.Validate()
}

// IsAppModule implements appmodule.AppModule.
func (Module[G, P]) IsAppModule() {}

// IsOnePerModuleType implements depinject.OnePerModuleType.
func (Module[G, P]) IsOnePerModuleType() {}

// ConsensusVersion counts the forms that the module's state has had.
func (Module[G, P]) ConsensusVersion() uint64 { return 1 }

// RegisterServices mounts messages and queries.
func (m Module[G, P]) RegisterServices(r grpc.ServiceRegistrar) error {
	m.Messages(refusal.Registrar(r))
	m.Queries(r)
	return nil
}

// InitGenesis takes a state in. It panics on one that does not hold together: a chain must not start from it.
func (m Module[G, P]) InitGenesis(ctx sdk.Context, cdc codec.JSONCodec, raw json.RawMessage) {
	g := P(new(G))
	cdc.MustUnmarshalJSON(raw, g)
	if err := m.Keeper.InitGenesis(ctx, g); err != nil {
		panic(fmt.Errorf("%s: %w", m.Module, err))
	}
}

// ExportGenesis writes the state.
func (m Module[G, P]) ExportGenesis(ctx sdk.Context, cdc codec.JSONCodec) json.RawMessage {
	g, err := m.Keeper.ExportGenesis(ctx)
	if err != nil {
		panic(fmt.Errorf("%s: %w", m.Module, err))
	}
	return cdc.MustMarshalJSON(g)
}

// Try does what a module does at a block's beginning or end: all of it or, where it fails, nothing. A failure
// is logged and does not stop the chain.
func (b Basic[G, P]) Try(ctx context.Context, do func(context.Context) error) error {
	c := sdk.UnwrapSDKContext(ctx)
	cached, write := c.CacheContext()
	if err := do(cached); err != nil {
		c.Logger().Error("a block's own work", "module", b.Module, "height", c.BlockHeight(), "err", err)
		return nil
	}
	write()
	return nil
}
