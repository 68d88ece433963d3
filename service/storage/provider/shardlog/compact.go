package shardlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cairn-network/cairn/service/storage"
)

// Compact copies what is alive in logs of which less than half is, and removes them. It returns how many bytes
// of logs it removed. It may use what Config.KeepFree keeps from customers. Shards can be read and written
// meanwhile.
func (s *Store) Compact(ctx context.Context) (freed int64, err error) {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	for {
		l := s.emptiest()
		if l == nil {
			return freed, nil
		}
		if err := s.evacuate(ctx, l); err != nil {
			return freed, err
		}
		dropped, err := s.drop(l)
		if err != nil {
			return freed, err
		}
		if dropped {
			freed += l.size
		}
	}
}

// emptiest returns the log with the least alive among those less than half alive, but never the active one.
func (s *Store) emptiest() *logFile {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var least *logFile
	for _, l := range s.logs {
		if l != s.active && l.alive*2 < l.size && (!l.stuck || l.alive == 0) && (least == nil || l.alive < least.alive || l.alive == least.alive && l.number < least.number) {
			least = l
		}
	}
	return least
}

// evacuate writes everything alive in l to the active log.
func (s *Store) evacuate(ctx context.Context, l *logFile) error {
	var buf []byte
	return s.each(ctx, func(e entry) error {
		if e.log != l.number {
			return nil
		}
		buf = slices.Grow(buf[:0], e.Length)[:e.Length]
		if _, err := l.file.ReadAt(buf, int64(e.offset)+headerSize); err != nil && !errors.Is(err, io.EOF) {
			s.log.Warn("storage: read a shard to compact its log", "shard", e.key.Shard, "log", logName(l.number), "err", err)
			return nil
		}
		return s.move(e, buf)
	})
}

// move writes a shard anew, unless it has gone or moved since. Bytes that are not the shard's own are moved as
// they are: to find them is the scrub's affair.
func (s *Store) move(e entry, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, err := s.find(e.key)
	if errors.Is(err, ErrNotFound) || err == nil && at != e.place {
		return nil
	}
	if err != nil {
		return err
	}
	to, err := s.append(header{kind: kindPut, key: e.key, Info: e.Info}, data)
	if err != nil {
		return err
	}
	s.note(e.key, change{place: at, gone: true})
	s.note(e.key, change{place: to})
	s.checkpointIfDue()
	return nil
}

// drop removes a log, after what replaces it is durable and indexed, unless something in it is still alive.
func (s *Store) drop(l *logFile) (dropped bool, err error) {
	if err := s.Sync(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkpoint(); err != nil {
		return false, err
	}
	if l.alive != 0 {
		l.stuck = true
		return false, nil
	}
	delete(s.logs, l.number)
	if err := errors.Join(l.file.Close(), s.cfg.disk.remove(logName(l.number)), s.cfg.disk.sync()); err != nil {
		return true, fmt.Errorf("shardlog: remove %s: %w", logName(l.number), err)
	}
	return true, nil
}

// each calls f for every shard that is there from beginning to end, in no certain order, and for some of those
// that come and go. The store may be used meanwhile, by f too.
func (s *Store) each(ctx context.Context, f func(entry) error) error {
	s.mu.RLock()
	recent := make(map[Key]change, len(s.pending))
	for k, c := range s.pending {
		recent[k] = c
	}
	s.mu.RUnlock()
	for key, c := range recent {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !c.gone {
			if err := f(entry{key, c.place}); err != nil {
				return err
			}
		}
	}
	var last []byte
	for {
		if s.isClosed() {
			return errClosed
		}
		entries, next, err := s.index.after(last, 512)
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, seen := recent[e.key]; seen {
				continue
			}
			if err := f(e); err != nil {
				return err
			}
		}
		last = next
	}
}

// Each calls f for every stored shard. One that is put or deleted meanwhile may be left out or not. f may use
// the store.
func (s *Store) Each(ctx context.Context, f func(Key, Info) error) error {
	return s.each(ctx, func(e entry) error { return f(e.key, e.Info) })
}

// Scrub reads every shard, compares it with its name, and calls bad for each that is damaged. wait, if not nil,
// is called before each read with its length: a rate limiter. It returns how many shards it read.
func (s *Store) Scrub(ctx context.Context, wait func(ctx context.Context, bytes int) error, bad func(Key, error)) (shards int, err error) {
	var buf []byte
	err = s.Each(ctx, func(key Key, info Info) error {
		if wait != nil {
			if err := wait(ctx, info.Length); err != nil {
				return err
			}
		}
		buf = slices.Grow(buf[:0], info.Length)[:info.Length]
		err := s.ReadAt(key, buf, 0)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil // deleted meanwhile
		case errors.Is(err, errClosed):
			return err
		case err != nil:
			bad(key, err)
		case storage.ShardID(buf) != key.Shard:
			bad(key, fmt.Errorf("shardlog: scrub %s: %w", key.Shard, ErrDamaged))
		}
		shards++
		return nil
	})
	return shards, err
}
