package shardlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cairn-network/cairn/service/storage"
)

// ErrGone: the directory that the store was opened in is not where it was, or its index is not.
var ErrGone = errors.New("the folder of shards is gone, or is another")

// missing reports whether the log of a place is gone, or ends before it. mu is held, for reading at least.
func (s *Store) missing(at place) bool {
	l := s.logs[at.log]
	return l == nil || int64(at.offset)+at.span() > l.size
}

// Check compares the files that are open with those that their names lead to. It gives up logs that are gone,
// another or short, and reports whether shards were lost that no Check has reported, be it now or before the
// store was opened. It looks at every log if all is set, and else at the one that is written to. ErrGone says
// that nothing can be relied on until the directory is back or the store opened again.
func (s *Store) Check(all bool) (lost bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, errClosed
	}
	for name, was := range s.own {
		now, err := s.cfg.disk.stat(name)
		switch {
		case err != nil:
			return false, fmt.Errorf("shardlog: %w: %w", ErrGone, err)
		case !os.SameFile(was, now):
			return false, fmt.Errorf("shardlog: %s is another file than was opened: %w", filepath.Join(s.cfg.Dir, name), ErrGone)
		}
	}
	for _, l := range s.logs {
		if !all && l != s.active {
			continue
		}
		now, err := s.cfg.disk.stat(logName(l.number))
		switch {
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return false, fmt.Errorf("shardlog: %w: %w", ErrGone, err)
		case err != nil || !os.SameFile(l.info, now):
			s.log.Error("storage: a log is gone, or is another", "log", logName(l.number), "bytes", l.size)
			err = s.giveUp(l, 0)
		case now.Size() < l.size:
			s.log.Error("storage: a log is short", "log", logName(l.number), "bytes", now.Size(), "were", l.size)
			err = s.giveUp(l, now.Size())
		}
		if err != nil {
			return false, err
		}
	}
	lost, s.lost = s.lost, false
	return lost, nil
}

// giveUp takes what is beyond size in a log for lost; at 0, all of it. Nothing more is written to it. mu is held.
func (s *Store) giveUp(l *logFile, size int64) error {
	s.lost = true
	if l == s.active {
		if err := s.rotate(); err != nil {
			s.failed = fmt.Errorf("%w: %w", err, storage.Full)
			return s.failed
		}
	}
	l.size, l.stuck = size, true
	if size > 0 {
		return nil
	}
	delete(s.logs, l.number)
	l.file.Close() // whoever reads from it finds that it is gone
	return nil
}

// Lost lists shards that the index names and no log has any more, at most limit. They go when they are deleted,
// or put again.
func (s *Store) Lost(ctx context.Context, limit int) (keys []Key, err error) {
	errEnough := errors.New("enough")
	err = s.each(ctx, func(e entry) error {
		s.mu.RLock()
		defer s.mu.RUnlock()
		if s.missing(e.place) {
			keys = append(keys, e.key)
		}
		if len(keys) == limit {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return keys, err
}
