package shardlog

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// TestFiles: the logs of a store are in order while it runs and after a crash; a bent header, a bent shard and
// a log cut short are each named, but for the end of the newest log, which a crash cuts off.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir, LogSize: 1_048_640, KeepFree: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 330 {
		data := bytes.Repeat([]byte{byte(i), byte(i >> 8), 7}, 3000)
		if err := s.Put(Key{Shard: storage.ShardID(data), Session: types.SessionID{byte(i), byte(i >> 8)}}, 1, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	problems := func(whole bool) (said []string) {
		files := Files(dir)
		if len(files) < 3 {
			t.Fatalf("%d logs", len(files))
		}
		for _, f := range files {
			if err := f.Check(filepath.Join(dir, f.Path), whole); err != nil {
				said = append(said, f.Path+": "+err.Error())
			}
		}
		return said
	}
	if said := problems(false); len(said) != 0 {
		t.Errorf("while it runs: %v", said)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if said := problems(true); len(said) != 0 {
		t.Errorf("when it has stopped: %v", said)
	}
	files := Files(dir)
	first, newest := filepath.Join(dir, files[0].Path), filepath.Join(dir, files[len(files)-1].Path)
	bend := func(path string, at int64) func() {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bent := bytes.Clone(raw)
		bent[at] ^= 1
		if err := os.WriteFile(path, bent, 0o600); err != nil {
			t.Fatal(err)
		}
		return func() { os.WriteFile(path, raw, 0o600) }
	}
	mend := bend(first, headerSize+5)
	if said := problems(true); len(said) != 1 || !strings.Contains(said[0], "1 of ") || !strings.HasPrefix(said[0], files[0].Path) {
		t.Errorf("a bent shard: %v", said)
	}
	if said := problems(false); len(said) != 0 {
		t.Errorf("a bent shard, looked at briefly: %v", said)
	}
	mend()
	mend = bend(first, headerSize+9000+30)
	if said := problems(false); len(said) != 1 || !strings.Contains(said[0], "after 1 shards") {
		t.Errorf("a bent header: %v", said)
	}
	mend()
	cut := func(path string, by int64) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()-by); err != nil {
			t.Fatal(err)
		}
	}
	cut(newest, 10)
	if said := problems(true); len(said) != 0 {
		t.Errorf("the newest log cut short: %v", said)
	}
	cut(first, 10)
	if said := problems(false); len(said) != 1 || !strings.HasPrefix(said[0], files[0].Path) {
		t.Errorf("another log cut short: %v", said)
	}
	cut(first, -10) // zeros stand where a shard's bytes were
	if said := problems(true); len(said) != 1 || !strings.Contains(said[0], "1 of ") {
		t.Errorf("zeros in place of what was there: %v", said)
	}
}
