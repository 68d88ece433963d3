package energy

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

// flatOut is what a cheat reports that wants to be caught.
func flatOut(uint64) flows { return flows{pv: 1500, exp: 1500} }

// good is what the cheat's roof really gives.
func (v *village) good(k uint64) flows { return v.sun(v.cheat, k) }

// anew has the cheat's meters read by a device of another key and owner from now on.
func (v *village) anew(name string) *device {
	v.cheat = v.device(name, solar("cheat"))
	v.cheat.wh = [Registers]uint64{500_000, 500_000, 500_000}
	return v.cheat
}

// leave takes a device out of the registry.
func (v *village) leave(d *device) {
	v.devices = slices.DeleteFunc(v.devices, func(x *device) bool { return x == d })
}

// rename has a device name other meters.
func (v *village) rename(d *device, name string) {
	d.site.Grid, d.site.PV = meterOf(name, "grid"), meterOf(name, "pv")
	d.submit(KindSite, d.site.Encode())
}

// hours lets hours of the day pass.
func (v *village) hours(n int, cheat func(k uint64) flows) {
	for range n {
		for _, d := range v.honest {
			d.hour(func(k uint64) flows { return v.sun(d, k) })
		}
		v.cheat.hour(cheat)
		v.step()
	}
}

// marks are all that meters have against them.
func (w *world) marks() (list []mark) {
	w.t.Helper()
	for _, c := range w.cells {
		line, err := decodeCell(c.State)
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, line.marks...)
	}
	return list
}

// TestFreezeFollowsMeter: a meter's freeze is not left behind, however its device goes.
func TestFreezeFollowsMeter(t *testing.T) {
	caught := func(v *village) *device { // frozen for 7 days
		v.days(2, flatOut)
		v.days(1, v.good)
		if s := v.cheat.state(); s.FrozeFor != 7 {
			v.t.Fatalf("not frozen: %+v", s)
		}
		return v.cheat
	}
	second := func(v *village) *device { // in the afternoon of the second day with an alarm
		v.days(1, flatOut)
		v.hours(17, flatOut)
		if s := v.cheat.state(); s.FrozeFor != 0 || !s.alarm(&v.rules.limits) {
			v.t.Fatalf("frozen, or no alarm: %+v", s)
		}
		return v.cheat
	}
	for name, escape := range map[string]func(v *village){
		"registered anew": func(v *village) {
			v.leave(caught(v))
			v.anew("anew")
		},
		"some days later": func(v *village) {
			v.leave(caught(v))
			v.cheat = v.device("idle", flat("idle"))
			v.days(2, func(uint64) flows { return flows{} })
			v.anew("anew")
		},
		"while the old one has other meters": func(v *village) {
			v.rename(caught(v), "other")
			v.anew("anew")
		},
		"it had waited for the meter": func(v *village) {
			v.days(1, flatOut)
			old := v.cheat
			v.anew("anew")
			v.step()
			waits := v.cheat
			v.cheat = old
			v.hours(23, flatOut)
			v.days(1, v.good)
			if old.state().FrozeFor != 7 || !waits.state().Taken {
				v.t.Fatal("not frozen, or nobody waits")
			}
			v.leave(old)
			v.cheat = waits
		},
		"it had waited for the meter, and the second alarm's day had not closed": func(v *village) {
			old := v.cheat
			v.anew("anew")
			v.step()
			waits := v.cheat
			v.cheat = old
			v.leave(second(v))
			v.cheat = waits
		},
		"one alarm with each device": func(v *village) {
			v.days(1, flatOut)
			v.leave(v.cheat)
			v.anew("anew")
			v.hours(22, flatOut)
			v.hours(26, v.good)
		},
		"only the meter at the grid connection is the same": func(v *village) {
			v.leave(caught(v))
			site := solar("cheat")
			site.PV = meterOf("another", "pv")
			v.cheat = v.device("anew", site)
		},
		"before the second alarm's day closed":               func(v *village) { v.leave(second(v)); v.anew("anew") },
		"before it closed, and the old one has other meters": func(v *village) { v.rename(second(v), "other"); v.anew("anew") },
		"by way of a device that named it in between, and had no alarm itself": func(v *village) {
			v.leave(second(v))
			v.anew("between")
			v.hours(2, func(uint64) flows { return flows{} })
			v.leave(v.cheat)
			v.anew("anew")
		},
		"after each alarm": func(v *village) {
			v.days(1, flatOut)
			v.leave(v.cheat)
			v.anew("one")
			v.hours(1, v.good)
			v.days(1, flatOut)
			v.leave(v.cheat)
			v.anew("two")
		},
	} {
		for _, off := range []rule{0, ruleMarks} {
			v := newVillage(t, off, solar("cheat"))
			v.days(1, v.good)
			escape(v)
			v.days(3, v.good)
			s := v.cheat.state()
			if frozen := s.Sums.Frozen > 0 && v.cheat.gained() == 0; frozen != (off == 0) {
				t.Errorf("%s: rules off %b: %d Wh can be sold, %d are frozen", name, off, v.cheat.gained(), s.Sums.Frozen)
			}
			if off != 0 {
				continue
			}
			v.days(8, v.good)
			if v.cheat.gained() == 0 {
				t.Errorf("%s: it is frozen for ever: %+v", name, v.cheat.state())
			}
			v.days(2, flatOut)
			v.days(1, v.good)
			if s := v.cheat.state(); s.FrozeFor != 14 {
				t.Errorf("%s: the next freeze is for %d days", name, s.FrozeFor)
			}
		}
	}
}

// TestFreezeEnds: what a meter has against it is forgotten 90 days after its freeze ended, and an alarm that
// froze nobody after a week.
func TestFreezeEnds(t *testing.T) {
	limits := DefaultThresholds()
	k := mark{day: 100, alarms: 0b10001}
	if end := k.end(&limits); end != 101+7+90 {
		t.Errorf("two alarms are remembered until %d", end)
	}
	k = mark{day: 100, alarms: 1}
	if end := k.end(&limits); end != 107 {
		t.Errorf("an alarm is remembered until %d", end)
	}
	k = mark{day: 150, alarms: 1, freeze: freeze{Until: 157, On: 100, For: 56}}
	if end := k.end(&limits); end != 157+90 {
		t.Errorf("a freeze is remembered until %d", end)
	}
	k = mark{day: 150, alarms: 3, freeze: freeze{Until: 108, On: 100, For: 7}}
	if k.settle(&limits); k.freeze != (freeze{Until: 165, On: 150, For: 14}) || k.alarms != 0 {
		t.Errorf("the second freeze: %+v", k)
	}
}

// TestFreezeOfOthers: who is frozen freezes nobody by naming their meters: neither those that they have, nor
// those that they will have.
func TestFreezeOfOthers(t *testing.T) {
	for name, attack := range map[string]func(v *village){
		"a meter that has a device": func(v *village) {
			v.rename(v.cheat, "honest 0")
			v.days(3, flatOut)
		},
		"a meter that will have one, when frozen": func(v *village) {
			v.days(2, flatOut)
			v.days(1, v.good)
			v.rename(v.cheat, "victim")
			v.days(1, v.good)
		},
		"a meter whose device is silent": func(v *village) {
			v.honest = v.honest[1:]
			v.rename(v.cheat, "honest 0")
			v.hours(3, flatOut)
			if !v.cheat.state().alarm(&v.rules.limits) {
				v.t.Fatal("no alarm")
			}
		},
		"a meter that had an alarm itself, on the day of another": func(v *village) {
			victim := v.device("before", solar("victim"))
			for range 20 {
				victim.hour(flatOut)
				v.hours(1, v.good)
			}
			v.leave(victim)
			v.hours(8, v.good)
			v.days(1, flatOut)
			v.hours(17, flatOut)
			v.rename(v.cheat, "victim")
			v.hours(3, func(uint64) flows { return flows{} })
			v.days(1, v.good)
			if v.cheat.state().FrozeFor != 7 {
				v.t.Fatal("not frozen")
			}
		},
		"… on the day of the alarm": func(v *village) {
			v.days(1, flatOut)
			v.hours(17, flatOut)
			v.rename(v.cheat, "victim")
			v.hours(3, func(uint64) flows { return flows{} })
			v.days(1, v.good)
			if v.cheat.state().FrozeFor != 7 {
				v.t.Fatal("not frozen")
			}
		},
	} {
		v := newVillage(t, 0, solar("cheat"))
		v.days(1, v.good)
		attack(v)
		for _, k := range v.marks() {
			if of := meterOf("honest 0", "grid"); k.meter == of {
				t.Errorf("%s: an alarm is held against it: %+v", name, k)
			}
		}
		v.leave(v.cheat)
		v.cheat = v.device("victim", solar("victim"))
		v.hours(1, v.good)
		v.days(2, v.good)
		for _, d := range []*device{v.cheat, v.devices[0]} {
			if s := d.state(); s.Frozen != 0 || s.Sums.Frozen != 0 || s.Alarms != 0 {
				t.Errorf("%s: %s: %+v", name, d.name, s)
			}
		}
	}
}

// TestNoonIsNoAlarm: a day that was above its neighbours' at noon and is not at night is held against nobody,
// and no meter: here the clouds are over the others in the morning, and over the cheat's roof in the afternoon.
func TestNoonIsNoAlarm(t *testing.T) {
	v := newVillage(t, 0, solar("cheat"))
	v.settle()
	noons := 0
	for hour := range 3 * 24 {
		mine := uint64(100)
		if v.cloud = 40; hour%24 >= 12 {
			v.cloud, mine = 100, 30
		}
		v.hours(1, func(k uint64) flows {
			f := v.cheat.sunny(k, 0)
			return flows{pv: f.pv * mine / 100, exp: f.exp * mine / 100}
		})
		if len(v.marks()) > 0 {
			noons++
		}
	}
	if noons == 0 {
		t.Error("nothing was seen at noon: the test shows nothing")
	}
	if s := v.cheat.state(); s.Alarms != 0 {
		t.Fatalf("%+v", s)
	}
	v.leave(v.cheat)
	v.anew("anew")
	v.days(2, v.good)
	if s := v.cheat.state(); s.Frozen != 0 {
		t.Errorf("%+v", s)
	}
}

// TestAnewAfterFreeze: who was frozen gains nothing by beginning anew, with another device or another site:
// without a base of its own it is held to its neighbours' yield, and not to what a new roof may have above it.
func TestAnewAfterFreeze(t *testing.T) {
	for name, begin := range map[string]func(v *village){
		"another device": func(v *village) { v.leave(v.cheat); v.anew("anew") },
		"another site": func(v *village) {
			v.cheat.site.Altitude++
			v.cheat.submit(KindSite, v.cheat.site.Encode())
		},
	} {
		for _, off := range []rule{0, ruleAnew} {
			v := newVillage(t, off, solar("cheat"))
			v.settle()
			v.days(2, flatOut)
			v.days(8, v.good)
			begin(v)
			v.cloud = 70
			v.days(1, v.good)
			v.days(1, func(k uint64) flows { f := v.good(k); return flows{pv: f.pv * 142 / 100, exp: f.exp * 142 / 100} })
			v.days(1, v.good)
			if s := v.cheat.state(); s.Base != 0 || (s.Alarms != 0) != (off == 0) || s.FrozeFor != 7 {
				t.Errorf("%s: rules off %b: alarms %b, base %d: %+v", name, off, s.Alarms, s.Base, s)
			}
		}
	}
}

// TestStayer: for a device that stays where it is, marks change nothing, whatever it reports: its meters have
// against them what it has.
func TestStayer(t *testing.T) {
	freezes := 0
	for seed := range uint64(4) {
		var lines [2][]byte
		for i, off := range []rule{0, ruleMarks} {
			dice := rand.New(rand.NewPCG(seed, 2))
			v := newVillage(t, off, solar("cheat"))
			v.settle()
			for range 16 {
				v.cloud = 20 + dice.Uint64N(81)
				share := []uint64{100, 100, 130, 200}[dice.IntN(4)]
				silent, redeclared := dice.IntN(24), dice.IntN(48)
				for hour := range 24 {
					if hour == redeclared {
						v.cheat.site.Altitude ^= 1
						v.cheat.submit(KindSite, v.cheat.site.Encode())
					}
					if hour%6 == 0 {
						v.cloud = 20 + dice.Uint64N(81)
					}
					if hour == silent {
						v.pass(3600)
						continue
					}
					v.hours(1, func(k uint64) flows {
						f := v.good(k)
						return flows{pv: f.pv * share / 100, exp: f.exp * share / 100}
					})
				}
			}
			lines[i] = v.cheat.line
			freezes += int(v.cheat.state().FrozeFor)
		}
		if !bytes.Equal(lines[0], lines[1]) {
			t.Errorf("seed %d: with marks %x, without %x", seed, lines[0], lines[1])
		}
	}
	if freezes == 0 {
		t.Error("nobody was frozen: the test shows nothing")
	}
}

// TestCrowdedCell: a cell's line has room for so many marks; those that end first go.
func TestCrowdedCell(t *testing.T) {
	limits := DefaultThresholds()
	rapid.Check(t, func(r *rapid.T) {
		l := newLedger(&limits, map[types.Cell]*cellState{})
		for i := range maxMarks + 50 {
			meter := types.Sum([]byte{byte(i), byte(i >> 8)})
			l.marks[meter] = &mark{meter: meter, cell: home, day: 100, alarms: 1, freeze: freeze{Until: 200 + uint32(i*7919%5000), On: 100, For: 7}}
		}
		cells := map[types.Cell]*cellState{}
		l.write(cells, 150)
		raw := cells[home].encode()
		c, err := decodeCell(raw)
		if err != nil || len(c.marks) != maxMarks || len(raw) > 64<<10 {
			t.Fatalf("%v, %d marks in %d bytes", err, len(c.marks), len(raw))
		}
		if !slices.IsSortedFunc(c.marks, func(a, b mark) int { return bytes.Compare(a.meter[:], b.meter[:]) }) {
			t.Fatal("not in the order of meters")
		}
		least := slices.MinFunc(c.marks, func(a, b mark) int { return int(a.Until) - int(b.Until) })
		gone := 0
		for _, k := range l.marks {
			if k.Until < least.Until {
				gone++
			}
		}
		if gone > 50 {
			t.Fatalf("%d were due to go before those that went", gone)
		}
		again := newLedger(&limits, map[types.Cell]*cellState{home: c})
		if len(again.marks) != maxMarks {
			t.Fatalf("%d are read back", len(again.marks))
		}
	})
}
