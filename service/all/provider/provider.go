// Package provider lists what a device can provide: one line per category in each list.
package provider

import (
	energy "github.com/cairn-network/cairn/service/energy/provider"
	"github.com/cairn-network/cairn/service/role"
	storage "github.com/cairn-network/cairn/service/storage/provider"
)

// Config has a part for each category. One whose part is nil is not provided.
type Config struct {
	Storage *storage.Config
	Energy  *energy.Config
}

// Providers returns the categories that cfg names.
func Providers(cfg Config) []role.Provider {
	var list []role.Provider
	if cfg.Storage != nil {
		list = append(list, storage.New(*cfg.Storage))
	}
	if cfg.Energy != nil {
		list = append(list, energy.New(*cfg.Energy))
	}
	return list
}

// localPrice is what a device of a network on one machine asks, in micro-credits per TiB and epoch of seconds: at the default,
// which is for epochs of an hour, a few megabytes would earn nothing that a person sees.
const localPrice = 10_000_000

// Local returns one of each category for a device on this machine: on a free port of the loopback address.
func Local() []role.Provider {
	return Providers(Config{Storage: &storage.Config{Listen: "127.0.0.1:0", Price: localPrice}})
}

// Makers returns the categories' makers, for a device that its owner sets up.
func Makers() []role.Maker {
	return []role.Maker{
		storage.Maker{},
		energy.Maker{},
	}
}
