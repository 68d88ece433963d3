package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/client/grpc/cmtservice"
	"github.com/cosmos/cosmos-sdk/client/grpc/node"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/runtime/services"
	"github.com/cosmos/cosmos-sdk/server"
	"github.com/cosmos/cosmos-sdk/server/api"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	servertypes "github.com/cosmos/cosmos-sdk/server/types"
	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	"github.com/cosmos/cosmos-sdk/types/msgservice"
	"github.com/cosmos/cosmos-sdk/version"
	"github.com/cosmos/cosmos-sdk/x/auth/ante"
	authtx "github.com/cosmos/cosmos-sdk/x/auth/tx"
	"github.com/cosmos/gogoproto/proto"
	"github.com/spf13/cast"

	"github.com/cairn-network/cairn/chain/app/openapi"

	autocliv1 "cosmossdk.io/api/cosmos/autocli/v1"
	reflectionv1 "cosmossdk.io/api/cosmos/reflection/v1"
	"cosmossdk.io/log/v2"
)

var _ servertypes.Application = (*App)(nil)

// App is the ledger's state machine. CometBFT calls it, one call at a time for what writes; queries run beside.
type App struct {
	*baseapp.BaseApp
	Keepers

	cdc          codec.Codec
	encoding     Encoding
	manager      *module.Manager
	configurator module.Configurator

	interval uint64 // blocks between snapshots that the application takes; 0: none
	work     work
	gate     *gate

	closing  sync.Once
	closeErr error
}

// New builds the application over db. With loadLatest it loads the last committed state, or else the caller loads one
// (LoadHeight). appOpts is app.toml and the command line; options go to baseapp (pruning, snapshots, gas prices …;
// Options reads them from appOpts).
//
// It panics where the wiring or the database is broken, as nothing can run then; Open returns that as an error.
func New(logger log.Logger, db dbm.DB, loadLatest bool, appOpts servertypes.AppOptions,
	options ...func(*baseapp.BaseApp),
) *App {
	encoding := NewEncoding()
	a := &App{
		BaseApp:  baseapp.NewBaseApp(Name, logger, db, encoding.TxConfig.TxDecoder(), options...),
		cdc:      encoding.Codec,
		encoding: encoding,
	}
	a.ownSnapshots(appOpts)
	a.SetVersion(version.Version)
	a.SetInterfaceRegistry(encoding.InterfaceRegistry)
	a.SetTxEncoder(encoding.TxConfig.TxEncoder())

	keys := storetypes.NewKVStoreKeys(storeKeys...)
	a.newKeepers(logger, keys, cast.ToString(appOpts.Get(flags.FlagHome)), skippedUpgrades(appOpts))
	a.manager = a.newModuleManager()
	a.registerServices()
	a.registerUpgrades()

	a.MountKVStores(keys)
	a.SetInitChainer(a.initChain)
	a.SetPreBlocker(func(ctx sdk.Context, _ *abci.RequestFinalizeBlock) (*sdk.ResponsePreBlock, error) {
		return a.manager.PreBlock(ctx)
	})
	a.SetBeginBlocker(func(ctx sdk.Context) (sdk.BeginBlock, error) { return a.manager.BeginBlock(ctx) })
	a.SetEndBlocker(func(ctx sdk.Context) (sdk.EndBlock, error) { return a.manager.EndBlock(ctx) })
	a.gate = &gate{app: a, lane: newLane()}
	a.setAnteHandler()
	a.setLane(a.gate.lane)

	if loadLatest {
		if err := dropUncommitted(db); err != nil {
			panic(fmt.Errorf("app: clear what was never committed: %w", err))
		}
		if err := a.LoadLatestVersion(); err != nil {
			panic(fmt.Errorf("app: load the last committed state: %w", err))
		}
	}
	return a
}

// dropUncommitted empties a database in which no block was ever committed. A crash in the middle of the first
// commit leaves the stores that were written by then, which genesis would be applied on top of; with later
// commits, stores go back to the last version that all of them have.
func dropUncommitted(db dbm.DB) error {
	if rootmulti.GetLatestVersion(db) > 0 {
		return nil
	}
	for {
		keys, err := firstKeys(db, 10_000)
		if err != nil || len(keys) == 0 {
			return err
		}
		batch := db.NewBatch()
		for _, key := range keys {
			err = errors.Join(err, batch.Delete(key))
		}
		if err = errors.Join(err, batch.WriteSync(), batch.Close()); err != nil {
			return err
		}
	}
}

// firstKeys returns at most n keys of a database.
func firstKeys(db dbm.DB, n int) ([][]byte, error) {
	it, err := db.Iterator(nil, nil)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for ; it.Valid() && len(keys) < n; it.Next() {
		keys = append(keys, bytes.Clone(it.Key()))
	}
	return keys, errors.Join(it.Error(), it.Close())
}

// Open is New with loadLatest, returning what would otherwise be a panic (a damaged or foreign database, a home that
// cannot be written) as an error.
func Open(logger log.Logger, db dbm.DB, appOpts servertypes.AppOptions, options ...func(*baseapp.BaseApp)) (a *App, err error) {
	defer func() {
		if r := recover(); r != nil {
			a, err = nil, fmt.Errorf("app: open: %v", r)
		}
	}()
	return New(logger, db, true, appOpts, options...), nil
}

func (a *App) registerServices() {
	a.configurator = module.NewConfigurator(a.cdc, a.MsgServiceRouter(), a.GRPCQueryRouter())
	if err := a.manager.RegisterServices(a.configurator); err != nil {
		panic(fmt.Errorf("app: register services: %w", err))
	}
	autocliv1.RegisterQueryServer(a.GRPCQueryRouter(), services.NewAutoCLIQueryService(a.manager.Modules))
	reflection, err := services.NewReflectionService()
	if err != nil {
		panic(fmt.Errorf("app: reflection: %w", err))
	}
	reflectionv1.RegisterReflectionServiceServer(a.GRPCQueryRouter(), reflection)
	files, err := proto.MergedRegistry()
	if err != nil {
		panic(fmt.Errorf("app: protobuf files: %w", err))
	}
	if err := msgservice.ValidateProtoAnnotations(files); err != nil {
		panic(fmt.Errorf("app: protobuf annotations: %w", err))
	}
}

func (a *App) setAnteHandler() {
	handler, err := ante.NewAnteHandler(ante.HandlerOptions{
		AccountKeeper:   a.AccountKeeper,
		BankKeeper:      a.BankKeeper,
		SignModeHandler: a.encoding.TxConfig.SignModeHandler(),
		FeegrantKeeper:  a.FeeGrantKeeper,
		SigGasConsumer:  ante.DefaultSigVerificationGasConsumer,
	})
	if err != nil {
		panic(fmt.Errorf("app: ante handler: %w", err))
	}
	a.SetAnteHandler(func(ctx sdk.Context, tx sdk.Tx, simulate bool) (sdk.Context, error) {
		return a.gate.AnteHandle(a.checked(ctx), tx, simulate, handler)
	})
}

func (a *App) initChain(ctx sdk.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	var state map[string]json.RawMessage
	if err := json.Unmarshal(req.AppStateBytes, &state); err != nil {
		return nil, fmt.Errorf("genesis: app_state: %w", err)
	}
	if err := a.UpgradeKeeper.SetModuleVersionMap(ctx, a.manager.GetVersionMap()); err != nil {
		return nil, fmt.Errorf("genesis: module versions: %w", err)
	}
	return a.manager.InitGenesis(ctx, a.cdc, state)
}

// Close waits for what still uses the databases, for StopLimit at most, and closes them. Further calls return
// what the first did.
func (a *App) Close() error {
	a.closing.Do(func() {
		start := time.Now()
		waited, err := a.work.end(StopLimit)
		if err != nil {
			a.closeErr = fmt.Errorf("app: close: %w", err)
			return
		}
		if waited != "" {
			a.Logger().Info("waited for what used the state", "what", waited, "took", time.Since(start))
		}
		a.closeErr = a.BaseApp.Close()
	})
	return a.closeErr
}

// LoadHeight loads the state as of a past block, for export.
func (a *App) LoadHeight(height int64) error { return a.LoadVersion(height) }

// Encoding returns the codecs the application was built with.
func (a *App) Encoding() Encoding { return a.encoding }

// Manager returns the modules, for the command line.
func (a *App) Manager() *module.Manager { return a.manager }

// RegisterAPIRoutes mounts REST for every module and the description of it.
func (a *App) RegisterAPIRoutes(srv *api.Server, cfg serverconfig.APIConfig) {
	ctx := srv.ClientCtx
	authtx.RegisterGRPCGatewayRoutes(ctx, srv.GRPCGatewayRouter)
	cmtservice.RegisterGRPCGatewayRoutes(ctx, srv.GRPCGatewayRouter)
	node.RegisterGRPCGatewayRoutes(ctx, srv.GRPCGatewayRouter)
	Basics().RegisterGRPCGatewayRoutes(ctx, srv.GRPCGatewayRouter)
	srv.Router.HandleFunc(openapi.Path, openapi.ServeHTTP)
	if err := server.RegisterSwaggerAPI(ctx, srv.Router, cfg.Swagger); err != nil {
		a.Logger().Error("the SDK's REST description is not served", "err", err)
	}
}

// RegisterTxService mounts simulation, broadcast and look-up of transactions.
func (a *App) RegisterTxService(ctx client.Context) {
	authtx.RegisterTxService(a.GRPCQueryRouter(), ctx, a.Simulate, a.encoding.InterfaceRegistry)
}

// RegisterTendermintService mounts queries about blocks and validators.
func (a *App) RegisterTendermintService(ctx client.Context) {
	cmtservice.RegisterTendermintService(ctx, a.GRPCQueryRouter(), a.encoding.InterfaceRegistry, a.Query)
}

// RegisterNodeService mounts queries about this node's own settings.
func (a *App) RegisterNodeService(ctx client.Context, cfg serverconfig.Config) {
	node.RegisterNodeService(ctx, a.GRPCQueryRouter(), cfg, func() int64 { return a.CommitMultiStore().EarliestVersion() })
}
