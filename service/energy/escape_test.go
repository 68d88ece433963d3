package energy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// TestRegisterBounds: a register beyond what a line can hold is refused; were it taken, the line could not be
// read again, and with it a freeze, the meters' claims and the watt-hours that were sold already would be
// forgotten.
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

// TestNotTwiceByAnotherDevice: what a meter counted before a device named it is not the device's, however soon
// its readings follow: the device that had the meter before sold it.
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

// TestAlarmStays: an alarm of the running day goes away neither with a new site nor with a comparison that
// cannot be made.
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

// TestLongestLine: a line whose every field is as long as it can be has room within MaxState without lots. One
// that had not would have Cross replace it by too long a line, and the tally drop all that Cross found for
// everybody.
func TestLongestLine(t *testing.T) {
	const u63 = 1<<63 - 1
	s := &State{
		Site: Site{Technology: Solar, PDC: MaxPower, PAC: MaxPower, Altitude: MaxAltitude, Grid: meterOf("", "a"), PV: meterOf("", "b"),
			Battery: meterOf("", "c"), Storage: MaxStorage, Efficiency: MaxEfficiency},
		Since: [meterRoles]types.Epoch{u63, u63, u63}, Named: u63, Taken: true,
		Asks: [2]Ask{{1<<64 - 1, 1<<16 - 1, 1<<64 - 1}, {1<<64 - 1, 1<<16 - 1, 1<<64 - 1}},
		Done: u63, K: 1 << 55, Boot: 1<<32 - 1, Present: 1<<Registers - 1, V: maxVirtual,
		Stored: MaxStorage * 10_000, Unshown: Whole, Unlit: Whole, Peak: 10_000, PeerEnvelope: 10_000, Commissioned: 255, Ratios: make([]uint16, maxRatios), Base: 1<<16 - 1,
		FirstBase: 1<<16 - 1, Ahead: 1<<16 - 1, AheadNow: 1<<16 - 1,
		Day: 1<<32 - 1, Records: dayRecords, PV: maxVirtual, Excess: maxVirtual, Cut: maxVirtual, Over: true, PeerDay: 1<<16 - 1, Bright: true,
		Sold: maxVirtual, Battery: maxVirtual, Alarms: 1<<window - 1, Frozen: 1<<32 - 1, FrozeOn: 1<<32 - 1, FrozeFor: 255,
	}
	for i := range s.Wh {
		s.Wh[i] = MaxRegister
	}
	for i := range MaxPending {
		p := Interval{K: 1<<55 - MaxPending + uint64(i) + 1, Span: MaxSpan, Late: true, Known: 1<<Registers - 1, From: maxVirtual - MaxRegister}
		for r := range p.Wh {
			p.Wh[r] = MaxRegister
		}
		s.Pending = append(s.Pending, p)
	}
	for _, sum := range s.Sums.all() {
		*sum = u63
	}
	line := s.Encode()
	if len(line) > MaxState {
		t.Fatalf("%d bytes, at most %d", len(line), MaxState)
	}
	if _, err := DecodeState(line); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(line))
}

// TestSheetsComeFirst: what is put out has a bound, and orders that buy nothing cost nothing: they have what
// room is left, so that no number of them keeps anybody's day from being sealed.
func TestSheetsComeFirst(t *testing.T) {
	w := newWorld(t)
	w.time = noon - 3600
	d := w.device("d", solar("d"))
	d.ask(Certificate, 1)
	w.company("poor", home.Parent(3), 10, 10, 0)
	w.company("rich", home.Parent(3), 10, 10, 1<<30)
	d.hand(d.record(w.done() - 1))
	var got []uint8
	for len(w.sheets) == 0 {
		d.hour(func(k uint64) flows { return d.sunny(k, 0) })
		got = got[:0]
		for _, o := range w.step().Outputs {
			tag := o.Data[1]
			if tag == tagStatement {
				if s, err := DecodeStatement(o.Data); err != nil || s.Reason != "" {
					tag = 100
				}
			}
			got = append(got, tag)
		}
		if w.time > noon+3*86400 {
			t.Fatal("no day was sealed")
		}
	}
	rank := map[uint8]int{2: 0, tagStatement: 1, tagMarket: 2, 100: 3}
	if !slices.IsSortedFunc(got, func(a, b uint8) int { return rank[a] - rank[b] }) || !slices.Contains(got, 100) {
		t.Errorf("leaves in the order %v", got)
	}
}

// BenchmarkZones has as many orders as devices, each for another zone: two looks at each are enough.
func BenchmarkZones(b *testing.B) {
	const n = 4096
	w := newWorld(b)
	w.time = noon
	for i := range n {
		d := w.device(fmt.Sprint(i), solar(fmt.Sprint(i)))
		d.ask(Certificate, 1)
		d.hand(d.record(w.done()-1), d.record(w.done()))
	}
	w.step()
	zones := map[types.Cell]bool{}
	for i := int64(0); len(zones) < n; i++ {
		h := types.Sum(binary.BigEndian.AppendUint64(nil, uint64(i)))
		v := types.Cell(0x83<<52 | uint64(binary.BigEndian.Uint32(h[:])%(1<<16))<<36 | (1<<36 - 1))
		if v.Valid() && v.Resolution() == 3 && !zones[v] {
			zones[v] = true
			w.company(fmt.Sprint("c", i), v, 10, 10, 1<<30)
		}
	}
	in := &tally.CrossInput{Chain: testChain, Epoch: w.epoch, Time: w.time, Seed: w.seed(), Params: w.params, Registry: w, Cells: w.cells, Orders: w.orders}
	for _, d := range w.devices {
		d.hour(func(k uint64) flows { return d.sunny(k, 0) })
		in.Summaries = append(in.Summaries, tally.Summary{Device: &d.reg, Summary: w.rules.verify(d.input()).Summary})
	}
	for b.Loop() {
		w.rules.cross(in)
	}
}

// TestForeverNew: who declares its site anew all the time is never commissioned and has no base of its own. It
// is held against its neighbours all the same.
func TestForeverNew(t *testing.T) {
	v := newVillage(t, 0, solar("cheat"))
	v.settle()
	before := v.cheat.gained()
	v.cloud = 30
	claimed := uint64(0)
	for i := range 4 {
		v.cheat.site.Altitude = uint8(5 + i%2)
		v.cheat.submit(KindSite, v.cheat.site.Encode())
		v.days(3, func(k uint64) flows { f := v.cheat.sunny(k, 0); claimed += f.exp; return f })
	}
	v.days(1, func(uint64) flows { return flows{} })
	s := v.cheat.state()
	if s.Base != 0 {
		t.Fatal("it has a base")
	}
	if got := (v.cheat.gained() - before) * 100 / claimed; got > 60 {
		t.Errorf("%d %% of %d Wh pay: %+v", got, claimed, s.Sums)
	}
}

// TestLowKeyWinsNothing: who reads the names of meters off the bus, and names them in the same epoch, has no
// advantage of a low key.
func TestLowKeyWinsNothing(t *testing.T) {
	w := newWorld(t)
	lowest, thief := types.Key{8}, w.device("thief", solar("thief"))
	for i := 0; bytes.Compare(thief.reg.Key[:], lowest[:]) > 0; i++ {
		thief.key = key(fmt.Sprint("thief ", i))
		thief.reg.Key = thief.key.Public()
	}
	thief.evidence = nil
	won := 0
	for i := range 40 {
		w.devices = []*device{thief}
		thief.line = nil
		honest := w.device(fmt.Sprint("honest ", i), solar(fmt.Sprint("honest ", i)))
		thief.submit(KindSite, honest.site.Encode())
		w.step()
		if !thief.state().Taken {
			won++
		}
	}
	if won == 0 || won > 32 {
		t.Errorf("a low key won %d of 40 meters", won)
	}
}

// TestBeneficiarySeen: an order names nobody that a terminal would not show as it is, as a certificate does not.
func TestBeneficiarySeen(t *testing.T) {
	for name, good := range map[string]bool{"Bakery": true, "Bäckerei 7": true, "\x1b[2J": false, "a\u202eb": false, "a\u200bb": false} {
		if _, err := DecodeSelector((&Selector{Beneficiary: name}).Encode()); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
