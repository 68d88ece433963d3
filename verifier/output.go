package verifier

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// The outputs of a header are kept in one blob: of each leaf, in order, u16 category, u32 length of its data,
// u32 length of its detail (big endian), data, detail. In memory are those that were asked for last, without
// their details, which stay on disk.

const outputHead = 2 + 4 + 4

// encodeOutputs encodes leaves as a blob.
func encodeOutputs(leaves []tally.OutputLeaf) []byte {
	n := 0
	for i := range leaves {
		n += outputHead + len(leaves[i].Data) + len(leaves[i].Detail)
	}
	b := make([]byte, 0, n)
	for i := range leaves {
		l := &leaves[i]
		b = binary.BigEndian.AppendUint16(b, uint16(l.Category))
		b = binary.BigEndian.AppendUint32(b, uint32(len(l.Data)))
		b = binary.BigEndian.AppendUint32(b, uint32(len(l.Detail)))
		b = append(append(b, l.Data...), l.Detail...)
	}
	return b
}

// outputs are those of one header. But for found they never change.
type outputs struct {
	blob   types.Hash
	leaves []place
	order  []uint32 // leaves by category, data, index
	tree   *merkle.Tree

	mu    sync.Mutex
	found map[match][]uint32 // newest searches, at most keptSearches
}

// place is where a leaf is.
type place struct {
	category types.Category
	data     []byte
	detail   int64 // where its detail begins in the blob
	size     uint32
	digest   types.Hash // of its detail
}

// match names a search.
type match struct {
	category types.Category
	prefix   string
}

const keptSearches = 8

// loadOutputs reads the outputs of a header out of their blob, and holds them against it.
func loadOutputs(b *blobs, blob types.Hash, h *tally.Header) (*outputs, error) {
	o := &outputs{blob: blob, found: map[match][]uint32{}}
	r := &blobReader{blobs: b, hash: blob}
	in := bufio.NewReaderSize(r, bus.ChunkSize)
	var at int64
	var hashes []types.Hash
	var detail []byte
	for uint64(len(o.leaves)) < h.OutCount {
		var head [outputHead]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return nil, fmt.Errorf("verifier: outputs of epoch %d: %w", h.Epoch, err)
		}
		p := place{category: types.Category(binary.BigEndian.Uint16(head[:])), size: binary.BigEndian.Uint32(head[6:])}
		n := binary.BigEndian.Uint32(head[2:])
		if n > tally.MaxOutput || p.size > tally.MaxOutput {
			return nil, types.Refuse(types.BadEncoding, "verifier: outputs of epoch %d: leaf %d of %d and %d bytes", h.Epoch, len(o.leaves), n, p.size)
		}
		p.data = make([]byte, n)
		if _, err := io.ReadFull(in, p.data); err != nil {
			return nil, fmt.Errorf("verifier: outputs of epoch %d: %w", h.Epoch, err)
		}
		p.detail = at + outputHead + int64(n)
		at = p.detail + int64(p.size)
		detail = slices.Grow(detail[:0], int(p.size))[:p.size]
		if _, err := io.ReadFull(in, detail); err != nil {
			return nil, fmt.Errorf("verifier: outputs of epoch %d: %w", h.Epoch, err)
		}
		p.digest = types.Sum(detail)
		leaf := tally.OutputLeaf{Category: p.category, Data: p.data}
		o.leaves, hashes = append(o.leaves, p), append(hashes, leaf.Hash())
	}
	if o.tree = merkle.NewTree(hashes); o.tree.Root() != h.Outputs {
		return nil, types.Refuse(types.Mismatch, "verifier: outputs of epoch %d of root %s, want %s", h.Epoch, o.tree.Root(), h.Outputs)
	}
	o.order = make([]uint32, len(o.leaves))
	for i := range o.order {
		o.order[i] = uint32(i)
	}
	slices.SortStableFunc(o.order, func(a, b uint32) int { return o.leaves[a].compare(o.leaves[b].category, o.leaves[b].data) })
	return o, nil
}

func (p *place) compare(c types.Category, data []byte) int {
	return cmp.Or(cmp.Compare(p.category, c), bytes.Compare(p.data, data))
}

// search returns the leaves of a category whose data starts with prefix, ascending. The list is read-only.
func (o *outputs) search(c types.Category, prefix []byte) []uint32 {
	key := match{c, string(prefix)}
	o.mu.Lock()
	defer o.mu.Unlock()
	if list, ok := o.found[key]; ok {
		return list
	}
	lo, _ := slices.BinarySearchFunc(o.order, prefix, func(i uint32, prefix []byte) int { return o.leaves[i].compare(c, prefix) })
	hi := lo
	for hi < len(o.order) && o.leaves[o.order[hi]].category == c && bytes.HasPrefix(o.leaves[o.order[hi]].data, prefix) {
		hi++
	}
	list := slices.Clone(o.order[lo:hi])
	slices.Sort(list)
	if len(o.found) >= keptSearches {
		clear(o.found)
	}
	o.found[key] = list
	return list
}

// page returns the leaves of list from an index on, as many as one answer takes.
func (o *outputs) page(b *blobs, list []uint32, from uint64) (leaves []bus.Output, more bool, err error) {
	at, _ := slices.BinarySearchFunc(list, from, func(i uint32, from uint64) int { return cmp.Compare(uint64(i), from) })
	r := &blobReader{blobs: b, hash: o.blob}
	size := 0
	for _, i := range list[at:] {
		p := &o.leaves[i]
		if len(leaves) == bus.MaxLeaves || len(leaves) > 0 && size+len(p.data)+int(p.size) > bus.MaxShown {
			return leaves, true, nil
		}
		size += len(p.data) + int(p.size)
		out := bus.Output{Index: uint64(i), Data: p.data, Siblings: o.tree.Proof(int(i)).Siblings}
		if p.size > 0 {
			out.Detail = make([]byte, p.size)
			if err := r.readAt(out.Detail, p.detail); err != nil {
				return nil, false, err
			}
		}
		leaves = append(leaves, out)
	}
	return leaves, false, nil
}

// blobReader reads a blob piece by piece; it keeps the newest piece.
type blobReader struct {
	blobs *blobs
	hash  types.Hash
	next  int64 // of Read
	piece []byte
	start int64
}

// Read implements io.Reader.
func (r *blobReader) Read(p []byte) (int, error) {
	n, _, err := r.blobs.ReadBlob(r.hash, p, r.next)
	r.next += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// readAt fills p from offset on.
func (r *blobReader) readAt(p []byte, offset int64) error {
	for len(p) > 0 {
		if offset < r.start || offset >= r.start+int64(len(r.piece)) {
			r.start = offset / bus.ChunkSize * bus.ChunkSize
			r.piece = make([]byte, bus.ChunkSize)
			n, _, err := r.blobs.ReadBlob(r.hash, r.piece, r.start)
			r.piece = r.piece[:n]
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if offset >= r.start+int64(n) {
				return types.Refuse(types.UnknownBlob, "verifier: blob %s ends at %d", r.hash, r.start+int64(n))
			}
		}
		n := copy(p, r.piece[offset-r.start:])
		p, offset = p[n:], offset+int64(n)
	}
	return nil
}

// outputsOf returns the outputs of a header that this verifier adopted; unknown_blob for any other.
func (s *query) outputsOf(header types.Hash) (*outputs, error) {
	return s.outputs.get(header, func() (*outputs, types.Epoch, error) {
		t := s.archive.tally(header)
		if t == nil || t.Result.IsZero() {
			return nil, 0, types.Refuse(types.UnknownBlob, "verifier: the outputs of header %s", header)
		}
		h, err := tally.DecodeHeader(t.Header)
		if err != nil {
			return nil, 0, err
		}
		o, err := loadOutputs(s.archive.blobs, t.Outputs, h)
		return o, h.Epoch, err
	})
}

// answerOutputs says how many leaves there are, or shows some.
func (s *query) answerOutputs(_ context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.OutputsQuery](raw, s.chain)
	if err != nil || q.Region != s.cfg.Region || !q.Of.IsZero() && q.Of != s.key {
		return nil
	}
	o, err := s.outputsOf(q.Header)
	if err != nil {
		if types.ReasonOf(err) != types.UnknownBlob {
			s.log.Error("outputs cannot be read", "header", q.Header, "error", err)
		}
		return nil
	}
	list := o.search(q.Category, q.Prefix)
	if q.Of.IsZero() {
		which := make([]bus.Leaf, len(list))
		for i, at := range list {
			which[i] = bus.Leaf{Index: uint64(at), Detail: o.leaves[at].digest}
		}
		return bus.Seal(s.cfg.Key, &bus.OutputsSum{
			Chain: s.chain, Region: q.Region, Header: q.Header, Category: q.Category, Prefix: q.Prefix, Count: uint64(len(list)), Which: bus.Which(which),
		})
	}
	if len(list) > bus.MaxMatches {
		return nil
	}
	out := &bus.Outputs{Chain: s.chain, Region: q.Region, Header: q.Header}
	if out.Leaves, out.More, err = o.page(s.archive.blobs, list, q.From); err != nil {
		s.log.Error("outputs cannot be read", "header", q.Header, "error", err)
		return nil
	}
	return bus.Seal(s.cfg.Key, out)
}

// answerOrder shows the order of a session in the state after a header.
func (s *query) answerOrder(ctx context.Context, raw []byte) []byte {
	q, err := bus.Decode[bus.OrderQuery](raw, s.chain)
	if err != nil || q.Region != s.cfg.Region {
		return nil
	}
	h := s.find(ctx, func(h *ledger.Header) bool { return h.Hash == q.Header })
	if h == nil {
		return nil
	}
	prover, err := s.provers.get(h.Hash, func() (*tally.Prover, types.Epoch, error) {
		st, err := s.state(h)
		if err != nil {
			return nil, 0, err
		}
		return st.Prover(), h.Epoch, nil
	})
	if err != nil {
		return nil
	}
	out := &bus.OrderAt{Chain: s.chain, Region: q.Region, Header: q.Header, Session: q.Session}
	if proof, ok := prover.Order(q.Session); ok {
		out.Proof = &proof
	}
	return bus.Seal(s.cfg.Key, out)
}
