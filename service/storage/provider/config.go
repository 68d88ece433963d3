package provider

import (
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// Config of a device. The zero value of a field means its default.
type Config struct {
	// Listen is the address that the transfer protocol is served on. Default ":7440". Port 0 takes a free one,
	// and keeps it over restarts while it stays free.
	Listen string
	// Address is host:port at which customers reach it. Default: where it listens, if that names a host.
	Address string
	// Capacity is how many bytes of shards it keeps at most. Default: what the disk has room for.
	Capacity uint64
	// KeepFree is how many bytes of the file system are left to others. Default 2 GiB.
	KeepFree uint64
	// Price is what it asks, in micro-credits per 2⁴⁰ byte·epochs. Default storage.Reference.
	Price uint64
	// Egress is what it asks for what is read, in micro-credits per 2⁴⁰ bytes. Default 7,000,000: seven dollars
	// for a TiB.
	Egress uint64
	// Unpaid is how many bytes it serves an account on trust at first. Default 4 MiB.
	Unpaid uint64
	// Cell is where it stands; its asks say so.
	Cell types.Cell
	// Memory bounds the buffers of transfers, in bytes. A request that finds none waits. Default 32 MiB.
	Memory int64
	// Connections bounds those open at once, an eighth of them from one address (package conns); further ones
	// are closed. Default 512.
	Connections int
	// Scrub is how long reading everything once takes. Default 14 days.
	Scrub time.Duration
	// Log tunes the shard store; its Dir, Capacity and KeepFree are set from the above.
	Log shardlog.Config

	step     func(name string) // tests stop the device here
	patience time.Duration     // see const patience
}

// at is called where a crash would cut off half of something.
func (c *Config) at(name string) {
	if c.step != nil {
		c.step(name)
	}
}

// Protocol figures that customers rely on too.
const (
	grace       = 2       // epochs: that staged shards are kept, and that a session may be without a ladder
	maxTrust    = 1 << 28 // bytes: the most that an account may owe
	askEpochs   = 24      // that an ask is valid
	askRefresh  = 12      // epochs before its end at which it is renewed
	payerWait   = 5 * time.Second
	priceEgress = 7_000_000
)

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = ":7440"
	}
	if c.Price == 0 {
		c.Price = storage.Reference
	}
	if c.Egress == 0 {
		c.Egress = priceEgress
	}
	if c.Unpaid == 0 {
		c.Unpaid = 4 << 20
	}
	if c.Memory == 0 {
		c.Memory = 32 << 20
	}
	if c.Connections == 0 {
		c.Connections = 512
	}
	if c.Scrub == 0 {
		c.Scrub = 14 * 24 * time.Hour
	}
	if c.patience == 0 {
		c.patience = patience
	}
	c.Log.Capacity, c.Log.KeepFree = c.Capacity, c.KeepFree
	return c
}
