package live

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/mac"
	"github.com/cairn-network/cairn/service/role"
)

// look is one device's check of one slot, as this witness sees it.
type look struct {
	*seat
	fired    compute.Fired
	notice   role.Notice
	device   types.Key
	hardware compute.Hardware
	members  []types.Key
	f        int
	mine     compute.SignedNonce
	start    time.Time

	mu    sync.Mutex // guards what follows
	watch *compute.Watch
	late  bool  // Window is over: nothing counts any more
	wrong error // what is not in order
}

// run looks, and reports what it saw.
func (l *look) run(ctx context.Context) {
	s, fault, err := l.see(ctx)
	if err != nil || ctx.Err() != nil {
		l.host.Log().Info("compute: a check could not be looked at", "device", l.device, "slot", l.fired.Slot, "err", err)
		return
	}
	l.host.Log().Info("compute: a check was looked at", "device", l.device, "slot", l.fired.Slot, "count", s.Count, "ok", s.OK, "wrong", l.wrong)
	// A report of another epoch would speak of a slot that no check of that epoch is about.
	if n, _ := l.now(); n.Epoch != l.fired.Epoch {
		l.host.Log().Warn("compute: the epoch ended before a check could be reported", "device", l.device, "slot", l.fired.Slot)
		return
	}
	err = l.host.Submit(ctx, compute.KindSighting, s.Encode())
	if fault != nil {
		err = errors.Join(err, l.host.Submit(ctx, compute.KindFault, fault.Encode()))
	}
	if err != nil && ctx.Err() == nil {
		l.host.Log().Warn("compute: what was seen cannot be handed in", "device", l.device, "slot", l.fired.Slot, "err", err)
	}
}

// see does the check. An error says that this witness cannot tell anything: the trouble is its own.
func (l *look) see(ctx context.Context) (*compute.Sighting, *compute.Fault, error) {
	n := compute.Nonce{Epoch: l.fired.Epoch, Device: l.device, Slot: l.fired.Slot, Nonce: secret()}
	l.mine = compute.SignedNonce{Witness: l.host.Key(), Nonce: n.Nonce, Signature: l.host.Sign(compute.DomainNonce, types.Encode(&n))}
	summons := compute.Summons{Fired: l.fired, Round: l.hardware.Round, N: l.hardware.N, Slots: l.hardware.Slots, Nonce: l.mine}
	body := summons.Encode()

	asking, cancel := context.WithTimeout(ctx, compute.Window*time.Millisecond+patience)
	defer cancel()
	l.start = time.Now()
	asked := make(chan error, 1)
	go func() {
		_, err := l.host.Ask(asking, role.Question{Device: l.device, Kind: compute.KindLive, Body: body, Each: l.part})
		asked <- err
	}()
	window := time.NewTimer(compute.Window * time.Millisecond)
	defer window.Stop()
	var ended error
	over := false
	for counting := true; counting; {
		select {
		case ended = <-asked:
			over, asked = true, nil
			counting = ended == nil && time.Since(l.start) < compute.Window*time.Millisecond
		case <-window.C:
			counting = false
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	l.mu.Lock()
	l.late = true
	l.mu.Unlock()
	if errors.Is(ended, types.BusUnavailable) {
		return nil, nil, ended
	}
	s := &compute.Sighting{Device: l.device, Slot: l.fired.Slot}
	var fault *compute.Fault
	if l.watch == nil {
		l.fail(errors.Join(types.Refuse(compute.SlotMissed, "compute: no steps came"), ended))
	} else {
		fault = l.look(ctx, s)
	}
	// The device hands its check in first: without it, what this witness says would be all that the tally knows.
	if !over {
		select {
		case ended = <-asked:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	if ended != nil {
		l.fail(ended)
	}
	select {
	case <-time.After(submitAhead):
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	return s, fault, nil
}

func (l *look) fail(err error) {
	if l.wrong == nil {
		l.wrong = err
	}
}

// part takes a part of the device's answer. The first one has the nonces; what comes behind Window does not count.
func (l *look) part(p role.Part) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.late || l.wrong != nil || p.At.Sub(l.start) > compute.Window*time.Millisecond {
		return
	}
	said, err := compute.DecodeProgress(p.Body)
	switch {
	case err != nil:
		l.wrong = err
	case l.watch == nil:
		if l.wrong = compute.CheckNonces(l.host.Chain(), l.fired.Epoch, l.device, l.fired.Slot, l.members, l.f, said.Nonces, l.mine); l.wrong == nil {
			l.watch = compute.NewWatch(l.host.Chain(), l.device, l.fired.Epoch, l.fired.Slot, l.hardware, said.Nonces)
		}
	default:
		for i := range said.Steps {
			if err := l.watch.Add(&said.Steps[i]); err != nil {
				l.wrong = err
				return
			}
		}
	}
}

// look draws rounds and looks into them.
func (l *look) look(ctx context.Context, s *compute.Sighting) *compute.Fault {
	fault := l.watch.Fault()
	s.Count = l.watch.Count()
	openings := l.watch.Draw(beacon.NewStream(secret(), "compute/openings"))
	s.Opening = openings.Hash()
	if l.wrong == nil {
		if l.hardware.Round == compute.CPU {
			l.wrong = l.recompute(ctx, openings)
		} else {
			fault, l.wrong = l.rows(ctx, openings)
		}
	}
	s.OK = l.wrong == nil && s.Count > 0
	return fault
}

// recompute runs rounds of processors again.
func (l *look) recompute(ctx context.Context, openings compute.Openings) error {
	for _, o := range openings {
		select {
		case l.works <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		step := l.watch.Step(o)
		root := mac.Mix(step.Step.Seed)
		<-l.works
		if root != step.Step.Root {
			return types.Refuse(compute.CheckFailed, "compute: step %d of chain %d was not computed", o.T, o.Chain)
		}
	}
	return nil
}

// rows has the device show rows of products.
func (l *look) rows(ctx context.Context, openings compute.Openings) (*compute.Fault, error) {
	count := time.Duration(max(l.watch.Count(), 1))
	ctx, cancel := context.WithTimeout(ctx, rowsTime+compute.Draws*compute.Window*time.Millisecond/count)
	defer cancel()
	var shown compute.ShownRows
	var bad error
	_, err := l.host.Ask(ctx, role.Question{
		Device: l.device, Kind: compute.KindRows, Body: (&compute.RowsQuery{Slot: l.fired.Slot, Openings: openings}).Encode(),
		Each: func(p role.Part) {
			rows, err := compute.DecodeShownRows(p.Body)
			if bad = errors.Join(bad, err); len(shown)+len(rows) <= compute.Draws*compute.Rows {
				shown = append(shown, rows...)
			}
		},
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	for _, o := range openings {
		mine := shown[:min(len(o.Rows), len(shown))]
		shown = shown[len(mine):]
		l.works <- struct{}{}
		ok, fault := l.watch.Rows(o, mine, secret())
		<-l.works
		if !ok {
			return fault, types.Refuse(compute.CheckFailed, "compute: rows of step %d are not those of the product", o.T)
		}
	}
	return nil, nil
}
