package provider

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

const (
	tick       = 50 * time.Millisecond // how often it is looked whether there is something to say
	sayEvery   = 2 * time.Second       // how often the same is said again
	firstWait  = 50 * time.Millisecond
	longestTry = 10 * time.Second
	outputs    = 3 // that are sent beside each other: both streams, and the files
	refusals   = 4 // of a gateway in a row that does not know the job: then it is over
)

// report joins the gateway of a job, again and again, until that has its end.
func (d *device) report(j *job) {
	wait, refused := firstWait, 0
	for d.ctx.Err() == nil && !d.isKept(j) {
		stream, err := d.links.Join(d.ctx, j.gateway(), j.hash)
		if err == nil {
			began := time.Now()
			var met bool
			if met, err = d.serve(j, stream); met {
				refused = 0
			}
			if d.isKept(j) {
				return
			}
			if met || time.Since(began) > time.Second {
				wait = firstWait
			}
		}
		switch reason := types.ReasonOf(err); {
		case reason == role.PrivateAddress:
			d.provider.remark("private", role.Remark{Reason: reason, Text: "a gateway is at " + j.order.Gateway + ", an address inside a private network",
				Try: "If it is yours, name its network in compute.private_gateways."})
		case reason == compute.NoJob, reason == types.UnknownBlob, reason == types.NotPermitted:
			if refused++; refused >= refusals {
				d.forsake(j)
			}
		}
		d.log.Debug("compute: a job's gateway", "order", j.hash, "gateway", j.order.Gateway, "err", err)
		if since := j.silent.Load(); since != 0 && time.Since(time.Unix(0, since)) > d.cfg.away {
			j.stop(errAway)
		}
		select {
		case <-time.After(wait):
		case <-d.ctx.Done():
		}
		wait = min(2*wait, longestTry)
	}
}

func (d *device) endOf(j *job) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return j.record.Ended
}

// forsake gives up a job that its gateway does not know any more.
func (d *device) forsake(j *job) {
	j.stop(errAway)
	select {
	case <-j.done:
		d.keep(j)
	case <-d.ctx.Done():
	}
}

func (d *device) isKept(j *job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return j.record.Kept
}

// serve speaks with the gateway on a stream until that breaks, or the gateway has the end. It reports whether
// the gateway knew the job.
func (d *device) serve(j *job, stream *link.Stream) (met bool, err error) {
	defer stream.Close()
	first, err := stream.Read()
	if err != nil {
		return false, err
	}
	if first.Kind != link.From {
		return false, types.Refuse(types.BadEncoding, "compute: a stream begins with a frame of kind %d", first.Kind)
	}
	at, err := link.ParseOffsets(first.Data)
	if err != nil {
		return false, err
	}
	j.silent.Store(0)
	defer func() { j.silent.Store(time.Now().UnixNano()) }()
	if j.talk != nil {
		if !j.talk.attach(stream) && !j.over() {
			j.stop(errAway)
		}
		defer j.talk.broken()
	}
	j.once.Do(func() { close(j.joined) })
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, stream.Close)()
	sent := make(chan error, outputs)
	for _, s := range spool.Written {
		go func() { sent <- d.send(ctx, j, stream, s, at[s-1]) }()
	}
	go func() { sent <- d.sendLeft(ctx, j, stream, at[spool.List-1], at[spool.Files-1]) }()
	said := make(chan struct{})
	go func() {
		defer close(said)
		if err := d.say(ctx, j, stream, sent); err != nil {
			stream.Close()
		}
	}()
	err = d.listen(j, stream)
	cancel()
	stream.Close()
	<-said
	return true, err
}

// listen takes in what the gateway says.
func (d *device) listen(j *job, stream *link.Stream) error {
	for {
		f, err := stream.Read()
		if err != nil {
			return err
		}
		switch f.Kind {
		case link.Receipt:
			if err := d.receipt(j, f.Data); err != nil {
				d.log.Warn("compute: a receipt does not count", "order", j.hash, "err", err)
				if types.ReasonOf(err) == "" {
					return err
				}
			}
		case link.Cancel:
			j.stop(errCancelled)
		case link.Open:
			if err := d.connect(j, stream, f); err != nil {
				return err
			}
		case link.Request, link.Stop:
			if j.talk == nil {
				return types.Refuse(types.BadEncoding, "compute: a request for a job of class %d", j.order.Class)
			}
			if err := j.talk.take(f); err != nil {
				return err
			}
		case link.Kept:
			select {
			case <-j.done:
				d.keep(j)
				return nil
			default:
				return types.Refuse(types.BadEncoding, "compute: a gateway says that it has the end of a job that runs")
			}
		}
	}
}

// send sends one of the job's outputs from an offset on, until it ends.
func (d *device) send(ctx context.Context, j *job, stream *link.Stream, which spool.Stream, at uint64) error {
	buf := make([]byte, link.MaxData)
	for {
		n, err := j.out.ReadAt(ctx, which, buf, at)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Write(link.Frame{Kind: link.Output, Stream: uint8(which), Offset: at, Data: buf[:n]}); err != nil {
			return err
		}
		at += uint64(n)
	}
}

// say says how far the job is, and at last how it ended, once all of its output has been sent.
func (d *device) say(ctx context.Context, j *job, stream *link.Stream, sent <-chan error) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	var last link.Frame
	var at time.Time
	state := func() error {
		f := link.Frame{Kind: link.State, Offset: j.used.Load()}
		if d.standing(j) {
			f.Data = []byte(compute.Unpaid)
		}
		now := time.Now()
		if !at.IsZero() && f.Offset == last.Offset && string(f.Data) == string(last.Data) && now.Sub(at) < sayEvery {
			return nil
		}
		last, at = f, now
		return stream.Write(f)
	}
	var hurry chan struct{}
	if j.talk != nil {
		hurry = j.talk.hurry
	}
	for over := 0; ; {
		select {
		case <-hurry:
			if err := state(); err != nil {
				return err
			}
		case err := <-sent:
			if err != nil {
				return err
			}
			if over++; over < outputs {
				continue
			}
			return stream.Write(link.Frame{Kind: link.End, Data: d.endOf(j)})
		case <-t.C:
			if err := state(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// keep notes that the gateway has the end of a job, or is not waited for any longer. What nobody will audit is
// forgotten.
func (d *device) keep(j *job) {
	d.mu.Lock()
	if j.record.Kept || j.keeping { // somebody else did so
		d.mu.Unlock()
		return
	}
	j.keeping = true
	rec := j.record
	rec.Kept = true
	private := j.ended.Result == nil || j.order.Mode == compute.Private
	d.mu.Unlock()
	if private {
		if err := d.forget(j); err != nil {
			d.log.Warn("compute: forget a job", "order", j.hash, "err", err)
			d.mu.Lock()
			j.keeping = false
			d.mu.Unlock()
		}
		return
	}
	if err := d.books.write(func(tx *bbolt.Tx) error { return put(tx, jobBucket, j.hash[:], &rec) }); err != nil {
		d.log.Warn("compute: note that a job is kept", "order", j.hash, "err", err)
	}
	if err := d.dropOutputs(j); err != nil { // auditors compare with the leaf
		d.log.Warn("compute: remove outputs", "order", j.hash, "err", err)
	}
	d.mu.Lock()
	j.record = rec
	d.delist(j)
	d.settle(j)
	d.mu.Unlock()
}

// forget removes a job and what it read and wrote. Its leaf stays.
func (d *device) forget(j *job) error {
	err := d.books.write(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket(jobBucket).Delete(j.hash[:]), tx.Bucket(callBucket).Delete(j.hash[:]))
	})
	if err != nil {
		return err
	}
	if j.out != nil {
		err = j.out.Remove()
	} else {
		err = os.RemoveAll(d.outDir(j.hash))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(j)
	j.record.Kept = true
	d.wake()
	return err
}
