package network

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
)

// TestCheck: what cannot succeed is refused before it starts, all of it at once, and leaves no home behind.
func TestCheck(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	for _, c := range []struct {
		cfg  Config
		want []types.Reason
	}{
		{Config{}, nil},
		{Config{Nodes: 6}, []types.Reason{types.TooFew}},
		{Config{Nodes: 7, Disk: disk.Limits{Stop: 1 << 59}}, []types.Reason{types.DiskFull}},
		{Config{Nodes: 300, Validators: -1, Homes: 65, BlockTime: time.Hour, Listen: "x", Disk: disk.Limits{Warn: 1, Stop: 2}}, []types.Reason{types.BadArgument}},
		{Config{Nodes: 1, Listen: "x", Disk: disk.Limits{Stop: 1 << 59}}, []types.Reason{types.BadArgument, types.TooFew, types.DiskFull}},
	} {
		c.cfg.Home = home
		err := c.cfg.Check()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
		for _, want := range c.want {
			if !errors.Is(err, want) {
				t.Errorf("%+v: want %v: %v", c.cfg, want, err)
			}
		}
	}
	if _, err := os.Stat(home); err == nil {
		t.Error("a check made a home")
	}
	// A home has devices already, and a beginning that a clock must not be before.
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	cfg := Config{Home: home, Nodes: 1}
	if err := writeJSON(cfg.path(layoutFile), &layout{Format: format, Nodes: 7, Created: began}, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Check(); errors.Is(err, types.TooFew) {
		t.Errorf("a home of seven devices: %v", err)
	}
	for at, off := range map[time.Time]bool{time.Unix(0, 0): true, began.Add(-time.Hour): true, began: false, began.Add(time.Hour): false} {
		if err := cfg.checkClock(at); errors.Is(err, types.ClockOff) != off {
			t.Errorf("the clock says %v: %v", at, err)
		}
	}
}
