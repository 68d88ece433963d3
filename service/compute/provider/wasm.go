package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/guest"
	"github.com/cairn-network/cairn/service/role"
)

// wasm runs jobs of profile wasm/1 (package guest).
type wasm struct {
	pool *guest.Pool
}

const (
	meterEvery = 25 * time.Millisecond // how often it is looked how far a job is
	probeTime  = 20 * time.Second
)

// OpenWasm starts what runs WebAssembly, so many jobs at a time, or says what the machine lacks to hold them:
// then there is no Executor. What is fenced in twice may lack one of the fences.
func OpenWasm(dir string, jobs int) (Executor, []Lack, error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	lacks, err := probe(ctx)
	if err != nil || len(lacks) > 0 {
		return nil, lacks, err
	}
	// One more than run at once: a check may run beside all, and a job that follows another one finds a child
	// that has started.
	pool, err := guest.Open(guest.Config{Dir: dir, Spare: min(jobs, 4) + 1, Jobs: 2*jobs + 1}) // chains of checks run beside jobs
	if err != nil {
		return nil, nil, err
	}
	return &wasm{pool}, nil, nil
}

// probe returns what the machine lacks to hold guests.
func probe(ctx context.Context) (lacks []Lack, err error) {
	list, err := guest.Probe(ctx)
	if err != nil {
		return nil, fmt.Errorf("compute: try the sandbox: %w", err)
	}
	for _, l := range list {
		if l.Name != "landlock_net" { // seccomp keeps guests off the network, too
			lacks = append(lacks, Lack{Name: l.Name, Text: l.Text})
		}
	}
	return lacks, nil
}

func (x *wasm) Class() types.Class          { return compute.Wasm }
func (x *wasm) Profiles() []compute.Profile { return []compute.Profile{{Name: compute.WasmProfile}} }

// Figures are those of the pool.
func (x *wasm) Figures() []role.Figure {
	s := x.pool.Stats()
	return []role.Figure{
		{Name: "wasm_children", Help: "Processes for guests: those that wait for a job, and those that have one.", Label: "state",
			Each: map[string]float64{"idle": float64(s.Idle), "busy": float64(s.Children - s.Idle)}},
		{Name: "wasm_modules", Help: "Compiled modules that are kept.", Value: float64(s.Modules)},
		{Name: "wasm_modules_bytes", Help: "Their size on disk.", Value: float64(s.Bytes)},
		{Name: "wasm_modules_made_total", Help: "Modules that were compiled since the start.", Grows: true, Value: float64(s.Made)},
	}
}

// Close ends what runs.
func (x *wasm) Close() error {
	x.pool.Close()
	return nil
}

func (x *wasm) Prepare(ctx context.Context, t *Task) error {
	if x.pool.Prepared(t.Job.Code) {
		return nil
	}
	f, size, err := t.Open(t.Job.Code)
	if err != nil {
		return err
	}
	if size > compute.MaxModule {
		return errors.Join(types.Refuse(compute.TooLarge, "compute: a module of %d bytes", size), f.Close())
	}
	code, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = x.pool.Prepare(ctx, code)
	return err
}

func (x *wasm) Run(ctx context.Context, t *Task) (*compute.Result, compute.Files, error) {
	allowed, more := t.Meter.Allowed()
	for allowed == 0 { // to a guest, that is no bound
		select {
		case <-more:
			allowed, more = t.Meter.Allowed()
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	stdin, size, err := t.Open(t.Job.Stdin)
	if err != nil {
		return nil, nil, err
	}
	defer stdin.Close() // only read
	job := guest.Job{
		Module: t.Job.Code, Args: t.Job.Args, Env: t.Job.Env, Stdin: stdin, Size: int64(size), Fuel: t.Job.Limit, Pages: t.Job.Pages,
		Stdout: t.Stdout, Stderr: t.Stderr, Output: t.Left, Allow: allowed, Patience: 10 * time.Minute, // who pays has less (look)
	}
	for _, f := range t.Files {
		job.Files = append(job.Files, guest.File{File: f, Content: func() (io.ReadCloser, error) {
			r, _, err := t.Open(f.Hash)
			return r, err
		}})
	}
	run, err := x.pool.Start(ctx, job)
	if err != nil {
		return nil, nil, err
	}
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-run.Done():
			over = true
		case <-more:
			allowed, more = t.Meter.Allowed()
			run.Allow(allowed)
		case <-tick.C:
			t.Meter.Used(run.Used())
		case <-ctx.Done():
			run.Cancel()
			<-run.Done()
			t.Meter.Used(run.Used())
			return nil, nil, ctx.Err()
		}
	}
	result, err := run.Wait()
	if err != nil {
		return nil, nil, err
	}
	if result.Trap == compute.TrapCut {
		return nil, nil, context.Cause(ctx)
	}
	t.Meter.Used(result.Fuel)
	return result, run.Files(), nil
}
