package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/guest"
)

// Executor runs jobs of class wasm again.
type Executor interface {
	// Run runs a job with so much fuel. Open opens what it names by hash. An error that has one of the reasons
	// with which a module is refused says that the job can't be run by anybody; any other one says nothing
	// about it.
	Run(ctx context.Context, j *compute.Job, files compute.Files, fuel uint64, open func(types.Hash) (io.ReadCloser, int64, error)) (*compute.Result, error)
	// Rest gives back what is kept for the next job, while there is none.
	Rest()
	Close() error
}

// guests is an Executor over package guest. It keeps processes only from the first job to the next Rest.
type guests struct {
	dir string

	mu   sync.Mutex
	pool *guest.Pool
}

// Times that one job may take, by the clock: for its module to be compiled, and to run. Beyond them it is too
// much for this machine.
const (
	prepareTime = 2 * time.Minute
	leastTime   = time.Minute
	leastPace   = 50_000_000 // fuel in a second
)

func (g *guests) open() (*guest.Pool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pool == nil {
		pool, err := guest.Open(guest.Config{Dir: g.dir, Spare: 1, Jobs: 1, Cache: 256 << 20})
		if err != nil {
			return nil, err
		}
		g.pool = pool
	}
	return g.pool, nil
}

func (g *guests) Rest() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pool != nil {
		g.pool.Close()
		g.pool = nil
	}
}

func (g *guests) Close() error {
	g.Rest()
	return nil
}

func (g *guests) Run(ctx context.Context, j *compute.Job, files compute.Files, fuel uint64, open func(types.Hash) (io.ReadCloser, int64, error)) (*compute.Result, error) {
	pool, err := g.open()
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, pool, j.Code, open); err != nil {
		return nil, err
	}
	stdin, size, err := open(j.Stdin)
	if err != nil {
		return nil, err
	}
	defer stdin.Close() // only read
	job := guest.Job{Module: j.Code, Args: j.Args, Env: j.Env, Stdin: stdin, Size: size, Fuel: fuel, Pages: j.Pages}
	for _, f := range files {
		job.Files = append(job.Files, guest.File{File: f, Content: func() (io.ReadCloser, error) {
			r, _, err := open(f.Hash)
			return r, err
		}})
	}
	ctx, cancel := context.WithTimeout(ctx, leastTime+time.Duration(fuel/leastPace)*time.Second)
	defer cancel()
	run, err := pool.Start(ctx, job)
	if err != nil {
		return nil, err
	}
	select {
	case <-run.Done():
	case <-ctx.Done():
		run.Cancel()
		<-run.Done()
		return nil, fmt.Errorf("compute: audit: a job of %d fuel was stopped: %w", fuel, ctx.Err())
	}
	result, err := run.Wait()
	if err == nil && result.Trap == compute.TrapCut {
		err = errors.New("compute: audit: the job was stopped")
	}
	return result, err
}

func prepare(ctx context.Context, pool *guest.Pool, code types.Hash, open func(types.Hash) (io.ReadCloser, int64, error)) error {
	if pool.Prepared(code) {
		return nil
	}
	f, size, err := open(code)
	if err != nil {
		return err
	}
	if size > compute.MaxModule {
		return errors.Join(types.Refuse(compute.TooLarge, "compute: audit: a module of %d bytes", size), f.Close())
	}
	module, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	_, err = pool.Prepare(ctx, module)
	return err
}

// impossible reports whether an Executor's error says that nobody can run the job.
func impossible(err error) bool {
	switch types.ReasonOf(err) {
	case compute.BadModule, compute.ImportDenied, compute.FeatureDenied, compute.TooLarge, types.BadArgument:
		return true
	}
	return false
}

// opener opens what was fetched.
func opener(path func(types.Hash) string) func(types.Hash) (io.ReadCloser, int64, error) {
	return func(h types.Hash) (io.ReadCloser, int64, error) {
		if h == compute.Nothing {
			return io.NopCloser(bytes.NewReader(nil)), 0, nil
		}
		f, err := os.Open(path(h))
		if err != nil {
			return nil, 0, fmt.Errorf("compute: audit: %w", err)
		}
		info, err := f.Stat()
		if err != nil {
			return nil, 0, errors.Join(fmt.Errorf("compute: audit: %w", err), f.Close())
		}
		return f, info.Size(), nil
	}
}
