package audit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// An auditor that was shown a leaf calls it, so that whoever has another one that the device signed tells it: what a
// device says to its customer and what it commits to is to be the same. It calls again, with longer and longer pauses,
// since who has it may be away for a while.
const (
	callFirst = time.Second
	callPace  = 250 * time.Millisecond // one leaf; verifiers may call 8 times in a second, and call for live checks too
)

// asked are the leaves that were shown in this epoch. There are as many as are audited: Config.Leaves, twice.
type asked struct {
	mu    sync.Mutex
	list  []*called
	of    map[compute.Place]*shown
	fresh chan struct{}
}

// shown is a leaf that a device has shown.
type shown struct {
	target *target
	claim  *compute.Committed
}

// called is a leaf that is called.
type called struct {
	body []byte
	next time.Time
	wait time.Duration
}

func newAsked() *asked { return &asked{of: map[compute.Place]*shown{}, fresh: make(chan struct{}, 1)} }

// add has a leaf called that a device has shown.
func (a *asked) add(t *target, c *compute.Committed) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := compute.Place{Device: t.device.Key, Session: c.Leaf.Session, Index: c.Leaf.Index}
	if a.of[p] != nil {
		return
	}
	a.of[p] = &shown{t, c}
	a.list = append(a.list, &called{body: c.Seen().Encode(), next: time.Now(), wait: callFirst})
	select {
	case a.fresh <- struct{}{}:
	default:
	}
}

// due returns the leaf that is to be called now, of several the one that was called least, and else for how long there
// is none.
func (a *asked) due(now time.Time) (body []byte, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wait = time.Hour
	var first *called
	for _, c := range a.list {
		if d := c.next.Sub(now); d > 0 {
			wait = min(wait, d)
		} else if first == nil || c.wait < first.wait {
			first = c
		}
	}
	if first == nil {
		return nil, wait
	}
	first.next, first.wait = now.Add(first.wait), 2*first.wait
	return first.body, callPace
}

// ask calls the leaves that were shown, until ctx ends.
func (r *round) ask(ctx context.Context) {
	for {
		body, wait := r.asked.due(time.Now())
		if body != nil {
			if err := r.host.Call(ctx, body); err != nil {
				r.log.Debug("a leaf cannot be called", "error", err)
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-r.asked.fresh:
			if body != nil { // not faster for that
				<-t.C
			}
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// hearAll takes what is told this auditor, until ctx ends. It may come from anybody: what was not called is not looked
// at, and what is proves itself.
func (r *round) hearAll(ctx context.Context, told <-chan role.Called) {
	for said := range told {
		o, err := compute.DecodeOther(said.Body)
		if err != nil {
			continue
		}
		l := &o.Signed.Leaf
		r.asked.mu.Lock()
		s := r.asked.of[compute.Place{Device: o.Device, Session: l.Session, Index: l.Index}]
		r.asked.mu.Unlock()
		if s != nil {
			r.accuse(ctx, s.target, &compute.Fault{Device: o.Device, Conflict: &compute.Conflict{A: compute.Claim{Signed: &o.Signed}, B: compute.Claim{Committed: s.claim}}})
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// accuse hands in a device that contradicts itself, once in an epoch, if it does and has not paid for it.
func (r *round) accuse(ctx context.Context, t *target, f *compute.Fault) {
	n, chain := &r.begun, r.host.Chain()
	name := types.Sum([]byte("conflict"), f.Device[:], []byte(fmt.Sprint(n.Epoch)))
	if done, err := r.host.Submitted(name); done || err != nil {
		return
	}
	if f.Epoch(chain) <= t.settled || f.Epoch(chain) > n.Epoch || f.Prove(chain) != compute.ResultConflict {
		return
	}
	r.log.Warn("a device contradicts itself", "device", f.Device)
	if err := r.host.SubmitOnce(ctx, n.Epoch, compute.KindFault, name, f.Encode()); err != nil {
		r.log.Warn("a fault cannot be handed in", "device", f.Device, "error", err)
	}
}
