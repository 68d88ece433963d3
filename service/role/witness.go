package role

import (
	"context"
	"net"
	"net/netip"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Witness is a category's live checks and audits, beside a verifier. Where devices are drawn, live checks are a
// part of Provider. Run and Audit run beside each other, and one that fails is run again without the other.
type Witness struct {
	Category types.Category
	// Run looks at devices until ctx ends. It returns nil then, and an error only if it cannot go on; then it is
	// run again. Nil for no live checks.
	Run func(ctx context.Context, host VerifierHost) error
	// Audit looks again at what tallies have counted, in the same way; nil for no audits.
	Audit func(ctx context.Context, host AuditHost) error
}

// VerifierHost is what a witness beside a verifier is given: what the verifier knows, and how to call the others.
type VerifierHost interface {
	WitnessHost
	// Registry returns the registry as of the present epoch's start, and the panel that its tally draws witnesses
	// with. They are bus_unavailable until the epoch's seed is known.
	Registry(ctx context.Context) (tally.Registry, *tally.Panel, error)
	// Prove returns the verifier's proof over a number of a purpose of the category's ("compute/slot") in the epoch
	// of seed (beacon.ProveAt).
	Prove(purpose string, seed types.Hash, n uint64) []byte
	// Line returns what the tally of an epoch left of a device (tally.Output.State), nil for nothing. It is
	// unknown_blob until the verifier has that tally, and where there is none: also for devices of other regions.
	Line(ctx context.Context, e types.Epoch, device types.Key) ([]byte, error)
	// Socket opens a socket of UDP and returns the address under which devices reach it. It is bad_argument where
	// the verifier's owner named none.
	Socket() (Socket, netip.AddrPort, error)
	// Call says something to the category's witnesses beside all verifiers, to this one too. It has at most MaxCall
	// bytes, and nobody keeps it.
	Call(ctx context.Context, body []byte) error
	// Calls delivers what verifiers call from now on until ctx ends, in time and of each a few in a second. Who is
	// slow misses some.
	Calls(ctx context.Context) <-chan Called
}

// Socket is a socket of UDP: a *net.UDPConn, or a simulated one. A read ends when it is closed.
type Socket interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

// MaxCall bounds what a witness calls, in bytes.
const MaxCall = 1 << 10

// MaxTell bounds what a verifier is told, in bytes.
const MaxTell = 2 << 10

// Called is what a verifier called, or a customer's door told it.
type Called struct {
	By   types.Key
	Body []byte
}

// WitnessHost is what a witness is given.
type WitnessHost interface {
	Station
	// Drawn lists the devices that this witness was drawn for in the current epoch, for one of the category's draws
	// (tally.Spec.Draws). Verify makes the same draw, and refuses reports of whoever is not in it. It is
	// bus_unavailable until the epoch's seed is known.
	Drawn(ctx context.Context, purpose string) ([]Subject, error)
	// Ask asks a device, signed with the witness's key.
	Ask(ctx context.Context, q Question) (answer []byte, err error)
	// Fetch fetches a larger thing that a device holds, and returns its size.
	Fetch(ctx context.Context, f Fetch) (size int64, err error)
	// Dial connects to an address that an ask names, if it may be dialled (DialDevice).
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// Subject is a device to be looked at, and how to reach it.
type Subject struct {
	Device tally.Device
	Asks   []*receipt.SignedAsk // what it offers in the category, in the order of classes; lapsed asks too
}
