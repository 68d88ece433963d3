// Package provider lists what a device can provide: one line per category.
package provider

import (
	compute "github.com/cairn-network/cairn/service/compute/provider"
	energy "github.com/cairn-network/cairn/service/energy/provider"
	"github.com/cairn-network/cairn/service/role"
	storage "github.com/cairn-network/cairn/service/storage/provider"
)

// Devices returns the categories on a device, in the order of their numbers.
func Devices() []role.Device {
	return []role.Device{
		compute.Device(),
		storage.Device(),
		energy.Device(),
	}
}
