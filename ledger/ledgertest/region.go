package ledgertest

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Cells are places in regions 0 and 1 of a network of two.
var Cells = [2]types.Cell{0x891e15b7003ffff, 0x8a1fb46622dffff}

// testRegions: two regions of one chain. Devices, credits and keys are of one of them, each has its headers and
// leaders, an epoch is settled once both are in, one goes on while the other skips, and what is spent in one
// was bought there.
func testRegions(t *testing.T, n *Network) {
	r := NewRig(t, n)
	owner, payer := r.Accounts[0], r.Accounts[1]
	var devices [2]types.Key
	var books [2]*Books
	for region, cell := range Cells {
		st := r.statement(owner, byte(1+region))
		st.Cell = cell
		r.Do("", owner, ledger.Register{Statement: *st.Sign(DeviceKey(byte(1 + region))), Bond: r.bond()})
		devices[region] = DeviceKey(byte(1 + region)).Public()
		if d := must(r.Ledger.Device(r.ctx, devices[region]))(t); d.Region != types.Region(region) {
			t.Fatalf("the device at %v is in region %d, want %d", cell, d.Region, region)
		}
		books[region] = NewBooks()
		books[region].Region = types.Region(region)
	}
	if got := r.epoch(1).Regions(); got != 2 {
		t.Fatalf("%d regions", got)
	}

	// Credits are bought in a region, and a key keeps the one that it was granted in.
	r.Do(types.WrongRegion, payer, ledger.Buy{Amount: 1000, Region: 2})
	r.Do("", payer, ledger.Buy{Amount: 10_000_000, Region: 0})
	r.Do("", payer, ledger.Buy{Amount: 1_000_000, Region: 1})
	account := must(r.Ledger.Account(r.ctx, payer))(t)
	bought := [2]types.Credit{account.In(0), account.In(1)}
	if bought[1] == 0 || bought[0] <= bought[1] || account.Bought != bought[0]+bought[1] || account.In(2) != 0 {
		t.Fatalf("account %+v", account)
	}
	var keys [2]types.Key
	for region := range keys {
		key := types.NewPrivateKey([32]byte{4, byte(region)})
		keys[region] = key.Public()
		grant := ledger.GrantKey{Key: key.Public(), Limit: 1 << 40, Expiry: 100, Proof: key.Sign("grant", r.Ledger.Chain(), evidence.GrantBytes(payer))}
		grant.Region = 2
		r.Do(types.WrongRegion, payer, grant)
		grant.Region = types.Region(region)
		r.Do("", payer, grant)
		grant.Region = types.Region(1 - region)
		r.Do(types.WrongRegion, payer, grant)
		if got := must(r.Ledger.Grant(r.ctx, key.Public()))(t); got.Region != types.Region(region) {
			t.Fatalf("key of region %d is of %d", region, got.Region)
		}
	}
	r.ToEpoch(2)
	for region := range types.Region(2) {
		for _, c := range must(r.Ledger.Changes(r.ctx, 2, region))(t) {
			switch {
			case c.Device != nil && c.Device.Key != devices[region],
				c.Grant != nil && c.Grant.Key != keys[region],
				c.Holder != nil && c.Holder.Account == payer && c.Holder.Bought != bought[region]:
				t.Fatalf("region %d sees what is of the other: %+v", region, c)
			}
		}
	}

	commit := func(e types.Epoch, region int) *tally.Header {
		t.Helper()
		b := books[region]
		r.fold(b)
		h := r.header(b, e, 0)
		r.Do("", r.Accounts[2], r.commitMsg(h, 0, 1, 2))
		return h
	}
	r.ToEpoch(3) // both have skipped epoch 1
	// The same credits are not there twice: a header of region 1 that says its customers spent more than was
	// bought there is refused, though in region 0 there is enough.
	greedy := books[1].Copy()
	greedy.Line(devices[1]).Paid = bought[1] + 1
	r.Do(types.HeaderTotals, r.Accounts[2], r.commitMsg(r.header(greedy, 2, 0), 0, 1, 2, 3))
	books[0].Line(devices[0]).Paid, books[1].Line(devices[1]).Paid = bought[0]/2, bought[1]
	commit(2, 0)
	if _, err := r.Ledger.Settlement(r.ctx, 2); err == nil {
		t.Fatal("an epoch is settled before all regions are in")
	}
	if !r.epoch(3).Seed.IsZero() {
		t.Fatal("the next seed is known before all regions are in")
	}
	commit(2, 1)
	s := must(r.Ledger.Settlement(r.ctx, 2))(t)
	if s.Owed != bought[0]/2+bought[1] || r.epoch(3).Seed.IsZero() || !r.epoch(3).Challenged {
		t.Fatalf("settlement of both: %+v", s)
	}

	// Region 0 skips; region 1 goes on.
	r.ToEpoch(4)
	h := commit(3, 1)
	if h.Totals.Amount == 0 {
		t.Fatal("what was settled is not folded")
	}
	r.toRound(3, 4)
	r.statusIn(0, 3, ledger.Skipped)
	r.statusIn(1, 3, ledger.Accepted)
	if ep := r.epoch(4); ep.Seed.IsZero() || ep.Challenged {
		t.Fatalf("after a region skipped: %+v", ep)
	}
	r.ToEpoch(5)
	h0 := commit(4, 0)
	commit(4, 1)
	if list := must(r.Ledger.Headers(r.ctx, 0, 10))(t); len(list) != 4 || slices.ContainsFunc(list, func(h *ledger.Header) bool { return h.Region != 0 }) {
		t.Fatalf("headers of region 0: %+v", list)
	}
	r.ToEpoch(7)
	r.statusIn(0, 4, ledger.Final)
	r.statusIn(1, 4, ledger.Final)
	before := must(r.Ledger.Account(r.ctx, owner))(t).Balance
	claims := []ledger.Claim{must(books[0].Claim(4, devices[0]))(t), must(books[1].Claim(4, devices[1]))(t)}
	swapped := claims[0]
	swapped.Region = 1
	r.Do(types.BadClaim, owner, ledger.Claims{Claims: []ledger.Claim{swapped}})
	r.Do("", owner, ledger.Claims{Claims: claims})
	got := must(r.Ledger.Account(r.ctx, owner))(t).Balance - before
	fees := h0.Totals.Amount + books[1].Line(devices[1]).Amount - got
	if claims[0].Leaf.Amount == 0 || claims[1].Leaf.Amount == 0 || fees > 1000 {
		t.Fatalf("claimed %d of %d and %d", got, claims[0].Leaf.Amount, claims[1].Leaf.Amount)
	}
	supply := must(r.Ledger.Supply(r.ctx))(t)
	if supply.Spent != bought[0]/2+bought[1] || supply.Amount != claims[0].Leaf.Amount+claims[1].Leaf.Amount {
		t.Fatalf("supply %+v", supply)
	}
}
