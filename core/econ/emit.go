package econ

import (
	"cmp"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// The emission schedule (tier 0). Each decay is 2^(−1/n) in wad for a half-life of n days; lidRate is 1 −
// 2^(−1/2190), the daily part of what is left to mint that may be minted: a half-life of six years.
const (
	decay1  = 998_734_778_820_475_302 // 547.5 days: the subsidy
	decay2  = 999_050_933_962_625_668 // 730 days: the consensus validators' part and the lid
	lidRate = 316_455_479_298_108

	secFloor, secStart = Wad / 100, 3 * Wad / 100      // a year's security budget, part of supply: 3 % falling to 1 %
	lidFloor, lidStart = 2 * Wad / 100, 10 * Wad / 100 // the most that a year may emit: 10 % falling to 2 %
	doublings          = 6                             // years for which a category's target doubles
)

// Day is the state of x/reward that changes once a day.
type Day struct {
	Number uint64       // days since genesis
	D1, D2 uint64       // decays in wad, Wad on day 0
	Supply types.Ustone // S_d: the bank's supply when the day started
}

// Genesis returns day 0 of a chain that starts with that supply.
func Genesis(supply types.Ustone) Day { return Day{D1: Wad, D2: Wad, Supply: supply} }

// DayOf returns the day that epoch e belongs to.
func DayOf(e types.Epoch) uint64 { return uint64(e) / EpochsPerDay }

// Advance returns day number, which starts with that supply; for a day that is not after d it returns d. It
// steps through the days between, at most until both decays have reached zero, about 10⁵.
func (d Day) Advance(number uint64, supply types.Ustone) Day {
	if number <= d.Number {
		return d
	}
	for n := d.Number; n < number && d.D1|d.D2 != 0; n++ {
		d.D1, _ = MulDiv(d.D1, decay1, Wad) // decay < Wad: cannot leave its range
		d.D2, _ = MulDiv(d.D2, decay2, Wad)
	}
	d.Number, d.Supply = number, supply
	return d
}

// Target returns K_c in epoch t: the weight at which a category earns its whole budget. It starts at k0 and
// doubles in each of six years, in a straight line within a year. It does not know what customers spend, so
// spending cannot raise it.
func Target(k0 types.U128, t types.Epoch) (types.U128, error) {
	year := min(doublings, uint64(t)/EpochsPerYear)
	z, err := MulDivU128(k0, types.U64(1<<year), types.U64(1))
	if err != nil || year == doublings {
		return z, err
	}
	part, err := MulDivU128(z, types.U64(uint64(t)%EpochsPerYear), types.U64(EpochsPerYear))
	if err != nil {
		return types.U128{}, err
	}
	k, err := z.Add(part)
	if err != nil {
		return types.U128{}, types.Refuse(types.EconRange, "econ: target from %s in epoch %d", k0, t)
	}
	return k, nil
}

// Weight is a category's weight: of one device in one epoch, or summed over a region or all regions.
type Weight struct {
	Category types.Category
	Weight   types.U128
}

// Work is what x/reward is told of an epoch.
type Work struct {
	Epoch  types.Epoch  // t
	Price  uint64       // P = hi(e); 0: unpriced, and no category is paid
	Fees   types.Ustone // transaction fees of the epoch, which the validators keep and which lower their subsidy
	Bonus  types.Ustone // Split.Bonus: K
	Demand []Demand     // Split.Demand: A_c before the epoch's own spending
	Weight []Weight     // W_c: network-ordered weight in e over all regions, sorted by category, each once
}

// Emitted is how one category's subsidy came about, from its budget to what is minted. All amounts are ustone.
type Emitted struct {
	Category types.Category
	Weight   types.U128   // W_c
	Target   types.U128   // K_c
	Budget   types.Ustone // q_c: its part of the epoch's
	Faded    types.Ustone // a_c ≤ q_c: less what paid demand has replaced
	Reached  types.Ustone // b_c ≤ a_c: less what is missing to the target
	Cap      types.Ustone // cap_c: the reference value of the work
	Amount   types.Ustone // E_c: what is minted
}

// Emission is what x/reward mints for an epoch: Security to the consensus validators, Bonus to the devices that
// customers paid, and each category's Amount to its devices by weight. The sum is at most Lid.
type Emission struct {
	Security types.Ustone // sec'
	Bonus    types.Ustone // K' ≤ K
	Lid      types.Ustone
	Category []Emitted // one for each category of the parameters, in their order
}

// Total returns all that the emission mints. It is at most Lid, so it cannot overflow.
func (e *Emission) Total() types.Ustone {
	sum := e.Security + e.Bonus
	for _, c := range e.Category {
		sum += c.Amount
	}
	return sum
}

// Emit returns what an epoch of work mints. What a category does not use of its budget is not minted.
func Emit(p *Params, d Day, in Work) (Emission, error) {
	var c calc
	yearly := func(floor, start uint64) uint64 {
		return c.div(uint64(d.Supply), max(floor, c.div(start, d.D2, Wad)), Wad) / EpochsPerYear
	}
	left := uint64(less(MaxSupply, d.Supply))
	lid := min(c.div(left, lidRate, Wad)/EpochsPerDay, yearly(lidFloor, lidStart))
	sec := min(less(yearly(secFloor, secStart), uint64(in.Fees)), lid)
	bonus := min(uint64(in.Bonus), lid-sec)
	rest := lid - sec - bonus

	out := Emission{Security: types.Ustone(sec), Bonus: types.Ustone(bonus), Lid: types.Ustone(lid)}
	var sum uint64
	for i := range p.Category {
		e, err := p.Category[i].emit(p, d, in)
		if err != nil {
			return Emission{}, err
		}
		sum = c.add(sum, uint64(e.Amount))
		out.Category = append(out.Category, e)
	}
	if sum > rest {
		for i := range out.Category {
			e := &out.Category[i]
			e.Amount = types.Ustone(c.div(uint64(e.Amount), rest, sum))
		}
	}
	return out, c.err("emission of epoch %d", in.Epoch)
}

// emit returns the category's subsidy before the lid.
func (k *Category) emit(p *Params, d Day, in Work) (Emitted, error) {
	var c calc
	var shares uint64
	for i := range p.Category {
		shares = c.add(shares, p.Category[i].Share)
	}
	e := Emitted{Category: k.Category, Weight: weightOf(in.Weight, k.Category)}
	var err error
	if e.Target, err = Target(k.Target, in.Epoch); err != nil {
		return Emitted{}, err
	}
	yearly := c.div(c.div(uint64(GenesisSupply), p.Subsidy, Bps), d.D1, Wad)
	q := c.quo(c.mul(yearly, k.Share), c.mul(shares, EpochsPerYear))
	fade := uint64(k.Demand)
	a := c.div(q, less(fade, uint64(demandOf(in.Demand, k.Category))), fade)
	reached := e.Weight
	if reached.Cmp(e.Target) > 0 {
		reached = e.Target
	}
	b := c.quo(c.mulU(reached, a), wide(e.Target))
	value := c.quoSat(c.mulU(e.Weight, uint64(k.Ref)), c.mul(Bps, k.Unit)) // credits
	most := c.quoSat(c.mul(value, p.Match, nano), c.mul(Bps, in.Price))

	e.Budget, e.Faded, e.Reached, e.Cap = types.Ustone(q), types.Ustone(a), types.Ustone(b), types.Ustone(most)
	e.Amount = min(e.Reached, e.Cap)
	return e, c.err("emission of %s in epoch %d", k.Category, in.Epoch)
}

func weightOf(ws []Weight, c types.Category) types.U128 {
	i, ok := slices.BinarySearchFunc(ws, c, func(w Weight, c types.Category) int { return cmp.Compare(w.Category, c) })
	if !ok {
		return types.U128{}
	}
	return ws[i].Weight
}

func demandOf(ds []Demand, c types.Category) types.Credit {
	i, ok := slices.BinarySearchFunc(ds, c, func(d Demand, c types.Category) int { return cmp.Compare(d.Category, c) })
	if !ok {
		return 0
	}
	return ds[i].Spent
}
