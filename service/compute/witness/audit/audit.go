package audit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/guest"
	"github.com/cairn-network/cairn/service/role"
)

// Config of an Auditor. The zero value of a field means its default.
type Config struct {
	// Leaves is how many leaves are audited in an epoch on the auditor's own account, and as many again that
	// another one disagrees with; of one device an eighth of them at most. Default 256.
	Leaves int
	// Fuel is how much these may cost together, in units of class wasm. Default 4·10¹¹: some minutes of one core.
	Fuel uint64
	// Memory is what a job may have, in bytes: one that was given more is not audited. Default 4 GiB, which is
	// all that a job can ask for.
	Memory uint64
	// Disk is what is kept of what jobs read, in bytes, beside what the present one reads. Default 1 GiB.
	Disk int64
	// Open starts what runs jobs, with a directory of its own, or says what the machine lacks to hold them.
	// Default: package guest.
	Open func(ctx context.Context, dir string) (Executor, []guest.Lack, error)

	step func(string) // tests stop the auditor here
}

// Parts of an epoch, in hundredths of its blocks: until when a device is asked that does not answer, by who was
// drawn first and by the others; from when on nothing is begun any more.
const (
	firstPatience = 40
	otherPatience = 70
	tooLate       = 95
)

func (c Config) withDefaults() Config {
	if c.Leaves == 0 {
		c.Leaves = 256
	}
	if c.Fuel == 0 {
		c.Fuel = 4e11
	}
	if c.Memory == 0 {
		c.Memory = compute.MaxPages << 16
	}
	if c.Disk == 0 {
		c.Disk = 1 << 30
	}
	if c.Open == nil {
		c.Open = openGuests
	}
	return c
}

// Auditor audits. It may be run again, but not twice at a time.
type Auditor struct{ cfg Config }

// New returns an auditor.
func New(cfg Config) *Auditor { return &Auditor{cfg.withDefaults()} }

// Run audits until ctx ends, and returns nil then: it is a role.Witness's Audit.
func (a *Auditor) Run(ctx context.Context, host role.AuditHost) error {
	exec, lacks, err := a.cfg.Open(ctx, filepath.Join(host.Dir(), "guests"))
	if ctx.Err() != nil {
		if exec != nil {
			exec.Close()
		}
		return nil
	}
	if err != nil {
		return err
	}
	if len(lacks) > 0 {
		for _, l := range lacks {
			host.Log().Warn("results are not audited: the machine lacks something to hold strangers' programs with", "name", l.Name, "lack", l.Text)
		}
		<-ctx.Done()
		return nil
	}
	defer exec.Close()
	inputs := filepath.Join(host.Dir(), "in")
	if err := os.MkdirAll(inputs, 0o700); err != nil {
		return fmt.Errorf("compute: audit: %w: %w", err, types.HomeUnwritable)
	}
	claims, err := openClaims(filepath.Join(host.Dir(), "claims.db"), host.Chain())
	if err != nil {
		return err
	}
	defer claims.close()
	var now *round
	defer func() { now.stop() }()
	for n := range host.Notices(ctx) {
		if now != nil && now.notice.Epoch == n.Epoch {
			now.hear(n)
			continue
		}
		now.stop()
		if now = nil; n.Seed.IsZero() || !n.Challenged {
			continue // the next notice may know
		}
		now = &round{
			cfg: &a.cfg, host: host, log: host.Log().With("epoch", n.Epoch), exec: exec, dir: inputs, claims: claims, asked: newAsked(), begun: n, notice: n,
			fuel: a.cfg.Fuel, news: make(chan struct{}, 1),
		}
		now.start(ctx)
	}
	return nil
}

// openGuests tries whether the machine can hold strangers' programs, and returns what runs them.
func openGuests(ctx context.Context, dir string) (Executor, []guest.Lack, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	list, err := guest.Probe(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("compute: audit: try the sandbox: %w", err)
	}
	var lacks []guest.Lack
	for _, l := range list {
		if l.Name != "landlock_net" { // seccomp keeps guests off the network, too
			lacks = append(lacks, l)
		}
	}
	return &guests{dir: dir}, lacks, nil
}

const probeTime = 20 * time.Second
