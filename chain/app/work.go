package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/server"
	servertypes "github.com/cosmos/cosmos-sdk/server/types"
	"github.com/spf13/cast"
)

// StopLimit is how long Close waits for what still uses the databases: a snapshot that is being written or
// restored, a query. What takes longer finds its databases open until the process ends, which is as safe as a
// crash.
const StopLimit = 30 * time.Second

// work counts what uses the databases beside blocks, so that none of it finds them closed: there the SDK panics.
type work struct {
	mu      sync.Mutex
	jobs    map[*string]time.Time // what runs, by its name, since when; guarded by mu
	ending  bool                  // nothing new begins; guarded by mu
	changed chan struct{}         // closed and replaced when a job ends while ending; guarded by mu
}

// begin says that something uses the databases until done is called. When the application ends, it may not.
func (w *work) begin(what string) (done func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending {
		return nil, false
	}
	if w.jobs == nil {
		w.jobs = map[*string]time.Time{}
	}
	job := &what
	w.jobs[job] = time.Now()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.jobs, job)
		if w.ending {
			close(w.changed)
			w.changed = make(chan struct{})
		}
	}, true
}

// names lists what runs. The caller holds mu.
func (w *work) names() string {
	var list []string
	for what := range w.jobs {
		list = append(list, *what)
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}

// end lets nothing new begin, and waits until nothing runs any more. It returns what it waited for, "" for
// nothing, and an error if that still runs after limit.
func (w *work) end(limit time.Duration) (waited string, err error) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ending {
		w.ending, w.changed = true, make(chan struct{})
	}
	waited = w.names()
	for len(w.jobs) > 0 {
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
			w.mu.Lock()
		case <-timeout.C:
			w.mu.Lock()
			return waited, fmt.Errorf("still runs after %v: %s; the databases stay open until the process ends", limit, w.names())
		}
	}
	return waited, nil
}

// Options are the SDK's, read from app.toml, apart from taking snapshots and pruning: the SDK does so in
// goroutines that nobody can wait for, so the application takes snapshots itself, and old states are pruned as
// part of a commit. What the SDK panics on comes back as an error.
func Options(opts servertypes.AppOptions) (options []func(*baseapp.BaseApp), err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("app: settings: %v", r)
		}
	}()
	return append(server.DefaultBaseappOptions(noSnapshots{opts}), baseapp.SetIAVLSyncPruning(true)), nil
}

// noSnapshots are settings without an interval of snapshots.
type noSnapshots struct{ servertypes.AppOptions }

func (s noSnapshots) Get(key string) any {
	if key == server.FlagStateSyncSnapshotInterval {
		return 0
	}
	return s.AppOptions.Get(key)
}

// ownSnapshots takes over what Options took away.
func (a *App) ownSnapshots(opts servertypes.AppOptions) {
	interval := cast.ToUint64(opts.Get(server.FlagStateSyncSnapshotInterval))
	if m := a.SnapshotManager(); m == nil || m.GetInterval() > 0 || interval == 0 {
		return // none are taken, or by the SDK
	}
	a.interval = interval
	a.CommitMultiStore().SetSnapshotInterval(interval) // what a snapshot is taken of is not pruned before
}

// Commit commits a block, and begins a snapshot where one is due.
func (a *App) Commit() (*abci.ResponseCommit, error) {
	res, err := a.BaseApp.Commit()
	if err != nil || a.interval == 0 {
		return res, err
	}
	height, keep := uint64(a.LastBlockHeight()), a.SnapshotManager().GetKeepRecent()
	if res.RetainHeight > 0 && keep > 0 { // who joins from the oldest snapshot needs the blocks since
		res.RetainHeight = max(0, min(res.RetainHeight, int64(height)-int64(a.interval)*int64(keep)))
	}
	if height%a.interval != 0 {
		return res, nil
	}
	if done, ok := a.work.begin(fmt.Sprintf("the snapshot of block %d", height)); ok {
		go func() {
			defer done()
			a.snapshot(height, keep)
		}()
	}
	return res, nil
}

// snapshot writes a snapshot and deletes those that are too old. Without one the chain goes on as well, so that
// errors are logged only.
func (a *App) snapshot(height uint64, keep uint32) {
	defer func() {
		if r := recover(); r != nil {
			a.Logger().Error("no snapshot was taken", "height", height, "err", r)
		}
	}()
	if _, err := a.SnapshotManager().Create(height); err != nil {
		a.Logger().Error("no snapshot was taken", "height", height, "err", err)
		return
	}
	a.Logger().Info("snapshot taken", "height", height)
	if keep > 0 {
		if _, err := a.SnapshotManager().Prune(keep); err != nil {
			a.Logger().Error("old snapshots were not deleted", "err", err)
		}
	}
}

// ApplySnapshotChunk restores a part of a snapshot, with the last one the state.
func (a *App) ApplySnapshotChunk(req *abci.RequestApplySnapshotChunk) (*abci.ResponseApplySnapshotChunk, error) {
	done, ok := a.work.begin("the restoring of a snapshot")
	if !ok {
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ABORT}, nil
	}
	defer done()
	return a.BaseApp.ApplySnapshotChunk(req)
}

// Query answers a query.
func (a *App) Query(ctx context.Context, req *abci.RequestQuery) (*abci.ResponseQuery, error) {
	done, ok := a.work.begin("queries")
	if !ok {
		return nil, fmt.Errorf("app: query %s: the node is stopping", req.Path)
	}
	defer done()
	return a.BaseApp.Query(ctx, req)
}
