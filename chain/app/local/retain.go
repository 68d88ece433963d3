package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cosmos/gogoproto/proto"
	"github.com/google/orderedcode"
)

// CometBFT drops blocks and states below the height that the application names (min-retain-blocks in app.toml),
// but neither what its transaction index says of those blocks nor, below 1 GiB, its old write-ahead logs. A
// node does.
const (
	retainEvery = 5 * time.Second
	// retainKeys is how many entries of the index are looked at in one step, so that no step takes long however
	// long the index is.
	retainKeys = 5000
	// walFiles is how many full write-ahead logs of 10 MiB are kept besides the one that is written. Only what
	// follows the last block is ever read again.
	walFiles = 1
	walAge   = time.Hour // younger ones are kept, however many
)

// retain drops what is out of its time, a step at a time, until ctx ends.
func (n *Node) retain(ctx context.Context, index *database, wal string) {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	var cursor []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var err error
		if base := n.comet.BlockStore().Base(); base > 1 && index != nil {
			cursor, err = sweepIndex(index, cursor, base, retainKeys)
		}
		if err = errors.Join(err, sweepWAL(wal, time.Now().Add(-walAge))); err != nil {
			n.logger.Error("what is out of its time stays on disk", "err", err)
		}
	}
}

// sweepIndex drops the entries of blocks below base among the next keys of a transaction index, and returns
// where to go on: nil at its end.
func sweepIndex(db *database, from []byte, base int64, keys int) (next []byte, err error) {
	it, err := db.Iterator(from, nil)
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	var old [][]byte
	for ; it.Valid(); it.Next() {
		if keys--; keys < 0 {
			next = bytes.Clone(it.Key())
			break
		}
		if h, ok := indexedHeight(it.Key(), it.Value()); ok && h < base {
			old = append(old, bytes.Clone(it.Key()))
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	for _, key := range old {
		if err := db.Delete(key); err != nil {
			return next, fmt.Errorf("drop from the index: %w", err)
		}
	}
	return next, nil
}

// eventSeparator stands before the last part of the key of a transaction's event.
const eventSeparator = "$es$"

// blockEvents starts the keys of blocks' own events.
var blockEvents = []byte("block_events")

// indexedHeight returns the height of the block that an entry of CometBFT's transaction index is about
// (state/txindex/kv and state/indexer/block/kv of v0.39). Entries are
//
//	transaction hash                                       → abci.TxResult
//	"type.attribute/value/height/index$es$number"          → transaction hash
//	"block_events" ‖ ordered code of key, value, height, … → height
//	"block_events" ‖ ordered code of "block.height", height → height
//
// It is false for anything else, which stays.
func indexedHeight(key, value []byte) (int64, bool) {
	if rest, ok := bytes.CutPrefix(key, blockEvents); ok {
		var name, text string
		var h int64
		if left, err := orderedcode.Parse(string(rest), &name, &h); err == nil && left == "" {
			return h, true
		}
		_, err := orderedcode.Parse(string(rest), &name, &text, &h)
		return h, err == nil
	}
	if at := strings.LastIndex(string(key), eventSeparator); at >= 0 && len(value) == 32 {
		parts := strings.Split(string(key[:at]), "/")
		if len(parts) < 4 {
			return 0, false
		}
		h, err := strconv.ParseInt(parts[len(parts)-2], 10, 64)
		return h, err == nil
	}
	var tx abci.TxResult
	if len(key) != 32 || proto.Unmarshal(value, &tx) != nil || tx.Height < 1 {
		return 0, false
	}
	return tx.Height, true
}

// sweepWAL removes full write-ahead logs that were last written before a time, all but the newest few. wal is
// the path of the one that is written; full ones have a number behind it.
func sweepWAL(wal string, before time.Time) error {
	full, err := filepath.Glob(wal + ".[0-9]*")
	if err != nil {
		return fmt.Errorf("write-ahead logs: %w", err)
	}
	slices.SortFunc(full, func(a, b string) int { // by number, whose digits grow beyond three
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, path := range full[:max(0, len(full)-walFiles)] {
		info, err := os.Stat(path)
		if err != nil || info.ModTime().After(before) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("write-ahead logs: %w", err)
		}
	}
	return nil
}
