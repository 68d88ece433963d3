package types

import (
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
)

// DefaultParams are those of a new chain: two years to retire a certificate, 35 days to issue it.
func DefaultParams() Params {
	return Params{ExpiryDays: 730, LapseEpochs: 35 * econ.EpochsPerDay, RowGas: 10_000}
}

// Validate checks bounds; a value outside is refused with types.ParamBound.
func (p Params) Validate() error {
	for _, r := range []struct {
		name             string
		value, low, high uint64
	}{
		{"expiry_days", p.ExpiryDays, 1, 3_650},
		{"lapse_epochs", p.LapseEpochs, 2, econ.EpochsPerYear},
		{"row_gas", p.RowGas, 0, 1_000_000},
	} {
		if r.value < r.low || r.value > r.high {
			return types.Refuse(types.ParamBound, "certificate: %s is %d, from %d to %d are allowed", r.name, r.value, r.low, r.high)
		}
	}
	return nil
}
