package local

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/cometbft/cometbft/consensus"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	rpccore "github.com/cometbft/cometbft/rpc/core"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
)

// indexLimit is how long Stop waits for the last block's transactions to be in the index.
const indexLimit = 2 * time.Second

// ears is CometBFT's logger. Where its consensus panics, CometBFT logs that, ends consensus, and goes on with
// everything else: the process would stay and say nothing. What it logs then is the only word about the reason.
type ears struct {
	cmtlog.Logger
	n *Node
}

func (e ears) With(keyvals ...any) cmtlog.Logger { return ears{e.Logger.With(keyvals...), e.n} }

func (e ears) Error(msg string, keyvals ...any) {
	if strings.HasPrefix(msg, "CONSENSUS FAILURE") {
		for i := 0; i+1 < len(keyvals); i += 2 {
			if keyvals[i] == "err" {
				e.n.failed(keyvals[i+1])
			}
		}
	}
	if e.n.stopping.Load() && msg == "Error stopping consensus state" {
		return // it ended first
	}
	e.Logger.Error(msg, keyvals...)
}

// failed notes what consensus ended with, a panic's value.
func (n *Node) failed(value any) {
	err, ok := value.(error)
	if !ok {
		err = fmt.Errorf("%v", value)
	}
	err = fmt.Errorf("local: consensus failed: %w", err)
	// Values of panics are mostly texts: what the system said is in them as words only.
	if disk.IsFull(err) || strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		err = types.Refuse(types.DiskFull, "%v", err)
	}
	n.failure.CompareAndSwap(nil, &err)
}

// Err returns why the node ended by itself: what consensus failed with, nil if it was stopped or still runs.
func (n *Node) Err() error {
	if err := n.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// watch closes done once consensus has ended, by Stop or by itself.
func (n *Node) watch() error {
	env, err := n.comet.ConfigureRPC() // CometBFT's only way to its parts
	if err != nil {
		return fmt.Errorf("local: parts of the node: %w", err)
	}
	state, ok := env.ConsensusState.(*consensus.State)
	if !ok {
		return fmt.Errorf("local: consensus is %T", env.ConsensusState)
	}
	n.env, n.consensus = env, state
	go func() {
		state.Wait() // a node that is stopped before it has caught up never gets here
		if !n.stopping.Load() {
			n.failed("it ended by itself") // unless it said why
		}
		n.ended()
	}()
	go func() {
		n.comet.Wait()
		n.ended()
	}()
	return nil
}

// watchDisk ends the node before its disk is full: databases that meet a full disk in the middle of a block end
// badly.
func (n *Node) watchDisk(limits disk.Limits, dir string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-n.done
		cancel()
	}()
	err := disk.Watch(ctx, limits, []string{dir}, func(dir string, free uint64) {
		n.logger.Error("the disk gets full", "folder", dir, "free", disk.Size(free), "ends_at", disk.Size(limits.Stop))
	})
	if err != nil {
		err = types.Refuse(types.DiskFull, "local: the node ends before the disk is full: %v", err)
		n.failure.CompareAndSwap(nil, &err)
		n.ended()
	}
}

// quiet ends consensus and waits for the index: CometBFT's own end takes the bus away on which the index waits
// for the last block.
func (n *Node) quiet() {
	if !n.consensus.IsRunning() {
		return // it catches up: blocks do not come from consensus
	}
	if n.consensus.Stop() != nil {
		return
	}
	n.consensus.Wait()
	start := time.Now()
	for !indexed(n.env) {
		if time.Since(start) > indexLimit {
			n.logger.Error("the last block is not indexed: its transactions cannot be searched for", "height", n.env.BlockStore.Height())
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// indexed reports whether the index, if there is one, holds the last block that the application has.
func indexed(env *rpccore.Environment) bool {
	state, err := env.StateStore.Load()
	if err != nil || state.LastBlockHeight < state.InitialHeight {
		return true
	}
	if has, err := env.BlockIndexer.Has(state.LastBlockHeight); err != nil || !has {
		return err != nil // none is kept
	}
	block := env.BlockStore.LoadBlock(state.LastBlockHeight)
	if block == nil || len(block.Txs) == 0 {
		return true
	}
	tx, err := env.TxIndexer.Get(block.Txs[len(block.Txs)-1].Hash())
	return err != nil || tx != nil
}
