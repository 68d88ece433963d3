package provider

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/spool"
)

const (
	roomWait = time.Second      // how long the files of a job wait for room that is being made
	takeTime = 30 * time.Second // a gateway may take as long for what a job wrote, and a second more for each takePace
	takePace = 1 << 20          // bytes, before it makes room where disk is short
)

// left keeps the files that a job leaves, as its gateway fetches them: their bytes behind each other, and their list.
type left struct {
	d  *device
	j  *job
	at uint64
}

// take is Task.Left.
func (l *left) take(f compute.File, content io.Reader) error {
	if content == nil {
		return nil
	}
	if err := l.d.roomFor(l.j, f.Size); err != nil {
		return err
	}
	sum := sha256.New()
	w := &writer{out: l.j.out, stream: spool.Files, at: l.at}
	if _, err := io.Copy(io.MultiWriter(w, sum), content); err != nil {
		return fmt.Errorf("compute: a file that a job left: %w", err)
	}
	if f.Hash = types.Hash(sum.Sum(nil)); l.j.call.Files.Has(f) { // written anew, and the same
		return l.j.out.Cut(spool.Files, l.at)
	}
	l.at = w.at
	return nil
}

// list keeps the list of the files, once all have been taken.
func (l *left) list(files compute.Files) error {
	if len(files) == 0 {
		return nil
	}
	raw := files.Encode()
	if err := l.d.roomFor(l.j, uint64(len(raw))); err != nil {
		return err
	}
	if _, err := (&writer{out: l.j.out, stream: spool.List}).Write(raw); err != nil {
		return fmt.Errorf("compute: list of files: %w", err)
	}
	return nil
}

// roomFor counts n more bytes that a job has on disk; where there is no room, others make some.
func (d *device) roomFor(j *job, n uint64) error {
	late := time.After(roomWait)
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.outBytes+n > d.cfg.Disk/2 {
		changed := d.changed
		if !d.shed() {
			return types.Refuse(compute.NoSpace, "outputs have %d bytes, %d more are beyond the %d that they may have", d.outBytes, n, d.cfg.Disk/2)
		}
		d.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-late:
			err = types.Refuse(compute.NoSpace, "there was no room in time for %d bytes that the job left", n)
		case <-j.ctx.Done():
			err = context.Cause(j.ctx)
		}
		d.mu.Lock()
		if err != nil {
			return err
		}
	}
	d.outBytes += n
	j.outBytes += n
	return nil
}

// overdue reports whether a gateway has had its time to take what an ended job wrote. d.mu is held.
func (j *job) overdue() bool {
	return j.silent.Load() != 0 || time.Since(j.ceased) > takeTime+time.Duration(j.outBytes/takePace)*time.Second
}

// heaviest is the oldest job that waits for its gateway of the account that has most on disk by such jobs, if
// its gateway is away or has had its time. d.mu is held.
func (d *device) heaviest() (oldest *job) {
	waits := func(j *job) bool { return j.open && !j.keeping && j.outBytes > 0 && j.over() && j.overdue() }
	has := map[*account]uint64{}
	for _, j := range d.jobs {
		if waits(j) {
			has[j.session.account] += j.outBytes
		}
	}
	for _, j := range d.jobs {
		if !waits(j) {
			continue
		}
		mine, most := has[j.session.account], uint64(0)
		if oldest != nil {
			most = has[oldest.session.account]
		}
		if oldest == nil || mine > most || mine == most && j.began.Before(oldest.began) {
			oldest = j
		}
	}
	return oldest
}

// shed lets go of what heaviest says, and reports whether that is anything. d.mu is held.
func (d *device) shed() bool {
	j := d.heaviest()
	if j != nil {
		d.work.Go(func() { d.keep(j) })
	}
	return j != nil
}

// sendLeft sends the files of a job once it has ended: their list, then their bytes. How long that takes is
// time that the account has for nothing, as that of fetching what jobs read is.
func (d *device) sendLeft(ctx context.Context, j *job, stream *link.Stream, list, files uint64) error {
	select {
	case <-j.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if j.out.Left() == 0 {
		return nil
	}
	began := time.Now()
	err := d.send(ctx, j, stream, spool.List, list)
	if err == nil {
		err = d.send(ctx, j, stream, spool.Files, files)
	}
	d.mu.Lock()
	j.session.account.free += time.Since(began)
	d.mu.Unlock()
	return err
}

// dropOutputs removes what a job wrote.
func (d *device) dropOutputs(j *job) error {
	if j.out == nil {
		return nil
	}
	err := j.out.Remove()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outBytes -= j.outBytes
	j.outBytes = 0
	d.wake()
	return err
}
