package bolt

import (
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
)

// TestOpen: a database has its buckets, keeps what is in them, and says by its reason why it cannot be opened.
func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := Open(path, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("one")).Put([]byte("k"), []byte("v")) }); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); types.ReasonOf(err) != types.HomeBusy {
		t.Errorf("while it is open: %v", err)
	}
	db.Close()
	if db, err = Open(path, []byte("one"), []byte("two")); err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		if string(tx.Bucket([]byte("one")).Get([]byte("k"))) != "v" || tx.Bucket([]byte("two")) == nil {
			t.Error("not what was kept, or not all buckets")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := os.WriteFile(path, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || types.ReasonOf(err) != "" {
		t.Errorf("no database: %v", err)
	}
}
