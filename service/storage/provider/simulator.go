package provider

import (
	"encoding/json"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// localPrice is what a device of a network on one machine asks, in micro-credits per TiB and epoch of seconds: at the
// default, which is for epochs of an hour, a few megabytes would earn nothing that a person sees.
const localPrice = 10_000_000

// Simulator is storage in a network on one machine, whose disk is real: each device serves on a free port of the
// loopback address.
func Simulator() role.Simulator {
	offer, err := json.Marshal(struct {
		Listen string `json:"listen"`
		Price  uint64 `json:"price"`
	}{"127.0.0.1:0", localPrice})
	if err != nil {
		panic(err) // text and a number
	}
	return role.Simulator{Category: types.Storage, Provides: offer}
}
