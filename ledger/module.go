package ledger

import (
	"context"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// A category may add a module to the chain: messages and queries of its own, which nothing here knows. The
// category has a client for them, over Querier and ModuleMsg, and where it is tested without a chain, a Module
// for Memory.

// Querier asks a module.
type Querier interface {
	// Query asks a method of one of the chain's services, as "cairn.certificate.v1.Query/Totals". encoding/json
	// writes request, and reads answer, in protobuf's JSON form. Of a Memory's Module they are what it
	// understands. What the chain does not have is ErrNotFound.
	Query(ctx context.Context, method string, request, answer any) error
}

// ModuleMsg is a message of a module.
type ModuleMsg interface {
	Msg
	// Fields returns the message's name, as "cairn.certificate.v1.MsgSplit", and its fields, with who sends it
	// among them: encoding/json writes them in protobuf's JSON form.
	Fields(sender types.Account) (name string, fields any)
}

// Module is what a category adds to a Memory.
type Module interface {
	// Clone returns a copy, which Apply changes: a transaction that is refused leaves no trace.
	Clone() Module
	// Apply does what a message says, in the block that comes next.
	Apply(next State, from types.Account, msg ModuleMsg) error
	// Query answers as of the newest block.
	Query(newest State, method string, request, answer any) error
}

// State is what a Module sees of a Memory, as of a block.
type State interface {
	Time() uint64 // Unix seconds
	Epoch() types.Epoch
	Device(key types.Key) (Device, bool)
	// Final returns a header that is final.
	Final(e types.Epoch, region types.Region) (*tally.Header, bool)
}
