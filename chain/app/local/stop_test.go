package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	cmtdb "github.com/cometbft/cometbft-db"
	cmtcfg "github.com/cometbft/cometbft/config"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	sdk "github.com/cosmos/cosmos-sdk/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cairn-network/cairn/core/types"

	"cosmossdk.io/math"
)

// TestStopWhileSnapshot stops a node while it writes a snapshot of a state that takes a while, many times over:
// it never panics, what it began is whole, and the home goes on.
func TestStopWhileSnapshot(t *testing.T) {
	accounts := make([]Account, 4_000)
	for i := range accounts {
		a := make(sdk.AccAddress, 20)
		binary.BigEndian.PutUint64(a, uint64(i+1))
		accounts[i] = Account{a, math.NewInt(1)}
	}
	list, err := Init(Genesis{
		ChainID: testChain, Homes: []string{t.TempDir()}, BlockTime: 20 * time.Millisecond, Stake: math.NewInt(1_000_000_000), Accounts: accounts,
		Configure: func(_ int, _ *cmtcfg.Config, s *serverconfig.Config) {
			s.StateSync.SnapshotInterval, s.StateSync.SnapshotKeepRecent = 2, 2
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		n := start(t, list[0].Home)
		reach(t, n, (n.App().LastBlockHeight()/2+1)*2) // a block of which a snapshot is taken
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	chunks, err := filepath.Glob(filepath.Join(list[0].Home, "data", "snapshots", "*", "*", "0"))
	if err != nil || len(chunks) == 0 {
		t.Fatalf("no snapshot: %v", err)
	}
	for _, path := range chunks {
		if info, err := os.Stat(path); err != nil || info.Size() < 20_000 {
			t.Errorf("a snapshot was cut short: %v, %v", info, err)
		}
	}
}

// TestStopPrunes: a node prunes old states while it runs, in its commits, so that nothing of that goes on after Stop.
func TestStopPrunes(t *testing.T) {
	pruning := func() int {
		var buf bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&buf, 2); err != nil {
			t.Fatal(err)
		}
		return strings.Count(buf.String(), "nodeDB).startPruning(")
	}
	before := pruning() // of what other tests opened by themselves
	v, n := startRich(t, func(_ *cmtcfg.Config, s *serverconfig.Config) {
		s.PruningKeepRecent, s.PruningInterval = "2", "10"
		s.StateSync.SnapshotInterval = 0
	})
	reach(t, n, 21)
	if got := n.App().CommitMultiStore().EarliestVersion(); got < 10 {
		t.Errorf("states from block %d on are there at block %d", got, n.App().LastBlockHeight())
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := pruning(); got > before {
		t.Errorf("%d stores are still being pruned after Stop", got-before)
	}
	reach(t, start(t, v.Home), 22)
}

// full is a database on a disk that has no room left.
type full struct{ cmtdb.DB }

func (full) Set(_, _ []byte) error     { return syscall.ENOSPC }
func (full) SetSync(_, _ []byte) error { return syscall.ENOSPC }
func (f full) NewBatch() cmtdb.Batch   { return fullBatch{f.DB.NewBatch()} }

type fullBatch struct{ cmtdb.Batch }

func (fullBatch) Write() error     { return syscall.ENOSPC }
func (fullBatch) WriteSync() error { return syscall.ENOSPC }

// TestFullDatabase takes the room away on which consensus writes: the node ends by itself and says why, and
// with room again goes on where it was.
func TestFullDatabase(t *testing.T) {
	v := initHomes(t, 1)[0]
	n := start(t, v.Home)
	reach(t, n, 3)
	for _, d := range n.dbs {
		d.mu.Lock()
		d.db = full{d.db}
		d.mu.Unlock()
	}
	select {
	case <-n.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("consensus failed and the node says nothing")
	}
	if err := n.Err(); !errors.Is(err, types.DiskFull) {
		t.Errorf("why it ended: %v", err)
	}
	height := n.App().LastBlockHeight()
	if err := n.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	n = start(t, v.Home)
	if n.App().LastBlockHeight() < height {
		t.Errorf("it starts at block %d after %d", n.App().LastBlockHeight(), height)
	}
	reach(t, n, height+3)
	if err := n.Stop(); err != nil || n.Err() != nil {
		t.Errorf("a node that is stopped: %v, %v", err, n.Err())
	}
}

// TestStopIndexes stops a node right after a transaction was committed: it can be looked up after a restart.
func TestStopIndexes(t *testing.T) {
	v, n := startRich(t, nil)
	for range 5 {
		reach(t, n, n.App().LastBlockHeight()+1) // before its first block, a node that restarted counts no gas
		tx := broadcast(t, n, v, banktypes.NewMsgSend(v.Account, v.Account, sdk.NewCoins(sdk.NewInt64Coin("ustone", 1))))
		start, sent := n.App().LastBlockHeight(), false
		for h := start + 1; !sent && h < start+20; h++ { // the block that holds it
			reach(t, n, h)
			block := n.Comet().BlockStore().LoadBlock(h)
			sent = block != nil && len(block.Txs) > 0
		}
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		var err error
		if n, err = Start(t.Context(), Config{Home: v.Home}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Stop() })
		if _, err := txtypes.NewServiceClient(n.Client()).GetTx(t.Context(), &txtypes.GetTxRequest{Hash: tx}); err != nil {
			t.Errorf("a transaction of the last block before a stop: %v", err)
		}
	}
}
