package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"lukechampine.com/blake3/bao"

	"github.com/cairn-network/cairn/core/types"
)

// A slice is a run of a shard's bytes with what proves them: the Bao slice format (BLAKE3 verified streaming,
// by the hash's authors) with groups of 16 chunks. It begins with the shard's length (8 bytes, little endian);
// then come, in the order of a walk from the root, the pairs of chaining values above and the groups under the
// range.
const (
	sliceGroup = 4
	groupSize  = ChunkSize << sliceGroup
)

// ErrSlice: the slice is not the one of that range of that shard.
var ErrSlice = errors.New("slice does not reach the shard id")

// MaxSlice bounds the length in bytes of a slice for length bytes of a shard of size bytes: the groups that the
// range touches, and the parents over them.
func MaxSlice(size, length int) int {
	groups := (length+groupSize-1)/groupSize + 1
	return 8 + groups*groupSize + 64*(groups+2*bits.Len(uint(size/groupSize+1)))
}

// ExtractSlice returns the slice for length bytes from offset on. It hashes the whole shard once.
func ExtractSlice(shard []byte, offset, length int) ([]byte, error) {
	if offset < 0 || length <= 0 || offset > len(shard) || length > len(shard)-offset {
		return nil, fmt.Errorf("storage: slice %d+%d of a shard of %d bytes: out of range", offset, length, len(shard))
	}
	tree, _ := bao.EncodeBuf(shard, sliceGroup, true)
	from := offset / groupSize * groupSize
	to := min(len(shard), (offset+length+groupSize-1)/groupSize*groupSize)
	var out bytes.Buffer
	out.Grow(to - from + 1024)
	if err := bao.ExtractSlice(&out, bytes.NewReader(shard[from:to]), bytes.NewReader(tree), sliceGroup, uint64(offset), uint64(length)); err != nil {
		return nil, fmt.Errorf("storage: slice %d+%d: %w", offset, length, err)
	}
	return out.Bytes(), nil
}

// VerifySlice returns the length bytes from offset on of the shard of that id and size, if slice proves them.
func VerifySlice(id types.Hash, size, offset, length int, slice []byte) ([]byte, error) {
	if offset < 0 || length <= 0 || offset > size || length > size-offset {
		return nil, fmt.Errorf("storage: slice %d+%d of a shard of %d bytes: out of range", offset, length, size)
	}
	if len(slice) < 8 || binary.LittleEndian.Uint64(slice) != uint64(size) {
		return nil, fmt.Errorf("storage: slice of a shard of another length: %w", ErrSlice)
	}
	in := bytes.NewReader(slice)
	var out bytes.Buffer
	out.Grow(length)
	ok, err := bao.DecodeSlice(&out, in, sliceGroup, uint64(offset), uint64(length), id)
	if !ok || err != nil || in.Len() != 0 || out.Len() != length {
		return nil, fmt.Errorf("storage: slice %d+%d: %w", offset, length, ErrSlice)
	}
	return out.Bytes(), nil
}
