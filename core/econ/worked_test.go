package econ_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
	"github.com/google/go-cmp/cmp"
)

// worked is an epoch computed by hand, with its intermediate results: testdata/worked.json.
type worked struct {
	Name     string
	Price    uint64
	Vault    types.Ustone
	Split    workedSplit
	Emission workedEmission
	Device   []workedDevice
	Allotted types.Ustone
	Folded   types.Ustone
	Dust     types.Ustone
}

type workedSplit struct {
	Allowance, Left, Suppliers, Verifiers, Treasury, Mint, Burn, Vault, Bonus, Payout types.Ustone
	Settled, Spent                                                                    types.Credit
}

type workedEmission struct {
	Security, Budget, Faded, Reached, Cap, Amount, Lid types.Ustone
}

type workedDevice struct {
	Paid, Settled, Owed   types.Credit
	Weight                types.U128
	Pay, Emission, Amount types.Ustone
}

// The epoch of the worked example: day 1, one region, wireless is the only category with work. A, B and C share
// a cell.
const (
	workedSupply = 400_050_000_000_000
	workedSpent  = 67_200_000_000
	workedOwed   = 150_000_006
)

var workedCells = [][]econ.Effort{
	{
		{Units: types.U64(100_000_000), Quality: 10_000},
		{Units: types.U64(100_000_000), Quality: 9_000},
		{Units: types.U64(80_000_003), Quality: 7_500},
	},
	{{Units: types.U64(7_000_000), Quality: 10_000}},
}

// workedParams are the defaults with a wireless target of exactly 10¹⁵ in epoch 24, the first of day 1, and a density
// threshold of 2·10¹².
func workedParams(t *testing.T) *econ.Params {
	t.Helper()
	p := econ.Six()
	w := p.Find(types.Wireless)
	w.Density.Full = types.U64(2_000_000_000_000)
	w.Target = types.U64(997_267_759_562_842)
	k, err := econ.Target(w.Target, econ.EpochsPerDay)
	if err != nil || k != types.U64(1_000_000_000_000_000) {
		t.Fatalf("target in epoch 24 is %s, %v", k, err)
	}
	return &p
}

func TestWorkedExample(t *testing.T) {
	raw, err := os.ReadFile("testdata/worked.json")
	if err != nil {
		t.Fatal(err)
	}
	var want []worked
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if len(want) != 2 {
		t.Fatalf("%d worked examples, want 2", len(want))
	}
	for _, w := range want {
		t.Run(w.Name, func(t *testing.T) {
			if diff := cmp.Diff(w, work(t, w)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// work runs the epoch at w's price and vault, and reports it in w's form.
func work(t *testing.T, w worked) worked {
	t.Helper()
	p := workedParams(t)
	got := worked{Name: w.Name, Price: w.Price, Vault: w.Vault}
	before := econ.Vault{Stone: w.Vault, Bought: 1e12, Demand: []econ.Demand{{Category: types.Wireless, Spent: workedSpent}}}
	vault, split, err := econ.Settle(before, p, econ.Spending{
		Supply: workedSupply, Price: w.Price, Owed: workedOwed,
		Paid: []econ.Paid{{Category: types.Wireless, Amount: workedOwed}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var weights []types.U128
	for _, cell := range workedCells {
		ws, err := econ.Weigh(cell, p.Find(types.Wireless).Density)
		if err != nil {
			t.Fatal(err)
		}
		weights = append(weights, ws...)
	}
	total := []econ.Weight{{Category: types.Wireless, Weight: sum(t, weights)}}
	day := econ.Genesis(econ.GenesisSupply).Advance(econ.DayOf(24), workedSupply)
	emission, err := econ.Emit(p, day, econ.Work{Epoch: 24, Price: w.Price, Bonus: split.Bonus, Demand: split.Demand, Weight: total})
	if err != nil {
		t.Fatal(err)
	}
	e := emission.Category[0]
	got.Emission = workedEmission{emission.Security, e.Budget, e.Faded, e.Reached, e.Cap, e.Amount, emission.Lid}
	settlement, err := econ.Finish(split, emission)
	if err != nil {
		t.Fatal(err)
	}
	got.Split = workedSplit{
		Allowance: vault.Allowance + split.Mint, Settled: split.Settled, Suppliers: split.Suppliers, Verifiers: split.Verifiers,
		Treasury: split.Treasury, Mint: split.Mint, Left: vault.Allowance, Burn: split.Burn, Vault: vault.Stone,
		Bonus: split.Bonus, Payout: settlement.Payout, Spent: vault.Demand[0].Spent,
	}
	fold, err := econ.NewFold(settlement, total)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range w.Device {
		settled, pay, err := fold.Pay(d.Paid)
		if err != nil {
			t.Fatal(err)
		}
		subsidy, err := fold.Subsidy(types.Wireless, weights[i])
		if err != nil {
			t.Fatal(err)
		}
		both, amount, err := fold.Device(d.Paid, []econ.Weight{{Category: types.Wireless, Weight: weights[i]}})
		if err != nil || both != settled || amount != pay+subsidy {
			t.Errorf("device %d: %d credits, %d ustone, %v; its parts say %d and %d", i, both, amount, err, settled, pay+subsidy)
		}
		got.Device = append(got.Device, workedDevice{d.Paid, settled, d.Paid - settled, weights[i], pay, subsidy, amount})
		got.Folded += amount
	}
	allotment, err := econ.Allot(split, emission, workedOwed, total)
	if err != nil {
		t.Fatal(err)
	}
	got.Allotted = allotment.Devices()
	got.Dust = got.Allotted - got.Folded
	if allotment.Verifiers != split.Verifiers || allotment.Treasury != split.Treasury || allotment.Burn != split.Burn {
		t.Errorf("the only region is allotted %+v of %+v", allotment, split)
	}
	return got
}

func sum(t *testing.T, ws []types.U128) types.U128 {
	t.Helper()
	var s types.U128
	for _, w := range ws {
		var err error
		if s, err = s.Add(w); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestWorkedPurchaseAndBond(t *testing.T) {
	const lo = 498_000_000
	p := econ.Six()
	bid := econ.Bid{Stone: 1_000_000_000, Supply: econ.GenesisSupply, Band: econ.Fixed(lo)}
	vault, got, err := econ.Buy(econ.Vault{}, &p, bid)
	if err != nil || got.Credits != 496_755_000 || vault.Stone != bid.Stone || vault.Bought != got.Credits {
		t.Errorf("1,000 STONE at %d give %+v and %+v, %v; want 496,755,000 credits", lo, got, vault, err)
	}
	if bond, err := econ.Bond(&p, p.Find(types.Wireless), 1, lo); err != nil || bond != 6_746_988 {
		t.Errorf("a wireless bond at %d is %d, %v; want 6,746,988 ustone", lo, bond, err)
	}
}
