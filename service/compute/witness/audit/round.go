package audit

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// round is the audits of one epoch.
type round struct {
	cfg    *Config
	host   role.AuditHost
	log    *slog.Logger
	exec   Executor
	dir    string
	claims *claims
	asked  *asked
	fuel   uint64 // that is left
	news   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
	begun  role.Notice // with which it began

	mu     sync.Mutex
	notice role.Notice // the newest
}

// pause is how long a device that does not answer is left alone.
const pause = 500 * time.Millisecond

func (r *round) start(ctx context.Context) {
	ctx, r.cancel = context.WithCancel(ctx)
	r.done = make(chan struct{})
	told := r.host.Told(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { r.ask(ctx) })
	beside.Go(func() { r.hearAll(ctx, told) })
	go func() {
		defer close(r.done)
		defer beside.Wait()
		defer r.exec.Rest()
		r.run(ctx)
	}()
}

// stop ends the epoch's audits. What is not reported by then is not reported.
func (r *round) stop() {
	if r != nil {
		r.cancel()
		<-r.done
	}
}

// hear takes a further notice of the epoch.
func (r *round) hear(n role.Notice) {
	r.mu.Lock()
	r.notice = n
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// at is how much of the epoch is over, in hundredths of its blocks.
func (r *round) at() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := &r.notice
	if n.Cut <= n.First || n.Height <= n.First {
		return 0
	}
	return int(min(100, 100*(n.Height-n.First)/(n.Cut-n.First)))
}

// wait waits for a notice, or for a while.
func (r *round) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.news:
	case <-t.C:
	case <-ctx.Done():
	}
}

// run audits until all is done that there is, and what others disagree with, until ctx ends.
func (r *round) run(ctx context.Context) {
	var p *plan
	for p == nil {
		var err error
		if p, err = newPlan(ctx, r.host, &r.begun, r.cfg.Leaves); err != nil {
			r.log.Debug("what is to be audited is not known yet", "error", err)
			r.wait(ctx, time.Minute)
		}
		if ctx.Err() != nil {
			return
		}
	}
	if p.left > 0 {
		r.log.Info("the seed draws more results than are audited", "audited", len(p.leaves), "left_out", p.left)
	}
	if err := r.claims.forget(r.begun.Epoch); err != nil {
		r.log.Warn("what was seen of old results cannot be forgotten", "error", err)
	}
	queue := p.leaves
	watched := len(p.targets) > 0
	from, called := 0, map[types.Hash]bool{}
	for ctx.Err() == nil && r.at() < tooLate {
		if watched {
			var list []*leaf
			list, from = r.calls(ctx, p, from, called)
			queue = append(list, queue...)
		}
		if len(queue) == 0 && !watched {
			return
		}
		i := next(queue, time.Now())
		if i < 0 {
			if len(queue) == 0 {
				r.exec.Rest()
				r.cfg.at("rest")
				r.wait(ctx, time.Minute)
			} else {
				r.wait(ctx, pause)
			}
			continue
		}
		l, began := queue[i], time.Now()
		if r.audit(ctx, l) {
			l.after = time.Now().Add(pause)
			l.target.spent += time.Since(began)
		} else {
			queue = slices.Delete(queue, i, i+1)
		}
	}
}

// next returns which leaf is audited next, -1 for none that may be by now. Those to which another auditor
// called have less time; devices that have wasted much of it come last.
func next(queue []*leaf, now time.Time) int {
	best := -1
	for i, l := range queue {
		if now.Before(l.after) {
			continue
		}
		if best < 0 || l.called && !queue[best].called || l.called == queue[best].called && l.target.spent < queue[best].target.spent {
			best = i
		}
	}
	return best
}

// calls returns leaves with which another one of their auditors disagrees, of those that were reported since
// the call before.
func (r *round) calls(ctx context.Context, p *plan, from int, called map[types.Hash]bool) (list []*leaf, next int) {
	for more := true; more && ctx.Err() == nil; {
		reports, upto, some, err := r.host.Reported(ctx, compute.KindAudit, from)
		if err != nil {
			r.log.Debug("others' reports are not to be had", "error", err)
			return list, from
		}
		from, more = upto, some
		for _, e := range reports {
			a, err := compute.DecodeAudit(e.Body)
			if err != nil || a.Agrees() || e.Epoch != r.begun.Epoch || e.Author == r.host.Key() {
				continue
			}
			l := p.find(r.begun.Seed, a)
			if l == nil || !slices.Contains(l.target.members, e.Author) || called[l.name()] || len(called) >= r.cfg.Leaves {
				continue
			}
			called[l.name()] = true
			list = append(list, l)
		}
	}
	return list, from
}

// audit audits a leaf. It reports whether that is to be tried again.
func (r *round) audit(ctx context.Context, l *leaf) (again bool) {
	n := &r.begun
	log := r.log.With("device", l.target.device.Key, "results", l.results.envelope.Hash, "leaf", l.index)
	if done, err := r.host.Submitted(l.name()); err != nil || done {
		return err != nil
	}
	late := firstPatience
	if l.called {
		late = otherPatience
	}
	body, err := r.look(ctx, n, l)
	switch {
	case ctx.Err() != nil:
		return false
	case err == nil && body == nil:
		return false // it is not public
	case err != nil && trouble(err):
		log.Info("a result is not audited", "error", err)
		return passing(err)
	case err != nil && patient(err) && r.at() < late:
		log.Debug("a device does not answer, and is asked again", "error", err)
		return true
	case err != nil:
		log.Info("a device withholds what an audit needs", "error", err)
		body.Withheld = true
	case !body.Agrees():
		log.Info("a job came to something else", "job", body.Leaf.Job, "result", body.Result, "said", body.Leaf.Result, "fuel", body.Fuel, "said_fuel", body.Leaf.Fuel)
	}
	r.cfg.at("found")
	if err := r.host.SubmitOnce(ctx, n.Epoch, compute.KindAudit, l.name(), body.Encode()); err != nil {
		log.Warn("what an audit found cannot be handed in", "error", err)
		return types.ReasonOf(err) != types.WrongEpoch
	}
	r.cfg.at("reported")
	log.Debug("a result was audited", "agrees", body.Agrees())
	return false
}

// at is called where a crash would cut off half of something.
func (c *Config) at(name string) {
	if c.step != nil {
		c.step(name)
	}
}

// path is where what has a hash is fetched to.
func (r *round) path(h types.Hash) string { return filepath.Join(r.dir, h.String()) }

// room removes what was fetched for other leaves, if there is too much of it.
func (r *round) room() error {
	list, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	sum := int64(0)
	for _, e := range list {
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	if sum <= r.cfg.Disk {
		return nil
	}
	for _, e := range list {
		if err := os.Remove(filepath.Join(r.dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
