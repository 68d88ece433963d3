package keeper_test

import (
	"testing"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// TestRetention: what a final header put out can be proven for the whole retention and goes right after, one
// epoch in a block; one header a day stays longer. The default retention is 35 days.
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

// TestLongSkip: a region skips for longer than anything is kept, and the header that follows is voided. What
// the next one is held against and folds is still there: the last final header, its escrow and settlement, and
// what changed in the registry since. Once a later header is final, all of that goes.
func TestLongSkip(t *testing.T) {
	const next = core.Epoch(44)
	skipped := func(t *testing.T) (*fixture, core.Key) {
		f := setup(t, 1)
		p, err := f.k.Params.Get(f.ctx)
		f.must(err)
		p.HeaderRetention, p.DailyRetention = 14, 18
		f.must(p.Validate())
		f.must(f.k.Params.Set(f.ctx, p))
		credit, err := f.credits.Params.Get(f.ctx)
		f.must(err)
		credit.ChangeRetention = 10
		f.must(f.credits.Params.Set(f.ctx, credit))
		registry, err := f.devices.Params.Get(f.ctx)
		f.must(err)
		registry.ChangeRetention = 10
		f.must(f.devices.Params.Set(f.ctx, registry))
		d := f.register(1, berlin)
		f.buy(0)
		f.tallied(1, 0, nil)
		f.tallied(2, 0, pays(10_000_000, d))
		f.to(4*20 + 5)
		f.register(2, berlin) // while the region skips
		f.buy(0)
		f.toRound(next, 0)
		return f, d
	}
	t.Run("voided", func(t *testing.T) {
		f, d := skipped(t)
		before := f.book(0).Copy()
		h := f.tallied(next, 0, pays(10_000_000, d))
		f.next()
		f.appeal("", next)
		f.vote("", h, false, 0, 1, 2)
		f.status(next, 0, types.Status_STATUS_VOIDED)
		f.books[0] = before
		changes, err := f.k.Changes(f.ctx, 6, 0)
		f.must(err)
		if len(changes) != 2 {
			t.Errorf("of the changes of epoch 6, %d are left", len(changes))
		}
		f.tallied(next+1, 0, pays(10_000_000, d)) // held against the header of epoch 2, whose settlement it folds
		last := f.tallied(next+2, 0, nil)
		f.toRound(next+4, 0)
		f.status(next+2, 0, types.Status_STATUS_FINAL)
		if got, want := f.claim("", f.claimOf(last, d)), f.book(0).Line(d).Amount; got != want || want == 0 {
			t.Errorf("paid %d, want %d", got, want)
		}
	})
	t.Run("final", func(t *testing.T) {
		f, d := skipped(t)
		f.status(2, 0, types.Status_STATUS_FINAL)
		f.tallied(next, 0, pays(10_000_000, d))
		f.toRound(next+2, 3)
		f.status(next, 0, types.Status_STATUS_FINAL)
		for e := uint64(1); e < uint64(next); e += 6 {
			if changes, _ := f.k.Changes(f.ctx, core.Epoch(e), 0); len(changes) > 0 {
				t.Errorf("%d changes of epoch %d are still listed", len(changes), e)
			}
			if has, err := f.k.Epochs.Has(f.ctx, e); err != nil || has && e+14 < uint64(next) {
				t.Errorf("epoch %d is kept: %v", e, err)
			}
		}
	})
}
