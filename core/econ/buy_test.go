package econ

import (
	"errors"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

const dollar = 1_000_000_000 // nUSD

func TestQuote(t *testing.T) {
	p := Six()
	deep := Vault{Stone: 1e12, Bought: 1e11}
	thin := func(cr uint64) Vault {
		return Vault{Stone: types.Ustone(cr), Bought: Bps, Demand: []Demand{{types.Storage, 1_400_000_000}, {types.Wireless, 1_400_000_000}}}
	}
	ok := Bid{Stone: 10_000, Supply: GenesisSupply, Band: Fixed(dollar)}
	with := func(change func(*Bid)) Bid { b := ok; change(&b); return b }
	for _, c := range []struct {
		name   string
		vault  Vault
		bid    Bid
		want   Purchase
		reason types.Reason
	}{
		{"plain", deep, ok, Purchase{Credits: 9_975, Backing: 100_000}, ""},
		{"first of all", Vault{}, ok, Purchase{Credits: 9_975, Backing: Bps}, ""},
		{"least met", deep, with(func(b *Bid) { b.Least = 9_975 }), Purchase{Credits: 9_975, Backing: 100_000}, ""},
		{"least missed", deep, with(func(b *Bid) { b.Least = 9_976 }), Purchase{Credits: 9_975, Backing: 100_000}, types.Slippage},
		{"nothing", deep, with(func(b *Bid) { b.Stone = 1 }), Purchase{Backing: 100_000}, types.Slippage},
		{"paused", deep, with(func(b *Bid) { b.Band.Paused = true }), Purchase{}, types.PricePaused},
		{"no price yet", deep, with(func(b *Bid) { b.Band = Band{} }), Purchase{}, types.PricePaused},
		{"day's limit", deep, with(func(b *Bid) { b.Stone = GenesisSupply / 200 }), Purchase{Credits: 1_995_000_000_000, Backing: 100_000}, ""},
		{"beyond it", deep, with(func(b *Bid) { b.Stone = GenesisSupply/200 + 1 }), Purchase{Credits: 1_995_000_000_000, Backing: 100_000}, types.BuyWindow},
		{"backing 9,500", thin(9_500), ok, Purchase{Credits: 9_975, Backing: 9_500}, ""},
		{"backing 9,499", thin(9_499), ok, Purchase{Credits: 9_975, Backing: 9_499, Warning: true}, ""},
		{"backing 9,000", thin(9_000), with(func(b *Bid) { b.Stone = 201e6 }), Purchase{Credits: 200_497_500, Backing: 9_000, Warning: true}, ""},
		{"ration", thin(8_999), with(func(b *Bid) { b.Stone = 200_501_253 }), Purchase{Credits: 199_999_999, Backing: 8_999, Warning: true, Rationed: true}, ""},
		{"beyond the ration", thin(8_999), with(func(b *Bid) { b.Stone = 201e6 }), Purchase{Credits: 200_497_500, Backing: 8_999, Warning: true, Rationed: true}, types.BuyWindow},
		{"overflow", deep, with(func(b *Bid) { b.Stone = 1 << 63; b.Band = Fixed(1 << 63) }), Purchase{}, types.EconRange},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Quote(&c.vault, &p, c.bid)
			if got != c.want || types.ReasonOf(err) != c.reason {
				t.Errorf("%+v, %v; want %+v, %q", got, err, c.want, c.reason)
			}
			after, bought, err := Buy(c.vault, &p, c.bid)
			switch {
			case c.reason != "" && (types.ReasonOf(err) != c.reason || bought != (Purchase{})):
				t.Errorf("bought %+v, %v; want %q", bought, err, c.reason)
			case c.reason == "" && (err != nil || bought != c.want || after.Stone != c.vault.Stone+c.bid.Stone || after.Bought != c.vault.Bought+got.Credits):
				t.Errorf("bought %+v, %+v, %v", bought, after, err)
			}
		})
	}
}

// TestRationNeverStops: with no spending at all and a vault that holds next to nothing, some credits are still sold.
func TestRationNeverStops(t *testing.T) {
	p := Six()
	v := Vault{Stone: 1, Bought: 1e12}
	if got, err := Quote(&v, &p, Bid{Stone: 1e8, Supply: GenesisSupply, Band: Fixed(dollar)}); err != nil || !got.Rationed {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Quote(&v, &p, Bid{Stone: 101e6, Supply: GenesisSupply, Band: Fixed(dollar)}); !errors.Is(err, types.BuyWindow) {
		t.Errorf("%v, want %s", err, types.BuyWindow)
	}
}

// TestWindow: purchases of one day add up, and a new day starts anew.
func TestWindow(t *testing.T) {
	p := Six()
	half := Bid{Stone: GenesisSupply/400 + 1, Supply: GenesisSupply, Day: 3, Band: Fixed(dollar)}
	v, _, err := Buy(Vault{Window: Window{Day: 2, Stone: GenesisSupply}}, &p, half)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Buy(v, &p, half); !errors.Is(err, types.BuyWindow) {
		t.Errorf("a second half: %v, want %s", err, types.BuyWindow)
	}
	half.Day++
	next, got, err := Buy(v, &p, half)
	if err != nil || next.Window != (Window{4, half.Stone, got.Credits}) {
		t.Errorf("next day: %+v, %v", next.Window, err)
	}
}

func TestExcess(t *testing.T) {
	for _, c := range []struct {
		vault Vault
		lo    uint64
		want  types.Ustone
	}{
		{Vault{Stone: 1_200, Bought: 1_000}, dollar, 0},
		{Vault{Stone: 1_229, Bought: 1_000}, dollar, 0},
		{Vault{Stone: 1_230, Bought: 1_000}, dollar, 1},
		{Vault{Stone: 1_800, Bought: 1_500, Settled: 500}, dollar, 20},
		{Vault{Stone: 1_800, Bought: 1_500, Settled: 500}, dollar / 2, 0},
		{Vault{Stone: 1_800}, dollar, 0},
		{Vault{Stone: 1_800, Bought: 1}, 0, 0},
		{Vault{Stone: 1_800, Bought: 1 << 62}, 1, 0},
	} {
		if after, got := BurnExcess(c.vault, c.lo); got != c.want || after.Stone != c.vault.Stone-c.want {
			t.Errorf("%+v at %d burns %d, want %d", c.vault, c.lo, got, c.want)
		}
	}
	if cr := (&Vault{Stone: 1 << 63, Bought: 1}).Backing(1 << 63); cr != 1<<64-1 {
		t.Errorf("backing beyond its range is %d", cr)
	}
}
