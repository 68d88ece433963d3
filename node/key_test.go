package node

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

func TestKey(t *testing.T) {
	home := filepath.Join(t.TempDir(), "new", "home")
	key, err := CreateKey(home)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadKey(home)
	if err != nil || loaded.Public() != key.Public() {
		t.Fatalf("loaded %v, %v", loaded.Public(), err)
	}
	if _, err := CreateKey(home); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("a key was made in place of another: %v", err)
	}
	path := filepath.Join(home, keyFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if list, err := os.ReadDir(home); err != nil || len(list) != 1 {
		t.Errorf("%d files are left behind, %v", len(list), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(home); err == nil {
		t.Error("a key was loaded that others can read")
	}
	for _, bad := range []string{"", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "key"} {
		other := t.TempDir()
		if err := os.WriteFile(filepath.Join(other, keyFile), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(other); err == nil {
			t.Errorf("%q was loaded as a key", bad)
		}
	}
}

func TestInit(t *testing.T) {
	home := t.TempDir()
	s := Settings{Owner: types.Account{7}, Expiry: 99, Categories: map[string]json.RawMessage{"storage": json.RawMessage(`{"bytes":1}`), "compute": json.RawMessage(`{}`)}}
	if err := Init(home, s, nil); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadSettings(home)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := loaded.Claim(home, chain)
	if err != nil {
		t.Fatal(err)
	}
	read, err := evidence.ParseCode(claim.Code(), chain)
	if err != nil || !read.Verify() {
		t.Fatalf("the claim code does not read back: %v", err)
	}
	if st := read.Statement; st.Owner != s.Owner || st.Expiry != 99 || len(st.Categories) != 2 || st.Categories[0] != types.Compute {
		t.Errorf("statement: %+v", st)
	}
	again, err := loaded.Claim(home, chain)
	if err != nil || again.Code() != claim.Code() {
		t.Error("the claim code changes")
	}
	before, _ := LoadKey(home)
	if err := Init(home, *loaded, nil); err != nil {
		t.Fatal(err)
	}
	if after, _ := LoadKey(home); after.Public() != before.Public() {
		t.Error("a second init made another key")
	}
	s.Categories = map[string]json.RawMessage{"teleport": nil}
	if err := Init(home, s, nil); types.ReasonOf(err) != types.UnknownCategory {
		t.Errorf("offers what does not exist: %v", err)
	}
	s.Categories = nil
	if err := Init(home, s, nil); err == nil {
		t.Error("offers nothing")
	}
}
