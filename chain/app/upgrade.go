package app

import (
	"context"
	"fmt"

	"github.com/cosmos/cosmos-sdk/server"
	servertypes "github.com/cosmos/cosmos-sdk/server/types"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	upgradetypes "github.com/cosmos/cosmos-sdk/x/upgrade/types"
	"github.com/spf13/cast"
)

// A step is one named step that governance schedules for a height. Every node stops there, and the program that has
// the step goes on.
type step struct {
	name   string // as in the proposal
	stores storetypes.StoreUpgrades
	// before runs ahead of the modules' own migrations; nil where there is nothing to do.
	before func(context.Context, *App) error
}

// steps lists every step this program can take, oldest first. A step is never removed while a chain may replay it.
var steps []step

func (a *App) registerUpgrades() {
	for _, u := range steps {
		a.UpgradeKeeper.SetUpgradeHandler(u.name, func(ctx context.Context, _ upgradetypes.Plan, from module.VersionMap) (module.VersionMap, error) {
			if u.before != nil {
				if err := u.before(ctx, a); err != nil {
					return nil, fmt.Errorf("upgrade %s: %w", u.name, err)
				}
			}
			return a.manager.RunMigrations(ctx, a.configurator, from)
		})
	}
	info, err := a.UpgradeKeeper.ReadUpgradeInfoFromDisk()
	if err != nil || a.UpgradeKeeper.IsSkipHeight(info.Height) {
		return // no upgrade is pending here
	}
	for _, u := range steps {
		if info.Name == u.name {
			a.SetStoreLoader(upgradetypes.UpgradeStoreLoader(info.Height, &u.stores))
		}
	}
}

// skippedUpgrades reads --unsafe-skip-upgrades, with which an operator passes a height although its plan was
// not taken.
func skippedUpgrades(opts servertypes.AppOptions) map[int64]bool {
	skip := map[int64]bool{}
	for _, h := range cast.ToIntSlice(opts.Get(server.FlagUnsafeSkipUpgrades)) {
		skip[int64(h)] = true
	}
	return skip
}
