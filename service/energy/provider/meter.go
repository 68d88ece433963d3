package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
)

// meter is one of the home's. But for cfg, it belongs to follow.
type meter struct {
	cfg    source.Config
	named  *source.Meter // what it says it is; nil before the first reading
	latest uint64        // the energy time of the newest sample
	best   *taken        // the sample nearest the end of the interval that is awaited
	sick   string        // what was wrong last, "" for nothing
	wrong  error         // what was wrong with the last sample
	seen   energy.Mask   // the registers that it has ever shown
	reads  int           // samples, up to seldom …
	first  uint64        // … and when the first and the newest were taken
	last   uint64
	sent   []string // what it says beside a register that is missing
}

// sample is what a poll gave.
type sample struct {
	meter   *meter
	reading *source.Reading
	err     error
}

// taken is a sample with its registers followed.
type taken struct {
	at      uint64 // ms of energy time
	meter   source.Meter
	present energy.Mask
	wh      [energy.Registers]uint64
	begun   [energy.Registers]uint32 // how often each register has begun anew
}

// patience is how long a meter that speaks of itself may be silent.
const patience = time.Minute

// poll reads the meter until ctx ends.
func (m *meter) poll(ctx context.Context, d *device) error {
	src, err := d.cfg.open(m.cfg)
	if err != nil {
		return err
	}
	defer src.Close()
	for {
		begin := time.Now()
		one, cancel := context.WithTimeout(ctx, patience)
		r, err := src.Read(one)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case d.samples <- sample{m, r, err}:
		}
		if !sleep(ctx, max(d.clock.pace(d.cfg.Poll)-time.Since(begin), fastest/4)) {
			return nil
		}
	}
}

// take follows a sample's registers, and keeps it if it is the nearest to the end of the interval that is awaited.
func (d *device) take(s *sample) {
	m := s.meter
	if s.err != nil {
		m.wrong = s.err
		d.complain(m, s.err)
		return
	}
	if ok, _, _ := d.clock.believed(); !ok {
		return // neither wraps nor boundaries can be told
	}
	at := d.clock.ago(s.reading.At)
	if at == 0 {
		return
	}
	if m.named == nil || *m.named != s.reading.Meter {
		if m.named != nil {
			d.log.Warn("energy: another meter is in the place of the one before", "role", m.cfg.Role, "meter", s.reading.Meter.String())
		}
		name := s.reading.Meter
		m.named, m.best = &name, nil
	}
	t := &taken{at: at, meter: s.reading.Meter}
	wrong := append([]error(nil), s.reading.Bad...)
	for _, reg := range m.cfg.Role.Registers() {
		list := s.reading.Counters[reg]
		if list == nil {
			continue
		}
		name := trackName(m.cfg.Role, reg)
		if d.tracks[name] == nil {
			d.tracks[name] = new(track)
		}
		register := d.tracks[name]
		m.seen |= 1 << reg
		wh, anew, err := register.follow(s.reading.Meter.ID().String(), list, at, uint64(m.cfg.Rating))
		if anew {
			d.log.Warn("energy: a register goes on from another value; the step to it is not counted", "role", m.cfg.Role, "register", reg, "wh", wh)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%v: %w", reg, err))
			continue
		}
		t.present |= 1 << reg
		t.wh[reg], t.begun[reg] = wh, register.Begun
	}
	m.wrong = errors.Join(wrong...)
	m.sent = s.reading.Sent
	if m.last = at; m.reads == 0 {
		m.first = at
	}
	m.reads = min(m.reads+1, seldom)
	if len(wrong) > 0 {
		d.complain(m, wrong[0])
	} else if m.sick != "" {
		m.sick = ""
		d.log.Info("energy: a meter can be read again", "role", m.cfg.Role)
	}
	if t.present == 0 {
		return
	}
	m.latest = at
	if end := (d.k + 1) * quarter; m.best == nil || apart(at, end) < apart(m.best.at, end) {
		m.best = t
	}
}

// complain says once what is wrong with a meter.
func (d *device) complain(m *meter, err error) {
	kind, odd := err.Error(), (*oddity)(nil)
	if errors.As(err, &odd) {
		kind = odd.kind // its text has the reading in it
	}
	if kind != m.sick {
		m.sick = kind
		d.log.Warn("energy: a meter cannot be read, and is asked again", "reason", reasonOf(err), "role", m.cfg.Role, "err", err)
	}
}

// reasonOf is the reason that an owner is given for what is wrong with a meter.
func reasonOf(err error) types.Reason {
	if odd := (*oddity)(nil); errors.As(err, &odd) {
		return energy.RegisterOdd
	}
	return energy.SourceBad
}
