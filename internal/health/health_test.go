package health

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// harm is a way in which a file gets damaged.
var harm = map[string]func([]byte) []byte{
	"cut short":    func(b []byte) []byte { return b[:len(b)/2] },
	"zeros":        func(b []byte) []byte { return make([]byte, len(b)) },
	"foreign":      func(b []byte) []byte { return bytes.Repeat([]byte("%PDF-1.7 no "), len(b)/12+1)[:len(b)] },
	"zeros inside": func(b []byte) []byte { c := bytes.Clone(b); clear(c[len(c)/3 : len(c)/3*2]); return c },
}

// TestChecks damages a file of each kind in each way: all are seen, none ends the program, and the file itself
// is in order.
func TestChecks(t *testing.T) {
	dir := t.TempDir()
	bolt := filepath.Join(dir, "bolt.db")
	db, err := bbolt.Open(bolt, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 { // some pages, and a history
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put([]byte{byte(i)}, bytes.Repeat([]byte{byte(i)}, 3000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := Bolt(bolt, false); err != nil {
		t.Errorf("a database in use: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text.json")
	if err := os.WriteFile(text, []byte(`{"account": "cairn1x", "api_key": "cairn_x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "device.key")
	if err := os.WriteFile(key, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, check := range map[string]Check{bolt: Bolt, text: JSON("account", "api_key"), key: PEM} {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(path, true); err != nil {
			t.Errorf("%s in order: %v", filepath.Base(path), err)
		}
		for name, f := range harm {
			if path == key && name == "zeros inside" {
				continue // what a key says, its reader checks
			}
			if err := os.WriteFile(path, f(good), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := check(path, true); err == nil {
				t.Errorf("%s, %s: nothing is said", filepath.Base(path), name)
			}
			if err := check(path, false); err == nil && name != "zeros inside" {
				t.Errorf("%s, %s: a brief look says nothing", filepath.Base(path), name)
			}
		}
		os.Remove(path)
		if err := check(path, true); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is gone: %v", filepath.Base(path), err)
		}
	}
}

// TestMend moves aside what can be done without, with what is of no use then, and nothing else.
func TestMend(t *testing.T) {
	home := t.TempDir()
	files := []File{
		{Path: "key", Check: PEM}, {Path: "books", Check: Bolt, Remedy: Aside, With: []string{"log"}}, {Path: "log", Check: JSON("x"), Remedy: Aside},
		{Path: "index", Check: Bolt, Remedy: Remake}, {Path: "gone", Check: Any}, {Path: "needed", Check: Any, Need: true},
	}
	for _, name := range []string{"key", "books", "log", "index"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte("junk of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, fine := Examine(home, files, true)
	if len(found) != 5 || fine != 1 || Worst(found) != Bad {
		t.Fatalf("%d in order, %+v", fine, found)
	}
	if err := Mend(home, files, found, Remake); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(home, "*.damaged-*")); len(left) != 1 {
		t.Errorf("moved at a start: %v", left)
	}
	if err := Mend(home, files, found, Aside); err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		mended := f.What == "books" || f.What == "log" || f.What == "index"
		if (f.Mended != "") != mended || (f.Level == Bad) == mended {
			t.Errorf("%+v", f)
		}
		if raw, err := os.ReadFile(f.Mended); mended && (err != nil || string(raw) != "junk of "+f.What) {
			t.Errorf("%s was not kept: %v", f.What, err)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "key")); err != nil {
		t.Error("a key was moved")
	}
}
