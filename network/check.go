package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
)

// What fits one machine.
const (
	maxValidators = 16
	maxNodes      = 256
	maxHomes      = 64
	minBlockTime  = 50 * time.Millisecond
	maxBlockTime  = time.Minute
)

// clockFrom is before this program was made: a machine whose clock says less does not know the time.
var clockFrom = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// clockSlack is how far a home's beginning may lie ahead.
const clockSlack = time.Minute

// Check reports what would keep a network from starting, or from doing a first round, before anything is
// started or written. All that is wrong comes at once.
func (cfg Config) Check() error {
	cfg.defaults()
	return errors.Join(cfg.checkRanges(), cfg.checkClock(time.Now()), cfg.checkNeeds())
}

func (cfg *Config) checkRanges() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, types.Refuse(types.BadArgument, format, args...))
	}
	if cfg.Validators < 0 || cfg.Validators > maxValidators {
		bad("network: %d validators: one machine takes 1 to %d", cfg.Validators, maxValidators)
	}
	if cfg.Nodes < 0 || cfg.Nodes > maxNodes {
		bad("network: %d devices: one machine takes 1 to %d", cfg.Nodes, maxNodes)
	}
	if cfg.Homes > maxHomes {
		bad("network: %d homes: one machine takes at most %d", cfg.Homes, maxHomes)
	}
	if cfg.BlockTime < minBlockTime || cfg.BlockTime > maxBlockTime {
		bad("network: a block every %v: want %v to %v", cfg.BlockTime, minBlockTime, maxBlockTime)
	}
	if _, err := net.ResolveTCPAddr("tcp", cfg.Listen); err != nil {
		bad("network: listen on %q: want host:port: %v", cfg.Listen, err)
	}
	if err := cfg.Disk.Check(); err != nil {
		bad("network: %v", err)
	}
	return errors.Join(errs...)
}

// checkClock refuses a clock that cannot be right: a chain's time never goes back, so that blocks would wait for it.
func (cfg *Config) checkClock(now time.Time) error {
	after := clockFrom
	var l layout
	if readJSON(cfg.path(layoutFile), &l) == nil && l.Created.After(after.Add(clockSlack)) {
		after = l.Created.Add(-clockSlack)
	}
	if now.Before(after) {
		return types.Refuse(types.ClockOff, "network: the clock of this machine says %s, and the network began after %s",
			now.UTC().Format(time.DateTime), after.UTC().Format(time.DateTime))
	}
	return nil
}

// checkNeeds reports a lack of devices or of room.
func (cfg *Config) checkNeeds() error {
	var l layout
	err := readJSON(cfg.path(layoutFile), &l)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil // prepare says what is wrong with it
	}
	nodes := max(cfg.Nodes, l.Nodes)
	if nodes == 0 {
		nodes = defaultNodes
	}
	var errs []error
	room := uint64(startRoom)
	for _, c := range cfg.Customers {
		room = max(room, c.Needs.Disk)
		if nodes < c.Needs.Devices {
			errs = append(errs, types.Refuse(types.TooFew, "network: %v needs %d devices, and this network has %d: start it with --nodes %d",
				c.Category, c.Needs.Devices, nodes, c.Needs.Devices))
		}
	}
	least := cfg.Disk.Stop + room
	if err := disk.Least(least, cfg.Home); err != nil {
		var full *disk.FullError
		if !errors.As(err, &full) {
			return errors.Join(append(errs, fmt.Errorf("network: %w", err))...)
		}
		errs = append(errs, types.Refuse(types.DiskFull, "network: home %s: %s are free, and a network needs %s to do something",
			cfg.Home, disk.Size(full.Free), disk.Size(least)))
	}
	return errors.Join(errs...)
}

// startRoom is what a network writes until it is up, with room to spare.
const startRoom = 128 << 20
