//go:build linux

package network

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
)

// TestSmallDisk fills the disk that holds a whole network, once with a limit and once without: it ends with the
// reason both times, is refused while there is no room, and with room again goes on, every store of it.
func TestSmallDisk(t *testing.T) {
	whole(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=300m"); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	cfg := Config{Home: filepath.Join(dir, "home"), Listen: "127.0.0.1:0", Log: logTo(""), Nodes: 1, Homes: 1}
	limits := disk.Limits{Warn: 64 << 20, Stop: 32 << 20}
	var height uint64
	for _, with := range []bool{true, false} {
		cfg.Disk = disk.Limits{}
		if with {
			cfg.Disk = limits
		}
		n, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatalf("with a limit %v: %v", with, err)
		}
		t.Cleanup(n.Stop)
		height = after(t, n, height, 3)
		other := filepath.Join(dir, "other")
		left := uint64(0)
		if with {
			left = 24 << 20
		}
		fill(t, other, left)
		select {
		case err := <-n.Failed():
			if !errors.Is(err, types.DiskFull) {
				t.Errorf("with a limit %v, it ended with %v", with, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("with a limit %v, the network goes on and says nothing", with)
		}
		n.Stop()
		cfg.Disk = limits
		if m, err := Start(t.Context(), cfg); !errors.Is(err, types.DiskFull) {
			if err == nil {
				m.Stop()
			}
			t.Errorf("a start without room: %v", err)
		}
		if err := os.Remove(other); err != nil {
			t.Fatal(err)
		}
	}
	n, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	after(t, n, height, 3)
}

// after waits for so many blocks above a height, and returns the last one's.
func after(t *testing.T, n *Network, height, blocks uint64) uint64 {
	t.Helper()
	for block := range n.Ledger().Watch(t.Context()) {
		if block.Height >= height+blocks {
			return block.Height
		}
	}
	t.Fatal("the chain ended")
	return 0
}

// fill writes a file that leaves so much room on its disk.
func fill(t *testing.T, path string, leave uint64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<16)
	for free, err := disk.Free(path); err == nil && free > leave; free, err = disk.Free(path) {
		if _, err := f.Write(block[:min(uint64(len(block)), free-leave)]); err != nil {
			return
		}
	}
}
