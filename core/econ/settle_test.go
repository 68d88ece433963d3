package econ

import (
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/google/go-cmp/cmp"
)

// TestAllowance: the shortfall's allowance accrues by the epoch, stops at a day's worth and never passes the
// greatest supply.
func TestAllowance(t *testing.T) {
	p := Six()
	var v Vault
	for e := range 30 {
		var err error
		if v, _, err = Settle(v, &p, Spending{Supply: GenesisSupply, Price: dollar}); err != nil {
			t.Fatal(err)
		}
		if want := min(types.Ustone(e+1)*(GenesisSupply*2/240_000), GenesisSupply*2/10_000); v.Allowance != want {
			t.Errorf("after epoch %d the allowance is %d, want %d", e, v.Allowance, want)
		}
	}
	for supply, want := range map[types.Ustone]types.Ustone{MaxSupply - 5: 5, MaxSupply: 0, MaxSupply + 1: 0} {
		if after, _, err := Settle(v, &p, Spending{Supply: supply, Price: dollar}); err != nil || after.Allowance != want {
			t.Errorf("at a supply of %d the allowance is %d, %v; want %d", supply, after.Allowance, err, want)
		}
	}
}

// TestUnpriced: nothing is settled without a price; it all stays owed, and the allowance goes on accruing.
func TestUnpriced(t *testing.T) {
	p := Six()
	before := Vault{Stone: 1e9, Bought: 500, Demand: []Demand{{types.Storage, 672}}}
	v, s, err := Settle(before, &p, Spending{Supply: GenesisSupply, Owed: 400, Paid: []Paid{{types.Compute, 9}, {types.Storage, 400}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Split{Owed: 400, Demand: before.Demand}, s); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Vault{Stone: 1e9, Bought: 500, Allowance: 3_333_333_333, Demand: []Demand{{types.Compute, 9}, {types.Storage, 1_071}}}, v); diff != "" {
		t.Error(diff)
	}
	settlement, err := Finish(s, Emission{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFold(settlement, nil)
	if err != nil {
		t.Fatal(err)
	}
	if g, u, err := f.Device(400, nil); g != 0 || u != 0 || err != nil {
		t.Errorf("an unpriced epoch settles %d credits with %d ustone, %v", g, u, err)
	}
}

func TestSettleRefuses(t *testing.T) {
	p := Six()
	twice := []Paid{{types.Compute, 1}, {types.Compute, 1}}
	for name, c := range map[string]struct {
		vault Vault
		in    Spending
	}{
		"a category twice":  {Vault{}, Spending{Paid: twice}},
		"settled overflows": {Vault{Stone: 1e9, Settled: 1<<64 - 1}, Spending{Supply: GenesisSupply, Price: dollar, Owed: 1}},
		"demand overflows":  {Vault{Demand: []Demand{{1, 1<<64 - 1}}}, Spending{Paid: []Paid{{1, 1<<64 - 1}}}},
		"stone overflows":   {Vault{Stone: 1<<64 - 1}, Spending{Supply: GenesisSupply, Price: dollar, Owed: 1}},
	} {
		before := c.vault
		if _, _, err := Settle(c.vault, &p, c.in); types.ReasonOf(err) != types.EconRange {
			t.Errorf("%s: %v, want %s", name, err, types.EconRange)
		}
		if diff := cmp.Diff(before, c.vault); diff != "" {
			t.Errorf("%s: the vault changed: %s", name, diff)
		}
	}
}

// TestWashLosesFour: at constant price and within the mean already spent by others, a coalition in every role
// gets back 96 %.
func TestWashLosesFour(t *testing.T) {
	p := Six()
	v := Vault{Stone: 1e12, Bought: 1e12, Demand: []Demand{{types.Storage, 672e6}}}
	roles := func(owed types.Credit) types.Ustone {
		_, s, err := Settle(v, &p, Spending{Supply: GenesisSupply, Price: dollar, Owed: owed})
		if err != nil {
			t.Fatal(err)
		}
		return s.Suppliers + s.Bonus + s.Verifiers + s.Treasury
	}
	if back := roles(2e6) - roles(1e6); back != 960_000 {
		t.Errorf("a dollar brings %d ustone back, want 960,000", back)
	}
	// In a quiet hour the bonus comes on top: 98 %, the tier 0 limit.
	if back := roles(1e6) - roles(0); back != 980_000 {
		t.Errorf("a dollar in a quiet hour brings %d ustone back, want 980,000", back)
	}
}
