package econ

import (
	"cmp"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// Params are the numbers that governance may move, within bounds and at a limited pace (Validate, History).
// Everything else in this package is compiled in.
type Params struct {
	Supplier uint64 // basis points of settled credits to the devices
	Verifier uint64 // … to the signers of the headers
	Treasury uint64 // … to the community pool
	Burn     uint64 // … burned; the four make Bps
	Bonus    uint64 // κ: basis points minted for paid work beside Supplier

	Subsidy uint64 // f0: basis points of the genesis supply that a year's subsidy starts at
	Match   uint64 // m: basis points of the work's reference value that the subsidy may reach

	Spread    uint64 // basis points kept of a purchase
	Daily     uint64 // basis points of supply that may be bought in a day
	Shortfall uint64 // basis points of supply that a shortfall may mint in a day

	Sources   uint64 // that a price report needs
	Outlier   uint64 // basis points off the median beyond which a source is dropped
	Deviation uint64 // basis points between spot and mean beyond which the price is paused

	DeviceFee  types.Credit // burned at registration
	BondEpochs uint64       // epochs of the greatest subsidy that a bond covers

	Category []Category // sorted by Category, each once
}

// Category holds what a category's own document fixes, and its part of the subsidy.
type Category struct {
	Category types.Category
	Share    uint64       // f_c: its part of the subsidy, relative to the others'
	Demand   types.Credit // B*_c: paid spending of 28 days at which its subsidy is gone
	Target   types.U128   // K0_c: weight at which it earned its whole budget at genesis
	Ref      types.Credit // reference value of one price unit
	Unit     uint64       // pu: units in a price unit (tier 0)
	Quota    uint64       // most network-ordered units of a device in an epoch; 0: the network orders nothing
	Density  Density      // the threshold is a parameter, the switch is tier 0
}

// Find returns the category's parameters, or nil.
func (p *Params) Find(k types.Category) *Category {
	i, ok := slices.BinarySearchFunc(p.Category, k, func(c Category, k types.Category) int { return cmp.Compare(c.Category, k) })
	if !ok {
		return nil
	}
	return &p.Category[i]
}

// DefaultShare is every category's part of the subsidy at genesis. Only the proportion counts; it is this large
// so that a tenth of it is a whole number.
const DefaultShare = 1_000

// NewCategory returns the default parameters of a category that orders at most quota units of a device in an
// epoch and prices unit of them at ref: spending of 10⁶ dollars in 28 days ends its subsidy, a thousand devices
// at quota earn all of it, and five fill a cell, if it is dense.
func NewCategory(k types.Category, unit, quota uint64, ref types.Credit, dense bool) Category {
	x := types.Mul64(quota, Bps)
	times := func(n uint64) types.U128 {
		y, err := x.MulDiv(n, 1)
		if err != nil {
			return types.MaxU128 // not reached: 64 and 14 and 10 bits
		}
		return y
	}
	c := Category{
		Category: k, Share: DefaultShare, Demand: 1_000_000_000_000, Target: times(1_000),
		Ref: ref, Unit: unit, Quota: quota, Density: Density{On: dense},
	}
	if dense {
		c.Density.Full = times(5)
	}
	return c
}

// Default returns the parameters of a new network with categories, in the order of their numbers.
func Default(categories ...Category) Params {
	return Params{
		Supplier: 9_200, Verifier: 200, Treasury: 200, Burn: 400, Bonus: 200,
		Subsidy: 600, Match: 10_000,
		Spread: 25, Daily: 50, Shortfall: 2,
		Sources: 3, Outlier: 150, Deviation: 1_000,
		DeviceFee: 5_000_000, BondEpochs: 336,
		Category: categories,
	}
}
