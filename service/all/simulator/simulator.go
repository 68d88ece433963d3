// Package simulator lists what stands in for hardware in a network on one machine: one line per category that needs any.
package simulator

import (
	"github.com/cairn-network/cairn/service/energy/provider/street"
	"github.com/cairn-network/cairn/service/role"
)

// Config has what a category's simulator can be told.
type Config struct {
	EnergyData string // a folder of recorded homes (street.Recording); "" for homes that are made up
}

// Simulators returns the simulators, in the order of their categories' numbers.
func Simulators(cfg Config) []role.Simulator {
	return []role.Simulator{
		street.Simulator{Data: cfg.EnergyData},
	}
}
