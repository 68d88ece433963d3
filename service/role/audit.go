package role

import (
	"context"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// AuditHost is what audits are given (Witness.Audit): what a witness is, and what the verifier beside it knows of
// tallies. All of that is of the witness's category and region.
type AuditHost interface {
	WitnessHost
	// Registry returns the registry as of the present epoch's start, and the panel that its tally draws
	// witnesses with. They are bus_unavailable until the epoch's seed is known.
	Registry(ctx context.Context) (tally.Registry, *tally.Panel, error)
	// Line returns what the tally of an epoch left of a device (tally.Output.State), nil for nothing. It is
	// unknown_blob until the verifier has that tally, and where there is none.
	Line(ctx context.Context, e types.Epoch, device types.Key) ([]byte, error)
	// Counted returns what of devices' evidence of a kind counted in the tally of an epoch, in the order of numbers.
	// Devices of which nothing did are not in it. It reads the epoch's whole batch: ask once, for all devices.
	Counted(ctx context.Context, e types.Epoch, kind evidence.Kind, devices []types.Key) (map[types.Key][]*evidence.Envelope, error)
	// Reported returns what the verifier has kept so far of the current epoch's reports of a kind, from a place among
	// all that it keeps on: 0, or where the call before ended. A call may end before the last one: more says so. What
	// a report says is signed, and no more than that.
	Reported(ctx context.Context, kind evidence.Kind, from int) (reports []*evidence.Envelope, next int, more bool, err error)
	// Call says something to the category's witnesses beside all verifiers, and to its customers' doors. It has at most
	// MaxCall bytes, and nobody keeps it.
	Call(ctx context.Context, body []byte) error
	// Told delivers what customers' doors tell this verifier (Market.Tell) from now on until ctx ends, of each a few in a
	// second: nothing is known of it. Who is slow misses some.
	Told(ctx context.Context) <-chan Called
	// SubmitOnce is Submit for what is said once: what was handed in under a name in one of the last epochs is not
	// handed in again, whatever became of the process in between. It is wrong_epoch if the current epoch is not e.
	SubmitOnce(ctx context.Context, e types.Epoch, kind evidence.Kind, name types.Hash, body []byte) error
	// Submitted reports whether SubmitOnce has handed something in under a name.
	Submitted(name types.Hash) (bool, error)
}
