package disk

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestWatch plays a disk that fills, is cleared and fills again: one warning each time, and an end at the least.
func TestWatch(t *testing.T) {
	free := []uint64{500, 99, 80, 105, 95, 111, 99, 50, 9}
	look := func(string) (uint64, error) {
		f := free[0]
		free = free[1:]
		if f == 50 {
			return 0, errors.New("gone for a moment")
		}
		return f, nil
	}
	var warned []uint64
	err := watch(t.Context(), Limits{Warn: 100, Stop: 10}, []string{"x"}, func(_ string, f uint64) { warned = append(warned, f) }, look, time.Microsecond)
	var full *FullError
	if !errors.As(err, &full) || full.Free != 9 || full.Least != 10 || !IsFull(err) {
		t.Errorf("it ended with %v", err)
	}
	if !slices.Equal(warned, []uint64{99, 99}) {
		t.Errorf("warnings at %v", warned)
	}
}

func TestLeast(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	if err := Least(1, dir); err != nil {
		t.Error(err)
	}
	if err := Least(1<<60, dir); !IsFull(err) {
		t.Errorf("an exbibyte: %v", err)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "1048576": 1 << 20, "512MiB": 512 << 20, "1.5 GiB": 3 << 29, "2TiB": 2 << 40, "7 B": 7} {
		if n, err := ParseSize(text); err != nil || n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	for _, n := range []uint64{0, 1023, 1 << 10, 256 << 20, 2 << 30} {
		if back, err := ParseSize(Size(n)); err != nil || back != n {
			t.Errorf("%d: %s: %d, %v", n, Size(n), back, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "5 GB", "NaN", "1e300", "x", "1 MiB x"} {
		if n, err := ParseSize(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}

// A file system that counts no blocks has no room to be short of: nothing is refused because of it.
func TestUncounted(t *testing.T) {
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("this machine has no /proc")
	}
	if err := Least(1<<30, "/proc"); err != nil {
		t.Error(err)
	}
}
