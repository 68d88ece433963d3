// Package spool keeps on disk what jobs read and write: inputs by their hash, outputs by offset. A gateway and
// a device use it alike.
//
//	Outputs  the streams of one job. They are written as they come and read at any offset, also while they grow; a
//	         reader at the end waits for more. What was written twice, because a connection was lost in between, counts
//	         once.
//	Inputs   bytes by their SHA-256. What is not whole yet can be gone on with after a restart; what nobody uses makes
//	         room for what somebody brings.
//
// Both are bounded, and survive a crash: what Sync or Add returned for is on disk.
package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// Stream is one of a job's outputs.
type Stream uint8

const (
	Stdout  Stream = 1
	Stderr  Stream = 2
	streams        = 2
)

var names = map[Stream]string{Stdout: "stdout", Stderr: "stderr"}

func (s Stream) String() string { return names[s] }

// ParseStream reads a stream's name.
func ParseStream(name string) (Stream, bool) {
	for s, n := range names {
		if n == name {
			return s, true
		}
	}
	return 0, false
}

// ErrGap says that bytes are missing before those that were to be written.
var ErrGap = errors.New("spool: bytes before these are missing")

// ErrFull says that a stream would become longer than it may.
var ErrFull = errors.New("spool: the stream is as long as it may become")

// ErrGone says that the outputs were removed while somebody read them.
var ErrGone = errors.New("spool: removed")

// Outputs are the streams of one job.
type Outputs struct {
	dir   string
	limit uint64

	mu    sync.Mutex
	ended bool
	gone  bool
	more  chan struct{} // closed when there is more, or the end
	files [streams]*os.File
	size  [streams]uint64
}

// OpenOutputs opens or makes the streams below dir, each at most limit bytes long. Ended says that nothing more
// comes.
func OpenOutputs(dir string, limit uint64, ended bool) (*Outputs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return open(dir, limit, ended, os.O_RDWR|os.O_CREATE)
}

// ReadOutputs opens streams that have ended, to be read. It makes nothing: it is fs.ErrNotExist if they were removed.
func ReadOutputs(dir string) (*Outputs, error) { return open(dir, 0, true, os.O_RDONLY) }

func open(dir string, limit uint64, ended bool, flag int) (*Outputs, error) {
	o := &Outputs{dir: dir, limit: limit, ended: ended, more: make(chan struct{})}
	for i := range o.files {
		f, err := os.OpenFile(filepath.Join(dir, names[Stream(i+1)]), flag, 0o600)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("spool: %w", err), o.Close())
		}
		o.files[i] = f
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("spool: %w", err), o.Close())
		}
		o.size[i] = uint64(info.Size())
	}
	return o, nil
}

// Size returns how long a stream is, and whether it has ended.
func (o *Outputs) Size(s Stream) (size uint64, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size[s-1], o.ended
}

// Write writes bytes of a stream that begin at an offset. Those that are there already are not looked at. It is
// ErrGap if some before them are missing, and ErrFull, with as many as fit written, beyond the limit.
func (o *Outputs) Write(s Stream, offset uint64, p []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	have := o.size[s-1]
	switch {
	case o.gone:
		return ErrGone
	case offset > have:
		return ErrGap
	case offset+uint64(len(p)) <= have || o.ended:
		return nil
	}
	p = p[have-offset:]
	full := uint64(len(p)) > o.limit-min(o.limit, have)
	if full {
		p = p[:o.limit-min(o.limit, have)]
	}
	n, err := o.files[s-1].WriteAt(p, int64(have))
	o.size[s-1] += uint64(n)
	if n > 0 {
		o.wake()
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if full {
		return ErrFull
	}
	return nil
}

func (o *Outputs) wake() {
	close(o.more)
	o.more = make(chan struct{})
}

// Sync has what was written on disk.
func (o *Outputs) Sync() error {
	var errs []error
	for _, f := range o.files {
		errs = append(errs, f.Sync())
	}
	return errors.Join(errs...)
}

// End says that nothing more comes: readers at the end get io.EOF.
func (o *Outputs) End() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.ended = true
		o.wake()
	}
}

// Restart forgets what was written, for a job that begins anew. Readers that are further than what is written
// again wait until it comes to where they are: a job that gives the same outputs each time goes on for them
// without a break.
func (o *Outputs) Restart() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, f := range o.files {
		if err := f.Truncate(0); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		o.size[i] = 0
	}
	o.ended = false
	return nil
}

// ReadAt reads bytes of a stream from an offset on. Where there are none yet it waits for some: until ctx ends, or
// io.EOF says that the stream has ended there.
func (o *Outputs) ReadAt(ctx context.Context, s Stream, p []byte, offset uint64) (int, error) {
	for {
		o.mu.Lock()
		size, ended, gone, more := o.size[s-1], o.ended, o.gone, o.more
		o.mu.Unlock()
		switch {
		case gone:
			return 0, ErrGone
		case offset < size:
			n, err := o.files[s-1].ReadAt(p[:min(uint64(len(p)), size-offset)], int64(offset))
			if n > 0 || errors.Is(err, io.EOF) {
				err = nil
			}
			if errors.Is(err, os.ErrClosed) {
				return n, ErrGone
			}
			if err != nil {
				return n, fmt.Errorf("spool: %w", err)
			}
			if n > 0 {
				return n, nil
			}
		case ended:
			return 0, io.EOF
		}
		select {
		case <-more:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Close closes the files. Whoever still reads gets ErrGone.
func (o *Outputs) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone {
		return nil
	}
	o.gone = true
	o.wake()
	var errs []error
	for _, f := range o.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Remove closes the streams and removes their files.
func (o *Outputs) Remove() error { return errors.Join(o.Close(), os.RemoveAll(o.dir)) }
