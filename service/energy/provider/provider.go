package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
	"github.com/cairn-network/cairn/service/role"
)

// Provider is a home.
type Provider struct {
	cfg     Config
	remarks atomic.Pointer[[]role.Remark]
}

// New returns the device's side of energy. A configuration that cannot be is an error of Run.
func New(cfg Config) *Provider { return &Provider{cfg: cfg.withDefaults()} }

// Role returns p as a node runs it.
func (p *Provider) Role() role.Provider {
	return role.Provider{Category: types.Energy, Run: p.Run, Remarks: p.Remarks, Reasons: energy.New().Spec.Reasons}
}

// Run reads, stamps and hands in until ctx ends.
func (p *Provider) Run(ctx context.Context, host role.Host) error {
	if err := p.cfg.check(); err != nil {
		return fmt.Errorf("energy: %w", err)
	}
	d, err := open(p.cfg, host)
	if err != nil {
		return err
	}
	d.say = &p.remarks
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.follow(ctx) })
	for i := range d.meters {
		group.Go(func() error { return d.meters[i].poll(ctx, d) })
	}
	return errors.Join(group.Wait(), d.journal.close())
}

// device is one Run. But for clock and samples, everything belongs to follow.
type device struct {
	cfg     Config
	host    role.Host
	log     *slog.Logger
	clock   *clock
	journal *journal
	samples chan sample
	meters  []*meter

	boot      uint32
	unchecked bool // there are records that a clock stamped which nothing had been compared with
	batch     batch
	tracks    map[string]*track
	notice    *role.Notice
	state     *energy.State
	asks      [2]ask
	sited     types.Epoch

	k       uint64 // the interval whose end is awaited; 0 before the first
	present energy.Mask
	held    int // records that were left out in a row
	skewed  bool
	say     *atomic.Pointer[[]role.Remark] // what the owner should know; nil for nobody to tell
}

// batch counts what was handed in in an epoch.
type batch struct {
	epoch types.Epoch
	count int
}

// ask is what the device asks for a class.
type ask struct {
	signed *receipt.SignedAsk
	sent   types.Epoch
}

func open(cfg Config, host role.Host) (*device, error) {
	j, err := openJournal(filepath.Join(host.Dir(), "journal.db"))
	if err != nil {
		return nil, err
	}
	d := &device{cfg: cfg, host: host, log: host.Log(), clock: newClock(cfg.Now), journal: j, samples: make(chan sample), state: new(energy.State)}
	for _, s := range cfg.Sources {
		d.meters = append(d.meters, &meter{cfg: s})
	}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return d, nil
}

// load reads what an earlier run left.
func (d *device) load() error {
	var err error
	if d.tracks, err = d.journal.tracks(); err != nil {
		return fmt.Errorf("energy: read the journal: %w", err)
	}
	var rules *energy.Clock
	if err := errors.Join(d.journal.load("boot", &d.boot), d.journal.load("clock", &rules)); err != nil {
		return fmt.Errorf("energy: read the journal: %w", err)
	}
	if rules != nil {
		d.clock.recall(*rules)
	}
	d.boot++
	d.unchecked = true
	return d.journal.store("boot", d.boot)
}

// follow does what notices, samples and the clock call for.
func (d *device) follow(ctx context.Context) error {
	notices := d.host.Notices(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case n, ok := <-notices:
			if !ok {
				notices = nil
				continue
			}
			err = d.hear(ctx, &n)
		case s := <-d.samples:
			named := d.site() != nil
			d.take(&s)
			d.speak()
			err = d.stamp(ctx)
			if !named && d.site() != nil && d.notice != nil && err == nil {
				err = d.handIn(ctx) // the site can be declared now
			}
		case <-timer.C:
			err = d.stamp(ctx)
			timer.Reset(d.clock.pace(d.cfg.Poll))
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// hear takes a notice: what time it is, what counts, what is to be handed in.
func (d *device) hear(ctx context.Context, n *role.Notice) error {
	rules, err := energy.DecodeRules(n.Rules)
	if err != nil {
		rules = energy.DefaultRules()
	}
	d.clock.hear(rules.Clock, n.Time)
	if err := d.journal.store("clock", &rules.Clock); err != nil {
		return fmt.Errorf("energy: note the clock: %w", err)
	}
	if err := d.check(); err != nil {
		return err
	}
	if d.state, err = energy.DecodeState(n.Line); err != nil {
		d.log.Error("energy: the device's line cannot be read, so everything is handed in again", "err", err)
		d.state = new(energy.State)
	}
	if d.state.Taken {
		d.log.Error("energy: nothing counts, since another device named one of these meters before", "reason", energy.MeterTaken)
	}
	d.notice = n
	return errors.Join(d.ask(ctx), d.handIn(ctx))
}

// check compares the clock with the notices. What was stamped before there were any is kept or dropped.
func (d *device) check() error {
	ok, skew, checked := d.clock.believed()
	if ok && d.skewed {
		d.log.Info("energy: the clock is right again: stamping goes on", "skew", skew)
	}
	if !ok && !d.skewed {
		d.log.Error("energy: the clock is off, so nothing is stamped until it is set", "reason", energy.ClockOff, "skew", skew)
		for _, m := range d.meters {
			m.best, m.latest = nil, 0
		}
	}
	d.skewed = !ok
	if !checked || !d.unchecked {
		return nil
	}
	d.unchecked = false
	list, err := d.journal.after(0)
	if err != nil {
		return err
	}
	var unchecked []entry
	for _, e := range list {
		if e.Unchecked {
			unchecked = append(unchecked, e)
		}
	}
	if len(unchecked) == 0 {
		return nil
	}
	if !ok {
		d.log.Error("energy: records that a wrong clock stamped are dropped", "reason", energy.ClockOff, "records", len(unchecked))
	}
	return d.journal.change(unchecked, func(e *entry) bool { e.Unchecked = false; return ok })
}

// stamp makes the records whose time has come.
func (d *device) stamp(ctx context.Context) error {
	now := d.clock.now()
	if now == 0 {
		return nil
	}
	if err := d.check(); err != nil {
		return err
	}
	if current := now / quarter; d.skewed || d.k == 0 || d.k > current {
		d.k = current
		return nil
	}
	made := false
	for d.k < now/quarter {
		if !d.settled(now) {
			break
		}
		if err := d.record(); err != nil {
			return err
		}
		made = true
		// Of what passed while nothing was read, the last interval is enough.
		d.k = max(d.k+1, now/quarter-1)
	}
	if made && d.notice != nil {
		return d.handIn(ctx)
	}
	return nil
}

// quarter is an interval in milliseconds.
const quarter = lot.Interval * 1000

// settled reports whether every meter's sample nearest the end of interval k is known, or will not come.
func (d *device) settled(now uint64) bool {
	end := (d.k + 1) * quarter
	if now >= end+d.slack()+2000*d.clock.rate() {
		return true
	}
	for _, m := range d.meters {
		if m.best == nil || m.latest < end {
			return false
		}
	}
	return true
}

// slack is how far from a boundary a sample may be, in milliseconds of energy time.
func (d *device) slack() uint64 {
	pace := uint64(d.clock.pace(d.cfg.Poll).Milliseconds()) * d.clock.rate()
	return min(max(slack, 2*pace), quarter/2-1)
}

// record stamps interval k with each meter's best sample, and puts it on disk.
func (d *device) record() error {
	end := (d.k + 1) * quarter
	e := &entry{Record: energy.Record{K: d.k, Boot: d.boot}, Site: d.cfg.Site}
	for _, m := range d.meters {
		s := m.best
		if m.named == nil {
			return nil // no site without its meters' names
		}
		*siteMeters(&e.Site)[m.cfg.Role] = m.named.ID()
		if s == nil || apart(s.at, end) > d.slack() || s.meter.ID() != m.named.ID() {
			continue
		}
		for _, reg := range m.cfg.Role.Registers() {
			if s.present.Has(reg) {
				e.Record.Present |= 1 << reg
				e.Record.Wh[reg] = s.wh[reg]
				if t := d.tracks[trackName(m.cfg.Role, reg)]; t != nil && t.begun(s.begun[reg]) {
					e.Anew |= 1 << reg
				}
			}
		}
	}
	if e.Record.Present&(1<<energy.Export|1<<energy.Import) == 0 || d.present&^e.Record.Present != 0 && d.held < maxHeld {
		d.held++
		if d.k > 0 && d.present != 0 {
			d.log.Warn("energy: an interval is left out, since a register could not be read at its end", "reason", energy.SourceBad,
				"interval", d.k, "missing", fmt.Sprintf("%05b", d.present&^e.Record.Present))
		}
		return nil
	}
	if newest, ok := d.journal.newest(); ok && newest >= d.k {
		return nil // stamped before the last start
	}
	_, _, checked := d.clock.believed()
	e.Unchecked = !checked
	d.unchecked = d.unchecked || e.Unchecked
	d.held, d.present = 0, e.Record.Present
	for _, m := range d.meters {
		for _, reg := range m.cfg.Role.Registers() {
			if t := d.tracks[trackName(m.cfg.Role, reg)]; t != nil && e.Record.Present.Has(reg) {
				t.Stamped = m.best.begun[reg]
			}
		}
	}
	dropped, err := d.journal.put(e, d.tracks, d.state.K)
	if err != nil {
		return fmt.Errorf("energy: keep the record of interval %d: %w", d.k, err)
	}
	if dropped > 0 {
		d.log.Warn("energy: records that never counted were dropped: they are 35 days old", "records", dropped)
	}
	d.log.Debug("energy: stamped", "interval", d.k, "wh", e.Record.Wh)
	if d.cfg.kept != nil {
		d.cfg.kept()
	}
	return nil
}

// trackName names a register's track.
func trackName(role source.Role, reg energy.Register) string {
	return string(role) + "/" + reg.String()
}

func apart(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// site is what the home is, or nil while a meter has not said its name.
func (d *device) site() *energy.Site {
	s := d.cfg.Site
	for _, m := range d.meters {
		if m.named == nil {
			return nil
		}
		*siteMeters(&s)[m.cfg.Role] = m.named.ID()
	}
	return &s
}

// handIn hands in what is over and does not count yet.
func (d *device) handIn(ctx context.Context) error {
	if d.skewed {
		return nil
	}
	rules, err := energy.DecodeRules(d.notice.Rules)
	if err != nil {
		rules = energy.DefaultRules()
	}
	list, err := d.journal.after(d.state.K)
	if err != nil {
		return err
	}
	done := rules.Clock.Done(d.notice.EpochTime)
	if d.k > 0 && d.k < done && d.clock.now() < (done+1)*quarter {
		return nil // the last interval is about to be stamped: then all go together
	}
	p := &plan{state: d.state, tallied: d.notice.Tallied, done: done, site: d.site(), sited: d.sited, entries: list}
	out := p.make()
	if p.late > 0 {
		d.log.Debug("energy: records are too old to count", "records", p.late)
	}
	if d.batch.epoch != d.notice.Epoch {
		d.batch = batch{epoch: d.notice.Epoch}
	}
	for _, e := range out {
		if d.batch.count++; d.batch.count > maxBatch {
			return nil // the next epoch goes on
		}
		if err := d.host.Submit(ctx, e.kind, e.body); err != nil {
			if types.ReasonOf(err) == types.OverQuota {
				return nil // the next notice goes on
			}
			return fmt.Errorf("energy: hand in: %w", err)
		}
		if e.kind == energy.KindSite {
			d.sited = d.notice.Epoch
		}
		if err := d.sent(list, e.list); err != nil {
			return err
		}
	}
	return nil
}

// sent notes in which epoch records were handed in.
func (d *device) sent(list []entry, which []int) error {
	if len(which) == 0 {
		return nil
	}
	some := make([]entry, len(which))
	for i, at := range which {
		some[i] = list[at]
	}
	return d.journal.change(some, func(e *entry) bool { e.Sent = d.notice.Epoch; return true })
}
