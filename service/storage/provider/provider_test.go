package provider_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/roletest"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider"
)

// TestHonest stores, proves, is paid and reads, for twenty epochs. Nothing that an honest device hands in is
// refused, and it is paid what the arithmetic says: what its ladder shows at the highest rung below seven
// eighths of what it has proven.
func TestHonest(t *testing.T) {
	n := newNet(t, 8)
	n.Next()
	data := random(1, 9<<20+123)
	id := n.put(data)
	const epochs = 20
	for range epochs {
		n.Next()
	}
	n.clean()
	for i := range n.devices {
		s := n.state(i)
		if s.Passes != epochs-1 || s.Streak != 0 || len(s.Sessions) != 1 {
			t.Fatalf("device %d: %d passes, streak %d, %d sessions", i, s.Passes, s.Streak, len(s.Sessions))
		}
		bytes := s.Sessions[0].Bytes
		if bytes < 2<<20 {
			t.Errorf("device %d holds %d bytes", i, bytes)
		}
		proven := (epochs - 1) * bytes
		rungs := (proven - (proven+7)/8) / bytes
		if got, want := n.paid(i), types.Credit(rungs*bytes*price>>40); got != want || want == 0 {
			t.Errorf("device %d was paid %d for %d passes of %d bytes, want %d", i, got, s.Passes, bytes, want)
		}
	}
	n.get(id, data)
	before := n.paid(0)
	n.Next()
	n.clean()
	if n.paid(0) == before {
		t.Error("reading earned nothing")
	}
}

// TestRestart stops and starts every device, between epochs and within them.
func TestRestart(t *testing.T) {
	n := newNet(t, 8)
	n.Next()
	data := random(2, 5<<20)
	id := n.put(data)
	for epoch := range 6 {
		for i := range n.devices {
			if (epoch+i)%3 == 0 {
				n.restart(i)
			}
		}
		n.Next()
	}
	n.clean()
	n.get(id, data)
	for i := range n.devices {
		if s := n.state(i); s.Passes != 5 || s.Streak != 0 {
			t.Errorf("device %d: %d passes, streak %d", i, s.Passes, s.Streak)
		}
	}
	more := random(3, 1<<20)
	n.get(n.put(more), more)
}

// TestDelete: what was deleted stays on the disk until no challenge can ask for it, and then goes.
func TestDelete(t *testing.T) {
	n := newNet(t, 8)
	n.Window = 3
	n.Next()
	keep, data := random(4, 3<<20), random(5, 6<<20)
	kept := n.put(keep)
	id := n.put(data)
	n.Next()
	n.Next()
	before := n.state(0).Bytes()
	if w := n.do("DELETE", "/objects/"+id, nil); w.Code != http.StatusOK {
		t.Fatalf("delete: %d %s", w.Code, w.Body)
	}
	if w := n.do("GET", "/objects/"+id, nil); w.Code != http.StatusNotFound {
		t.Errorf("get after delete: %d", w.Code)
	}
	used := n.used(0)
	if used < before {
		t.Errorf("%d bytes on disk, the tally still asks for %d", used, before)
	}
	for epoch := range 8 {
		n.Next()
		if now := n.used(0); epoch < 2 && now < used { // this restarts the device each time
			t.Errorf("epoch %d after the deletion: %d bytes on disk, the tally without them is not final", epoch, now)
		}
	}
	after := n.state(0).Bytes()
	if after >= before || n.used(0) != after {
		t.Errorf("%d bytes on disk, the tally has %d, before %d", n.used(0), after, before)
	}
	n.clean()
	n.get(kept, keep)
}

// TestLoss: a device that finds a shard damaged declares it, loses its part of what is retained, and goes on.
// The customer learns of it and goes on storing.
func TestLoss(t *testing.T) {
	t.Parallel()
	n := newNet(t, 8)
	n.Next()
	data := random(6, 12<<20)
	id := n.put(data)
	for range 10 {
		n.Next()
	}
	honest, before := n.state(1).Sessions[0], n.state(0).Sessions[0]
	// The shards go, one after the other; draws find them.
	n.devices[0].Stop()
	n.damage(0, 2)
	n.devices[0].Start(provider.New(config()))
	for range 30 {
		n.Next()
	}
	after := n.state(0)
	if line := &after.Sessions[0]; line.Bytes >= before.Bytes || line.Forfeit.IsZero() || after.Streak != 0 {
		t.Errorf("%d bytes, before %d; forfeit %s, streak %d", line.Bytes, before.Bytes, line.Forfeit, after.Streak)
	}
	if line := n.state(1).Sessions[0]; line.Bytes != honest.Bytes || !line.Forfeit.IsZero() {
		t.Errorf("the device beside it: %d bytes, before %d; forfeit %s", line.Bytes, honest.Bytes, line.Forfeit)
	}
	for _, r := range n.Refused() {
		t.Errorf("epoch %d: %s", r.Epoch, r.Reason)
	}
	n.get(id, data)
	more := random(7, 3<<20)
	another := n.put(more)
	n.Next()
	n.Next()
	if line := n.state(0).Sessions[0]; line.Bytes <= after.Sessions[0].Bytes {
		t.Errorf("%d bytes after storing more, before %d", line.Bytes, after.Sessions[0].Bytes)
	}
	n.get(another, more)
	n.get(id, data)
	n.clean()
}

// TestKilled: any four of eight may go; with a fifth, the error names what is missing, at once.
func TestKilled(t *testing.T) {
	n := newNet(t, 8)
	n.Next()
	data := random(8, 10<<20)
	id := n.put(data)
	for _, i := range []int{0, 3, 5, 6} {
		n.devices[i].Stop()
	}
	n.get(id, data)
	n.devices[7].Stop()
	start := time.Now()
	w := n.do("GET", "/objects/"+id, nil)
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), string(storage.ShardsLost)) || !strings.Contains(w.Body.String(), "slot") {
		t.Errorf("with five gone: %d %s", w.Code, w.Body)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

// TestSkips: epochs without a header lose nothing, and nothing is counted twice.
func TestSkips(t *testing.T) {
	n := newNet(t, 8)
	n.Next()
	data := random(9, 2<<20)
	id := n.put(data)
	for i := range 9 {
		if i%3 == 0 {
			n.Skip()
		} else {
			n.Next()
		}
	}
	n.clean()
	for i := range n.devices {
		if s := n.state(i); s.Streak != 0 || s.Passes < 4 {
			t.Errorf("device %d: %d passes, streak %d", i, s.Passes, s.Streak)
		}
	}
	n.get(id, data)
}

// TestLost: what gets lost between device and tally is handed in again.
func TestLost(t *testing.T) {
	n := newNet(t, 8)
	n.Next()
	n.Drop = roletest.First(storage.KindHolding, 8)
	data := random(10, 2<<20)
	n.put(data)
	for range 5 {
		n.Next()
	}
	n.clean()
	for i := range n.devices {
		if s := n.state(i); len(s.Sessions) != 1 || s.Passes < 2 {
			t.Errorf("device %d: %d sessions, %d passes", i, len(s.Sessions), s.Passes)
		}
	}
}

// TestRelease: an operator who leaves gives up what is retained, and the disk is free when that is final.
func TestRelease(t *testing.T) {
	n := newNet(t, 7)
	d := n.Device("leaves")
	p := provider.New(config())
	d.Start(p)
	n.devices = append(n.devices, d)
	n.Next()
	data := random(11, 4<<20)
	id := n.put(data)
	for range 5 {
		n.Next()
	}
	p.Leave()
	for range 4 {
		n.Next()
	}
	s := n.state(7)
	if s.Bytes() != 0 || !s.Sessions[0].Ended || s.Sessions[0].Forfeit.IsZero() {
		t.Errorf("%d bytes, %+v", s.Bytes(), s.Sessions)
	}
	n.clean()
	if got := n.used(7); got != 0 {
		t.Errorf("%d bytes left on disk", got)
	}
	n.get(id, data)
}

// TestFull: a device without room refuses, and the others are enough.
func TestFull(t *testing.T) {
	n := newNet(t, 7)
	d := n.Device("small")
	c := config()
	c.Capacity = 1 << 20
	d.Start(provider.New(c))
	n.devices = append(n.devices, d)
	n.Next()
	data := random(12, 9<<20)
	id := n.put(data)
	n.Next()
	n.Next()
	n.get(id, data)
	n.clean()
}

// TestCrowded: a device whose disk is nearly full takes nothing new, says in its ask that it has no room, and
// proves, serves and is paid for what it holds; with room again it takes new shards.
func TestCrowded(t *testing.T) {
	n := newNet(t, 7)
	d := n.Device("crowded")
	var crowded atomic.Bool
	d.Crowded = func() error {
		if crowded.Load() {
			return types.Refuse(types.DiskFull, "a test")
		}
		return nil
	}
	d.Start(provider.New(config()))
	n.devices = append(n.devices, d)
	n.Next()
	data, more := random(13, 4<<20), random(14, 9<<20)
	id := n.put(data)
	n.Next()
	n.Next()
	held, passes := n.used(7), n.state(7).Passes
	if held == 0 {
		t.Fatal("the device holds nothing")
	}
	crowded.Store(true)
	n.Next()
	other := n.put(more) // the other seven are enough
	for range 3 {
		n.Next()
	}
	if got := n.used(7); got != held {
		t.Errorf("it holds %d bytes, before %d", got, held)
	}
	if s := n.state(7); s.Passes <= passes || s.Bytes() == 0 {
		t.Errorf("%d bytes, %d passes, before %d", s.Bytes(), s.Passes, passes)
	}
	n.get(id, data)
	n.get(other, more)
	crowded.Store(false)
	n.Next()
	n.Next()
	n.put(random(15, 9<<20))
	n.Next()
	if got := n.used(7); got <= held {
		t.Errorf("with room again it holds %d bytes, before %d", got, held)
	}
	n.clean()
}
