package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/service/role"
)

// TestHomeChanged: whatever is taken from under a running node, its owner reads what and what to do; put back,
// all is well again.
func TestHomeChanged(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, nil)
	d, host := w.begin(w.home())
	journal := filepath.Join(host.Dir(), "journal.db")
	ok(t, os.WriteFile(journal, []byte("x"), 0o600))
	w.until("all is well", func() bool { return strings.HasPrefix(d.Status().Next, "Nothing needs to be done") })
	for _, path := range []string{filepath.Join(d.home, keyFile), filepath.Join(d.home, "node.db"), host.Dir(), journal, d.home} {
		away := filepath.Join(t.TempDir(), "away")
		check := func(what string) {
			t.Helper()
			s := d.Status()
			remarks := s.Remarks
			for _, p := range s.Providers {
				remarks = append(remarks, p.Remarks...)
			}
			if len(remarks) == 0 || remarks[0].Reason != types.HomeChanged || remarks[0].Try == "" || !strings.Contains(remarks[0].Text, filepath.Base(path)) && path != d.home || !strings.Contains(s.Next, remarks[0].Try) {
				t.Errorf("%s %s: %+v, next: %s", path, what, remarks, s.Next)
			}
		}
		info, err := os.Stat(path)
		ok(t, err)
		ok(t, os.Rename(path, away))
		check("removed")
		if info.IsDir() {
			ok(t, os.Mkdir(path, 0o700))
		} else {
			ok(t, os.WriteFile(path, nil, 0o600))
		}
		check("replaced")
		ok(t, os.RemoveAll(path))
		ok(t, os.Rename(away, path))
		if s := d.Status(); !strings.HasPrefix(s.Next, "Nothing needs to be done") {
			t.Errorf("%s is back: %s", path, s.Next)
		}
	}
}

// TestNext: a device that customers shun, whose quality falls, or that has a trouble of its own is not told
// that nothing needs to be done.
func TestNext(t *testing.T) {
	status := func(bp, fell int, remarks ...role.Remark) *Status {
		return &Status{Online: true, Epoch: 9, Earned: Earned{Final: 1}, Providers: []ProviderStatus{
			{Category: "energy", State: "running"}, {Category: "storage", State: "running", Quality: &bp, Fell: fell, Remarks: remarks},
		}}
	}
	lost := role.Remark{Reason: "storage.data_lost", Text: "Shards are gone.", Try: "Check the disk."}
	for want, s := range map[string]*Status{
		"Nothing needs to be done": status(5000, 0),
		"below 50.00 %":            status(4999, 0),
		"is 45.00 %":               status(4500, 0),
		"is 0.00 %":                status(0, 0),
		"has been falling":         status(9900, 3),
		"storage (storage.data_lost): Check the disk.": status(9900, 3, lost),
	} {
		if got := next(s); !strings.Contains(got, want) {
			t.Errorf("%+v: %q, want %q", s.Providers[1], got, want)
		}
	}
}

// TestDiskGetsFull: a node says early that its disk gets full, takes nothing new on when it nearly is, and does
// again once there is room; all the while it hands in what its provider proves.
func TestDiskGetsFull(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, nil)
	d, host := w.begin(w.home())
	free := map[string]uint64{}
	look := func(list ...uint64) { // of the home and of the provider's folder
		d.disks.mu.Lock()
		defer d.disks.mu.Unlock()
		d.disks.seen = nil
		d.disks.limits = disk.Limits{Warn: 1000, Stop: 100}
		free[d.home], free[host.Dir()] = list[0], list[1]
		d.disks.look = func(dir string) (uint64, error) { return free[dir], nil }
	}
	for _, c := range []struct {
		home, dir uint64
		says      string
		full      bool
	}{
		{5000, 5000, "", false},
		{5000, 999, "gets full", false},
		{99, 5000, "nothing new is taken on", true},
		{5000, 99, "nothing new is taken on", true},
		{5000, 5000, "", false},
	} {
		look(c.home, c.dir)
		if err := host.Room(); (err != nil) != c.full || c.full && types.ReasonOf(err) != types.DiskFull {
			t.Errorf("%d and %d free: room: %v", c.home, c.dir, err)
		}
		s := d.Status()
		said := ""
		for _, r := range s.Remarks {
			said += r.Text
			if r.Reason != types.DiskFull || r.Try == "" || !strings.Contains(s.Next, r.Text) {
				t.Errorf("%d and %d free: %+v, next: %s", c.home, c.dir, r, s.Next)
			}
		}
		if (said == "") != (c.says == "") || !strings.Contains(said, c.says) {
			t.Errorf("%d and %d free: %q", c.home, c.dir, said)
		}
		ok(t, host.Submit(w.ctx, 1, []byte{1}))
	}
	for free, want := range map[uint64]bool{99: true, 109: true, 110: false} {
		if got := below(free, 100, true); got != want {
			t.Errorf("%d free after less: full %v", free, got)
		}
	}
}

// TestFolderMissing: a device whose folder is gone, empty or another's at the start does not begin anew there,
// whatever disk that is; its owner reads which folder, and says if it is lost.
func TestFolderMissing(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, nil)
	d, host := w.begin(w.home())
	d.stop()
	keeper := newProvider().role()
	keeper.Folders = []string{"disk"}
	start := func(lost ...string) error {
		config := w.config(d.home)
		config.NewFolders = lost
		n, err := New(config, []role.Provider{keeper}, quiet)
		if err == nil {
			n.outbox.Close()
		}
		return err
	}
	ok(t, start()) // a home of before, in which one of the folders was not marked yet
	for _, dir := range []string{filepath.Join(host.Dir(), "disk"), host.Dir()} {
		refused := func(what string) {
			t.Helper()
			err := start()
			wantReason(t, err, types.HomeChanged)
			if text := err.Error(); !strings.Contains(text, dir) || !strings.Contains(text, "mount") || !strings.Contains(text, "--new-folder "+host.(*runner).provider.Category.String()) {
				t.Errorf("%s: %v", what, err)
			}
		}
		away := filepath.Join(t.TempDir(), "away")
		ok(t, os.Rename(dir, away))
		refused("missing")
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("it was made all the same: %v", err)
		}
		ok(t, os.Mkdir(dir, 0o700)) // where a disk would be mounted
		refused("empty")
		ok(t, os.WriteFile(filepath.Join(dir, markFile), []byte("another\n"), 0o600))
		refused("another device's")
		wantReason(t, start("compute"), types.HomeChanged)
		ok(t, os.RemoveAll(dir))
		ok(t, os.Rename(away, dir))
		ok(t, start())

		ok(t, os.Rename(dir, away))
		ok(t, start(host.(*runner).provider.Category.String()))
		ok(t, start())
		ok(t, os.RemoveAll(dir))
		ok(t, os.Rename(away, dir))
		refused("the former one comes back")
		ok(t, start(host.(*runner).provider.Category.String()))
	}
}
