package verifier

import (
	"context"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// bent is a chain of which one answer is another.
type bent struct {
	*ledger.Memory
	epoch   func(types.Epoch) error
	changes func(types.Epoch) error
	header  func(types.Epoch, *ledger.Header) error
}

func (l bent) Epoch(ctx context.Context, e types.Epoch) (*ledger.Epoch, error) {
	if l.epoch != nil {
		if err := l.epoch(e); err != nil {
			return nil, err
		}
	}
	return l.Memory.Epoch(ctx, e)
}

func (l bent) Changes(ctx context.Context, e types.Epoch, r types.Region) ([]tally.Change, error) {
	if l.changes != nil {
		if err := l.changes(e); err != nil {
			return nil, err
		}
	}
	return l.Memory.Changes(ctx, e, r)
}

func (l bent) Header(ctx context.Context, e types.Epoch, r types.Region) (*ledger.Header, error) {
	h, err := l.Memory.Header(ctx, e, r)
	if err == nil && l.header != nil {
		other := *h
		h, err = &other, l.header(e, &other)
	}
	return h, err
}

// TestEachPartDiffers bends each value in a bundle, and shows that its part, and no other, is found not to be
// the chain's; then what the chain has nothing of any more is missing, not equal.
func TestEachPartDiffers(t *testing.T) {
	testNetwork(t, 1, 2, func(t *testing.T, n *network) {
		n.sendAll()
		n.accepted(1) // which no header is before
		n.sendAll()
		n.accepted(2)
		n.sendAll()
		n.accepted(3)
		of := func(e types.Epoch) *Bundle {
			t.Helper()
			b, err := n.peers[0].v.Bundle(n.ctx, e)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		check := func(what string, src Source, b *Bundle, e types.Epoch, differ, missing []string) {
			t.Helper()
			c, err := Compare(n.ctx, src, b, e, 0)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				return
			}
			if got := partsOf(c.Differs); !slices.Equal(got, differ) {
				t.Errorf("%s: %v differ, want %v", what, c.Differs, differ)
			}
			if got := partsOf(c.Missing); !slices.Equal(got, missing) {
				t.Errorf("%s: %v are missing, want %v", what, c.Missing, missing)
			}
			for _, part := range slices.Concat(differ, missing) {
				if slices.Contains(c.Checked, part) && part != PartPrevious { // of which there are two
					t.Errorf("%s: %s is among what is the chain's", what, part)
				}
			}
		}
		frames := sorted(PartTurn, PartTime, PartSeed, PartSettlement, PartParams, PartBlocks)
		second, third := of(2), of(3)
		for _, c := range []struct {
			part string
			what string
			bend func(f *tally.Frame)
		}{
			{PartTurn, "chain", func(f *tally.Frame) { f.Chain += "x" }},
			{PartTurn, "epoch", func(f *tally.Frame) { f.Epoch++ }},
			{PartTurn, "region", func(f *tally.Frame) { f.Region++ }},
			{PartTurn, "round", func(f *tally.Frame) { f.Round++ }},
			{PartTurn, "leader", func(f *tally.Frame) { f.Leader[0] ^= 1 }},
			{PartTurn, "VRF proof", func(f *tally.Frame) { f.VRF = slices.Clone(f.VRF); f.VRF[0] ^= 1 }},
			{PartSeed, "challenged", func(f *tally.Frame) { f.Challenged = !f.Challenged }},
			{PartParams, "least opening", func(f *tally.Frame) { f.MinOpening++ }},
			{PartPrevious, "previous", func(f *tally.Frame) { f.Previous[0] ^= 1 }},
			{PartPrevious, "previous epoch", func(f *tally.Frame) { f.PreviousEpoch++ }},
			{PartPrevious, "previous round", func(f *tally.Frame) { f.PreviousRound++ }},
			{PartBlocks, "a block less", func(f *tally.Frame) { f.Blocks = f.Blocks[:len(f.Blocks)-1] }},
			{PartBlocks, "a block more", func(f *tally.Frame) { f.Blocks = append(slices.Clone(f.Blocks), f.Blocks[0]) }},
		} {
			f, err := tally.DecodeFrame(third.Frame)
			if err != nil {
				t.Fatal(err)
			}
			c.bend(f)
			b := *third
			b.Frame = f.Encode()
			check(c.what, n.chain, &b, 3, []string{c.part}, nil)
		}
		b := *third
		b.Frame = []byte("no frame")
		check("no frame", n.chain, &b, 3, sorted(append(slices.Clone(frames), PartPrevious)...), nil)

		check("the first", n.chain, of(1), 1, nil, nil)
		b = *of(1)
		b.Previous = []byte("something")
		check("something before the first", n.chain, &b, 1, []string{PartPrevious}, nil)
		b = *of(1)
		b.Pages = [][]byte{{1}}
		check("a state before the first", n.chain, &b, 1, []string{PartState}, nil)
		list, err := tally.DecodeChanges(second.Changes)
		if err != nil || len(list) < 2 {
			t.Fatalf("%d changes, %v", len(list), err)
		}
		for what, changes := range map[string][]tally.Change{
			"one less": list[:len(list)-1], "the first left out": list[1:], "one twice": append(slices.Clone(list), list[len(list)-1]), "none": nil,
			"one in the place of another": append(slices.Clone(list[:len(list)-1]), list[0]),
		} {
			b := *second
			b.Changes = tally.EncodeChanges(changes)
			check(what, n.chain, &b, 2, []string{PartChanges}, nil)
		}
		b = *second
		b.Changes = []byte("no changes")
		check("no changes", n.chain, &b, 2, []string{PartChanges}, nil)

		gone := func(types.Epoch) error { return ledger.ErrNotFound }
		check("no record of the epoch", bent{Memory: n.chain, epoch: gone}, third, 3, nil, frames)
		check("no changes of the epoch", bent{Memory: n.chain, changes: gone}, third, 3, nil, []string{PartChanges})
		check("no header before", bent{Memory: n.chain, header: func(e types.Epoch, _ *ledger.Header) error {
			if e == 2 {
				return ledger.ErrNotFound
			}
			return nil
		}}, third, 3, nil, []string{PartPrevious})
		// A header that follows one of an epoch before the last takes in the changes of both epochs.
		var asked []types.Epoch
		_, _ = Compare(n.ctx, bent{Memory: n.chain, changes: func(e types.Epoch) error { asked = append(asked, e); return nil },
			header: func(e types.Epoch, h *ledger.Header) error {
				if e == 3 {
					h.Previous = 1
				}
				return nil
			}}, third, 3, 0)
		if !slices.Equal(asked, []types.Epoch{2, 3}) {
			t.Errorf("changes of %v were compared", asked)
		}
		if _, err := Compare(n.ctx, bent{Memory: n.chain, header: func(_ types.Epoch, h *ledger.Header) error { h.Raw = nil; return nil }}, second, 2, 0); types.ReasonOf(err) != types.RegionSkipped {
			t.Errorf("a skipped region: %v", err)
		}
	})
}
