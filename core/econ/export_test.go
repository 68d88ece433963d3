package econ

import "github.com/cairn-network/cairn/core/types"

// Six returns the defaults with six categories, three of which the network orders densely.
func Six() Params {
	return Default(
		NewCategory(types.Wireless, 1_000_000_000, 100_000_000, 100_000, true),
		NewCategory(types.Compute, 10_000, 10_000, 10_000, false),
		NewCategory(types.Storage, 1<<40, 0, 2_291, false),
		NewCategory(types.Energy, 1_000, 0, 0, false),
		NewCategory(types.Mapping, 1_000, 60, 100_000, true),
		NewCategory(types.IoT, 1_000_000, 3_400, 500_000, true),
	)
}
