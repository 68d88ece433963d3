package types

import (
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
)

// MaxSuspension is the longest suspension, in epochs.
const MaxSuspension = 10

// DefaultParams are those of a new chain.
func DefaultParams() Params {
	return Params{
		UnbondDelay:     4,
		MakerFee:        100_000_000, // $100
		ModelFee:        10_000_000,  // $10
		ChangeRetention: 35 * econ.EpochsPerDay,
	}
}

// Validate checks bounds; a value outside is refused with types.ParamBound.
func (p Params) Validate() error {
	for _, r := range []struct {
		name      string
		value     uint64
		low, high uint64
	}{
		{"unbond_delay", p.UnbondDelay, 4, econ.EpochsPerYear},
		{"maker_fee", p.MakerFee, 0, 100_000_000_000},
		{"model_fee", p.ModelFee, 0, 100_000_000_000},
		{"change_retention", p.ChangeRetention, 10, 10 * econ.EpochsPerYear},
	} {
		if r.value < r.low || r.value > r.high {
			return types.Refuse(types.ParamBound, "device: %s is %d, from %d to %d are allowed", r.name, r.value, r.low, r.high)
		}
	}
	return nil
}
