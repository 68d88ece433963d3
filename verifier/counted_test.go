package verifier

import (
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// TestCounted: whoever sits beside a verifier is told what counted of devices in a tally that stands, in the
// order of numbers, what was acknowledged so far, and what a tally left of a device; of other epochs,
// categories, kinds and devices nothing.
func TestCounted(t *testing.T) {
	testNetwork(t, 2, 2, func(t *testing.T, n *network) {
		a, b := n.device[0], n.device[1]
		v := n.peers[0].v
		var want []types.Hash
		reported := func(from, count int) int {
			t.Helper()
			list, next, more, err := v.Reported(2, types.Storage, reading, from)
			if err != nil || more || len(list) != count {
				t.Fatalf("%d reports, %v, %v; want %d", len(list), more, err, count)
			}
			return next
		}
		at := reported(0, 0)
		for range 3 {
			e := a.envelope(reading, nil)
			a.send(evidenceItem(e))
			want = append(want, e.Hash)
		}
		at = reported(at, 3)
		b.send(append(b.receipt(1000), evidenceItem(b.envelope(reading, nil)))...)
		b.send(evidenceItem(b.envelope(reading, func(p *evidence.Payload) { p.Seq, p.Prev = 1, types.Hash{} }))) // two of one number: neither counts
		reported(at, 2)
		if _, err := v.Counted(n.ctx, 2, types.Storage, reading, []types.Key{a.key.Public()}); types.ReasonOf(err) != types.UnknownBlob {
			t.Errorf("before the tally: %v", err)
		}
		n.toEpoch(3)
		n.toHeight(n.height() + 8) // the tally of epoch 2 was made
		got, err := v.Counted(n.ctx, 2, types.Storage, reading, []types.Key{a.key.Public(), b.key.Public(), {7}})
		if err != nil {
			t.Fatal(err)
		}
		list := got[a.key.Public()]
		if len(got) != 1 || len(list) != len(want) {
			t.Fatalf("of %d devices, %d envelopes", len(got), len(list))
		}
		for i, e := range list {
			if e.Hash != want[i] {
				t.Errorf("envelope %d is number %d", i, e.Seq)
			}
		}
		for what, c := range map[string]struct {
			category types.Category
			kind     evidence.Kind
		}{"another kind": {types.Storage, reading + 1}, "another category": {types.Energy, reading}} {
			if got, err := v.Counted(n.ctx, 2, c.category, c.kind, []types.Key{a.key.Public()}); err != nil || len(got) != 0 {
				t.Errorf("%s: %v, %v", what, got, err)
			}
		}
		for _, e := range []types.Epoch{3, 9} { // one whose tally is not made yet, and one that is to come
			if _, err := v.Counted(n.ctx, e, types.Storage, reading, nil); types.ReasonOf(err) != types.UnknownBlob {
				t.Errorf("epoch %d: %v", e, err)
			}
		}
		if line, err := v.Line(n.ctx, 2, types.Storage, a.key.Public()); err != nil || len(line) == 0 {
			t.Errorf("line %x, %v", line, err)
		}
		if _, err := v.Line(n.ctx, 9, types.Storage, a.key.Public()); types.ReasonOf(err) != types.UnknownBlob {
			t.Errorf("a line of no tally: %v", err)
		}
	})
}
