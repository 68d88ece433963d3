package provider_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
	"github.com/cairn-network/cairn/service/storage/provider"
)

// remarked returns the reasons of a provider's remarks.
func remarked(t *testing.T, p *provider.Provider) (reasons []types.Reason) {
	t.Helper()
	for _, remark := range p.Remarks() {
		if remark.Text == "" || remark.Try == "" {
			t.Errorf("remark %+v", remark)
		}
		reasons = append(reasons, remark.Reason)
	}
	return reasons
}

// TestFolderGone: a device whose folder is removed while it runs has every file open and could prove them all.
// It earns nothing more from that epoch on, says why, and ends its sessions in the next; its customer stores
// what was there elsewhere.
func TestFolderGone(t *testing.T) {
	t.Parallel()
	for name, replaced := range map[string]bool{"removed": false, "replaced": true} {
		t.Run(name, func(t *testing.T) {
			n := newNet(t, 8)
			d := n.Device("folder")
			p := provider.New(config())
			d.Start(p)
			n.devices = append(n.devices, d)
			n.devices[0].Stop() // eight are left, and the new one is needed
			n.tend()
			n.Next()
			data := random(100, 5<<20)
			id := n.put(data)
			for range 10 {
				n.Next()
			}
			if got := remarked(t, p); len(got) != 0 {
				t.Fatalf("remarks of a device that is well: %v", got)
			}
			before, paid := n.state(8), n.paid(8)
			if err := os.Rename(d.Dir(), filepath.Join(t.TempDir(), "away")); err != nil {
				t.Fatal(err)
			}
			if replaced {
				if err := os.MkdirAll(filepath.Join(d.Dir(), "shards"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			n.devices[0].Start(provider.New(config())) // there is room elsewhere again
			n.Next()                                   // this epoch was answered before
			n.Next()
			if s := n.state(8); s.Passes != before.Passes+1 || s.Streak != 1 {
				t.Errorf("%d passes, %d when the folder went; streak %d", s.Passes, before.Passes, s.Streak)
			}
			if got := remarked(t, p); len(got) == 0 || got[0] != storage.FolderGone {
				t.Errorf("remarks %v", got)
			}
			n.Next()
			if s := n.state(8); s.Bytes() != 0 || !s.Sessions[0].Ended || s.Sessions[0].Forfeit.IsZero() {
				t.Errorf("%d bytes are still held: %+v", s.Bytes(), s.Sessions)
			}
			for end := time.Now().Add(time.Minute); n.on(id, 8) || n.list()[0].Shards != 16; time.Sleep(100 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d shards, the device counts as holding some: %t", n.list()[0].Shards, n.on(id, 8))
				}
				n.Next()
			}
			passes := n.state(8).Passes
			n.Next()
			n.Next()
			if s := n.state(8); s.Passes != passes || s.Bytes() != 0 {
				t.Errorf("%d passes after %d, with no folder; %d bytes", s.Passes, passes, s.Bytes())
			}
			if got := n.paid(8); got > paid+types.Credit(2*before.Bytes()*price>>40) {
				t.Errorf("paid %d, %d when the folder went", got, paid)
			}
			for i := 1; i < 5; i++ {
				n.devices[i].Stop()
			}
			n.get(id, data)
		})
	}
}

// on reports whether an object counts on a device for some of its shards.
func (n *net) on(id string, device int) bool {
	n.t.Helper()
	var list []customer.Placement
	if w := n.do("GET", "/objects/"+id+"/placement", nil); json.Unmarshal(w.Body.Bytes(), &list) != nil || len(list) != 8 {
		n.t.Fatalf("placement: %s", w.Body)
	}
	return slices.ContainsFunc(list, func(p customer.Placement) bool { return p.Device == n.devices[device].Key() && p.Shards > 0 })
}

// TestFolderBack: a folder that is back before the epoch ends costs nothing but that.
func TestFolderBack(t *testing.T) {
	n := newNet(t, 8)
	n.Next()
	data := random(101, 2<<20)
	id := n.put(data)
	n.Next()
	n.Next()
	d, away := n.devices[3], filepath.Join(t.TempDir(), "away")
	if err := os.Rename(d.Dir(), away); err != nil {
		t.Fatal(err)
	}
	n.Late()
	if err := os.Rename(away, d.Dir()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		n.Next()
	}
	n.clean()
	if s := n.state(3); s.Streak != 0 || s.Bytes() == 0 || s.Sessions[0].Ended {
		t.Errorf("streak %d, %+v", s.Streak, s.Sessions)
	}
	n.get(id, data)
}

// TestLogGone: what a removed log held is declared at once and together, whatever is drawn; what other logs
// hold goes on. A session that has lost most of its bytes is given up, and its rest moves.
func TestLogGone(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]bool{"a little": false, "most": true} {
		t.Run(name, func(t *testing.T) {
			n := newNet(t, 7)
			n.Window = 20 // what is left of a session that is given up is there until that is final
			d := n.Device("log")
			cfg := config()
			cfg.Log.LogSize = storage.MaxShard + 64 // one shard each
			p := provider.New(cfg)
			d.Start(p)
			n.devices = append(n.devices, d)
			n.tend()
			n.Next()
			data := random(102, 23<<20) // six shards on each device
			id := n.put(data)
			for range 4 {
				n.Next()
			}
			before := n.state(7)
			logs, err := filepath.Glob(filepath.Join(d.Dir(), "shards", "*.log"))
			if err != nil || len(logs) < 6 {
				t.Fatalf("%d logs: %v", len(logs), err)
			}
			gone := 2
			if most {
				gone = 5
			}
			lost := uint64(0)
			for _, log := range logs[:gone] {
				info, err := os.Stat(log)
				if err := errors.Join(err, os.Remove(log)); err != nil {
					t.Fatal(err)
				}
				lost += uint64(info.Size()) - 64
			}
			n.Next()
			s := n.state(7)
			if line := s.Sessions[0]; most != line.Ended || !most && line.Bytes != before.Bytes()-lost || line.Forfeit.IsZero() {
				t.Errorf("in the first tally: %d bytes of %d, ended %t, forfeit %s", line.Bytes, before.Bytes(), line.Ended, line.Forfeit)
			}
			if got := remarked(t, p); len(got) == 0 || got[0] != storage.DataLost {
				t.Errorf("remarks %v", got)
			}
			wanted := 6*8 - gone
			for end := time.Now().Add(2 * time.Minute); n.list()[0].Shards != wanted; time.Sleep(100 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d shards are held, want %d", n.list()[0].Shards, wanted)
				}
				n.Next()
			}
			n.Next()
			n.Next()
			if s := n.state(7); s.Streak != 0 || s.Bytes() != before.Bytes()-lost {
				t.Errorf("streak %d, %d bytes of %d after %d were lost", s.Streak, s.Bytes(), before.Bytes(), lost)
			}
			n.get(id, data)
			// With another to choose, the one that has just lost something is neither repaired nor stored to.
			spare := n.Device("spare")
			spare.Start(provider.New(config()))
			n.devices = append(n.devices, spare)
			for end := time.Now().Add(2 * time.Minute); n.on(id, 7) || !n.on(id, 8); time.Sleep(100 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the slot does not move to the spare device")
				}
				n.Next()
			}
			if more := n.put(random(103, 1<<20)); n.on(more, 7) || !n.on(more, 8) {
				t.Error("a new object goes to the device that has just lost something")
			}
		})
	}
}
