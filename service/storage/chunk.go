package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"lukechampine.com/blake3/guts"

	"github.com/cairn-network/cairn/core/types"
)

// ChunkSize is the length of a BLAKE3 chunk in bytes, the unit in which a challenge asks for stored data. Only
// the last chunk of a shard may be shorter.
const ChunkSize = guts.ChunkSize

// tile is what guts compresses in one call: 16 chunks, a complete subtree.
const tile = guts.MaxSIMD * ChunkSize

// ErrChunk is wrapped by everything VerifyChunk refuses: the chunk or its path is not that of the shard.
var ErrChunk = errors.New("chunk does not reach the shard id")

// Chunks returns how many chunks a shard of length bytes has. The empty shard has one, of no bytes.
func Chunks(length uint64) uint64 {
	if length == 0 {
		return 1
	}
	return (length-1)/ChunkSize + 1
}

// ShardID returns the name of a shard: the BLAKE3 root of its bytes, which is also the root that chunk proofs
// lead to. It is the plain BLAKE3 hash (no key, 32 bytes of output), as b3sum prints it.
func ShardID(shard []byte) types.Hash { return root(compress(shard, 0)) }

// ProveChunk returns the siblings of one chunk, from the leaf upwards: what VerifyChunk needs besides the chunk
// itself to arrive at ShardID(shard). It hashes the whole shard once.
func ProveChunk(shard []byte, chunk uint64) ([]types.Hash, error) {
	n := Chunks(uint64(len(shard)))
	if chunk >= n {
		return nil, fmt.Errorf("storage: prove chunk %d of a shard of %d chunks: out of range", chunk, n)
	}
	path := make([]types.Hash, depth(n, chunk))
	at := uint64(0) // index of shard's first chunk
	for i := len(path) - 1; i >= 0; i-- {
		mid := split(Chunks(uint64(len(shard))))
		left, right := shard[:mid*ChunkSize], shard[mid*ChunkSize:]
		if chunk-at < mid {
			path[i] = value(compress(right, at+mid))
			shard = left
		} else {
			path[i] = value(compress(left, at))
			shard = right
			at += mid
		}
	}
	return path, nil
}

// VerifyChunk checks that data is chunk number chunk of the shard named root, whose length in bytes is known.
// The shape of the tree follows from that length, so a path of any other length, a chunk of any other size and
// an index beyond the end are refused. It costs one chunk and at most 54 parents of hashing, 10 for a shard of
// 1 MiB.
func VerifyChunk(shard types.Hash, length, chunk uint64, data []byte, path []types.Hash) error {
	n := Chunks(length)
	if chunk >= n {
		return fmt.Errorf("storage: chunk %d of a shard of %d chunks: out of range: %w", chunk, n, ErrChunk)
	}
	if want := min(ChunkSize, length-chunk*ChunkSize); uint64(len(data)) != want {
		return fmt.Errorf("storage: chunk %d has %d bytes, want %d: %w", chunk, len(data), want, ErrChunk)
	}
	if want := depth(n, chunk); len(path) != want {
		return fmt.Errorf("storage: path of chunk %d has %d siblings, want %d: %w", chunk, len(path), want, ErrChunk)
	}
	// right has bit d set where the chunk lies in the right subtree d levels below the root.
	var right uint64
	for d, at, m := 0, chunk, n; d < len(path); d++ {
		mid := split(m)
		if at < mid {
			m = mid
		} else {
			at, m = at-mid, m-mid
			right |= 1 << d
		}
	}
	node := guts.CompressChunk(data, &guts.IV, chunk, 0)
	for i, sibling := range path {
		mine, other := guts.ChainingValue(node), words(sibling)
		if right>>(len(path)-1-i)&1 == 1 {
			mine, other = other, mine
		}
		node = guts.ParentNode(mine, other, &guts.IV, 0)
	}
	if root(node) != shard {
		return fmt.Errorf("storage: chunk %d: %w", chunk, ErrChunk)
	}
	return nil
}

// split returns how many of n ≥ 2 chunks are in the left subtree: the largest power of two below n (BLAKE3
// paper, 2.1).
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// depth returns how many parents stand above a chunk of a tree of n chunks.
func depth(n, chunk uint64) int {
	d := 0
	for ; n > 1; d++ {
		if mid := split(n); chunk < mid {
			n = mid
		} else {
			n, chunk = n-mid, chunk-mid
		}
	}
	return d
}

// compress returns the top node of the subtree over p, whose first chunk is number at, not yet finalised.
func compress(p []byte, at uint64) guts.Node {
	if len(p) == tile {
		return guts.CompressBuffer((*[tile]byte)(p), tile, &guts.IV, at, 0)
	}
	if len(p) < tile {
		var buf [tile]byte
		return guts.CompressBuffer(&buf, copy(buf[:], p), &guts.IV, at, 0)
	}
	mid := split(Chunks(uint64(len(p))))
	left := value(compress(p[:mid*ChunkSize], at))
	right := value(compress(p[mid*ChunkSize:], at+mid))
	return guts.ParentNode(words(left), words(right), &guts.IV, 0)
}

// value is the chaining value of a node below the root.
func value(n guts.Node) types.Hash {
	var h types.Hash
	for i, w := range guts.ChainingValue(n) {
		binary.LittleEndian.PutUint32(h[4*i:], w)
	}
	return h
}

// root finalises the top node of a tree.
func root(n guts.Node) types.Hash {
	n.Flags |= guts.FlagRoot
	return value(n)
}

func words(h types.Hash) (w [8]uint32) {
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(h[4*i:])
	}
	return w
}
