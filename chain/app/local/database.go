package local

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	cmtdb "github.com/cometbft/cometbft-db"
	cmtcfg "github.com/cometbft/cometbft/config"

	"github.com/cairn-network/cairn/core/types"
)

// database is a consensus database that outlives its own end.
//
// CometBFT closes databases while some of its goroutines, one or more for each peer, still sleep; when they
// wake up they read, and panic on the error. Here, what is read after Close is empty and what is written is
// dropped. Consensus itself has ended by then, so nothing that counts is lost. Close may be called any number
// of times: which part of CometBFT closes which database differs by version.
type database struct {
	mu     sync.RWMutex // held for reading while the database below is used
	closed bool
	db     cmtdb.DB
	empty  *cmtdb.MemDB
}

// openDB is CometBFT's way to its databases.
func (n *Node) openDB(ctx *cmtcfg.DBContext) (cmtdb.DB, error) {
	db, err := cmtcfg.DefaultDBProvider(ctx)
	if err != nil {
		return nil, busy(err, "open "+ctx.ID+" in "+ctx.Config.DBDir())
	}
	d := &database{db: db, empty: cmtdb.NewMemDB()}
	n.dbs = append(n.dbs, d)
	if ctx.ID == "tx_index" {
		n.index = d
	}
	return d, nil
}

// busy tells a database that another node holds open from one that is damaged.
func busy(err error, doing string) error {
	if errors.Is(err, syscall.EAGAIN) {
		return types.Refuse(types.HomeBusy, "local: %s: %v", doing, err)
	}
	return fmt.Errorf("local: %s: %w", doing, err)
}

// use returns what to work on: the database, or after Close an empty one. done must be called after the work.
func (d *database) use() (db cmtdb.DB, done func()) {
	d.mu.RLock()
	if d.closed {
		return d.empty, d.mu.RUnlock
	}
	return d.db, d.mu.RUnlock
}

func (d *database) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	return d.db.Close()
}

func (d *database) Get(key []byte) ([]byte, error) {
	db, done := d.use()
	defer done()
	return db.Get(key)
}

func (d *database) Has(key []byte) (bool, error) {
	db, done := d.use()
	defer done()
	return db.Has(key)
}

func (d *database) Set(key, value []byte) error {
	return d.write(func(db cmtdb.DB) error { return db.Set(key, value) })
}
func (d *database) SetSync(key, value []byte) error {
	return d.write(func(db cmtdb.DB) error { return db.SetSync(key, value) })
}
func (d *database) Delete(key []byte) error {
	return d.write(func(db cmtdb.DB) error { return db.Delete(key) })
}
func (d *database) DeleteSync(key []byte) error {
	return d.write(func(db cmtdb.DB) error { return db.DeleteSync(key) })
}
func (d *database) Compact(start, end []byte) error {
	return d.write(func(db cmtdb.DB) error { return db.Compact(start, end) })
}

// write drops what comes after Close.
func (d *database) write(f func(cmtdb.DB) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil
	}
	return f(d.db)
}

func (d *database) Iterator(start, end []byte) (cmtdb.Iterator, error) {
	db, done := d.use()
	defer done()
	return db.Iterator(start, end)
}

func (d *database) ReverseIterator(start, end []byte) (cmtdb.Iterator, error) {
	db, done := d.use()
	defer done()
	return db.ReverseIterator(start, end)
}

func (d *database) NewBatch() cmtdb.Batch {
	db, done := d.use()
	defer done()
	return db.NewBatch()
}

func (d *database) Print() error {
	db, done := d.use()
	defer done()
	return db.Print()
}

func (d *database) Stats() map[string]string {
	db, done := d.use()
	defer done()
	return db.Stats()
}
