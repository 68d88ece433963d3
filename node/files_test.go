package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/health"
)

// TestExamine damages what a device's home holds: its index of shards is made anew, without its outbox it does
// not start until somebody says so, and its key stays where it is.
func TestExamine(t *testing.T) {
	home := t.TempDir()
	if _, err := CreateKey(home); err != nil {
		t.Fatal(err)
	}
	junk := func(parts ...string) string {
		path := filepath.Join(append([]string{home}, parts...)...)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, make([]byte, 5000), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.WriteFile(filepath.Join(home, SettingsFile), []byte("region: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	index := junk("providers", "storage", "shards", "index.db")
	var heard []health.Finding
	hear := func(f health.Finding) { heard = append(heard, f) }
	if err := Examine(home, hear); err != nil && types.ReasonOf(err) != types.HomeDamaged {
		t.Fatal(err)
	}
	if _, err := os.Stat(index); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a damaged index stays: %v", err)
	}
	outbox := junk("node.db")
	if err := Examine(home, hear); !errors.Is(err, types.HomeDamaged) {
		t.Errorf("a damaged outbox: %v", err)
	}
	found, _ := health.Examine(home, Files(home), true)
	if err := health.Mend(home, Files(home), found, health.Aside); err != nil {
		t.Fatal(err)
	}
	if kept, _ := filepath.Glob(outbox + ".damaged-*"); len(kept) != 1 {
		t.Errorf("the outbox was not kept: %v", kept)
	}
	key := junk("device.key")
	if err := Examine(home, hear); !errors.Is(err, types.HomeDamaged) {
		t.Errorf("a damaged key: %v", err)
	}
	if _, err := os.Stat(key); err != nil {
		t.Errorf("the key was moved: %v", err)
	}
	for _, f := range heard {
		if f.Lost == "" || f.Try == "" {
			t.Errorf("%+v", f)
		}
	}
}
