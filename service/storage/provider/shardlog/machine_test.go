package shardlog

import (
	"context"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

// machine compares a store with a map, over restarts and power cuts. After a power cut the store must be where
// the map was after some change not before the last Sync; the machine goes on from there.
type machine struct {
	dir  string
	disk *faulty
	s    *Store
	// past holds the map after each change since the last Sync, and first as it was then.
	past history
}

func (m *machine) now() map[Key]string { return m.past[len(m.past)-1] }

func (m *machine) open(t *rapid.T) {
	m.disk = newFaulty(m.dir)
	var err error
	m.s, err = Open(Config{Dir: m.dir, KeepFree: 1, LogSize: smallLog, Checkpoint: 700_000, disk: m.disk}, quiet)
	if err != nil {
		t.Fatal(err)
	}
}

func (m *machine) Put(t *rapid.T) {
	key, b := shard(rapid.IntRange(0, 30).Draw(t, "seed"), rapid.SampledFrom([]int{40, 1024, 200_000, 600_000}).Draw(t, "size"))
	if err := m.s.Put(key, 7, b); err != nil {
		t.Fatal(err)
	}
	m.past.add(func(now map[Key]string) { now[key] = string(b) })
}

func (m *machine) Delete(t *rapid.T) {
	keys := slices.SortedFunc(maps.Keys(m.now()), func(a, b Key) int { return slices.Compare(a.Shard[:], b.Shard[:]) })
	if len(keys) == 0 {
		t.Skip("empty")
	}
	key := rapid.SampledFrom(keys).Draw(t, "key")
	if err := m.s.Delete(key); err != nil {
		t.Fatal(err)
	}
	m.past.add(func(now map[Key]string) { delete(now, key) })
}

func (m *machine) Sync(t *rapid.T) {
	if err := m.s.Sync(); err != nil {
		t.Fatal(err)
	}
	m.past = m.past[len(m.past)-1:]
}

func (m *machine) Compact(t *rapid.T) {
	if _, err := m.s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) Restart(t *rapid.T) {
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.past = m.past[len(m.past)-1:]
	m.open(t)
}

// PowerCut keeps any part of what was not synced, of every log.
func (m *machine) PowerCut(t *rapid.T) {
	abandon(m.s)
	for _, number := range slices.Sorted(maps.Keys(m.s.logs)) {
		name := logName(number)
		cut := rapid.Int64Range(m.disk.durable[name], m.disk.size[name]).Draw(t, name)
		if err := os.Truncate(filepath.Join(m.dir, name), cut); err != nil {
			t.Fatal(err)
		}
	}
	m.open(t)
	got := map[Key]string{}
	for key := range maps.Keys(union(m.past)) {
		if b, err := m.s.Get(key); err == nil {
			got[key] = string(b)
		}
	}
	i := slices.IndexFunc(m.past, func(was map[Key]string) bool { return maps.Equal(was, got) })
	if i < 0 {
		t.Fatalf("after a power cut %d shards are there, which was at no time since the last Sync", len(got))
	}
	m.past = history{got}
}

func union(h history) map[Key]string {
	all := map[Key]string{}
	for _, m := range h {
		maps.Copy(all, m)
	}
	return all
}

// Check is called after every action.
func (m *machine) Check(t *rapid.T) {
	used := 0
	for key, b := range m.now() {
		used += len(b)
		got, err := m.s.Get(key)
		if err != nil || string(got) != b {
			t.Fatalf("get %s: %v", key.Shard, err)
		}
	}
	if st := m.s.Stats(); st.Used != uint64(used) || st.Shards != len(m.now()) {
		t.Fatalf("stats say %d bytes in %d shards, want %d in %d", st.Used, st.Shards, used, len(m.now()))
	}
}

func TestMachine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		m := &machine{dir: dir}
		m.past.add(func(map[Key]string) {})
		m.open(rt)
		defer func() { m.s.Close(); os.RemoveAll(dir) }()
		rt.Repeat(rapid.StateMachineActions(m))
		if diff := cmp.Diff(m.now(), content(t, m.s)); diff != "" {
			rt.Fatal("iteration finds something else")
		}
	})
}

// TestHeader pins the layout of a record.
func TestHeader(t *testing.T) {
	h := header{kind: kindPut, key: Key{types.Hash{1, 2}, types.SessionID{3, 4}}, Info: Info{Length: 0x012345, Journal: 9}}
	const want = "c1012345" + "03040000000000000000000000000000" + "0102000000000000000000000000000000000000000000000000000000000000" + "0000000000000009" + "2a9d978e"
	b := h.encode(5, 77)
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got %s", got)
	}
	if got, err := decodeHeader(b, 5, 77); err != nil || got != h {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := decodeHeader(b, 5, 78); err == nil {
		t.Error("read at another place")
	}
	for i := range b {
		b[i] ^= 1
		if _, err := decodeHeader(b, 5, 77); err == nil {
			t.Errorf("byte %d is not covered", i)
		}
		b[i] ^= 1
	}
}

func FuzzDecodeHeader(f *testing.F) {
	h := header{kind: kindPut, Info: Info{Length: 1024}}
	f.Add(h.encode(0, 0)[:60], uint32(0), uint32(0))
	h = header{kind: kindDelete}
	f.Add(h.encode(3, 4)[:60], uint32(3), uint32(4))
	f.Fuzz(func(t *testing.T, b []byte, log, offset uint32) {
		b = append(append(make([]byte, 0, headerSize), b...), make([]byte, headerSize)...)[:headerSize]
		sum := checksum(log, offset, b[:60])
		b[60], b[61], b[62], b[63] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		h, err := decodeHeader(b, log, offset)
		if err == nil && string(h.encode(log, offset)) != string(b) {
			t.Fatal("two encodings of one header")
		}
	})
}
