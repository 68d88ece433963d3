// Package witness is what wireless does beside a verifier: it conducts bandwidth checks (package pob), and challenges
// devices (package line).
//
// # Conducting
//
// As soon as an epoch's seed is known, a witness looks which prefixes of its region are drawn, and which of those it
// conducts. For each it knows by its VRF when the test begins, and calls that to all witnesses, Notice before. The
// conductor of the second half does so only if it has not heard the first half's. A start whose time has passed when it
// becomes known is left to the other half.
//
// # Challenging
//
// A witness takes a call if the prefix's conductor made it and proves it, it is one of this epoch, and the test
// begins in no more than the notice. If it came earlier than that, or too late, one of the two clocks is wrong, and the
// witness abstains. To each device of the prefix that it was drawn for and that the draw tests it sends a Summons, and
// then its packets. What it heard it reports in the epoch of the start, or not at all. A device that does not come is
// reported as silent; a witness whose own uplink or bus is the trouble reports nothing.
//
// # Bounds
//
// Two starts of a prefix and epoch are taken, and the calls of a verifier are bounded by its host. As many devices are
// challenged at a time as the uplink carries (Config.Uplink), and maxLooks.
package witness

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/wireless/line"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// Config says by what a Witness goes.
type Config struct {
	// Report is the kind of evidence that a pob.Report is.
	Report evidence.Kind
	// Rules are those of bandwidth checks in force, as of a notice.
	Rules func(n *role.Notice) pob.Rules
	// Subject reads from a device's line where it is, what it claims and how many results it has; ok is false for a
	// device that is not tested.
	Subject func(line []byte) (prefix pob.Prefix, claim uint64, results int, ok bool)
	// Uplink is how many bit/s of this machine's uplink all tests may take at a time. Default 1 Gbit/s.
	Uplink uint64
}

// Figures of a witness.
const (
	maxLooks   = 1024 // devices at a time; it says how many more there were
	uplink     = 1_000_000_000
	leastAhead = 100 * time.Millisecond // before a test begins, for the device to agree
)

// Witness is a verifier's side of wireless.
type Witness struct{ cfg Config }

// New returns the verifier's side of wireless.
func New(cfg Config) *Witness {
	if cfg.Uplink == 0 {
		cfg.Uplink = uplink
	}
	return &Witness{cfg}
}

// Role returns w as a witness engine runs it.
func (w *Witness) Role() role.Witness { return role.Witness{Category: types.Wireless, Run: w.Run} }

// seat is one Run.
type seat struct {
	cfg        Config
	host       role.VerifierHost
	challenger *line.Challenger // nil without a socket: then this witness conducts alone
	address    string
	looks      chan struct{}
	active     sync.WaitGroup

	mu    sync.Mutex // guards what follows
	epoch *epoch
}

// epoch is what a witness knows of one.
type epoch struct {
	number types.Epoch
	rules  pob.Rules
	clock  *pob.Clock
	mine   map[pob.Prefix][]pob.Subject // whom this witness challenges
	heard  map[heardAs]bool             // starts that were taken
	ctx    context.Context
	stop   context.CancelFunc
}

type heardAs struct {
	prefix pob.Prefix
	half   uint8
}

// Run conducts and challenges until ctx ends.
func (w *Witness) Run(ctx context.Context, host role.VerifierHost) error {
	s := &seat{cfg: w.cfg, host: host, looks: make(chan struct{}, maxLooks)}
	ctx, cancel := context.WithCancel(ctx)
	defer s.active.Wait()
	defer cancel()
	conn, at, err := host.Socket()
	if err != nil {
		host.Log().Warn("wireless: this witness challenges no devices: it has no socket", "err", err)
	} else {
		s.challenger, s.address = line.NewChallenger(conn, line.ChallengerConfig{Chain: host.Chain(), Key: host.Key(), Uplink: w.cfg.Uplink}), at.String()
		s.active.Go(func() {
			if err := s.challenger.Run(ctx); err != nil {
				host.Log().Warn("wireless: the socket of bandwidth checks is gone", "err", err)
				cancel() // and Run begins anew
			}
		})
	}
	calls := host.Calls(ctx)
	notices := host.Notices(ctx)
	for {
		select {
		case n, more := <-notices:
			if !more {
				<-ctx.Done()
				return nil
			}
			if err := s.begin(ctx, &n); err != nil && ctx.Err() == nil {
				host.Log().Debug("wireless: who is tested is not known yet", "epoch", n.Epoch, "err", err)
			}
		case c, more := <-calls:
			if !more {
				return nil
			}
			if err := s.called(time.Now(), &c); err != nil && ctx.Err() == nil {
				host.Log().Info("wireless: a call is not taken", "by", c.By, "err", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *seat) current() *epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// begin finds out whom an epoch tests, once its seed is known, and conducts what is this witness's.
func (s *seat) begin(ctx context.Context, n *role.Notice) error {
	if e := s.current(); e != nil && e.number == n.Epoch || !n.Challenged || n.Seed.IsZero() {
		return nil
	}
	registry, panel, err := s.host.Registry(ctx)
	if err != nil {
		return err
	}
	e := &epoch{number: n.Epoch, rules: s.cfg.Rules(n), mine: map[pob.Prefix][]pob.Subject{}, heard: map[heardAs]bool{}}
	e.clock = &pob.Clock{Chain: s.host.Chain(), Epoch: n.Epoch, Seed: n.Seed, Time: n.EpochTime, Rules: &e.rules, Conductors: pob.NewConductors(registry, n.Seed)}
	tested := map[types.Key]pob.Subject{}
	prefixes := map[pob.Prefix]bool{}
	for d := range registry.Devices(types.Wireless) {
		subject, ok, err := s.subject(ctx, n, e, d)
		if err != nil {
			return err
		}
		if ok {
			tested[d.Key], prefixes[subject.Prefix] = subject, true
		}
	}
	drawn, err := s.host.Drawn(ctx, pob.ForTest)
	if err != nil {
		return err
	}
	for i := range drawn {
		d := &drawn[i].Device
		if subject, ok := tested[d.Key]; ok {
			subject.Members = panel.Draw(d, pob.ForTest)
			e.mine[subject.Prefix] = append(e.mine[subject.Prefix], subject)
		}
	}
	e.ctx, e.stop = context.WithCancel(ctx)
	s.mu.Lock()
	if s.epoch != nil {
		s.epoch.stop()
	}
	s.epoch = e
	s.mu.Unlock()
	for p := range prefixes {
		who, ok := e.clock.Conductors.Of(p)
		for half := range who {
			if ok && who[half].Key == s.host.Key() {
				s.active.Go(func() { s.conduct(e, p, uint8(half)) })
			}
		}
	}
	return nil
}

// subject reads what the tally knows of a device, and whether it is tested.
func (s *seat) subject(ctx context.Context, n *role.Notice, e *epoch, d *tally.Device) (pob.Subject, bool, error) {
	raw, err := s.host.Line(ctx, n.Tallied, d.Key)
	if errors.Is(err, types.UnknownBlob) && n.Tallied == 0 {
		return pob.Subject{}, false, nil // there is no tally yet
	}
	if err != nil || len(raw) == 0 {
		return pob.Subject{}, false, err
	}
	prefix, claim, results, ok := s.cfg.Subject(raw)
	tested := ok && e.rules.Drawn(n.Seed, prefix).Tests(results)
	return pob.Subject{Device: d.Key, Prefix: prefix, Claim: claim, Results: results}, tested, nil
}

// conduct calls the start of a half of a prefix, in time.
func (s *seat) conduct(e *epoch, p pob.Prefix, half uint8) {
	start := &pob.Start{Epoch: e.number, Half: half, Prefix: p}
	start.Proof = s.host.Prove(pob.StartPurpose, e.clock.Seed, pob.StartNumber(p, half))
	at, err := e.clock.Begin(start)
	if err != nil {
		s.host.Log().Warn("wireless: a start of this verifier's own is not proven", "prefix", p, "err", err)
		return
	}
	ahead := time.Until(begins(at)) - time.Duration(e.rules.Notice)*time.Millisecond
	if ahead < -leastAhead {
		return // it is over, or too near: the other half is there for that
	}
	select {
	case <-time.After(ahead):
	case <-e.ctx.Done():
		return
	}
	if half > 0 && s.known(e, heardAs{p, 0}) {
		return
	}
	if err := s.host.Call(e.ctx, start.Encode()); err != nil && e.ctx.Err() == nil {
		s.host.Log().Warn("wireless: a start cannot be called", "prefix", p, "half", half, "err", err)
	}
}

func begins(at pob.Instant) time.Time { return time.UnixMilli(int64(at.T0)) }

func (s *seat) known(e *epoch, h heardAs) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.heard[h]
}

// first notes a start, and reports whether it was new.
func (s *seat) first(e *epoch, h heardAs) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.heard[h] {
		return false
	}
	e.heard[h] = true
	return true
}

// called challenges the devices of a start, which came now.
func (s *seat) called(now time.Time, c *role.Called) error {
	start, err := pob.DecodeStart(c.Body)
	if err != nil {
		return err
	}
	e := s.current()
	if e == nil || start.Epoch != e.number {
		return types.Refuse(pob.BadStart, "wireless: a start of epoch %d", start.Epoch)
	}
	who, ok := e.clock.Conductors.Of(start.Prefix)
	if !ok || who[start.Half].Key != c.By || e.rules.Drawn(e.clock.Seed, start.Prefix) == pob.NoDraw {
		return types.Refuse(pob.BadStart, "wireless: %v does not conduct %v", c.By, start.Prefix)
	}
	at, err := e.clock.Begin(start)
	if err != nil {
		return err
	}
	if !s.first(e, heardAs{start.Prefix, start.Half}) {
		return nil
	}
	ahead := begins(at).Sub(now)
	if most := time.Duration(e.rules.Notice+e.rules.Skew/2) * time.Millisecond; ahead > most || ahead < leastAhead {
		return types.Refuse(types.ClockOff, "wireless: a test of %v begins in %v, and is called %v ahead: a clock is wrong", start.Prefix, ahead,
			time.Duration(e.rules.Notice)*time.Millisecond)
	}
	if s.challenger == nil {
		return nil
	}
	over := 0
	for i := range e.mine[start.Prefix] {
		subject := &e.mine[start.Prefix][i]
		test, err := e.clock.Test(subject, start)
		if err != nil { // too few may challenge this one, or it claims what nobody can test
			s.host.Log().Debug("wireless: a device is not tested", "device", subject.Device, "err", err)
			continue
		}
		select {
		case s.looks <- struct{}{}:
		default:
			over++
			continue
		}
		s.active.Go(func() {
			defer func() { <-s.looks }()
			s.challenge(e, start, test)
		})
	}
	if over > 0 {
		s.host.Log().Warn("wireless: too many devices to challenge at one time", "prefix", start.Prefix, "left_out", over)
	}
	return nil
}

// challenge does this witness's part of one test, and reports it.
func (s *seat) challenge(e *epoch, start *pob.Start, t *pob.Test) {
	log := s.host.Log().With("device", t.Device, "prefix", t.Prefix)
	report := &pob.Report{Device: t.Device, Start: *start}
	rand.Read(report.Secret[:])
	ms := func(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }
	sending := line.Sending{Test: t.ID, Device: t.Device, T0: begins(t.Instant), Send: ms(e.rules.Send), Reply: ms(e.rules.Reply),
		Packets: t.Packets, Secret: report.Secret}
	until := begins(t.Instant).Add(sending.Send + sending.Reply)
	asking, cancel := context.WithDeadline(e.ctx, until.Add(sending.Reply))
	defer cancel()
	var asked error
	var asks sync.WaitGroup
	asks.Go(func() {
		summons := &line.Summons{Start: *start, Test: t.ID, Address: s.address, Packets: t.Packets}
		_, asked = s.host.Ask(asking, role.Question{Device: t.Device, Kind: line.KindTest, Body: summons.Encode()})
	})
	heard, err := s.challenger.Challenge(e.ctx, sending)
	asks.Wait() // until the device says that it is done, or for as long as a reply may take
	switch {
	case e.ctx.Err() != nil:
		return
	case err != nil:
		log.Warn("wireless: a device cannot be challenged", "err", err)
		return
	case errors.Is(asked, types.BusUnavailable):
		log.Warn("wireless: a device could not be called to its test", "err", asked)
		return
	}
	if heard.From.IsValid() {
		report.Prefix = pob.PrefixOf(heard.From.Addr())
	}
	if heard.Reply != nil {
		report.Reply, report.Arrival = heard.Reply, uint32(max(heard.Arrival, 0).Milliseconds())
	}
	bytes, wrong := t.Bytes(s.host.Key(), report)
	log.Info("wireless: a device was challenged", "sent", heard.Sent, "bytes", bytes, "asked", asked, "wrong", wrong)
	if err := s.host.Submit(e.ctx, s.cfg.Report, report.Encode()); err != nil && e.ctx.Err() == nil {
		log.Warn("wireless: a report cannot be handed in", "err", err)
	}
}
