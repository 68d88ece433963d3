package shardlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

var quiet = slog.New(slog.DiscardHandler)

const smallLog = headerSize + storage.MaxShard // the least that a log may be bounded to

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.KeepFree == 0 {
		cfg.KeepFree = 1
	}
	s, err := Open(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// shard returns n bytes that depend on seed, and their key in a session.
func shard(seed, n int) (Key, []byte) {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	binary.BigEndian.PutUint32(b[:4], uint32(seed))
	return Key{storage.ShardID(b), types.SessionID{byte(seed % 3)}}, b
}

func put(t testing.TB, s *Store, seed, n int) (Key, []byte) {
	t.Helper()
	key, b := shard(seed, n)
	if err := s.Put(key, uint64(seed), b); err != nil {
		t.Fatal(err)
	}
	return key, b
}

// content reads everything, and checks the sums on the way.
func content(t testing.TB, s *Store) map[Key]string {
	t.Helper()
	all := map[Key]string{}
	used := uint64(0)
	err := s.Each(context.Background(), func(key Key, info Info) error {
		b, err := s.Get(key)
		if err != nil {
			return err
		}
		if len(b) != info.Length || storage.ShardID(b) != key.Shard {
			return fmt.Errorf("%s: wrong bytes", key.Shard)
		}
		if _, twice := all[key]; twice {
			return fmt.Errorf("%s: visited twice", key.Shard)
		}
		all[key] = string(b)
		used += uint64(len(b))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Used != used || st.Shards != len(all) {
		t.Fatalf("stats say %d bytes in %d shards, there are %d in %d", st.Used, st.Shards, used, len(all))
	}
	alive := int64(0)
	for _, l := range s.logs {
		alive += l.alive
	}
	if want := int64(used) + int64(len(all))*headerSize; alive != want {
		t.Fatalf("%d bytes of logs alive, want %d", alive, want)
	}
	return all
}

func TestPutGetDelete(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	key, b := put(t, s, 1, 5000)
	for round := range 2 {
		if got, err := s.Get(key); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("get: %v", err)
		}
		if info, err := s.Stat(key); err != nil || info != (Info{5000, 1}) {
			t.Fatalf("stat: %v %v", info, err)
		}
		part := make([]byte, 100)
		if err := s.ReadAt(key, part, 4900); err != nil || !bytes.Equal(part, b[4900:]) {
			t.Fatalf("range: %v", err)
		}
		for _, r := range [][2]int{{4901, 100}, {-1, 10}, {0, 5001}, {1 << 40, 1}} {
			if err := s.ReadAt(key, make([]byte, r[1]), r[0]); err == nil {
				t.Errorf("read %v", r)
			}
		}
		if round == 0 { // and again from the index
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(key); !errors.Is(err, os.ErrClosed) {
				t.Errorf("get from a closed store: %v", err)
			}
			if err := s.Put(key, 1, b); !errors.Is(err, os.ErrClosed) {
				t.Errorf("put to a closed store: %v", err)
			}
			s = open(t, Config{Dir: dir})
		}
	}
	other := Key{key.Shard, types.SessionID{99}}
	if _, err := s.Get(other); !errors.Is(err, ErrNotFound) {
		t.Errorf("another session's shard: %v", err)
	}
	if err := s.Put(other, 0, b); err != nil {
		t.Fatal(err)
	}
	size := s.Stats().LogBytes
	if err := s.Put(other, 0, b); err != nil || s.Stats().LogBytes != size {
		t.Errorf("a second put of one shard: %v, %d bytes more", err, s.Stats().LogBytes-size)
	}
	if err := s.Delete(key); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(key); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(key); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted shard: %v", err)
	}
	if diff := cmp.Diff(map[Key]string{other: string(b)}, content(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), Capacity: 10_000})
	key, b := shard(1, 1000)
	b[5] ^= 1
	if err := s.Put(key, 0, b); !errors.Is(err, storage.ShardMismatch) {
		t.Errorf("other bytes: %v", err)
	}
	if err := s.Put(key, 0, nil); !errors.Is(err, types.Oversize) {
		t.Errorf("no bytes: %v", err)
	}
	if err := s.Put(key, 0, make([]byte, storage.MaxShard+1)); !errors.Is(err, types.Oversize) {
		t.Errorf("too many bytes: %v", err)
	}
	put(t, s, 2, 9000)
	key, b = shard(3, 1001)
	if err := s.Put(key, 0, b); !errors.Is(err, storage.Full) {
		t.Errorf("beyond the capacity: %v", err)
	}
	put(t, s, 4, 1000)
	if _, err := Open(Config{Dir: t.TempDir(), LogSize: 1 << 20}, quiet); err == nil {
		t.Error("a log that a shard does not fit into")
	}
	if _, err := Open(Config{Dir: s.cfg.Dir}, quiet); err == nil {
		t.Error("opened twice")
	}
}

// faulty is a directory whose disk fills up, dies, or fails to sync.
type faulty struct {
	disk
	budget  atomic.Int64 // bytes that can still be written
	dead    atomic.Bool  // after the budget is used up nothing works any more, as if the process had been killed
	kill    bool         // die when the budget is used up
	left    atomic.Int64 // what free says
	badSync atomic.Bool
	syncs   atomic.Int64
	pause   time.Duration // that a sync takes
	mu      sync.Mutex
	durable map[string]int64 // size of each log at its last sync
	size    map[string]int64
}

func newFaulty(dir string) *faulty {
	d := &faulty{disk: osDisk(dir), durable: map[string]int64{}, size: map[string]int64{}}
	d.budget.Store(1 << 60)
	d.left.Store(1 << 60)
	return d
}

var errKilled = errors.New("killed")

func (d *faulty) open(name string) (file, int64, error) {
	if d.dead.Load() {
		return nil, 0, errKilled
	}
	f, size, err := d.disk.open(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size[name], d.durable[name] = size, size
	return &faultyFile{f, d, name}, size, err
}

func (d *faulty) remove(name string) error {
	if d.dead.Load() {
		return errKilled
	}
	return d.disk.remove(name)
}

func (d *faulty) free() (uint64, error) { return uint64(d.left.Load()), nil }

type faultyFile struct {
	file
	d    *faulty
	name string
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if f.d.dead.Load() {
		return 0, errKilled
	}
	n := int64(len(p))
	if left := f.d.budget.Add(-n); left < 0 {
		if n = max(0, n+left); f.d.kill {
			f.d.dead.Store(true)
		} else {
			f.d.budget.Store(0)
		}
		_, _ = f.file.WriteAt(p[:n], off)
		return int(n), syscall.ENOSPC
	}
	f.d.mu.Lock()
	f.d.size[f.name] = max(f.d.size[f.name], off+n)
	f.d.mu.Unlock()
	return f.file.WriteAt(p, off)
}

func (f *faultyFile) Truncate(size int64) error {
	if f.d.dead.Load() {
		return errKilled
	}
	f.d.mu.Lock()
	f.d.size[f.name] = size
	f.d.mu.Unlock()
	return f.file.Truncate(size)
}

func (f *faultyFile) Sync() error {
	if f.d.dead.Load() {
		return errKilled
	}
	f.d.syncs.Add(1)
	time.Sleep(f.d.pause)
	if f.d.badSync.Load() {
		return syscall.EIO
	}
	f.d.mu.Lock()
	f.d.durable[f.name] = f.d.size[f.name]
	f.d.mu.Unlock()
	return f.file.Sync()
}

// abandon closes the files without writing anything, as the end of a process does.
func abandon(s *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.closeFiles()
}

func clone(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// history is a state after each change.
type history []map[Key]string

func (h *history) add(change func(m map[Key]string)) {
	m := map[Key]string{}
	if len(*h) > 0 {
		m = maps.Clone((*h)[len(*h)-1])
	}
	change(m)
	*h = append(*h, m)
}

// TestTornTail cuts the log at every byte after the last Sync, and spoils every such byte: what comes back is
// the state after one of the later changes, never less than what was synced.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	var h history
	h.add(func(map[Key]string) {})
	change := func(seed, n int) {
		key, b := put(t, s, seed, n)
		h.add(func(m map[Key]string) { m[key] = string(b) })
	}
	remove := func(seed, n int) {
		key, _ := shard(seed, n)
		if err := s.Delete(key); err != nil {
			t.Fatal(err)
		}
		h.add(func(m map[Key]string) { delete(m, key) })
	}
	change(1, 300)
	change(2, 400)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	safe, from := len(h)-1, s.active.size
	change(3, 100)
	remove(1, 300)
	change(4, 50)
	change(1, 300)
	remove(3, 100)
	to := s.active.size
	abandon(s)

	reopen := func(what string, spoil func(log string) error) map[Key]string {
		t.Helper()
		broken := clone(t, dir)
		if err := spoil(filepath.Join(broken, logName(0))); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Config{Dir: broken, KeepFree: 1}, quiet)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got := content(t, s)
		// It works on, and what it wrote is there at the next start.
		key, b := put(t, s, 77, 60)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(Config{Dir: broken, KeepFree: 1}, quiet); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		want := maps.Clone(got)
		want[key] = string(b)
		if diff := cmp.Diff(want, content(t, s)); diff != "" {
			t.Fatalf("%s: after another put: %s", what, diff)
		}
		return got
	}
	for cut := from; cut <= to; cut += 3 {
		got := reopen("cut", func(log string) error { return os.Truncate(log, cut) })
		if !slices.ContainsFunc(h[safe:], func(m map[Key]string) bool { return maps.Equal(m, got) }) {
			t.Fatalf("cut at %d: a state that never was: %d shards", cut, len(got))
		}
		if cut == to && !maps.Equal(got, h[len(h)-1]) {
			t.Fatal("something was lost without a cut")
		}
	}
	for at := from; at < to; at += 5 {
		got := reopen("spoil", func(log string) error {
			b, err := os.ReadFile(log)
			if err == nil {
				b[at] ^= 0x40
				err = os.WriteFile(log, b, 0o600)
			}
			return err
		})
		for key := range h[safe] {
			if _, ok := got[key]; !ok && key != first(shard(1, 300)) { // which was deleted later
				t.Fatalf("spoiled at %d: a synced shard is gone", at)
			}
		}
	}
	for _, tail := range [][]byte{make([]byte, 5000), bytes.Repeat([]byte{0xc1}, 200)} {
		got := reopen("garbage", func(log string) error {
			f, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.Write(tail)
				f.Close()
			}
			return err
		})
		if !maps.Equal(got, h[len(h)-1]) {
			t.Fatal("garbage after the last record changed something")
		}
	}
}

func first[A, B any](a A, _ B) A { return a }

// TestKilledAtAnyWrite lets the disk die after so many bytes, over rotations, checkpoints and compactions: what
// Sync covered is there at the next start.
func TestKilledAtAnyWrite(t *testing.T) {
	work := func(s *Store) (acked map[Key]string) {
		now := map[Key]string{}
		for i := range 24 {
			key, b := shard(i, 130_000+i)
			if s.Put(key, 0, b) != nil {
				return acked
			}
			now[key] = string(b)
			if i%2 == 1 && i > 4 {
				gone, _ := shard(i-3, 130_000+i-3)
				if s.Delete(gone) != nil {
					return acked
				}
				delete(now, gone)
			}
			if i%3 == 0 {
				if s.Sync() != nil {
					return acked
				}
				acked = maps.Clone(now)
			}
			if i%10 == 9 {
				if _, err := s.Compact(context.Background()); err != nil {
					return acked
				}
			}
		}
		if s.Sync() == nil {
			return now
		}
		return acked
	}
	total := int64(24*130_100 + 24*130_100/2)
	for budget := int64(1); budget < total; budget += 52_347 {
		dir := t.TempDir()
		d := newFaulty(dir)
		d.kill = true
		d.budget.Store(budget)
		s := open(t, Config{Dir: dir, LogSize: smallLog, Checkpoint: 300_000, disk: d})
		acked := work(s)
		if d.dead.Load() == false && budget < 2_000_000 {
			t.Fatalf("budget %d: the disk did not die", budget)
		}
		abandon(s)
		s = open(t, Config{Dir: dir, LogSize: smallLog})
		got := content(t, s)
		for key, b := range acked {
			// Deletions after the last Sync may have happened; nothing else may be missing.
			if got[key] != b && !deletedLater(key) {
				t.Fatalf("budget %d: an acknowledged shard is gone", budget)
			}
		}
		if _, err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, content(t, s)); diff != "" {
			t.Fatal("compaction after a crash changed the content")
		}
		s.Close()
	}
}

// deletedLater reports whether the work of TestKilledAtAnyWrite deletes a shard.
func deletedLater(key Key) bool {
	for i := 5; i < 24; i += 2 {
		if k, _ := shard(i-3, 130_000+i-3); k == key {
			return true
		}
	}
	return false
}

// TestDiskFull fills the disk at every byte of a record: the put is refused, what was there stays, and with
// room again it works on.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	d := newFaulty(dir)
	s := open(t, Config{Dir: dir, disk: d})
	put(t, s, 1, 500)
	before := content(t, s)
	key, b := shard(2, 100)
	for room := range int64(headerSize + 100) {
		d.budget.Store(room)
		if err := s.Put(key, 0, b); !errors.Is(err, storage.Full) {
			t.Fatalf("room for %d bytes: %v", room, err)
		}
		if _, err := s.Get(key); !errors.Is(err, ErrNotFound) {
			t.Fatalf("a shard that was refused: %v", err)
		}
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	d.budget.Store(1 << 40)
	if err := s.Put(key, 0, b); err != nil {
		t.Fatal(err)
	}
	before[key] = string(b)
	if diff := cmp.Diff(before, content(t, s)); diff != "" {
		t.Fatal(diff)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, content(t, open(t, Config{Dir: dir}))); diff != "" {
		t.Fatal(diff)
	}
}

func TestKeepFree(t *testing.T) {
	dir := t.TempDir()
	d := newFaulty(dir)
	s := open(t, Config{Dir: dir, KeepFree: 1 << 20, disk: d})
	key, b := put(t, s, 1, 500)
	d.left.Store(1<<20 + 500)
	if other, c := shard(2, 500); !errors.Is(s.Put(other, 0, c), storage.Full) {
		t.Error("took what is to stay free")
	}
	if st := s.Stats(); st.Capacity != 1000 || st.Failed != nil {
		t.Errorf("capacity %d with 500 used and 500 to spare", st.Capacity)
	}
	if got, err := s.Get(key); err != nil || !bytes.Equal(got, b) {
		t.Errorf("get: %v", err)
	}
	if err := s.Delete(key); err != nil {
		t.Errorf("delete on a full disk: %v", err)
	}
	if s := open(t, Config{Dir: t.TempDir(), KeepFree: 1 << 62}); s.Stats().Capacity != 0 {
		t.Error("the real disk has 4 EiB to spare")
	}
}

// TestFailedSync: nobody knows what a failed fsync left on the disk; nothing is acknowledged any more, and
// everything can be read.
func TestFailedSync(t *testing.T) {
	dir := t.TempDir()
	d := newFaulty(dir)
	s := open(t, Config{Dir: dir, disk: d})
	key, b := put(t, s, 1, 500)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	put(t, s, 2, 500)
	d.badSync.Store(true)
	if err := s.Sync(); !errors.Is(err, storage.Full) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	d.badSync.Store(false) // a second fsync says nothing about the first one's pages
	if err := s.Sync(); !errors.Is(err, storage.Full) {
		t.Fatalf("sync again: %v", err)
	}
	if other, c := shard(3, 500); !errors.Is(s.Put(other, 0, c), storage.Full) || !errors.Is(s.Delete(key), storage.Full) {
		t.Error("changed after a failed fsync")
	}
	if got, err := s.Get(key); err != nil || !bytes.Equal(got, b) {
		t.Errorf("get: %v", err)
	}
	if s.Stats().Failed == nil || s.Stats().Capacity != s.Stats().Used {
		t.Error("stats hide it")
	}
	if err := s.Close(); err == nil {
		t.Error("closed as if nothing had happened")
	}
	s = open(t, Config{Dir: dir})
	if got, err := s.Get(key); err != nil || !bytes.Equal(got, b) {
		t.Errorf("after a restart: %v", err)
	}
}

func TestGroupCommit(t *testing.T) {
	dir := t.TempDir()
	d := newFaulty(dir)
	s := open(t, Config{Dir: dir, disk: d})
	d.pause = 5 * time.Millisecond
	before := d.syncs.Load()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			key, b := shard(i, 200)
			if err := errors.Join(s.Put(key, 0, b), s.Sync()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := d.syncs.Load() - before; n > 16 {
		t.Errorf("64 writers took %d fsyncs", n)
	}
	if n := d.durable[logName(0)]; n != s.active.size {
		t.Errorf("%d of %d bytes are durable", n, s.active.size)
	}
}

func TestCompact(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, LogSize: smallLog})
	var keys []Key
	for i := range 40 { // 10 logs of 4
		key, _ := put(t, s, i, 250_000)
		keys = append(keys, key)
	}
	for i, key := range keys {
		if i%4 != 0 || i < 8 {
			if err := s.Delete(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := content(t, s)
	before := s.Stats()
	freed, err := s.Compact(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, content(t, s)); diff != "" {
		t.Fatal("compaction changed the content")
	}
	after := s.Stats()
	if freed < 8_000_000 || after.LogBytes > before.LogBytes-6_000_000 || after.Logs >= before.Logs {
		t.Errorf("freed %d: %d bytes in %d logs became %d in %d", freed, before.LogBytes, before.Logs, after.LogBytes, after.Logs)
	}
	if du := diskUse(t, dir); du != after.LogBytes {
		t.Errorf("logs have %d bytes, stats say %d", du, after.LogBytes)
	}
	s.Close()
	if diff := cmp.Diff(want, content(t, open(t, Config{Dir: dir, LogSize: smallLog}))); diff != "" {
		t.Fatal("something is gone after a restart")
	}
}

func diskUse(t *testing.T, dir string) (sum int64) {
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	return sum
}

// TestIndexLost: the logs make a new index.
func TestIndexLost(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, LogSize: smallLog})
	for i := range 12 {
		key, _ := put(t, s, i, 200_000)
		if i%3 == 0 {
			if err := s.Delete(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := content(t, s)
	s.Close()
	if err := os.Remove(filepath.Join(dir, "index.db")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, content(t, open(t, Config{Dir: dir, LogSize: smallLog}))); diff != "" {
		t.Fatal("the new index is another one")
	}
}

// TestLogLost: shards in a log that is gone are damaged, the others are not, and numbers are not used again.
func TestLogLost(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, LogSize: smallLog})
	gone, _ := put(t, s, 1, 600_000)
	kept, b := put(t, s, 2, 600_000)
	s.Close()
	if err := os.Remove(filepath.Join(dir, logName(0))); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: dir, LogSize: smallLog})
	if _, err := s.Get(gone); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if got, err := s.Get(kept); err != nil || !bytes.Equal(got, b) {
		t.Errorf("got %v", err)
	}
	var bad []Key
	if n, err := s.Scrub(t.Context(), nil, func(key Key, err error) { bad = append(bad, key) }); n != 2 || err != nil || !slices.Equal(bad, []Key{gone}) {
		t.Errorf("scrub: %d shards, %v, bad %v", n, err, bad)
	}
	if err := s.Delete(gone); err != nil {
		t.Errorf("delete what is lost: %v", err)
	}
	s.Close()
	for _, number := range []uint32{1} {
		if err := os.Remove(filepath.Join(dir, logName(number))); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, Config{Dir: dir, LogSize: smallLog})
	if s.active.number <= 1 {
		t.Errorf("log %d is used again", s.active.number)
	}
	put(t, s, 3, 100)
}

func TestScrub(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	put(t, s, 1, 5000)
	key, _ := put(t, s, 2, 5000)
	at, err := s.find(key)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, logName(0)), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, int64(at.offset)+headerSize+2500); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var waited int
	var bad []Key
	n, err := s.Scrub(t.Context(), func(_ context.Context, bytes int) error { waited += bytes; return nil }, func(key Key, err error) {
		if !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
		bad = append(bad, key)
	})
	if err != nil || n != 2 || waited != 10_000 || !slices.Equal(bad, []Key{key}) {
		t.Errorf("read %d shards, %d bytes, bad %v: %v", n, waited, bad, err)
	}
	if _, err := s.Scrub(t.Context(), func(context.Context, int) error { return io.EOF }, nil); err != io.EOF {
		t.Errorf("got %v", err)
	}
}

// TestConcurrent: writers, readers, a compactor and checkpoints at once. Run it with -race.
func TestConcurrent(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), LogSize: smallLog, Checkpoint: 500_000})
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() {
		for ctx.Err() == nil {
			if _, err := s.Compact(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			s.Stats()
		}
	})
	background.Go(func() {
		for ctx.Err() == nil {
			if _, err := s.Scrub(ctx, nil, func(key Key, err error) { t.Error(err) }); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 60 {
				key, b := shard(w*1000+i, 20_000)
				if err := errors.Join(s.Put(key, 0, b), s.Sync()); err != nil {
					t.Error(err)
					return
				}
				if got, err := s.Get(key); err != nil || !bytes.Equal(got, b) {
					t.Errorf("get: %v", err)
				}
				if i%4 != 0 {
					if err := s.Delete(key); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	cancel()
	background.Wait()
	if n := len(content(t, s)); n != 4*15 {
		t.Errorf("%d shards, want 60", n)
	}
}

func BenchmarkPut(b *testing.B) {
	for _, bc := range []struct {
		name string
		sync int
	}{{"sync-each", 1}, {"sync-16", 16}} {
		b.Run(bc.name, func(b *testing.B) {
			s := open(b, Config{Dir: b.TempDir()})
			data := make([]byte, storage.MaxShard)
			b.SetBytes(storage.MaxShard)
			for i := 0; b.Loop(); i++ {
				binary.BigEndian.PutUint64(data, uint64(i))
				if err := s.Put(Key{Shard: storage.ShardID(data)}, 0, data); err != nil {
					b.Fatal(err)
				}
				if i%bc.sync == 0 {
					if err := s.Sync(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := open(b, Config{Dir: b.TempDir()})
	var keys []Key
	for i := range 64 {
		key, _ := put(b, s, i, storage.MaxShard)
		keys = append(keys, key)
	}
	buf := make([]byte, storage.MaxShard)
	b.SetBytes(storage.MaxShard)
	for i := 0; b.Loop(); i++ {
		if err := s.ReadAt(keys[i%64], buf, 0); err != nil {
			b.Fatal(err)
		}
	}
}
