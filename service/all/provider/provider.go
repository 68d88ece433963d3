// Package provider lists what a device can provide: one line per category in each list.
package provider

import "github.com/cairn-network/cairn/service/role"

// Local returns one of each category for a device on this machine: on a free port of the loopback address, with the defaults.
func Local() []role.Provider {
	return nil
}

// Makers returns the categories' makers, for a device that its owner sets up.
func Makers() []role.Maker {
	return nil
}
