package app

import (
	"encoding/json"
	"fmt"

	servertypes "github.com/cosmos/cosmos-sdk/server/types"
	"github.com/cosmos/cosmos-sdk/x/staking"
)

// Export writes the last committed state as a genesis state, by which a new chain can start at the next height: all
// modules, or those named.
func (a *App) Export(modules []string) (servertypes.ExportedApp, error) {
	ctx := a.NewContext(true).WithBlockHeight(a.LastBlockHeight())
	state, err := a.manager.ExportGenesisForModules(ctx, a.cdc, modules)
	if err != nil {
		return servertypes.ExportedApp{}, fmt.Errorf("app: export genesis: %w", err)
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
		Height:          a.LastBlockHeight() + 1,
		ConsensusParams: a.GetConsensusParams(ctx),
	}, nil
}
