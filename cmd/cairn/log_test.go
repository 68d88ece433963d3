package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/process"
)

// However much is logged, what is kept has a bound.
func TestLogRotates(t *testing.T) {
	home := t.TempDir()
	c := upCommand()
	log, closeLog, err := logOf(c, home)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 256<<10)
	for range (process.LogsKept + 3) * process.LogMegabytes * 4 {
		log.Info(line)
	}
	log.Debug("not asked for")
	closeLog()
	const limit = (process.LogsKept + 2) << 20 * process.LogMegabytes // one more, since old ones go in the background
	files, _ := filepath.Glob(filepath.Join(home, "*.log"))
	var bytes int64
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			continue
		}
		bytes += info.Size()
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", f, info.Mode())
		}
	}
	if bytes > limit || len(files) > process.LogsKept+2 || bytes < process.LogMegabytes<<20 {
		t.Errorf("%d bytes in %v", bytes, files)
	}
	c.Flags().Set("log-level", "loud")
	if _, _, err := logOf(c, home); err == nil {
		t.Error("a level that there is not")
	}
}
