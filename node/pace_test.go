package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// TestUnknownDeviceLogsSeldom: a device that waits for hours to be registered says so, and how, a few times; it says at once when what is wrong
// becomes something else; and it tries to log on all the while.
func TestUnknownDeviceLogsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tries, gone := 0, time.Now().Add(3*time.Hour)
		n := &Node{status: newStatus(), log: slog.New(slog.NewTextHandler(&log, nil))}
		n.config.Register = "cairn device register cairn-claim:x"
		n.config.Dial = func(context.Context, types.PrivateKey) (bus.Bus, error) {
			tries++
			if time.Now().After(gone) {
				return nil, errors.New("nobody listens")
			}
			return nil, types.Refuse(types.NotPermitted, "log on")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour+time.Second*50)
		defer cancel()
		n.connect(ctx)
		// At 0, 1, 3, 7, 15, 31, 63, 123 minutes.
		if got := strings.Count(log.String(), `register="cairn device register cairn-claim:x"`); got != 8 {
			t.Errorf("said %d times in three hours:\n%s", got, &log)
		}
		if got := strings.Count(log.String(), "nobody listens"); got != 1 {
			t.Errorf("the other fault is said %d times:\n%s", got, &log)
		}
		if tries < 3*3600/15 {
			t.Errorf("it tried %d times only", tries)
		}
	})
}
