package compute

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

// KindOrder is the kind of request (role.Question) that a Call is: the device answers with an Answer.
// KindCancel is that of the hash of an order whose job is to end, 32 bytes: it is answered with nothing, once
// the job has ended or where there is none.
const (
	KindOrder  = "order"
	KindCancel = "cancel"
)

// Call is what a gateway asks a device with an order: the order, what it orders, and the small part of what
// that needs.
type Call struct {
	_     struct{} `cbor:",toarray"`
	Order SignedOrder
	Job   Job
	Files Files // whose root is Job.Input
	// Inputs are one for each hash that Job and Files name, but for that of nothing, and of an image also one
	// for each that its manifest names; ascending by hash.
	Inputs []Input
}

// Input is something that a job reads, by SHA-256.
type Input struct {
	_    struct{} `cbor:",toarray"`
	Hash types.Hash
	Size uint64
	Data []byte // all of it, if it rides along; else empty, and the device fetches it from the gateway
}

// Bounds of what jobs read.
const (
	MaxModule = 32 << 20  // bytes of a module
	MaxInputs = 256 << 20 // bytes of standard input and files together, and of each layer of an image
	MaxImage  = 1 << 30   // bytes of an image: manifest, configuration and layers as they are stored
	MaxLayers = 128       // of an image
	maxCall   = 288 << 10 // bytes of an encoded Call
)

// Nothing is SHA-256 of nothing.
var Nothing = types.Sum(nil)

// Encode returns the encoding of c.
func (c *Call) Encode() []byte { return types.Encode(c) }

// Input returns the input of a hash, nil if the call has none.
func (c *Call) Input(h types.Hash) *Input {
	for i := range c.Inputs {
		if c.Inputs[i].Hash == h {
			return &c.Inputs[i]
		}
	}
	return nil
}

// DecodeCall reads a call, and checks that order, job, files and inputs belong together and keep the bounds:
// not the order's signature.
func DecodeCall(raw []byte) (*Call, error) {
	c := new(Call)
	if err := types.DecodeLimit(raw, c, maxCall); err != nil {
		return nil, fmt.Errorf("compute: call: %w", err)
	}
	if err := c.Order.Order.check(); err != nil {
		return nil, err
	}
	return c, c.Check()
}

// Check says what is wrong with a call, but for the order's signature.
func (c *Call) Check() error {
	j := &c.Job
	if err := j.Check(); err != nil {
		return err
	}
	if j.Hash() != c.Order.Order.Job || ClassOf(j.Profile) != c.Order.Order.Class {
		return types.Refuse(ClassMismatch, "compute: call: an order of job %s, class %d, with another job", c.Order.Order.Job, c.Order.Order.Class)
	}
	if err := c.Files.Check(); err != nil {
		return err
	}
	if c.Files.Root() != j.Input {
		return types.Refuse(InputMissing, "compute: call: the job's files are not those that its input names")
	}
	for i := range c.Inputs {
		in := &c.Inputs[i]
		switch {
		case i > 0 && bytes.Compare(in.Hash[:], c.Inputs[i-1].Hash[:]) <= 0:
			return types.Refuse(types.BadEncoding, "compute: call: inputs are not in order")
		case in.Size > MaxInputs || in.Hash == j.Code && in.Size > MaxModule:
			return types.Refuse(TooLarge, "compute: call: an input of %d bytes", in.Size)
		case len(in.Data) > 0 && (uint64(len(in.Data)) != in.Size || types.Sum(in.Data) != in.Hash):
			return types.Refuse(DigestMismatch, "compute: call: input %s", in.Hash)
		}
	}
	need := map[types.Hash]bool{}
	if j.Profile == WasmProfile || j.Profile == OCIProfile {
		need[j.Code] = true
	}
	need[j.Stdin] = true
	total := uint64(0)
	for i := range c.Files {
		need[c.Files[i].Hash] = true
		if in := c.Input(c.Files[i].Hash); in != nil && in.Size != c.Files[i].Size {
			return types.Refuse(DigestMismatch, "compute: call: file %.80q of %d bytes, its input has %d", c.Files[i].Path, c.Files[i].Size, in.Size)
		}
		total += c.Files[i].Size
	}
	if in := c.Input(j.Stdin); in != nil {
		total += in.Size
	}
	if total > MaxInputs {
		return types.Refuse(TooLarge, "compute: call: files and standard input of %d bytes, at most %d", total, MaxInputs)
	}
	delete(need, Nothing)
	if more := len(c.Inputs) - len(need); more < 0 || more > 0 && j.Profile != OCIProfile || more > MaxLayers+1 {
		return types.Refuse(InputMissing, "compute: call: %d inputs for a job that reads %d", len(c.Inputs), len(need))
	}
	for h := range need {
		if c.Input(h) == nil {
			return types.Refuse(InputMissing, "compute: call: nothing is said of input %s", h)
		}
	}
	image := uint64(0) // what more there is belongs to the image: whoever runs it looks whether its manifest says so
	for i := range c.Inputs {
		if in := &c.Inputs[i]; in.Hash == j.Code || !need[in.Hash] {
			image += in.Size
		}
	}
	if image > MaxImage {
		return types.Refuse(TooLarge, "compute: call: an image of %d bytes, at most %d", image, MaxImage)
	}
	return nil
}

// Check says what is wrong with a list of files: their order, or a path that leads elsewhere.
func (f Files) Check() error {
	if len(f) > MaxFiles {
		return types.Refuse(TooLarge, "compute: %d files, at most %d", len(f), MaxFiles)
	}
	for i := range f {
		p := f[i].Path
		if !validPath(p) || i > 0 && p <= f[i-1].Path {
			return types.Refuse(types.BadEncoding, "compute: file %.80q", p)
		}
		if f[i].Size > MaxInputs || f[i].Size == 0 && f[i].Hash != Nothing {
			return types.Refuse(TooLarge, "compute: file %.80q of %d bytes", p, f[i].Size)
		}
	}
	return nil
}

// validPath reports whether a path is relative and stays below where it begins, with nothing in it that two
// systems read differently.
func validPath(p string) bool {
	for i := range len(p) {
		if p[i] < ' ' || p[i] == 0x7f || p[i] == '\\' {
			return false
		}
	}
	return below(p)
}

// below reports whether a path is relative and stays below where it begins.
func below(p string) bool {
	if p == "" || len(p) > MaxPath {
		return false
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
