package econ

import "github.com/cairn-network/cairn/core/types"

// Effort is what one device did for one category and class in one cell: network-ordered units only, since paid
// units earn no weight, and their quality, 0 to Bps.
type Effort struct {
	Units   types.U128
	Quality types.Bp
}

// Density is a category's rule against crowding. Up to Full the effort of one cell counts in full, up to four
// times that a quarter of it, and beyond that nothing more. The zero value is off: everything counts.
type Density struct {
	On   bool
	Full types.U128 // T, in units · basis points
}

// Weigh returns the weights of the devices of one category, class and cell, in their order. Effort
// units·quality is scaled by what density leaves of the cell's sum, each rounded down. It is linear within the
// cell, so splitting a device pays nothing.
func Weigh(devices []Effort, d Density) ([]types.U128, error) {
	out := make([]types.U128, len(devices))
	var sum types.U128
	for i, e := range devices {
		if e.Quality > Bps {
			return nil, types.Refuse(types.EconRange, "econ: quality of %d basis points", e.Quality)
		}
		x, err := e.Units.MulDiv(uint64(e.Quality), 1)
		if err == nil {
			sum, err = sum.Add(x)
		}
		if err != nil {
			return nil, types.Refuse(types.EconRange, "econ: effort of %s units", e.Units)
		}
		out[i] = x
	}
	count, err := d.count(sum)
	if err != nil || count == sum {
		return out, err
	}
	for i, x := range out {
		// x ≤ sum, so the result is at most count and cannot leave its range.
		if out[i], err = MulDivU128(x, count, sum); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// count returns Y, what counts of a cell's effort X: X ≤ T ? X : X ≤ 4T ? T+⌊(X−T)/4⌋ : T+⌊3T/4⌋.
func (d Density) count(x types.U128) (types.U128, error) {
	if !d.On || x.Cmp(d.Full) <= 0 {
		return x, nil
	}
	over, err := x.Sub(d.Full) // x is above Full
	if err != nil {
		return types.U128{}, err
	}
	triple, err := d.Full.MulDiv(3, 1)
	if err == nil && over.Cmp(triple) > 0 { // a triple beyond 2¹²⁸ is never reached
		over = triple
	}
	quarter := types.U128{Hi: over.Hi >> 2, Lo: over.Lo>>2 | over.Hi<<62}
	y, err := d.Full.Add(quarter) // at most x
	if err != nil {
		return types.U128{}, err
	}
	return y, nil
}
