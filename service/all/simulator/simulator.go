// Package simulator lists what a network on one machine is made with: one line per category.
package simulator

import (
	compute "github.com/cairn-network/cairn/service/compute/provider"
	energy "github.com/cairn-network/cairn/service/energy/provider/street"
	"github.com/cairn-network/cairn/service/role"
	storage "github.com/cairn-network/cairn/service/storage/provider"
)

// Simulators returns the categories in one such network, in the order of their numbers. What its Flags are told
// belongs to this list alone.
func Simulators() []role.Simulator {
	return []role.Simulator{
		compute.Simulator(),
		storage.Simulator(),
		new(energy.Simulator).Role(),
	}
}
