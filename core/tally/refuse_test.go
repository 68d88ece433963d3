package tally

import (
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// TestEvidenceRefused shows each check on evidence catch what it is there for. Beside every bad envelope a good
// one counts.
func TestEvidenceRefused(t *testing.T) {
	work := workBody{Class: 1, Units: types.U64(5), Quality: 10_000}
	for name, c := range map[string]struct {
		reason types.Reason
		spoil  func(w *world, d *device, p evidence.Payload) Item
	}{
		"truncated": {types.BadEncoding, func(w *world, d *device, p evidence.Payload) Item {
			raw := evidence.Sign(d.key, p).Raw
			return Item{Evidence, raw[:len(raw)-1]}
		}},
		"trailing": {types.BadEncoding, func(w *world, d *device, p evidence.Payload) Item {
			return Item{Evidence, append(evidence.Sign(d.key, p).Raw, 0)}
		}},
		"wrong chain": {types.WrongChain, func(w *world, d *device, p evidence.Payload) Item {
			p.Chain = "cairn-test-2"
			return Item{Evidence, evidence.Sign(d.key, p).Raw}
		}},
		"oversize": {types.Oversize, func(w *world, d *device, p evidence.Payload) Item {
			return Item{Evidence, make([]byte, evidence.MaxEnvelope+1)}
		}},
		"flipped signature": {types.BadSignature, func(w *world, d *device, p evidence.Payload) Item {
			raw := evidence.Sign(d.key, p).Raw
			raw[len(raw)-1] ^= 1
			return Item{Evidence, raw}
		}},
		"flipped body": {types.BadSignature, func(w *world, d *device, p evidence.Payload) Item {
			raw := evidence.Sign(d.key, p).Raw
			raw[len(raw)-70] ^= 1
			return Item{Evidence, raw}
		}},
		"stranger": {types.UnknownAuthor, func(w *world, d *device, p evidence.Payload) Item {
			return Item{Evidence, evidence.Sign(key("stranger", 1), p).Raw}
		}},
		"unknown category": {types.UnknownCategory, func(w *world, d *device, p evidence.Payload) Item {
			p.Category = 99
			return Item{Evidence, evidence.Sign(d.key, p).Raw}
		}},
		"unknown kind": {types.UnknownKind, func(w *world, d *device, p evidence.Payload) Item {
			p.Kind = 99
			return Item{Evidence, evidence.Sign(d.key, p).Raw}
		}},
		"an epoch early": {types.WrongEpoch, func(w *world, d *device, p evidence.Payload) Item {
			p.Epoch++
			return Item{Evidence, evidence.Sign(d.key, p).Raw}
		}},
		"an epoch late": {types.WrongEpoch, func(w *world, d *device, p evidence.Payload) Item {
			p.Epoch--
			return Item{Evidence, evidence.Sign(d.key, p).Raw}
		}},
		"a cumulative kind of a tallied epoch": {types.WrongEpoch, func(w *world, d *device, p evidence.Payload) Item {
			p.Kind, p.Epoch = kindNote, p.Epoch-1
			return Item{Evidence, evidence.Sign(d.key, p).Raw}
		}},
		"another block": {types.BadAnchor, func(w *world, d *device, p evidence.Payload) Item {
			p.Anchor.Hash[3] ^= 1
			return Item{Evidence, evidence.Sign(d.key, p).Raw}
		}},
		"a block to come": {types.BadAnchor, func(w *world, d *device, p evidence.Payload) Item {
			p.Anchor = anchor(1000)
			return Item{Evidence, evidence.Sign(d.key, p).Raw}
		}},
		"an old number": {types.StaleSeq, func(w *world, d *device, p evidence.Payload) Item {
			p.Seq = 1
			return Item{Evidence, evidence.Sign(d.key, p).Raw}
		}},
		"what the category refuses": {badThing, func(w *world, d *device, p evidence.Payload) Item {
			p.Body = types.Encode(workBody{Class: 1, Quality: 10_001})
			return Item{Evidence, evidence.Sign(d.key, p).Raw}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.epoch = 3
			d, honest := w.device(1), w.device(2)
			d.say(thing, kindNote, 0)
			d.say(thing, kindNote, 0)
			w.tally()
			bad := c.spoil(w, d, d.payload(thing, kindWork, work))
			w.items = append(w.items, bad)
			good := honest.say(thing, kindWork, work)
			w.tally()
			w.want(bad, c.reason)
			w.want(good, "")
			if share := w.state.Line(d.id).share(thing); !share.Weight.IsZero() {
				t.Fatalf("refused work weighs %s", share.Weight)
			}
			if share := w.state.Line(honest.id).share(thing); share.Weight != types.U64(150_000) { // 5 and 10 units from Cross
				t.Fatalf("work weighs %s", share.Weight)
			}
		})
	}
}

// TestReceiptRefused shows each check on receipts catch what it is there for.
func TestReceiptRefused(t *testing.T) {
	type setup struct {
		w       *world
		d, e    *device
		p, q    *payer
		a       *receipt.Ask
		id      types.SessionID // paid 1,000 for 2,000 units in number 5
		expired types.SessionID
	}
	for name, c := range map[string]struct {
		reason types.Reason
		paid   types.Credit // what d is paid beyond the first 1,000
		spoil  func(s *setup) Item
	}{
		"replayed":       {types.Superseded, 0, func(s *setup) Item { return s.p.pay(s.d, s.a, s.id, 2000, 1000, 5) }},
		"newer, no more": {types.StaleSeq, 0, func(s *setup) Item { return s.p.pay(s.d, s.a, s.id, 2000, 1000, 6) }},
		"older, less":    {types.Superseded, 0, func(s *setup) Item { return s.p.pay(s.d, s.a, s.id, 1000, 500, 4) }},
		"older number":   {types.StaleSeq, 0, func(s *setup) Item { return s.p.pay(s.d, s.a, s.id, 4000, 2000, 4) }},
		"falling amount": {types.FallingTotals, 0, func(s *setup) Item { return s.p.pay(s.d, s.a, s.id, 3000, 999, 6) }},
		"falling units":  {types.FallingTotals, 0, func(s *setup) Item { return s.p.pay(s.d, s.a, s.id, 1999, 999, 6) }},
		"over price":     {types.OverPrice, 0, func(s *setup) Item { return s.p.pay(s.d, s.a, s.id, 2001, 1001, 6) }},
		"at price":       {"", 1000, func(s *setup) Item { return s.p.pay(s.d, s.a, s.id, 4000, 2000, 6) }},
		"units alone":    {"", 0, func(s *setup) Item { return s.p.pay(s.d, s.a, s.id, 2001, 1000, 6) }},
		"another device's session": {types.SessionMismatch, 0, func(s *setup) Item {
			return s.p.pay(s.e, s.a, s.id, 4000, 2000, 6)
		}},
		"another ask": {types.SessionMismatch, 0, func(s *setup) Item {
			return s.p.pay(s.d, s.d.ask(thing, 600), s.id, 4000, 2000, 6)
		}},
		"another category": {types.SessionMismatch, 0, func(s *setup) Item {
			r := s.p.receipt(s.d, s.a, s.id, 4000, 2000, 6)
			r.Category = other
			return s.w.add(Receipt, s.p.sign(s.d, r).Raw)
		}},
		"not for this category": {types.UnknownCategory, 0, func(s *setup) Item {
			r := s.p.receipt(s.d, s.a, s.id, 4000, 2000, 6)
			r.Category = 99
			return s.w.add(Receipt, s.p.sign(s.d, r).Raw)
		}},
		"another chain": {types.WrongChain, 0, func(s *setup) Item {
			r := s.p.receipt(s.d, s.a, s.id, 4000, 2000, 6)
			r.Chain = "cairn-test-2"
			return s.w.add(Receipt, s.p.sign(s.d, r).Raw)
		}},
		"a session to come": {types.WrongEpoch, 0, func(s *setup) Item {
			r := s.p.receipt(s.d, s.a, s.id, 4000, 2000, 6)
			r.First = s.w.epoch + 1
			return s.w.add(Receipt, s.p.sign(s.d, r).Raw)
		}},
		"signed by another payer": {types.BadSignature, 0, func(s *setup) Item {
			r := s.p.receipt(s.d, s.a, s.id, 4000, 2000, 6)
			signed := receipt.Signed{Receipt: *r, PayerSig: r.Sign(s.q.key), DeviceSig: r.Countersign(s.d.key)}
			return s.w.add(Receipt, signed.Encode())
		}},
		"not countersigned": {types.BadSignature, 0, func(s *setup) Item {
			r := s.p.receipt(s.d, s.a, s.id, 4000, 2000, 6)
			signed := receipt.Signed{Receipt: *r, PayerSig: r.Sign(s.p.key)}
			return s.w.add(Receipt, signed.Encode())
		}},
		"moved to a session of its own": {types.BadSignature, 0, func(s *setup) Item {
			r := s.p.receipt(s.d, s.a, s.id, 4000, 2000, 6)
			signed := receipt.Signed{Receipt: *r, PayerSig: r.Sign(s.p.key), DeviceSig: r.Countersign(s.d.key)}
			signed.Receipt.Session = session(50, 9)
			return s.w.add(Receipt, signed.Encode())
		}},
		"a key without a grant": {types.UnknownKey, 0, func(s *setup) Item {
			p := &payer{w: s.w, key: key("payer", 77)}
			p.id = p.key.Public()
			return p.pay(s.d, s.a, session(50, 2), 4000, 2000, 1)
		}},
		"a key that ended": {types.KeyExpired, 0, func(s *setup) Item { return s.q.pay(s.d, s.a, session(50, 2), 4000, 2000, 1) }},
		"a session that ended": {types.SessionExpired, 0, func(s *setup) Item {
			return s.p.pay(s.d, s.a, s.expired, 8000, 4000, 9)
		}},
		"a session too long": {types.WrongEpoch, 0, func(s *setup) Item {
			return s.p.pay(s.d, s.d.ask(thing, 500), session(s.w.epoch+receipt.MaxExpiry+1, 2), 4000, 2000, 1)
		}},
		"too little to open": {types.SessionOpening, 0, func(s *setup) Item {
			return s.p.pay(s.d, s.d.ask(thing, 500), session(50, 2), 198, 99, 1)
		}},
		"enough to open": {"", 100, func(s *setup) Item {
			return s.p.pay(s.d, s.d.ask(thing, 500), session(50, 2), 200, 100, 1)
		}},
		"an ask that nobody handed in": {types.UnknownAsk, 0, func(s *setup) Item {
			return s.p.pay(s.d, s.a, session(50, 2), 4000, 2000, 1)
		}},
		"another device's ask": {types.UnknownAsk, 0, func(s *setup) Item {
			return s.p.pay(s.d, s.e.ask(thing, 500), session(50, 2), 4000, 2000, 1)
		}},
		"an ask that lapsed": {types.UnknownAsk, 0, func(s *setup) Item {
			a := receipt.Ask{Chain: testChain, Device: s.d.id, Category: thing, Class: 1, Price: 500, Until: 3}
			s.w.add(Ask, a.Sign(s.d.key).Encode())
			r := s.p.receipt(s.d, &a, session(50, 2), 4000, 2000, 1)
			r.First = 4
			return s.w.add(Receipt, s.p.sign(s.d, r).Raw)
		}},
		"a larger one beside it": {types.Superseded, 1001, func(s *setup) Item {
			s.p.pay(s.d, s.a, s.id, 4002, 2001, 7)
			return s.p.pay(s.d, s.a, s.id, 4000, 2000, 6)
		}},
		"beyond the key's limit": {types.OverLimit, 4000, func(s *setup) Item {
			return s.p.pay(s.d, s.a, s.id, 40_000, 20_000, 6)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &setup{w: newWorld(t), id: session(50, 1), expired: session(2, 1)}
			s.d, s.e = s.w.device(1), s.w.device(2)
			s.p, s.q = s.w.payer(1, 1, 10_000, 5_000, 100), s.w.payer(1, 2, 10_000, 5_000, 2)
			s.a = s.d.ask(thing, 500)
			s.p.pay(s.d, s.a, s.id, 2000, 1000, 5)
			for range 4 {
				s.w.tally()
			}
			it := c.spoil(s)
			s.w.tally()
			s.w.want(it, c.reason)
			if got := s.w.state.Line(s.d.id).Paid() - 1000; got != c.paid {
				t.Fatalf("paid %d more, want %d", got, c.paid)
			}
			if got := s.w.state.Line(s.e.id).Paid(); got != 0 {
				t.Fatalf("the other device is paid %d", got)
			}
		})
	}
}

// TestEquivocation: two envelopes of one number cost the whole bond and everything in the batch, once.
func TestEquivocation(t *testing.T) {
	w := newWorld(t)
	d, honest := w.device(1), w.device(2)
	p := w.payer(1, 1, 10_000, 5_000, 100)
	a := d.ask(thing, 500)
	one := d.payload(thing, kindNote, 1)
	two := one
	two.Body = types.Encode(2)
	first, second := Item{Evidence, evidence.Sign(d.key, one).Raw}, Item{Evidence, evidence.Sign(d.key, two).Raw}
	w.items = append(w.items, first, second)
	more := d.say(thing, kindNote, 3)
	paid := p.pay(d, a, session(50, 1), 2000, 1000, 1)
	fine := honest.say(thing, kindNote, 1)
	w.tally()
	for _, it := range []Item{first, second, more, paid} {
		w.want(it, types.Equivocation)
	}
	w.want(fine, "")
	proofs := 0
	for _, j := range w.result.Rejections {
		if j.Proof {
			proofs++
		}
	}
	if l := w.state.Line(d.id); proofs != 2 || l.Penalty != 2000 || l.Paid() != 0 || w.header.Totals.Penalty != 2000 {
		t.Fatalf("%d proofs, line %+v", proofs, l)
	}
	// The same two again, and a top-up of the bond: nothing more is taken.
	w.changes = append(w.changes, Change{Device: &Device{Key: d.id, Categories: []types.Category{thing, other}, Bond: 9000}})
	w.items = append(w.items, first, second)
	again := one
	again.Epoch, again.Seq = w.epoch, 2 // the highest number of the batch that equivocated
	late := Item{Evidence, evidence.Sign(d.key, again).Raw}
	w.items = append(w.items, late)
	paid = p.pay(d, a, session(50, 1), 2000, 1000, 1)
	d.ask(thing, 500)
	w.tally()
	w.want(first, types.WrongEpoch)
	w.want(late, types.StaleSeq)
	w.want(paid, "")
	if l := w.state.Line(d.id); l.Penalty != 2000 || l.Paid() != 1000 {
		t.Fatalf("line %+v", l)
	}
}

// TestEquivocationAcrossEpochs: the number of the newest counted envelope is not free for another.
func TestEquivocationAcrossEpochs(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	d.say(thing, kindNote, 1)
	w.tally()
	d.seq--
	bad := d.say(thing, kindNote, 2)
	w.tally()
	w.want(bad, types.Equivocation)
	if l := w.state.Line(d.id); l.Penalty != 2000 {
		t.Fatalf("line %+v", l)
	}
}

// TestQuota: the lowest numbers count.
func TestQuota(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	var items []Item
	for range 10 {
		items = append(items, d.say(thing, kindNote, 1))
	}
	w.tally()
	for i, it := range items {
		want := types.Reason("")
		if i >= 8 {
			want = types.OverQuota
		}
		w.want(it, want)
	}
	if w.state.Line(d.id).Seq != 8 {
		t.Fatalf("number %d counts", w.state.Line(d.id).Seq)
	}
	large := make([]byte, 3000)
	first := d.say(thing, kindNote, large)
	second := d.say(thing, kindNote, large)
	w.tally()
	w.want(first, "")
	w.want(second, types.OverQuota)
}

// TestWitness: an attester's report reaches the device that it names; proof costs that device of its bond; a
// device without half of its bond earns no weight, and is still paid.
func TestWitness(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	witness := &device{w: w, key: key("verifier", 1)}
	witness.id = witness.key.Public()
	w.changes = append(w.changes, Change{Attester: &Attester{Key: witness.id, Power: 5}})
	stranger := &device{w: w, key: key("verifier", 2)}
	clear := witness.say(thing, kindReport, reportBody{Device: d.id})
	own := witness.say(thing, kindNote, 1)
	foreign := stranger.say(thing, kindReport, reportBody{Device: d.id, Proof: true})
	nobody := witness.say(thing, kindReport, reportBody{Device: stranger.key.Public(), Proof: true})
	w.tally()
	w.want(clear, "")
	w.want(own, types.UnknownCategory)
	w.want(foreign, types.UnknownAuthor)
	w.want(nobody, types.UnknownCategory)
	if w.state.Line(d.id).Penalty != 0 {
		t.Fatal("a clear report costs")
	}
	p := w.payer(1, 1, 10_000, 5_000, 100)
	for i := range 5 { // bond 2,000 of 2,000 required for two categories; each proof takes 300
		proof := witness.say(thing, kindReport, reportBody{Device: d.id, Proof: true})
		d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(7), Quality: 10_000})
		paid := p.pay(d, d.ask(thing, 500), session(50, i), 2000, 500, 1)
		w.tally()
		w.want(proof, badThing)
		w.want(paid, "")
		if j := w.result.Rejections; len(j) != 1 || j[0].Device != d.id || j[0].Author != witness.id || !j[0].Proof {
			t.Fatalf("rejections %+v", j)
		}
		l := w.state.Line(d.id)
		if l.Penalty != types.Ustone(300*(i+1)) {
			t.Fatalf("penalty %d", l.Penalty)
		}
		if weighs := !l.share(thing).Weight.IsZero(); weighs != (2000-l.Penalty >= 1000) {
			t.Fatalf("penalty %d, weight %s", l.Penalty, l.share(thing).Weight)
		}
	}
	if w.state.Line(d.id).Paid() != 2500 {
		t.Fatal("paid work stopped")
	}
}

// TestQuotas: a device has as many quotas as its bond is times what its categories demand, in whole numbers,
// and at least one; a proof of misconduct costs as many times as much.
func TestQuotas(t *testing.T) {
	for _, c := range []struct {
		bond  types.Ustone
		units uint64 // of class 1, by Verify; what Cross orders comes after
		cross uint64
		lost  types.Ustone
	}{
		{999, 0, 0, 300}, // below half of 2,000
		{1000, 100, 0, 300},
		{2000, 100, 0, 300},
		{3999, 100, 0, 300},
		{4000, 200, 0, 600},
		{20_000, 900, 10, 3000},
		{1<<64 - 1, 900, 10, (1<<64 - 1) / 2000 * 300},
	} {
		w := newWorld(t)
		w.params = []Params{{Category: thing, Quota: 100, Bond: 1000, Penalty: 300, Rules: []byte{10}}}
		d := w.device(1)
		w.changes[len(w.changes)-1].Device.Bond = c.bond
		witness := &device{w: w, key: key("verifier", 1)}
		witness.id = witness.key.Public()
		w.changes = append(w.changes, Change{Attester: &Attester{Key: witness.id, Power: 5}})
		d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(900), Quality: 10_000})
		w.tally()
		want := (c.units + c.cross) * 10_000
		if got := w.state.Line(d.id).share(thing).Weight; got != types.U64(want) {
			t.Errorf("bond %d: weight %s, want %d", c.bond, got, want)
		}
		witness.say(thing, kindReport, reportBody{Device: d.id, Proof: true})
		w.tally()
		if got := w.state.Line(d.id).Penalty; got != c.lost {
			t.Errorf("bond %d: a proof takes %d, want %d", c.bond, got, c.lost)
		}
	}
}

// TestReportsApart: what a device hands in as a witness takes nothing of its own quota, and the other way round.
func TestReportsApart(t *testing.T) {
	w := newWorld(t)
	d, watched := w.device(1), w.device(2)
	spec := w.rules.categories[w.rules.find(thing)].Spec
	var own, reports []Item
	for i := range spec.Quota.Count + 1 {
		own = append(own, d.say(thing, kindNote, i))
	}
	for range spec.Witness.Count + 1 {
		reports = append(reports, d.say(thing, kindReport, reportBody{Device: watched.id}))
	}
	w.tally()
	for _, list := range [][]Item{own, reports} {
		for i, it := range list {
			want := types.Reason("")
			if i == len(list)-1 {
				want = types.OverQuota
			}
			w.want(it, want)
		}
	}
}

// TestBounds: a Verify that breaks its bounds costs its device's items, not the region's epoch.
func TestBounds(t *testing.T) {
	w := newWorld(t)
	d, honest := w.device(1), w.device(2)
	d.say(other, kindNote, 1)
	w.tally()
	p := w.payer(1, 1, 10_000, 5_000, 100)
	bad := d.say(other, kindBreak, 1)
	paid := p.pay(d, d.ask(other, 500), session(50, 1), 2000, 500, 1)
	good := honest.say(other, kindNote, 1)
	w.tally()
	w.want(bad, types.EconRange)
	w.want(paid, types.EconRange)
	w.want(good, "")
	if w.state.CategoryLine(d.id, other) == nil || w.state.CategoryLine(honest.id, other) == nil {
		t.Fatal("a line is gone")
	}
}

// TestSuspended: a suspended device opens no session and earns no weight; sessions that are open go on.
func TestSuspended(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := w.payer(1, 1, 10_000, 5_000, 100)
	a := d.ask(thing, 500)
	p.pay(d, a, session(50, 1), 2000, 500, 1)
	w.tally()
	w.changes = append(w.changes, Change{Device: &Device{Key: d.id, Categories: []types.Category{thing, other}, Cell: cell(1), Bond: 2000, Suspended: w.epoch}})
	opens := p.pay(d, d.ask(thing, 500), session(50, 2), 2000, 500, 1)
	signed := SessionKey{Payer: p.id, ID: session(50, 3)}
	begins := d.say(thing, kindOpen, openBody{Session: signed, Terms: a.Hash(), Price: 500})
	goesOn := p.pay(d, a, session(50, 1), 2000, 600, 2)
	work := d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(7), Quality: 10_000})
	w.tally()
	w.want(opens, types.Suspended)
	w.want(begins, types.Suspended)
	w.want(goesOn, "")
	w.want(work, "")
	if w.state.Session(signed) != nil {
		t.Fatal("its category opened a session")
	}
	if l := w.state.Line(d.id); l.Paid() != 600 || !l.share(thing).Weight.IsZero() {
		t.Fatalf("line %+v", l)
	}
	d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(7), Quality: 10_000})
	d.say(thing, kindOpen, openBody{Session: signed, Terms: a.Hash(), Price: 500})
	w.tally()
	if l := w.state.Line(d.id); l.share(thing).Weight.IsZero() || w.state.Session(signed) == nil {
		t.Fatal("the suspension did not end")
	}
}

// TestRemoved: a device that left hands in nothing more, keeps its amount, and can still be punished for a while.
func TestRemoved(t *testing.T) {
	w := newWorld(t)
	d, nothing := w.device(1), w.device(2)
	witness := &device{w: w, key: key("verifier", 1)}
	w.changes = append(w.changes, Change{Attester: &Attester{Key: witness.key.Public(), Power: 5}})
	p := w.payer(1, 1, 10_000, 5_000, 100)
	a := d.ask(thing, 500)
	p.pay(d, a, session(50, 1), 2000, 500, 1)
	d.say(thing, kindNote, 1)
	w.tally()
	w.settle(100, 2, 0)
	bare := Device{Key: nothing.id, Categories: []types.Category{thing, other}, Cell: cell(2)}
	w.changes = append(w.changes, Change{Remove: d.id}, Change{Device: &bare}, Change{Remove: nothing.id})
	late := p.pay(d, a, session(50, 1), 2000, 600, 2)
	proof := witness.say(thing, kindReport, reportBody{Device: d.id, Proof: true})
	w.tally()
	w.want(late, types.UnknownAuthor)
	w.want(proof, badThing)
	if l := w.state.Line(d.id); l.Amount != 1000 || l.Penalty != 300 || w.state.Device(d.id) != nil {
		t.Fatalf("line %+v", l)
	}
	w.epoch += 2
	if w.tally(); w.state.CategoryLine(d.id, thing) != nil || w.state.Line(nothing.id) != nil || w.state.Line(d.id) == nil {
		t.Fatal("what a device leaves behind")
	}
	proof = witness.say(thing, kindReport, reportBody{Device: d.id, Proof: true})
	w.tally()
	w.want(proof, types.UnknownCategory)
}

// TestRemovedBond: a device that left with a bond and was never paid keeps its leaf, against which the bond is
// given back.
func TestRemovedBond(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	if w.tally(); w.state.Line(d.id).Bond == 0 {
		t.Fatal("a device without a bond")
	}
	w.changes = append(w.changes, Change{Remove: d.id})
	w.tally()
	w.epoch += 100
	w.tally()
	if w.state.Line(d.id) == nil {
		t.Fatal("no header can show that nothing of the bond is forfeit")
	}
}
