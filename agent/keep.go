package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// State is what becomes of something that Keep runs.
type State string

// The states.
const (
	Running State = "running"
	Resting State = "resting" // it failed, and will run again
	Stopped State = "stopped"
)

// Keep runs something until ctx ends, and again whenever it fails, panics or ends by itself: after a rest,
// which doubles up to a minute and is short again after an hour without trouble. tell, if it is not nil, hears
// of each change, and why a rest was called for.
func Keep(ctx context.Context, log *slog.Logger, least time.Duration, run func(context.Context) error, tell func(State, error)) {
	if tell == nil {
		tell = func(State, error) {}
	}
	defer tell(Stopped, nil)
	rest := least
	for {
		began := time.Now()
		tell(Running, nil)
		err := once(ctx, run)
		if ctx.Err() != nil {
			return
		}
		log.Error("it failed and will run again", "error", err, "rest", rest)
		tell(Resting, err)
		if time.Since(began) > time.Hour {
			rest = least
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(rest):
		}
		rest = min(2*rest, time.Minute)
	}
}

func once(ctx context.Context, run func(context.Context) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("agent: panic: %v\n%s", p, debug.Stack())
		} else if err == nil {
			err = errors.New("agent: it ended by itself")
		}
	}()
	return run(ctx)
}
