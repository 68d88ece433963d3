package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"lukechampine.com/blake3"
	"lukechampine.com/blake3/bao"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
)

// pattern is the input of BLAKE3's published test vectors: 0, 1, … 250, 0, 1 …
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i % 251)
	}
	return p
}

var lengths = []int{
	0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 3072, 3073, 4096, 5000, 15360, 16383, 16384, 16385, 17408, 31744, 32768, 33000,
	49152, 102400, 1<<20 - 1024, 1<<20 - 1, 1 << 20,
}

// TestShardIDVectors: from the BLAKE3 team's test_vectors.json.
func TestShardIDVectors(t *testing.T) {
	for n, want := range map[int]string{
		0:      "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
		1:      "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
		1024:   "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
		1025:   "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
		102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
	} {
		if got := ShardID(pattern(n)).String(); got != want {
			t.Errorf("length %d: %s, want %s", n, got, want)
		}
	}
}

// TestShardIDPeers compares with two other implementations: the module's own hasher, and bao's encoder.
func TestShardIDPeers(t *testing.T) {
	for _, n := range lengths {
		p := pattern(n)
		got := ShardID(p)
		if want := types.Hash(blake3.Sum256(p)); got != want {
			t.Errorf("length %d: %s, blake3 says %s", n, got, want)
		}
		if n == 0 {
			continue
		}
		if _, want := bao.EncodeBuf(p, 0, true); got != want {
			t.Errorf("length %d: %s, bao says %x", n, got, want)
		}
	}
}

// TestShardIDTool compares with the BLAKE3 team's own program, as Debian packages it.
func TestShardIDTool(t *testing.T) {
	tool := testutil.Program(t, "b3sum")
	for _, n := range lengths {
		cmd := exec.Command(tool, "--no-names")
		cmd.Stdin = bytes.NewReader(pattern(n))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimSpace(string(out)); ShardID(pattern(n)).String() != want {
			t.Errorf("length %d: b3sum says %s", n, want)
		}
	}
}

// TestChunkPathPeer takes the siblings out of a bao slice, which holds the same parents from the root down.
func TestChunkPathPeer(t *testing.T) {
	for _, n := range []int{1025, 5000, 33000, 102400, 1<<20 - 1024} {
		p := pattern(n)
		enc, _ := bao.EncodeBuf(p, 0, false)
		for chunk := range Chunks(uint64(n)) {
			if n > 40000 && chunk%97 != 0 {
				continue
			}
			path, err := ProveChunk(p, chunk)
			if err != nil {
				t.Fatal(err)
			}
			var slice bytes.Buffer
			if err := bao.ExtractSlice(&slice, bytes.NewReader(enc), nil, 0, chunk*ChunkSize, 1); err != nil {
				t.Fatal(err)
			}
			parents := slice.Bytes()[8:] // a length comes first, the chunk last
			for i, sibling := range slices.Backward(path) {
				pair := parents[:64]
				parents = parents[64:]
				if !bytes.Equal(pair[:32], sibling[:]) && !bytes.Equal(pair[32:], sibling[:]) {
					t.Fatalf("length %d chunk %d: sibling %d is not in bao's slice", n, chunk, i)
				}
			}
			if len(parents) > ChunkSize {
				t.Fatalf("length %d chunk %d: bao has %d bytes more", n, chunk, len(parents)-ChunkSize)
			}
		}
	}
}

func chunkOf(p []byte, chunk uint64) []byte {
	return p[chunk*ChunkSize : min(uint64(len(p)), (chunk+1)*ChunkSize)]
}

func TestVerifyChunk(t *testing.T) {
	for _, n := range lengths {
		p := pattern(n)
		id, length := ShardID(p), uint64(n)
		for chunk := range Chunks(length) {
			if n > 40000 && chunk%61 != 0 && chunk != Chunks(length)-1 {
				continue
			}
			path, err := ProveChunk(p, chunk)
			if err != nil {
				t.Fatal(err)
			}
			data := chunkOf(p, chunk)
			if err := VerifyChunk(id, length, chunk, data, path); err != nil {
				t.Fatalf("length %d: %v", n, err)
			}
			refused := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, ErrChunk) {
					t.Errorf("length %d chunk %d: %s: got %v", n, chunk, what, err)
				}
			}
			refused("wrong shard", VerifyChunk(ShardID([]byte("x")), length, chunk, data, path))
			refused("index beyond the end", VerifyChunk(id, length, Chunks(length), data, path))
			refused("longer path", VerifyChunk(id, length, chunk, data, append(slices.Clone(path), types.Hash{})))
			refused("chunk with a byte more", VerifyChunk(id, length, chunk, append(slices.Clone(data), 0), path))
			for i := range path {
				bad := slices.Clone(path)
				bad[i][31] ^= 1
				refused("flipped sibling", VerifyChunk(id, length, chunk, data, bad))
			}
			if len(path) > 0 {
				refused("shorter path", VerifyChunk(id, length, chunk, data, path[1:]))
			}
			if len(data) > 0 {
				bad := slices.Clone(data)
				bad[len(bad)-1] ^= 1
				refused("flipped byte", VerifyChunk(id, length, chunk, bad, path))
			}
			if other := chunk ^ 1; other < Chunks(length) {
				refused("another chunk's data", VerifyChunk(id, length, other, data, path))
			}
		}
	}
}

// TestInteriorNodeIsNoChunk: the 64 bytes under the root, offered as the only chunk of a shard of 64 bytes, do
// not reach the root, because BLAKE3 flags chunks and parents apart.
func TestInteriorNodeIsNoChunk(t *testing.T) {
	p := pattern(2048)
	a, _ := ProveChunk(p, 0)
	b, _ := ProveChunk(p, 1)
	forged := slices.Concat(b[0][:], a[0][:])
	if err := VerifyChunk(ShardID(p), 64, 0, forged, nil); !errors.Is(err, ErrChunk) {
		t.Errorf("a parent passes as a chunk: %v", err)
	}
}

func TestProveChunkOutOfRange(t *testing.T) {
	if _, err := ProveChunk(pattern(1024), 1); err == nil {
		t.Error("proved a chunk that is not there")
	}
}

func FuzzVerifyChunk(f *testing.F) {
	for _, n := range []int{0, 1, 1024, 5000} {
		p := pattern(n)
		path, _ := ProveChunk(p, 0)
		var flat []byte
		for _, h := range path {
			flat = append(flat, h[:]...)
		}
		id := ShardID(p)
		f.Add(id[:], uint64(n), uint64(0), chunkOf(p, 0), flat)
	}
	f.Fuzz(func(t *testing.T, id []byte, length, chunk uint64, data, flat []byte) {
		var shard types.Hash
		copy(shard[:], id)
		var path []types.Hash
		for ; len(flat) >= 32; flat = flat[32:] {
			path = append(path, types.Hash(flat[:32]))
		}
		if VerifyChunk(shard, length, chunk, data, path) != nil {
			return
		}
		// Whatever is accepted is refused once one bit of the data is another.
		if len(data) > 0 {
			bad := slices.Clone(data)
			bad[0] ^= 1
			if VerifyChunk(shard, length, chunk, bad, path) == nil {
				t.Fatalf("two chunks pass for one place of %s", hex.EncodeToString(id))
			}
		}
	})
}

func BenchmarkShardID(b *testing.B) {
	p := pattern(1 << 20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		ShardID(p)
	}
}

func BenchmarkShardIDPeer(b *testing.B) {
	p := pattern(1 << 20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		blake3.Sum256(p)
	}
}

func BenchmarkVerifyChunk(b *testing.B) {
	p := pattern(1 << 20)
	id := ShardID(p)
	path, _ := ProveChunk(p, 500)
	for b.Loop() {
		if err := VerifyChunk(id, 1<<20, 500, chunkOf(p, 500), path); err != nil {
			b.Fatal(err)
		}
	}
}
