package compute

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/mac"
)

// auditors are the members of a device's panel in the current epoch.
func (d *device) auditors() (keys []types.PrivateKey, f int) {
	members, f := Panel(d.w.draw(&d.info, ForAudit))
	for _, m := range members {
		keys = append(keys, d.w.verifiers[m])
	}
	return keys, f
}

// audited makes a device with one session of n public jobs that were committed to two epochs ago.
func (w *world) audited(name string, n int) (*device, *session) {
	d := w.device(name, 0)
	s := d.session("customer of "+name, Wasm)
	for range n {
		s.job(1000, Public)
	}
	s.commit(0)
	d.judged()
	w.epoch += AuditDelay
	return d, s
}

func right(*Audit) {}

func wrong(a *Audit) { a.Result = types.Hash{0xad} }

func withheld(a *Audit) {
	a.Withheld, a.Leaf, a.Path, a.Result, a.Fuel = true, nil, nil, types.Hash{}, 0
}

// TestWrongDigest: a device that makes results up is found out by more than f of the drawn, and pays with rank
// and weight, not with its bond.
func TestWrongDigest(t *testing.T) {
	for name, c := range map[string]struct {
		says func(*Audit)
		want types.Reason
	}{
		"wrong digest": {wrong, ResultWrong},
		"wrong fuel":   {func(a *Audit) { a.Fuel-- }, ResultWrong},
		"withheld":     {withheld, ResultWithheld},
		"withheld input": {func(a *Audit) { // the leaf is shown, what it read is not
			a.Withheld, a.Result, a.Fuel = true, types.Hash{}, 0
		}, ResultWithheld},
	} {
		w := newWorld(t, name, 7)
		d, s := w.audited(name, 3)
		auditors, f := d.auditors()
		for _, by := range auditors[:f+1] {
			s.audit(by, 0, 0, 1, c.says)
		}
		out := d.judged()
		for i := range out.Reports {
			d.reported(out, i, c.want, false)
		}
		if st := d.state(); out.Quality != FaultyQuality || st.Faults != 1 || st.Passed != 0 || st.Suspended != w.epoch+24 {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// TestLyingAuditors: f of the drawn, the first one among them, can do nothing against a device, however they
// lie; and f who were not asked first cannot make an audit pass.
func TestLyingAuditors(t *testing.T) {
	for name, lie := range map[string]func(*Audit){"wrong": wrong, "withheld": withheld} {
		w := newWorld(t, "liars "+name, 7)
		d, s := w.audited("device", 1)
		auditors, f := d.auditors()
		for _, by := range auditors[:f] {
			s.audit(by, 0, 0, 0, lie)
		}
		out := d.judged()
		if st := d.state(); out.Quality != FirstQuality || st.Faults != 0 || st.Passed != 0 {
			t.Errorf("%s: quality %d, %+v", name, out.Quality, st)
		}
		// The others were asked, and agree: it passes all the same.
		w = newWorld(t, "liars "+name, 7)
		d, s = w.audited("device", 1)
		auditors, f = d.auditors()
		for i, by := range auditors {
			if i < f {
				s.audit(by, 0, 0, 0, lie)
			} else {
				s.audit(by, 0, 0, 0, right)
			}
		}
		if d.judged(); d.state().Passed != 1 {
			t.Errorf("%s: audits passed: %d", name, d.state().Passed)
		}
	}
	w := newWorld(t, "friends", 7)
	d, s := w.audited("device", 1)
	auditors, f := d.auditors()
	for _, by := range auditors[1 : f+1] {
		s.audit(by, 0, 0, 0, right)
	}
	s.audit(auditors[1], 0, 0, 0, right) // once more
	out := d.judged()
	d.reported(out, f, WitnessNotDrawn, false)
	if d.state().Passed != 0 {
		t.Error("an audit passed by verifiers who were not asked first")
	}
}

// TestLoneAuditor: one verifier alone decides only that all is well, and nobody else is needed for that.
func TestLoneAuditor(t *testing.T) {
	w := newWorld(t, "lone", 7)
	d, s := w.audited("device", 1)
	auditors, _ := d.auditors()
	s.audit(auditors[0], 0, 0, 0, right)
	if out := d.judged(); d.state().Passed != 1 || out.Quality != 5312 {
		t.Errorf("%+v", d.state())
	}
	w = newWorld(t, "lone", 7)
	d, s = w.audited("device", 1)
	auditors, _ = d.auditors()
	s.audit(auditors[0], 0, 0, 0, wrong)
	if out := d.judged(); out.Quality != FirstQuality || d.state().Faults != 0 {
		t.Errorf("a lying auditor alone: %+v", d.state())
	}
}

// TestFarmedAudits: a device that orders jobs of nothing from itself, and is audited for all of them, gains no
// more by them than by one.
func TestFarmedAudits(t *testing.T) {
	w := newWorld(t, "farm", 7)
	d, s := w.audited("device", 40)
	auditors, _ := d.auditors()
	for i := range s.leaves {
		s.audit(auditors[0], 0, 0, i, right)
	}
	out := d.judged()
	for i := range out.Reports {
		d.reported(out, i, "", false)
	}
	if out.Quality != 5312 || d.state().Passed != 1 {
		t.Errorf("quality %d, passed %d: each of 40 audits counts", out.Quality, d.state().Passed)
	}
}

// TestAuditsNotDrawn: what the seed did not draw, private and cut jobs, other epochs' results, and who was not
// drawn count for nothing.
func TestAuditsNotDrawn(t *testing.T) {
	w := newWorld(t, "not drawn", 9)
	d := w.device("device", 0)
	s := d.session("customer", Wasm)
	s.job(10, Private)
	s.job(10, Cut)
	s.job(10, Public)
	s.commit(0)
	s.commit(0) // once more in the same epoch: refused, so that nothing is drawn among it
	d.results[w.epoch] = d.results[w.epoch][:1]
	out := d.judged()
	d.want(out, 1, ResultsOrder)
	w.epoch += AuditDelay
	d.results[w.epoch-AuditDelay] = d.results[w.epoch-AuditDelay][:1]
	auditors, _ := d.auditors()
	by := auditors[0]
	var stranger types.PrivateKey
	for k, private := range w.verifiers {
		if !slices.ContainsFunc(auditors, func(a types.PrivateKey) bool { return a.Public() == k }) {
			stranger = private
		}
	}
	for i, c := range []struct {
		leaf int
		by   types.PrivateKey
		bend func(*Audit)
		want types.Reason
	}{
		{0, by, wrong, LeafNotDrawn},
		{1, by, wrong, LeafNotDrawn},
		{2, stranger, right, WitnessNotDrawn},
		{2, d.key, right, WitnessNotDrawn},
		{2, by, func(a *Audit) { a.Index = 3; withheld(a) }, LeafNotDrawn},
		{2, by, func(a *Audit) { a.Index = 1 }, LeafNotDrawn},
		{2, by, func(a *Audit) { a.Leaf.Fuel++; a.Fuel++ }, LeafNotDrawn},
		{2, by, func(a *Audit) { a.Place.Index++ }, LeafNotDrawn},
		{2, by, func(a *Audit) { a.Results[20] ^= 1 }, LeafNotDrawn},
		{2, by, right, ""},
	} {
		if at := s.audit(c.by, 0, 0, c.leaf, func(a *Audit) { a.Results = bytes.Clone(a.Results); c.bend(a) }); at != i {
			t.Fatal(at)
		}
		if i == 9 {
			out := d.judged()
			for k, want := range []types.Reason{LeafNotDrawn, LeafNotDrawn, WitnessNotDrawn, WitnessNotDrawn, LeafNotDrawn, LeafNotDrawn, LeafNotDrawn, LeafNotDrawn, LeafNotDrawn, ""} {
				d.reported(out, k, want, false)
			}
		}
	}
	// An epoch later the same results are drawn among no more; nor where challenges do not bind.
	for _, bend := range []func(*tally.Input){func(in *tally.Input) { in.Epoch++; in.Seed[0] ^= 1 }, func(in *tally.Input) { in.Challenged = false }} {
		w := newWorld(t, "not drawn", 9)
		d, s := w.audited("device", 1)
		auditors, _ := d.auditors()
		s.audit(auditors[0], 0, 0, 0, right)
		d.reported(d.judged(bend), 0, LeafNotDrawn, false)
	}
	// Who has passed many audits is drawn for few.
	drawn := 0
	for i := range uint32(10_000) {
		if Drawn(types.Hash{1}, types.Hash{2}, i, Chance(1000)) {
			drawn++
		}
	}
	if Chance(0) != 10_000 || Chance(1) != 5000 || Chance(1000) != 430 || drawn < 350 || drawn > 510 {
		t.Errorf("%d of 10,000 drawn by %d", drawn, Chance(1000))
	}
}

// TestBadRows: of a device that has a tenth of its rows wrong, witnesses show one within a check, and the bond pays.
func TestBadRows(t *testing.T) {
	caught := 0
	const tries = 3
	for i := range tries {
		w := newWorld(t, fmt.Sprint("bad rows ", i), 5)
		d := w.device("device", testModel)
		d.offer(1)
		r := d.call(0)
		random := w.random("rows")
		r.compute(1, 4, func(s *Step) types.Hash {
			r.honest(s)
			p := r.product[s.T]
			for range p.N / 10 {
				p.C[random.Below(uint64(len(p.C)))]++
			}
			return p.Tree().Root()
		})
		r.sighted()
		d.submit(KindCheck, r.check.Encode())
		out := d.judged()
		for k := range out.Reports {
			if v := out.Reports[k]; v.Proof {
				d.reported(out, k, RowWrong, true)
				caught++
			}
		}
		d.want(out, 0, SuspendedHere)
		d.want(out, 1, CheckFailed)
		if st := d.state(); st.Quality > FaultyQuality || st.Suspended != w.epoch+24 {
			t.Errorf("try %d: %+v", i, st)
		}
	}
	if caught != tries {
		t.Errorf("caught %d times in %d, want once in each", caught, tries)
	}
}

// TestSkippedRounds: who makes up a part of its rounds counts more of them, and earns less.
func TestSkippedRounds(t *testing.T) {
	income := func(skip uint64, liars int) (sum uint64) { // of 100 epochs, skip of 100 rounds
		w := newWorld(t, fmt.Sprint("skip ", skip), 7)
		w.unsigned = true
		d := w.device("device", 0)
		random := w.random("skip")
		for range 100 {
			d.offer(8)
			r := d.call(0)
			rounds := uint32(2000 / (100 - skip)) // in the time of 20 honest ones
			r.compute(1, rounds, func(s *Step) types.Hash {
				if random.Below(100) < skip {
					return types.Sum(s.Seed[:])
				}
				return r.honest(s)
			})
			for i, m := range r.members {
				s := r.witness(m)
				if i < liars {
					s.OK = false
				}
				d.report(w.verifiers[m], KindSighting, s.Encode())
			}
			d.submit(KindCheck, r.check.Encode())
			out := d.judged()
			sum += ordered(out) * uint64(out.Quality) // what weight follows
			w.next()
		}
		return sum
	}
	for _, liars := range []int{0, 2} {
		honest, last := income(0, liars), uint64(1<<63)
		for _, skip := range []uint64{5, 10, 30} {
			got := income(skip, liars)
			t.Logf("%d of the drawn against it, %d %% of rounds made up: %d %% of honest income", liars, skip, 100*got/honest)
			if got >= honest || got >= last {
				t.Errorf("%d liars: with %d %% of rounds skipped it earns %d, honestly %d, with fewer %d", liars, skip, got, honest, last)
			}
			last = got
		}
	}
}

// TestReusedNonce: nonces of another slot, epoch or device, or of nobody drawn, begin no check: work that was
// done ahead is worth nothing.
func TestReusedNonce(t *testing.T) {
	w := newWorld(t, "nonce", 7)
	d, other := w.device("device", 0), w.device("another", 0)
	past := d.call(0) // kept, with all that was computed for it
	theirs := other.call(1)
	w.next()
	old := d.call(0)
	for name, c := range map[string]func(r *run){
		"of another epoch":  func(r *run) { r.nonces = past.nonces },
		"of another slot":   func(r *run) { r.nonces = old.nonces },
		"of another device": func(r *run) { r.nonces = theirs.nonces },
		"too few":           func(r *run) { r.nonces = r.nonces[:r.f] },
		"one twice":         func(r *run) { r.nonces = slices.Repeat(r.nonces[:1], r.f+1) },
		"made up":           func(r *run) { r.nonces = slices.Clone(r.nonces); r.nonces[0].Nonce[0] ^= 1 },
		"its own": func(r *run) {
			n := Nonce{Epoch: w.epoch, Device: d.info.Key, Slot: r.slot}
			r.nonces = append(slices.Clone(r.nonces[1:]), n.Sign(testChain, d.key))
			slices.SortFunc(r.nonces, func(a, b SignedNonce) int { return bytes.Compare(a.Witness[:], b.Witness[:]) })
		},
	} {
		d.line = nil
		r := d.call(1)
		c(r)
		r.compute(1, 20, r.honest)
		r.sighted()
		at := d.submit(KindCheck, r.check.Encode())
		out := d.judged()
		if got := out.Evidence[at].Reason; got != NonceMissing {
			t.Errorf("nonces %s: %q", name, got)
		}
		if s := d.state(); s.Rates[0] != 0 || s.Quality >= FirstQuality {
			t.Errorf("nonces %s: rates %d, quality %d", name, s.Rates, s.Quality)
		}
	}
}

// TestReplayedCheck: a check counts once, in its slot, in its epoch, and only where the slot fires.
func TestReplayedCheck(t *testing.T) {
	w := newWorld(t, "replay", 5)
	d := w.device("device", 0)
	d.pass(0, 1)
	body := bytes.Clone(d.evidence[0].Body)
	again := d.submit(KindCheck, body) // twice in one epoch
	reports := slices.Clone(d.reports)
	out := d.judged()
	d.want(out, again, SlotUnproven)
	rate := d.state().Rates
	if rate[0] == 0 || rate[1] != 0 {
		t.Errorf("rates %d", rate)
	}
	// Handed in once more in the same epoch's terms, with the witnesses' own reports.
	d.submit(KindCheck, body)
	d.reports = reports
	out = d.judged()
	d.want(out, 0, SlotUnproven)
	d.reported(out, 0, SlotUnproven, false)
	w.next()
	d.submit(KindCheck, body)
	out = d.judged()
	d.want(out, 0, SlotUnproven)
	if d.state().Rates != rate {
		t.Errorf("rates %d after a replay, before %d", d.state().Rates, rate)
	}
	for name, bend := range map[string]func(r *run){
		"a slot that does not fire":        func(r *run) { r.slot-- },
		"another's proof":                  func(r *run) { r.proof, _ = ProveSlot(d.key, testChain, w.seed(), r.slot, 2) },
		"a slot of yesterday":              func(r *run) { r.slot = 7; r.proof = prove(w, 7) },
		"a slot of the day after tomorrow": func(r *run) { r.slot += 20_000; r.proof = prove(w, r.slot) },
	} {
		d.line = nil
		r := d.call(1)
		bend(r)
		r.compute(1, 20, r.honest)
		at := d.submit(KindCheck, r.check.Encode())
		if got := d.judged().Evidence[at].Reason; got != SlotUnproven {
			t.Errorf("%s: %q", name, got)
		}
	}
	d.line = nil
	d.pass(0, 1)
	d.want(d.judged(func(in *tally.Input) { in.Challenged = false }), 0, SlotUnproven)
	d.line = nil // and one signature after the other has a bound
	for range maxChecks + 1 {
		d.submit(KindCheck, body)
	}
	d.want(d.judged(), maxChecks, types.OverQuota)
}

func prove(w *world, slot uint64) []byte {
	proof, _ := ProveSlot(w.vrf[Caller(w, w.seed()).Key], testChain, w.seed(), slot, 1)
	return proof
}

// TestHankel: the shortcut with which matrices of few numbers are multiplied in O(n²), which passes for work
// elsewhere, computes nothing here: rows have no such structure, and what it gives for other matrices is
// refused.
func TestHankel(t *testing.T) {
	const n = mac.MinOrder
	seed := types.Sum([]byte("hankel"))
	a, b := make([]int8, 2*n), make([]int8, 2*n)
	mac.Row(a, seed, mac.A, 0)
	mac.Row(b, seed, mac.B, 0)
	full := func(x []int8) []int8 { // entry (i, j) is x[i+j]
		m := make([]int8, n*n)
		for i := range n {
			copy(m[i*n:][:n], x[i:])
		}
		return m
	}
	want := make([]int32, n*n)
	mac.Multiply(want, full(a), full(b), n)
	quick, products := make([]int32, n*n), 0
	for i := range n { // C[i+1][j+1] = C[i][j] − a[i]·b[j] + a[i+n]·b[n+j]
		for j := range n {
			if i > 0 && j > 0 {
				quick[i*n+j] = quick[(i-1)*n+j-1] - int32(a[i-1])*int32(b[j-1]) + int32(a[i-1+n])*int32(b[n+j-1])
				products += 2
				continue
			}
			for k := range n {
				quick[i*n+j] += int32(a[i+k]) * int32(b[k+j])
				products++
			}
		}
	}
	if !slices.Equal(quick, want) || products > 4*n*n {
		t.Fatalf("the shortcut does not work on what it was made for, with %d products", products)
	}
	// The same on rows as they are here: a device takes row 0 for the numbers of a structured matrix.
	w := newWorld(t, "hankel", 5)
	d := w.device("device", testModel)
	r := d.call(0)
	r.compute(1, 4, func(s *Step) types.Hash {
		p := &mac.Product{N: n, C: quick}
		r.product[s.T] = p
		return p.Tree().Root()
	})
	r.sighted()
	d.submit(KindCheck, r.check.Encode())
	out := d.judged()
	d.want(out, 0, CheckFailed)
	if d.state().Rates[0] != 0 {
		t.Errorf("rate %d", d.state().Rates[0])
	}
	if proofs := slices.IndexFunc(out.Reports, func(v tally.Verdict) bool { return v.Proof && v.Reason == RowWrong }); proofs < 0 {
		t.Error("no wrong row was shown")
	}
	// And no row of a factor is another one shifted.
	rows := mac.Fill(seed, mac.A, n)
	for i := 1; i < n; i++ {
		if slices.Equal(rows[i*n:][:64], rows[(i-1)*n+1:][:64]) {
			t.Errorf("row %d is row %d, shifted", i, i-1)
		}
	}
}

// TestOneCore: two identities on one core do half each, as one slot is for all devices of a network. Were each
// checked in a slot of its own, each would earn what the core does.
func TestOneCore(t *testing.T) {
	earn := func(apart bool, names ...string) (sum uint64) {
		w := newWorld(t, "core", 5)
		var all []*device
		for _, n := range names {
			all = append(all, w.device(n, 0))
		}
		for range 4 {
			for i, d := range all {
				d.offer(1)
				if apart {
					d.speed = 20
					d.pass(i, 1)
				} else {
					d.speed = 20 / uint32(len(all)) // the core's rounds in Window are shared
					if r, slot := d.pass(0, 1), all[0].state().Slot; i > 0 && r.slot != slot {
						t.Fatalf("devices of one network are checked in slots %d and %d", slot, r.slot)
					}
				}
				sum += ordered(d.judged())
			}
			w.next()
		}
		return sum
	}
	one, two := earn(false, "one"), earn(false, "one", "two")
	t.Logf("one identity earns %d wu, two on the same core %d; checked apart they would earn %d", one, two, earn(true, "one", "two"))
	if two > one || one == 0 {
		t.Errorf("one identity earns %d, two earn %d", one, two)
	}
	if apart := earn(true, "one", "two"); apart != 2*one {
		t.Errorf("checked apart two identities earn %d, want twice %d: the test sees no attack", apart, one)
	}
	if got := earn(false, "1", "2", "3", "4", "5", "6"); got != 0 {
		t.Errorf("chains of 3 rounds earn %d", got)
	}
}

// TestLyingWitnesses: f of the drawn can neither lift a rate above what an honest one saw, nor have an honest
// device fail.
func TestLyingWitnesses(t *testing.T) {
	for _, verifiers := range []int{3, 5} {
		for name, lie := range map[string]func(*Sighting){
			"too many": func(s *Sighting) { s.Count = 1 << 20 },
			"none":     func(s *Sighting) { s.Count = 0 },
			"not ok":   func(s *Sighting) { s.OK = false; s.Count = 0 },
		} {
			w := newWorld(t, "liars", verifiers)
			d := w.device("device", 0)
			r := d.call(0)
			r.compute(1, 20, r.honest)
			r.check.Steps = 1 << 20 // the device says the same
			for i, m := range r.members {
				s := r.witness(m)
				if i < r.f {
					lie(s)
				}
				d.report(w.verifiers[m], KindSighting, s.Encode())
			}
			d.submit(KindCheck, r.check.Encode())
			out := d.judged()
			d.want(out, 0, "")
			if want := Rate(20, CPU, 1); d.state().Rates[0] != want {
				t.Errorf("%d verifiers, %d of them say %s: rate %d, want %d", verifiers, r.f, name, d.state().Rates[0], want)
			}
		}
	}
	// Reports of others, of another slot, or twice, are none; f+1 nonces suffice.
	w := newWorld(t, "strangers", 9)
	d := w.device("device", 0)
	r := d.call(0)
	r.nonces = r.nonces[:r.f+1]
	r.compute(1, 20, r.honest)
	for k, private := range w.verifiers {
		if !slices.Contains(r.members, k) {
			d.reported(d.judged(func(in *tally.Input) {
				in.Reports = []*evidence.Envelope{evidence.Sign(private, evidence.Payload{Chain: testChain, Category: types.Compute, Kind: KindSighting, Epoch: w.epoch, Seq: 1,
					Body: (&Sighting{Device: d.info.Key, Slot: r.slot}).Encode()})}
			}), 0, WitnessNotDrawn, false)
		}
	}
	d.line = nil
	r.sighted()
	d.report(w.verifiers[r.members[0]], KindSighting, r.witness(r.members[0]).Encode())
	d.submit(KindCheck, r.check.Encode())
	out := d.judged()
	d.want(out, 0, "")
	d.reported(out, len(r.members), WitnessNotDrawn, false)
	for _, lied := range [][]uint32{{20, 20, 20, 20, 20}, {20, 20, 20, 99, 99}, {0, 0, 20, 20, 20}, {20, 99, 99}} {
		if n, ok := Count(lied, 2); !ok || n != 20 {
			t.Errorf("%d: %d", lied, n)
		}
	}
	if _, ok := Count([]uint32{20, 20}, 2); ok {
		t.Error("f witnesses suffice")
	}
}

// TestLeavesTwice: no leaf backs two payments: not in one epoch, not in two, not of another session or payer.
func TestLeavesTwice(t *testing.T) {
	w := newWorld(t, "twice", 5)
	d := w.device("device", 0)
	s := d.session("customer", Wasm)
	s.job(1000, Public)
	s.commit(0)
	again := d.submit(KindResults, s.tree(0).Results(1000).Encode()) // the same leaves, as if they followed
	at := s.pay(2000)
	out := d.judged()
	d.want(out, again, ResultsOrder)
	d.wantPaid(out, at, NoResult)

	w.next()
	s.commit(0)
	s.settles(1000, "")
	w.next()
	s.commit(0) // again, in another epoch: it covers what was paid, and no more
	s.settles(2000, NoResult)

	// Moved on in the session's count: that pays, and is a conflict that anybody can show who has both.
	w.next()
	first := d.results[w.epoch-1][0]
	d.submit(KindResults, s.tree(0).Results(1000).Encode())
	second := d.evidence[0]
	s.settles(2000, "")
	w.next()
	path := s.tree(0).Prove(0)
	claim := func(e *evidence.Envelope) Claim {
		return Claim{Committed: &Committed{Results: e.Raw, Leaf: s.leaves[0], Path: path}}
	}
	d.report(w.verifiers[w.Voters[0].Key], KindFault, (&Fault{Device: d.info.Key, Conflict: &Conflict{A: claim(first), B: claim(second)}}).Encode())
	d.reported(d.judged(), 0, ResultConflict, true)

	// Another payer with the same session id.
	w.next()
	s.commit(0)
	s.pay(3000)
	d.receipts = nil
	other := *s
	other.payer = key("accomplice").Public()
	d.paid = map[types.SessionID]tally.ReceiptItem{}
	a, b := s.pay(1000), other.pay(1000)
	out = d.judged()
	d.wantPaid(out, a, "")
	d.wantPaid(out, b, NoResult)

	// Leaves of another session.
	w.next()
	s.commit(0)
	stranger := d.session("another customer", Wasm)
	stranger.settles(1000, NoResult)
}

// TestOverFuel: a receipt for more than the leaves say waits, whoever signed it.
func TestOverFuel(t *testing.T) {
	w := newWorld(t, "over", 5)
	d := w.device("device", 0)
	s := d.session("customer", Wasm)
	s.job(1000, Public)
	s.commit(0)
	at := s.pay(1001)
	d.wantPaid(d.judged(), at, NoResult)
	// A root that says more than its leaves do proves nothing of them: who audits sees that its paths do not
	// lead there.
	w.next()
	r := s.tree(0).Results(0)
	r.Fuel = 5000
	d.submit(KindResults, r.Encode())
	path := s.tree(0).Prove(0)
	if _, err := r.Verify(&s.leaves[0], &path); err == nil {
		t.Error("a leaf of 1,000 under a root of 5,000")
	}
}

// TestConflicts: two statements about one job prove themselves, whoever hands them in, once.
func TestConflicts(t *testing.T) {
	w := newWorld(t, "conflict", 5)
	d := w.device("device", 0)
	s := d.session("customer", Wasm)
	told := s.job(1000, Public) // what the customer was told
	l := s.leaves[0]
	l.Result = types.Sum([]byte("another"))
	s.leaves[0] = l // what the device commits to
	s.commit(0)
	e := d.evidence[0]
	d.judged()
	w.next()
	path := s.tree(0).Prove(0)
	committed := Claim{Committed: &Committed{Results: e.Raw, Leaf: l, Path: path}}
	hidden := l
	hidden.Mode = Private
	by := w.verifiers[w.Voters[0].Key]
	clash := func(a, b Claim) *Fault { return &Fault{Device: d.info.Key, Conflict: &Conflict{A: a, B: b}} }
	for name, c := range map[string]struct {
		fault *Fault
		want  types.Reason
	}{
		"told and committed":       {clash(Claim{Signed: told}, committed), ResultConflict},
		"told twice":               {clash(Claim{Signed: told}, Claim{Signed: s.sign(l)}), ResultConflict},
		"told public, then hidden": {clash(Claim{Signed: s.sign(l)}, Claim{Signed: s.sign(hidden)}), ResultConflict},
		"the same":                 {clash(committed, committed), FaultUnproven},
		"the same, told":           {clash(committed, Claim{Signed: s.sign(l)}), FaultUnproven},
		"of two jobs":              {clash(committed, Claim{Signed: s.sign(Leaf{Session: s.id, Index: 1, Result: Nothing, Mode: Public})}), FaultUnproven},
		"not its signature": {clash(committed, Claim{Signed: &SignedLeaf{Epoch: w.epoch, Leaf: hidden,
			Signature: by.Sign(DomainLeaf, testChain, nil)}}), FaultUnproven},
		"another's envelope": {clash(Claim{Signed: told}, Claim{Committed: &Committed{Results: evidence.Sign(by, e.Payload).Raw, Leaf: l, Path: path}}), FaultUnproven},
		"another kind": {clash(Claim{Signed: told}, Claim{Committed: &Committed{Results: evidence.Sign(d.key, evidence.Payload{
			Chain: testChain, Category: types.Compute, Kind: KindOffer, Epoch: w.epoch, Seq: 99, Body: e.Body}).Raw, Leaf: l, Path: path}}), FaultUnproven},
		"a leaf that is not there": {clash(Claim{Signed: told}, Claim{Committed: &Committed{Results: e.Raw, Leaf: hidden, Path: path}}), FaultUnproven},
	} {
		line := bytes.Clone(d.line)
		d.report(by, KindFault, c.fault.Encode())
		out := d.judged()
		if v := out.Reports[0]; v.Reason != c.want || v.Proof != (c.want != FaultUnproven) {
			t.Errorf("%s: %q, proof %t; want %q", name, v.Reason, v.Proof, c.want)
		}
		if st := d.state(); (st.Faults == 1) != (c.want != FaultUnproven) {
			t.Errorf("%s: %d faults", name, st.Faults)
		}
		d.line = line
	}
	// One fault pays for all of its time: not twice in one epoch, not again later, and not when it is too old.
	fault := clash(Claim{Signed: told}, committed).Encode()
	d.report(by, KindFault, fault)
	d.report(w.verifiers[w.Voters[1].Key], KindFault, fault)
	d.report(by, KindFault, fault)
	d.report(d.key, KindFault, fault)
	out := d.judged()
	for i, want := range []types.Reason{ResultConflict, FaultSettled, types.OverQuota, WitnessNotDrawn} {
		d.reported(out, i, want, i == 0)
	}
	w.next()
	d.report(by, KindFault, fault)
	d.reported(d.judged(), 0, FaultSettled, false)
	d.line = nil
	w.epoch += FaultDelay
	d.report(by, KindFault, fault)
	d.reported(d.judged(), 0, FaultSettled, false)
}

// TestSteps: steps that contradict each other, or do not follow, prove themselves; honest ones prove nothing.
func TestSteps(t *testing.T) {
	w := newWorld(t, "steps", 5)
	d := w.device("device", 0)
	r := d.call(0)
	r.compute(2, 4, r.honest)
	d.submit(KindCheck, r.check.Encode())
	check := d.evidence[0]
	by := w.verifiers[r.members[0]]
	sign := func(s Step) SignedStep { return s.Sign(testChain, d.key) }
	at := func(i int) SignedStep { return r.steps[i] }
	other := at(2).Step
	other.Root[0] ^= 1
	jump := at(3).Step
	jump.Seed[0] ^= 1
	begin := at(0).Step
	begin.Seed[0] ^= 1
	elsewhere := jump
	elsewhere.Slot++
	first := func(s SignedStep) *SignedStep { return &s }
	for name, c := range map[string]struct {
		fault StepFault
		want  types.Reason
	}{
		"two for one":            {StepFault{First: first(at(2)), Second: sign(other)}, StepBroken},
		"one that does not fit":  {StepFault{First: first(at(2)), Second: sign(jump)}, StepBroken},
		"another beginning":      {StepFault{Check: check.Raw, Second: sign(begin)}, StepBroken},
		"honest":                 {StepFault{First: first(at(2)), Second: at(3)}, FaultUnproven},
		"twice the same":         {StepFault{First: first(at(2)), Second: at(2)}, FaultUnproven},
		"two chains":             {StepFault{First: first(at(2)), Second: at(6)}, FaultUnproven},
		"with a gap":             {StepFault{First: first(at(1)), Second: at(3)}, FaultUnproven},
		"two slots":              {StepFault{First: first(at(2)), Second: sign(elsewhere)}, FaultUnproven},
		"an honest beginning":    {StepFault{Check: check.Raw, Second: at(4)}, FaultUnproven},
		"not a beginning":        {StepFault{Check: check.Raw, Second: at(1)}, FaultUnproven},
		"not signed by it":       {StepFault{First: first(at(2)), Second: other.Sign(testChain, by)}, FaultUnproven},
		"the first one is not":   {StepFault{First: first(other.Sign(testChain, by)), Second: at(2)}, FaultUnproven},
		"a check of somebody's":  {StepFault{Check: evidence.Sign(by, check.Payload).Raw, Second: sign(begin)}, FaultUnproven},
		"a check that is no one": {StepFault{Check: []byte{1}, Second: sign(begin)}, FaultUnproven},
	} {
		fault := &Fault{Device: d.info.Key, Step: &c.fault}
		if got := fault.Prove(testChain); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if got := fault.Prove("another chain"); got != FaultUnproven {
			t.Errorf("%s, on another chain: %q", name, got)
		}
	}
	// What a witness sees of a device that starts anew in the middle.
	watch := NewWatch(testChain, d.info.Key, w.epoch, r.slot, d.hardware(), r.nonces)
	for i := range 4 {
		if err := watch.Add(&r.steps[i]); err != nil {
			t.Fatal(err)
		}
	}
	again := sign(other)
	if err := watch.Add(&again); types.ReasonOf(err) != StepBroken || watch.Fault() == nil || watch.Fault().Prove(testChain) != StepBroken {
		t.Errorf("two steps for one: %v, %v", err, watch.Fault())
	}
	d.evidence = nil
	d.report(by, KindFault, watch.Fault().Encode())
	d.reported(d.judged(), 0, StepBroken, true)
}

// TestRowFaults: a row is a fault only if the device committed to it and it is wrong.
func TestRowFaults(t *testing.T) {
	w := newWorld(t, "rows", 5)
	d := w.device("device", testModel)
	r := d.call(0)
	r.compute(1, 1, func(s *Step) types.Hash {
		r.honest(s)
		r.product[0].C[3*mac.MinOrder+5]++ // one entry of row 3
		return r.product[0].Tree().Root()
	})
	p, tree := r.product[0], r.product[0].Tree()
	fault := func(row int) *RowFault {
		return &RowFault{Step: r.steps[0], N: mac.MinOrder, Row: p.Row(row), Path: tree.Proof(row)}
	}
	for name, c := range map[string]struct {
		fault *RowFault
		bend  func(*RowFault)
		want  types.Reason
	}{
		"wrong":             {fault(3), func(*RowFault) {}, RowWrong},
		"right":             {fault(4), func(*RowFault) {}, FaultUnproven},
		"not committed to":  {fault(4), func(f *RowFault) { f.Row[0] ^= 1 }, FaultUnproven},
		"another place":     {fault(4), func(f *RowFault) { f.Path.Index = 3 }, FaultUnproven},
		"another order":     {fault(3), func(f *RowFault) { f.N = 1024 }, FaultUnproven},
		"no order":          {fault(3), func(f *RowFault) { f.N = 1<<32 - 1 }, FaultUnproven},
		"another's step":    {fault(3), func(f *RowFault) { f.Step = f.Step.Step.Sign(testChain, key("somebody")) }, FaultUnproven},
		"an order of fewer": {fault(3), func(f *RowFault) { f.N, f.Path.Count = 256, 256 }, FaultUnproven},
	} {
		c.bend(c.fault)
		if got := (&Fault{Device: d.info.Key, Row: c.fault}).Prove(testChain); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	// The longest row there is fits an envelope.
	long := &Fault{Row: &RowFault{N: mac.MaxOrder, Row: make([]byte, 4*mac.MaxOrder), Path: merkle.Proof{Siblings: make([]types.Hash, 13)}}}
	if n := len(long.Encode()); n > evidence.MaxBody {
		t.Errorf("a fault of %d bytes", n)
	}
}

// TestSuspension: each fault doubles how long nothing has weight, up to a month.
func TestSuspension(t *testing.T) {
	s := &State{Epoch: 1000, Quality: 9000, Passed: 7}
	for i, want := range []types.Epoch{24, 48, 96, 192, 384, 720, 720} {
		s.Suspended = 0
		s.fail()
		if s.Suspended != 1000+want || s.Quality != 1000 || s.Passed != 0 {
			t.Errorf("fault %d: %+v", i+1, s)
		}
	}
	s.Faults = 255
	s.fail()
	if s.Faults != 255 || s.Suspended != 1720 {
		t.Errorf("%+v", s)
	}
}

// TestSlotsFire: about one slot in rarity fires, for its caller alone, and nobody else's proof passes.
func TestSlotsFire(t *testing.T) {
	w := newWorld(t, "fire", 5)
	caller := Caller(w, w.seed())
	fired := 0
	for slot := range uint64(400) {
		proof, fires := ProveSlot(w.vrf[caller.Key], testChain, w.seed(), slot, 8)
		if fires {
			fired++
		}
		if fires != SlotFires(caller.VRF, testChain, w.seed(), slot, 8, proof) || SlotFires(caller.VRF, testChain, w.seed(), slot+1, 8, proof) {
			t.Fatal("a proof of one slot says something of another")
		}
		if SlotFires(caller.VRF, "another chain", w.seed(), slot, 1, proof) || SlotFires(caller.VRF, testChain, types.Hash{}, slot, 1, proof) {
			t.Fatal("a proof of another chain or epoch passes")
		}
	}
	if fired < 30 || fired > 72 {
		t.Errorf("%d of 400 slots fire, want about 50", fired)
	}
	counts := map[types.Key]int{}
	for i := range 200 {
		counts[Caller(w, types.Sum(binary.BigEndian.AppendUint64(nil, uint64(i)))).Key]++
	}
	if len(counts) != 5 {
		t.Errorf("%d of 5 verifiers are ever called", len(counts))
	}
	if Caller(newWorld(t, "nobody", 0), types.Hash{}) != nil {
		t.Error("nobody calls")
	}
}
