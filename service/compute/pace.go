package compute

import "github.com/cairn-network/cairn/core/types"

// Scale returns for how many units of a class a price is.
func Scale(class types.Class) uint64 {
	switch class {
	case OCI:
		return OCIScale
	case Model:
		return ModelScale
	}
	return WasmScale
}

// Second returns how many units of a class one slot is taken to do in a second, wherever time stands for units
// or units for time: how much may run unpaid, and what an ask's capacity says. Machines differ; this figure is
// the same for all.
func Second(class types.Class) uint64 {
	switch class {
	case OCI:
		return 1000
	case Model:
		return 100
	}
	return 1_000_000_000
}

// Slot returns what one slot of a class counts as in an ask's capacity (receipt.Ask.Capacity), and in what a
// device says is free of it: an hour's units.
func Slot(class types.Class) uint64 { return 3600 * Second(class) }
