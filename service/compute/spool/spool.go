// Package spool keeps on disk what jobs read and write: inputs by their hash, outputs by offset. A gateway and
// a device use it alike.
//
//	Outputs  the streams of one job, and the files that it left as two more. They are written as they come and read at any offset, also while they grow; a
//	         reader at the end waits for more. What was written twice, because a connection was lost in between, counts
//	         once.
//	Inputs   bytes by their SHA-256. What is not whole yet can be gone on with after a restart; what nobody uses makes
//	         room for what somebody brings.
//
// Both are bounded, and survive a crash: what Sync or Add returned for is on disk.
package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/cairn-network/cairn/service/compute"
)

// Stream is one of a job's outputs.
type Stream uint8

const (
	Stdout  Stream = 1
	Stderr  Stream = 2
	List    Stream = 3 // of the files that the job left (compute.DecodeLeft); empty for none
	Files   Stream = 4 // their bytes, behind each other
	streams        = 4
)

var names = map[Stream]string{Stdout: "stdout", Stderr: "stderr", List: "list", Files: "files"}

// Written are the streams that a job writes itself, and Streams all.
var (
	Written = []Stream{Stdout, Stderr}
	Streams = []Stream{Stdout, Stderr, List, Files}
)

func (s Stream) String() string { return names[s] }

// ParseStream reads the name of a stream that a job writes.
func ParseStream(name string) (Stream, bool) {
	for _, s := range Written {
		if names[s] == name {
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
	more  chan struct{}     // closed when there is more, or the end
	files [streams]*os.File // those of List and Files are there once something is in them
	size  [streams]uint64
}

// OpenOutputs opens or makes the streams below dir. What the job writes is at most limit bytes of each, what it
// left as much as its profile allows. Ended says that nothing more comes.
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
		s, how := Stream(i+1), flag
		if s > Stderr {
			how &^= os.O_CREATE
		}
		f, err := os.OpenFile(o.path(s), how, 0o600)
		if s > Stderr && errors.Is(err, os.ErrNotExist) {
			continue
		}
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

func (o *Outputs) path(s Stream) string { return filepath.Join(o.dir, names[s]) }

// most is how long a stream may become.
func (o *Outputs) most(s Stream) uint64 {
	switch s {
	case List:
		return compute.MaxLeft
	case Files:
		return compute.MaxInputs
	}
	return o.limit
}

// Total returns how long all streams are together.
func (o *Outputs) Total() (n uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, size := range o.size {
		n += size
	}
	return n
}

// Left returns how long the list of files and their bytes are together.
func (o *Outputs) Left() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size[List-1] + o.size[Files-1]
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
	room := o.most(s) - min(o.most(s), have)
	full := uint64(len(p)) > room
	if full {
		p = p[:room]
	}
	if o.files[s-1] == nil {
		f, err := os.OpenFile(o.path(s), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		o.files[s-1] = f
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
	o.mu.Lock()
	list := o.files
	o.mu.Unlock()
	for _, f := range list {
		if f != nil {
			errs = append(errs, f.Sync())
		}
	}
	return errors.Join(errs...)
}

// Cut shortens a stream that nobody reads yet. One that is shorter stays as it is.
func (o *Outputs) Cut(s Stream, size uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cut(s, size)
}

func (o *Outputs) cut(s Stream, size uint64) error {
	f := o.files[s-1]
	switch {
	case f != nil && size == 0 && s > Stderr:
		o.files[s-1], o.size[s-1] = nil, 0
		if err := errors.Join(f.Close(), os.Remove(o.path(s))); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	case f != nil && size < o.size[s-1]:
		if err := f.Truncate(int64(size)); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		o.size[s-1] = size
	}
	return nil
}

// Section is a part of a stream, to be read until the outputs are closed.
func (o *Outputs) Section(s Stream, offset, size uint64) io.ReadSeeker {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.files[s-1] == nil {
		return bytes.NewReader(nil)
	}
	return io.NewSectionReader(o.files[s-1], int64(offset), int64(size))
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
	for _, s := range Streams {
		if err := o.cut(s, 0); err != nil {
			return err
		}
	}
	o.ended = false
	return nil
}

// ReadAt reads bytes of a stream from an offset on. Where there are none yet it waits for some: until ctx ends, or
// io.EOF says that the stream has ended there.
func (o *Outputs) ReadAt(ctx context.Context, s Stream, p []byte, offset uint64) (int, error) {
	for {
		o.mu.Lock()
		size, ended, gone, more, f := o.size[s-1], o.ended, o.gone, o.more, o.files[s-1]
		o.mu.Unlock()
		switch {
		case gone:
			return 0, ErrGone
		case offset < size:
			n, err := f.ReadAt(p[:min(uint64(len(p)), size-offset)], int64(offset))
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
