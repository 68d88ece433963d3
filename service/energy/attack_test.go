package energy

import (
	"fmt"
	"testing"
)

// village is a place with six honest roofs and one that is not.
type village struct {
	*world
	honest []*device
	cheat  *device
	gift   uint64 // what the cheat had made honestly before
	cloud  uint64 // what the weather leaves of the sun today, in percent
}

// newVillage uses short spans, so that a test takes days and not months. Off are the checks that are not made.
func newVillage(t testing.TB, off rule, site Site) *village {
	limits := DefaultThresholds()
	limits.Commissioning, limits.Ratios = 4, 4
	w := newWorld(t)
	w.rules = verifier{limits: limits}
	w.rules.off = off
	v := &village{world: w, cloud: 100}
	for i := range 6 {
		v.honest = append(v.honest, w.device(fmt.Sprint("honest ", i), solar(fmt.Sprint("honest ", i))))
	}
	v.cheat = w.device("cheat", site)
	return v
}

// sun is what a roof gives in interval k of a day like today.
func (v *village) sun(d *device, k uint64) flows {
	f := d.sunny(k, 0)
	f.pv, f.exp = f.pv*v.cloud/100, f.exp*v.cloud/100
	return f
}

// days lets days pass; the cheat does as it likes.
func (v *village) days(n int, cheat func(k uint64) flows) {
	for range n * 24 {
		for _, d := range v.honest {
			d.hour(func(k uint64) flows { return v.sun(d, k) })
		}
		v.cheat.hour(cheat)
		v.step()
	}
}

// settle lets nine honest days pass: all are commissioned, and know their neighbours.
func (v *village) settle() {
	v.days(9, func(k uint64) flows { return v.sun(v.cheat, k) })
	for _, d := range append(v.honest, v.cheat) {
		if s := d.state(); d.site.Battery.IsZero() && d.site.PDC > 0 && (s.Commissioned != 4 || s.Base == 0 || s.PeerEnvelope == 0) && v.rules.on(rulePeers|ruleSky) {
			v.t.Fatalf("%s: %d days of commissioning, base %d, neighbours' envelope %d", d.name, s.Commissioned, s.Base, s.PeerEnvelope)
		}
	}
}

// gained is what a device could make money of.
func (d *device) gained() uint64 {
	s := d.state()
	return s.Sums.Community + s.Sums.Certificate + s.Sums.Sealed + s.Lots.Total()
}

// TestAttacks: each way to cheat is caught by the rule that is there for it, and pays where the rule is not.
func TestAttacks(t *testing.T) {
	place := PlaceOf(home, 0)
	night := func(k uint64) bool { return place.Most(k) == 0 }
	tests := []struct {
		name string
		rule rule
		most uint64 // percent of what was claimed that pays, with the rule
		less uint64 // … and that pays at least, without
		run  func(v *village) (claimed uint64)
	}{
		{"night injection", ruleSky, 0, 99, func(v *village) (n uint64) {
			v.days(3, func(k uint64) flows {
				if night(k) {
					n += 500
					return flows{pv: 500, exp: 500}
				}
				return flows{}
			})
			return n
		}},
		{"flat nameplate", ruleSky | rulePeers, 20, 95, func(v *village) (n uint64) {
			v.settle()
			before := v.cheat.gained()
			v.days(9, func(k uint64) flows { n += 1500; return flows{pv: 1500, exp: 1500} })
			v.gift = before
			return n
		}},
		{"half as much again", ruleEnvelope | rulePeers | ruleSky, 40, 95, func(v *village) (n uint64) {
			v.settle()
			before := v.cheat.gained()
			v.days(9, func(k uint64) flows {
				f := v.sun(v.cheat, k)
				f.pv, f.exp = f.pv*3/2, f.exp*3/2
				n += f.exp
				return f
			})
			v.gift = before
			return n
		}},
		{"a day, shifted by hours", ruleSky | rulePeers, 60, 95, func(v *village) (n uint64) {
			v.settle()
			before := v.cheat.gained()
			v.days(9, func(k uint64) flows { f := v.sun(v.cheat, k+16); n += f.exp; return f })
			v.gift = before
			return n
		}},
		{"a sunny day, replayed under clouds", rulePeers, 60, 95, func(v *village) (n uint64) {
			v.settle()
			before := v.cheat.gained()
			v.cloud = 30
			v.days(9, func(k uint64) flows { f := v.cheat.sunny(k, 0); n += f.exp; return f })
			v.gift = before
			return n
		}},
		{"a little more, day by day", ruleAhead, 60, 95, func(v *village) (n uint64) {
			v.settle()
			before := v.cheat.gained()
			v.cloud = 70
			v.days(14, func(k uint64) flows {
				f := v.sun(v.cheat, k)
				f.pv, f.exp = f.pv*6/5, f.exp*6/5
				n += f.exp
				return f
			})
			v.gift = before
			return n
		}},
		{"grid power through the battery", ruleStorage, 0, 95, func(v *village) (n uint64) {
			v.days(3, func(k uint64) flows {
				switch {
				case k%96 < 8:
					return flows{imp: 1000, in: 1000}
				case k%96 < 16:
					n += 900
					return flows{out: 900, exp: 900}
				}
				return flows{}
			})
			return n
		}},
		{"more out of the house than in", ruleConservation, 0, 95, func(v *village) (n uint64) {
			v.days(3, func(k uint64) flows {
				if night(k) {
					return flows{}
				}
				n += 200
				return flows{exp: 200, out: 0, pv: 194}
			})
			return n
		}},
		{"around in a circle", ruleNetting, 0, 95, func(v *village) (n uint64) {
			v.days(3, func(k uint64) flows {
				f := v.sun(v.cheat, k)
				f.imp = f.exp
				n += f.exp
				return f
			})
			return n
		}},
		{"three days at once", ruleGap, 0, 50, func(v *village) (n uint64) {
			v.time += 12 * 3600
			v.cheat.hand(v.cheat.record(v.done()))
			v.step()
			for range 3 {
				v.time += 3*86400 - 3600
				f := flows{pv: 4000, exp: 4000}
				n += f.exp
				v.cheat.hand(v.cheat.read(v.done(), f))
				v.step()
			}
			return n
		}},
		{"a meter that another device has", ruleMeters, 0, 95, func(v *village) (n uint64) {
			v.cheat.site.Grid, v.cheat.site.PV = v.honest[0].site.Grid, v.honest[0].site.PV
			v.cheat.submit(KindSite, v.cheat.site.Encode())
			v.days(3, func(k uint64) flows { f := v.sun(v.cheat, k); n += f.exp; return f })
			return n
		}},
		{"a register turned back", ruleDrop, 17, 95, func(v *village) (n uint64) {
			v.time += 10 * 3600
			for range 6 {
				v.cheat.hand(v.cheat.record(v.done()))
				n += 500
				v.cheat.hand(v.cheat.read(v.done()+1, flows{pv: 500, exp: 500}))
				v.cheat.wh[PV] -= 500
				v.cheat.wh[Export] -= 500
				v.cheat.submit(KindMeter, Pack([]Record{v.cheat.record(v.done() + 2)})[0].Encode())
				v.step()
			}
			return n // of which 500 Wh once
		}},
		{"flat, sold at once", ruleFreeze | rulePeers, 25, 30, func(v *village) (n uint64) {
			v.settle()
			before := v.cheat.gained()
			house := v.device("house", flat("house"))
			v.buys(house, 300, 1<<30, 1<<50)
			v.cheat.ask(Community, 100)
			for range 9 * 24 {
				for _, d := range v.honest {
					d.hour(func(k uint64) flows { return v.sun(d, k) })
				}
				house.hour(func(uint64) flows { return flows{imp: 3000} })
				v.cheat.hour(func(k uint64) flows { n += 1500; return flows{pv: 1500, exp: 1500} })
				v.step()
			}
			v.gift = before
			return n
		}},
		{"cheat from day one", ruleEnvelope, 50, 95, func(v *village) (n uint64) {
			v.settle()
			before := v.cheat.gained()
			v.cheat.site.PDC++ // a new site
			v.cheat.submit(KindSite, v.cheat.site.Encode())
			v.days(5, func(k uint64) flows { f := v.sun(v.cheat, k); f.pv, f.exp = f.pv*3/2, f.exp*3/2; n += f.exp; return f })
			v.gift = before
			return n
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, off := range []rule{0, test.rule} {
				site := solar("cheat")
				if test.rule == ruleStorage {
					site = battery("cheat")
				}
				v := newVillage(t, off, site)
				claimed := test.run(v)
				v.days(1, func(uint64) flows { return flows{} })
				got := (v.cheat.gained() - v.gift) * 100 / claimed
				if off == 0 && got > test.most {
					t.Errorf("%d %% of %d Wh pay, want at most %d %%: %+v", got, claimed, test.most, v.cheat.state().Sums)
				} else if off != 0 && got < test.less {
					t.Errorf("without the rule %d %% of %d Wh pay, want at least %d %%: the test shows nothing: %+v", got, claimed, test.less, v.cheat.state().Sums)
				}
				for _, d := range v.honest {
					s := d.state()
					if w := s.Sums.Withheld() - s.Sums.Gap; off == 0 && w*1000 > s.Sums.Exported {
						t.Errorf("%s lost %d of %d Wh: %+v", d.name, w, s.Sums.Exported, s.Sums)
					}
				}
			}
		})
	}
}

// TestFreeze: two alarm days in a week freeze a device for a week, then for twice as long.
func TestFreeze(t *testing.T) {
	v := newVillage(t, 0, solar("cheat"))
	v.settle()
	flat := func(k uint64) flows { return flows{pv: 1500, exp: 1500} }
	good := func(k uint64) flows { return v.sun(v.cheat, k) }
	v.days(1, flat)
	v.days(1, good)
	if s := v.cheat.state(); s.Frozen != 0 || s.Alarms == 0 || s.Sums.Lapsed == 0 {
		t.Fatalf("after one alarm: %+v", s)
	}
	v.days(1, flat)
	v.days(1, good)
	s := v.cheat.state()
	if s.FrozeFor != 7 || s.Frozen != s.FrozeOn+8 {
		t.Fatalf("after two alarms: frozen until %d for %d days, on %d", s.Frozen, s.FrozeFor, s.FrozeOn)
	}
	v.days(int(s.Frozen-s.Day), good)
	before := v.cheat.gained()
	v.days(2, good)
	if v.cheat.gained() == before {
		t.Error("still frozen")
	}
	v.days(3, flat)
	v.days(1, good)
	if s := v.cheat.state(); s.FrozeFor != 14 {
		t.Errorf("the second time for %d days", s.FrozeFor)
	}
	// While it is frozen nothing is sold, and nothing more is held against it: after each freeze, two days make
	// the next.
	for range 14 + 28 + 56 + 6 {
		v.days(1, flat)
	}
	if s := v.cheat.state(); s.FrozeFor != 56 {
		t.Errorf("at last for %d days", s.FrozeFor)
	}
}

// TestMeterTaken: of two devices with one meter the earlier has it; when it goes, the other does.
func TestMeterTaken(t *testing.T) {
	w := newWorld(t)
	w.time = noon
	a := w.device("a", solar("x"))
	a.hand(a.record(w.done()))
	w.step()
	b := w.device("b", solar("x"))
	b.hand(b.record(w.done()))
	w.step()
	if a.state().Taken || !b.state().Taken {
		t.Fatalf("a %v, b %v", a.state().Taken, b.state().Taken)
	}
	b.hand(b.record(w.done()))
	w.step()
	if b.verdicts[0] != MeterTaken {
		t.Fatal(b.verdicts)
	}
	w.devices = []*device{b} // a left the registry
	w.step()
	b.hand(b.record(w.done()))
	w.step()
	if b.state().Taken || b.verdicts[0] != "" {
		t.Errorf("taken %v, %v", b.state().Taken, b.verdicts)
	}
}
