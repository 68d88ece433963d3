package keeper_test

import (
	"context"
	"encoding/binary"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/churn"
	creditkeeper "github.com/cairn-network/cairn/chain/x/credit/keeper"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// TestAdding: the chain adds up all registry changes of each epoch and region, more of them than one block adds
// up, and a chain that starts from an export in the middle of it comes to the same sums.
func TestAdding(t *testing.T) {
	f := setup(t, 2)
	f.register(1, 0x891f8d7a49bffff)
	for i := range 1100 { // two blocks' worth to add up, and two pages
		if i%churn.PerBlock == churn.PerBlock-1 {
			f.next()
		}
		account := core.Account{0xdd}
		binary.BigEndian.PutUint32(account[1:], uint32(i))
		f.must(f.bank.SendCoins(f.ctx, whale[:], account[:], sdk.NewCoins(coin(2*stone))))
		f.do("", func(ctx context.Context) error {
			_, err := creditkeeper.NewMsgServer(f.credits).BuyCredits(ctx, &credittypes.MsgBuyCredits{
				Buyer: account.String(), Amount: coin(stone), Region: uint32(i % 50 / 49),
			})
			return err
		})
	}
	f.to(21)
	sums := func() [][]byte {
		t.Helper()
		e, err := f.k.Epoch(f.ctx)
		f.must(err)
		rec, err := f.k.Epochs.Get(f.ctx, uint64(e))
		f.must(err)
		return rec.Changes
	}
	for block, want := range []int{0, 0, 0, 2} { // after so many blocks of the epoch
		if got := len(sums()); got != want {
			t.Fatalf("after %d blocks: %d regions are added up, want %d", block, got, want)
		}
		if block == 2 {
			g, err := f.k.ExportGenesis(f.ctx)
			f.must(err)
			defer func(g *types.GenesisState) {
				again := f.tally("again")
				again.Connect(f.devices, f.credits, f.rewards)
				ctx, _ := f.ctx.WithBlockHeight(24).CacheContext()
				f.must(again.InitGenesis(ctx, g))
				for range 4 {
					f.must(again.EndBlock(ctx))
				}
				rec, err := again.Epochs.Get(ctx, 2)
				f.must(err)
				f.sums(rec)
			}(g)
		}
		f.next()
	}
	for range 3 {
		e, err := f.k.Epoch(f.ctx)
		f.must(err)
		rec, err := f.k.Epochs.Get(f.ctx, uint64(e))
		f.must(err)
		f.sums(rec)
		f.to(uint64(e)*20 + 2)
	}
}

// sums holds an epoch's sums against its changes.
func (f *fixture) sums(rec types.Epoch) {
	f.t.Helper()
	if len(rec.Changes) != 2 {
		f.t.Fatalf("epoch %d: %d regions are added up", rec.Epoch, len(rec.Changes))
	}
	for r, sum := range rec.Changes {
		list, err := f.k.Changes(f.ctx, core.Epoch(rec.Epoch), core.Region(r))
		f.must(err)
		if rec.Epoch == 2 && len(list) < 20 {
			f.t.Fatalf("epoch %d, region %d: %d changes", rec.Epoch, r, len(list))
		}
		if want := tally.AddChanges(core.Hash{}, list); core.Hash(sum) != want {
			f.t.Fatalf("epoch %d, region %d: %d changes add up to %s, the chain says %x", rec.Epoch, r, len(list), want, sum)
		}
	}
}
