package network

import (
	"context"
	"log/slog"
)

// quiet passes on what is one level graver than its handler asks for. A chain says eight lines at level info for each block: 10 MB an
// hour in a network with short blocks.
type quiet struct{ slog.Handler }

// quieter returns a log that wants one level more.
func quieter(log *slog.Logger) *slog.Logger { return slog.New(quiet{log.Handler()}) }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, level-(slog.LevelWarn-slog.LevelInfo))
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
