package econ_test

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
	"github.com/google/go-cmp/cmp"
)

// planted are mistakes that other networks made, or that look harmless. Each must break a property.
var planted = []struct {
	name   string
	rules  rules
	caught []string // by which properties
}{
	{"cap linked to demand", rules{emit: demandCap}, []string{"budget", "decay", "wash"}},
	{"pay decays beyond three nodes per wallet", rules{pay: walletDecay}, []string{"split"}},
	{"weight is the square root of effort", rules{weigh: rootWeights}, []string{"split"}},
	{"fixed pool for those who spend", rules{finish: fixedPool}, []string{"budget", "wash"}},
	{"mint ratio above 1", rules{finish: mintRatio}, []string{"budget", "dilution", "wash"}},
	{"top-up to three times spending", rules{finish: topUp}, []string{"budget", "dilution", "wash"}},
	{"bonus on the mean alone", rules{settle: meanBonus}, []string{"budget", "wash"}},
}

// demandCap emits up to three times what customers paid in the epoch, as HIP-149's floor does, instead of the
// work's reference value.
func demandCap(p *econ.Params, d econ.Day, w econ.Work, in econ.Spending) (econ.Emission, error) {
	e, err := econ.Emit(p, d, w)
	for i := range e.Category {
		k := &e.Category[i]
		if k.Weight.IsZero() {
			continue
		}
		most, _ := econ.MulDivBig([]uint64{3, uint64(in.Paid[i].Amount), 1e9}, []uint64{in.Price})
		k.Amount = min(k.Budget, types.Ustone(most))
	}
	return e, err
}

// walletDecay pays the nth node of a wallet 1/(n−2) beyond the third, as Render does.
func walletDecay(nodes []node, amount []types.Ustone) {
	count := map[int]types.Ustone{}
	for i, n := range nodes {
		if count[n.wallet]++; count[n.wallet] > 3 {
			amount[i] /= count[n.wallet] - 2
		}
	}
}

// rootWeights forgives size: √(units·quality).
func rootWeights(devices []econ.Effort, d econ.Density) ([]types.U128, error) {
	ws, err := econ.Weigh(devices, d)
	for i, w := range ws {
		root := new(big.Int).Sqrt(product(w.Lo, 1_000_000))
		ws[i] = types.U64(root.Uint64())
	}
	return ws, err
}

// fixedPool shares the whole budget among those whom customers paid, by what they were paid.
func fixedPool(s econ.Split, e econ.Emission) (econ.Settlement, error) {
	out, err := econ.Finish(s, e)
	for _, k := range e.Category {
		out.Payout += k.Budget
	}
	out.Shares = nil
	return out, err
}

// mintRatio mints a tenth more than customers paid.
func mintRatio(s econ.Split, e econ.Emission) (econ.Settlement, error) {
	out, err := econ.Finish(s, e)
	out.Payout += s.Suppliers / 10
	return out, err
}

// topUp triples what customers paid.
func topUp(s econ.Split, e econ.Emission) (econ.Settlement, error) {
	out, err := econ.Finish(s, e)
	out.Payout += 2 * s.Suppliers
	return out, err
}

// meanBonus grants κ of mean spending, however little is spent in the epoch.
func meanBonus(v econ.Vault, p *econ.Params, in econ.Spending) (econ.Vault, econ.Split, error) {
	after, s, err := econ.Settle(v, p, in)
	if s.Mint == 0 && in.Price > 0 {
		var mean uint64
		for _, d := range v.Demand {
			mean += uint64(d.Spent)
		}
		bonus, _ := econ.MulDivBig([]uint64{p.Bonus, mean / 672, 1e9}, []uint64{econ.Bps, in.Price})
		s.Bonus = types.Ustone(bonus)
	}
	return after, s, err
}

// TestPlantedMistakes breaks one rule at a time on purpose and sees which properties notice.
func TestPlantedMistakes(t *testing.T) {
	for _, m := range planted {
		t.Run(m.name, func(t *testing.T) {
			var caught []string
			for _, p := range properties {
				for i := range uint64(5_000) {
					if err := p.check(m.rules, seeded(i)); err != nil {
						t.Logf("%s, sequence %d: %v", p.name, i, err)
						caught = append(caught, p.name)
						break
					}
				}
			}
			slices.Sort(caught)
			if diff := cmp.Diff(m.caught, caught); diff != "" {
				t.Errorf("caught by (-want +got)\n%s", diff)
			}
		})
	}
}

// contest is a scenario of one epoch at a dollar per STONE in which others are paid so much, beside an
// attacker's node that is not paid yet and everything else is slack. The coalition owns the attacker's node,
// verifiers and treasury: see wash.
func contest(others, mean uint64) scenario {
	const dollar = 1_000_000_000
	s := scenario{params: shared, start: 1, day: econ.Genesis(econ.GenesisSupply), price: []uint64{dollar}}
	s.vault = econ.Vault{Stone: 1e15, Bought: 1 << 60, Demand: []econ.Demand{{Category: types.Wireless, Spent: types.Credit(672 * mean)}}}
	s.deposit = []types.Ustone{0}
	s.nodes = []node{
		{category: types.Wireless, paid: []types.Credit{0}},
		{category: types.Wireless, cell: 1, wallet: 1, paid: []types.Credit{types.Credit(others)}},
	}
	return s
}

// gain returns what the attacker's node, with or without verifiers and treasury, is paid for paying itself x, less x.
func gain(t *testing.T, r rules, s scenario, x uint64, roles bool) float64 {
	t.Helper()
	then := s.clone()
	then.nodes[0].paid[0] += types.Credit(x)
	before, err := run(r, s)
	if err != nil {
		t.Fatal(err)
	}
	after, err := run(r, then)
	if err != nil {
		t.Fatal(err)
	}
	got := float64(after.amount[0]) - float64(before.amount[0])
	if roles {
		got += float64(after.roles) - float64(before.roles)
	}
	return got - float64(x)
}

// best returns the x up to limit, in steps, that gains most.
func best(t *testing.T, r rules, s scenario, limit, step uint64, roles bool) (x uint64, most float64) {
	t.Helper()
	most = math.Inf(-1)
	for b := step; b <= limit; b += step {
		if g := gain(t, r, s, b, roles); g > most {
			x, most = b, g
		}
	}
	return x, most
}

const unit = 1_000_000 // of the contests: a dollar, a STONE

// TestFixedPoolIsAttacked: where a pool M is shared by what everybody burns and others burn B, the best burn is
// √(MB) − B and gains (√M − √B)² (Factom's grant pool). By this package's rules no burn gains.
func TestFixedPoolIsAttacked(t *testing.T) {
	pool := rules{finish: func(s econ.Split, e econ.Emission) (econ.Settlement, error) {
		return econ.Settlement{Owed: s.Owed, Settled: s.Settled, Payout: 100 * unit}, nil
	}}
	s := contest(50*unit, 0)
	x, most := best(t, pool, s, 60*unit, unit/100, false)
	if math.Abs(float64(x)/unit-20.71) > 0.02 || math.Abs(most/unit-8.58) > 0.005 {
		t.Errorf("the best burn is %.2f and gains %.2f, want 20.71 and 8.58", float64(x)/unit, most/unit)
	}
	if x, most := best(t, rules{}, s, 60*unit, unit/100, true); most >= 0 {
		t.Errorf("burning %.2f gains %.2f", float64(x)/unit, most/unit)
	}
}

// TestBonusSniping: κ of the mean, shared by what is spent, pays for spending in a quiet hour; κ of the lesser
// of spending and mean does not.
func TestBonusSniping(t *testing.T) {
	s := contest(10*unit, 100*unit)
	x, most := best(t, rules{settle: meanBonus}, s, 40*unit, unit/100, true)
	if math.Abs(float64(x)/unit-12.36) > 0.02 || math.Abs(most/unit-0.61) > 0.005 {
		t.Errorf("the best burn is %.2f and gains %.2f, want 12.36 and 0.61", float64(x)/unit, most/unit)
	}
	if x, most := best(t, rules{}, s, 40*unit, unit/100, true); most > -0.02*unit/100+1 {
		t.Errorf("burning %.2f gains %.4f", float64(x)/unit, most/unit)
	}
}

// TestDemandCapIsAttacked: each dollar spent on itself raises a cap of three times spending by three.
func TestDemandCapIsAttacked(t *testing.T) {
	s := contest(0, 0)
	s.nodes[0].effort = econ.Effort{Units: types.U64(100_000_000), Quality: econ.Bps}
	s.params = func() *econ.Params { p := *shared; p.Bonus = 0; return &p }()
	if g := gain(t, rules{emit: demandCap}, s, unit, true); math.Abs(g/unit-2.96) > 0.001 {
		t.Errorf("a dollar gains %.3f, want 2.96", g/unit)
	}
	if g := gain(t, rules{}, s, unit, true); math.Abs(g/unit+0.04) > 0.001 {
		t.Errorf("a dollar gains %.3f, want −0.04", g/unit)
	}
}

// TestRootIsAttacked: by square roots, half of the work is paid 50 %, and 58.6 % once it is split in two.
func TestRootIsAttacked(t *testing.T) {
	part := func(r rules, mine int) float64 {
		s := contest(0, 0)
		s.price[0] = 1_000_000 // low, so that the reference value is not what binds
		work := func(n uint64) econ.Effort { return econ.Effort{Units: types.U64(1e12 / n), Quality: econ.Bps} }
		s.params = func() *econ.Params {
			p := *shared
			p.Category = slices.Clone(p.Category)
			p.Category[0].Density.On = false
			return &p
		}()
		s.nodes = s.nodes[1:]
		s.nodes[0].effort = work(1)
		for range mine {
			s.nodes = append(s.nodes, node{category: types.Wireless, effort: work(uint64(mine)), paid: []types.Credit{0}})
		}
		o, err := run(r, s)
		if err != nil {
			t.Fatal(err)
		}
		var own, all types.Ustone
		for i, a := range o.amount {
			if all += a; i > 0 {
				own += a
			}
		}
		return float64(own) / float64(all)
	}
	if one, two := part(rules{weigh: rootWeights}, 1), part(rules{weigh: rootWeights}, 2); math.Abs(one-0.5) > 1e-4 || math.Abs(two-0.586) > 5e-4 {
		t.Errorf("by roots, one device gets %.4f and two halves %.4f, want 0.5 and 0.586", one, two)
	}
	if one, two := part(rules{}, 1), part(rules{}, 2); two > one {
		t.Errorf("one device gets %.6f and two halves %.6f", one, two)
	}
}
