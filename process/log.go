package process

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/cairn-network/cairn/core/types"
)

// A log file is begun anew when it has LogMegabytes; LogsKept before it are kept, with the time in their names.
const (
	LogMegabytes = 16
	LogsKept     = 3
)

// Log says where a log goes and how much it says.
type Log struct {
	Level  slog.Level `json:"level" doc:"How much is logged: DEBUG, INFO, WARN or ERROR. --log-level overrides it."`
	File   string     `json:"file" doc:"A file to write to, which is begun anew at 16 MiB, three before it being kept; below the home unless it is absolute. \"\" for none."`
	Stderr bool       `json:"stderr" doc:"Whether the log goes to standard error as well: systemd keeps that."`
}

// Open opens the log. home is where a relative file is.
func (l Log) Open(home string, stderr io.Writer) (*slog.Logger, func() error, error) {
	var out []io.Writer
	done := func() error { return nil }
	if l.Stderr {
		out = append(out, stderr)
	}
	if l.File != "" {
		path := l.File
		if !filepath.IsAbs(path) {
			path = filepath.Join(home, path)
		}
		f := &lumberjack.Logger{Filename: path, MaxSize: LogMegabytes, MaxBackups: LogsKept}
		if _, err := f.Write(nil); err != nil { // it opens with the first line, and says nothing where it can't
			return nil, nil, fmt.Errorf("log: %w: %w", err, types.HomeUnwritable)
		}
		out, done = append(out, f), f.Close
	}
	return slog.New(slog.NewTextHandler(tee(out), &slog.HandlerOptions{Level: l.Level})), done, nil
}

// tee writes to all, also where one of them fails: a full disk does not keep a line from the other.
type tee []io.Writer

func (t tee) Write(p []byte) (int, error) {
	var errs []error
	for _, w := range t {
		_, err := w.Write(p)
		errs = append(errs, err)
	}
	return len(p), errors.Join(errs...)
}
