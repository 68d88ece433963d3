package compute

import (
	"fmt"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// KindShow is the kind of request (role.Question) by which an auditor who was drawn asks a device for a leaf
// that the seed draws: a Show, which the device answers with a Shown. What the job is and reads the auditor
// then fetches by its hash (role.Fetch).
const KindShow = "show"

// Show asks for a leaf.
type Show struct {
	_       struct{}    `cbor:",toarray"`
	Epoch   types.Epoch // whose seed draws it. A device that is not there yet, or any more, says device_busy
	Results []byte      // the envelope that committed to it, whole
	Index   uint32      // of the leaf in its tree
}

// Shown is a leaf that was asked for. The job is a blob of hash Leaf.Job: its encoding. The files that it reads
// are another one: their list, by the hash of its encoding. Those of a leaf that is not public are not shown.
type Shown struct {
	_     struct{} `cbor:",toarray"`
	Leaf  Leaf
	Path  merkle.SumProof
	Files types.Hash // of Files.Encode; zero for a leaf that is not public
}

// Encode returns the encoding of s.
func (s *Show) Encode() []byte { return types.Encode(s) }

// DecodeShow reads a question for a leaf.
func DecodeShow(raw []byte) (*Show, error) {
	s := new(Show)
	if err := types.DecodeLimit(raw, s, maxAudit); err != nil {
		return nil, fmt.Errorf("compute: show: %w", err)
	}
	return s, nil
}

// Encode returns the encoding of s.
func (s *Shown) Encode() []byte { return types.Encode(s) }

// DecodeShown reads a leaf as a device shows it.
func DecodeShown(raw []byte) (*Shown, error) {
	s := new(Shown)
	if err := types.DecodeLimit(raw, s, maxAudit); err != nil {
		return nil, fmt.Errorf("compute: shown: %w", err)
	}
	return s, s.Leaf.check()
}

// MaxList bounds an encoded list of files, in bytes: it fits into a Call.
const MaxList = maxCall

// Encode returns the encoding of f, as auditors fetch it.
func (f Files) Encode() []byte {
	if f == nil {
		f = Files{}
	}
	return types.Encode(f)
}

// DecodeFiles reads a list of files and checks its form.
func DecodeFiles(raw []byte) (Files, error) {
	var f Files
	if err := types.DecodeLimit(raw, &f, MaxList); err != nil {
		return nil, fmt.Errorf("compute: files: %w", err)
	}
	return f, f.Check()
}
