// Package disk watches how much room is left on the disks of folders, so that a program can say so early and
// stop in order before there is none: databases that meet a full disk half-way end badly.
package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The limits that programs start with, in bytes.
const (
	Warn = 2 << 30
	Stop = 256 << 20
)

// Limits are the amounts of free bytes below which a program says so, and below which it stops. Zero: not at all.
type Limits struct{ Warn, Stop uint64 }

// Check reports limits that contradict each other.
func (l Limits) Check() error {
	if l.Warn != 0 && l.Warn < l.Stop {
		return fmt.Errorf("disk: it would stop at %s without having warned, at %s", Size(l.Stop), Size(l.Warn))
	}
	return nil
}

// FullError says that a folder's disk has less room than the least.
type FullError struct {
	Dir         string
	Free, Least uint64
}

func (e *FullError) Error() string {
	return fmt.Sprintf("the disk of %s has %s left, and %s is the least", e.Dir, Size(e.Free), Size(e.Least))
}

// Free returns how much room is left for this user where path lies, or is to lie.
func Free(path string) (uint64, error) {
	for place := filepath.Clean(path); ; place = filepath.Dir(place) {
		free, err := statfs(place)
		if err == nil || !errors.Is(err, os.ErrNotExist) || place == filepath.Dir(place) {
			if err != nil {
				err = fmt.Errorf("disk: free space of %s: %w", place, err)
			}
			return free, err
		}
	}
}

// Least returns a *FullError if one of the folders' disks has less room than least.
func Least(least uint64, dirs ...string) error {
	for _, dir := range dirs {
		free, err := Free(dir)
		if err != nil {
			return err
		}
		if free < least {
			return &FullError{dir, free, least}
		}
	}
	return nil
}

// Watch looks at the disks of folders every second, until ctx ends, which is no error, or one has less room
// than limits allow: then it returns a *FullError. warn hears of a disk that has become short of room, once
// until it has a tenth more again. What cannot be looked at is passed over: it says nothing of its disk.
func Watch(ctx context.Context, limits Limits, dirs []string, warn func(dir string, free uint64)) error {
	return watch(ctx, limits, dirs, warn, Free, time.Second)
}

func watch(ctx context.Context, limits Limits, dirs []string, warn func(string, uint64), look func(string) (uint64, error), every time.Duration) error {
	short := map[string]bool{}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for _, dir := range dirs {
			free, err := look(dir)
			if err != nil {
				continue
			}
			switch {
			case free < limits.Stop:
				return &FullError{dir, free, limits.Stop}
			case free < limits.Warn && !short[dir]:
				short[dir] = true
				warn(dir, free)
			case free >= limits.Warn+limits.Warn/10:
				short[dir] = false
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Size prints a number of bytes.
func Size(n uint64) string {
	for _, unit := range []struct {
		name string
		size uint64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// ParseSize reads what Size prints, or a plain number of bytes: "512MiB", "1.5 GiB", "1048576".
func ParseSize(text string) (uint64, error) {
	number, scale := strings.TrimSpace(text), 1.0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB", "B"} {
		if rest, ok := strings.CutSuffix(number, unit); ok {
			number = strings.TrimSpace(rest)
			if unit != "B" {
				scale = float64(uint64(1) << (10 * (i + 1)))
			}
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if n *= scale; err != nil || !(n >= 0 && n < 1<<60) {
		return 0, fmt.Errorf("%q is no size: want bytes, or a number with KiB, MiB, GiB or TiB", text)
	}
	return uint64(n), nil
}
