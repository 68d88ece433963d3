package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	for range (logsKept + 3) * logMegabytes * 4 {
		log.Info(line)
	}
	log.Debug("not asked for")
	closeLog()
	const limit = (logsKept + 2) << 20 * logMegabytes // one more, since old ones go in the background
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
	if bytes > limit || len(files) > logsKept+2 || bytes < logMegabytes<<20 {
		t.Errorf("%d bytes in %v", bytes, files)
	}
	c.Flags().Set("log-level", "loud")
	if _, _, err := logOf(c, home); err == nil {
		t.Error("a level that there is not")
	}
}
