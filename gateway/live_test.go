package gateway

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// beaters are devices that offer and beat, and a gateway that hears them.
type beaters struct {
	*fixture
	t     *testing.T
	view  *categoryMarket
	reg   *roll
	live  *live
	links map[types.Key]bus.Bus

	mu    sync.Mutex // guards what follows
	beats []role.Beat
	now   time.Time
}

func newBeaters(t *testing.T) *beaters {
	t.Helper()
	b := &beaters{fixture: newFixture(t), t: t, links: map[types.Key]bus.Bus{}, now: time.Now()}
	b.view, b.reg = counter(b.fixture)
	b.live = newLive(b.market, types.IoT, func(beat role.Beat) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.beats = append(b.beats, beat)
	})
	b.live.now = func() time.Time {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.now
	}
	b.market.asks[types.IoT].live = b.live
	b.logOn(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.live.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// pass lets time pass for the gateway.
func (b *beaters) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *beaters) heard() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.beats)
}

// offer registers device i, which offers 100 units.
func (b *beaters) offer(i int) receipt.Ask {
	b.t.Helper()
	k := stranger(i)
	b.reg.devices[k.Public()] = ledger.Device{Device: tally.Device{Key: k.Public(), Owner: types.Account{1}, Categories: []types.Category{types.IoT}}}
	link, err := b.bus.Dial(b.t.Context(), k)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(link.Close)
	b.links[k.Public()] = link
	ask := receipt.Ask{Chain: chain, Device: k.Public(), Category: types.IoT, Class: 1, Price: 1, Capacity: types.U64(100), Until: 9}
	if err := link.PublishLast(b.t.Context(), bus.AskOf(&ask), ask.Sign(k).Encode()); err != nil {
		b.t.Fatal(err)
	}
	return ask
}

func (b *beaters) beat(ask *receipt.Ask, free uint64) *bus.Beat {
	return &bus.Beat{Chain: chain, Category: ask.Category, Class: ask.Class, Ask: ask.Hash(), Free: types.U64(free), Time: uint64(b.live.now().UnixMilli())}
}

func (b *beaters) say(ask *receipt.Ask, raw []byte) {
	b.t.Helper()
	if err := b.links[ask.Device].Publish(b.t.Context(), bus.BeatOf(ask), raw); err != nil {
		b.t.Fatal(err)
	}
}

func (b *beaters) until(what string, condition func() bool) {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never: %s", what)
		}
	}
}

// listening is how many devices the gateway listens to.
func (b *beaters) listening() (n int) {
	b.live.mu.Lock()
	defer b.live.mu.Unlock()
	for _, p := range b.live.beating {
		if p.stop != nil {
			n++
		}
	}
	return n
}

// offered is what the offer of a device says.
func (b *beaters) offered(device types.Key) *role.Beat {
	b.t.Helper()
	offers, _, err := b.view.Offers(b.t.Context(), role.Want{Class: 1, Device: device})
	if err != nil || len(offers) != 1 {
		b.t.Fatalf("%d offers: %v", len(offers), err)
	}
	return offers[0].Beat
}

// TestBeats: offers carry what their devices said last, until they are silent.
func TestBeats(t *testing.T) {
	b := newBeaters(t)
	ask := b.offer(1)
	b.until("the gateway listens", func() bool { return b.listening() == 1 })
	if beat := b.offered(ask.Device); beat != nil {
		t.Errorf("a device that said nothing: %+v", beat)
	}
	b.say(&ask, bus.Seal(stranger(1), b.beat(&ask, 40)))
	b.until("a beat is heard", func() bool { return b.heard() == 1 })
	beat := b.offered(ask.Device)
	if beat == nil || beat.Free != types.U64(40) || beat.Draining || beat.Device != ask.Device || beat.Ask != ask.Hash() || beat.Class != 1 {
		t.Errorf("%+v", beat)
	}
	b.pass(role.Silent - time.Millisecond)
	if beat := b.offered(ask.Device); beat == nil {
		t.Error("it is silent too soon")
	}
	b.pass(time.Millisecond)
	if beat := b.offered(ask.Device); beat != nil {
		t.Errorf("a silent device: %+v", beat)
	}
	last := b.beat(&ask, 0)
	last.Draining = true
	b.say(&ask, bus.Seal(stranger(1), last))
	b.until("it is heard again", func() bool { return b.heard() == 2 })
	if beat := b.offered(ask.Device); beat == nil || !beat.Draining || !beat.Free.IsZero() {
		t.Errorf("%+v", beat)
	}
	// What was said of another ask says nothing of this one.
	newer := ask
	newer.Price = 2
	if err := b.links[ask.Device].PublishLast(t.Context(), bus.AskOf(&newer), newer.Sign(stranger(1)).Encode()); err != nil {
		t.Fatal(err)
	}
	b.until("the newer ask is known", func() bool { return b.market.asks[types.IoT].anywhere.Get(ask.Device, types.IoT, 1).Ask.Price == 2 })
	if beat := b.offered(ask.Device); beat != nil {
		t.Errorf("of an ask of which nothing was said: %+v", beat)
	}
}

// TestBeatsForged: a beat counts that its device signed, of its ask as it is, of no more than the ask's
// capacity, of now, and once.
func TestBeatsForged(t *testing.T) {
	b := newBeaters(t)
	ask := b.offer(1)
	b.until("the gateway listens", func() bool { return b.listening() == 1 })
	old := bus.Seal(stranger(1), b.beat(&ask, 30))
	b.say(&ask, old)
	b.until("a beat is heard", func() bool { return b.heard() == 1 })
	b.pass(time.Second)
	bend := func(change func(*bus.Beat)) []byte {
		beat := b.beat(&ask, 40)
		change(beat)
		return bus.Seal(stranger(1), beat)
	}
	for _, raw := range [][]byte{
		old,
		bus.Seal(stranger(2), b.beat(&ask, 40)),
		bend(func(x *bus.Beat) { x.Free = types.U64(101) }),
		bend(func(x *bus.Beat) { x.Free = types.U128{Hi: 1} }),
		bend(func(x *bus.Beat) { x.Ask = types.Hash{1} }),
		bend(func(x *bus.Beat) { x.Class = 2 }),
		bend(func(x *bus.Beat) { x.Category = types.Storage }),
		bend(func(x *bus.Beat) { x.Chain = "other" }),
		bend(func(x *bus.Beat) { x.Time -= 1000 }),
		bend(func(x *bus.Beat) { x.Time += uint64((bus.MaxAhead + time.Minute).Milliseconds()) }),
		bend(func(x *bus.Beat) { x.Time = 1<<64 - 1 }),
		[]byte("garbage"),
		make([]byte, bus.MaxMessage),
	} {
		b.say(&ask, raw)
	}
	b.pass(time.Second)
	b.say(&ask, bus.Seal(stranger(1), b.beat(&ask, 50)))
	b.until("an honest one is heard", func() bool { return b.heard() > 1 && b.offered(ask.Device).Free == types.U64(50) })
	if n := b.heard(); n != 2 {
		t.Errorf("%d beats are heard, two are right", n)
	}
	b.pass(bus.MaxBehind + time.Second)
	late := b.beat(&ask, 60)
	late.Time -= uint64((bus.MaxBehind + 500*time.Millisecond).Milliseconds())
	if _, ok := b.live.hear(ask.Device, bus.Message{Data: bus.Seal(stranger(1), late)}); ok {
		t.Error("a beat of half a minute ago counts")
	}
}

// TestBeatFlood: one that beats without end is not listened to for a while, and what others say is heard.
func TestBeatFlood(t *testing.T) {
	b := newBeaters(t)
	loud, calm := b.offer(1), b.offer(2)
	b.until("the gateway listens", func() bool { return b.listening() == 2 })
	for i := range 4 * beatBurst {
		beat := b.beat(&loud, 1)
		beat.Time += uint64(i)
		b.say(&loud, bus.Seal(stranger(1), beat))
	}
	b.until("it is not listened to", func() bool { return b.listening() == 1 })
	if n := b.heard(); n > beatBurst {
		t.Errorf("%d of its beats are taken", n)
	}
	before := b.heard()
	b.say(&loud, bus.Seal(stranger(1), b.beat(&loud, 1)))
	b.say(&calm, bus.Seal(stranger(2), b.beat(&calm, 1)))
	b.until("the other one is heard", func() bool { return b.offered(calm.Device) != nil })
	if n := b.heard(); n != before+1 {
		t.Errorf("%d beats are heard besides", n-before-1)
	}
	b.pass(beatRest)
	b.until("it is listened to again", func() bool { return b.listening() == 2 })
}

// TestBeatCrowd: of more devices than a gateway remembers it hears those that it remembers, and of what is
// looked for near somewhere some.
func TestBeatCrowd(t *testing.T) {
	f := newFixture(t)
	counter(f)
	l := newLive(f.market, types.IoT, func(role.Beat) {})
	f.market.asks[types.IoT].live = l
	for i := range maxBeating + 200 {
		k := stranger(i)
		hears(f.market, k.Public(), receipt.Ask{Chain: chain, Device: k.Public(), Category: types.IoT, Class: 1, Until: 9}, k)
	}
	if len(l.beating) != maxBeating {
		t.Errorf("%d devices are heard", len(l.beating))
	}
	for device := range l.beating {
		if !f.market.asks[types.IoT].anywhere.Has(device) {
			t.Errorf("%v is heard, and not remembered", device)
		}
	}
	for i := range 2 * maxSought {
		l.know(&receipt.Ask{Device: stranger(10_000 + i).Public(), Class: 1}, true)
	}
	if len(l.beating) != maxBeating+maxSought || l.sought != maxSought {
		t.Errorf("%d devices are heard, %d looked for", len(l.beating), l.sought)
	}
	for c := range types.Class(1000) {
		l.know(&receipt.Ask{Device: stranger(10_000).Public(), Class: c}, true)
	}
	if n := len(l.beating[stranger(10_000).Public()].asks); n > 64 {
		t.Errorf("%d asks of one device", n)
	}
}

// TestBeatShare: where several categories share what the bus takes, none of those that are heard goes for
// another one that is remembered.
func TestBeatShare(t *testing.T) {
	l := newLive(newFixture(t).market, types.IoT, func(role.Beat) {})
	l.remembers = func(types.Key) bool { return true }
	l.most = 100
	for i := range 2 * l.most {
		l.know(&receipt.Ask{Device: stranger(i).Public(), Class: 1}, false)
	}
	if len(l.beating) != l.most {
		t.Errorf("%d devices are heard", len(l.beating))
	}
	for i := range l.most {
		if l.beating[stranger(i).Public()] == nil {
			t.Errorf("device %d is not heard any more", i)
		}
	}
}

// TestNoBeats: a gateway listens to no beats of a category whose customer does not hear them.
func TestNoBeats(t *testing.T) {
	f := newFixture(t)
	if f.market.asks[types.IoT].live != nil {
		t.Error("it listens")
	}
	c := new(secretive).role()
	c.Heard = func(role.Beat) {}
	f.Close()
	g, err := New(f.config(t), f.ledger, []role.Customer{c}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.market.asks[types.IoT].live == nil {
		t.Error("it does not listen")
	}
}
