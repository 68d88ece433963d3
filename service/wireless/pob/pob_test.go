package pob

import (
	"math"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

// TestPrefix: /24 and /48, and the /16 and /32 around them; a mapped address is the IPv4 one.
func TestPrefix(t *testing.T) {
	for _, c := range []struct{ addr, prefix, net string }{
		{"198.51.100.7", "198.51.100.0/24", "198.51.0.0/16"},
		{"::ffff:198.51.100.7", "198.51.100.0/24", "198.51.0.0/16"},
		{"2001:db8:1:2::3", "2001:db8:1::/48", "2001:db8::/32"},
		{"0.0.0.0", "0.0.0.0/24", "0.0.0.0/16"},
	} {
		p := PrefixOf(netip.MustParseAddr(c.addr))
		if p.String() != c.prefix || p.Net().String() != c.net || !p.Valid() || !p.Net().Valid() || NetOf(netip.MustParseAddr(c.addr)) != p.Net() {
			t.Errorf("%s: %v in %v", c.addr, p, p.Net())
		}
		text, _ := p.MarshalText()
		var again Prefix
		if err := again.UnmarshalText(text); err != nil || again != p {
			t.Errorf("%s: read again %v, %v", text, again, err)
		}
	}
	for _, bad := range []Prefix{{}, {4, 1, 2, 3, 4}, {5}, {4, 0, 0, 0, 0, 0, 1}} {
		if bad.Valid() || bad.String() != "none" {
			t.Errorf("%v is valid", bad[:])
		}
	}
	if p := PrefixOf(netip.Addr{}); !p.IsZero() {
		t.Errorf("the prefix of no address is %v", p)
	}
	for _, bad := range []string{"198.51.100.0/25", "198.51.100.7/24", "198.51.100.0", "x", "2001:db8::/32"} {
		if err := new(Prefix).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// TestDrawn: one prefix in 168 is tested as a whole, one in 24 if its devices are young, and never one that is none.
func TestDrawn(t *testing.T) {
	r := DefaultRules()
	var whole, young int
	const n = 1 << 16
	for i := range n {
		switch d := r.Drawn(types.Sum([]byte("seed")), Prefix{4, 20, byte(i >> 8), byte(i)}); d {
		case WholeDraw:
			whole++
			if !d.Tests(Young) {
				t.Fatal("a whole prefix leaves devices out")
			}
		case YoungDraw:
			young++
			if d.Tests(Young) || !d.Tests(Young-1) {
				t.Fatal("a draw of young devices tests others")
			}
		}
	}
	near := func(got, want int) bool { return got > want*9/10 && got < want*11/10 }
	if !near(whole, n/168) || !near(young, n/24-n/168) {
		t.Errorf("of %d prefixes %d are drawn, and %d if young", n, whole, young)
	}
	if r.Whole, r.Young = 1, 1; r.Drawn(types.Hash{}, Prefix{}) != NoDraw || r.Drawn(types.Hash{}, Prefix{4}) != WholeDraw {
		t.Error("no prefix is drawn, or one of every is not")
	}
}

// TestStart: only the conductor of a half proves when it begins, and only one instant.
func TestStart(t *testing.T) {
	w := newWorld(8, 50_000_000)
	ok := w.start(0)
	at, err := w.clock.Begin(&ok)
	if err != nil {
		t.Fatal(err)
	}
	first := w.clock.Time*1000 + uint64(w.rules.Lead)
	if at.T0 < first || at.T0 >= first+uint64(w.rules.Slot)*uint64(w.rules.Slots) || (at.T0-first)%uint64(w.rules.Slot) != 0 {
		t.Errorf("it begins at %d", at.T0)
	}
	second := w.start(1)
	if s, err := w.clock.Begin(&second); err != nil || s.T0 < first+uint64(w.rules.Half) || s.ID(w.subject.Device) == at.ID(w.subject.Device) {
		t.Errorf("the second half: %v, %v", s.T0, err)
	}
	who, _ := w.clock.Conductors.Of(ok.Prefix)
	if who[0].Key == who[1].Key {
		t.Error("one conducts both halves")
	}
	change := func(f func(*Start)) *Start { s := ok; s.Proof = slices.Clone(ok.Proof); f(&s); return &s }
	for name, s := range map[string]*Start{
		"other epoch":  change(func(s *Start) { s.Epoch++ }),
		"other half":   change(func(s *Start) { s.Half = 1 }),
		"third half":   change(func(s *Start) { s.Half = 2 }),
		"other prefix": change(func(s *Start) { s.Prefix[3]++ }),
		"no prefix":    change(func(s *Start) { s.Prefix = Prefix{} }),
		"bad proof":    change(func(s *Start) { s.Proof[40] ^= 1 }),
		"short proof":  change(func(s *Start) { s.Proof = s.Proof[1:] }),
	} {
		if _, err := w.clock.Begin(s); types.ReasonOf(err) != BadStart {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.rules.Whole, w.rules.Young = 1<<62, 1<<62
	if _, err := w.clock.Begin(&ok); types.ReasonOf(err) != NotDrawn {
		t.Errorf("a prefix that is not drawn: %v", err)
	}
	if one := newWorld(1, 50_000_000); one.start(0).Half != 0 || one.start(1).Half != 1 {
		t.Error("one verifier does not conduct both halves")
	}
	if _, ok := NewConductors(registry{}, types.Hash{}).Of(ok.Prefix); ok {
		t.Error("nobody conducts")
	}
}

// TestHonest: an honest line that is what it claims reads 0.66 of it (before frames), with two that send nothing 0.59.
func TestHonest(t *testing.T) {
	w := newWorld(8, 50_000_000)
	sent := 8 * float64(Rate(w.subject.Claim, 8))
	if got := w.clock.Judge(&w.subject, w.all(t, 0, float64(w.subject.Claim)/sent)); !got.Tested || !got.Whole || !within(got.Capacity, 0.65, 0.67) {
		t.Errorf("an honest line reads %d: %v", got.Capacity, got.Reasons)
	}
	said := w.all(t, 0, float64(w.subject.Claim)/(sent*6/8))
	said[2].Report.Reply, said[2].Report.Arrival = nil, 0
	if got := w.clock.Judge(&w.subject, slices.Delete(said, 5, 6)); !got.Tested || !within(got.Capacity, 0.58, 0.60) {
		t.Errorf("with two that withhold it reads %d: %v", got.Capacity, got.Reasons)
	}
	if got := w.clock.Judge(&w.subject, w.all(t, 0, 1)); got.Capacity != w.subject.Claim {
		t.Errorf("a line beyond its claim reads %d", got.Capacity)
	}
}

func within(capacity uint64, least, most float64) bool {
	x := float64(capacity) / 50_000_000
	return x >= least && x <= most
}

// TestReasons: what is wrong with one report shows at it, and costs what it says.
func TestReasons(t *testing.T) {
	w := newWorld(8, 10_000_000)
	good := w.all(t, 0, 1)
	one := w.clock.Judge(&w.subject, good).Bytes[0]
	for _, c := range []struct {
		name   string
		want   types.Reason
		counts bool // as a report of nothing
		change func(*Said)
	}{
		{"no reply", NoReply, true, func(s *Said) { s.Report.Reply = nil }},
		{"late", Late, true, func(s *Said) { s.Report.Arrival = 3301 }},
		{"other prefix", OtherPrefix, true, func(s *Said) { s.Report.Prefix[3]++ }},
		{"other device", NotDrawn, false, func(s *Said) { s.Report.Device[0]++ }},
		{"stranger", NotDrawn, false, func(s *Said) { s.By = verifier(99).Public() }},
		{"bad start", BadStart, false, func(s *Said) { s.Report.Start.Proof = make([]byte, len(s.Report.Start.Proof)) }},
		{"other epoch", BadStart, false, func(s *Said) { s.Report.Start.Epoch++ }},
		{"duplicate", Duplicate, false, func(s *Said) { *s = good[0] }},
		{"other secret", TagMismatch, true, func(s *Said) { s.Report.Secret[0] ^= 1 }},
		{"replayed secret", TagMismatch, true, func(s *Said) { s.Report.Secret = good[0].Report.Secret }},
		{"forged bitmap", TagMismatch, true, func(s *Said) {
			s.Report.Reply.Reply.Got[0] ^= 1
			s.Report.Reply = w.sign(s.Report.Reply.Reply)
		}},
		{"longer bitmap", BadReply, true, func(s *Said) {
			s.Report.Reply.Reply.Got = append(s.Report.Reply.Reply.Got, 0)
			s.Report.Reply = w.sign(s.Report.Reply.Reply)
		}},
		{"unsigned", BadReply, true, func(s *Said) { s.Report.Reply.Signature[0] ^= 1 }},
		{"another's reply", BadReply, true, func(s *Said) { s.Report.Reply = good[0].Report.Reply }},
		{"reply of another test", BadReply, true, func(s *Said) {
			s.Report.Reply.Reply.Test[0] ^= 1
			s.Report.Reply = w.sign(s.Report.Reply.Reply)
		}},
		{"beside another", Related, true, func(s *Said) {
			s.Report.Reply.Reply.Net = net(2)
			s.Report.Reply = w.sign(s.Report.Reply.Reply)
		}},
		{"beside the device", Related, true, func(s *Said) {
			s.Report.Reply.Reply.Net = w.subject.Prefix.Net()
			s.Report.Reply = w.sign(s.Report.Reply.Reply)
		}},
	} {
		said := slices.Clone(good)
		r := *said[3].Report
		reply := *r.Reply
		reply.Reply.Got = slices.Clone(reply.Reply.Got)
		r.Reply = &reply
		said[3].Report = &r
		c.change(&said[3])
		got := w.clock.Judge(&w.subject, said)
		for i, reason := range got.Reasons {
			if want := map[bool]types.Reason{true: c.want}[i == 3]; reason != want {
				t.Errorf("%s: report %d is %q, want %q", c.name, i, reason, want)
			}
		}
		if want := min(8*1000*5*one/w.rules.Window(), w.subject.Claim); !got.Tested || got.Bytes[3] != 0 || got.Capacity != want {
			t.Errorf("%s: capacity %d, want %d", c.name, got.Capacity, want)
		}
		// Two more that report nothing, and it proves nothing, unless this one counts as a report.
		if got := w.clock.Judge(&w.subject, said[:6]); got.Tested != c.counts {
			t.Errorf("%s: of six reports: tested %v", c.name, got.Tested)
		}
	}
}

// TestDevice: who is not tested by a start has no result, whatever is reported.
func TestDevice(t *testing.T) {
	w := newWorld(8, 10_000_000)
	said := w.all(t, 0, 1)
	for name, change := range map[string]func(*world, *Subject){
		"moved":    func(_ *world, s *Subject) { s.Prefix[3]++ },
		"no claim": func(_ *world, s *Subject) { s.Claim = 0 },
		"huge":     func(_ *world, s *Subject) { s.Claim = MaxClaim + 1 },
		"old":      func(w *world, s *Subject) { s.Results, w.rules.Whole = Young, 1<<60 },
	} {
		w := newWorld(8, 10_000_000)
		s := w.subject
		change(w, &s)
		if got := w.clock.Judge(&s, said); got.Tested || got.Reasons[0] != NotDrawn {
			t.Errorf("%s: %+v", name, got)
		}
	}
	few := newWorld(3, 10_000_000)
	start := few.start(0)
	if _, err := few.clock.Test(&few.subject, &start); types.ReasonOf(err) != Void {
		t.Errorf("three challengers: %v", err)
	}
	few.rules.Least = 1
	if got := few.clock.Judge(&few.subject, few.all(t, 0, 1)); !got.Tested || got.Capacity == 0 {
		t.Errorf("three challengers, where that is enough: %+v", got)
	}
}

// TestHalves: the second half counts where the first proves nothing, and only there.
func TestHalves(t *testing.T) {
	w := newWorld(8, 10_000_000)
	first, second := w.all(t, 0, 0.5), w.all(t, 1, 1)
	got := w.clock.Judge(&w.subject, append(slices.Clone(first), second...))
	if alone := w.clock.Judge(&w.subject, first); got.Capacity != alone.Capacity || got.Reasons[0] != "" || got.Reasons[8] != Void {
		t.Errorf("the first half reads %d, with another %d", alone.Capacity, got.Capacity)
	}
	got = w.clock.Judge(&w.subject, append(slices.Clone(first[:5]), second...))
	if !got.Tested || got.Capacity != w.clock.Judge(&w.subject, second).Capacity || got.Reasons[0] != Void || got.Reasons[5] != "" {
		t.Errorf("after a first half without enough reports: %+v", got)
	}
	// A device that is silent in the first has a result.
	for i := range first {
		first[i].Report.Reply = nil
	}
	if got := w.clock.Judge(&w.subject, append(slices.Clone(first), second...)); !got.Tested || got.Capacity != 0 {
		t.Errorf("a silent device has another go: %+v", got)
	}
}

// TestBound: whatever f liars report, and however the line's bytes were shared out, the capacity that is proven is no
// more than what all honest ones together sent over the line in the window.
func TestBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := DefaultRules()
		n := rapid.IntRange(1, Seats).Draw(t, "n")
		line := rapid.Uint64Range(0, 1<<32).Draw(t, "bytes in the window")
		left := line
		var reports []uint64
		for i := range n {
			if i < Liars(n) {
				if rapid.Bool().Draw(t, "reports") {
					reports = append(reports, rapid.Uint64Range(0, 1<<40).Draw(t, "lie"))
				}
				continue
			}
			b := rapid.Uint64Range(0, left).Draw(t, "honest")
			left -= b
			if rapid.IntRange(0, 9).Draw(t, "reports") > 0 {
				reports = append(reports, b)
			}
		}
		if got, void := Combine(&r, math.MaxUint64, n, reports); !void && got > 8*1000*line/r.Window() {
			t.Fatalf("%d of a line of %d bytes: %v", got, line, reports)
		}
	})
}

// TestRules: the bounds of rules hold, and no claim leaves its type.
func TestRules(t *testing.T) {
	for _, r := range []Rules{DefaultRules(), LocalRules()} {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		for n := 1; n <= Seats; n++ {
			if p := r.Packets(math.MaxUint64, n); p > 8*MaxBitmap || p < 1 {
				t.Errorf("%d packets of each of %d", p, n)
			}
		}
		for i, change := range []func(*Rules){
			func(r *Rules) { r.Whole = 0 }, func(r *Rules) { r.Young = r.Whole + 1 }, func(r *Rules) { r.Least = 0 }, func(r *Rules) { r.Least = 9 },
			func(r *Rules) { r.Send = 0 }, func(r *Rules) { r.Reply = 10_001 }, func(r *Rules) { r.Skew = 0 }, func(r *Rules) { r.Slots = 0 },
			func(r *Rules) { r.Lead = 1 << 31 }, func(r *Rules) { r.Slot, r.Slots = 1<<20, 1<<20 },
		} {
			bad := r
			if change(&bad); types.ReasonOf(bad.Check()) != types.ParamBound {
				t.Errorf("change %d is taken", i)
			}
		}
	}
	for n, f := range []int{0, 0, 0, 0, 1, 1, 1, 2, 2} {
		if Liars(n) != f {
			t.Errorf("of %d may lie %d", n, Liars(n))
		}
	}
}

// TestReceived: of one packet the first counts, and numbers beyond the last are nothing.
func TestReceived(t *testing.T) {
	r := NewReceived(10)
	if !r.Add(3, Tag{1}) || r.Add(3, Tag{2}) || r.Add(10, Tag{}) || r.Add(math.MaxUint32, Tag{}) {
		t.Error("a packet counts that does not, or none")
	}
	if n, all := r.Count(); n != 1 || all {
		t.Error(n, all)
	}
	if got := r.Reply(ID{}, types.Key{}, Net{4}); !slices.Equal(got.Got, []byte{8, 0}) || got.Tags != types.Sum(append([]byte{1}, make([]byte, 15)...)) {
		t.Errorf("%+v", got)
	}
}

// BenchmarkJudge is one test of 50 Mbit/s: eight reports, 22,320 tags.
func BenchmarkJudge(b *testing.B) {
	w := newWorld(8, 50_000_000)
	said := w.all(b, 0, 1)
	b.ResetTimer()
	for b.Loop() {
		if got := w.clock.Judge(&w.subject, said); !got.Tested || got.Capacity == 0 {
			b.Fatalf("%+v", got)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tests/s")
}
