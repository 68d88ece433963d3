package storage

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

func TestSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(1, 4096), rapid.IntRange(1, 1<<18)).Draw(t, "size")
		offset := rapid.IntRange(0, size-1).Draw(t, "offset")
		length := rapid.IntRange(1, size-offset).Draw(t, "length")
		shard := pattern(size)
		id := ShardID(shard)
		slice, err := ExtractSlice(shard, offset, length)
		if err != nil {
			t.Fatal(err)
		}
		if len(slice) > MaxSlice(size, length) {
			t.Fatalf("%d bytes, above MaxSlice %d", len(slice), MaxSlice(size, length))
		}
		got, err := VerifySlice(id, size, offset, length, slice)
		if err != nil || !bytes.Equal(got, shard[offset:offset+length]) {
			t.Fatalf("slice %d+%d of %d: %v", offset, length, size, err)
		}
		refused := func(what string, got []byte, err error) {
			if !errors.Is(err, ErrSlice) || got != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		bad := slices.Clone(slice)
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		got, err = VerifySlice(id, size, offset, length, bad)
		refused("flipped bit", got, err)
		got, err = VerifySlice(id, size, offset, length, slice[:rapid.IntRange(0, len(slice)-1).Draw(t, "cut")])
		refused("truncated", got, err)
		got, err = VerifySlice(id, size, offset, length, append(slices.Clone(slice), 0))
		refused("trailing byte", got, err)
		got, err = VerifySlice(types.Sum(id[:]), size, offset, length, slice)
		refused("another shard", got, err)
	})
}

// TestSliceTruncatedZeros: in a shard of equal groups a decoder that reuses its buffer could take the last
// group for the next.
func TestSliceTruncatedZeros(t *testing.T) {
	shard := make([]byte, 1<<20)
	slice, err := ExtractSlice(shard, 0, len(shard))
	if err != nil {
		t.Fatal(err)
	}
	for cut := range 40 {
		if _, err := VerifySlice(ShardID(shard), len(shard), 0, len(shard), slice[:len(slice)-1-cut*5000]); !errors.Is(err, ErrSlice) {
			t.Fatalf("cut %d: %v", cut, err)
		}
	}
}

func TestSliceOutOfRange(t *testing.T) {
	shard := pattern(2048)
	for _, r := range [][2]int{{-1, 5}, {0, 0}, {0, 2049}, {2048, 1}, {2047, 2}, {1 << 62, 1 << 62}} {
		if _, err := ExtractSlice(shard, r[0], r[1]); err == nil {
			t.Errorf("extracted %v", r)
		}
		if _, err := VerifySlice(ShardID(shard), 2048, r[0], r[1], make([]byte, 3000)); err == nil {
			t.Errorf("verified %v", r)
		}
	}
}

func FuzzVerifySlice(f *testing.F) {
	shard := pattern(40000)
	id := ShardID(shard)
	slice, _ := ExtractSlice(shard, 17000, 3000)
	f.Add(slice, 17000, 3000)
	f.Fuzz(func(t *testing.T, slice []byte, offset, length int) {
		got, err := VerifySlice(id, len(shard), offset, length, slice)
		if err == nil && !bytes.Equal(got, shard[offset:offset+length]) {
			t.Fatal("proved bytes that are not the shard's")
		}
	})
}
