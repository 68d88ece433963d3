package role

import (
	"encoding/json"
	"log/slog"

	"github.com/cairn-network/cairn/core/types"
)

// Simulator stands in for hardware that devices of a category need and a computer has not. It speaks the hardware's own protocol over real
// sockets, so that a network on one machine runs the same providers as one in the field.
type Simulator interface {
	Category() types.Category
	// Start brings up the hardware of n devices and returns them, in an order that stays. The hardware follows the category's own rules
	// (tally.Params.Rules) as they are in force, keeps what it has to in dir, and goes on there as if it had not been stopped. Stop
	// stops it, and returns when it has.
	Start(dir string, n int, rules []byte, log *slog.Logger) (devices []Simulated, stop func(), err error)
}

// Simulated is the hardware of one device.
type Simulated struct {
	Name  string          // for people: "home 3"
	Cell  types.Cell      // where it stands
	Offer json.RawMessage // what the category's Maker makes a provider of
}
