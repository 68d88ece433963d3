package role

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/service/role/command"
)

// Customer is a category at a gateway, for all of the gateway's customers.
type Customer struct {
	Category types.Category
	// Mount opens what the customer keeps, in market.Dir(), and returns the handler of Routes (Handler makes it).
	Mount func(market Market) (http.Handler, error)
	// Routes are below /<name>/v1. They describe the handler in OpenAPI and in docs/spec/rest.md.
	Routes []Route
	// Run does background work (repair, ladders) until ctx ends, and closes what Mount opened.
	Run func(ctx context.Context) error

	// Listen is optional: it opens listeners for protocols of the category's own beside HTTP, with the place's
	// Listen, before Run, which closes them. It returns the addresses under which others reach them, by the
	// listeners' names, under which network.json shows each ("modbus": "127.0.0.1:41502").
	Listen func(Place) (map[string]string, error)
	// Bases are where clients of protocols over HTTP begin, by the names under which network.json shows each:
	// paths below that of Routes.
	Bases map[string]string
	// Files is optional: it lists what Mount opens below a directory, by paths below it, for whoever looks whether it
	// is in order.
	Files func(dir string) []health.File

	// Heard is optional: it is told each beat of the devices whose offers the gateway remembers, as it comes;
	// offers carry the newest. A gateway hears no beats of a category without it. It is called from several
	// goroutines, and must not wait for anything.
	Heard func(Beat)

	// Called is optional: it is told what verifiers call (VerifierHost.Call, AuditHost.Call), as it comes, of each a few in
	// a second. It must not wait for anything.
	Called func(Called)

	// FirstRound is optional: it does something real in the first round of a network. What it did is one line for
	// people, "" for nothing.
	FirstRound func(ctx context.Context, wallet Wallet) (did string, err error)
	// Needs is what FirstRound cannot begin without, so that a network that lacks it says so before it starts.
	Needs Needs
	// BuysFrom is optional: it says which devices a wallet buys from at present, in any order.
	BuysFrom func(wallet Wallet) ([]types.Key, error)

	// Command is optional: it makes the category's noun, with its verbs below it (`cairn energy order`). It needs no
	// Mount.
	Command func(command.Shell) *cobra.Command
	// Shortcuts is optional: it makes commands that stand beside the noun.
	Shortcuts func(command.Shell) []*cobra.Command
	// Tries are command lines, without the program's name, that somebody who sees a network for the first time
	// may try.
	Tries []string
}

// Needs is what a first round cannot begin without.
type Needs struct {
	Devices int    // of distinct owners
	Disk    uint64 // free bytes, where all devices share a disk
}
