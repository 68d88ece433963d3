// Package guest runs jobs of profile wasm/1: what a device does for pay, and what a verifier does again to check it.
//
// A job runs in a process of its own, in which nothing else runs and nothing is to be found: this program
// started again with an empty environment, without network, files or keys, with bounds on its memory and time,
// and closed by Landlock and seccomp before the module is entered. A Pool keeps some of them started, so that a
// job need not wait for one.
//
//	pool, err := guest.Open(guest.Config{Dir: dir, Spare: 2})
//	module, err := pool.Prepare(ctx, bytes)         // rewritten and compiled by a child that runs no guest; kept on disk
//	run, err := pool.Start(ctx, guest.Job{Module: module, Args: …, Fuel: …})
//	result, err := run.Wait()                       // exit, trap, fuel, digests: what any other run comes to
//
// While a job runs, its streams come out as they are written, Run.Used says how much fuel is gone, and
// Run.Allow how far it may go on before it pauses. Pool and Run can be used from many goroutines.
//
// What the machine lacks to hold guests as described, Probe says. Child processes die with the process that
// started them.
package guest

import (
	"io"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// MaxStream is what a job may write to each of its streams, in bytes.
const MaxStream = 16 << 20

// maxStdin bounds what a job reads, in bytes, as maxText does its arguments and environment together.
const (
	maxStdin = MaxBytes
	maxText  = 64 << 10
)

// Config of a Pool.
type Config struct {
	Dir   string // where compiled modules are kept; nobody else may write there
	Spare int    // processes that are kept started; at least 1
	Jobs  int    // jobs that run at a time; more wait. 0: one for each processor
	Cache int64  // bytes of compiled modules that are kept; 0: 2 GiB
}

// File is one that a job finds. Content gives its bytes, once for each run.
type File struct {
	compute.File
	Content func() (io.ReadCloser, error)
}

// Job is what to run. What it names by digest in a compute.Job is here by content.
type Job struct {
	Module types.Hash // that Prepare returned
	Args   []string
	Env    []string // NAME=value
	Stdin  io.Reader
	Size   int64 // bytes of Stdin; it must have as many
	Files  []File
	Fuel   uint64
	Pages  uint32 // of memory

	// Stdout and Stderr get what the job writes, as it comes. An error of theirs ends the job.
	Stdout, Stderr io.Writer
	// Output gets each file that the job left, ascending by path. Without it they are hashed and forgotten. A
	// file that is unchanged is not sent back: content is nil then.
	Output func(f compute.File, content io.Reader) error

	// Allow is the fuel that the job may use before it pauses, until Run.Allow says otherwise; 0 is no bound.
	// Patience is for how long a pause may last before the job ends as compute.Unpaid; 0 is a minute.
	Allow    uint64
	Patience time.Duration
}

// Lack is something that a machine does not have to hold guests with.
type Lack struct {
	Name string // landlock, seccomp, …
	Text string // what is missing, and what that means
}
