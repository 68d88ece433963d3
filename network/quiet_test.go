package network

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"github.com/cometbft/cometbft/libs/service"
)

// A chain's everyday lines are not in the log, its warnings are; whoever asks for debug gets both.
func TestQuiet(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelInfo:  "level=WARN msg=late chain=0\nlevel=ERROR msg=\"error while stopping connection\" chain=0 error=\"bad descriptor\"\nlevel=ERROR msg=broken chain=0\n",
		slog.LevelDebug: "level=INFO msg=block chain=0\nlevel=WARN msg=late chain=0\nlevel=ERROR msg=\"error while stopping connection\" chain=0 error=\"bad descriptor\"\nlevel=ERROR msg=broken chain=0\n",
	} {
		var out bytes.Buffer
		log := quieter(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))).With("chain", 0)
		log.Debug("vote")
		log.Info("block")
		log.Warn("late")
		log.Error("error while stopping connection", "error", service.ErrAlreadyStopped) // of each client that left
		log.Error("error while stopping connection", "error", errors.New("bad descriptor"))
		log.Error("broken")
		if out.String() != want {
			t.Errorf("%v: %q, want %q", level, out.String(), want)
		}
	}
}
