//go:build linux

package local

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"

	"cosmossdk.io/math"
)

// smallDisk mounts a disk of 96 MiB, where this process may, and makes a validator's home on it.
func smallDisk(t *testing.T) Validator {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	v, err := Init(Genesis{ChainID: testChain, Homes: []string{filepath.Join(dir, "home")}, Stake: math.NewInt(1_000_000_000), BlockTime: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return v[0]
}

// fill writes a file that leaves at most so many bytes on the disk of a home.
func fill(t *testing.T, home string, leave uint64) (path string) {
	t.Helper()
	path = filepath.Join(filepath.Dir(home), "other")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<16)
	for {
		free, err := disk.Free(home)
		if err != nil {
			t.Fatal(err)
		}
		if free <= leave {
			return path
		}
		if _, err := f.Write(block[:min(uint64(len(block)), free-leave)]); err != nil {
			return path // there is no room any more
		}
	}
}

func ends(t *testing.T, n *Node) {
	t.Helper()
	select {
	case <-n.Done():
	case <-time.After(time.Minute):
		t.Fatal("the node goes on, and says nothing")
	}
	if err := n.Err(); !errors.Is(err, types.DiskFull) {
		t.Errorf("why it ended: %v", err)
	}
	if err := n.Stop(); err != nil {
		t.Logf("stop: %v", err) // on a full disk not all of it can be written
	}
}

// TestSmallDisk fills the disk under a validator: with a limit, it ends before anything fails, without one it
// ends as consensus fails. It is refused while there is no room, and goes on once there is.
func TestSmallDisk(t *testing.T) {
	v := smallDisk(t)
	limits := disk.Limits{Warn: 48 << 20, Stop: 16 << 20}
	height := int64(3)
	for _, c := range []struct {
		name   string
		limits disk.Limits
		leave  uint64
	}{{"before it is full", limits, 12 << 20}, {"when it is full", disk.Limits{}, 0}} {
		n, err := Start(t.Context(), Config{Home: v.Home, Disk: c.limits})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		t.Cleanup(func() { n.Stop() })
		reach(t, n, height)
		other := fill(t, v.Home, c.leave)
		ends(t, n)
		if m, err := Start(t.Context(), Config{Home: v.Home, Disk: limits}); !errors.Is(err, types.DiskFull) {
			if err == nil {
				m.Stop()
			}
			t.Errorf("%s: start without room: %v", c.name, err)
		}
		if err := os.Remove(other); err != nil {
			t.Fatal(err)
		}
		if h := n.App().LastBlockHeight(); h < height {
			t.Errorf("%s: block %d after %d", c.name, h, height)
		}
		height = n.App().LastBlockHeight() + 3
	}
	n, err := Start(t.Context(), Config{Home: v.Home, Disk: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	reach(t, n, height)
}
