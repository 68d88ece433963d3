package keeper_test

import (
	"testing"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// TestRetention: what a final header put out can be proven for the whole retention and goes right after, one epoch in a block; one
// header a day stays longer. The default retention is 35 days.
func TestRetention(t *testing.T) {
	if p := types.DefaultParams(); p.HeaderRetention != 35*econ.EpochsPerDay {
		t.Errorf("final headers stay %d epochs", p.HeaderRetention)
	}
	f := setup(t, 1)
	p, err := f.k.Params.Get(f.ctx)
	f.must(err)
	p.HeaderRetention, p.DailyRetention = 14, 18
	f.must(p.Validate())
	f.must(f.k.Params.Set(f.ctx, p))
	leaf := tally.OutputLeaf{Category: ledgertest.Category, Data: []byte("lot")}
	const last = 46
	for e := core.Epoch(1); e <= last; e++ {
		f.tallied(e, 0, func(b *ledgertest.Books) { b.Outputs = []tally.OutputLeaf{leaf} })
		now, err := f.k.Epoch(f.ctx)
		f.must(err)
		for old := core.Epoch(1); old+2 < now; old++ { // younger ones are not final yet
			stays := core.Epoch(p.HeaderRetention)
			if old%econ.EpochsPerDay == 0 {
				stays = core.Epoch(p.DailyRetention)
			}
			h, err := f.k.FinalHeader(f.ctx, old, 0)
			if want := now <= old+stays; (err == nil) != want {
				t.Fatalf("in epoch %d, header %d: %v, kept: want %t", now, old, err, want)
			}
			if err == nil {
				f.must(h.VerifyOutput(leaf.Category, leaf.Data, 0, nil))
			} else if core.ReasonOf(err) != core.NotFinal {
				t.Fatalf("a header that is gone: %v", err)
			}
		}
	}
}
