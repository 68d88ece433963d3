package compute

import (
	"fmt"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// DomainLeaf is the domain in which a device signs a leaf (types.SigningBytes).
const DomainLeaf = "compute/leaf"

// Bounds of a job.
const (
	MaxFuel  = 100_000_000_000 // of one job
	MaxSlots = 86_400_000      // slot·ms of one job of class OCI: a day of one slot
	MaxPages = 1 << 16         // of 64 KiB: all that 32 bits address
	MaxArgs  = 1024            // arguments, and as many entries of the environment
	MaxJob   = 64 << 10        // bytes of an encoded Job
	MaxFiles = 4096            // files of an input or output
	MaxPath  = 1024            // bytes of a file's path
)

// Job says what is to run, all of it by digest. Its hash names it; who runs it again gets the same Result.
type Job struct {
	_       struct{}   `cbor:",toarray"`
	Profile string     // wasm/1, oci/1, model/<id>
	Code    types.Hash // SHA-256 of the module; of an image its manifest's digest
	Args    []string   // the first one is the program's name
	Env     []string   // NAME=value, in the order given
	Stdin   types.Hash // SHA-256 of what it reads, also of nothing
	Input   types.Hash // Files.Root of the files that it finds
	Limit   uint64     // units of its class that it may use
	Pages   uint32     // of memory, 64 KiB each
}

// Encode returns the encoding of j.
func (j *Job) Encode() []byte { return types.Encode(j) }

// Hash names the job.
func (j *Job) Hash() types.Hash { return types.Sum(j.Encode()) }

// Check says what is wrong with a job's form.
func (j *Job) Check() error {
	class := ClassOf(j.Profile)
	switch {
	case class == 0 || len(j.Profile) > MaxName:
		return types.Refuse(FeatureDenied, "compute: job: profile %.100q", j.Profile)
	case len(j.Args) > MaxArgs || len(j.Env) > MaxArgs:
		return types.Refuse(TooLarge, "compute: job: %d arguments and %d entries of the environment, at most %d each", len(j.Args), len(j.Env), MaxArgs)
	case class == Wasm && j.Limit > MaxFuel:
		return types.Refuse(TooLarge, "compute: job: a limit of %d fuel, at most %d", j.Limit, uint64(MaxFuel))
	case class == OCI && (j.Limit == 0 || j.Limit > MaxSlots):
		return types.Refuse(TooLarge, "compute: job: a limit of %d slot·ms, want 1 to %d", j.Limit, MaxSlots)
	case j.Pages > MaxPages:
		return types.Refuse(TooLarge, "compute: job: %d pages of memory, at most %d", j.Pages, MaxPages)
	}
	return nil
}

// DecodeJob reads a job and checks its form.
func DecodeJob(raw []byte) (*Job, error) {
	j := new(Job)
	if err := types.DecodeLimit(raw, j, MaxJob); err != nil {
		return nil, fmt.Errorf("compute: job: %w", err)
	}
	return j, j.Check()
}

// File is one file of a job's input or output. Its path is relative, with slashes, without empty parts, "." or "..".
type File struct {
	_    struct{} `cbor:",toarray"`
	Path string
	Size uint64
	Hash types.Hash // SHA-256 of its bytes
}

// Files are the files of an input or output, ascending by path.
type Files []File

// Root returns what a Job or Result names the files by: the root of the plain tree over SHA-256 of each File's
// encoding. That of no files is SHA-256 of nothing.
func (f Files) Root() types.Hash {
	leaves := make([]types.Hash, len(f))
	for i := range f {
		leaves[i] = types.Sum(types.Encode(&f[i]))
	}
	return merkle.Root(leaves)
}

// Result is how a job ended.
type Result struct {
	_      struct{}     `cbor:",toarray"`
	Exit   uint32       // the program's exit code
	Trap   types.Reason // why it was stopped, "" if it was not
	Stdout types.Hash   // SHA-256 of what it wrote, also of nothing
	Stderr types.Hash
	Output types.Hash // Files.Root of the files that it left
	Fuel   uint64     // units of its class that it used
}

// maxResult bounds an encoded Result, in bytes.
const maxResult = 512

// Encode returns the encoding of r.
func (r *Result) Encode() []byte { return types.Encode(r) }

// Hash is what a Leaf holds of the result.
func (r *Result) Hash() types.Hash { return types.Sum(r.Encode()) }

// DecodeResult reads a result.
func DecodeResult(raw []byte) (*Result, error) {
	r := new(Result)
	if err := types.DecodeLimit(raw, r, maxResult); err != nil {
		return nil, fmt.Errorf("compute: result: %w", err)
	}
	switch r.Trap {
	case "", TrapFuel, TrapGuest, TrapMemory, TrapOutput, TrapCut, TrapTime, TrapProcesses, TrapDisk:
		return r, nil
	}
	return nil, types.Refuse(types.BadEncoding, "compute: result: trap %.50q", r.Trap)
}

// Mode says who may see a job.
type Mode uint8

// Modes.
const (
	Public  Mode = 1 // drawn verifiers may run it again
	Private Mode = 2 // nobody but customer and device sees it; it earns no reputation
	Cut     Mode = 3 // of a leaf: the customer cancelled the job; its fuel is what had been paid by then
)

// Leaf is what a device signs of a job that has ended, and commits to in Results.
type Leaf struct {
	_       struct{} `cbor:",toarray"`
	Session types.SessionID
	Index   uint64 // of the job in its session, from 0, without a gap
	Job     types.Hash
	Result  types.Hash // Result.Hash; zero where the mode is Cut
	Fuel    uint64     // units that the job costs
	Mode    Mode
}

// Node returns the leaf's node in a Tree.
func (l *Leaf) Node() merkle.Node { return merkle.SumLeaf(l.Fuel, types.Sum(types.Encode(l))) }

// check says what is wrong with a leaf's form.
func (l *Leaf) check() error {
	if l.Mode < Public || l.Mode > Cut || (l.Mode == Cut) != l.Result.IsZero() {
		return types.Refuse(types.BadEncoding, "compute: leaf of mode %d with result %s", l.Mode, l.Result)
	}
	return nil
}

// SignedLeaf is a leaf as the device replies with it. The epoch says when, so that an old one can be told.
type SignedLeaf struct {
	_         struct{} `cbor:",toarray"`
	Epoch     types.Epoch
	Leaf      Leaf
	Signature types.Signature
}

// leafStatement is what is signed of a SignedLeaf.
type leafStatement struct {
	_     struct{} `cbor:",toarray"`
	Epoch types.Epoch
	Leaf  Leaf
}

// Payload is what the device signs, in DomainLeaf.
func (s *SignedLeaf) Payload() []byte {
	return types.Encode(&leafStatement{Epoch: s.Epoch, Leaf: s.Leaf})
}

// Verify reports whether device signed.
func (s *SignedLeaf) Verify(chain string, device types.Key) bool {
	return device.Verify(DomainLeaf, chain, s.Payload(), s.Signature)
}

// Encode returns the encoding of s.
func (s *SignedLeaf) Encode() []byte { return types.Encode(s) }

// maxLeaf bounds an encoded SignedLeaf, in bytes.
const maxLeaf = 256

// DecodeLeaf reads a signed leaf. It checks form, not the signature.
func DecodeLeaf(raw []byte) (*SignedLeaf, error) {
	s := new(SignedLeaf)
	if err := types.DecodeLimit(raw, s, maxLeaf); err != nil {
		return nil, fmt.Errorf("compute: leaf: %w", err)
	}
	return s, s.Leaf.check()
}
