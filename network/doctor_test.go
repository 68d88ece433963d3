package network

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/all/provider"
)

// damages are ways in which a file gets damaged.
var damages = map[string]func([]byte) []byte{
	"cut short": func(b []byte) []byte { return b[:len(b)/3] }, // the second half of a bbolt file may be empty
	"zeros":     func(b []byte) []byte { return make([]byte, len(b)) },
	"foreign":   func(b []byte) []byte { return bytes.Repeat([]byte("\x89PNG\r\n\x1a\n"), len(b)/8+1)[:len(b)] },
}

// harm damages a file, of a folder its CURRENT, and returns what undoes that.
func harm(t *testing.T, path, way string) (undo func()) {
	t.Helper()
	if info, err := os.Stat(path); err != nil {
		t.Fatal(err)
	} else if info.IsDir() {
		path = filepath.Join(path, "CURRENT")
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, damages[way](good), info.Mode())
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.WriteFile(path, good, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}

// everyStore holds that doctor looks at each store of a home, those of witnesses of a category too.
func everyStore(t *testing.T, home string, files []health.File) {
	t.Helper()
	known := map[string]bool{}
	for _, f := range files {
		known[filepath.Join(home, f.Path)] = true
	}
	stores := 0
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Ext(path) == ".db" {
			if stores++; !known[path] {
				t.Errorf("doctor does not look at %s", path)
			}
		}
		return err
	})
	if err != nil || stores < 8 {
		t.Errorf("%d stores, %v", stores, err)
	}
}

// TestDamagedHome damages each file of a home that ran, in each way: doctor names it, what is lost and what to
// do. What follows from other things a start makes anew by itself; what can be done without keeps it from
// starting until doctor moves it aside; keys stay.
func TestDamagedHome(t *testing.T) {
	whole(t)
	cfg := Config{Home: filepath.Join(t.TempDir(), "home"), Listen: "127.0.0.1:0", Log: logTo(""), Nodes: 1, Homes: 1}
	devices, doors := provider.Devices(), customer.Customers()
	height := uint64(0)
	run := func(what string) {
		t.Helper()
		var told []string
		cfg.Progress = func(s Step) {
			if s.Trouble {
				told = append(told, s.Text)
			}
		}
		n, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer n.Stop()
		if height == 0 {
			if _, err := n.EnsureCustomer(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		height = after(t, n, height, 3)
		if _, err := ReadAddresses(cfg.Home); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if list, err := Doctor(cfg.Home, disk.Limits{}, false, devices, doors); err != nil || health.Worst(list) != health.OK {
			t.Errorf("%s: doctor beside a running network: %+v, %v", what, list, err)
		}
		if _, err := Doctor(cfg.Home, disk.Limits{}, true, devices, doors); !errors.Is(err, types.HomeBusy) {
			t.Errorf("%s: repair beside a running network: %v", what, err)
		}
		t.Logf("%s: %q", what, told)
	}
	run("new")
	if err := os.WriteFile(filepath.Join(cfg.Home, addressFile), []byte(`{"api": "", "rpc": "", "pid": 1}`), 0o600); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	list, err := Doctor(cfg.Home, disk.Limits{}, false, devices, doors)
	if err != nil || health.Worst(list) != health.OK {
		t.Fatalf("a home in order: %+v, %v", list, err)
	}
	files := homeFiles(cfg.Home, doors)
	everyStore(t, cfg.Home, append(keptFiles(cfg.Home, devices), files...))
	seen := 0
	for _, f := range files {
		path := filepath.Join(cfg.Home, f.Path)
		if info, err := os.Stat(path); err != nil || strings.HasPrefix(f.Path, "simulated") || info.Size() == 0 {
			continue
		}
		seen++
		for way := range damages {
			if strings.HasSuffix(path, "node.yaml") && way == "cut short" {
				continue // settings that end early may be whole; a start writes them anew where they offer something else
			}
			undo := harm(t, path, way)
			list, err := Doctor(cfg.Home, disk.Limits{}, false, devices, doors)
			found := false
			for _, d := range list {
				if d.Level != health.OK && d.What == f.Path {
					found = d.Lost != "" && d.Try != ""
				}
			}
			if err != nil || !found {
				t.Errorf("%s, %s: %+v, %v", f.Path, way, list, err)
			}
			undo()
		}
	}
	if seen < 25 {
		t.Errorf("%d files only", seen)
	}
	// Made anew by a start.
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(cfg.Home, f.Path)); err == nil && f.Remedy == health.Remake {
			harm(t, filepath.Join(cfg.Home, f.Path), "cut short")
		}
	}
	run("what follows from other things")
	// Done without, once somebody says so.
	files = homeFiles(cfg.Home, doors)
	var aside []string
	for _, f := range files {
		if info, err := os.Stat(filepath.Join(cfg.Home, f.Path)); err == nil && f.Remedy == health.Aside && info.Size() > 0 {
			harm(t, filepath.Join(cfg.Home, f.Path), "foreign")
			aside = append(aside, f.Path)
		}
	}
	if _, err := Start(t.Context(), cfg); !errors.Is(err, types.HomeDamaged) || !strings.Contains(err.Error(), customerFile) {
		t.Errorf("a start with damaged stores: %v", err)
	}
	if _, err := Doctor(cfg.Home, disk.Limits{}, true, devices, doors); err != nil {
		t.Fatal(err)
	}
	for _, path := range aside {
		if kept, _ := filepath.Glob(filepath.Join(cfg.Home, path+".damaged-*")); len(kept) == 0 {
			t.Errorf("%s was not kept", path)
		}
	}
	run("what can be done without")
	// Never touched.
	for _, path := range []string{"chain/0/config/priv_validator_key.json", "chain/0/data/application.db", "gateway/device.key", "node/0/device.key", "verifier/0/keys", layoutFile} {
		undo := harm(t, filepath.Join(cfg.Home, path), "zeros")
		if _, err := Start(t.Context(), cfg); !errors.Is(err, types.HomeDamaged) {
			t.Errorf("a start with damaged %s: %v", path, err)
		}
		if list, err := Doctor(cfg.Home, disk.Limits{}, true, devices, doors); err != nil || health.Worst(list) != health.Bad {
			t.Errorf("repair of %s: %+v, %v", path, list, err)
		}
		undo()
	}
	// A home without its layout was not cut short while it was made: nothing of it may go.
	if err := os.Remove(filepath.Join(cfg.Home, layoutFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), cfg); !errors.Is(err, types.HomeDamaged) {
		t.Errorf("a start without %s: %v", layoutFile, err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Home, "chain", "0", "data", "blockstore.db")); err != nil {
		t.Errorf("it forgot its chain: %v", err)
	}
}

// TestDoctorJoined: a home that joined a network elsewhere has a keyring and no chain, and lacks nothing.
func TestDoctorJoined(t *testing.T) {
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, KeyringDir, "keyring-test"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "manifest.json"), []byte(`{"manifest": {}, "signature": ""}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := Doctor(home, disk.Limits{}, false, provider.Devices(), customer.Customers()); err != nil || health.Worst(list) != health.OK {
		t.Errorf("%+v, %v", list, err)
	}
}
