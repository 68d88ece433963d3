package node

import (
	"context"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// TestBeat: a device says what is free of its newest ask, at once when that changes, and again and again; not
// more than the ask has.
func TestBeat(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	d, host := w.begin(w.home())
	w.roles.Set(bustest.Key(1).Public(), bus.RoleGateway)
	gateway, err := w.memory.Dial(w.ctx, bustest.Key(1))
	ok(t, err)
	t.Cleanup(gateway.Close)
	heard := make(chan bus.Message, 100)
	ok(t, gateway.Subscribe(w.ctx, bus.BeatsOf(d.Key(), types.Storage), func(m bus.Message) { heard <- m }))
	host.Beat(1, types.U64(70), false)
	signed, err := host.Offer(t.Context(), receipt.Ask{Class: 1, Capacity: types.U64(50), Until: 9})
	ok(t, err)
	select {
	case m := <-heard:
		beat, by, err := bus.Open[bus.Beat](m.Data, chain)
		ok(t, err)
		if by != d.Key() || m.Subject != bus.BeatOf(&signed.Ask) || beat.Ask != signed.Ask.Hash() || beat.Free != types.U64(50) || beat.Draining ||
			!bus.Timely(beat.Time, time.Now()) || len(m.Data) > bus.MaxBeat {
			t.Errorf("%s: %+v of %v, %d bytes", m.Subject, beat, by, len(m.Data))
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no beat")
	}
}

func TestBeatPace(t *testing.T) {
	b := newBeats()
	ctx, stop := context.WithCancel(t.Context())
	now := time.Now()
	c := class{types.Storage, 1}
	ask := &receipt.Ask{Category: c.category, Class: c.class, Capacity: types.U64(50)}
	due := func(what string, want int) *bus.Beat {
		t.Helper()
		all := b.due(chain, now)
		if len(all) != want {
			t.Fatalf("%s: %d beats", what, len(all))
		}
		for _, beat := range all {
			return beat
		}
		return nil
	}
	b.say(ctx, c, types.U64(5), false)
	due("nothing is offered", 0)
	b.offer(ask)
	first := due("it is offered", 1)
	due("it was said", 0)
	b.say(ctx, c, types.U64(4), true)
	due("too soon", 0)
	now = now.Add(beatSoonest)
	second := due("it changed", 1)
	if second.Free != types.U64(4) || !second.Draining || second.Time <= first.Time {
		t.Errorf("%+v after %+v", second, first)
	}
	b.say(ctx, c, types.U64(4), true)
	now = now.Add(beatSoonest)
	due("nothing changed", 0)
	now = now.Add(bus.BeatEvery)
	due("a while later", 1)
	now = now.Add(-time.Hour) // the clock is set back
	b.say(ctx, c, types.U64(3), false)
	now = now.Add(time.Hour + beatSoonest)
	due("it changed again", 1)
	now = now.Add(beatSoonest)
	b.all[c].time = uint64(now.Add(time.Hour).UnixMilli()) // it was wrong, and was set right
	b.say(ctx, c, types.U64(2), false)
	if beat := due("it changed again", 1); !bus.Timely(beat.Time, now) {
		t.Errorf("its time is %d", beat.Time)
	}
	stop()
	now = now.Add(bus.BeatEvery)
	due("the provider stopped", 0)
	b.say(t.Context(), c, types.U64(4), true)
	due("it runs again", 1)
}
