package provider

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/oci"
)

// SlotMemory is how much memory a slot of class OCI has.
const SlotMemory = 2 << 30

// keeper is an Executor that keeps something of a job beyond Run, until the journal has how it ended.
type keeper interface {
	// Release forgets a job.
	Release(order types.Hash) error
	// Sweep forgets all jobs but those that live, after a restart.
	Sweep(live func(order types.Hash) bool) error
}

// containers runs jobs of profile oci/1 (package oci).
type containers struct {
	engine *oci.Engine
	egress []string
}

// outward is an Executor whose jobs may reach something: what its ask says.
type outward interface{ Egress() []string }

// Egress implements outward.
func (x *containers) Egress() []string { return x.egress }

// OpenOCI returns what runs containers, with its files below dir, of which unpacked images take at most so many
// bytes: or says what the machine lacks. They may reach what egress says.
func OpenOCI(dir string, images uint64, egress ...compute.Reach) (Executor, []Lack, error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	engine, lacks, err := oci.Open(ctx, dir, images, egress...)
	if err != nil || engine == nil {
		return nil, lackList(lacks), err
	}
	return &containers{engine, compute.Egress(egress)}, nil, nil
}

func lackList(list []oci.Lack) (lacks []Lack) {
	for _, l := range list {
		lacks = append(lacks, Lack{Name: l.Name, Text: l.Text})
	}
	return lacks
}

// probeOCI returns what the machine lacks to run containers.
func probeOCI(ctx context.Context) ([]Lack, error) {
	dir, err := os.MkdirTemp("", "cairn-oci")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	engine, lacks, err := oci.Open(ctx, dir, 1<<20)
	if err != nil || engine == nil {
		return lackList(lacks), err
	}
	return nil, engine.Forget()
}

func (x *containers) Class() types.Class { return compute.OCI }
func (x *containers) Profiles() []compute.Profile {
	return []compute.Profile{{Name: compute.OCIProfile}}
}

// Close lets go of what runs: it goes on for a while, for whoever opens this again.
func (x *containers) Close() error { return x.engine.Close() }

// Release implements keeper.
func (x *containers) Release(order types.Hash) error { return x.engine.Release(order) }

// Sweep implements keeper.
func (x *containers) Sweep(live func(types.Hash) bool) error { return x.engine.Sweep(live) }

// Dial implements ported.
func (x *containers) Dial(ctx context.Context, order types.Hash, port uint16) (net.Conn, error) {
	return x.engine.Dial(ctx, order, port)
}

func (x *containers) Prepare(ctx context.Context, t *Task) error {
	return x.engine.Prepare(ctx, t.Job.Code, t.Open)
}

func (x *containers) Run(ctx context.Context, t *Task) (*compute.Result, compute.Files, error) {
	allowed, more := t.Meter.Allowed()
	for allowed == 0 {
		select {
		case <-more:
			allowed, more = t.Meter.Allowed()
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	job := &oci.Job{
		Order: t.Order, Image: t.Job.Code, Env: t.Job.Env, Stdin: t.Job.Stdin, Files: t.Files, Memory: uint64(t.Job.Pages) << 16, Slots: t.Slots, Limit: t.Job.Limit, Open: t.Open,
	}
	if len(t.Job.Args) > 1 { // the first one is the job's name
		job.Args = t.Job.Args[1:]
	}
	stdout, stderr := sha256.New(), sha256.New()
	end, err := x.engine.Run(ctx, job, io.MultiWriter(stdout, t.Stdout), io.MultiWriter(stderr, t.Stderr), t.Meter)
	if err != nil {
		if types.ReasonOf(err) != "" || ctx.Err() == nil || types.ReasonOf(context.Cause(ctx)) != "" {
			err = errors.Join(err, x.engine.Release(t.Order)) // nobody goes on with it
		}
		return nil, nil, err
	}
	t.Meter.Used(end.Used)
	return &compute.Result{
		Exit: end.Exit, Trap: end.Trap, Stdout: types.Hash(stdout.Sum(nil)), Stderr: types.Hash(stderr.Sum(nil)), Output: compute.Files{}.Root(), Fuel: end.Used,
	}, compute.Files{}, nil
}

// letGo has the executor forget a job whose end the journal has.
func (d *device) letGo(j *job) {
	if k, ok := d.executors[j.order.Class].(keeper); ok {
		if err := k.Release(j.hash); err != nil {
			d.log.Warn("compute: forget a job", "order", j.hash, "err", err)
		}
	}
}

// sweepJobs has executors forget what a crash left of jobs that have ended.
func (d *device) sweepJobs() (err error) {
	for _, e := range d.executors {
		if k, ok := e.(keeper); ok {
			err = errors.Join(err, k.Sweep(func(order types.Hash) bool { return d.jobs[order] != nil && len(d.jobs[order].record.Ended) == 0 }))
		}
	}
	return err
}
