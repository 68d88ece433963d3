package pipeline

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/minio/sio"

	"github.com/cairn-network/cairn/service/storage"
)

// The stages alone, each per byte of the object, and the whole in memory: what a put and a get are measured against.
// One segment of sealed data is the unit. The stages run on one core, Encode and Decode on all.

func BenchmarkSeal(b *testing.B) {
	data := make([]byte, 4<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r, err := sio.EncryptReader(bytes.NewReader(data), seal(make([]byte, 32), 0, nil))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(io.Discard, r, make([]byte, 1<<20)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCode(b *testing.B) {
	for _, p := range Profiles() {
		b.Run(p.Name, func(b *testing.B) {
			code, err := New(Config{}, MaskKey{}).code(p.K, p.N)
			if err != nil {
				b.Fatal(err)
			}
			shards := cutSlab(make([]byte, p.N*MaxShard))
			b.SetBytes(int64(p.SegmentLength()))
			for b.Loop() {
				if err := code.Encode(shards); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func cutSlab(buf []byte) (shards [][]byte) {
	for ; len(buf) > 0; buf = buf[MaxShard:] {
		shards = append(shards, buf[:MaxShard])
	}
	return shards
}

func BenchmarkMask(b *testing.B) {
	for _, p := range Profiles() {
		b.Run(p.Name, func(b *testing.B) {
			block, err := MaskKey{}.segment(SegmentID{})
			if err != nil {
				b.Fatal(err)
			}
			shards := cutSlab(make([]byte, p.N*MaxShard))
			b.SetBytes(int64(p.SegmentLength()))
			for b.Loop() {
				for slot, s := range shards {
					maskAt(block, slot, 0).XORKeyStream(s, s)
				}
			}
		})
	}
}

func BenchmarkHash(b *testing.B) {
	for _, p := range Profiles() {
		b.Run(p.Name, func(b *testing.B) {
			shards := cutSlab(make([]byte, p.N*MaxShard))
			b.SetBytes(int64(p.SegmentLength()))
			for b.Loop() {
				for _, s := range shards {
					storage.ShardID(s)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, p := range Profiles() {
		b.Run(p.Name, func(b *testing.B) {
			c := New(Config{}, MaskKey{})
			data := make([]byte, 64<<20)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				_, err := c.Encode(context.Background(), bytes.NewReader(data), p, BucketKey{}, func(context.Context, int, Segment, [][]byte) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, p := range Profiles() {
		c := New(Config{Spare: -1}, MaskKey{})
		d := newDevices()
		data := make([]byte, 64<<20)
		m, err := c.Encode(context.Background(), bytes.NewReader(data), p, BucketKey{}, d.emit)
		if err != nil {
			b.Fatal(err)
		}
		for _, mode := range []string{"", "-degraded"} {
			b.Run(p.Name+mode, func(b *testing.B) {
				if mode != "" {
					d.set(nil, 0, 1)
				}
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					if err := c.Decode(context.Background(), m, BucketKey{}, io.Discard, d); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
