package compute

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/mac"
)

// TestWatch: a witness takes steps that are signed, of its check, in order and following; all else makes the
// check one that is not in order.
func TestWatch(t *testing.T) {
	w := newWorld(t, "watch", 5)
	d := w.device("device", 0)
	r := d.call(0)
	r.compute(2, 6, r.honest)
	step := func(i int, bend func(*Step)) *SignedStep {
		s := r.steps[i].Step
		bend(&s)
		signed := s.Sign(testChain, d.key)
		return &signed
	}
	for name, c := range map[string]struct {
		step  *SignedStep
		want  types.Reason
		fault bool
	}{
		"the next one":      {&r.steps[2], "", false},
		"one once more":     {&r.steps[1], "", false},
		"another chain's":   {&r.steps[6], "", false},
		"with a gap":        {&r.steps[3], StepBroken, false},
		"of another epoch":  {step(2, func(s *Step) { s.Epoch++ }), StepBroken, false},
		"of another slot":   {step(2, func(s *Step) { s.Slot++ }), StepBroken, false},
		"of a chain beyond": {step(6, func(s *Step) { s.Chain = 8 }), StepBroken, false},
		"a false beginning": {step(6, func(s *Step) { s.Seed[0] ^= 1 }), StepBroken, false},
		"a false next one":  {step(2, func(s *Step) { s.Seed[0] ^= 1 }), StepBroken, true},
		"a second one":      {step(1, func(s *Step) { s.Root[0] ^= 1 }), StepBroken, true},
		"by somebody":       {func() *SignedStep { s := r.steps[2].Step.Sign(testChain, key("somebody")); return &s }(), types.BadSignature, false},
	} {
		watch := NewWatch(testChain, d.info.Key, w.epoch, r.slot, d.hardware(), r.nonces)
		for i := range 2 {
			if err := watch.Add(&r.steps[i]); err != nil {
				t.Fatal(err)
			}
		}
		if got := types.ReasonOf(watch.Add(c.step)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		fault := watch.Fault()
		if (fault != nil) != c.fault || fault != nil && fault.Prove(testChain) != StepBroken {
			t.Errorf("%s: fault %+v", name, fault)
		}
	}
	watch := NewWatch(testChain, d.info.Key, w.epoch, r.slot, d.hardware(), r.nonces)
	for i := range 6 + MinRounds - 1 { // all of chain 0, too few of chain 1
		if err := watch.Add(&r.steps[i]); err != nil {
			t.Fatal(err)
		}
	}
	if n := watch.Count(); n != 6 {
		t.Errorf("%d rounds count, want those of chain 0", n)
	}
	drawn := map[uint32]int{}
	for i := range 100 {
		w.epoch = types.Epoch(i)
		o := watch.Draw(w.random("draw"))
		if len(o) != Draws {
			t.Fatalf("%d rounds drawn", len(o))
		}
		for k, x := range o {
			if x.Chain != 0 || x.T > 5 || slices.ContainsFunc(o[:k], func(y Opening) bool { return y.T == x.T }) {
				t.Fatalf("drawn: %+v", o)
			}
			drawn[x.T]++
		}
	}
	for at := range uint32(6) { // 67 each
		if n := drawn[at]; n < 45 || n > 90 {
			t.Errorf("round %d is looked into %d times in 100", at, n)
		}
	}
	if o := NewWatch(testChain, d.info.Key, 1, 1, d.hardware(), nil).Draw(w.random("none")); len(o) != 0 {
		t.Errorf("drawn of nothing: %+v", o)
	}
}

// TestShownRows: rows that are missing, others, or not those that the device committed to are not in order, and
// prove nothing; wrong ones that it committed to do.
func TestShownRows(t *testing.T) {
	w := newWorld(t, "shown", 5)
	d := w.device("device", testModel)
	r := d.call(0)
	r.compute(1, 1, func(s *Step) types.Hash {
		r.honest(s)
		r.product[0].C[5*mac.MinOrder]++ // row 5 is wrong
		return r.product[0].Tree().Root()
	})
	watch := NewWatch(testChain, d.info.Key, w.epoch, r.slot, d.hardware(), r.nonces)
	if err := watch.Add(&r.steps[0]); err != nil {
		t.Fatal(err)
	}
	p, tree := r.product[0], r.product[0].Tree()
	show := func(rows ...uint32) (list []ShownRow) {
		for _, i := range rows {
			list = append(list, ShownRow{Row: p.Row(int(i)), Path: tree.Proof(int(i))})
		}
		return list
	}
	asked := func(rows ...uint32) Opening { return Opening{Rows: rows} }
	bent := show(3)
	bent[0].Row[0] ^= 1
	for name, c := range map[string]struct {
		asked     Opening
		shown     []ShownRow
		ok, fault bool
	}{
		"right":            {asked(3, 9), show(3, 9), true, false},
		"wrong":            {asked(3, 5), show(3, 5), false, true},
		"another":          {asked(5), show(3), false, false},
		"one missing":      {asked(3, 5), show(3), false, false},
		"not committed to": {asked(3), bent, false, false},
	} {
		ok, fault := watch.Rows(c.asked, c.shown, types.Sum([]byte(name)))
		if ok != c.ok || (fault != nil) != c.fault || fault != nil && fault.Prove(testChain) != RowWrong {
			t.Errorf("%s: %t, fault %t", name, ok, fault != nil)
		}
	}
	o := watch.Draw(w.random("rows"))
	if len(o) != 1 || len(o[0].Rows) != Rows {
		t.Fatalf("drawn: %+v", o)
	}
	slices.Sort(o[0].Rows)
	if len(slices.Compact(o[0].Rows)) != Rows || o[0].Rows[len(o[0].Rows)-1] >= mac.MinOrder {
		t.Errorf("rows drawn: %d", o[0].Rows)
	}
}
