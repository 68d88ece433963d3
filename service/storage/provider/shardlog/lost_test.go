package shardlog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestLostLogs: what a log held is lost as soon as its name leads elsewhere, although the file is open; what
// other logs hold is not.
func TestLostLogs(t *testing.T) {
	for name, ruin := range map[string]func(path string) error{
		"removed":   os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, headerSize+100) },
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, make([]byte, 1<<20), 0o600))
		},
	} {
		for _, active := range []bool{false, true} {
			for _, running := range []bool{true, false} {
				cfg := Config{Dir: t.TempDir(), LogSize: 2 << 20}
				s := open(t, cfg)
				var keys []Key
				var data [][]byte
				for i := range 5 { // two in each log
					k, b := put(t, s, i, 1000_000)
					keys, data = append(keys, k), append(data, b)
				}
				if lost, err := s.Check(true); lost || err != nil {
					t.Fatalf("before: %v %v", lost, err)
				}
				from, to, log := 0, 2, uint32(0)
				if active {
					from, to, log = 4, 5, 2
				}
				if !running {
					s.Close()
				}
				if err := ruin(filepath.Join(cfg.Dir, logName(log))); err != nil {
					t.Fatal(err)
				}
				if !running {
					s = open(t, cfg)
				}
				lost, err := s.Check(true)
				again, err2 := s.Check(true)
				list, err3 := s.Lost(t.Context(), 100)
				if !running && name == "replaced" { // whose records are those of other bytes: the scrub finds them
					continue
				}
				if !lost || again || errors.Join(err, err2, err3) != nil || len(list) != to-from {
					t.Fatalf("%s, active %t, running %t: lost %t, again %t, %d shards: %v", name, active, running, lost, again, len(list), errors.Join(err, err2, err3))
				}
				for i := range keys {
					gone := i >= from && i < to
					_, err1 := s.Stat(keys[i])
					got, err2 := s.Get(keys[i])
					if gone != errors.Is(err1, ErrDamaged) || gone != errors.Is(err2, ErrDamaged) || !gone && !bytes.Equal(got, data[i]) {
						t.Errorf("%s, active %t, running %t: shard %d: %v, %v", name, active, running, i, err1, err2)
					}
				}
				for i := from; i < to; i++ {
					if i%2 == 0 {
						if err := s.Delete(keys[i]); err != nil {
							t.Error(err)
						}
					}
					if err := s.Put(keys[i], 1, data[i]); err != nil {
						t.Error(err)
					}
				}
				for range 2 {
					if list, err := s.Lost(t.Context(), 100); len(list) != 0 || err != nil {
						t.Errorf("after they were put again: %v %v", list, err)
					}
					if got := content(t, s); len(got) != len(keys) {
						t.Errorf("%d shards, want %d", len(got), len(keys))
					}
					s.Close()
					s = open(t, cfg)
				}
			}
		}
	}
}

// TestGone: a folder that is moved away, or whose index is, is no place to rely on; back in its place, it is.
func TestGone(t *testing.T) {
	base := t.TempDir()
	cfg := Config{Dir: filepath.Join(base, "shards")}
	s := open(t, cfg)
	put(t, s, 1, 1000)
	for _, name := range []string{cfg.Dir, filepath.Join(cfg.Dir, indexName)} {
		if err := os.Rename(name, base+"/away"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Check(false); !errors.Is(err, ErrGone) {
			t.Errorf("%s is gone: %v", name, err)
		}
		if err := os.CopyFS(cfg.Dir, os.DirFS(t.TempDir())); err != nil || os.WriteFile(filepath.Join(cfg.Dir, "x"), nil, 0o600) != nil {
			t.Fatal(err)
		}
		if _, err := s.Check(false); !errors.Is(err, ErrGone) {
			t.Errorf("%s is another: %v", name, err)
		}
		os.RemoveAll(filepath.Join(cfg.Dir, "x"))
		os.Remove(cfg.Dir)
		if err := os.Rename(base+"/away", name); err != nil {
			t.Fatal(err)
		}
		if lost, err := s.Check(true); lost || err != nil {
			t.Errorf("%s is back: %v %v", name, lost, err)
		}
	}
}
