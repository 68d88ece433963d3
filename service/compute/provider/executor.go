package provider

import (
	"context"
	"io"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// Executor runs the jobs of one class.
type Executor interface {
	Class() types.Class
	// Profiles are those that it runs, ascending by name: what its ask says.
	Profiles() []compute.Profile
	// Prepare makes ready what a job runs, while the gateway is still being reached. An error that has a reason
	// is the customer's: the job could not be run at all, and is free of charge.
	Prepare(ctx context.Context, t *Task) error
	// Run runs a job to its end. A job that traps has a result like any other. It returns early, with any
	// error, when ctx ends. An error that has a reason says that the job cannot be run at all; any other one is
	// the device's trouble.
	Run(ctx context.Context, t *Task) (*compute.Result, compute.Files, error)
}

// Lack is something that a machine does not have to run a class with.
type Lack struct {
	Name string // "landlock", "runc", …
	Text string // what is missing, and what that means
}

// Task is a job as an executor gets it.
type Task struct {
	Order types.Hash
	Slots uint32
	Job   *compute.Job
	Files compute.Files // that it finds
	// Open opens something that the job names by its hash, and says how long it is. It can be called again.
	Open func(types.Hash) (io.ReadCloser, uint64, error)
	// Stdout and Stderr take what the job writes, from its beginning on, also when it runs again. Their errors
	// are the device's.
	Stdout, Stderr io.Writer
	// Left takes each file that the job left, ascending by path; content is nil of one that it found and did not
	// touch. Its errors are the device's.
	Left  func(f compute.File, content io.Reader) error
	Meter Meter

	talk *talk // of a job of class model; else nil
}

// Meter says how far a job may go, and is told how far it is. The executor keeps the job from going beyond it:
// it waits there.
type Meter interface {
	// Used says how many units the job has used so far. It is called every 50 ms or so while that changes.
	Used(units uint64)
	// Allowed returns how many units the job may have used, and what is closed when it may use more.
	Allowed() (units uint64, more <-chan struct{})
}
