package energy

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// noon is an epoch's start by daylight.
const noon = start + 12*3600

// TestStructure: what is wrong with the form of what a device hands in has a name, and then all of the envelope
// counts for nothing.
func TestStructure(t *testing.T) {
	tests := []struct {
		name string
		hand func(d *device)
		want types.Reason
	}{
		{"good", func(d *device) { d.hour(func(k uint64) flows { return d.sunny(k, 100) }) }, ""},
		{"duplicate", func(d *device) { d.hand(d.record(d.w.done() - 1)) }, IntervalOrder},
		{"earlier", func(d *device) { d.hand(d.record(d.w.done() - 3)) }, IntervalOrder},
		{"ahead", func(d *device) { d.hand(d.record(d.w.done() + MaxPending)) }, IntervalFuture},
		{"as far ahead as may be", func(d *device) { d.hand(d.record(d.w.done() + MaxPending - 1)) }, ""},
		{"fall", func(d *device) { d.wh[PV]--; d.hand(d.record(d.w.done())) }, RegisterDrop},
		{"fall within the run", func(d *device) {
			d.hand(d.read(d.w.done(), flows{pv: 10, exp: 10}))
			d.wh[Export] -= 5
			d.hand(d.record(d.w.done() + 1))
		}, RegisterDrop},
		{"no register", func(d *device) { d.submit(KindMeter, (&Meter{K: d.w.done()}).Encode()) }, types.BadEncoding},
		{"garbage", func(d *device) { d.submit(KindMeter, []byte{1, 2, 3}) }, types.BadEncoding},
		{"unknown kind", func(d *device) { d.submit(9, nil) }, types.UnknownKind},
		{"reset from elsewhere", func(d *device) {
			d.submit(KindReset, (&Reset{Register: PV, Last: d.wh[PV] - 1, Cause: Zeroed}).Encode())
		}, ResetLast},
		{"reset", func(d *device) { d.submit(KindReset, (&Reset{Register: PV, Last: d.wh[PV], Cause: Zeroed}).Encode()) }, ""},
		{"site out of bounds", func(d *device) { d.site.Grid = types.Hash{}; d.submit(KindSite, d.site.Encode()) }, SiteTerms},
		{"site again", func(d *device) { d.submit(KindSite, d.site.Encode()) }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.time = noon
			d := w.device("d", solar("d"))
			d.hour(func(k uint64) flows { return d.sunny(k, 100) })
			w.step()
			before := d.state()
			test.hand(d)
			w.step()
			if got := d.verdicts[len(d.verdicts)-1]; got != test.want {
				t.Fatalf("refused with %q, want %q", got, test.want)
			}
			if test.want == "" {
				return
			}
			after := d.state()
			if len(d.verdicts) == 1 && (after.K != before.K || after.V != before.V || after.Wh != before.Wh || after.Site != before.Site) {
				t.Errorf("the line moved from %+v to %+v", before, after)
			}
		})
	}
}

// TestEnvelopeOfMany: one malformed record among many refuses all of them.
func TestEnvelopeOfMany(t *testing.T) {
	w := newWorld(t)
	w.time = noon
	d := w.device("d", solar("d"))
	d.hand(d.record(w.done()))
	w.step()
	m := Pack([]Record{d.read(w.done(), flows{exp: 1, pv: 1}), d.read(w.done()+1, flows{exp: 1, pv: 1}), d.read(w.done()+MaxPending, flows{})})
	if len(m) != 1 {
		t.Fatal(len(m))
	}
	d.submit(KindMeter, m[0].Encode())
	before := d.state()
	w.step()
	if after := d.state(); d.verdicts[0] != IntervalFuture || after.K != before.K || after.V != before.V || len(after.Pending) != len(before.Pending) {
		t.Errorf("%v: %+v, then %+v", d.verdicts, before, after)
	}
}

// TestUnknownSite: nothing is read before a site says what it is, and a device without a place has none.
func TestUnknownSite(t *testing.T) {
	w := newWorld(t)
	d := w.device("d", solar("d"))
	d.evidence = nil
	d.hand(d.record(w.done()))
	d.submit(KindReset, (&Reset{Register: PV, Cause: Zeroed}).Encode())
	w.step()
	if want := []types.Reason{SiteUnknown, SiteUnknown}; !slices.Equal(d.verdicts, want) {
		t.Errorf("%v, want %v", d.verdicts, want)
	}
	d.reg.Cell = home.Parent(2)
	d.submit(KindSite, d.site.Encode())
	w.step()
	if want := []types.Reason{SiteTerms}; !slices.Equal(d.verdicts, want) {
		t.Errorf("%v, want %v", d.verdicts, want)
	}
}

// battery is a site with 10 kWh of storage at 90 %.
func battery(name string) Site {
	s := solar(name)
	s.Battery, s.Storage, s.Efficiency = meterOf(name, "battery"), 10_000, 9_000
	return s
}

// TestPhysics: one interval each, and where its exported Wh go.
func TestPhysics(t *testing.T) {
	tests := []struct {
		name string
		site Site
		hour uint64 // of the solar day
		f    flows
		want Sums
	}{
		{"export of a sunny roof", solar("d"), 12, flows{pv: 800, exp: 500}, Sums{Produced: 800, Sealed: 500}},
		{"night", solar("d"), 1, flows{pv: 500, exp: 500}, Sums{AboveSky: 500}},
		{"twice the roof", solar("d"), 12, flows{pv: 9000, exp: 9000}, Sums{Produced: 1500, Lapsed: 1500, AboveSky: 7500}}, // the inverter's 6 kW
		{"as much in as out", solar("d"), 12, flows{pv: 800, exp: 500, imp: 200}, Sums{Produced: 800, Sealed: 300, Netted: 200}},
		{"more in than out", solar("d"), 12, flows{pv: 800, exp: 500, imp: 600}, Sums{Produced: 800, Netted: 500}},
		{"more out than was made", solar("d"), 12, flows{pv: 400, exp: 500, imp: 200}, Sums{Conservation: 500}},
		{"out of nothing", solar("d"), 12, flows{pv: 100, exp: 106}, Sums{Conservation: 106}},
		{"five watt-hours are a meter's error", solar("d"), 12, flows{pv: 100, exp: 105}, Sums{Produced: 100, Sealed: 100, Origin: 5}},
		{"a battery charged from the grid", battery("d"), 20, flows{exp: 300, out: 300}, Sums{Origin: 300}},
		{"one meter", Site{Technology: Solar, PDC: 8000, PAC: 6000, Grid: meterOf("d", "grid")}, 12, flows{exp: 500}, Sums{Produced: 500, Uncertified: 500}},
		{"one meter at night", Site{Technology: Solar, PDC: 8000, PAC: 6000, Grid: meterOf("d", "grid")}, 1, flows{exp: 500}, Sums{AboveSky: 500}},
		{"no panels", Site{Grid: meterOf("d", "grid")}, 12, flows{exp: 7, imp: 300}, Sums{AboveSky: 7}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.time = start + test.hour*3600
			d := w.device("d", test.site)
			d.hand(d.record(w.done()))
			w.step()
			d.hand(d.read(w.done()-3, test.f)) // the next interval
			w.step()
			for range 26 { // the day closes
				d.hand(d.record(w.done()))
				w.step()
			}
			got := d.state().Sums
			want := test.want
			want.Exported = test.f.exp
			// An hour between readings is what may be.
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestStorage: what went in green comes out green, less what the battery loses; what else comes out does not.
func TestStorage(t *testing.T) {
	w := newWorld(t)
	w.time = noon
	d := w.device("d", battery("d"))
	k := w.done()
	d.hand(d.record(k), d.read(k+1, flows{pv: 1000, in: 800, exp: 200}), d.read(k+2, flows{pv: 500, in: 900, imp: 400}))
	w.step()
	d.hand(d.read(k+4, flows{out: 1000, exp: 1000}))
	w.step()
	// 800 + 500 Wh of the sun at 90 % are 1,170; 1,000 of them left. Two intervals: certificates only.
	w.step()
	if s := d.state(); s.Stored != 170*10_000 || s.Sums.Origin != 0 || s.Lots.Total() != 1200 {
		t.Errorf("%d in store, lots of %d Wh, %+v", s.Stored, s.Lots.Total(), s.Sums)
	}
	d.hand(d.read(k+6, flows{out: 300, exp: 300}))
	w.step()
	w.step()
	if s := d.state(); s.Stored != 0 || s.Sums.Origin != 130 {
		t.Errorf("%d in store, %+v", s.Stored, s.Sums)
	}
}

// TestGaps: readings up to an hour apart still count, but are certificates only; longer ones do not.
func TestGaps(t *testing.T) {
	for _, test := range []struct {
		apart  uint64
		lots   uint64
		gap    uint64
		market bool
	}{{1, 400, 0, true}, {2, 400, 0, false}, {4, 400, 0, false}, {5, 0, 400, false}, {12, 0, 400, false}, {3 * 96, 0, 400, false}} {
		w := newWorld(t)
		w.time = noon
		d := w.device("d", solar("d"))
		d.ask(Community, 100)
		b := w.device("b", Site{Grid: meterOf("b", "grid")})
		k := w.done()
		d.hand(d.record(k))
		b.hand(b.record(k))
		w.step()
		w.time = (k+test.apart)*900 - 1800
		w.buys(b, 200, 100, 1<<40)
		d.hand(d.read(k+test.apart, flows{pv: 400, exp: 400}))
		if test.apart > 1 {
			b.hand(b.record(k + test.apart - 1))
		}
		b.hand(b.read(k+test.apart, flows{imp: 100}))
		w.step()
		w.step()
		// It goes on at once.
		d.hand(d.read(w.done()-1, flows{}))
		w.step()
		s := d.state()
		lots := s.Lots.Total() + s.Sums.Sealed + s.Sums.Community
		if lots != test.lots || s.Sums.Gap != test.gap || (s.Sums.Community > 0) != test.market {
			t.Errorf("%d intervals apart: lots of %d Wh, %+v", test.apart, lots, s.Sums)
		}
	}
}

// TestLate: what comes when its interval was cleared already can be issued, and is not sold; after a week it is
// nothing.
func TestLate(t *testing.T) {
	w := newWorld(t)
	w.time = noon
	d, b := w.device("d", solar("d")), w.device("b", Site{Grid: meterOf("b", "grid")})
	d.ask(Community, 100)
	d.ask(Certificate, 10)
	w.buys(b, 200, 1000, 1<<40)
	w.company("c", 0, 500, 1000, 1<<40)
	k := w.done()
	d.hand(d.record(k))
	b.hand(b.record(k))
	w.step()
	b.hand(b.read(k+1, flows{imp: 1000}))
	w.step()
	w.step() // k+1 is cleared without d
	d.hand(d.read(k+1, flows{pv: 400, exp: 400}))
	w.step()
	if s := d.state(); s.Sums.Community+s.Sums.Certificate != 0 || s.Lots.Total() != 400 {
		t.Errorf("lots of %d Wh, %+v", s.Lots.Total(), s.Sums)
	}
	w.time += 8 * 86400
	d.hand(d.read(k+2, flows{pv: 400, exp: 400}))
	w.step()
	if d.verdicts[0] != IntervalLate {
		t.Errorf("%q", d.verdicts[0])
	}
}

// TestSkips: epochs that were skipped change nothing of what an interval comes to: it is cleared in the next
// tally there is.
func TestSkips(t *testing.T) {
	w := newWorld(t)
	w.time = noon
	d, b := w.device("d", solar("d")), w.device("b", Site{Grid: meterOf("b", "grid")})
	d.ask(Community, 100)
	w.buys(b, 200, 1000, 1<<40)
	for _, x := range []*device{d, b} {
		x.hand(x.record(w.done() + 3))
	}
	w.pass(3 * 3600) // two epochs have no header
	for _, x := range []*device{d, b} {
		for k := w.done() - 8; k < w.done(); k++ {
			f := flows{imp: 100}
			if x == d {
				f = flows{pv: 400, exp: 400}
			}
			x.hand(x.read(k, f))
		}
	}
	w.step()
	if s := d.state(); s.Sums.Community != 800 || s.Lots.Total() != 8*300 {
		t.Errorf("sold %d Wh, lots of %d", s.Sums.Community, s.Lots.Total())
	}
}

// TestReset: a register that starts over is declared; the virtual register goes on, and what flowed meanwhile
// is nobody's.
func TestReset(t *testing.T) {
	w := newWorld(t)
	w.time = noon
	d := w.device("d", solar("d"))
	k := w.done()
	d.hand(d.record(k), d.read(k+1, flows{pv: 400, exp: 400}))
	w.step()
	v := d.state().V
	// The meter is exchanged: a new site, then what each register shows.
	last := d.wh
	d.wh = [Registers]uint64{3, 4, 5}
	d.hand(d.record(k + 4))
	d.site.Grid, d.site.PV = meterOf("new", "grid"), meterOf("new", "pv")
	d.submit(KindSite, d.site.Encode())
	for r := range PV + 1 {
		d.submit(KindReset, (&Reset{Register: r, Last: last[r], First: d.wh[r], Cause: Swapped}).Encode())
	}
	d.hand(d.read(k+4, flows{pv: 100, exp: 100}), d.read(k+5, flows{pv: 300, exp: 300}))
	w.step()
	if want := []types.Reason{RegisterDrop, "", "", "", "", ""}; !slices.Equal(d.verdicts, want) {
		t.Fatal(d.verdicts)
	}
	w.step()
	s := d.state()
	if s.V != v+400 || s.Sums.Gap != 400+100 || s.Lots.Total() != 300 || s.Commissioned != 0 {
		t.Errorf("the virtual register went from %d to %d, lots %v, %+v", v, s.V, s.Lots, s.Sums)
	}
}

// TestResetAlone: the interval in which a register starts over says nothing, though the meter is the same.
func TestResetAlone(t *testing.T) {
	w := newWorld(t)
	w.time = noon
	d := w.device("d", solar("d"))
	k := w.done()
	d.hand(d.record(k), d.read(k+1, flows{pv: 400, exp: 400}))
	d.submit(KindReset, (&Reset{Register: PV, Last: d.wh[PV], First: 9, Cause: Zeroed}).Encode())
	d.wh[PV] = 9
	d.hand(d.read(k+2, flows{pv: 400, exp: 400}), d.read(k+3, flows{pv: 300, exp: 300}))
	w.step()
	w.step()
	if s := d.state(); s.Sums.Gap != 400 || s.Lots.Total() != 400+300 {
		t.Errorf("lots %v, %+v", s.Lots, s.Sums)
	}
}

// TestReceipts: energy is paid by orders, and nobody else reports about a device.
func TestReceipts(t *testing.T) {
	w := newWorld(t)
	d := w.device("d", solar("d"))
	in := d.input()
	in.Receipts = []*tally.ReceiptItem{{Receipt: &receipt.Receipt{}}}
	in.Reports = []*evidence.Envelope{in.Evidence[0]}
	out := New().Verify(in)
	if out.Receipts[0] != ByOrder || out.Reports[0].Reason != types.UnknownKind {
		t.Errorf("%q, %q", out.Receipts[0], out.Reports[0].Reason)
	}
}

// TestAsks: of a class the highest number counts; an old ask cannot come back.
func TestAsks(t *testing.T) {
	w := newWorld(t)
	d := w.device("d", solar("d"))
	d.ask(Community, 100)
	old := d.asks[0]
	w.step()
	d.ask(Community, 120)
	w.step()
	give := func(a *receipt.Ask) types.Reason {
		in := d.input()
		in.Asks = []*receipt.Ask{a}
		out := New().Verify(in)
		d.line = out.State
		return out.Asks[0]
	}
	same := &receipt.Ask{Class: Community, Price: 121, Terms: (&AskTerms{Seq: d.seq}).Encode(), Until: 1 << 40}
	for name, test := range map[string]struct {
		ask  *receipt.Ask
		want types.Reason
	}{
		"old":            {old, AskStale},
		"same number":    {same, AskStale},
		"without number": {&receipt.Ask{Class: Community, Price: 1}, AskBad},
		"dear":           {&receipt.Ask{Class: Community, Price: MaxPrice + 1, Terms: (&AskTerms{Seq: 99}).Encode()}, AskBad},
		"class":          {&receipt.Ask{Class: 3, Price: 1, Terms: (&AskTerms{Seq: 99}).Encode()}, types.UnknownClass},
	} {
		if got := give(test.ask); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if price, ok := d.state().Ask(Community, w.epoch); !ok || price != 120 {
		t.Errorf("asks %d, %v", price, ok)
	}
	if _, ok := d.state().Ask(Certificate, w.epoch); ok {
		t.Error("asks for certificates")
	}
}
