package server_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// TestClusterRequests: a device is asked, and answers, through another server than its own; that nobody listens
// is known there too. Where an answer is expected is told to the servers with each request, and ahead of it.
func TestClusterRequests(t *testing.T) {
	b := newBuses(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	device, asker := b.dial(1, bus.RoleDevice, 0), b.dial(2, bus.RolePayer, 1)
	subject := bus.RequestSubject(asker.Key(), device.Key())
	if _, err := asker.Request(ctx, subject, nil); !errors.Is(err, bus.ErrNobody) {
		t.Errorf("nobody listens: %v", err)
	}
	listening, stop := context.WithCancel(ctx)
	err := device.Subscribe(listening, bus.RequestSubject(types.Key{}, device.Key()), func(m bus.Message) {
		if !bus.Expects(m) {
			t.Errorf("%s expects an answer at %s", m.Subject, m.Reply)
		}
		for i := range 3 {
			if err := device.Respond(ctx, m, fmt.Appendf(nil, "%s %d", m.Data, i)); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.until("the asker's server has heard of it", func() bool {
		_, err := asker.Request(ctx, subject, []byte("?"))
		return err == nil
	})
	for i := range 200 {
		next := 0
		err := asker.Gather(ctx, subject, fmt.Append(nil, i), func(data []byte) bool {
			if want := fmt.Sprintf("%d %d", i, next); string(data) != want {
				t.Errorf("%q, want %q", data, want)
			}
			next++
			return next < 3
		})
		if err != nil {
			t.Fatalf("request %d has %d answers: %v", i, next, err)
		}
	}
	stop()
	b.until("nobody listens any more", func() bool {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		_, err := asker.Request(ctx, subject, nil)
		return errors.Is(err, bus.ErrNobody)
	})
}
