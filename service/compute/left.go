package compute

import (
	"cmp"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/cairn-network/cairn/core/types"
)

// MaxLeft bounds the encoded list of the files that a job left, in bytes.
const MaxLeft = MaxFiles * (MaxPath + 64)

// Left is a file that a job left, and where its bytes are in what the device sends: those of all files behind
// each other, in the order of their list, but for those that the job found and left as they were.
type Left struct {
	File
	Found bool   // the job found it, under this name and with these bytes
	At    uint64 // where it begins; nothing where it was found
}

// DecodeLeft reads the list of files that a job left, and checks it. Names may hold what the profile lets
// programs write, which is more than an input's may.
func DecodeLeft(raw []byte) (Files, error) {
	var f Files
	if err := types.DecodeLimit(raw, &f, MaxLeft); err != nil {
		return nil, fmt.Errorf("compute: files that a job left: %w", err)
	}
	if len(f) > MaxFiles {
		return nil, types.Refuse(TooLarge, "compute: %d files that a job left, at most %d", len(f), MaxFiles)
	}
	total := uint64(0)
	for i := range f {
		p := f[i].Path
		if !below(p) || !utf8.ValidString(p) || i > 0 && p <= f[i-1].Path {
			return nil, types.Refuse(types.BadEncoding, "compute: a job left %.80q", p)
		}
		if f[i].Size > MaxInputs-total || f[i].Size == 0 && f[i].Hash != Nothing {
			return nil, types.Refuse(TooLarge, "compute: a job left %.80q of %d bytes, all files together have at most %d", p, f[i].Size, MaxInputs)
		}
		total += f[i].Size
	}
	return f, nil
}

// Find returns where a path is in f, or would be.
func (f Files) Find(path string) (int, bool) {
	return slices.BinarySearchFunc(f, path, func(a File, path string) int { return cmp.Compare(a.Path, path) })
}

// Has reports whether a file is in f, under its name and with its bytes.
func (f Files) Has(file File) bool {
	i, ok := f.Find(file.Path)
	return ok && f[i].Size == file.Size && f[i].Hash == file.Hash
}

// Lay says where the bytes of each file are of a job that found input, and how many there are together.
func (f Files) Lay(input Files) (list []Left, total uint64) {
	for _, file := range f {
		l := Left{File: file, Found: input.Has(file), At: total}
		if l.Found {
			l.At = 0
		} else {
			total += file.Size
		}
		list = append(list, l)
	}
	return list, total
}
