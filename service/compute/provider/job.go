package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

// job is an order that was accepted, until nobody needs it any more.
type job struct {
	order    *compute.Order
	hash     types.Hash
	call     *compute.Call   // nil once it has ended
	external []compute.Input // those that did not ride along
	session  *session
	began    time.Time
	ctx      context.Context
	memory   uint64
	limit    uint64
	accepted chan struct{} // closed when the journal has it, or it is refused after all
	joined   chan struct{} // closed when the gateway was reached
	once     sync.Once     // closes joined
	done     chan struct{} // closed when it has ended, and the journal says so
	used     atomic.Uint64 // units, of the present run
	out      *spool.Outputs
	cancel   context.CancelCauseFunc
	silent   atomic.Int64 // when the gateway was there last, Unix nanoseconds; 0 while it is
	again    bool         // it ran before a restart
	ports    atomic.Int32 // connections to ports of it that are open
	talk     *talk        // of class model: how it is asked; else nil

	// Guarded by device.mu.
	record
	ended    *compute.Ended
	held     bool      // it has slots and memory
	keeping  bool      // somebody notes that it is kept
	open     bool      // it counts among those whose end the gateway does not have
	outBytes uint64    // that its outputs are counted as
	ceased   time.Time // when it ended, as far as this run of the device knows
	fetched  map[types.Hash]bool
	allowed  uint64        // units that it may have used
	more     chan struct{} // closed when that grows
	stands   *time.Timer   // ends it; nil while it may go on
}

// Why a job ends before its end.
var (
	errCancelled = types.Refuse(compute.TrapCut, "the customer cancelled the job")
	errUnpaid    = types.Refuse(compute.Unpaid, "the job was not paid for")
	errAway      = types.Refuse(compute.DeviceLost, "the gateway has been away for too long")
	errLapsed    = types.Refuse(compute.DeviceLost, "the gateway could not be reached in time")
	errStop      = errors.New("the device stops")
)

// newJob returns the job of a call, of which nothing is known yet.
func (d *device) newJob(call *compute.Call, hash types.Hash, s *session) *job {
	o := call.Order.Order
	o.RunnerUp = nil
	j := &job{
		order: &o, hash: hash, call: call, session: s, memory: memory(&call.Job), limit: call.Job.Limit, began: time.Now(), accepted: make(chan struct{}),
		joined: make(chan struct{}), done: make(chan struct{}), more: make(chan struct{}), fetched: map[types.Hash]bool{},
	}
	j.ctx, j.cancel = context.WithCancelCause(d.ctx)
	if o.Class == compute.Model {
		j.talk = d.newTalk(j)
	}
	for _, in := range call.Inputs {
		if len(in.Data) == 0 {
			j.external = append(j.external, in)
		}
	}
	return j
}

// settle lets go of what only a job that runs needs. d.mu is held.
func (d *device) settle(j *job) {
	j.call = nil
	if j.record.Kept {
		j.ended, j.record.Ended = nil, nil
	}
}

// stop has the job end, for a reason.
func (j *job) stop(why error) { j.cancel(why) }

// allow lets the job use so many units. device.mu is held.
func (j *job) allow(units uint64) {
	j.allowed = units
	close(j.more)
	j.more = make(chan struct{})
	if j.stands != nil && !j.short() {
		j.stands.Stop()
		j.stands = nil
	}
}

// short reports whether the job can't go on for a millisecond. device.mu is held.
func (j *job) short() bool {
	used := j.used.Load()
	return used < j.limit && less(j.allowed, used) < max(compute.Second(j.order.Class)/1000, 1)
}

// meter is a job's Meter.
type meter struct {
	d *device
	j *job
}

func (m meter) Used(units uint64) {
	m.j.used.Store(units)
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	m.d.look(m.j)
}

func (m meter) Allowed() (uint64, <-chan struct{}) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	return m.j.allowed, m.j.more
}

// look sees whether a job stands still, and ends it if that goes on for too long. d.mu is held.
func (d *device) look(j *job) {
	if j.stands == nil && j.short() {
		j.stands = time.AfterFunc(d.cfg.patience, func() { j.stop(errUnpaid) })
	}
}

// standing reports whether a job waits to be paid for.
func (d *device) standing(j *job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return j.stands != nil
}

// start begins with a job that the journal has, and sees to it until the gateway has its end.
func (d *device) start(j *job) {
	j.silent.Store(time.Now().UnixNano())
	out, err := spool.OpenOutputs(d.outDir(j.hash), maxStream, j.ended != nil)
	if err != nil {
		d.log.Error("compute: outputs of a job", "order", j.hash, "err", err)
		d.end(j, nil, types.Refuse(compute.NoSpace, "%v", err))
		return
	}
	j.out = out
	d.work.Go(func() { d.report(j) })
	if j.ended != nil {
		return
	}
	d.mu.Lock()
	j.session.account.grant()
	d.mu.Unlock()
	d.work.Go(func() {
		defer j.cancel(nil)
		result, err := d.run(j.ctx, j)
		if d.ctx.Err() != nil {
			return // it runs again when the device does
		}
		if cause := context.Cause(j.ctx); cause != nil && err != nil {
			err = cause
		}
		if errors.Is(err, errCancelled) {
			d.awaitPay(j)
		}
		d.end(j, result, err)
		if errors.Is(err, errLapsed) { // nobody waits for it
			d.keep(j)
		}
	})
}

// run runs a job.
func (d *device) run(ctx context.Context, j *job) (*compute.Result, error) {
	if !j.again {
		lapse := time.AfterFunc(d.cfg.reserve, func() {
			select {
			case <-j.joined:
			default:
				j.stop(errLapsed)
			}
		})
		defer lapse.Stop()
	}
	task := &Task{
		Order: j.hash, Slots: j.order.Slots, Job: &j.call.Job, Files: j.call.Files, Open: func(h types.Hash) (io.ReadCloser, uint64, error) { return d.input(j, h) },
		Stdout: &writer{out: j.out, stream: spool.Stdout}, Stderr: &writer{out: j.out, stream: spool.Stderr}, Meter: meter{d, j},
		talk: j.talk,
	}
	kept := &left{d: d, j: j}
	task.Left = kept.take
	e := d.executors[j.order.Class]
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := d.fetch(gctx, j); err != nil {
			return err
		}
		return e.Prepare(gctx, task)
	})
	group.Go(func() error {
		select {
		case <-j.joined:
			return nil
		case <-gctx.Done():
			return context.Cause(gctx)
		}
	})
	group.Go(func() error { // it says that it may have run before it runs
		d.mu.Lock()
		next := j.record
		d.mu.Unlock()
		if next.Started {
			return nil
		}
		next.Started = true
		err := d.books.write(func(tx *bbolt.Tx) error { return put(tx, jobBucket, j.hash[:], &next) })
		d.mu.Lock()
		j.record.Started = err == nil
		d.mu.Unlock()
		return err
	})
	err := group.Wait()
	d.mu.Lock()
	j.session.account.free += time.Since(j.began) // its slots did nothing for pay
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := j.out.Restart(); err != nil {
		return nil, err
	}
	d.cfg.at("running")
	d.mu.Lock()
	d.look(j) // it may begin with nothing to spend
	d.mu.Unlock()
	result, files, err := e.Run(ctx, task)
	if err != nil {
		return nil, err
	}
	result.Fuel = min(result.Fuel, j.call.Job.Limit)
	if err := kept.list(files); err != nil {
		return nil, err
	}
	return result, nil
}

// writer is one of a job's outputs.
type writer struct {
	out    *spool.Outputs
	stream spool.Stream
	at     uint64
}

func (w *writer) Write(p []byte) (int, error) {
	switch err := w.out.Write(w.stream, w.at, p); {
	case disk.IsFull(err):
		return 0, types.Refuse(compute.NoSpace, "what the job wrote: %v", err)
	case err != nil:
		return 0, err
	}
	w.at += uint64(len(p))
	return len(p), nil
}

// input opens an input.
func (d *device) input(j *job, h types.Hash) (io.ReadCloser, uint64, error) {
	if h == compute.Nothing {
		return io.NopCloser(bytes.NewReader(nil)), 0, nil
	}
	in := j.call.Input(h)
	if in == nil {
		return nil, 0, types.Refuse(compute.InputMissing, "compute: the job names no input %v", h)
	}
	if len(in.Data) > 0 {
		return io.NopCloser(bytes.NewReader(in.Data)), in.Size, nil
	}
	f, err := d.inputs.Open(h)
	return f, in.Size, err
}

// fetch has the inputs here that did not ride along.
func (d *device) fetch(ctx context.Context, j *job) error {
	for i := range j.call.Inputs {
		in := &j.call.Inputs[i]
		if len(in.Data) > 0 {
			continue
		}
		d.mu.Lock()
		have := j.fetched[in.Hash]
		d.mu.Unlock()
		if have {
			continue
		}
		slow := time.Now().Add(fetchTime + time.Duration(in.Size/fetchPace)*time.Second)
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
			fctx, cancel := context.WithDeadline(ctx, slow)
			err := d.inputs.Fetch(fctx, in.Hash, in.Size, func(ctx context.Context, offset uint64) (io.ReadCloser, error) {
				body, size, err := d.links.Input(ctx, j.gateway(), j.hash, in.Hash, offset)
				if err == nil && size != in.Size {
					return nil, errors.Join(types.Refuse(compute.DigestMismatch, "compute: input %v has %d bytes at the gateway, %d in the order", in.Hash, size, in.Size),
						body.Close())
				}
				return body, err
			})
			cancel()
			if err == nil {
				break
			}
			reason := types.ReasonOf(err)
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case errors.Is(err, spool.ErrDigest):
				return types.Refuse(compute.DigestMismatch, "input %v: what came has another hash", in.Hash)
			case reason == types.DiskFull:
				return types.Refuse(compute.NoSpace, "%v", err)
			case reason == types.UnknownBlob, reason == compute.InputMissing:
				return types.Refuse(compute.InputMissing, "input %v: %v", in.Hash, err)
			case reason == compute.DigestMismatch:
				return err
			}
			if time.Now().After(slow) {
				return types.Refuse(compute.InputMissing, "input %v did not come in time: %v", in.Hash, err)
			}
			d.log.Debug("compute: fetch an input", "order", j.hash, "input", in.Hash, "err", err)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		d.mu.Lock()
		j.fetched[in.Hash] = true
		d.mu.Unlock()
	}
	return nil
}

func (j *job) gateway() link.Gateway {
	return link.Gateway{Address: j.order.Gateway, Key: j.order.Link}
}

// awaitPay gives the gateway of a job that was cancelled a moment to pay for what it had used: say tells how
// much that is.
func (d *device) awaitPay(j *job) {
	wait := time.After(lastPay)
	for {
		d.mu.Lock()
		owed := less(j.session.used(), j.session.Covered)
		changed := d.changed
		d.mu.Unlock()
		if owed == 0 || j.silent.Load() != 0 {
			return
		}
		select {
		case <-changed:
		case <-wait:
			return
		case <-d.ctx.Done():
			return
		}
	}
}

// end signs how a job ended, and has it in the journal before anybody hears of it.
func (d *device) end(j *job, result *compute.Result, why error) {
	s := j.session
	s.io.Lock()
	defer s.io.Unlock()
	d.mu.Lock()
	paid := less(s.Covered, s.Ended)
	epoch := d.now()
	d.mu.Unlock()
	leaf := compute.Leaf{Session: s.key.id, Index: j.order.Index, Job: j.order.Job, Mode: compute.Cut}
	ended := &compute.Ended{}
	switch {
	case result != nil:
		leaf.Mode, leaf.Result, leaf.Fuel = j.order.Mode, result.Hash(), result.Fuel
		ended.Result = result
		if err := j.out.Sync(); err != nil { // what the result says of the streams has to be there
			d.log.Error("compute: outputs of a job", "order", j.hash, "err", err)
		}
	default:
		if j.out != nil { // files without a result are nobody's
			if err := errors.Join(j.out.Cut(spool.List, 0), j.out.Cut(spool.Files, 0)); err != nil {
				d.log.Warn("compute: files of a job", "order", j.hash, "err", err)
			}
		}
		// Whatever was paid for before stays so, and nothing else is charged.
		leaf.Fuel = min(paid, j.used.Load())
		ended.Message = message(why)
		if ended.Reason = types.ReasonOf(why); ended.Reason == "" {
			ended.Reason = compute.DeviceLost
			d.log.Warn("compute: a job could not be run", "order", j.hash, "err", why)
		}
		if leaf.Fuel > 0 || errors.Is(why, errCancelled) {
			ended.Reason = ""
		}
	}
	ended.Leaf = &compute.SignedLeaf{Epoch: epoch, Leaf: leaf}
	ended.Leaf.Signature = d.host.Sign(compute.DomainLeaf, ended.Leaf.Payload())
	raw := ended.Encode()
	d.mu.Lock()
	next, rec, a := s.tab, j.record, s.account
	before := next.Ended
	next.Ended += leaf.Fuel
	var err error
	if next.Cost, err = next.Cost.Add(types.Mul64(leaf.Fuel, j.order.Price)); err != nil {
		d.log.Error("compute: cost of a session", "session", s.key.id, "err", err)
	}
	if s.newest != nil {
		if units, fits := s.newest.Receipt.Units.Uint64(); fits && units <= next.Ended {
			next.Whole = next.Receipt
		}
	}
	next.Seen = epoch
	rec.Ended, rec.At = raw, epoch
	unpaid := errors.Is(why, errUnpaid)
	if unpaid {
		a.shrink()
	}
	// What ran and will not be paid stays owed: else whoever cancels in time, or begins the next job, has it
	// for nothing.
	if result == nil {
		a.trust.Debt += inTime(less(min(j.used.Load(), j.allowed), leaf.Fuel), s.class)
	}
	if result == nil && leaf.Fuel == 0 && ended.Reason != compute.NoSpace {
		a.free += foul
	}
	line := a.trust
	d.mu.Unlock()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err = d.books.write(func(tx *bbolt.Tx) error {
			st := &stub{Before: before, Order: j.hash, Signed: *ended.Leaf}
			if err := put(tx, leafBucket, s.key.leaf(j.order.Index), st); err != nil {
				return err
			}
			if err := put(tx, jobBucket, j.hash[:], &rec); err != nil {
				return err
			}
			if result == nil {
				if err := put(tx, trustBucket, a.id[:], &line); err != nil {
					return err
				}
			}
			return put(tx, sessionBucket, s.key.bytes(), &next)
		})
		if err == nil {
			break
		}
		d.log.Error("compute: how a job ended can't be kept", "order", j.hash, "err", err)
		select {
		case <-d.ctx.Done():
			return // it runs again
		case <-time.After(wait):
		}
	}
	d.cfg.at("ended")
	d.mu.Lock()
	s.tab, s.live, j.record, j.ended = next, nil, rec, ended
	if j.stands != nil {
		j.stands.Stop()
		j.stands = nil
	}
	d.free(j)
	if j.out != nil {
		j.out.End()
		total := j.out.Total()
		d.outBytes -= j.outBytes - total
		j.outBytes = total
	}
	j.ceased = time.Now()
	d.settle(j)
	a.grant()
	d.wake()
	d.mu.Unlock()
	if unpaid {
		d.provider.remark("unpaid "+a.id.String(), role.Remark{Reason: compute.Unpaid, Text: fmt.Sprintf("account %v did not pay for a job that ran", a.id)})
	}
	d.provider.count(&d.provider.ended, how(ended), 1)
	d.provider.count(&d.provider.units, className(s.class), float64(leaf.Fuel))
	d.log.Debug("compute: a job has ended", "order", j.hash, "job", leaf.Job, "units", leaf.Fuel, "reason", string(ended.Reason), "mode", leaf.Mode)
	close(j.done)
	d.letGo(j)
	d.links.Leave(j.hash)
}

// message is what a person reads of an error.
func message(err error) string {
	if err == nil {
		return ""
	}
	s := strings.ToValidUTF8(err.Error(), "?")
	if len(s) > compute.MaxMessage {
		s = strings.ToValidUTF8(s[:compute.MaxMessage], "")
	}
	return s
}

func (d *device) outDir(order types.Hash) string { return filepath.Join(d.dir, "out", order.String()) }
