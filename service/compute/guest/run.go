package guest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// patience is for how long a job may pause if nobody says otherwise.
const patience = time.Minute

// Run is a job that runs, or has ended.
type Run struct {
	job    Job
	c      *process
	done   chan struct{}
	result *compute.Result
	files  compute.Files
	err    error

	mu     sync.Mutex
	used   uint64
	allow  uint64
	paused time.Time // zero: it runs
	lapse  *time.Timer
	cut    error // why it was ended from here
}

// Start begins a job. It waits for a place among Config.Jobs, and for nothing else.
func (p *Pool) Start(ctx context.Context, j Job) (*Run, error) {
	if err := j.check(); err != nil {
		return nil, err
	}
	unpin, err := p.pin(j.Module)
	if err != nil {
		return nil, err
	}
	select {
	case p.jobs <- struct{}{}:
	case <-ctx.Done():
		unpin()
		return nil, ctx.Err()
	}
	c, err := p.take(ctx)
	if err != nil {
		<-p.jobs
		unpin()
		return nil, err
	}
	r := &Run{job: j, c: c, done: make(chan struct{}), allow: j.Allow}
	go func() {
		defer close(r.done)
		r.result, r.err = r.follow(p.path(j.Module))
		p.release(c)
		unpin()
		<-p.jobs
	}()
	return r, nil
}

// check says what is wrong with a job's form.
func (j *Job) check() error {
	text := 0
	for _, s := range append(append([]string(nil), j.Args...), j.Env...) {
		if strings.ContainsRune(s, 0) {
			return types.Refuse(types.BadArgument, "guest: an argument or entry of the environment has a zero byte in it")
		}
		text += len(s) + 1
	}
	for _, e := range j.Env {
		if name, _, ok := cut(e); !ok || name == "" {
			return types.Refuse(types.BadArgument, "guest: %.80q of the environment is not NAME=value", e)
		}
	}
	switch {
	case len(j.Args) > compute.MaxArgs || len(j.Env) > compute.MaxArgs || text > maxText:
		return types.Refuse(compute.TooLarge, "guest: arguments and environment of %d bytes, at most %d", text, maxText)
	case j.Fuel > compute.MaxFuel:
		return types.Refuse(compute.TooLarge, "guest: a limit of %d fuel, at most %d", j.Fuel, uint64(compute.MaxFuel))
	case j.Pages > compute.MaxPages:
		return types.Refuse(compute.TooLarge, "guest: %d pages of memory, at most %d", j.Pages, compute.MaxPages)
	case j.Size < 0 || j.Size > maxStdin:
		return types.Refuse(compute.TooLarge, "guest: %d bytes on stdin, at most %d", j.Size, maxStdin)
	}
	m := newMemory(func() {})
	for _, f := range j.Files {
		if _, ok := m.add(f.Path, int64(min(f.Size, MaxBytes+1))); !ok || !utf8Path(f.Path) {
			return types.Refuse(compute.TooLarge, "guest: the input %.80q of %d bytes: a path that cannot be, or more than %d files or %d bytes in all", f.Path, f.Size, maxFiles, MaxBytes)
		}
	}
	return nil
}

// Used is the fuel that is gone, as of some milliseconds ago.
func (r *Run) Used() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// Paused says since when the job pauses; zero if it runs.
func (r *Run) Paused() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paused
}

// Allow sets the fuel that the job may use, in all, before it pauses. One that pauses goes on if that is more
// than it has used.
func (r *Run) Allow(total uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.allow = total
	r.meter()
}

// meter has the job pause or go on, as what it used and what it may says. r.mu is held.
func (r *Run) meter() {
	over := r.allow > 0 && r.used >= r.allow
	switch {
	case r.cut != nil:
	case over && r.paused.IsZero():
		if err := pause(r.c.cmd.Process); err != nil {
			return // it has ended
		}
		r.paused = time.Now()
		wait := r.job.Patience
		if wait == 0 {
			wait = patience
		}
		r.lapse = time.AfterFunc(wait, func() {
			r.end(types.Refuse(compute.Unpaid, "guest: the job used %d fuel, may use %d, and nobody paid for more in %s", r.Used(), r.allowed(), wait), true)
		})
	case !over && !r.paused.IsZero():
		r.paused = time.Time{}
		r.lapse.Stop()
		resume(r.c.cmd.Process)
	}
}

func (r *Run) allowed() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.allow
}

// end ends the job from here; lapsed only if it still pauses.
func (r *Run) end(why error, lapsed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut != nil || lapsed && r.paused.IsZero() {
		return
	}
	r.cut = why
	r.c.kill()
}

// Cancel ends the job at once. Wait returns what it came to by then, with the trap compute.TrapCut.
func (r *Run) Cancel() { r.end(compute.TrapCut, false) }

// Done is closed when the job has ended.
func (r *Run) Done() <-chan struct{} { return r.done }

// Wait waits for the end, and returns the result. A job that was ended from here has a result too, with the
// trap compute.TrapCut; if it was because nobody paid, the error is compute.Unpaid. Any other error says that
// there is no result, and nothing about the job.
func (r *Run) Wait() (*compute.Result, error) {
	<-r.done
	return r.result, r.err
}

// Files waits for the end, and returns the files that the job left, whose root the result has. A job without a
// result of its own left none.
func (r *Run) Files() compute.Files {
	<-r.done
	return r.files
}

// output is one of the streams, as it comes.
type output struct {
	sum  hash.Hash
	to   io.Writer
	size int
}

func (o *output) write(p []byte) error {
	if o.size += len(p); o.size > MaxStream {
		return fmt.Errorf("%w: it wrote more than it may", ErrChild)
	}
	o.sum.Write(p)
	if o.to == nil {
		return nil
	}
	_, err := o.to.Write(p)
	return err
}

// follow gives the child its job, and takes what it says until it ends.
func (r *Run) follow(dir string) (*compute.Result, error) {
	stdout, stderr := &output{sum: sha256.New(), to: r.job.Stdout}, &output{sum: sha256.New(), to: r.job.Stderr}
	res := &compute.Result{}
	files, rep, err := r.talk(dir, stdout, stderr)

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lapse != nil {
		r.lapse.Stop()
	}
	res.Stdout, res.Stderr = types.Hash(stdout.sum.Sum(nil)), types.Hash(stderr.sum.Sum(nil))
	if err != nil {
		if r.cut == nil {
			return nil, err
		}
		res.Trap, res.Fuel, res.Output = compute.TrapCut, r.used, compute.Files(nil).Root()
		if errors.Is(r.cut, compute.Unpaid) {
			return res, r.cut
		}
		return res, nil
	}
	r.files = files
	res.Output = files.Root()
	res.Exit = rep.Exit
	if res.Fuel = r.job.Fuel; rep.Left >= 0 {
		res.Fuel -= min(res.Fuel, uint64(rep.Left))
	}
	switch {
	case rep.Memory:
		res.Trap = compute.TrapMemory
	case rep.Output:
		res.Trap = compute.TrapOutput
	case rep.Trapped && rep.Left < 0:
		res.Trap = compute.TrapFuel
	case rep.Trapped && rep.Refused:
		res.Trap = compute.TrapMemory
	case rep.Trapped:
		res.Trap = compute.TrapGuest
	}
	if res.Trap != "" {
		res.Exit = 0
	}
	r.used = res.Fuel
	return res, nil
}

func (r *Run) talk(dir string, stdout, stderr *output) (files compute.Files, rep report, err error) {
	if err = r.send(dir); err != nil {
		if !errors.Is(err, ErrChild) {
			return nil, rep, err
		}
		if _, b, e := r.c.out.next(); e == nil { // it may have said why it left
			return nil, rep, fmt.Errorf("%w: %s", ErrChild, printable(b))
		}
		return nil, rep, err
	}
	for {
		k, b, err := r.c.out.next()
		if err != nil {
			return nil, rep, r.c.lost(context.Background(), err)
		}
		switch k {
		case kindStdout:
			err = stdout.write(b)
		case kindStderr:
			err = stderr.write(b)
		case kindFuel:
			if len(b) == 8 {
				r.progress(binary.LittleEndian.Uint64(b))
			}
		case kindFile:
			files, err = r.file(files, b)
		case kindResult:
			if err = json.Unmarshal(b, &rep); err == nil {
				return files, rep, nil
			}
		default:
			err = fmt.Errorf("%w: %s", ErrChild, printable(b))
		}
		if err != nil {
			return nil, rep, err
		}
	}
}

func (r *Run) progress(used uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if used > r.used && used <= r.job.Fuel {
		r.used = used
		r.meter()
	}
}

// send gives the child its order, stdin and files.
func (r *Run) send(dir string) error {
	o := order{Task: "run", Dir: dir, Args: r.job.Args, Env: r.job.Env, Stdin: r.job.Size, Fuel: r.job.Fuel, Pages: r.job.Pages}
	for _, f := range r.job.Files {
		o.Files = append(o.Files, leftFile{Path: f.Path, Size: int64(f.Size)})
	}
	if err := r.c.in.json(kindOrder, o); err != nil {
		return err
	}
	if err := r.c.in.data(r.job.Stdin, r.job.Size); err != nil {
		return err
	}
	for _, f := range r.job.Files {
		content, err := f.Content()
		if err != nil {
			return fmt.Errorf("guest: opening the input %q: %w", f.Path, err)
		}
		sum := sha256.New()
		err = r.c.in.data(io.TeeReader(content, sum), int64(f.Size))
		content.Close()
		if err != nil {
			return fmt.Errorf("guest: the input %q: %w", f.Path, err)
		}
		if types.Hash(sum.Sum(nil)) != f.Hash {
			return types.Refuse(compute.DigestMismatch, "guest: the input %q has not the bytes that it is named by", f.Path)
		}
	}
	return nil
}

// file takes a file that the job left.
func (r *Run) file(files compute.Files, b []byte) (compute.Files, error) {
	var l leftFile
	if err := json.Unmarshal(b, &l); err != nil || !utf8Path(l.Path) || l.Size < 0 || l.Size > MaxBytes || len(files) >= maxFiles ||
		len(files) > 0 && files[len(files)-1].Path >= l.Path {
		return nil, fmt.Errorf("%w: it left a file that cannot be: %s", ErrChild, printable(b))
	}
	f := compute.File{Path: l.Path, Size: uint64(l.Size)}
	if l.Same {
		for _, in := range r.job.Files {
			if in.Path == l.Path && in.Size == f.Size {
				f.Hash = in.Hash
				if r.job.Output != nil {
					return append(files, f), r.job.Output(f, nil)
				}
				return append(files, f), nil
			}
		}
		return nil, fmt.Errorf("%w: %q was no input", ErrChild, l.Path)
	}
	sum := sha256.New()
	got := int64(0)
	pr, pw := io.Pipe()
	written := make(chan error, 1)
	go func() {
		var err error
		if r.job.Output != nil {
			err = r.job.Output(f, pr)
		}
		if err == nil {
			_, err = io.Copy(io.Discard, pr)
		}
		pr.CloseWithError(err)
		written <- err
	}()
	err := r.c.out.content(func(p []byte) error {
		if got += int64(len(p)); got > l.Size {
			return fmt.Errorf("%w: %q is longer than %d bytes", ErrChild, l.Path, l.Size)
		}
		sum.Write(p)
		_, err := pw.Write(p)
		return err
	})
	if err == nil && got != l.Size {
		err = fmt.Errorf("%w: %q has %d bytes, not %d", ErrChild, l.Path, got, l.Size)
	}
	pw.CloseWithError(err)
	if e := <-written; err == nil {
		err = e
	}
	f.Hash = types.Hash(sum.Sum(nil))
	return append(files, f), err
}
