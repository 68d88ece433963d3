package pipeline

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/service/storage"
)

// LostError says that fewer than k shards of a segment could be read. It carries the reason storage.ShardsLost.
type LostError struct {
	Index int       // of the segment in the object
	ID    SegmentID // of the segment
	Need  int       // k
	Found int       // shards that had been read when it was given up: others may be there too
	Slots []int     // the slots that could not, ascending
	Errs  []error   // why, by position in Slots
}

// Error names the slots and says why each could not be read.
func (e *LostError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pipeline: segment %d (%s): %d shards are needed, and %d cannot be read", e.Index, e.ID, e.Need, len(e.Slots))
	for i, slot := range e.Slots {
		fmt.Fprintf(&b, "; slot %d: %v", slot, e.Errs[i])
	}
	return b.String()
}

// Unwrap returns the reason, so that errors.Is and types.ReasonOf find it first, and the causes.
func (e *LostError) Unwrap() []error {
	return append([]error{storage.ShardsLost}, e.Errs...)
}

// segmentReader reads bytes start … end − 1 of one segment's sealed data.
type segmentReader struct {
	c          *Coder
	seg        Segment
	index      int
	k, n       int
	each       int // shard length
	start, end int
	f          Fetcher
}

func (c *Coder) reader(m *Manifest, index, start, end int, f Fetcher) *segmentReader {
	seg := m.Segments[index]
	return &segmentReader{c, seg, index, int(m.K), int(m.N), seg.ShardLength(int(m.K)), start, end, f}
}

// column is the part of one data slot that is asked for.
type column struct{ slot, from, to int }

func (r *segmentReader) columns() []column {
	var cols []column
	for slot := r.start / r.each; slot*r.each < r.end; slot++ {
		base := slot * r.each
		cols = append(cols, column{slot, max(r.start, base) - base, min(r.end-base, r.each)})
	}
	return cols
}

// whole reports whether whole shards are read: where the range touches every data slot that holds anything.
func (r *segmentReader) whole() bool {
	used := (int(r.seg.Length) + r.each - 1) / r.each
	return len(r.columns()) == used
}

// memory is how many bytes read works in: whole shards of k + spare slots and the data slots that may have to
// be computed, or the columns and, once, what computing the widest takes.
func (r *segmentReader) memory() int {
	ask := min(r.n, r.k+r.c.cfg.Spare)
	if r.whole() {
		return (ask + r.k) * r.each
	}
	sum := 0
	for _, col := range r.columns() {
		sum += col.to - col.from
	}
	return sum + (ask+1)*r.widest()
}

// widest is the length of the longest column as it is asked for.
func (r *segmentReader) widest() (width int) {
	for _, col := range r.columns() {
		width = max(width, align(col).to-align(col).from)
	}
	return width
}

// align widens a column to what the mask's cipher can start at.
func align(col column) column {
	const block = 16
	return column{col.slot, col.from / block * block, col.to}
}

// read returns the range in order. The result lies in mem.
func (r *segmentReader) read(ctx context.Context, mem *slab) ([][]byte, error) {
	block, err := r.c.mask.segment(r.seg.ID)
	if err != nil {
		return nil, err
	}
	order, err := r.order()
	if err != nil {
		return nil, err
	}
	if r.whole() {
		return r.readWhole(ctx, block, order, mem)
	}
	return r.readColumns(ctx, block, order, mem)
}

func (r *segmentReader) order() ([]int, error) {
	order := r.f.Order(r.index, r.seg)
	if order == nil {
		order = make([]int, r.n)
		for i := range order {
			order[i] = i
		}
		return order, nil
	}
	seen := make([]bool, r.n)
	for _, slot := range order {
		if slot < 0 || slot >= r.n || seen[slot] {
			return nil, fmt.Errorf("pipeline: segment %d: order of slots %v: not distinct slots below %d", r.index, order, r.n)
		}
		seen[slot] = true
	}
	return order, nil
}

func (r *segmentReader) readWhole(ctx context.Context, block cipher.Block, order []int, mem *slab) ([][]byte, error) {
	pieces := newPieces(mem.buf, r.each)
	shards, err := r.gather(ctx, order, r.each, mem, pieces, func(ctx context.Context, slot int, dst []byte) error {
		return r.shard(ctx, block, slot, dst)
	})
	if err != nil {
		return nil, err
	}
	if err := r.complete(shards, pieces, r.end); err != nil {
		return nil, err
	}
	var out [][]byte
	for _, col := range r.columns() {
		out = append(out, shards[col.slot][col.from:col.to])
	}
	return out, nil
}

// shard reads one whole shard, checks its name and takes its mask off.
func (r *segmentReader) shard(ctx context.Context, block cipher.Block, slot int, dst []byte) error {
	into := NewIncoming(r.seg.Shards[slot], dst)
	if err := r.f.Shard(ctx, r.index, r.seg, slot, into); err != nil {
		into.TakeBack()
		return err
	}
	if err := into.Check(); err != nil {
		return fmt.Errorf("slot %d of segment %s: %w", slot, r.seg.ID, err)
	}
	maskAt(block, slot, 0).XORKeyStream(dst, dst)
	return nil
}

// slice is shard for a part of one, whose start is aligned.
func (r *segmentReader) slice(ctx context.Context, block cipher.Block, col column, dst []byte) error {
	proved, err := r.f.Slice(ctx, r.index, r.seg, col.slot, col.from, col.to-col.from)
	if err != nil {
		return err
	}
	plain, err := storage.VerifySlice(r.seg.Shards[col.slot], r.each, col.from, col.to-col.from, proved)
	if err != nil {
		return fmt.Errorf("slot %d of segment %s: %w: %w", col.slot, r.seg.ID, err, storage.ShardMismatch)
	}
	maskAt(block, col.slot, col.from).XORKeyStream(dst, plain)
	return nil
}

// readColumns asks the devices of the data slots for their parts, all at once, and computes those that do not
// come in time from the same part of other shards, one after the other.
func (r *segmentReader) readColumns(ctx context.Context, block cipher.Block, order []int, mem *slab) ([][]byte, error) {
	cols := r.columns()
	out := make([][]byte, len(cols))
	errs := make([]error, len(cols))
	at := 0
	var wg sync.WaitGroup
	for i, col := range cols {
		width := col.to - col.from
		out[i] = mem.buf[at : at+width]
		at += width
		if !slices.Contains(order, col.slot) {
			errs[i] = errNotAsked
			continue
		}
		wg.Go(func() {
			direct, cancel := context.WithTimeout(ctx, r.c.cfg.Stall)
			defer cancel()
			a := align(col)
			buf := make([]byte, a.to-a.from)
			if errs[i] = r.slice(direct, block, a, buf); errs[i] == nil {
				copy(out[i], buf[col.from-a.from:])
			}
		})
	}
	wg.Wait()
	pieces := newPieces(mem.buf[at:], r.widest())
	for i, col := range cols {
		if errs[i] == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := r.computeColumn(ctx, block, order, col, errs[i], mem, pieces, out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// computeColumn brings back a column whose device failed it.
func (r *segmentReader) computeColumn(ctx context.Context, block cipher.Block, order []int, col column, failed error, mem *slab, pieces *pieces, dst []byte) error {
	a := align(col)
	width := a.to - a.from
	others := slices.DeleteFunc(slices.Clone(order), func(slot int) bool { return slot == col.slot })
	shards, err := r.gather(ctx, others, width, mem, pieces, func(ctx context.Context, slot int, dst []byte) error {
		return r.slice(ctx, block, column{slot, a.from, a.to}, dst)
	})
	if err != nil {
		if lost, ok := err.(*LostError); ok {
			lost.add(col.slot, failed)
		}
		return err
	}
	code, err := r.c.code(r.k, r.n)
	if err != nil {
		return err
	}
	required := make([]bool, r.k)
	required[col.slot] = true
	shards[col.slot] = pieces.take()[:0]
	if err := code.ReconstructSome(shards, required); err != nil {
		return fmt.Errorf("pipeline: segment %d: %w", r.index, err)
	}
	copy(dst, shards[col.slot][col.from-a.from:])
	for _, buf := range shards {
		if buf != nil {
			pieces.give(buf)
		}
	}
	return nil
}

// complete computes the data shards that are missing among those that hold the first end bytes.
func (r *segmentReader) complete(shards [][]byte, pieces *pieces, end int) error {
	required := make([]bool, r.k)
	missing := false
	for slot := range required {
		if shards[slot] == nil && slot*r.each < end {
			required[slot], missing = true, true
			shards[slot] = pieces.take()[:0]
		}
	}
	if !missing {
		return nil
	}
	code, err := r.c.code(r.k, r.n)
	if err != nil {
		return err
	}
	if err := code.ReconstructSome(shards, required); err != nil {
		return fmt.Errorf("pipeline: segment %d: %w", r.index, err)
	}
	return nil
}

// pieces are equal buffers cut from a slab. take makes a new one where they run out, which needs several
// devices that neither answer nor give up. Nobody else writes to a piece that is free. One goroutine uses it.
type pieces struct {
	size int
	free [][]byte
}

func newPieces(buf []byte, size int) *pieces {
	p := &pieces{size: size}
	for ; len(buf) >= size; buf = buf[size:] {
		p.free = append(p.free, buf[:size:size])
	}
	return p
}

func (p *pieces) take() []byte {
	if len(p.free) == 0 {
		return make([]byte, p.size)
	}
	last := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return last
}

func (p *pieces) give(buf []byte) { p.free = append(p.free, buf[:p.size]) }

// gather asks for width bytes of k slots of order, of spare ones where some of those take longer than others,
// and of one more whenever one fails or none answers for a while, until it has k. It returns them by slot, each
// in a piece. Whoever is still being asked then is cancelled; it may yet write to its piece, which is therefore
// not given back, and holds mem until it returns.
func (r *segmentReader) gather(ctx context.Context, order []int, width int, mem *slab, pieces *pieces, fetch func(ctx context.Context, slot int, dst []byte) error) ([][]byte, error) {
	type reply struct {
		slot int
		buf  []byte
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan reply, len(order))
	running := 0
	ask := func() {
		if len(order) == 0 {
			return
		}
		slot, buf := order[0], pieces.take()[:width]
		order = order[1:]
		running++
		mem.hold()
		go func() {
			defer mem.release()
			replies <- reply{slot, buf, fetch(ctx, slot, buf)}
		}()
	}
	lost := &LostError{Index: r.index, ID: r.seg.ID, Need: r.k}
	for slot := range r.n {
		if !slices.Contains(order, slot) {
			lost.add(slot, errNotAsked)
		}
	}
	for range r.k {
		ask()
	}
	shards := make([][]byte, r.n)
	start := time.Now()
	hedge, stall := time.NewTimer(max(r.c.cfg.Hedge, r.c.cfg.Stall/4)), time.NewTimer(r.c.cfg.Stall)
	defer hedge.Stop()
	defer stall.Stop()
	half, hedged := (r.k+1)/2, false
	for lost.Found < r.k {
		if lost.Found+running+len(order) < r.k {
			return nil, lost
		}
		select {
		case got := <-replies:
			running--
			if got.err != nil {
				lost.add(got.slot, got.err)
				pieces.give(got.buf)
				ask()
				break
			}
			shards[got.slot] = got.buf
			if lost.Found++; lost.Found == half && !hedged {
				hedge.Reset(max(r.c.cfg.Hedge-time.Since(start), time.Since(start)))
			}
		case <-hedge.C:
			hedged = true
			for range r.c.cfg.Spare {
				ask()
			}
		case <-stall.C:
			ask()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		stall.Reset(r.c.cfg.Stall)
	}
	return shards, nil
}

var errNotAsked = errors.New("no device to ask")

// add notes why a slot could not be read; a later cause replaces an earlier one.
func (e *LostError) add(slot int, err error) {
	i, found := slices.BinarySearch(e.Slots, slot)
	if found {
		e.Errs[i] = err
		return
	}
	e.Slots = slices.Insert(e.Slots, i, slot)
	e.Errs = slices.Insert(e.Errs, i, err)
}
