// Package explorer is the page that a community would put on a wall, and its index: devices, tallies, who
// earned what, what was refused and why, and where the money is. Everything that the page shows, a program can
// read under /api/.
//
// Explorer follows the chain through a ledger.Reader and asks verifiers, through Tallies, for what they keep of
// each tally beyond its header. Its index is a cache in SQLite: it can be deleted at any time and is built
// again, as far back as verifiers keep tallies. Nothing here is trusted by anybody: a reader who doubts a
// figure recomputes the tally (`cairn tally verify`).
//
// Handler is an http.Handler that network/ mounts beside the gateway. Its pages are rendered here, work without
// scripts, and load nothing from any other host.
package explorer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Line is what one tally says of one device in one category.
type Line struct {
	Device   types.Key
	Category types.Category
	Quality  types.Bp
	Amount   types.Ustone // of the device, cumulative, over all categories
	Paid     types.Credit // of the category, cumulative
}

// Refusal counts one device's items that one tally refused for one reason.
type Refusal struct {
	Device types.Key // zero if the author is unknown
	Reason types.Reason
	Count  uint64
}

// Digest is what verifiers keep of a tally for people to read.
type Digest struct {
	Lines    []Line
	Refusals []Refusal
}

// Tallies is where digests come from: a verifier in the same process, or verifiers over the bus.
type Tallies interface {
	// Digest returns ledger.ErrNotFound for a tally that is not kept (any more).
	Digest(ctx context.Context, epoch types.Epoch, region types.Region) (*Digest, error)
	// Claim returns a device's leaf of the newest final header with its proof, or an error with reason not_final.
	Claim(ctx context.Context, device types.Key) (*ledger.Claim, error)
	// Bundle writes all that a tally was made from, for whoever recomputes it, piece by piece. What fails
	// before the first piece leaves w alone.
	Bundle(ctx context.Context, epoch types.Epoch, region types.Region, w io.Writer) error
}

// Config says where the index lives.
type Config struct {
	Path    string   // of the SQLite file; "" keeps it in memory
	Regions int      // how many regions there are; at least 1
	Follow  int      // how many of the newest headers are looked at again at each block; at most 1,000
	Hosts   []string // names that the pages are reached under, besides addresses and localhost; role.AnyHost stands for all
	// Verifiers says how those stand that run in the same process; nil if none does.
	Verifiers func() []Verifier
}

// Explorer is the index and its pages.
type Explorer struct {
	cfg     Config
	ledger  ledger.Reader
	tallies Tallies
	index   *index
	log     *slog.Logger
	readers readers // of bundles
}

// New opens the index.
func New(cfg Config, reader ledger.Reader, tallies Tallies, log *slog.Logger) (*Explorer, error) {
	cfg.Regions, cfg.Follow = max(cfg.Regions, 1), min(max(cfg.Follow, 64), 1000)
	ix, err := openIndex(cfg.Path, reader.Chain())
	if err != nil {
		return nil, err
	}
	return &Explorer{cfg: cfg, ledger: reader, tallies: tallies, index: ix, log: log}, nil
}

// Close closes the index.
func (x *Explorer) Close() error { return x.index.db.Close() }

// Run follows the chain until ctx ends. What fails is logged and tried again at the next block.
func (x *Explorer) Run(ctx context.Context) error {
	var epoch types.Epoch
	for block := range x.ledger.Watch(ctx) {
		step, cancel := context.WithTimeout(ctx, 30*time.Second)
		if err := x.follow(step); err != nil && ctx.Err() == nil {
			x.log.Warn("explorer: index", "height", block.Height, "err", err)
		}
		if block.Epoch != epoch {
			if err := x.refresh(step); err != nil && ctx.Err() == nil {
				x.log.Warn("explorer: devices", "height", block.Height, "err", err)
			} else {
				epoch = block.Epoch
			}
		}
		cancel()
	}
	return nil
}

// follow takes in what changed among the newest headers.
func (x *Explorer) follow(ctx context.Context) error {
	for region := range types.Region(x.cfg.Regions) {
		headers, err := x.ledger.Headers(ctx, region, x.cfg.Follow)
		if err != nil {
			return fmt.Errorf("headers of region %d: %w", region, err)
		}
		for _, h := range headers {
			if err := x.take(ctx, h); err != nil {
				return fmt.Errorf("tally %d of region %d: %w", h.Epoch, region, err)
			}
		}
	}
	return nil
}

// take indexes one header, and its digest the first time that it can be had.
func (x *Explorer) take(ctx context.Context, h *ledger.Header) error {
	known, digested, err := x.index.status(ctx, h.Epoch, h.Region)
	if err != nil || known == h.Status && (digested || h.Raw == nil) {
		return err
	}
	var decoded *tally.Header
	if h.Raw != nil {
		if decoded, err = tally.DecodeHeader(h.Raw); err != nil {
			return err
		}
	}
	var digest *Digest
	if h.Raw != nil && !digested && h.Status != ledger.Voided {
		digest, err = x.tallies.Digest(ctx, h.Epoch, h.Region)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return fmt.Errorf("digest: %w", err)
		}
	}
	return x.index.put(ctx, h, decoded, digest)
}

// refresh takes in the registry and what owners have claimed.
func (x *Explorer) refresh(ctx context.Context) error {
	devices, err := x.ledger.Devices(ctx)
	if err != nil {
		return err
	}
	head, err := x.ledger.Head(ctx)
	if err != nil {
		return err
	}
	for _, d := range devices {
		claimed, err := x.ledger.Claimed(ctx, d.Key)
		if err != nil {
			return fmt.Errorf("claimed by %v: %w", d.Key, err)
		}
		if err := x.index.putDevice(ctx, &d.Device, claimed, head.Epoch); err != nil {
			return err
		}
	}
	return nil
}
