// Package provider lists what a device can provide.
package provider

import "github.com/cairn-network/cairn/service/role"

// Local returns one of each category for a device on this machine: on a free port of the loopback address, with the defaults.
func Local() []role.Provider {
	return nil
}
