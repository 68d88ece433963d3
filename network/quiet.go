package network

import (
	"context"
	"log/slog"

	"github.com/cometbft/cometbft/libs/service"
)

// quiet passes on what is one level graver than its handler asks for. A chain says eight lines at level info
// for each block: 10 MB an hour in a network with short blocks.
type quiet struct{ slog.Handler }

// quieter returns a log that wants one level more.
func quieter(log *slog.Logger) *slog.Logger { return slog.New(quiet{log.Handler()}) }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, level-(slog.LevelWarn-slog.LevelInfo))
}

// noise is what CometBFT's RPC says as an error whenever a client of its websocket leaves: the connection ends
// itself, and is then told to.
const noise = "error while stopping connection"

// Handle leaves out the noise. Another error with the same words is passed on.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == noise && r.Level == slog.LevelError {
		stopped := false
		r.Attrs(func(a slog.Attr) bool {
			stopped = stopped || a.Value.String() == service.ErrAlreadyStopped.Error()
			return !stopped
		})
		if stopped {
			return nil
		}
	}
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
