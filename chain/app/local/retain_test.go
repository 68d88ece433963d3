package local

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	cmtdb "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/libs/pubsub/query"
	blockkv "github.com/cometbft/cometbft/state/indexer/block/kv"
	"github.com/cometbft/cometbft/state/txindex/kv"
	cmttypes "github.com/cometbft/cometbft/types"
)

// What CometBFT's own indexers wrote of blocks below the base goes, and nothing else: the rest is still found
// by them.
func TestSweepIndex(t *testing.T) {
	db := &database{db: cmtdb.NewMemDB(), empty: cmtdb.NewMemDB()}
	txs, blocks := kv.NewTxIndex(db), blockkv.New(cmtdb.NewPrefixDB(db, blockEvents))
	event := func(value string) abci.Event {
		return abci.Event{Type: "transfer", Attributes: []abci.EventAttribute{{Key: "recipient", Value: value, Index: true}}}
	}
	const last, base = 40, 31
	hash := func(h int64) []byte { s := sha256.Sum256([]byte(fmt.Sprintf("tx %d", h))); return s[:] }
	for h := int64(1); h <= last; h++ {
		value := fmt.Sprintf("a/b/%d/99$es$7", h) // whatever a customer put into an event
		err := txs.Index(&abci.TxResult{Height: h, Index: 0, Tx: []byte(fmt.Sprintf("tx %d", h)), Result: abci.ExecTxResult{Events: []abci.Event{event(value)}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := blocks.Index(cmttypes.EventDataNewBlockEvents{Height: h, Events: []abci.Event{event(value)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Set([]byte("something else"), []byte("stays")); err != nil {
		t.Fatal(err)
	}
	for steps, cursor := 0, []byte(nil); ; steps++ {
		var err error
		if cursor, err = sweepIndex(db, cursor, base, 7); err != nil {
			t.Fatal(err)
		}
		if cursor == nil {
			if steps < 10 {
				t.Errorf("%d steps: one of them did more than it may", steps)
			}
			break
		}
	}
	for h := int64(1); h <= last; h++ {
		want := h >= base
		r, err := txs.Get(hash(h))
		if err != nil || (r != nil) != want {
			t.Errorf("transaction of block %d: %v, %v", h, r, err)
		}
		found, err := txs.Search(t.Context(), query.MustCompile(fmt.Sprintf("transfer.recipient = 'a/b/%d/99$es$7'", h)))
		if err != nil || (len(found) == 1) != want {
			t.Errorf("transactions of block %d by event: %v, %v", h, found, err)
		}
		has, err := blocks.Has(h)
		if err != nil || has != want {
			t.Errorf("block %d: %v, %v", h, has, err)
		}
		of, err := blocks.Search(t.Context(), query.MustCompile(fmt.Sprintf("transfer.recipient = 'a/b/%d/99$es$7'", h)))
		if err != nil || (len(of) == 1) != want {
			t.Errorf("block %d by event: %v, %v", h, of, err)
		}
	}
	left := 0
	it, _ := db.Iterator(nil, nil)
	for ; it.Valid(); it.Next() {
		left++
	}
	it.Close()
	if per := 5; left != (last-base+1)*per+1 { // of each block: a hash, a height and an event of its transaction, its height and its event
		t.Errorf("%d entries are left", left)
	}
}

func TestSweepWAL(t *testing.T) {
	dir := t.TempDir()
	wal := filepath.Join(dir, "wal")
	now := time.Now()
	for i, name := range []string{"wal.008", "wal.009", "wal.999", "wal.1000", "wal", "wal.old-notes"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte{1}, 0o600); err != nil {
			t.Fatal(err)
		}
		at := now.Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (names []string) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	if err := sweepWAL(wal, now.Add(-9*time.Hour-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(left()); got != "[wal wal.009 wal.1000 wal.999 wal.old-notes]" {
		t.Errorf("young ones go: %s", got)
	}
	if err := sweepWAL(wal, now); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(left()); got != "[wal wal.1000 wal.old-notes]" {
		t.Errorf("left: %s", got)
	}
}
