package role

import (
	"encoding/json"
	"flag"
	"log/slog"

	"github.com/cairn-network/cairn/core/types"
)

// Simulator is a category in a network on one machine, where an epoch takes seconds and stands for an hour, and a
// computer lacks the hardware. Everything but Category is optional.
type Simulator struct {
	Category types.Category
	// Rules returns the category's own rules for such a network (tally.Params.Rules): start is its genesis time in
	// Unix seconds, epoch how long one lasts in milliseconds.
	Rules func(start, epoch uint64) []byte
	// Provides are settings, for Device.New, with which each ordinary device of the network provides the category;
	// nil: none does.
	Provides json.RawMessage
	// Simulates says what Start stands in for: "meters and inverters"; "" for nothing.
	Simulates string
	// Start brings up the hardware of n further devices and returns them, in an order that stays. It speaks the
	// hardware's own protocol over real sockets, so that the network runs the same providers as one in the field. It
	// follows the category's rules that are in force, keeps what it has to in dir, and goes on there as if it had not
	// been stopped. Stop stops it, and returns when it has.
	Start func(dir string, n int, rules []byte, log *slog.Logger) (devices []Simulated, stop func(), err error)
	// Most is how many devices Start brings up at most, however many it is asked for; 0 for as many as that.
	Most int
	// Flags adds what somebody may tell Rules and Start on the command line of `cairn up`.
	Flags func(*flag.FlagSet)
}

// Simulated is the hardware of one device.
type Simulated struct {
	Name     string          // for people: "home 3"
	Cell     types.Cell      // where it stands
	Settings json.RawMessage // what the category's Device makes a provider of
}
