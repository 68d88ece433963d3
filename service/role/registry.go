package role

import (
	"context"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Registry is what a customer can learn of devices, and of what its category added to the chain. Every Market is one.
type Registry interface {
	// Devices lists devices of the market's category, by key, as of the current epoch: those of an owner that are
	// registered, at most MaxDevices of them; or with the zero account those whose offers anywhere the gateway knows
	// (Market.Offers). Callers do not change them.
	Devices(ctx context.Context, owner types.Account) ([]tally.Device, error)
	// Line returns the category's state of a device, as more than two thirds of power have it.
	Line(ctx context.Context, device types.Key) (Line, error)
	// Querier asks the module that the category added to the chain, if it did.
	ledger.Querier
}

// MaxDevices bounds how many of an owner's devices a Registry lists.
const MaxDevices = 10_000

// Line is a category's state of a device (tally.Output.State) as of its region's last tally.
type Line struct {
	Tallied types.Epoch // of that tally; 0 for none
	State   []byte      // nil for none
}
