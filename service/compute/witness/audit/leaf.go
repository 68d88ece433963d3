package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// errMine marks what says nothing about the device.
var errMine = errors.New("the auditor's own trouble")

// mine marks an error as the auditor's own trouble.
func mine(err error) error { return fmt.Errorf("%w: %w", errMine, err) }

// trouble reports whether an error is the auditor's own trouble: of its bus, its disk, its sandbox, or a job
// that is too much for it.
func trouble(err error) bool {
	switch types.ReasonOf(err) {
	case types.BusUnavailable, types.DiskFull, types.HomeUnwritable:
		return true
	case "":
		return !errors.Is(err, context.DeadlineExceeded) // who asks a device waits for so long, and no longer
	}
	return errors.Is(err, errMine)
}

// passing reports whether the auditor's own trouble may be over in a while.
func passing(err error) bool { return !errors.Is(err, errMine) }

// patient reports whether a device that answered so, or not at all, may give what it holds a moment later. A
// device that says that it does not have what it committed to, and one that gives something else, will not.
func patient(err error) bool {
	switch types.ReasonOf(err) {
	case types.UnknownBlob, types.BadAnswer, types.Oversize, compute.LeafNotDrawn:
		return false
	}
	return true
}

// sandboxTries is how often a job is begun whose sandbox dies: that says nothing about the job, and may have
// been the machine.
const sandboxTries = 3

// Times for what a device is asked.
const (
	askTime   = 5 * time.Second
	fetchTime = 30 * time.Second // and a second more for each fetchPace
	fetchPace = 256 << 10        // bytes
)

// bad is an answer that is none.
func bad(format string, args ...any) error {
	return types.Refuse(types.BadAnswer, "compute: audit: "+format, args...)
}

// look asks the device for a leaf and what it takes to run its job, and runs it. It returns what is to be
// reported: nil for a leaf that is not public. With an error, it is what is to be reported if the device
// withholds something.
func (r *round) look(ctx context.Context, n *role.Notice, l *leaf) (*compute.Audit, error) {
	out := &compute.Audit{Device: l.target.device.Key, Results: l.results.envelope.Raw, Place: l.place(), Index: l.index}
	shown, err := r.show(ctx, n, l)
	if err != nil {
		return out, err
	}
	r.remember(ctx, n, l, shown)
	if shown.Leaf.Mode != compute.Public {
		return nil, nil
	}
	out.Leaf, out.Path = &shown.Leaf, &shown.Path
	if err := r.room(); err != nil {
		return out, mine(err)
	}
	job, err := r.job(ctx, l, shown)
	if err != nil {
		return out, err
	}
	if job == nil {
		return out, nil // there can be no such job, and so no result of it
	}
	files, err := r.files(ctx, l, job, shown)
	if err != nil {
		return out, err
	}
	if fits, err := r.fetchAll(ctx, l, job, files); err != nil || !fits {
		return out, err
	}
	// One more than the leaf says is enough to see that it says too little, and the auditor does not work for
	// more than was paid for.
	fuel := min(job.Limit, shown.Leaf.Fuel+1)
	switch {
	case uint64(job.Pages)<<16 > r.cfg.Memory:
		return out, mine(fmt.Errorf("compute: audit: a job with %d pages of memory", job.Pages))
	case fuel > r.fuel:
		return out, mine(fmt.Errorf("compute: audit: a job of %d fuel, %d are left for this epoch", fuel, r.fuel))
	}
	r.fuel -= fuel
	r.cfg.at("running")
	result, err := r.exec.Run(ctx, job, files, fuel, opener(r.path))
	switch {
	case err != nil && impossible(err):
		return out, nil
	case err != nil && !errors.Is(err, context.DeadlineExceeded) && l.failed+1 < sandboxTries:
		l.failed++
		r.fuel += fuel
		return out, fmt.Errorf("compute: audit: %v", err) // its reason is no answer of the device's
	case err != nil:
		return out, mine(err)
	}
	out.Result, out.Fuel = result.Hash(), result.Fuel
	return out, nil
}

// show has the device show a leaf.
func (r *round) show(ctx context.Context, n *role.Notice, l *leaf) (*compute.Shown, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	q := &compute.Show{Epoch: n.Epoch, Results: l.results.envelope.Raw, Index: l.index}
	raw, err := r.host.Ask(ctx, role.Question{Device: l.target.device.Key, Kind: compute.KindShow, Body: q.Encode()})
	if err != nil {
		return nil, err
	}
	s, err := compute.DecodeShown(raw)
	if err != nil {
		return nil, bad("%v", err)
	}
	if _, err := l.results.Verify(&s.Leaf, &s.Path); err != nil || s.Path.Index != uint64(l.index) {
		return nil, bad("a leaf that was not committed to: %v", err)
	}
	return s, nil
}

// blob fetches what the device holds by its hash.
func (r *round) blob(ctx context.Context, l *leaf, h types.Hash, most int64) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTime+time.Duration(most/fetchPace)*time.Second)
	defer cancel()
	_, err := r.host.Fetch(ctx, role.Fetch{Device: l.target.device.Key, Hash: h, Most: most, Path: r.path(h)})
	return err
}

// small fetches something and reads it.
func (r *round) small(ctx context.Context, l *leaf, h types.Hash, most int64) ([]byte, error) {
	if err := r.blob(ctx, l, h, most); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(r.path(h))
	if err != nil {
		return nil, mine(err)
	}
	return b, nil
}

// job fetches the job of a leaf; nil for one that cannot be, or that no device commits to.
func (r *round) job(ctx context.Context, l *leaf, s *compute.Shown) (*compute.Job, error) {
	raw, err := r.small(ctx, l, s.Leaf.Job, compute.MaxJob)
	if err != nil {
		return nil, err
	}
	j, err := compute.DecodeJob(raw)
	if err != nil || j.Profile != compute.WasmProfile {
		return nil, nil
	}
	return j, nil
}

// files fetches the list of a job's files.
func (r *round) files(ctx context.Context, l *leaf, j *compute.Job, s *compute.Shown) (compute.Files, error) {
	if j.Input == (compute.Files{}).Root() {
		return compute.Files{}, nil
	}
	raw, err := r.small(ctx, l, s.Files, compute.MaxList)
	if err != nil {
		return nil, err
	}
	f, err := compute.DecodeFiles(raw)
	if err != nil || f.Root() != j.Input {
		return nil, bad("a list of other files than the job reads: %v", err)
	}
	return f, nil
}

// fetchAll fetches what a job reads. It reports whether that is within the bounds of a job: if not, there can
// be no result of it.
func (r *round) fetchAll(ctx context.Context, l *leaf, j *compute.Job, files compute.Files) (fits bool, err error) {
	most := map[types.Hash]int64{j.Code: compute.MaxModule}
	total := uint64(0)
	for i := range files {
		if total += files[i].Size; total > compute.MaxInputs {
			return false, nil
		}
		most[files[i].Hash] = max(most[files[i].Hash], int64(files[i].Size))
	}
	most[j.Stdin] = max(most[j.Stdin], compute.MaxInputs-int64(total))
	delete(most, compute.Nothing)
	for h, n := range most {
		if err := r.blob(ctx, l, h, n); err != nil {
			return true, err
		}
	}
	return true, nil
}

// remember keeps a leaf that was shown, and calls it. Where it contradicts one that was shown before, both are handed in.
func (r *round) remember(ctx context.Context, n *role.Notice, l *leaf, s *compute.Shown) {
	claim := compute.Claim{Committed: &compute.Committed{Results: l.results.envelope.Raw, Leaf: s.Leaf, Path: s.Path}}
	before, err := r.claims.add(n.Epoch, l.target.device.Key, &claim)
	if err != nil {
		r.log.Warn("what a device committed to cannot be remembered", "error", err)
	}
	r.asked.add(l.target, claim.Committed)
	if before == nil {
		return
	}
	r.accuse(ctx, l.target, &compute.Fault{Device: l.target.device.Key, Conflict: &compute.Conflict{A: *before, B: claim}})
}
