package shardlog

import (
	"fmt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// room refuses what would exceed the capacity or leave too little free. mu is held.
func (s *Store) room(length uint64) error {
	if s.used > s.cfg.Capacity || length > s.cfg.Capacity-s.used {
		return types.Refuse(storage.Full, "shardlog: %d bytes of %d used", s.used, s.cfg.Capacity)
	}
	free, err := s.cfg.disk.free()
	if err != nil {
		return fmt.Errorf("shardlog: free space: %w: %w", err, storage.Full)
	}
	if free < s.cfg.KeepFree+length+headerSize {
		return types.Refuse(storage.Full, "shardlog: %d bytes free, %d are kept free", free, s.cfg.KeepFree)
	}
	return nil
}

// append writes a record at the end of the active log, or of a new one if it does not fit. What was written of
// a record when writing fails is taken back. mu is held.
func (s *Store) append(h header, data []byte) (place, error) {
	if s.failed != nil {
		return place{}, s.failed
	}
	if s.closed {
		return place{}, errClosed
	}
	if len(s.pending) >= 2*maxPending {
		return place{}, types.Refuse(storage.Full, "shardlog: the index takes no changes")
	}
	if s.active.size+headerSize+int64(len(data)) > s.cfg.LogSize {
		if err := s.rotate(); err != nil {
			return place{}, err
		}
	}
	l := s.active
	at := place{log: l.number, offset: uint32(l.size), Info: h.Info}
	_, err := l.file.WriteAt(h.encode(at.log, at.offset), l.size)
	if err == nil && len(data) > 0 {
		_, err = l.file.WriteAt(data, l.size+headerSize)
	}
	if err != nil {
		if undo := l.file.Truncate(l.size); undo != nil {
			// What is beyond the end may look like a record after a crash; it was never acknowledged, so that
			// does no harm.
			s.log.Warn("storage: cut off a record that could not be written", "err", undo)
		}
		return place{}, fmt.Errorf("shardlog: write: %w: %w", err, storage.Full)
	}
	l.size += headerSize + int64(len(data))
	s.unlisted += headerSize + int64(len(data))
	s.appended++
	return at, nil
}

// rotate brings the index up to date and starts a new log, so that only the newest can have a tail to read
// again. mu is held.
func (s *Store) rotate() error {
	if err := s.checkpoint(); err != nil {
		return err
	}
	l, err := s.create(s.active.number + 1)
	if err != nil {
		return fmt.Errorf("shardlog: new log: %w: %w", err, storage.Full)
	}
	s.active = l
	return nil
}

func (s *Store) create(number uint32) (*logFile, error) {
	f, size, err := s.cfg.disk.open(logName(number))
	if err != nil {
		return nil, err
	}
	if size != 0 {
		// Left by a rotation that failed half-way; nothing in it was ever acknowledged.
		if err := f.Truncate(0); err != nil {
			f.Close()
			return nil, err
		}
	}
	if err := s.cfg.disk.sync(); err != nil {
		f.Close()
		return nil, err
	}
	l := &logFile{number: number, file: f}
	if l.info, err = s.cfg.disk.stat(logName(number)); err != nil {
		f.Close()
		return nil, err
	}
	s.logs[number] = l
	return l, nil
}

// checkpointIfDue brings the index up to date when much has changed. If that fails, the change is in the log
// all the same, and the next one tries again, until no more can wait (append). mu is held.
func (s *Store) checkpointIfDue() {
	if len(s.pending) < maxPending && s.unlisted < s.cfg.Checkpoint {
		return
	}
	if err := s.checkpoint(); err != nil {
		s.log.Warn("storage: bring the index up to date", "err", err)
	}
}

// checkpoint makes the logs durable and then the index that names them. mu is held.
func (s *Store) checkpoint() error {
	if s.failed != nil {
		return s.failed
	}
	if s.unlisted == 0 {
		return nil
	}
	if s.synced < s.appended {
		s.settle(s.appended, s.active.file.Sync())
		if s.failed != nil {
			return s.failed
		}
	}
	if err := s.index.update(s.pending, s.active.number, uint32(s.active.size)); err != nil {
		return fmt.Errorf("shardlog: index: %w: %w", err, storage.Full)
	}
	clear(s.pending)
	s.unlisted = 0
	return nil
}
