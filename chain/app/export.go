package app

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	coreheader "cosmossdk.io/core/header"
	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cosmos/cosmos-sdk/baseapp"
	servertypes "github.com/cosmos/cosmos-sdk/server/types"
	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/x/staking"

	"github.com/cairn-network/cairn/core/types"
)

// ExportStep is how far the time of an exported chain's first block is from that of the block that exported it,
// in each of the two steps between them.
const ExportStep = time.Millisecond

// Export writes the state as a genesis state, by which a new chain can start: all modules, or those named.
//
// Validators may have signed for the block after the last one: a chain that stops, however it stops, is
// deciding on it. What they signed binds them, and a new chain that began there could wait for ever for a
// signature that none of them may give. So the state is that after one more block, an empty one which nobody
// made, and the new chain begins with the block behind it. Nobody can have signed for that one.
func (a *App) Export(modules []string) (servertypes.ExportedApp, error) {
	ctx, err := a.emptyBlock()
	if err != nil {
		return servertypes.ExportedApp{}, fmt.Errorf("app: export genesis: %w", err)
	}
	if len(modules) == 0 {
		modules = a.manager.OrderExportGenesis
	}
	state := map[string]json.RawMessage{}
	for _, name := range modules { // one by one: the SDK would have all read at once from a state that is in memory, which is for one reader
		one, err := a.manager.ExportGenesisForModules(ctx, a.cdc, []string{name})
		if err != nil {
			return servertypes.ExportedApp{}, fmt.Errorf("app: export genesis: %w", err)
		}
		maps.Copy(state, one)
	}
	bytes, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return servertypes.ExportedApp{}, fmt.Errorf("app: export genesis: %w", err)
	}
	validators, err := staking.WriteValidators(ctx, a.StakingKeeper)
	if err != nil {
		return servertypes.ExportedApp{}, fmt.Errorf("app: export validators: %w", err)
	}
	return servertypes.ExportedApp{
		AppState:        bytes,
		Validators:      validators,
		Height:          ctx.BlockHeight() + 1,
		ConsensusParams: a.GetConsensusParams(ctx),
	}, nil
}

// emptyBlock returns the state after one more block than the last that was committed, without transactions and
// votes. It is in memory only. Whoever has the last block gets the same state and the same hash.
func (a *App) emptyBlock() (sdk.Context, error) {
	last := a.LastBlockHeight()
	stores, ok := a.CommitMultiStore().(*rootmulti.Store)
	if !ok {
		return sdk.Context{}, fmt.Errorf("stores are %T", a.CommitMultiStore())
	}
	info, err := stores.GetCommitInfo(last)
	if err != nil {
		return sdk.Context{}, err
	}
	height, at := last+1, info.Timestamp.Add(ExportStep)
	name := types.Sum([]byte("cairn/export"), binary.BigEndian.AppendUint64(nil, uint64(height)), a.LastCommitID().Hash)
	ctx, _ := a.NewContext(true).CacheContext()
	ctx = ctx.WithBlockHeader(cmtproto.Header{ChainID: a.ChainID(), Height: height, Time: at, AppHash: a.LastCommitID().Hash}).
		WithHeaderHash(name[:]).
		WithHeaderInfo(coreheader.Info{ChainID: a.ChainID(), Height: height, Hash: name[:], Time: at, AppHash: a.LastCommitID().Hash}).
		WithCometInfo(baseapp.NewBlockInfo(nil, nil, nil, abci.CommitInfo{})).
		WithConsensusParams(a.GetConsensusParams(ctx)).
		WithExecMode(sdk.ExecModeFinalize).
		WithIsCheckTx(false)
	if _, err := a.manager.PreBlock(ctx); err != nil {
		return ctx, err
	}
	if _, err := a.manager.BeginBlock(ctx); err != nil {
		return ctx, err
	}
	_, err = a.manager.EndBlock(ctx)
	return ctx, err
}
