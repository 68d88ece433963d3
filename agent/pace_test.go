package agent

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

// TestUnknownKeyLogsSeldom: an agent that waits for hours to be registered says so, and how, a few times; it
// says at once when what is wrong becomes something else; and it tries to log on all the while.
func TestUnknownKeyLogsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tries, gone := 0, time.Now().Add(3*time.Hour)
		a, err := New(Config{
			Key: types.NewPrivateKey([32]byte{1}),
			Pin: bus.Pin{Chain: "test", Set: bus.Set{{Key: types.Key{1}, Power: 1}}}, Unknown: "cairn device register cairn-claim:x",
			Dial: func(context.Context, types.PrivateKey) (bus.Bus, error) {
				tries++
				if time.Now().After(gone) {
					return nil, errors.New("nobody listens")
				}
				return nil, types.Refuse(types.NotPermitted, "log on")
			},
			Store: forgetful{}, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour+time.Second*50)
		defer cancel()
		a.Run(ctx, func(context.Context, bus.Bus) error { return nil })
		// At 0, 1, 3, 7, 15, 31, 63, 123 minutes.
		if got := strings.Count(log.String(), `try="cairn device register cairn-claim:x"`); got != 8 {
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

// forgetful is a store without memory.
type forgetful struct{}

func (forgetful) Get(string) []byte        { return nil }
func (forgetful) Put(string, []byte) error { return nil }
