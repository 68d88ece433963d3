package compute

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/servicetest"
)

// TestConformance draws devices with a past, and an epoch in which some things are right and some are not.
func TestConformance(t *testing.T) {
	servicetest.Run(t, New(), func(r *rapid.T) *service.Input {
		d, _ := drawEpoch(t, r)
		return d.input()
	})
}

// drawEpoch draws a device up to an epoch that is not closed yet, and its session.
func drawEpoch(t testing.TB, r *rapid.T) (*device, *session) {
	w := newWorld(t, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "world"), rapid.IntRange(0, 7).Draw(r, "verifiers"))
	w.unsigned = true
	d := w.device("device", 0)
	d.speed = 5
	s := d.session("customer", rapid.SampledFrom([]types.Class{Wasm, Wasm, OCI, Model}).Draw(r, "class"))
	for range rapid.IntRange(1, 4).Draw(r, "epochs") {
		if len(d.evidence)+len(d.reports)+len(d.receipts) > 0 {
			d.judged()
			w.next()
		}
		if rapid.Bool().Draw(r, "offers") {
			d.offer(rapid.Uint16Max(9).Draw(r, "free"))
		}
		for range rapid.IntRange(0, 2).Draw(r, "jobs") {
			s.job(rapid.Uint64Max(1000).Draw(r, "fuel"), Mode(rapid.IntRange(1, 3).Draw(r, "mode")))
		}
		if len(s.leaves) > 0 && s.class == Wasm && rapid.Bool().Draw(r, "commits") {
			s.commit(rapid.IntRange(0, len(s.leaves)-1).Draw(r, "from"))
		}
		if rapid.Bool().Draw(r, "pays") {
			units, _ := d.paid[s.id].Units.Uint64()
			s.pay(units + rapid.Uint64Max(1500).Draw(r, "units"))
		}
		if len(w.Voters) >= 3 && rapid.Bool().Draw(r, "check") {
			drawCheck(r, d)
		}
		drawReports(r, d, s)
	}
	return d, s
}

// drawCheck draws a slot that the device passes, fails, or misses.
func drawCheck(r *rapid.T, d *device) {
	c := d.call(rapid.IntRange(0, 1).Draw(r, "slot"))
	c.compute(2, rapid.Uint32Range(3, 5).Draw(r, "rounds"), c.honest)
	for _, m := range c.members {
		s := c.witness(m)
		switch rapid.IntRange(0, 5).Draw(r, "sees") {
		case 0:
			s.OK = false
		case 1:
			s.Count = rapid.Uint32().Draw(r, "count")
		case 2:
			continue
		}
		d.report(d.w.verifiers[m], KindSighting, s.Encode())
	}
	switch rapid.IntRange(0, 3).Draw(r, "hands in") {
	case 0:
		return
	case 1:
		c.check.Nonces = c.check.Nonces[:rapid.IntRange(0, len(c.check.Nonces)).Draw(r, "nonces")]
	}
	d.submit(KindCheck, c.check.Encode())
}

// drawReports draws audits of what was committed to before, and faults.
func drawReports(r *rapid.T, d *device, s *session) {
	auditors, _ := d.auditors()
	for k, e := range d.results[d.w.epoch-AuditDelay] {
		results, err := DecodeResults(e.Body)
		if err != nil || int(results.First) >= len(s.leaves) {
			continue
		}
		for _, by := range auditors {
			if rapid.Bool().Draw(r, "audits") {
				// The tree may have grown since: then its path leads nowhere.
				s.audit(by, k, int(results.First), int(results.First), rapid.SampledFrom([]func(*Audit){right, right, wrong, withheld}).Draw(r, "says"))
			}
		}
	}
	if len(s.leaves) > 0 && len(d.w.Voters) > 0 && rapid.IntRange(0, 3).Draw(r, "fault") == 0 {
		l := s.leaves[0]
		l.Fuel += rapid.Uint64Max(1).Draw(r, "differs")
		f := &Fault{Device: d.info.Key, Conflict: &Conflict{A: Claim{Signed: s.sign(s.leaves[0])}, B: Claim{Signed: s.sign(l)}}}
		d.report(d.w.verifiers[d.w.Voters[0].Key], KindFault, f.Encode())
	}
}

// TestBounds: whatever happens, paid fuel stays within what leaves cost, network-ordered units within what is
// offered and was computed, and an honest device without a fault keeps its bond.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d, s := drawEpoch(t, r)
		before := d.state()
		faulty := false
		for _, e := range d.reports {
			faulty = faulty || e.Kind == KindFault
		}
		out := d.judged()
		after := d.state()
		paid, _ := d.paid[s.id].Units.Uint64()
		if s.class == Wasm && paid > s.before(len(s.leaves)) {
			r.Fatalf("%d paid, all leaves cost %d", paid, s.before(len(s.leaves)))
		}
		if s.class == OCI && after.Allowance > allowed*8*epochTime {
			r.Fatalf("an allowance of %d", after.Allowance)
		}
		if n := ordered(out); n > uint64(after.Free)*Quota || n > after.Ready() || n > 0 && after.Suspended >= d.w.epoch {
			r.Fatalf("%d wu of %d free, %d ready, suspended until %d", n, after.Free, after.Ready(), after.Suspended)
		}
		if most := Rate(10, CPU, 2); after.Rates[0] > most {
			r.Fatalf("a rate of %d, with all that it computed %d", after.Rates[0], most)
		}
		for _, v := range out.Reports {
			if v.Proof && !faulty {
				r.Fatalf("%q takes of the bond", v.Reason)
			}
		}
		if after.Quality > FullQuality || after.Slot < before.Slot || after.Settled < before.Settled || after.Faults < before.Faults {
			r.Fatalf("%+v after %+v", after, before)
		}
	})
}

// FuzzVerify hands any body of any kind, as evidence and as a verifier's report, to a device with a past.
func FuzzVerify(f *testing.F) {
	for kind := KindOffer; kind <= KindFault+1; kind++ {
		f.Add(uint16(kind), []byte{0x81, 0x04})
	}
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) {
		if len(body) > evidence.MaxBody {
			return
		}
		w := newWorld(t, "fuzz", 5)
		d, _ := w.audited("device", 2)
		before := d.state()
		d.submit(evidence.Kind(kind), body)
		d.report(w.verifiers[w.Voters[0].Key], evidence.Kind(kind), body)
		out := d.judged(func(in *tally.Input) {
			if _, err := New().Subject(in.Reports[0]); err != nil {
				in.Reports = nil // the tally brings it to nobody
			}
		})
		after := d.state()
		if ordered(out) != 0 || after.Rates != before.Rates {
			t.Errorf("rates %d, %d wu", after.Rates, ordered(out))
		}
		for _, v := range out.Reports {
			if v.Proof {
				t.Errorf("%q takes of the bond", v.Reason)
			}
		}
	})
}
