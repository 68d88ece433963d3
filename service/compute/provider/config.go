package provider

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/mac"
	"github.com/cairn-network/cairn/service/compute/provider/card"
)

// Config of a device. The zero value of a field means its default.
type Config struct {
	// Slots is how many jobs of one slot run at once. Default 1.
	Slots uint32
	// Prices is what it asks for each class, in micro-credits per scale. A class without one is not offered.
	// Default: Wasm at Price.
	Prices map[types.Class]uint64
	// Memory is what jobs have together, in bytes: an order whose job asks for more than is left is refused.
	// Default 1 GiB.
	Memory uint64
	// Disk is what jobs read and write may take together, in bytes, half of it each. Default 4 GiB.
	Disk uint64
	// Unopened is how much is done, in micro-credits, for sessions that have not reached the least opening.
	// Default 100,000.
	Unopened types.Credit
	// Private are the addresses beyond the public internet where gateways may be.
	Private []netip.Prefix
	// Models is a server of language models whose answers are sold, at Prices[Model]; nil for none.
	Models *ModelServer
	// Card starts what computes products in a processor's place (package card); nil where this processor does.
	Card func() (*card.Card, error)
	// Open starts what runs jobs, with a directory of its own, and says which lack keeps which class from being
	// offered.
	Open func(dir string) ([]Executor, []Lack, error)

	reserve, patience, away, quiet time.Duration // see the constants
	rest                           time.Duration // restAfter
	open, sessions                 int           // maxOpen, maxSessions
	step                           func(string)  // tests stop the device here

	// What checks compute; tests bend it.
	mix     func(ctx context.Context, m mixer, seed types.Hash, each func(types.Hash) error) error
	product func(seed types.Hash, n int) *mac.Product
	row     func(seed types.Hash, n, i int) []byte
}

// Price is what a device asks by default, in micro-credits for 10⁹ fuel: a cent for what the network orders as
// a slot's hour (compute.Quota). Programs of few loads and branches use that up in minutes.
const Price = 5

// OCIPrice is what a device asks by default for an hour of a slot of class OCI.
const OCIPrice = compute.Reference

// Protocol figures that gateways rely on too.
const (
	reserve  = 5 * time.Second        // how long an accepted order waits for its gateway to be reached
	patience = time.Minute            // how long a job stands still before it ends unpaid
	away     = 2 * time.Minute        // how long a job goes on whose gateway is away
	deadline = time.Minute            // how far ahead an order's deadline may lie
	follows  = 100 * time.Millisecond // how long an order waits for the one before it in its session

	fetchTime = 30 * time.Second // an input may take as long, and a second more for each fetchPace
	fetchPace = 256 << 10        // bytes

	quiet   = 2 * time.Minute        // after the last order of a session none of before can be valid (deadline)
	lastPay = 300 * time.Millisecond // what a job used before it was cancelled can be paid for as long

	firstTrust = uint64(time.Second)      // what an account may owe at first, in nanoseconds of one slot
	mostTrust  = uint64(10 * time.Second) // and at most

	askEpochs  = 24 // that an ask is valid
	askRefresh = 12 // epochs before its end at which it is renewed
	giveUp     = 24 // epochs that the end of a job is kept for a gateway that is away
)

// Bounds.
const (
	maxJobs            = 1 << 16 // that are kept, ended ones too: beyond it no_space
	maxJobsAccount     = maxJobs / 4
	maxOpen            = 1024 // that run, or whose end its gateway does not have: each is a stream and two open files. Beyond it busy
	maxOpenAccount     = maxOpen / 8
	maxSessions        = 8192 // beyond it busy
	maxSessionsAccount = 256
	maxExpiry          = 14 * 24         // epochs ahead that a session may expire
	maxGone            = 1 << 18         // sessions that were dropped and could begin again; beyond it none is dropped
	maxAccounts        = 1 << 14         // whose trust is remembered; the one not seen for longest goes
	maxStream          = 16 << 20        // bytes of each output
	freeTime           = 5 * time.Minute // what an account has for nothing in an epoch: modules prepared, jobs that could not be run
	foul               = time.Second     // what a job that could not be run counts as
	maxResults         = 900             // evidence of an epoch that commits to leaves
	maxReceipts        = 60              // receipts handed in in an epoch: a batch takes 64 asks of a device
	maxPrice           = 1 << 40
)

func (c Config) withDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.reserve, reserve)
	def(&c.patience, patience)
	def(&c.away, away)
	def(&c.quiet, quiet)
	def(&c.rest, restAfter)
	if c.open == 0 {
		c.open = maxOpen
	}
	if c.mix == nil {
		c.mix = mixChain
	}
	if c.product == nil {
		c.product = mac.Compute
	}
	if c.row == nil {
		c.row = mac.ProductRow
	}
	if c.sessions == 0 {
		c.sessions = maxSessions
	}
	if c.Slots == 0 {
		c.Slots = 1
	}
	if c.Prices == nil {
		c.Prices = map[types.Class]uint64{compute.Wasm: Price}
	}
	if c.Memory == 0 {
		c.Memory = 1 << 30
	}
	if c.Disk == 0 {
		c.Disk = 4 << 30
	}
	if c.Unopened == 0 {
		c.Unopened = 100_000
	}
	return c
}

// at is called where a crash would cut off half of something.
func (c *Config) at(name string) {
	if c.step != nil {
		c.step(name)
	}
}

func (c *Config) check() error {
	for class, price := range c.Prices {
		if price == 0 || price > maxPrice {
			return fmt.Errorf("compute: a price of %d for class %d, want 1 to %d", price, class, uint64(maxPrice))
		}
	}
	return nil
}
