package verifier

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// forged returns a bundle that is consistent with itself and holds what edit made of its inputs.
func forged(t *testing.T, b *Bundle, edit func(*tally.Frame, *[]tally.Change, *tally.Batch)) *Bundle {
	t.Helper()
	frame, err1 := tally.DecodeFrame(b.Frame)
	changes, err2 := tally.DecodeChanges(b.Changes)
	batch, err3 := tally.DecodeBatch(b.Batch)
	rules, err4 := tally.NewRules(1, work)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			t.Fatal(err)
		}
	}
	edit(frame, &changes, batch)
	out := *b
	out.Frame, out.Changes, out.Batch = frame.Encode(), tally.EncodeChanges(changes), batch.Encode()
	h, err := out.recompute(rules, 2)
	if err != nil {
		t.Fatal(err)
	}
	out.Header = h.Encode()
	return &out
}

// bribed is a chain whose verifiers signed another header of one epoch: more than two thirds of them lie.
type bribed struct {
	*ledger.Memory
	epoch types.Epoch
	raw   []byte
}

func (l bribed) Header(ctx context.Context, e types.Epoch, r types.Region) (*ledger.Header, error) {
	h, err := l.Memory.Header(ctx, e, r)
	if err == nil && e == l.epoch {
		lie := *h
		lie.Raw, lie.Hash = l.raw, types.Sum(l.raw)
		return &lie, nil
	}
	return h, err
}

// TestCompare forges each input in a bundle that is otherwise consistent. Recomputing finds every one of them
// equal, with the forger's header and with that which bribed verifiers had the chain take. Held against the
// chain each is caught, by its name and alone.
func TestCompare(t *testing.T) {
	testNetwork(t, 1, 2, func(t *testing.T, n *network) {
		n.sendAll()
		n.accepted(2)
		n.sendAll()
		const e = 3
		n.accepted(e)
		good, err := n.peers[0].v.Bundle(n.ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		equal := func(b *Bundle, expected types.Hash) bool {
			t.Helper()
			c, err := Recompute(b, expected, 1, []tally.Verifier{work}, 2)
			if err != nil {
				t.Fatal(err)
			}
			return c.Equal
		}
		compare := func(src Source, b *Bundle) *Comparison {
			t.Helper()
			c, err := Compare(n.ctx, src, b, e, 0)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		all := []string{
			PartHeader, PartBatch, PartPrevious, PartState, PartTurn, PartTime, PartSeed, PartSettlement, PartParams, PartBlocks, PartChanges,
		}
		if c := compare(n.chain, good); len(c.Differs)+len(c.Missing) > 0 || !slices.Equal(c.Checked, all) || !equal(good, c.Header.Hash) {
			t.Fatalf("%+v", c)
		}
		poor := types.Account{0xf0}
		for part, edit := range map[string]func(*tally.Frame, *[]tally.Change, *tally.Batch){
			PartChanges: func(_ *tally.Frame, c *[]tally.Change, _ *tally.Batch) {
				*c = append(*c, tally.Change{Holder: &tally.Holder{Account: poor, Bought: 1 << 40}}) // credits that nobody bought
			},
			PartSeed:       func(f *tally.Frame, _ *[]tally.Change, _ *tally.Batch) { f.Seed[0] ^= 1 },
			PartSettlement: func(f *tally.Frame, _ *[]tally.Change, _ *tally.Batch) { f.Fold.Payout++ },
			PartBlocks:     func(f *tally.Frame, _ *[]tally.Change, _ *tally.Batch) { f.Blocks[0].Hash[0] ^= 1 },
			PartParams:     func(f *tally.Frame, _ *[]tally.Change, _ *tally.Batch) { f.Params[0].Quota++ },
			PartTime:       func(f *tally.Frame, _ *[]tally.Change, _ *tally.Batch) { f.Time++ },
			PartBatch:      func(_ *tally.Frame, _ *[]tally.Change, b *tally.Batch) { b.Items = b.Items[1:] },
		} {
			bad := forged(t, good, edit)
			if !equal(bad, types.Hash{}) || !equal(bad, types.Sum(bad.Header)) {
				t.Errorf("%s: the forged bundle is not even consistent: nothing is shown", part)
			}
			// The chain took the true header: both the header and the part show.
			c := compare(n.chain, bad)
			if names := partsOf(c.Differs); !slices.Equal(names, sorted(PartHeader, part)) {
				t.Errorf("%s forged: %v differ: %+v", part, names, c.Differs)
			}
			if part == PartBatch {
				continue // bribed verifiers may choose the batch: that it is signed is all that a batch is
			}
			c = compare(bribed{n.chain, e, bad.Header}, bad)
			if names := partsOf(c.Differs); !slices.Equal(names, []string{part}) {
				t.Errorf("%s forged, and signed by bribed verifiers: %v differ: %+v", part, names, c.Differs)
			}
			check, err := Recompute(bad, types.Sum(bad.Header), 1, []tally.Verifier{work}, 2)
			if err != nil {
				t.Fatal(err)
			}
			if check.Add(c); check.Equal || !strings.HasPrefix(check.Why, part+": ") {
				t.Errorf("%s forged: %+v", part, check)
			}
		}
		if c := compare(n.chain, &Bundle{}); !slices.Equal(c.Checked, []string{PartChanges}) { // of which epoch 3 has none
			t.Errorf("of an empty bundle, %v are the chain's", c.Checked)
		}
		other := *good
		other.Previous, other.Pages = nil, nil
		if names := partsOf(compare(n.chain, &other).Differs); !slices.Equal(names, sorted(PartPrevious, PartState)) {
			t.Errorf("without the state before: %v", names)
		}
		if c := compare(pruned{n.chain}, good); len(c.Differs)+len(c.Missing) != 0 {
			t.Errorf("%+v", c)
		}
		n.toEpoch(14)
		if c := compare(pruned{n.chain}, good); len(c.Differs) > 0 || len(c.Missing) != 1 || c.Missing[0].Part != PartBlocks {
			t.Errorf("blocks that the chain does not name any more: %+v", c)
		}
	})
}

func sorted(names ...string) []string { slices.Sort(names); return names }

func partsOf(list []Finding) (names []string) {
	for _, f := range list {
		names = append(names, f.Part)
	}
	return sorted(names...)
}
