package shardlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/cairn-network/cairn/service/storage"
)

const indexName = "index.db"

func logName(number uint32) string { return fmt.Sprintf("%08x.log", number) }

// load opens index and logs, and reads the logs from where the index ends.
func (s *Store) load() error {
	var err error
	if s.index, err = openIndex(filepath.Join(s.cfg.Dir, indexName)); err != nil {
		return err
	}
	s.own = map[string]os.FileInfo{}
	for _, name := range []string{".", indexName} {
		if s.own[name], err = s.cfg.disk.stat(name); err != nil {
			return err
		}
	}
	logs, err := s.openLogs()
	if err != nil {
		return err
	}
	if err := s.count(); err != nil {
		return err
	}
	log, offset, known, err := s.index.covered()
	if err != nil {
		return err
	}
	if known && s.logs[log] == nil {
		s.log.Error("storage: a log is gone", "log", logName(log))
	}
	for i, l := range logs {
		if known && l.number < log {
			continue
		}
		from := int64(0)
		if known && l.number == log {
			from = int64(offset)
		}
		if err := s.replay(l, from, i == len(logs)-1); err != nil {
			return err
		}
	}
	if len(logs) > 0 && (!known || logs[len(logs)-1].number >= log) {
		s.active = logs[len(logs)-1]
	} else {
		next := uint32(0)
		if known {
			next = log + 1
		}
		if s.active, err = s.create(next); err != nil {
			return err
		}
	}
	// Before anything is written after what was found, it is made durable.
	if err := s.active.file.Sync(); err != nil {
		return fmt.Errorf("fsync: %w", err)
	}
	if err := s.index.update(s.pending, s.active.number, uint32(s.active.size)); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	clear(s.pending)
	return nil
}

// openLogs returns the logs there are, by number.
func (s *Store) openLogs() ([]*logFile, error) {
	names, err := s.cfg.disk.list()
	if err != nil {
		return nil, err
	}
	var logs []*logFile
	for _, name := range names {
		var number uint32
		if _, err := fmt.Sscanf(name, "%08x.log", &number); err != nil || name != logName(number) {
			continue
		}
		f, size, err := s.cfg.disk.open(name)
		if err != nil {
			return nil, err
		}
		l := &logFile{number: number, file: f, size: size}
		s.logs[number] = l
		if l.info, err = s.cfg.disk.stat(name); err != nil {
			return nil, err
		}
		logs = append(logs, l)
	}
	slices.SortFunc(logs, func(a, b *logFile) int { return cmp.Compare(a.number, b.number) })
	return logs, nil
}

// count adds up what the index names.
func (s *Store) count() error {
	var last []byte
	missing := 0
	for {
		entries, next, err := s.index.after(last, 4096)
		if err != nil || len(entries) == 0 {
			if missing > 0 {
				s.log.Error("storage: shards are in logs that are gone or short", "shards", missing)
			}
			return err
		}
		for _, e := range entries {
			s.used += uint64(e.Length)
			s.shards++
			if l := s.logs[e.log]; l != nil {
				l.alive += e.span()
			}
			if s.missing(e.place) {
				missing++
				s.lost = true
			}
		}
		last = next
	}
}

// replay applies the records of l from an offset on. A record whose header is none ends it: the tail of the
// newest log, which a crash cut off, is dropped. A shard whose bytes are not its own is passed over: it was cut
// off too, or the disk has lost it.
func (s *Store) replay(l *logFile, from int64, newest bool) error {
	at := from
	head := make([]byte, headerSize)
	var data []byte
	for at+headerSize <= l.size {
		if _, err := l.file.ReadAt(head, at); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", logName(l.number), err)
		}
		h, err := decodeHeader(head, l.number, uint32(at))
		if err != nil || at+headerSize+int64(h.Length) > l.size {
			break
		}
		data = slices.Grow(data[:0], h.Length)[:h.Length]
		if _, err := l.file.ReadAt(data, at+headerSize); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", logName(l.number), err)
		}
		if err := s.redo(h, place{log: l.number, offset: uint32(at), Info: h.Info}, data); err != nil {
			return err
		}
		at += headerSize + int64(h.Length)
	}
	if at >= l.size {
		return nil
	}
	if !newest {
		s.log.Error("storage: a log is damaged; what follows in it is passed over", "log", logName(l.number), "offset", at)
		return nil
	}
	s.log.Info("storage: drop what the last run did not finish writing", "log", logName(l.number), "bytes", l.size-at)
	if err := l.file.Truncate(at); err != nil {
		return fmt.Errorf("cut off the tail of %s: %w", logName(l.number), err)
	}
	l.size = at
	return nil
}

// redo applies one record that was read from a log.
func (s *Store) redo(h header, at place, data []byte) error {
	if h.kind == kindPut && storage.ShardID(data) != h.key.Shard {
		s.log.Warn("storage: pass over a shard whose bytes are not its own", "shard", h.key.Shard, "log", logName(at.log), "offset", at.offset)
		return nil
	}
	old, err := s.find(h.key)
	switch {
	case err == nil && h.kind == kindPut && old == at:
		return nil
	case err == nil: // deleted, or written anew by compaction
		s.note(h.key, change{place: old, gone: true})
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if h.kind == kindPut {
		s.note(h.key, change{place: at})
	}
	if len(s.pending) < maxPending {
		return nil
	}
	// The place covered stays where it was until all is read; changes may be applied twice.
	log, offset, _, err := s.index.covered()
	if err != nil {
		return err
	}
	if err := s.index.update(s.pending, log, offset); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	clear(s.pending)
	return nil
}
