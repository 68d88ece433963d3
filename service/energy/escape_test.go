package energy

import (
	"testing"
)

// TestRegisterBounds: a register beyond what a line can hold is refused; were it taken, the line could not be read again, and with it a
// freeze, the meters' claims and the watt-hours that were sold already would be forgotten.
func TestRegisterBounds(t *testing.T) {
	for r := range Registers {
		w := newWorld(t)
		w.time = noon
		d := w.device("d", battery("d"))
		d.hand(d.record(w.done()))
		w.step()
		frozen := d.state()
		frozen.Frozen = 1 << 20
		d.line = frozen.Encode()
		over := d.record(w.done())
		over.Wh[r] = MaxRegister + 1
		d.hand(over)
		w.step()
		if d.verdicts[0] == "" {
			t.Errorf("%v of 2⁴⁸ + 1 Wh was taken", r)
		}
		if s, err := DecodeState(d.line); err != nil || s.Frozen != frozen.Frozen {
			t.Errorf("%v of 2⁴⁸ + 1 Wh: the line is %v", r, err)
		}
	}
}

// TestNotTwiceByAnotherDevice: what a meter counted before a device named it is not the device's, however soon its readings follow: the
// device that had the meter before sold it.
func TestNotTwiceByAnotherDevice(t *testing.T) {
	day := func(w *world, d *device, then func(Record)) {
		for range 24 {
			d.hour(func(k uint64) flows { return d.sunny(k, 0) })
			for _, e := range d.evidence {
				if records, err := DecodeMeter(e.Body, nil); err == nil {
					for _, r := range records {
						then(r)
					}
				}
			}
			w.step()
		}
	}
	for name, release := range map[string]func(w *world, a *device){
		"its device left": func(w *world, a *device) { w.devices = w.devices[1:] },
		"its device has another": func(w *world, a *device) {
			a.site.Grid, a.site.PV = meterOf("other", "grid"), meterOf("other", "pv")
			a.submit(KindSite, a.site.Encode())
		},
	} {
		for _, waits := range []bool{false, true} { // for the meter, having named it before
			w := newWorld(t)
			a := w.device("a", solar("x"))
			w.step()
			var seen []Record
			day(w, a, func(r Record) { seen = append(seen, r) })
			day(w, a, func(r Record) { seen = append(seen, r) })
			gained := a.gained()
			if gained == 0 {
				t.Fatal("nothing was made")
			}
			var b *device
			if waits {
				b = w.device("b", solar("x"))
				w.step()
			}
			release(w, a)
			if !waits {
				b = w.device("b", solar("x"))
			}
			w.step()
			for len(seen) > 0 && seen[0].K+MaxLate < w.done() {
				seen = seen[1:]
			}
			b.hand(seen...)
			w.step()
			b.hand(b.record(w.done() + 1))
			for range 40 {
				w.step()
			}
			if again := b.gained(); again > 0 {
				t.Errorf("%s, waits %v: of %d Wh, %d can be certified again", name, waits, gained, again)
			}
		}
	}
}

// TestHiddenDischarge: what leaves the battery while its register is not read is not green a second time.
func TestHiddenDischarge(t *testing.T) {
	w := newWorld(t)
	w.time = noon
	d := w.device("d", battery("d"))
	d.hand(d.record(w.done()))
	w.step()
	k := w.done()
	d.hand(d.read(k, flows{pv: 1000, in: 1000}), d.read(k+1, flows{pv: 1000, in: 1000}))
	w.pass(1800)
	if s := d.state(); s.Stored == 0 {
		w.pass(1800)
	}
	before := d.state().Stored
	if before == 0 {
		t.Fatal("nothing is stored")
	}
	// The house lives on the battery, unread.
	k = d.state().K + 1
	hidden := d.read(k, flows{out: 1500})
	hidden.Present &^= 1 << Discharge
	hidden.Wh[Discharge] = 0
	d.hand(hidden)
	w.pass(1800)
	d.hand(d.read(k+1, flows{}))
	w.pass(1800)
	if s := d.state(); s.Stored > 0 {
		t.Errorf("%d of %d Wh are still there", s.Stored/10_000, before/10_000)
	}
}

// TestAlarmStays: an alarm of the running day goes away neither with a new site nor with a comparison that cannot be made.
func TestAlarmStays(t *testing.T) {
	for name, escape := range map[string]func(v *village){
		"nothing": func(*village) {},
		"another site": func(v *village) {
			v.cheat.site.Altitude++
			v.cheat.submit(KindSite, v.cheat.site.Encode())
		},
		"no neighbours": func(v *village) { v.devices = v.devices[6:] },
	} {
		v := newVillage(t, 0, solar("cheat"))
		v.settle()
		if v.cheat.state().Sums.PeerCap != 0 {
			t.Fatal("cut already")
		}
		v.cloud = 30
		for range 20 {
			for _, d := range v.honest {
				d.hour(func(k uint64) flows { return v.sun(d, k) })
			}
			v.cheat.hour(func(k uint64) flows { return v.cheat.sunny(k, 0) })
			v.step()
		}
		if !v.cheat.state().Over {
			t.Fatal("not over")
		}
		escape(v)
		v.cheat.hour(func(k uint64) flows { return flows{} })
		v.step()
		if s := v.cheat.state(); !s.alarm(&v.rules.limits) {
			t.Errorf("%s: no alarm any more", name)
		}
	}
}
