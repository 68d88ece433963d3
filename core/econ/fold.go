package econ

import (
	"cmp"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// Share is a category's part of a settlement: what was emitted, for which weight over all regions.
type Share struct {
	_        struct{} `cbor:",toarray"`
	Category types.Category
	Emitted  types.Ustone // E_c
	Weight   types.U128   // W_c
}

// Settlement is what the tally is told of a settled epoch. It sees totals and never a price. The zero value
// settles nothing.
type Settlement struct {
	_       struct{}     `cbor:",toarray"`
	Owed    types.Credit // O
	Settled types.Credit // F ≤ O
	Payout  types.Ustone // U = u_s + K': to the devices, for settled credits
	Shares  []Share      // sorted by category, each once; categories that emitted nothing are left out
}

// Finish puts together what the tally is told, once x/reward has granted a bonus.
func Finish(s Split, e Emission) (Settlement, error) {
	var c calc
	out := Settlement{Owed: s.Owed, Settled: s.Settled, Payout: types.Ustone(c.add(uint64(s.Suppliers), uint64(e.Bonus)))}
	for _, k := range e.Category {
		if k.Amount != 0 {
			out.Shares = append(out.Shares, Share{Category: k.Category, Emitted: k.Amount, Weight: k.Weight})
		}
	}
	slices.SortFunc(out.Shares, func(a, b Share) int { return cmp.Compare(a.Category, b.Category) })
	return out, c.err("payout of %d and %d ustone", s.Suppliers, e.Bonus)
}

// Fold shares a settlement out to the devices of one region. Parts of a region may be folded apart, in any order.
type Fold struct {
	s      Settlement
	weight []types.U128   // W_{c,r}, beside s.Shares
	pool   []types.Ustone // ⌊E_c·W_{c,r}/W_c⌋, beside s.Shares
}

// NewFold prepares the fold of s in a region whose header for the settled epoch shows those weights, sorted by
// category.
func NewFold(s Settlement, region []Weight) (*Fold, error) {
	if s.Settled > s.Owed {
		return nil, types.Refuse(types.EconRange, "econ: %d credits settled of %d owed", s.Settled, s.Owed)
	}
	f := &Fold{s: s, weight: make([]types.U128, len(s.Shares)), pool: make([]types.Ustone, len(s.Shares))}
	for i, k := range s.Shares {
		if i > 0 && k.Category <= s.Shares[i-1].Category {
			return nil, types.Refuse(types.EconRange, "econ: shares are not sorted by category")
		}
		w := weightOf(region, k.Category)
		if w.Cmp(k.Weight) > 0 {
			return nil, types.Refuse(types.EconRange, "econ: %s weighs %s in a region and %s in all", k.Category, w, k.Weight)
		}
		f.weight[i], f.pool[i] = w, types.Ustone(part(uint64(k.Emitted), w, k.Weight))
	}
	return f, nil
}

// part returns ⌊amount·w/of⌋ for w ≤ of, hence at most amount; a zero of gives 0.
func part(amount uint64, w, of types.U128) uint64 {
	var c calc
	return c.quo(c.mulU(w, amount), wide(of))
}

// Pay returns what a device that is owed so much, Σpaid − settled, is now settled, and the ustone that it gets
// for that.
func (f *Fold) Pay(owed types.Credit) (settled types.Credit, pay types.Ustone, err error) {
	g, err := MulDiv(uint64(owed), uint64(f.s.Settled), uint64(f.s.Owed))
	if err != nil {
		return 0, 0, err
	}
	u, err := MulDiv(g, uint64(f.s.Payout), uint64(f.s.Settled))
	return types.Credit(g), types.Ustone(u), err
}

// Subsidy returns a device's part of what a category emitted in the region, by its weight in the settled epoch.
func (f *Fold) Subsidy(k types.Category, weight types.U128) (types.Ustone, error) {
	i, ok := slices.BinarySearchFunc(f.s.Shares, k, func(s Share, c types.Category) int { return cmp.Compare(s.Category, c) })
	if !ok {
		return 0, nil
	}
	if weight.Cmp(f.weight[i]) > 0 {
		return 0, types.Refuse(types.EconRange, "econ: a device weighs %s in %s and its region %s", weight, k, f.weight[i])
	}
	return types.Ustone(part(uint64(f.pool[i]), weight, f.weight[i])), nil
}

// Device returns both parts together: what a device is settled, in credits, and by how much its amount grows.
func (f *Fold) Device(owed types.Credit, weights []Weight) (settled types.Credit, amount types.Ustone, err error) {
	settled, amount, err = f.Pay(owed)
	if err != nil {
		return 0, 0, err
	}
	var c calc
	for _, w := range weights {
		s, err := f.Subsidy(w.Category, w.Weight)
		if err != nil {
			return 0, 0, err
		}
		amount = types.Ustone(c.add(uint64(amount), uint64(s)))
	}
	return settled, amount, c.err("a device's amount")
}

// Allotted returns by how much Σamount of the region's devices may grow, if its header for the settled epoch
// shows that much owed, and how many credits of that are settled: a header whose amounts grew by more is
// refused.
func (f *Fold) Allotted(owed types.Credit) (settled types.Credit, amount types.Ustone, err error) {
	if owed > f.s.Owed {
		return 0, 0, types.Refuse(types.EconRange, "econ: %d credits owed in a region and %d in all", owed, f.s.Owed)
	}
	settled, amount, err = f.Pay(owed)
	if err != nil {
		return 0, 0, err
	}
	var c calc
	for _, pool := range f.pool {
		amount = types.Ustone(c.add(uint64(amount), uint64(pool)))
	}
	return settled, amount, c.err("a region's allotment")
}
