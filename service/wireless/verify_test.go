package wireless

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// TestHonest follows a line that is what it claims: four readings make a score, two epochs without an endpoint earn
// nothing, quality is full.
func TestHonest(t *testing.T) {
	w := newWorld(t, "honest", 8)
	d := w.device("device", 20*mega)
	for n := range 8 {
		d.here()
		d.honestly(20 * mega)
		out := w.next()[d]
		for i, v := range append(out.Evidence, out.Reports...) {
			if v.Reason != "" {
				t.Errorf("epoch %d: item %d is refused: %s", n, i, v.Reason)
			}
		}
		s := d.state()
		if n < 4 { // the first epoch only says where it is
			if ordered(out) != 0 || out.Quality != 0 {
				t.Errorf("%d readings earn %d units of quality %d", s.Results(), ordered(out), out.Quality)
			}
			continue
		}
		proven := float64(s.Proven()) / (20 * mega)
		if proven < 0.64 || proven > 0.67 || out.Quality != 10_000 || ordered(out) != s.Proven()*3400/8000 {
			t.Errorf("%d readings prove %.3f of the line and earn %d units of quality %d", s.Results(), proven, ordered(out), out.Quality)
		}
	}
	if out := w.next()[d]; ordered(out) != 0 || out.Totals[0] != 0 {
		t.Errorf("without an endpoint: %d units", ordered(out))
	}
}

// TestQuality: what a line carries counts the same however much it claims, and quality falls with a claim beyond it.
func TestQuality(t *testing.T) {
	for _, c := range []struct {
		claim, line uint64
		quality     types.Bp
	}{{10 * mega, 20 * mega, 10_000}, {20 * mega, 20 * mega, 10_000}, {40 * mega, 20 * mega, 5_900}, {80 * mega, 20 * mega, 2_900}} {
		w := newWorld(t, "quality", 8)
		d := w.device("device", c.claim)
		var out *tally.Output
		for range 7 {
			d.here()
			d.honestly(c.line)
			out = w.next()[d]
		}
		if out.Quality < c.quality || out.Quality > c.quality+150 {
			t.Errorf("a claim of %d on a line of %d has quality %d, want about %d", c.claim, c.line, out.Quality, c.quality)
		}
		if d.state().Proven() > c.claim {
			t.Errorf("%d is proven of a claim of %d", d.state().Proven(), c.claim)
		}
	}
}

// tested is a device that every test of seven epochs has read, in the epoch after.
func tested(w *world, claim, line uint64) *device {
	d := w.device("device", claim)
	for range 7 {
		d.here()
		d.honestly(line)
		w.next()
	}
	return d
}

// TestReportReasons: each reason of a report is produced in the test of a real line, and the others count on.
func TestReportReasons(t *testing.T) {
	bend := func(r *pob.Report, d *device, f func(*pob.Reply)) {
		reply := r.Reply.Reply
		reply.Got = slices.Clone(reply.Got)
		f(&reply)
		r.Reply = d.sign(reply)
	}
	for want, change := range map[types.Reason]func(*device, *pob.Report){
		"":              func(*device, *pob.Report) {},
		pob.NotDrawn:    nil,
		pob.Duplicate:   nil,
		pob.Void:        nil,
		pob.BadStart:    func(_ *device, r *pob.Report) { r.Start.Proof = make([]byte, len(r.Start.Proof)) },
		pob.NoReply:     func(_ *device, r *pob.Report) { r.Reply, r.Arrival = nil, 0 },
		pob.Late:        func(_ *device, r *pob.Report) { r.Arrival = 3301 },
		pob.OtherPrefix: func(_ *device, r *pob.Report) { r.Prefix = prefix("192.0.2.1") },
		pob.BadReply:    func(_ *device, r *pob.Report) { r.Reply.Signature[0] ^= 1 },
		pob.TagMismatch: func(d *device, r *pob.Report) { bend(r, d, func(p *pob.Reply) { p.Got[0] ^= 1 }) },
		pob.Related:     func(d *device, r *pob.Report) { bend(r, d, func(p *pob.Reply) { p.Net = home.Net() }) },
		types.UnknownKind: func(d *device, r *pob.Report) {
			d.reports = append(d.reports, evidence.Sign(d.w.verifiers[d.members()[0]], evidence.Payload{
				Chain: testChain, Category: types.Wireless, Kind: KindGrant + 1, Epoch: d.w.epoch, Seq: 1 << 40, Body: r.Encode(),
			}))
		},
		types.BadEncoding: func(d *device, _ *pob.Report) { d.report(d.members()[0], []byte{0x80}) },
	} {
		w := newWorld(t, "reasons", 12)
		d := tested(w, 5*mega, 5*mega)
		test, start := d.test(0)
		for i, m := range test.Members {
			r := d.seen(test, start, m, w.carries(5*mega, 3000)/8)
			if i == 3 && change != nil {
				change(d, r)
			}
			if want == pob.Void && i >= 5 {
				continue
			}
			d.report(m, r.Encode())
			if want == pob.Duplicate && i == 3 {
				d.report(m, r.Encode())
			}
		}
		if want == pob.NotDrawn {
			for k := range w.verifiers {
				if !slices.Contains(test.Members, k) {
					d.report(k, d.seen(test, start, k, 1).Encode())
					break
				}
			}
		}
		out := d.judged()
		n := 0
		for _, v := range out.Reports {
			if v.Proof {
				t.Errorf("%s takes of the bond", v.Reason)
			}
			if v.Reason == want {
				n++
			}
		}
		wanted := map[types.Reason]int{"": 8, pob.Void: 5}[want]
		if n != max(wanted, 1) || want != "" && want != pob.Void && n != 1 {
			t.Errorf("%q: %d reports have it: %+v", want, n, out.Reports)
		}
		if before := types.Epoch(106); want == pob.Void != (d.state().Readings[0].Epoch == before) {
			t.Errorf("%q: the newest reading is of epoch %d", want, d.state().Readings[0].Epoch)
		}
	}
}

// TestUntested: reports on a device that no test is due for count nothing.
func TestUntested(t *testing.T) {
	for name, bend := range map[string]func(*tally.Input){
		"challenges do not bind": func(in *tally.Input) { in.Challenged = false },
		"has not begun":          func(in *tally.Input) { in.State = nil },
		"was away": func(in *tally.Input) {
			s, _ := DecodeState(in.State)
			s.Here = false
			in.State = s.Encode()
		},
		"does not take part": func(in *tally.Input) {
			s, _ := DecodeState(in.State)
			s.Tests, s.Share = false, 0
			in.State = s.Encode()
		},
	} {
		w := newWorld(t, "untested", 8)
		d := tested(w, 5*mega, 5*mega)
		d.honestly(5 * mega)
		out := d.judged(bend)
		for _, v := range out.Reports {
			if v.Reason != pob.NotDrawn {
				t.Errorf("%s: %q", name, v.Reason)
			}
		}
		if len(out.State) > 0 && d.state().Readings[0].Epoch == w.epoch {
			t.Errorf("%s: there is a reading", name)
		}
	}
}

// TestEndpoint: claims within bounds, one in an epoch, in a form that is read one way.
func TestEndpoint(t *testing.T) {
	w := newWorld(t, "endpoint", 8)
	d := w.device("device", 5*mega)
	submit := func(claim uint64, p pob.Prefix) int {
		return d.submit(KindEndpoint, (&Endpoint{Prefix: p, Claim: claim, Tests: true}).Encode())
	}
	want := []types.Reason{ClaimRange, ClaimRange, types.BadEncoding, types.BadEncoding, types.UnknownKind, "", types.OverQuota}
	submit(pob.MinClaim-1, home)
	submit(w.rules.Claim+1, home)
	submit(5*mega, pob.Prefix{})
	d.submit(KindEndpoint, append((&Endpoint{Prefix: home, Claim: 5 * mega}).Encode(), 0))
	d.submit(KindReport, nil)
	submit(5*mega, home)
	submit(6*mega, home)
	out := d.judged()
	for i, v := range out.Evidence {
		if v.Reason != want[i] || v.Proof {
			t.Errorf("evidence %d: %q, want %q", i, v.Reason, want[i])
		}
	}
	if s := d.state(); s.Claim != 5*mega || s.Prefix != home || !s.Tests || s.Share != s.Claim {
		t.Errorf("%+v", s)
	}
	// Rules that allow less bring claims down.
	w.rules.Claim, w.rules.Prefix = 2*mega, 2*mega
	w.epoch++
	if d.judged(); d.state().Claim != 2*mega || d.state().Share != 2*mega {
		t.Errorf("%+v", d.state())
	}
}

// TestReceipts: each reason of a receipt.
func TestReceipts(t *testing.T) {
	w := newWorld(t, "receipts", 8)
	d := w.device("device", 8*mega)
	each := uint64(2 * 8 * mega * 3600 / 8) // of one epoch
	settle := func(want types.Reason, at int, bend ...func(*tally.Input)) {
		t.Helper()
		if out := d.judged(bend...); out.Receipts[at] != want {
			t.Errorf("epoch %d: %q, want %q", w.epoch, out.Receipts[at], want)
		}
		w.epoch++
	}
	s := d.session("a", Tunnel, 0)
	settle(OverCapacity, s.pay(1)) // it has not said what it claims

	d.here()
	settle(OverCapacity, s.pay(each+1))
	d.here()
	settle("", s.pay(2*each)) // that epoch's, and the one before
	settle(OverCapacity, s.pay(3*each+1))
	settle("", s.pay(2*each)) // nothing new
	settle("", s.pay(4*each))
	w.epoch += 100
	settle(OverCapacity, s.pay(29*each)) // a day can be caught up on
	w.epoch += 100
	settle("", s.pay(28*each))

	w.epoch += 100
	settle(Overpriced, s.pay(28*each+10_000), func(in *tally.Input) { in.Receipts[0].Receipt.Amount++ })
	settle(Overpriced, s.pay(28*each+10_000), func(in *tally.Input) { in.Receipts[0].Price = 1 })
	settle("", s.pay(28*each+10_000), func(in *tally.Input) { in.Receipts[0].Receipt.Amount-- })

	bad := d.session("b", WiFi, 0)
	bad.ask.Terms = []byte{0x80}
	settle(TermsUnknown, bad.pay(1))
	lost := d.session("c", WiFi, 0)
	settle(TermsUnknown, lost.pay(1), func(in *tally.Input) { in.Asks = nil })
	settle("", lost.pay(1))
	settle("", lost.pay(2)) // it has opened
}

// TestGrants: a cell is paid while it has a grant by an issuer that the rules list.
func TestGrants(t *testing.T) {
	w := newWorld(t, "grants", 8)
	d, other := w.device("device", 8*mega), w.device("other", 8*mega)
	permit := Permit{Device: d.info.Key, ID: "FCC-1", Low: 3_550_000, High: 3_560_000, EIRP: 300, Until: w.epoch + 2}
	s := d.session("carrier", Cell, 0)
	d.here()
	at := s.pay(1000)
	if out := d.judged(); out.Receipts[at] != GrantExpired || out.Asks[0] != GrantExpired {
		t.Errorf("without a grant: receipt %q, ask %q", out.Receipts[at], out.Asks[0])
	}
	for want, list := range map[types.Reason][]*Grant{
		GrantUnproven: {
			permit.Sign(testChain, key("nobody")), permit.Sign("another chain", key("issuer")),
			change(permit, func(p *Permit) { p.Device = other.info.Key }), change(permit, func(p *Permit) { p.Until = w.epoch + MaxGrant + 1 }),
			func() *Grant { g := permit.Sign(testChain, key("issuer")); g.Permit.EIRP++; return g }(),
		},
		GrantExpired:      {change(permit, func(p *Permit) { p.Until = w.epoch - 1 })},
		types.BadEncoding: {change(permit, func(p *Permit) { p.ID = "" }), change(permit, func(p *Permit) { p.High = p.Low })},
	} {
		for _, g := range list {
			d.submit(KindGrant, g.Encode())
		}
		out := d.judged()
		for i, v := range out.Evidence {
			if v.Reason != want || v.Proof {
				t.Errorf("grant %d: %q, want %q", i, v.Reason, want)
			}
		}
	}
	d.submit(KindGrant, permit.Sign(testChain, key("issuer")).Encode())
	d.submit(KindGrant, change(permit, func(p *Permit) { p.Until-- }).Encode()) // of another band, say
	for units := uint64(1000); units <= 4000; units += 1000 {
		at := s.pay(units)
		want := map[bool]types.Reason{true: GrantExpired}[w.epoch > permit.Until]
		if out := d.judged(); out.Receipts[at] != want {
			t.Errorf("epoch %d, granted until %d: %q", w.epoch, permit.Until, out.Receipts[at])
		}
		w.epoch++
	}
	free := d.session("user", WiFi, 0)
	if at := free.pay(1000); d.judged().Receipts[at] != "" {
		t.Error("other classes need a grant")
	}
}

func change(p Permit, f func(*Permit)) *Grant {
	f(&p)
	return p.Sign(testChain, key("issuer"))
}

// TestSpeeds: an ask promises what tests have read 55 % of; what customers signed for counts all the same.
func TestSpeeds(t *testing.T) {
	w := newWorld(t, "speeds", 8)
	d := w.device("device", 50*mega)
	for n := range 7 {
		d.here()
		d.honestly(50 * mega)
		if n == 2 {
			if got := d.judgedAsk(t, 10); got != SpeedUnproven {
				t.Errorf("after two readings 10 Mbit/s are %q", got)
			}
		}
		w.next()
	}
	for speed, want := range map[uint16]types.Reason{
		0: "", 10: "", 25: "", 50: "", 100: SpeedUnproven, 250: SpeedUnproven, 500: SpeedUnproven, 1000: SpeedUnproven, 11: TermsUnknown,
	} {
		if got := d.judgedAsk(t, speed); got != want {
			t.Errorf("%d Mbit/s: %q, want %q", speed, got, want)
		}
	}
	s := d.session("fast", Tunnel, 1000)
	at := s.pay(1000)
	if out := d.judged(); out.Asks[0] != SpeedUnproven || out.Receipts[at] != "" {
		t.Errorf("an ask that promises too much is %q, its receipt %q", out.Asks[0], out.Receipts[at])
	}
}

// judgedAsk is what an ask of a speed is refused with; the device goes on as if it had not been handed in.
func (d *device) judgedAsk(t *testing.T, speed uint16) types.Reason {
	t.Helper()
	in := d.input()
	in.Evidence, in.Reports = nil, nil
	in.Asks = []*receipt.Ask{&d.session("ask", Tunnel, speed).ask}
	return New().Verify(in).Asks[0]
}

// TestTerms: what an ask says is read one way.
func TestTerms(t *testing.T) {
	long := string(make([]byte, maxAddress+1))
	for _, c := range []struct {
		terms Terms
		class types.Class
		ok    bool
	}{
		{Terms{Speed: 1000, Address: "a:1"}, Tunnel, true}, {Terms{}, LoRa, true}, {Terms{Speed: 10}, LoRa, false}, {Terms{}, 0, false},
		{Terms{}, Cell + 1, false}, {Terms{Speed: 20}, WiFi, false}, {Terms{Address: long}, Tunnel, false},
	} {
		if _, err := DecodeTerms(c.terms.Encode(), c.class); (err == nil) != c.ok {
			t.Errorf("%+v of class %d: %v", c.terms, c.class, err)
		}
	}
}

// TestLimits: W begins at First, grows by a third with each payment, and ends at Most.
func TestLimits(t *testing.T) {
	for class, steps := range map[types.Class]int{Tunnel: 15, WiFi: 13, LoRa: 17, Cell: 13} {
		l := LimitOf(class)
		w, n := l.First, 0
		for ; w < l.Most && n < 100; n++ {
			next := l.Next(w)
			if next <= w || next > w/3*4 && next != l.Most {
				t.Fatalf("class %d: %d after %d", class, next, w)
			}
			w = next
		}
		if n != steps || l.Next(w) != l.Most || l.Next(0) != l.First || l.Next(1<<63) != l.Most {
			t.Errorf("class %d: %d steps to %d", class, n, w)
		}
	}
	if LimitOf(Cell+1) != (Limit{}) {
		t.Error("a class that there is not has credit")
	}
	for bytes, units := range map[int]uint64{-1: 0, 0: 0, 1: 24, 24: 24, 25: 48, 255: 264} {
		if got := LoRaUnits(bytes); got != units {
			t.Errorf("%d bytes are %d units", bytes, got)
		}
	}
	if _, err := Amount(1<<63, 1<<63); err == nil {
		t.Error("an amount leaves its type")
	}
}

// TestRules: rules are checked before they are in force, and what cannot be read are the defaults.
func TestRules(t *testing.T) {
	for _, r := range []*Rules{DefaultRules(), LocalRules()} {
		if err := CheckRules(r.Encode()); err != nil {
			t.Error(err)
		}
		for i, change := range []func(*Rules){
			func(r *Rules) { r.Seconds = 0 }, func(r *Rules) { r.Seconds = maxSeconds + 1 }, func(r *Rules) { r.Claim = pob.MinClaim - 1 },
			func(r *Rules) { r.Claim, r.Prefix = pob.MaxClaim+1, pob.MaxClaim+1 }, func(r *Rules) { r.Prefix = r.Claim - 1 },
			func(r *Rules) { r.Prefix = maxPrefix + 1 }, func(r *Rules) { r.Issuers = make([]types.Key, 2) },
			func(r *Rules) { r.Issuers = make([]types.Key, MaxIssuers+1) }, func(r *Rules) { r.Test.Whole = 0 },
		} {
			bad := *r
			if change(&bad); types.ReasonOf(CheckRules(bad.Encode())) != types.ParamBound {
				t.Errorf("change %d is taken", i)
			}
			if got := RulesIn(bad.Encode()); got.Seconds != DefaultRules().Seconds || got.Claim != DefaultRules().Claim {
				t.Errorf("change %d is in force", i)
			}
		}
	}
	if CheckRules(nil) != nil || CheckRules([]byte{0x80}) == nil {
		t.Error("no rules are refused, or broken ones taken")
	}
}
