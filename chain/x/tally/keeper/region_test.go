package keeper_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	core "github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// vienna is a cell of another region than berlin's, where there are two.
const vienna = core.Cell(0x891e15b7003ffff)

// twoRegions is a chain of two regions, with a device and a customer's credits in each.
func twoRegions(t *testing.T) (f *fixture, devices [2]core.Key) {
	f = setup(t, 2)
	x, y := core.RegionOf(berlin, 2), core.RegionOf(vienna, 2)
	if x == y {
		t.Fatalf("both cells are in region %d", x)
	}
	devices[x], devices[y] = f.register(1, berlin), f.register(2, vienna)
	f.buy(0)
	f.buy(0) // twice as many as in the other
	f.buy(1)
	return f, devices
}

// TestRegions: two regions side by side have headers, escrows, ledgers and claims of their own. One device is
// in one of them.
func TestRegions(t *testing.T) {
	f, devices := twoRegions(t)
	f.to(21)
	for r := range core.Region(2) {
		changes, err := f.k.Changes(f.ctx, 2, r)
		f.must(err)
		listed, holders := 0, 0
		for _, c := range changes {
			if c.Device != nil {
				listed++
				if c.Device.Key != devices[r] {
					t.Fatalf("region %d lists %v, which is another's", r, c.Device.Key)
				}
			}
			if c.Holder != nil {
				holders++
			}
		}
		if listed != 1 || holders != 1 {
			t.Fatalf("region %d: %d devices, %d holders", r, listed, holders)
		}
	}
	f.tallied(1, 0, nil)
	if has, _ := f.k.Settlements.Has(f.ctx, 1); has {
		t.Fatal("epoch 1 is settled without region 1")
	}
	f.tallied(1, 1, nil)
	if has, _ := f.k.Settlements.Has(f.ctx, 1); !has {
		t.Fatal("epoch 1 is not settled")
	}

	// Region 1 bought less than that; what region 0 bought is no help.
	f.toRound(2, 0)
	books := f.book(1).Copy()
	greedy := f.header(2, 1, 0, pays(600_000_000, devices[1]))
	f.commit(core.HeaderTotals, f.commitMsg(greedy, 0, 1, 2, 3))
	f.books[1] = books

	h0 := f.tallied(2, 0, pays(30_000_000, devices[0]))
	moved := *h0
	moved.Region = 1
	f.commit(core.HeaderLeader, f.commitMsg(&moved, 0, 1, 2, 3)) // a proof is made for one region
	f.tallied(2, 1, pays(10_000_000, devices[1]))
	if s := f.settlement(2); s.Owed != 40_000_000 || s.Settled != 40_000_000 {
		t.Fatalf("settlement %+v", s)
	}
	var allotted [2]core.Ustone
	for r := range allotted {
		e, err := f.k.Escrows.Get(f.ctx, at(uint32(r), 2))
		f.must(err)
		a := e.Allotment()
		allotted[r] = a.Devices()
		if a.Settled != []core.Credit{30_000_000, 10_000_000}[r] {
			t.Fatalf("region %d: %+v", r, a)
		}
	}
	var claims [2]types.Claim
	for r := range core.Region(2) {
		h := f.tallied(3, r, nil)
		claims[r] = f.claimOf(h, devices[r])
		if got := f.book(r).Line(devices[r]).Amount; got == 0 || got > allotted[r] || allotted[r]-got > 1 {
			t.Fatalf("region %d: amount %d of %d", r, got, allotted[r])
		}
	}
	f.toRound(5, 0)
	stray := claims[0]
	stray.Region = 1
	f.claim(core.BadClaim, stray)
	f.claim(core.BadClaim, claims[1], stray)
	if got, want := f.claim("", claims[0], claims[1]), f.book(0).Line(devices[0]).Amount+f.book(1).Line(devices[1]).Amount; got != want {
		t.Fatalf("paid %d of %d", got, want)
	}
	f.claim(core.AlreadyClaimed, claims[1], claims[0])
	res, err := f.query.Ledgers(f.ctx, &types.QueryLedgersRequest{})
	f.must(err)
	for r, l := range res.Ledgers {
		if want := uint64(f.book(core.Region(r)).Line(devices[r]).Amount); l.Claimed != want || l.Amount != want {
			t.Fatalf("region %d: %+v, want %d", r, l, want)
		}
	}
	f.balanced()
}

// TestRegionsApart: what becomes of one region's header is no matter to the other: a skip, an appeal, a void.
func TestRegionsApart(t *testing.T) {
	f, devices := twoRegions(t)
	f.tallied(1, 0, nil)
	f.to(uint64(20) + 17)
	f.status(1, 1, types.Status_STATUS_SKIPPED)
	f.status(1, 0, types.Status_STATUS_ACCEPTED)
	h0 := f.tallied(2, 0, pays(30_000_000, devices[0]))
	base := f.book(1).Copy()
	h1 := f.tallied(2, 1, pays(10_000_000, devices[1]))
	f.appealIn("", 2, 1, bond)
	f.vote(core.AppealClosed, h0, false, 0) // nobody appealed that one
	f.vote("", h1, false, 0, 1, 2)
	f.status(2, 1, types.Status_STATUS_VOIDED)
	f.status(2, 0, types.Status_STATUS_ACCEPTED)
	if has, _ := f.k.Escrows.Has(f.ctx, at(0, 2)); !has {
		t.Fatal("the other region's escrow is gone")
	}
	for i := range f.seats { // all signed
		if f.staking.of(i).Tokens.Uint64() == stake {
			t.Fatalf("signer %d was not slashed", i)
		}
	}
	f.books[1] = base
	last0 := f.tallied(3, 0, nil)
	f.tallied(3, 1, pays(10_000_000, devices[1]))
	last1 := f.tallied(4, 1, nil)
	f.toRound(6, 0)
	f.status(4, 0, types.Status_STATUS_SKIPPED)
	if got := f.claim("", f.claimOf(last0, devices[0]), f.claimOf(last1, devices[1])); got != f.book(0).Line(devices[0]).Amount+f.book(1).Line(devices[1]).Amount {
		t.Fatalf("paid %d", got)
	}

	g, err := f.k.ExportGenesis(f.ctx)
	f.must(err)
	again := f.tally("again")
	again.Connect(f.devices, f.credits, f.rewards)
	f.must(again.InitGenesis(f.ctx, g))
	back, err := again.ExportGenesis(f.ctx)
	f.must(err)
	if d := cmp.Diff(g, back); d != "" {
		t.Fatalf("export, import, export:\n%s", d)
	}
}

// TestMissedRegion: who signs one region's header and not the other's has missed the epoch.
func TestMissedRegion(t *testing.T) {
	f, _ := twoRegions(t)
	p, err := f.k.Params.Get(f.ctx)
	f.must(err)
	p.MinSigned = 98 // two missed of a hundred are too many
	f.do("", func(ctx context.Context) error {
		_, err := f.msg.UpdateParams(ctx, &types.MsgUpdateParams{Authority: f.bank.Authority, Params: p})
		return err
	})
	for e := core.Epoch(1); e <= 2; e++ {
		f.tallied(e, 0, nil)
		h := f.header(e, 1, 0, func(*ledgertest.Books) {})
		f.commit("", f.commitMsg(h, 0, 1, 2))
	}
	f.toRound(4, 0)
	for i, want := range []bool{false, false, false, true} {
		if f.staking.of(i).Jailed != want {
			t.Fatalf("validator %d is jailed: %v", i, !want)
		}
	}
}
