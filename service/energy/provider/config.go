package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
)

// Config of a home. The zero value of a field means its default, where it has one.
type Config struct {
	// Site is what the home is. Its meters (Grid, PV, Battery) are left zero: they are what the sources say they are.
	Site energy.Site
	// Sources are the meters: one of role grid, at most one of role pv, at most one of role battery.
	Sources []source.Config
	// Community and Certificate are the owner's prices, in micro-credits per Wh.
	Community, Certificate uint64
	// Poll is how often meters are read, in energy time. Default 10 s.
	Poll time.Duration
	// Now is the machine's clock. Default time.Now. It may be set while the device runs; what has passed since
	// is measured apart.
	Now func() time.Time

	open func(source.Config) (source.Source, error)
	kept func() // tests: a record is on disk
}

// Figures that are not the owner's to set.
const (
	fastest    = 200 * time.Millisecond // between two readings of a meter, however fast energy time runs
	slowest    = 10 * time.Minute
	slack      = 60_000 // ms of energy time: that a sample may be away from a boundary
	maxHeld    = 3      // records in a row that are left out because a register is missing
	maxSkew    = 30 * time.Second
	keepFor    = 35 * 96 // records
	askEpochs  = 24
	askRefresh = 12
	maxBatch   = 24 // envelopes handed in per epoch: what its quota leaves after resets in a hurry
)

func (c Config) withDefaults() Config {
	if c.Poll == 0 {
		c.Poll = 10 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.open == nil {
		c.open = source.Open
	}
	return c
}

// check reports what is wrong with a configuration.
func (c *Config) check() error {
	seen := map[source.Role]bool{}
	for i, s := range c.Sources {
		if seen[s.Role] {
			return fmt.Errorf("two meters of role %s", s.Role)
		}
		seen[s.Role] = true
		if src, err := c.open(s); err != nil {
			return fmt.Errorf("meter %d: %w", i+1, err)
		} else if err := src.Close(); err != nil {
			return fmt.Errorf("meter %d: %w", i+1, err)
		}
	}
	if !seen[source.Grid] {
		return fmt.Errorf("no meter of role grid: what crosses the grid connection must be known")
	}
	site := c.Site
	for role, id := range siteMeters(&site) {
		if seen[role] {
			*id = types.Sum([]byte(role))
		}
	}
	if err := site.Check(); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	if c.Community > energy.MaxPrice || c.Certificate > energy.MaxPrice {
		return fmt.Errorf("a price of %d, at most %d micro-credits per Wh", max(c.Community, c.Certificate), energy.MaxPrice)
	}
	if c.Poll < 0 || c.Poll > slowest {
		return fmt.Errorf("poll every %v: want at most %v", c.Poll, slowest)
	}
	return nil
}

// siteMeters are where a site names the meter of each role.
func siteMeters(s *energy.Site) map[source.Role]*types.Hash {
	return map[source.Role]*types.Hash{source.Grid: &s.Grid, source.PV: &s.PV, source.Battery: &s.Battery}
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
