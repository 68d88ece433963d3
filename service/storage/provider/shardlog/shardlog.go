// Package shardlog keeps a device's shards on disk: append-only logs, and an index over them that can always be
// made again.
//
// # On disk
//
// Logs are files named by their number (00000000.log, …) of at most Config.LogSize bytes. A log is a sequence
// of records: a header of 64 bytes (record.go has its layout, with a checksum over it and its place), and for a
// shard its bytes. Deleting is a record too. index.db (bbolt) maps {shard, session} to {log, offset, length,
// journal number} and holds the place up to which it covers the logs; what comes after that place is read again
// at start.
//
// # What is promised
//
// Put and Delete write; Sync returns when all that was written before is on the disk. One fsync serves
// everybody who waits for it. After a crash at any point, everything that Sync covered is there. What was
// written after may be there or not; a record that was cut off is dropped. A device countersigns after Sync.
//
// The index is committed after the logs were synced, never before, so it names nothing that a power cut can
// take away. Should it be lost or removed, the logs make a new one.
//
// # Space
//
// Used bytes are the sum of the index: what customers have stored, without headers. A log of which less than
// half is alive is copied to the newest one and removed (Compact). Put refuses with storage.full when
// Config.Capacity is reached, when less than Config.KeepFree would stay free, or when the disk fails to write.
// After a failed fsync nobody knows what is on the disk, so every change is refused until the store is opened
// again; reading goes on, and so does proving.
//
// # Lost files
//
// A file that is removed stays readable for who has it open, and its bytes go when he closes it. Check compares
// what is open with what its name leads to: a log that is gone, another or short is given up at once, and Lost
// lists what was in it. Where the directory or the index is another, nothing of the store can be relied on
// (ErrGone).
//
// Memory is bounded: the index is a memory map, at most a few thousand changes wait to be put in it, and Put
// and Get work on the caller's one shard.
package shardlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// Key names a stored shard. The same bytes under two session ids are stored twice; what the id stands for is
// the caller's affair: a session, or any other 16 bytes that keep one customer's shards apart from another's.
type Key struct {
	Shard   types.Hash
	Session types.SessionID
}

// Info is what is known of a stored shard without reading it.
type Info struct {
	Length  int
	Journal uint64 // sequence number of the customer's journal batch that it is part of, 0 if of none
}

// Config of a store. The zero value of a field means its default.
type Config struct {
	Dir string
	// Capacity bounds the used bytes. Default: none.
	Capacity uint64
	// KeepFree is how many bytes of the file system are left to others. Default 2 GiB.
	KeepFree uint64
	// LogSize bounds a log, in bytes, up to 2 GiB. Default 1 GiB.
	LogSize int64
	// Checkpoint is after how many written bytes the index is brought up to date: what has to be read again after a
	// crash. Default 256 MiB.
	Checkpoint int64

	disk disk // tests inject faults here
}

func (c Config) withDefaults() Config {
	if c.Capacity == 0 {
		c.Capacity = 1<<64 - 1
	}
	if c.KeepFree == 0 {
		c.KeepFree = storage.KeepFree
	}
	if c.LogSize == 0 {
		c.LogSize = 1 << 30
	}
	if c.Checkpoint == 0 {
		c.Checkpoint = 256 << 20
	}
	if c.disk == nil {
		c.disk = osDisk(c.Dir)
	}
	return c
}

// maxPending is how many changes wait for the index before it is brought up to date. Where that fails, changes
// are refused.
const maxPending = 4096

// Store keeps shards. It is safe for concurrent use.
type Store struct {
	cfg Config
	log *slog.Logger

	index index

	compacting sync.Mutex // held by the one compaction; taken before mu

	mu       sync.RWMutex
	logs     map[uint32]*logFile
	active   *logFile
	pending  map[Key]change // what the index does not know yet
	unlisted int64          // bytes of logs that the index does not cover
	used     uint64
	shards   int
	appended uint64        // records written since Open
	synced   uint64        // of those, how many are on the disk
	syncing  chan struct{} // closed when the fsync under way ends; nil when there is none
	failed   error         // after a failed fsync; never reset
	closed   bool
	lost     bool                   // the index names shards that no log has, and Check has not said so yet
	own      map[string]os.FileInfo // the directory and the index, as they were opened
}

// logFile is one log. Its fields but number and file are guarded by Store.mu.
type logFile struct {
	number uint32
	file   file
	size   int64
	alive  int64 // bytes of records that the index names
	stuck  bool  // something alive in it cannot be read, so it cannot be compacted
	info   os.FileInfo
}

// place is where a shard lies.
type place struct {
	log    uint32
	offset uint32 // of its header
	Info
}

// span is how many bytes of the log the record takes.
func (p place) span() int64 { return headerSize + int64(p.Length) }

// change is what became of a key since the index was brought up to date.
type change struct {
	place
	gone bool
}

// ErrNotFound: no such shard is stored.
var ErrNotFound = errors.New("shard is not stored")

// ErrDamaged: the shard was stored, but its bytes cannot be read any more or are others.
var ErrDamaged = errors.New("shard is damaged")

// Open opens the store in cfg.Dir, and makes one if there is none. It reads what was written since the index
// was last brought up to date, and drops what a crash cut off.
func Open(cfg Config, log *slog.Logger) (*Store, error) {
	cfg = cfg.withDefaults()
	if cfg.LogSize < headerSize+storage.MaxShard || cfg.LogSize > 2<<30 {
		return nil, fmt.Errorf("shardlog: log size %d: want %d to %d", cfg.LogSize, headerSize+storage.MaxShard, int64(2<<30))
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("shardlog: make directory: %w", err)
	}
	s := &Store{cfg: cfg, log: log, logs: map[uint32]*logFile{}, pending: map[Key]change{}}
	if err := s.load(); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("shardlog: open %s: %w", cfg.Dir, err)
	}
	return s, nil
}

// Put writes a shard. It refuses bytes that the key does not name (storage.shard_mismatch) and more than fit
// (storage.full). A shard that is stored already is not written again. It is safe only after Sync.
func (s *Store) Put(key Key, journal uint64, shard []byte) error {
	if len(shard) == 0 || len(shard) > storage.MaxShard {
		return types.Refuse(types.Oversize, "shardlog: put a shard of %d bytes, want 1 to %d", len(shard), storage.MaxShard)
	}
	if storage.ShardID(shard) != key.Shard {
		return types.Refuse(storage.ShardMismatch, "shardlog: put %s", key.Shard)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch at, err := s.find(key); {
	case err == nil && s.missing(at): // it is written anew
		s.note(key, change{place: at, gone: true})
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if err := s.room(uint64(len(shard))); err != nil {
		return err
	}
	at, err := s.append(header{kind: kindPut, key: key, Info: Info{len(shard), journal}}, shard)
	if err != nil {
		return err
	}
	s.note(key, change{place: at})
	s.checkpointIfDue()
	return nil
}

// Delete removes a shard, and does nothing if there is none. Its bytes stay on disk until Compact.
func (s *Store) Delete(key Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, err := s.find(key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := s.append(header{kind: kindDelete, key: key}, nil); err != nil {
		return err
	}
	s.note(key, change{place: at, gone: true})
	s.checkpointIfDue()
	return nil
}

// note counts a change and keeps it for the index and for readers. mu is held.
func (s *Store) note(key Key, c change) {
	sign := int64(1)
	if c.gone {
		sign = -1
	}
	s.used += uint64(sign * int64(c.Length))
	s.shards += int(sign)
	if l := s.logs[c.log]; l != nil {
		l.alive += sign * c.span()
	}
	s.pending[key] = c
}

// find returns where a shard lies. mu is held, for reading at least.
func (s *Store) find(key Key) (place, error) {
	if c, ok := s.pending[key]; ok {
		if c.gone {
			return place{}, fmt.Errorf("shardlog: %s of session %s: %w", key.Shard, key.Session, ErrNotFound)
		}
		return c.place, nil
	}
	if s.closed {
		return place{}, errClosed
	}
	return s.index.get(key)
}

var errClosed = fmt.Errorf("shardlog: %w", os.ErrClosed)

// Stat returns what is known of a shard: ErrNotFound if it was never stored, ErrDamaged if its log is gone.
func (s *Store) Stat(key Key) (Info, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, err := s.find(key)
	if err == nil && s.missing(at) {
		err = fmt.Errorf("shardlog: %s: log %s is gone or short: %w", key.Shard, logName(at.log), ErrDamaged)
	}
	return at.Info, err
}

// Get reads a shard into a new slice. It does not hash it: whoever relies on the bytes compares them with the
// name, as Scrub does.
func (s *Store) Get(key Key) ([]byte, error) {
	info, err := s.Stat(key)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, info.Length)
	return buf, s.ReadAt(key, buf, 0)
}

// ReadAt fills p with a shard's bytes from offset on. All of them must be there.
func (s *Store) ReadAt(key Key, p []byte, offset int) error {
	for {
		s.mu.RLock()
		at, err := s.find(key)
		l := s.logs[at.log]
		s.mu.RUnlock()
		if err != nil {
			return err
		}
		if offset < 0 || offset > at.Length || len(p) > at.Length-offset {
			return fmt.Errorf("shardlog: read %d+%d of %s, which has %d bytes: %w", offset, len(p), key.Shard, at.Length, io.ErrUnexpectedEOF)
		}
		if l == nil {
			return fmt.Errorf("shardlog: read %s: log %d is gone: %w", key.Shard, at.log, ErrDamaged)
		}
		_, err = l.file.ReadAt(p, int64(at.offset)+headerSize+int64(offset))
		if errors.Is(err, os.ErrClosed) {
			if s.isClosed() {
				return errClosed
			}
			continue // the log was compacted away: the shard is elsewhere now
		}
		if err != nil {
			return fmt.Errorf("shardlog: read %s: %w: %w", key.Shard, ErrDamaged, err)
		}
		return nil
	}
}

func (s *Store) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// Sync returns when all changes that were made before it are on the disk, or with storage.full if they may not be.
func (s *Store) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	target := s.appended
	for s.synced < target {
		if s.failed != nil {
			return s.failed
		}
		if s.closed {
			return errClosed
		}
		if others := s.syncing; others != nil {
			s.mu.Unlock()
			<-others
			s.mu.Lock()
			continue
		}
		done := make(chan struct{})
		s.syncing = done
		f, covers := s.active.file, s.appended
		s.mu.Unlock()
		err := f.Sync()
		s.mu.Lock()
		s.syncing = nil
		close(done)
		s.settle(covers, err)
	}
	return nil
}

// settle records the end of an fsync that covers that many records. A log that was full meanwhile has been
// synced otherwise. mu is held.
func (s *Store) settle(covers uint64, err error) {
	if s.synced >= covers {
		return
	}
	if err == nil {
		s.synced = covers
		return
	}
	s.failed = fmt.Errorf("shardlog: fsync: %w: %w", err, storage.Full)
	s.log.Error("storage takes no more shards until it is restarted: the disk failed to keep what was written", "err", err)
}

// Stats says how full the store is.
type Stats struct {
	Shards   int
	Used     uint64 // bytes of shards
	Capacity uint64 // what Used may reach now: Config.Capacity, or what the disk has room for
	LogBytes int64  // of all logs, dead records and headers included
	Logs     int
	Failed   error // why changes are refused, if they are
}

// Stats returns the present state.
func (s *Store) Stats() Stats {
	free, err := s.cfg.disk.free()
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Stats{Shards: s.shards, Used: s.used, Logs: len(s.logs), Failed: s.failed}
	if s.failed == nil && err != nil {
		st.Failed = fmt.Errorf("shardlog: free space: %w", err)
	}
	room := uint64(0)
	if st.Failed == nil && free > s.cfg.KeepFree {
		room = free - s.cfg.KeepFree
	}
	st.Capacity = min(s.cfg.Capacity, max(s.used, s.used+room))
	for _, l := range s.logs {
		st.LogBytes += l.size
	}
	return st
}

// Run brings the index up to date and compacts now and then, until ctx ends. Whoever does not run it calls Compact.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.Sync(); err != nil {
			s.log.Warn("storage: sync", "err", err)
			continue
		}
		s.mu.Lock()
		err := s.checkpoint()
		s.mu.Unlock()
		if err == nil {
			_, err = s.Compact(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("storage: compact", "err", err)
		}
	}
}

// Close syncs, brings the index up to date and closes the files.
func (s *Store) Close() error {
	err := s.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if err == nil {
		err = s.checkpoint()
	}
	s.closed = true
	return errors.Join(err, s.closeFiles())
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, l := range s.logs {
		errs = append(errs, l.file.Close())
	}
	return errors.Join(append(errs, s.index.close())...)
}
