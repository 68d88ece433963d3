package wireless

import (
	"fmt"
	"testing"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// sum is what devices are proven to carry together, and what that earns them.
func sum(out map[*device]*tally.Output) (proven, units uint64) {
	for d, o := range out {
		if len(o.Ordered) > 0 {
			proven += d.state().Proven()
			units += ordered(o)
		}
	}
	return proven, units
}

// TestSharedLine: devices behind one line prove together no more than it carries, in whatever epochs they come and go.
func TestSharedLine(t *testing.T) {
	const line = 40 * mega
	for name, here := range map[string]func(epoch, i int) bool{
		"always":     func(int, int) bool { return true },
		"in turn":    func(epoch, i int) bool { return epoch%4 == i },
		"two by two": func(epoch, i int) bool { return epoch/2%2 == i%2 },
		"at the end": func(epoch, i int) bool { return i == 0 || epoch > 20 },
	} {
		w := newWorld(t, "shared", 8)
		var all []*device
		for i := range 4 {
			all = append(all, w.device(fmt.Sprint("device ", i), line))
		}
		total, epochs := uint64(0), 0
		for n := range 40 {
			tested := uint64(0)
			for _, d := range all {
				if test, _ := d.test(0); test != nil {
					tested++
				}
			}
			for i, d := range all {
				if tested > 0 {
					d.honestly(line / tested)
				}
				if here(n, i) {
					d.here()
				}
			}
			proven, units := sum(w.next())
			total, epochs = total+units, epochs+1
			if proven > line*101/100 {
				t.Errorf("%s: epoch %d: %d proven of a line of %d", name, n, proven, line)
			}
		}
		if most := uint64(epochs) * line * Window / 8000; total > most {
			t.Errorf("%s: %d units, one device would have at most %d", name, total, most)
		}
	}
}

// TestMove: what one line showed is nothing at another prefix: nothing is earned until all of that one were tested.
func TestMove(t *testing.T) {
	w := newWorld(t, "move", 8)
	d := tested(w, 20*mega, 20*mega)
	d.at = prefix("203.0.113.9")
	d.here()
	if out := w.next()[d]; ordered(out) != 0 {
		t.Errorf("a device that moved earns %d units", ordered(out))
	}
	d.here()
	d.honestly(5 * mega)
	if out := w.next()[d]; ordered(out) == 0 || d.state().Proven() > 5*mega {
		t.Errorf("after a test there: %d units, %d proven", ordered(out), d.state().Proven())
	}
}

// TestAbsent: who is away is not tested, earns nothing, and comes back as good as it went.
func TestAbsent(t *testing.T) {
	w := newWorld(t, "absent", 8)
	d := tested(w, 20*mega, 20*mega)
	before := d.state()
	for range 3 {
		if out := w.next()[d]; ordered(out) != 0 {
			t.Errorf("away, it earns %d units", ordered(out))
		}
	}
	if _, _, _, ok := Subject(d.line); ok {
		t.Error("who is away is tested")
	}
	d.here()
	out := w.next()[d]
	if got := d.state(); got.Readings != before.Readings || ordered(out) != before.Proven()*Window/8000 || out.Quality != 10_000 {
		t.Errorf("%+v after %+v: %d units, quality %d", got, before, ordered(out), out.Quality)
	}
	if _, _, _, ok := Subject(d.line); !ok {
		t.Error("who is back is not tested")
	}
}

// TestRaisedClaim: a higher claim proves nothing by itself, and lowers quality until tests have read it.
func TestRaisedClaim(t *testing.T) {
	w := newWorld(t, "raised", 8)
	d := tested(w, 10*mega, 10*mega)
	before := d.state().Proven()
	d.claim = 100 * mega
	d.here()
	w.next()
	d.here()
	out := w.next()[d]
	if got := d.state().Proven(); got > before || out.Quality > 1200 {
		t.Errorf("%d proven after %d, quality %d", got, before, out.Quality)
	}
}

// TestLiars: two of eight challengers who lie in the device's favour lift nothing above what the line carries, and two
// who saw nothing take little. Three lift it: f is what is borne.
func TestLiars(t *testing.T) {
	const claim, line = 40 * mega, 20 * mega
	read := func(liars int, full bool) float64 {
		w := newWorld(t, "liars", 8)
		d := w.device("device", claim)
		for range 8 {
			d.here()
			if test, start := d.test(0); test != nil {
				for i, m := range test.Members {
					packets := w.carries(line, 3000) / 8
					if i < liars {
						packets = 0
						if full {
							packets = test.Packets
						}
					}
					d.report(m, d.seen(test, start, m, packets).Encode())
				}
			}
			w.next()
		}
		return float64(d.state().Proven()) / line
	}
	honest, lifted, held, more := read(0, false), read(2, true), read(2, false), read(3, true)
	t.Logf("honest %.3f, two liars for it %.3f, two against it %.3f, three for it %.3f", honest, lifted, held, more)
	if honest < 0.64 || honest > 0.67 || lifted > 1.01 || lifted < honest-0.01 || held < honest*2/3-0.01 || more <= lifted {
		t.Error("they count otherwise")
	}
}

// TestSpoiledTests: two tests of six may be spoiled.
func TestSpoiledTests(t *testing.T) {
	w := newWorld(t, "spoiled", 8)
	d := w.device("device", 20*mega)
	for n := range 10 {
		d.here()
		if line := uint64(20 * mega); n == 5 || n == 6 {
			d.honestly(0)
		} else {
			d.honestly(line)
		}
		w.next()
	}
	if s := d.state(); s.Proven() < 12*mega {
		t.Errorf("%d after two spoiled tests: %+v", s.Proven(), s.Readings)
	}
}

// TestOldReadings: what is as old as MaxAge is forgotten.
func TestOldReadings(t *testing.T) {
	w := newWorld(t, "old", 8)
	d := tested(w, 20*mega, 20*mega)
	w.epoch += MaxAge - 1
	if s := d.state(); s.Results() != results {
		t.Fatal(s.Results())
	}
	d.here()
	w.next()
	w.epoch += 10
	d.here()
	out := w.next()[d]
	if s := d.state(); s.Results() != 0 || s.Last.Epoch != 0 || ordered(out) != 0 {
		t.Errorf("%+v earns %d", s, ordered(out))
	}
}

// TestCrowdedPrefix: what the claims of a prefix add up to is bounded, a large claim takes nothing from small ones, and
// strangers who only claim take nothing from those who showed what they carry.
func TestCrowdedPrefix(t *testing.T) {
	crowded := func(strangers int) (w *world, old, small *device, crowd []*device) {
		w = newWorld(t, "crowded", 8)
		w.rules.Claim, w.rules.Prefix = 100*mega, 120*mega
		old = tested(w, 60*mega, 60*mega)
		small = w.device("small", 1*mega)
		for i := range strangers {
			crowd = append(crowd, w.device(fmt.Sprint("stranger ", i), 100*mega))
		}
		for range 4 {
			for _, d := range w.devices {
				d.here()
			}
			w.next()
		}
		sum := uint64(0)
		for _, d := range w.devices {
			s := d.state()
			if sum += s.Share; s.Share != 0 && s.Share < pob.MinClaim || s.Share > s.Claim {
				t.Errorf("a claim of %d is tested at %d", s.Claim, s.Share)
			}
		}
		if sum > w.rules.Prefix {
			t.Errorf("a prefix is tested at %d, at most %d", sum, w.rules.Prefix)
		}
		return w, old, small, crowd
	}
	for _, strangers := range []int{4, 20, 100, 300} {
		w, old, small, crowd := crowded(strangers)
		n := 0
		for _, d := range crowd {
			if share := d.state().Share; share > Beginner {
				t.Errorf("a stranger is tested at %d", share)
			} else if share > 0 {
				n++
			}
		}
		if old.state().Share != old.claim || n == 0 {
			t.Errorf("%d strangers: %d are tested, the old one at %d", strangers, n, old.state().Share)
		}
		if strangers <= 20 && small.state().Share != mega {
			t.Errorf("%d strangers: a small claim is tested at %d", strangers, small.state().Share)
		}
		// Elsewhere nobody notices.
		far := w.device("far", 60*mega)
		far.at = prefix("203.0.113.9")
		far.here()
		w.next()
		if far.state().Share != far.claim {
			t.Errorf("a device elsewhere is tested at %d", far.state().Share)
		}
	}
	// Where there are too many for a test each, all get their turn.
	w, _, _, crowd := crowded(150)
	waiting := map[*device]bool{}
	for _, d := range crowd {
		waiting[d] = true
	}
	for range 30 {
		for _, d := range w.devices {
			d.here()
		}
		w.next()
		for _, d := range crowd {
			if d.state().Share > 0 {
				delete(waiting, d)
			}
		}
	}
	if len(waiting) > 0 {
		t.Errorf("%d never have a turn", len(waiting))
	}
}

// TestReplay: reports of an earlier epoch, of another device, or with another's start count nothing.
func TestReplay(t *testing.T) {
	w := newWorld(t, "replay", 8)
	d, other := tested(w, 20*mega, 20*mega), w.device("other", 20*mega)
	other.here()
	test, start := d.test(0)
	var old [][]byte
	for _, m := range test.Members {
		old = append(old, d.seen(test, start, m, test.Packets).Encode())
	}
	members := test.Members
	w.next()
	d.here()
	for i, m := range members {
		d.report(m, old[i])
		other.report(m, old[i])
	}
	for _, dev := range []*device{d, other} {
		before := dev.state().Readings
		out := dev.judged()
		for _, v := range out.Reports {
			if v.Reason == "" || v.Proof {
				t.Errorf("an old report is %q", v.Reason)
			}
		}
		if dev.state().Readings != before {
			t.Error("an old report is a reading")
		}
	}
}

// TestYoungTests: of a test of beginners alone a device learns its score, and is not paid before all of the prefix were
// tested at once: else devices behind one line would be tested one after the other.
func TestYoungTests(t *testing.T) {
	w := newWorld(t, "young", 8)
	w.rules.Test.Whole = 1 << 40
	d := w.device("device", 20*mega)
	for range 7 {
		d.here()
		d.honestly(20 * mega)
		w.next()
	}
	d.here()
	if out := w.next()[d]; d.state().Score() < 12*mega || ordered(out) != 0 || out.Quality != 10_000 {
		t.Errorf("a score of %d, %d units, quality %d", d.state().Score(), ordered(out), out.Quality)
	}
	if got := d.judgedAsk(t, 10); got != SpeedUnproven {
		t.Errorf("it may promise 10 Mbit/s: %q", got)
	}
}

// TestLoweredClaim: nobody is paid for more than it claims.
func TestLoweredClaim(t *testing.T) {
	w := newWorld(t, "lowered", 8)
	d := tested(w, 20*mega, 20*mega)
	d.claim = 4 * mega
	d.here()
	if out := w.next()[d]; ordered(out) != 4*mega*Window/8000 {
		t.Errorf("%d units", ordered(out))
	}
}

// TestBeginnersShare: those who showed what they carry leave a quarter of a prefix to beginners.
func TestBeginnersShare(t *testing.T) {
	w := newWorld(t, "beginners", 8)
	w.rules.Claim, w.rules.Prefix = 100*mega, 100*mega
	old := tested(w, 100*mega, 100*mega)
	beginner := w.device("beginner", 20*mega)
	for _, d := range w.devices {
		d.here()
	}
	w.next()
	if old.state().Share != 90*mega || beginner.state().Share != Beginner {
		t.Errorf("the old one is tested at %d, a beginner at %d", old.state().Share, beginner.state().Share)
	}
}
