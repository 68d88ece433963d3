package wireless

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/servicetest"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// TestConformance draws devices with a past, and an epoch in which some things are right and some are not.
func TestConformance(t *testing.T) {
	servicetest.Run(t, New(), func(r *rapid.T) *service.Input {
		d, _ := drawEpoch(t, r)
		return d.input()
	})
}

// drawEpoch draws a device up to an epoch that is not closed yet, and what it carries.
func drawEpoch(t testing.TB, r *rapid.T) (d *device, line uint64) {
	w := newWorld(t, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "world"), rapid.IntRange(0, 9).Draw(r, "verifiers"))
	line = rapid.SampledFrom([]uint64{1, 2, 5}).Draw(r, "line") * mega
	d = w.device("device", rapid.SampledFrom([]uint64{1, 2, 8}).Draw(r, "claim")*mega)
	s := d.session("customer", types.Class(rapid.IntRange(1, 4).Draw(r, "class")), 0)
	for n := range rapid.IntRange(1, 5).Draw(r, "epochs") {
		if n > 0 {
			d.judged()
			w.epoch += types.Epoch(rapid.SampledFrom([]int{1, 1, 1, 30}).Draw(r, "later"))
		}
		if rapid.IntRange(0, 9).Draw(r, "moves") == 0 {
			d.at = prefix("203.0.113.9")
		}
		if rapid.IntRange(0, 3).Draw(r, "here") > 0 {
			d.here()
		}
		if rapid.IntRange(0, 3).Draw(r, "grant") == 0 {
			p := Permit{Device: d.info.Key, ID: "x", High: 1, Until: w.epoch + types.Epoch(rapid.IntRange(0, 900).Draw(r, "until"))}
			d.submit(KindGrant, p.Sign(testChain, key(rapid.SampledFrom([]string{"issuer", "nobody"}).Draw(r, "issuer"))).Encode())
		}
		if rapid.Bool().Draw(r, "pays") {
			units, _ := d.paid[s.id].Units.Uint64()
			s.pay(units + rapid.Uint64Max(d.claim*1000).Draw(r, "units"))
		}
		drawReports(r, d, line)
	}
	return d, line
}

// drawReports draws what challengers say, of whom at most f lie.
func drawReports(r *rapid.T, d *device, line uint64) {
	if len(d.w.Voters) == 0 {
		return
	}
	if test, _ := d.test(0); test == nil {
		return
	}
	test, start := d.test(rapid.Uint8Max(1).Draw(r, "half"))
	if test == nil {
		return
	}
	liars := pob.Liars(len(test.Members))
	for i, m := range test.Members {
		packets := d.w.carries(line, 3000) / uint32(len(test.Members))
		if i < liars {
			packets = rapid.Uint32Max(test.Packets).Draw(r, "lies")
		}
		if rapid.IntRange(0, 9).Draw(r, "reports") > 0 {
			d.report(m, d.seen(test, start, m, packets).Encode())
		}
	}
}

// TestBounds: whatever happens, no device is proven to carry more than its line, or than it claims, and earns no more
// than that; what is paid stays within what the claim carries in that time; nobody loses of a bond.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d, line := drawEpoch(t, r)
		out := d.judged()
		after := new(State)
		if len(out.State) > 0 {
			after = d.state()
		}
		if p := after.Proven(); p > line*101/100 || p > after.Claim || ordered(out) > p*Window/8000 {
			r.Fatalf("%d proven of %d, a claim of %d; %d units", p, line, after.Claim, ordered(out))
		}
		if after.Allowance > allowed*2*after.Claim*3600/8 || after.Share > after.Claim || out.Quality > fullQuality {
			r.Fatalf("%+v, quality %d", after, out.Quality)
		}
		for _, v := range append(out.Reports, out.Evidence...) {
			if v.Proof {
				r.Fatalf("%q takes of the bond", v.Reason)
			}
		}
	})
}
