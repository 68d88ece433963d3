package customer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer/match"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

const (
	// lostAfter is how long a device may not be heard of while it has a job, so that within five seconds
	// another one has it.
	lostAfter = 4500 * time.Millisecond
	// backAfter is the same after the gateway itself was away: devices dial in again now and then only.
	backAfter = 30 * time.Second
	// maxOutput is how long each output of a job may be.
	maxOutput = 16 << 20
)

// job is one that has not ended.
type job struct {
	wallet role.Wallet
	out    *spool.Outputs
	ctx    context.Context // ends when the job is cancelled, or the gateway stops
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	rec    record
	line   *line         // of the try that goes on
	stream *link.Stream  // on which its device is; nil for none
	heard  time.Time     // when it was there last
	paid   uint64        // units of the try that receipts say
	said   uint64        // of these, what a receipt on the present stream said
	more   chan struct{} // closed, and made anew, when something changed
	over   error         // why the try is over although its device has not ended it
	ended  bool          // rec is what it stays
	left   *left         // the files that come from its device; nil before
	early  time.Time     // when its device first signed for a time to come; zero for never

	talk    *talk       // of class model; else nil
	reach   *reach      // of its container
	exclude []types.Key // devices that are not to run it
}

// errCancelled says that the customer cancelled.
var errCancelled = types.Refuse(compute.TrapCut, "compute: cancelled")

// changed wakes who waits. The caller holds mu.
func (j *job) changed() {
	close(j.more)
	j.more = make(chan struct{})
}

// snapshot returns the job as it is, and what says that it has changed.
func (j *job) snapshot() (record, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.copy(), j.more
}

// copy returns the job as it is. The caller holds mu.
func (j *job) copy() record {
	rec := j.rec
	rec.Tries = slices.Clone(rec.Tries)
	return rec
}

// expected is a device that may dial in for an order.
type expected struct {
	job    *job
	device types.Key
}

func (c *Customer) expect(j *job, order types.Hash, device types.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders[order] = expected{j, device}
}

func (c *Customer) unexpect(order types.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.orders, order)
}

func (c *Customer) expected(order types.Hash, device types.Key) (*job, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.orders[order]
	if !ok || e.device != device {
		return nil, types.Refuse(compute.NoJob, "compute: order %v", order)
	}
	return e.job, nil
}

// Input implements link.Jobs.
func (c *Customer) Input(device types.Key, order, input types.Hash) (io.ReadSeekCloser, uint64, error) {
	j, err := c.expected(order, device)
	if err != nil {
		return nil, 0, err
	}
	for _, s := range j.rec.Sizes { // never changes
		if s.Hash != input {
			continue
		}
		f, err := c.inputs.Open(input)
		if err != nil {
			return nil, 0, types.Refuse(compute.InputMissing, "compute: input %v: %v", input, err)
		}
		return f, s.Size, nil
	}
	return nil, 0, types.Refuse(compute.InputMissing, "compute: the job reads no input %v", input)
}

// Join implements link.Jobs: the device that runs a job is here.
func (c *Customer) Join(ctx context.Context, device types.Key, order types.Hash, s *link.Stream) error {
	j, err := c.expected(order, device)
	if err != nil {
		return err
	}
	j.mu.Lock()
	if j.ended {
		j.mu.Unlock()
		return types.Refuse(compute.NoJob, "compute: order %v is over", order)
	}
	if j.stream != nil {
		j.stream.Close()
	}
	j.stream, j.heard, j.said = s, time.Now(), 0
	j.changed()
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		last := j.stream == s
		if last {
			j.stream, j.heard = nil, time.Now()
			j.changed()
		}
		j.mu.Unlock()
		if last && j.talk != nil && j.ctx.Err() == nil {
			c.giveUp(j, types.Refuse(compute.DeviceLost, "compute: the connection of device %v broke", device), true)
		}
	}()
	defer context.AfterFunc(j.ctx, func() { _ = s.Write(link.Frame{Kind: link.Cancel}) })() // a stream that is broken is left by Read
	var have [link.Outputs]uint64
	for _, s := range spool.Streams {
		have[s-1], _ = j.out.Size(s)
	}
	if err := s.Write(link.Frame{Kind: link.From, Data: link.Offsets(have)}); err != nil {
		return err
	}
	if j.talk != nil {
		j.talk.attach(s)
	}
	for {
		f, err := s.Read()
		if err != nil {
			return err
		}
		switch f.Kind {
		case link.Answer:
			if err = types.Refuse(types.BadEncoding, "compute: an answer of a job that asks nothing"); j.talk != nil {
				err = j.talk.take(f)
			}
		case link.Shut:
			j.reach.shut(f, device)
		case link.Output:
			err = c.output(ctx, j, order, f)
		case link.State:
			err = c.progress(ctx, j, s, order, f)
		case link.End:
			return c.end(ctx, j, s, order, f.Data)
		}
		if err != nil {
			return err
		}
	}
}

// current reports whether an order is the one by which the job runs at present, with its try and price.
func (j *job) current(order types.Hash) (t *try, ok bool) {
	if n := len(j.rec.Tries); n > 0 && j.rec.Tries[n-1].Order == order && j.over == nil && !j.ended {
		return &j.rec.Tries[n-1], true
	}
	return nil, false
}

// accepted waits until the books say that the device has accepted an order: it may dial in before its answer is here.
func (j *job) accepted(ctx context.Context, order types.Hash) error {
	for {
		j.mu.Lock()
		_, ok := j.current(order)
		more := j.more
		j.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * answerTime):
			return types.Refuse(compute.NoJob, "compute: order %v is over", order)
		}
	}
}

// progress notes how far a job is, and pays for it.
func (c *Customer) progress(ctx context.Context, j *job, s *link.Stream, order types.Hash, f link.Frame) error {
	if err := j.accepted(ctx, order); err != nil {
		return err
	}
	j.mu.Lock()
	if j.rec.State = Running; len(f.Data) > 0 {
		j.rec.State = Paused
	}
	used := min(f.Offset, j.rec.Job.Limit)
	j.rec.Fuel = max(j.rec.Fuel, used)
	j.changed()
	j.mu.Unlock()
	return c.pay(ctx, j, s, order, used, false)
}

// pay signs for the units of an order's job that are not signed for yet.
func (c *Customer) pay(ctx context.Context, j *job, s *link.Stream, order types.Hash, used uint64, last bool) error {
	j.mu.Lock()
	t, ok := j.current(order)
	if ok && last && used <= j.paid && j.said < j.paid { // one that was signed may not have come to the device
		l := j.line
		j.mu.Unlock()
		return s.Write(link.Frame{Kind: link.Receipt, Data: c.newest(l, j.wallet).Encode()})
	}
	if !ok || used <= j.paid {
		j.mu.Unlock()
		return nil
	}
	units, price, l := used-j.paid, t.Price, j.line
	device := t.Device
	j.mu.Unlock()
	if j.talk != nil && used > j.talk.payable() {
		err := types.Refuse(compute.TokensUnshown, "compute: device %v charges for %d, at most %d came", device, used, j.talk.payable())
		c.log.Warn("compute: a device charges for tokens that did not come", "device", device, "job", j.rec.ID, "err", err)
		c.giveUp(j, err, true)
		return err
	}
	// only this goroutine pays for this order
	signed, more, err := c.owe(l, j.wallet, units, price)
	if err != nil || signed == nil {
		return err
	}
	j.mu.Lock()
	j.paid, j.said = used, used
	j.rec.Paid += more
	if t, ok := j.current(order); ok {
		t.Paid += more
	}
	j.mu.Unlock()
	c.show(ctx, l, signed, last)
	return s.Write(link.Frame{Kind: link.Receipt, Data: signed.Encode()})
}

// end takes in how a job ended, and has it on disk before the device is told so.
func (c *Customer) end(ctx context.Context, j *job, s *link.Stream, order types.Hash, data []byte) error {
	if err := j.accepted(ctx, order); err != nil {
		return err
	}
	e, err := compute.DecodeEnded(data)
	if err != nil {
		return err
	}
	j.mu.Lock()
	t, ok := j.current(order)
	if !ok {
		j.mu.Unlock()
		return types.Refuse(compute.NoJob, "compute: order %v is over", order)
	}
	t2, limit, mode, jobHash := *t, j.rec.Job.Limit, j.rec.Want.Mode, j.rec.Job.Hash()
	j.mu.Unlock()
	if e.Reason != "" { // it could not be run there at all: for the customer nothing has happened
		c.ranking(j.rec.Job.Profile).Give(t2.Device, compute.ClassOf(j.rec.Job.Profile), j.rec.Want.Slots)
		c.claimed(e.Leaf, &t2)
		c.giveUp(j, types.Refuse(e.Reason, "compute: device %v: %s", t2.Device, e.Message), e.Leaf == nil)
		return s.Write(link.Frame{Kind: link.Kept})
	}
	err = c.timely(ctx, j, e.Leaf)
	if err != nil && types.ReasonOf(err) == "" {
		return err // the device says it again
	}
	if err == nil {
		err = c.checkEnd(j, e, &t2, limit, mode, jobHash)
	}
	if err != nil {
		c.log.Warn("compute: a device ends a job otherwise than it was ordered", "device", t2.Device, "job", j.rec.ID, "err", err)
		c.claimed(e.Leaf, &t2)
		c.giveUp(j, err, true)
		return err
	}
	if err := c.pay(ctx, j, s, order, e.Leaf.Leaf.Fuel, true); err != nil {
		return err
	}
	if err := j.out.Sync(); err != nil {
		return fmt.Errorf("compute: output: %w", err)
	}
	j.mu.Lock()
	j.rec.Result, j.rec.Leaf, j.rec.Fuel = e.Result, e.Leaf.Encode(), e.Leaf.Leaf.Fuel
	j.rec.Unkept = j.left != nil && j.left.none
	j.rec.State, j.rec.Reason = Done, ""
	switch {
	case e.Leaf.Leaf.Mode == compute.Cut:
		j.rec.State, j.rec.Reason = Cancelled, compute.TrapCut
	case e.Result.Trap != "":
		j.rec.State, j.rec.Reason = Failed, e.Result.Trap
	}
	j.rec.Ended = time.Now().UnixMilli()
	class, slots := compute.ClassOf(j.rec.Job.Profile), j.rec.Want.Slots
	j.mu.Unlock()
	c.ranking(j.rec.Job.Profile).Give(t2.Device, class, slots) // before anybody hears of the end: the next job may come at once
	if err := c.finish(j, true); err != nil {
		return err
	}
	if e.Leaf.Leaf.Mode != compute.Cut {
		c.ranking(j.rec.Job.Profile).Done(t2.Device)
		c.contradicted(j)
	}
	return s.Write(link.Frame{Kind: link.Kept})
}

// checkEnd says what is wrong with the end of a job.
func (c *Customer) checkEnd(j *job, e *compute.Ended, t *try, limit uint64, mode compute.Mode, job types.Hash) error {
	if e.Leaf == nil {
		return types.Refuse(compute.NoResult, "compute: device %v ends a job without a leaf", t.Device)
	}
	l := &e.Leaf.Leaf
	switch {
	case !e.Leaf.Verify(c.market.Chain(), t.Device):
		return types.Refuse(types.BadSignature, "compute: the leaf is not signed by %v", t.Device)
	case l.Session != t.Session || l.Index != t.Index || l.Job != job:
		return types.Refuse(types.SessionMismatch, "compute: a leaf of job %v, number %d of session %v", l.Job, l.Index, l.Session)
	case l.Mode == compute.Cut && j.ctx.Err() == nil:
		return types.Refuse(compute.DeviceLost, "compute: device %v cut a job that nobody cancelled", t.Device)
	case l.Mode != compute.Cut && l.Mode != mode:
		return types.Refuse(compute.ClassMismatch, "compute: a leaf of mode %d, ordered was %d", l.Mode, mode)
	case l.Fuel > limit:
		return types.Refuse(compute.Overpriced, "compute: %d units for a job of at most %d", l.Fuel, limit)
	case l.Mode == compute.Cut:
		return nil
	case e.Result == nil || e.Result.Hash() != l.Result || e.Result.Fuel != l.Fuel:
		return types.Refuse(compute.ResultWrong, "compute: the result is not that of the leaf")
	}
	for stream, want := range map[spool.Stream]types.Hash{spool.Stdout: e.Result.Stdout, spool.Stderr: e.Result.Stderr} {
		size, _ := j.out.Size(stream)
		got, err := hashOf(j.out, stream, 0, size)
		if err != nil {
			return err
		}
		if got != want {
			return types.Refuse(compute.DigestMismatch, "compute: what came as %v is not what the result says", stream)
		}
	}
	return c.checkLeft(j, e.Result.Output)
}

// hashOf returns the SHA-256 of a part of a stream that is there.
func hashOf(o *spool.Outputs, s spool.Stream, at, end uint64) (types.Hash, error) {
	sum := sha256.New()
	buf := make([]byte, 64<<10)
	for at < end {
		n, err := o.ReadAt(context.Background(), s, buf[:min(uint64(len(buf)), end-at)], at)
		if err != nil {
			return types.Hash{}, err
		}
		_, _ = sum.Write(buf[:n]) // never fails
		at += uint64(n)
	}
	return types.Hash(sum.Sum(nil)), nil
}

// giveUp ends a try: the job goes on elsewhere.
func (c *Customer) giveUp(j *job, err error, sessionOver bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over != nil || j.ended || len(j.rec.Tries) == 0 {
		return
	}
	t := &j.rec.Tries[len(j.rec.Tries)-1]
	if t.Reason = types.ReasonOf(err); t.Reason == "" {
		t.Reason = compute.DeviceLost
	}
	j.over = err
	c.unexpect(t.Order)
	if !ofImage(j.rec.Job.Profile, t.Reason) && (j.talk == nil || !j.talk.quiet(err)) {
		c.ranking(j.rec.Job.Profile).Failed(t.Device)
	}
	if j.line != nil {
		j.line.give(sessionOver)
		j.line = nil
	}
	if j.stream != nil {
		j.stream.Close()
	}
	j.reach.lose(types.Refuse(compute.NotRunning, "compute: device %v has lost the job", t.Device))
	j.changed()
}

// finish keeps how a job ended. leaf says whether its device signed one.
func (c *Customer) finish(j *job, leaf bool) error {
	j.mu.Lock()
	if j.rec.Result == nil { // files without a result are nobody's
		if err := errors.Join(j.out.Cut(spool.List, 0), j.out.Cut(spool.Files, 0)); err != nil {
			c.log.Warn("compute: files of a job", "job", j.rec.ID, "err", err)
		}
	}
	j.rec.Bytes = j.out.Total()
	rec, l := j.copy(), j.line
	j.mu.Unlock()
	if l != nil { // the device may have ended the job before the disk has that it accepted
		l.io.Lock()
		defer l.io.Unlock()
	}
	if err := c.books.putAnd(&rec, func(tx *bbolt.Tx) error {
		if !leaf {
			return nil
		}
		signed, err := compute.DecodeLeaf(rec.Leaf)
		if err != nil {
			return err
		}
		return keepClaim(tx, rec.Tries[len(rec.Tries)-1].Device, signed)
	}); err != nil {
		return err
	}
	c.keeps(rec.Bytes)
	j.out.End()
	if l != nil {
		l.give(!leaf)
	}
	for _, s := range rec.Sizes {
		c.inputs.Unpin(s.Hash)
	}
	c.mu.Lock()
	delete(c.running, rec.ID)
	if n := len(rec.Tries); n > 0 {
		delete(c.orders, rec.Tries[n-1].Order)
	}
	c.over(rec.Account, sum(rec.Sizes))
	c.mu.Unlock()
	j.mu.Lock()
	j.ended, j.line = true, nil
	c.unexpected(j)
	j.changed()
	j.mu.Unlock()
	late := time.AfterFunc(leaveTime, func() { j.reach.lose(types.Refuse(compute.NotRunning, "compute: job %v has ended", rec.ID)) })
	context.AfterFunc(c.ctx, func() { late.Stop() })
	return nil
}

// follow sees a job to its end: it returns when it has ended, or when the gateway stops.
func (c *Customer) follow(ctx context.Context, j *job, patience time.Duration) {
	for {
		if ended := c.await(ctx, j, patience); ended {
			return
		}
		if ctx.Err() != nil {
			return // the books have it
		}
		patience = lostAfter
		j.mu.Lock()
		cancelled := errors.Is(context.Cause(j.ctx), errCancelled)
		last, tries := j.over, len(j.rec.Tries)
		j.over, j.paid, j.said, j.rec.Fuel = nil, 0, 0, 0
		j.mu.Unlock()
		if cancelled {
			c.fail(j, errCancelled)
			return
		}
		if tries >= maxTries || j.denied(false) {
			c.fail(j, last)
			return
		}
		j.mu.Lock()
		c.unexpected(j)
		j.early = time.Time{}
		j.mu.Unlock()
		if err := j.out.Restart(); err != nil {
			c.fail(j, fmt.Errorf("compute: output: %w", err))
			return
		}
		j.mu.Lock()
		j.rec.State = Placing
		j.mu.Unlock()
		err := c.placeAgain(j)
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return // the books have it
		case errors.Is(context.Cause(j.ctx), errCancelled):
			err = errCancelled
		case types.ReasonOf(err) == compute.NoMatch && j.denied(true):
			err = last
		case types.ReasonOf(err) == compute.NoMatch:
			err = types.Refuse(compute.DeviceLost, "%v; %v: %s", last, err, counts(j.passed()))
		}
		c.fail(j, err)
		return
	}
}

// placeAgain has another device accept a job that has lost one. Whose job it is waits already: devices that are
// busy, or away for a moment, are waited for.
func (c *Customer) placeAgain(j *job) error {
	for end := time.Now().Add(c.cfg.Patience); ; {
		err := c.place(j.ctx, j)
		switch reason := types.ReasonOf(err); {
		case reason != compute.NoMatch && reason != types.BusUnavailable, j.ctx.Err() != nil, time.Now().After(end):
			return err
		case reason == compute.NoMatch && !passing(j.passed()):
			return err
		}
		select {
		case <-time.After(answerTime):
		case <-j.ctx.Done():
			return j.ctx.Err()
		}
	}
}

// passing reports whether a device was passed over for what may be otherwise in a moment.
func passing(passed map[string]int) bool {
	for why := range passed {
		if why == match.Capacity.String() || why == match.Silent.String() || strings.HasPrefix(why, deviceSaid) {
			return true
		}
	}
	return false
}

func (j *job) passed() map[string]int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rec.Passed
}

// await waits until the job has ended, which it reports, or its try is over.
func (c *Customer) await(ctx context.Context, j *job, patience time.Duration) (ended bool) {
	j.mu.Lock()
	j.heard = time.Now()
	j.mu.Unlock()
	var deadline time.Time // once it is cancelled
	for {
		j.mu.Lock()
		over, done, more := j.over, j.ended, j.more
		silent := time.Duration(0)
		if j.stream == nil {
			silent = time.Since(j.heard)
		}
		j.mu.Unlock()
		if done || over != nil {
			return done
		}
		wait := patience - silent
		cut := j.ctx.Done()
		if errors.Is(context.Cause(j.ctx), errCancelled) { // a device that does not listen keeps nobody waiting
			if cut = nil; deadline.IsZero() {
				deadline = time.Now().Add(lostAfter)
			}
			wait = min(wait, time.Until(deadline))
		}
		if wait <= 0 {
			c.giveUp(j, types.Refuse(compute.DeviceLost, "compute: the device was not heard of for %v", patience), true)
			continue
		}
		select {
		case <-more:
		case <-cut:
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
	}
}

// fail ends a job that no device ended.
func (c *Customer) fail(j *job, err error) {
	j.mu.Lock()
	j.rec.State, j.rec.Reason, j.rec.Message = Failed, types.ReasonOf(err), err.Error()
	if j.rec.Reason == "" {
		j.rec.Reason = role.Internal
	}
	if j.rec.Reason == compute.TrapCut {
		j.rec.State, j.rec.Message = Cancelled, ""
	}
	j.rec.Ended = time.Now().UnixMilli()
	j.mu.Unlock()
	if err := c.finish(j, false); err != nil {
		c.log.Error("compute: a job's end can't be kept", "job", j.rec.ID, "err", err)
	}
}

func (c *Customer) dir(id ID) string { return filepath.Join(c.market.Dir(), "jobs", id.String()) }
