package econ

import (
	"fmt"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestRegions: however devices fall into regions, no region folds more than it is allotted, regions are
// allotted no more than was split and emitted, and a void of all of them gives all of it back.
func TestRegions(t *testing.T) {
	p := Six()
	rapid.Check(t, func(t *rapid.T) {
		num := func(lo, hi uint64) uint64 { return rapid.Uint64Range(lo, hi).Draw(t, "n") }
		type device struct {
			owed    types.Credit
			weights []Weight
		}
		type region struct {
			devices []device
			owed    types.Credit
			weights []Weight
		}
		regions := make([]region, num(1, 4))
		total := region{weights: []Weight{{Category: types.Wireless}, {Category: types.Mapping}}}
		for i := range regions {
			r := &regions[i]
			r.weights = []Weight{{Category: types.Wireless}, {Category: types.Mapping}}
			for range num(0, 4) {
				d := device{types.Credit(num(0, 1e9)), []Weight{{types.Wireless, types.Mul64(num(0, 1e12), num(0, 1e12))}, {types.Mapping, types.U64(num(0, 1e6))}}}
				r.devices = append(r.devices, d)
				for _, to := range []*region{r, &total} {
					to.owed += d.owed
					for k, w := range d.weights {
						to.weights[k].Weight, _ = to.weights[k].Weight.Add(w.Weight)
					}
				}
			}
		}
		before := Vault{Stone: types.Ustone(num(0, 1e10)), Bought: 1e15, Demand: []Demand{{types.Wireless, types.Credit(num(0, 1e12))}}}
		price := num(1, 1e10)
		v, split, err := Settle(before, &p, Spending{Supply: GenesisSupply, Price: price, Owed: total.owed})
		if err != nil {
			t.Fatal(err)
		}
		emission, err := Emit(&p, Genesis(GenesisSupply), Work{Price: price, Bonus: split.Bonus, Weight: total.weights})
		if err != nil {
			t.Fatal(err)
		}
		settlement, err := Finish(split, emission)
		if err != nil {
			t.Fatal(err)
		}
		var escrow, burned, back types.Ustone
		for _, r := range regions {
			a, err := Allot(split, emission, r.owed, r.weights)
			if err != nil {
				t.Fatal(err)
			}
			f, err := NewFold(settlement, r.weights)
			if err != nil {
				t.Fatal(err)
			}
			var folded types.Ustone
			var settled types.Credit
			for _, d := range r.devices {
				g, u, err := f.Device(d.owed, d.weights)
				if err != nil {
					t.Fatal(err)
				}
				folded, settled = folded+u, settled+g
			}
			if g, u, err := f.Allotted(r.owed); g != a.Settled || u != a.Devices() || err != nil {
				t.Fatalf("allotted %d and %d, %v; the escrow says %+v", g, u, err, a)
			}
			if folded > a.Devices() || settled > a.Settled || split.Settled == split.Owed && settled != r.owed {
				t.Fatalf("folded %d ustone and %d credits of %+v", folded, settled, a)
			}
			escrow += a.Total()
			was := v.Stone
			var gone types.Ustone
			if v, gone, err = Void(v, a); err != nil {
				t.Fatal(err)
			}
			burned, back = burned+gone, back+v.Stone-was
		}
		categories := emission.Total() - emission.Security - emission.Bonus
		if most := split.Drawn + split.Mint + split.Burn + emission.Bonus + categories; escrow > most || burned+back != escrow {
			t.Fatalf("%d in escrow, at most %d; %d went back and %d burned", escrow, most, back, burned)
		}
		if len(regions) == 1 && (v.Stone != before.Stone+split.Mint || v.Settled != before.Settled || escrow != split.Drawn+split.Mint+split.Burn+emission.Bonus+categories) && total.owed > 0 {
			t.Fatalf("a void leaves %+v of %+v and %+v", v, before, split)
		}
	})
}

func TestFoldRefuses(t *testing.T) {
	w := func(n uint64) []Weight { return []Weight{{types.Wireless, types.U64(n)}} }
	share := Share{Category: types.Wireless, Emitted: 10, Weight: types.U64(5)}
	for name, c := range map[string]struct {
		s      Settlement
		region []Weight
	}{
		"more settled than owed":   {Settlement{Owed: 1, Settled: 2}, nil},
		"a region above the total": {Settlement{Shares: []Share{share}}, w(6)},
		"a category twice":         {Settlement{Shares: []Share{share, share}}, w(1)},
	} {
		if _, err := NewFold(c.s, c.region); types.ReasonOf(err) != types.EconRange {
			t.Errorf("%s: %v, want %s", name, err, types.EconRange)
		}
	}
	f, err := NewFold(Settlement{Owed: 3, Settled: 3, Payout: 9, Shares: []Share{share}}, w(4))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Subsidy(types.Wireless, types.U64(5)); types.ReasonOf(err) != types.EconRange {
		t.Errorf("a device above its region: %v", err)
	}
	if _, _, err := f.Allotted(4); types.ReasonOf(err) != types.EconRange {
		t.Errorf("a region owed more than all: %v", err)
	}
	if u, err := f.Subsidy(types.Storage, types.U64(5)); u != 0 || err != nil {
		t.Errorf("a category that emitted nothing pays %d, %v", u, err)
	}
	if u, err := f.Subsidy(types.Wireless, types.U64(4)); u != 8 || err != nil {
		t.Errorf("the region's only device gets %d, %v; want 8", u, err)
	}
}

// TestSettlementBytes: the settlement is part of the tally's frame, so its encoding is fixed.
func TestSettlementBytes(t *testing.T) {
	s := Settlement{Owed: 3, Settled: 2, Payout: 500, Shares: []Share{{Category: types.Wireless, Emitted: 7, Weight: types.Mul64(1<<63, 4)}}}
	b := types.Encode(s)
	if got, want := fmt.Sprintf("%x", b), "8403021901f481830107c249020000000000000000"; got != want {
		t.Errorf("encoded as %s, want %s", got, want)
	}
	var back Settlement
	if err := types.Decode(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, back); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkFold is the cost of one device in the tally's first step.
func BenchmarkFold(b *testing.B) {
	region := []Weight{{types.Wireless, types.Mul64(1e18, 100)}}
	s := Settlement{Owed: 1e12, Settled: 9e11, Payout: 2e12, Shares: []Share{{Category: types.Wireless, Emitted: 4e8, Weight: region[0].Weight}}}
	f, err := NewFold(s, region)
	if err != nil {
		b.Fatal(err)
	}
	device := []Weight{{types.Wireless, types.U64(1e12)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := f.Device(123_456_789, device); err != nil {
			b.Fatal(err)
		}
	}
}
