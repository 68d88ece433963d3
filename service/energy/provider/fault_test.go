package provider

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
)

// noneRefused fails if anything that the home handed in was refused.
func (b *bench) noneRefused() {
	b.t.Helper()
	if list := b.refusals(); len(list) > 0 {
		b.t.Errorf("refused: %v", list)
	}
}

// current fails unless the tally has a record of one of the last intervals.
func (b *bench) current() *energy.State {
	b.t.Helper()
	s := b.line()
	if s.K+6 < b.now() {
		b.t.Fatalf("the last record that counts is of interval %d, now is %d", s.K, b.now())
	}
	return s
}

// TestSourceBad: while a meter cannot be read there are no records, and afterwards the step over the hole is whole.
func TestSourceBad(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(3)
		before := b.current()
		b.change(source.PV, func(d *dial) { d.err = errors.New("short frame") })
		b.flow(2, 300, 60)
		b.change(source.PV, func(d *dial) { d.err = nil })
		b.flow(2, 300, 60)
		b.Next()
		b.epochs(2)
		after := b.current()
		b.noneRefused()
		if gap := after.Sums.Gap - before.Sums.Gap; gap != 0 {
			t.Errorf("%d Wh went by unseen though both registers were read again within the hour", gap)
		}
		// Four quarter hours' worth of 150 Wh in each epoch.
		if got, want := after.Sums.Exported-before.Sums.Exported, uint64(3*4*150); got != want {
			t.Errorf("exported %d Wh, want %d", got, want)
		}
	})
}

// TestLongBlind: where a register stays away for hours, records go on without it.
func TestLongBlind(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(3)
		b.change(source.PV, func(d *dial) { d.err = errors.New("no route to host") })
		b.epochs(4)
		if s := b.current(); s.Present.Has(energy.PV) || !s.Present.Has(energy.Import) {
			t.Errorf("registers %05b", s.Present)
		}
		b.change(source.PV, func(d *dial) { d.err = nil })
		b.epochs(3)
		if s := b.current(); !s.Present.Has(energy.PV) {
			t.Errorf("registers %05b", s.Present)
		}
		b.noneRefused()
	})
}

// TestZeroed: a register that began anew is declared, and what it counts afterwards counts.
func TestZeroed(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(3)
		before := b.current()
		b.change(source.Grid, func(d *dial) { d.counts[energy.Export] = 0 })
		b.epochs(4)
		after := b.current()
		b.noneRefused()
		if after.Wh[energy.Export] >= before.Wh[energy.Export] {
			t.Errorf("the register is at %d, was at %d", after.Wh[energy.Export], before.Wh[energy.Export])
		}
		if after.V <= before.V || after.V-before.V > 4*4*150 {
			t.Errorf("the virtual register went from %d to %d", before.V, after.V)
		}
	})
}

// TestGlitch: readings that are too low for a moment, at the end of a quarter hour, are no reset.
func TestGlitch(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(2)
		before := b.current()
		// The world's epochs begin three minutes past the hour, so a quarter hour ends in twelve.
		b.minutes(11, 300, 60)
		time.Sleep(50 * time.Second)
		was := int64(0)
		b.change(source.Grid, func(d *dial) { was, d.counts[energy.Export] = d.counts[energy.Export], 3 })
		time.Sleep(25 * time.Second)
		b.change(source.Grid, func(d *dial) { d.counts[energy.Export] = was + 20 })
		time.Sleep(45 * time.Second)
		b.minutes(47, 300, 60)
		b.Next()
		b.epochs(2)
		after := b.current()
		b.noneRefused()
		if got := after.Sums.Exported - before.Sums.Exported; got != 3*4*150 {
			t.Errorf("exported %d Wh, want %d", got, 3*4*150)
		}
	})
}

// TestReturn: a register that falls for two hours, over a restart, and returns is counted as what flowed,
// though it was taken to have begun anew in between.
func TestReturn(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(3)
		before := b.current()
		b.change(source.Grid, func(d *dial) { d.counts[energy.Export] -= 2000 })
		b.epochs(1)
		if err := b.device.Stop(); err != nil {
			t.Fatal(err)
		}
		b.start()
		b.epochs(1)
		b.change(source.Grid, func(d *dial) { d.counts[energy.Export] += 2000 })
		b.epochs(4)
		after := b.current()
		b.noneRefused()
		flowed := (after.K - before.K) * 150
		if v := after.V - before.V; v > flowed || v+7*150 < flowed {
			t.Errorf("%d Wh counted, %d flowed", v, flowed)
		}
		if after.Wh[energy.Export] < before.Wh[energy.Export] {
			t.Errorf("the register is at %d, was at %d", after.Wh[energy.Export], before.Wh[energy.Export])
		}
	})
}

// TestImplausible: a rise beyond what can flow is not counted, and said as long as it lasts; one that stays is
// another beginning.
func TestImplausible(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(3)
		before := b.current()
		b.change(source.PV, func(d *dial) { d.counts[energy.PV] += 700_000 })
		b.minutes(5, 300, 60)
		if list := b.provider.Remarks(); len(list) != 1 || list[0].Reason != energy.RegisterOdd || !strings.Contains(list[0].Text, "pv") {
			t.Errorf("%+v", list)
		}
		b.minutes(55, 300, 60)
		b.Next()
		b.epochs(3)
		after := b.current()
		b.noneRefused()
		if after.Sums.Produced-before.Sums.Produced > (after.K-before.K)*300 || after.Sums.AboveSky > 0 || after.Excess > 0 {
			t.Errorf("%+v, was %+v", after.Sums, before.Sums)
		}
		if after.Wh[energy.PV] < 700_000 {
			t.Errorf("the register is at %d", after.Wh[energy.PV])
		}
		if list := b.provider.Remarks(); len(list) != 0 {
			t.Errorf("%+v", list)
		}
	})
}

// TestRemarks: a register that never appears is named with what the meter sends, and so is one that counts in
// whole kWh.
func TestRemarks(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		if err := b.device.Stop(); err != nil {
			t.Fatal(err)
		}
		b.device.SetDir(t.TempDir())
		b.change(source.Grid, func(d *dial) { delete(d.counts, energy.Export); d.sent = []string{"1-0:1.8.0", "1-0:16.7.0"} })
		b.change(source.PV, func(d *dial) { d.exp = 3 })
		b.start()
		for range 10 {
			time.Sleep(time.Minute)
		}
		list := b.provider.Remarks()
		if len(list) != 2 || list[0].Reason != energy.RegisterMissing || !strings.Contains(list[0].Text, "export") || !strings.Contains(list[0].Text, "1-0:16.7.0") ||
			list[1].Reason != energy.RegisterCoarse || !strings.Contains(list[1].Text, "1000 Wh") {
			t.Errorf("%+v", list)
		}
	})
}

// TestWrap: a 32-bit counter that goes over goes on.
func TestWrap(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.change(source.PV, func(d *dial) { d.bits = 32; d.counts[energy.PV] = 1<<32 - 2000 })
		b.epochs(1)
		for range 4 {
			b.flow(4, 300, 60)
			b.change(source.PV, func(d *dial) { d.counts[energy.PV] &= 1<<32 - 1 })
			b.Next()
		}
		s := b.current()
		b.noneRefused()
		if s.Wh[energy.PV] < 1<<32 {
			t.Errorf("the register shows %d", s.Wh[energy.PV])
		}
	})
}

// TestSwap: another meter is another site, declared with its first record, and its count does not matter.
func TestSwap(t *testing.T) {
	for name, count := range map[string]int64{"lower": 7, "higher": 900_000} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bench) {
				b.epochs(3)
				before := b.current()
				b.change(source.Grid, func(d *dial) {
					d.name.Serial = "G2"
					d.counts[energy.Export], d.counts[energy.Import] = count, count
				})
				b.epochs(4)
				after := b.current()
				b.noneRefused()
				if after.Site.Grid == before.Site.Grid || after.Site.PV != before.Site.PV {
					t.Errorf("site %+v, was %+v", after.Site, before.Site)
				}
				if d := after.V - before.V; d > 5*4*150 {
					t.Errorf("the virtual register went up by %d", d)
				}
			})
		})
	}
}

// TestOff: after three hours and after three days without the node, the next interval starts afresh.
func TestOff(t *testing.T) {
	for name, epochs := range map[string]int{"3 hours": 3, "3 days": 72} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bench) {
				b.epochs(3)
				before := b.current()
				if err := b.device.Stop(); err != nil {
					t.Fatal(err)
				}
				b.epochs(epochs)
				b.start()
				b.epochs(3)
				after := b.current()
				b.noneRefused()
				if after.Boot <= before.Boot {
					t.Errorf("boot %d after %d", after.Boot, before.Boot)
				}
				if after.Sums.Gap == before.Sums.Gap {
					t.Error("nothing went by unseen")
				}
			})
		})
	}
}

// TestClock: a clock that is off stamps nothing, until it is right.
func TestClock(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(3)
		before := b.current()
		b.ahead.Store(int64(-31 * time.Second))
		b.epochs(3)
		if s := b.line(); s.K > before.K+4 {
			t.Errorf("stamped interval %d with a wrong clock, had %d", s.K, before.K)
		}
		b.ahead.Store(int64(29 * time.Second))
		b.epochs(3)
		b.current()
		b.noneRefused()
	})
}

// TestClockAtStart: what a clock stamped before anything could be compared with it is dropped if it was off,
// and handed in if not.
func TestClockAtStart(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"right": 0, "wrong": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bench) {
				b.epochs(2)
				if err := b.device.Stop(); err != nil {
					t.Fatal(err)
				}
				before, k := b.line(), b.now()
				b.ahead.Store(int64(ahead))
				j, err := openJournal(b.device.Dir() + "/journal.db")
				if err != nil {
					t.Fatal(err)
				}
				e := &entry{Record: energy.Record{K: k, Present: 3, Wh: [5]uint64{1 << 30, 1 << 30}}, Site: before.Site, Unchecked: true}
				if _, err := j.put(e, nil, 0); err != nil {
					t.Fatal(err)
				}
				j.close()
				b.start()
				if err := b.device.Stop(); err != nil {
					t.Fatal(err)
				}
				if j, err = openJournal(b.device.Dir() + "/journal.db"); err != nil {
					t.Fatal(err)
				}
				defer j.close()
				list, err := j.after(k - 1)
				if err != nil || (len(list) > 0) != (ahead == 0) || len(list) > 0 && list[0].Unchecked {
					t.Errorf("%+v, %v", list, err)
				}
			})
		})
	}
}

// TestLost: envelopes that never arrive are handed in again, and count as far as they are not too old: nothing
// is counted twice.
func TestLost(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(3)
		before := b.current()
		b.Drop = func(types.Key, tally.ItemType, evidence.Kind) bool { return true }
		b.epochs(50)
		if s := b.line(); s.K > before.K+4 { // one envelope was on its way
			t.Fatalf("interval %d counts, had %d", s.K, before.K)
		}
		b.Drop = nil
		b.epochs(4)
		after := b.current()
		if got, want := after.Sums.Exported-before.Sums.Exported, (after.K-before.K)*150; got != want {
			t.Errorf("exported %d Wh, want %d", got, want)
		}
		b.noneRefused()
	})
}

// TestFull: a queue that is full is tried again.
func TestFull(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(2)
		b.device.Fill(func() error { return types.Refuse(types.OverQuota, "full") })
		b.epochs(5)
		b.device.Fill(nil)
		b.epochs(2)
		b.current()
		b.noneRefused()
	})
}

// TestTwice: a home whose disk is lost does not hand in what counts, and goes on.
func TestTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.epochs(3)
		if err := b.device.Stop(); err != nil {
			t.Fatal(err)
		}
		b.device.SetDir(t.TempDir())
		b.start()
		b.epochs(3)
		b.current()
		if list := b.refusals(); slices.ContainsFunc(list, func(r types.Reason) bool { return r != energy.IntervalOrder }) {
			t.Errorf("refused: %v", list)
		}
		if s := b.line(); s.Asks[0].Price != 120 || s.Asks[0].Seq < 2 {
			t.Errorf("ask %+v", s.Asks[0])
		}
	})
}
