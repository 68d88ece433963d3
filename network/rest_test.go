package network

import (
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRest: at rest a network's home grows by at most 20 MB an hour once what is kept for a while is all there,
// which takes localRetain blocks. Consensus' write-ahead log is held against its bound instead: it fills that
// within two hours, and starts over. What is printed says where each byte goes (docs/disk.md).
func TestRest(t *testing.T) {
	if !soak {
		t.Skip("takes more than an hour: make soak")
	}
	home := t.TempDir()
	n, err := Start(t.Context(), Config{Home: home, Listen: "127.0.0.1:0", Log: logTo(home), Simulators: new(foreign).simulators()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	if _, err := n.FirstRound(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.chains[0].WaitHeight(t.Context(), localRetain+500); err != nil {
		t.Fatal(err)
	}
	const limit = 20_000_000
	// A database grows until it is compacted: of each folder the least of ten minutes is what is alive in it.
	least := func() map[string]int64 {
		low := onDisk(t, home)
		for range 20 {
			select {
			case <-time.After(30 * time.Second):
			case err := <-n.Failed():
				t.Fatal(err)
			}
			now := onDisk(t, home)
			for name := range low { // of what comes and goes, nothing stays
				low[name] = min(low[name], now[name])
			}
		}
		return low
	}
	start := time.Now()
	before := least()
	select {
	case <-time.After(30 * time.Minute):
	case err := <-n.Failed():
		t.Fatal(err)
	}
	hours := time.Since(start).Hours()
	after := least()
	const wal, walMost = "chain/cs.wal", 21 << 20 // two files, and what is written while one is closed
	if n := max(before[wal], after[wal]); n == 0 || n > walMost {
		t.Errorf("the write-ahead log takes %d bytes, its bound is %d", n, walMost)
	}
	var all, was int64
	for name := range before { // also what is there no more: logs of epochs that are over
		if _, ok := after[name]; !ok {
			after[name] = 0
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if name != wal {
			all, was = all+after[name], was+before[name]
		}
		t.Logf("%-24s %8d KB  %+8.0f KB an hour", name, after[name]/1000, float64(after[name]-before[name])/1000/hours)
	}
	growth := float64(all-was) / hours
	t.Logf("%-24s %8d KB  %+8.0f KB an hour, limit %d", "all", all/1000, growth/1000, limit/1000)
	if growth > limit {
		t.Errorf("grows by %.1f MB an hour at rest, limit %d", growth/1e6, limit/1_000_000)
	}
}

// onDisk returns how many bytes a home takes on disk, by the first two folders below it.
func onDisk(t *testing.T, home string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // it may go while we look
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		size := info.Size()
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			size = s.Blocks * 512
		}
		rel, _ := filepath.Rel(home, path)
		parts := strings.Split(filepath.ToSlash(rel), "/")
		switch {
		case parts[0] == "chain" && len(parts) > 4:
			rel = strings.Join([]string{parts[0], parts[3]}, "/")
		case len(parts) > 3:
			rel = strings.Join([]string{parts[0], parts[2]}, "/")
		}
		out[rel] += size
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
