package provider

import (
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// TestRefusals: each order that the device must not take, and what it says.
func TestRefusals(t *testing.T) {
	w := newWorld(t, nil)
	poor := w.gate("poor", 900)
	s := w.session(100)
	w.end(w.run(s, "burn:1000000000"))
	order := func(change func(*compute.Order)) func(*compute.Call) {
		return func(c *compute.Call) { change(&c.Order.Order) }
	}
	for name, c := range map[string]struct {
		change func(*compute.Call)
		want   types.Reason
	}{
		"price below the ask":        {order(func(o *compute.Order) { o.Price = price - 1 }), compute.PriceBelowAsk},
		"too late":                   {order(func(o *compute.Order) { o.Deadline = uint64(time.Now().UnixMilli()) - 1 }), types.StatementExpired},
		"valid for ever":             {order(func(o *compute.Order) { o.Deadline = 1 << 60 }), types.StatementExpired},
		"several slots":              {order(func(o *compute.Order) { o.Slots = 2 }), compute.Policy},
		"another device's":           {order(func(o *compute.Order) { o.Device = o.Payer }), types.DeviceAway},
		"another's session key":      {order(func(o *compute.Order) { o.Payer = poor.market.Payer() }), types.NotPermitted},
		"a number that was used":     {order(func(o *compute.Order) { o.Index = 0 }), types.StaleSeq},
		"a number that leaves a gap": {order(func(o *compute.Order) { o.Index = 2 }), compute.Busy},
		"a session that has ended":   {order(func(o *compute.Order) { o.Session = types.NewSessionID(1, [12]byte{9}); o.Index = 0 }), types.SessionExpired},
		"a session for ever":         {order(func(o *compute.Order) { o.Session = types.NewSessionID(1<<31, [12]byte{9}); o.Index = 0 }), types.WrongEpoch},
		"a session that begins late": {order(func(o *compute.Order) { o.Session[15]++; o.Index = 7 }), types.SessionMismatch},
		"dearer than the session":    {order(func(o *compute.Order) { o.Price, o.Ceiling = 3*price, 3*price }), types.SessionMismatch},
		"too much memory":            {func(c *compute.Call) { c.Job.Pages = 1 << 16 }, compute.Policy},
		"a profile of others": {func(c *compute.Call) {
			c.Job.Profile, c.Job.Limit, c.Order.Order.Class = compute.OCIProfile, 1000, compute.OCI
		}, compute.Policy},
		"inputs beyond the disk": {func(c *compute.Call) {
			for i := range 9 {
				c.Files = append(c.Files, compute.File{Path: string(rune('a' + i)), Size: 1 << 30, Hash: types.Hash{byte(i)}})
			}
		}, compute.TooLarge},
	} {
		if _, reason := w.ask(s, w.callWith(s, nil, c.change, "out:"+name)); reason != c.want {
			t.Errorf("%s: %q, want %q", name, reason, c.want)
		}
	}
	// Somebody who signs with another key than the payer's.
	forged := w.call(s, "out:forged")
	forged.Order.Signature[0]++
	if _, reason := w.ask(s, forged); reason != types.BadSignature {
		t.Errorf("forged: %q", reason)
	}
	if _, reason := poor.ask(s, poor.call(poor.session(100), "out:x")); reason != compute.Unpaid {
		t.Errorf("an account that can't reach the least opening: %q", reason)
	}
	stranger := w.gate("stranger", 1<<40)
	p := stranger.session(100)
	p.id = s.id
	if _, reason := stranger.ask(p, stranger.call(p, "out:x")); reason != types.SessionMismatch {
		t.Errorf("another's session id: %q", reason)
	}
	if w.exec.runs != 1 {
		t.Errorf("%d jobs ran, want the first alone", w.exec.runs)
	}
	// The session is none the worse for it.
	if e := w.end(w.run(s, "burn:1000000")); e.Leaf.Leaf.Index != 1 {
		t.Errorf("leaf %d", e.Leaf.Leaf.Index)
	}
	w.p.Drain(true)
	if _, reason := w.ask(s, w.call(s)); reason != compute.Draining {
		t.Errorf("draining: %q", reason)
	}
	w.p.Drain(false)
	w.device.Crowded = func() error { return types.Refuse(types.DiskFull, "full") }
	if _, reason := w.ask(s, w.call(s)); reason != compute.NoSpace || len(w.p.Remarks()) != 1 {
		t.Errorf("full disk: %q, %v", reason, w.p.Remarks())
	}
}

// TestReplay: an order that is brought again gets the same answer and does nothing: while it runs, after it
// ended, after a restart.
func TestReplay(t *testing.T) {
	w := newWorld(t, nil)
	w.MinOpening = 10
	w.Tell()
	s := w.session(100)
	c := w.call(s, "burn:100000000", "wait:a", "out:done")
	j := w.runCall(s, c)
	again := func(when string, want types.Reason) {
		t.Helper()
		if _, reason := w.ask(s, c); reason != want {
			t.Errorf("%s: %q, want %q", when, reason, want)
		}
	}
	w.until(j, "it runs", func() bool { return j.used > 0 })
	again("while it runs", "")
	if err := w.device.Stop(); err != nil {
		t.Fatal(err)
	}
	again("while the device is away", compute.Draining)
	w.start()
	again("after a restart", "")
	close(w.exec.gate("a"))
	w.end(j)
	again("after its end", "")
	w.settled()
	if w.exec.runs != 2 { // once before the restart, once after it
		t.Errorf("it ran %d times", w.exec.runs)
	}
	if j.out[1].String() != "done" {
		t.Errorf("output %q", j.out[1].String())
	}
	for range 6 { // until nobody can audit it any more
		w.Next()
	}
	again("when it is forgotten", types.StaleSeq)
	if got := w.tallied(); got != 100 {
		t.Errorf("the tally has %d", got)
	}
}

// TestLastSlot: of many orders at once as many are taken as there are slots.
func TestLastSlot(t *testing.T) {
	const slots, gateways = 2, 6
	w := newWorld(t, func(c *Config) { c.Slots = slots })
	var calls []func() types.Reason
	for i := range gateways {
		g := w.gate(string(rune('a'+i)), 1<<40)
		s := g.session(100)
		c := g.call(s, "wait:go")
		calls = append(calls, func() types.Reason { _, reason := g.ask(s, c); return reason })
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	count := map[types.Reason]int{}
	for _, f := range calls {
		group.Go(func() {
			r := f()
			mu.Lock()
			defer mu.Unlock()
			count[r]++
		})
	}
	group.Wait()
	if count[""] != slots || count[compute.Busy] != gateways-slots {
		t.Errorf("%v", count)
	}
	close(w.exec.gate("go"))
	w.settled()
	if d := w.now(); d.slots != 0 || d.memory != 0 {
		t.Errorf("%d slots and %d bytes of memory stay taken", d.slots, d.memory)
	}
}

// TestOvertaken: orders of a session that overtake each other are taken in turn.
func TestOvertaken(t *testing.T) {
	w := newWorld(t, nil)
	s := w.session(100)
	first := w.call(s, "out:1")
	s.index++
	second := w.call(s, "out:2")
	var group sync.WaitGroup
	group.Go(func() {
		if _, reason := w.ask(s, second); reason != "" {
			t.Errorf("the second: %s", reason)
		}
	})
	time.Sleep(10 * time.Millisecond) // it is likely to be there first; either order is right
	if _, reason := w.ask(s, first); reason != "" {
		t.Errorf("the first: %s", reason)
	}
	group.Wait()
	w.settled()
}

// TestCancel: a job ends at its customer's word, by the bus or by its stream, at what was paid; not at another's.
func TestCancel(t *testing.T) {
	w := newWorld(t, nil)
	other := w.gate("other", 1<<40)
	s := w.session(100)
	j := w.run(s, "burn:700000000", "wait:never", "burn:1000000000")
	w.until(j, "it is paid", func() bool { return j.paid == 700_000_000 })
	cancel := func(g *gateway) {
		hash := j.order.Hash()
		if _, err := g.market.Ask(t.Context(), g.market, role.Question{Device: w.device.Key(), Kind: compute.KindCancel, Body: hash[:]}); err != nil {
			t.Error(err)
		}
	}
	cancel(other)
	select {
	case <-j.done:
		t.Fatal("a stranger ended it")
	default:
	}
	w.waitPaid(j)
	cancel(w.gateway)
	e := w.end(j)
	if l := &e.Leaf.Leaf; l.Mode != compute.Cut || l.Fuel != 700_000_000 || e.Reason != "" {
		t.Errorf("%+v, %s", l, e.Reason)
	}
	w.end(w.run(s, "burn:700000000"))
	w.settled()
	w.Next()
	w.Next()
	w.clean(types.Superseded)
	if got := w.tallied(); got != 1400 {
		t.Errorf("the tally has %d, want 1400", got)
	}
}

// TestAddress: a gateway at a private address that the owner did not list is not dialled, and its order lapses.
func TestAddress(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Private, c.reserve = nil, 100*time.Millisecond })
	s := w.session(100)
	w.run(s, "burn:1000000")
	w.settled()
	if w.exec.runs != 0 {
		t.Error("it ran")
	}
	list := w.p.Remarks()
	if len(list) != 1 || list[0].Reason != role.PrivateAddress {
		t.Errorf("%v", list)
	}
	if d := w.now(); d.slots != 0 {
		t.Error("the slot stays taken")
	}
	// Its number is used up all the same: the leaf for it costs nothing.
	if _, reason := w.ask(s, w.call(s)); reason != "" {
		t.Errorf("the next: %s", reason)
	}
}
