package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// Rebuild computes the masked shards in the missing slots of a segment from any k others, and hands them to
// store in the order of missing: the same bytes and names as when the segment was made. It needs the mask key
// and no other. A shard belongs to the pipeline again when store returns.
func (c *Coder) Rebuild(ctx context.Context, m *Manifest, index int, missing []int, f Fetcher, store func(slot int, shard []byte) error) error {
	if err := m.Check(); err != nil {
		return err
	}
	if index < 0 || index >= len(m.Segments) {
		return fmt.Errorf("pipeline: rebuild segment %d of %d: out of range", index, len(m.Segments))
	}
	r := c.reader(m, index, 0, int(m.Segments[index].Length), f)
	order, err := r.order()
	if err != nil {
		return err
	}
	for i, slot := range missing {
		if slot < 0 || slot >= r.n || slices.Contains(missing[:i], slot) {
			return fmt.Errorf("pipeline: rebuild slots %v: not distinct slots below %d", missing, r.n)
		}
	}
	order = slices.DeleteFunc(slices.Clone(order), func(slot int) bool { return slices.Contains(missing, slot) })
	mem, err := c.acquire(ctx, (min(r.n, r.k+c.cfg.Spare)+len(missing))*r.each)
	if err != nil {
		return err
	}
	defer mem.release()
	return r.rebuild(ctx, missing, order, mem, store)
}

func (r *segmentReader) rebuild(ctx context.Context, missing, order []int, mem *slab, store func(slot int, shard []byte) error) error {
	block, err := r.c.mask.segment(r.seg.ID)
	if err != nil {
		return err
	}
	pieces := newPieces(mem.buf, r.each)
	shards, err := r.gather(ctx, order, r.each, mem, pieces, func(ctx context.Context, slot int, dst []byte) error {
		return r.shard(ctx, block, slot, dst)
	})
	var lost *LostError
	if errors.As(err, &lost) {
		for _, slot := range missing {
			lost.add(slot, errMissing)
		}
	}
	if err != nil {
		return err
	}
	required := make([]bool, r.n)
	for _, slot := range missing {
		required[slot] = true
		shards[slot] = pieces.take()[:0]
	}
	code, err := r.c.code(r.k, r.n)
	if err != nil {
		return err
	}
	if err := code.ReconstructSome(shards, required); err != nil {
		return fmt.Errorf("pipeline: rebuild segment %d: %w", r.index, err)
	}
	for _, slot := range missing {
		maskAt(block, slot, 0).XORKeyStream(shards[slot], shards[slot])
		if storage.ShardID(shards[slot]) != r.seg.Shards[slot] {
			// The k shards had the names in the manifest: they were never of one code word.
			return types.Refuse(storage.ShardMismatch, "rebuild slot %d of segment %s", slot, r.seg.ID)
		}
		if err := store(slot, shards[slot]); err != nil {
			return fmt.Errorf("pipeline: store slot %d of segment %d: %w", slot, r.index, err)
		}
	}
	return nil
}

var errMissing = errors.New("missing")
