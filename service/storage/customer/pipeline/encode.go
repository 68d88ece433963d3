package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/sio"
	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// Emit stores the n shards of one segment. It is called from several goroutines at once, in no certain order;
// index is the segment's place in the object. The shards belong to the pipeline again when it returns.
type Emit func(ctx context.Context, index int, seg Segment, shards [][]byte) error

// Encode reads src to its end, and hands the shards of each segment to emit. It returns when all of them have
// been stored, or at the first error, after which the context that emit was given is done. A reader that fails,
// or that ends with io.ErrUnexpectedEOF, makes no object. Cancellation does not interrupt a Read of src that
// blocks.
func (c *Coder) Encode(ctx context.Context, src io.Reader, p Profile, bucket BucketKey, emit Emit) (*Manifest, error) {
	if _, err := c.code(p.K, p.N); err != nil {
		return nil, err
	}
	var key [32]byte
	if _, err := io.ReadFull(c.cfg.Rand, key[:]); err != nil {
		return nil, fmt.Errorf("pipeline: draw an object key: %w", err)
	}
	wrapped, err := bucket.wrap(key, c.cfg.Rand)
	if err != nil {
		return nil, err
	}
	in := &source{r: src}
	sealed, err := sio.EncryptReader(in, seal(key[:], 0, c.cfg.Rand))
	if err != nil {
		return nil, fmt.Errorf("pipeline: seal: %w", err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(c.cfg.InFlight)
	segments, err := c.cut(groupCtx, sealed, p, group, emit)
	if failed := group.Wait(); failed != nil {
		err = failed // what made the context end, not that it ended
	}
	if err != nil {
		return nil, err
	}
	m := &Manifest{K: uint16(p.K), N: uint16(p.N), Size: in.n, Key: wrapped, Segments: make([]Segment, len(segments))}
	for i, s := range segments {
		m.Segments[i] = *s
	}
	return m, m.Check()
}

// cut reads segments and starts their work. A segment's shards are filled in by its goroutine in group.
func (c *Coder) cut(ctx context.Context, sealed io.Reader, p Profile, group *errgroup.Group, emit Emit) ([]*Segment, error) {
	var segments []*Segment
	for last := false; !last; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		mem, length, err := c.read(ctx, sealed, p)
		switch {
		case errors.Is(err, io.EOF):
			last = true
		case err != nil:
			return nil, err
		}
		if length == 0 {
			break
		}
		seg := &Segment{Length: uint32(length)}
		if _, err := io.ReadFull(c.cfg.Rand, seg.ID[:]); err != nil {
			mem.release()
			return nil, fmt.Errorf("pipeline: draw a segment id: %w", err)
		}
		index := len(segments)
		segments = append(segments, seg)
		group.Go(func() error {
			defer mem.release()
			shards, err := c.protect(mem.buf, seg, p)
			if err != nil {
				return err
			}
			if err := emit(ctx, index, *seg, shards); err != nil {
				return fmt.Errorf("pipeline: store segment %d: %w", index, err)
			}
			return nil
		})
	}
	return segments, nil
}

// read fills a slab with the sealed bytes of the next segment, once all of them are there, and makes it as long
// as the segment's n shards. It returns io.EOF with the last one, where length may be 0 and the slab nil.
func (c *Coder) read(ctx context.Context, sealed io.Reader, p Profile) (mem *slab, length int, err error) {
	in := c.room.parcel(c.share)
	defer in.free()
	end := in.fill(sealed, p.SegmentLength())
	if end != nil && !errors.Is(end, io.EOF) {
		return nil, 0, fmt.Errorf("pipeline: read object: %w", end)
	}
	if in.n == 0 {
		return nil, 0, io.EOF
	}
	length = in.n
	each := shardLength(length, p.K)
	if mem, err = c.acquire(ctx, each*p.N); err != nil {
		return nil, 0, err
	}
	if _, err := io.ReadFull(in, mem.buf[:length]); err != nil {
		mem.release()
		return nil, 0, fmt.Errorf("pipeline: read object: %w", err)
	}
	clear(mem.buf[length : each*p.K])
	return mem, length, end
}

// readFull is io.ReadFull, but says io.EOF also after a part.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	if n == len(p) && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// protect makes the n masked shards of a segment, in place: buf begins with its sealed bytes, padded with zeros
// to k shards. It names them in seg.
func (c *Coder) protect(buf []byte, seg *Segment, p Profile) ([][]byte, error) {
	each := shardLength(int(seg.Length), p.K)
	shards := make([][]byte, p.N)
	for i := range shards {
		shards[i] = buf[i*each : (i+1)*each : (i+1)*each]
	}
	code, err := c.code(p.K, p.N)
	if err != nil {
		return nil, err
	}
	if err := code.Encode(shards); err != nil {
		return nil, fmt.Errorf("pipeline: code segment %s: %w", seg.ID, err)
	}
	block, err := c.mask.segment(seg.ID)
	if err != nil {
		return nil, err
	}
	seg.Shards = make([]types.Hash, p.N)
	parallel(p.N, func(i int) {
		maskAt(block, i, 0).XORKeyStream(shards[i], shards[i])
		seg.Shards[i] = storage.ShardID(shards[i])
	})
	return shards, nil
}

// source counts what the customer sends, and wraps his reader's errors. It must: the sealing library takes a bare
// io.ErrUnexpectedEOF for the end of the object, but that is how an HTTP body says that it was cut off.
type source struct {
	r io.Reader
	n uint64
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += uint64(n)
	if err != nil && err != io.EOF {
		return n, fmt.Errorf("after %d bytes: %w", s.n, err)
	}
	return n, err
}
