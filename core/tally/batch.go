package tally

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// ItemType says what an item of a batch is.
type ItemType uint8

// The types of items.
const (
	Evidence ItemType = 1 // an evidence.Envelope, by a device or an attester
	Receipt  ItemType = 2 // a receipt.Signed, by both sides; its author is the device that countersigned
	Order    ItemType = 3 // a receipt.SignedOrder, by the payer
	Ask      ItemType = 4 // a receipt.SignedAsk that receipts of the batch name, by the device
)

// String names the type.
func (t ItemType) String() string {
	switch t {
	case Evidence:
		return "evidence"
	case Receipt:
		return "receipt"
	case Order:
		return "order"
	case Ask:
		return "ask"
	}
	return fmt.Sprintf("item(%d)", uint8(t))
}

// max is the longest encoding of an item of the type, in bytes.
func (t ItemType) max() int {
	switch t {
	case Evidence:
		return evidence.MaxEnvelope
	case Receipt:
		return receipt.MaxSigned
	default:
		return receipt.MaxTerms + 512
	}
}

// Bounds of a batch. Quotas and the number of devices keep real ones far below.
const (
	MaxBatchItems = 1 << 24
	MaxBatchBytes = 4 << 30
)

// Item is one signed statement, as it was sent.
type Item struct {
	Type ItemType
	Raw  []byte // the encoding; read-only
}

// Name is an item's place in a batch: batches are sorted by author, type, sequence number and hash. An item
// that does not decode, or belongs to another chain, has no author and no number.
type Name struct {
	Author types.Key // who hands it in: the device, the attester, or an order's payer
	Type   ItemType
	Seq    uint64     // of evidence, receipts and orders; 0 for asks
	Hash   types.Hash // SHA-256 of Raw
}

// Compare orders names as a batch does.
func (n *Name) Compare(m *Name) int {
	if c := bytes.Compare(n.Author[:], m.Author[:]); c != 0 {
		return c
	}
	if c := cmp.Or(cmp.Compare(n.Type, m.Type), cmp.Compare(n.Seq, m.Seq)); c != 0 {
		return c
	}
	return bytes.Compare(n.Hash[:], m.Hash[:])
}

// Batch is all that verifiers took in during one epoch of one region, in canonical order.
type Batch struct {
	Items []Item
}

// NewBatch sorts items of chain into a batch and drops repetitions. It decodes every item for its name; a
// caller that has kept the names calls Arrange.
func NewBatch(chain string, items []Item) *Batch {
	names := make([]Name, len(items))
	for i := range items {
		names[i] = open(&items[i], chain, new(slab)).Name
	}
	return Arrange(items, names)
}

// Arrange sorts items into a batch by their names, names[i] being that of items[i], and drops repetitions. Both
// slices stay as they are.
func Arrange(items []Item, names []Name) *Batch {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return names[i].Compare(&names[j]) })
	b := &Batch{Items: make([]Item, 0, len(items))}
	for k, i := range order {
		if k > 0 && names[i] == names[order[k-1]] {
			continue
		}
		b.Items = append(b.Items, items[i])
	}
	return b
}

// WriteTo writes the encoding of b: a CBOR array of items, each an array of its type and its bytes.
func (b *Batch) WriteTo(w io.Writer) (int64, error) {
	buf := types.AppendHead(make([]byte, 0, 64<<10), types.MajorArray, uint64(len(b.Items)))
	var written int64
	flush := func() error {
		n, err := w.Write(buf)
		written += int64(n)
		buf = buf[:0]
		return err
	}
	for i := range b.Items {
		it := &b.Items[i]
		if len(buf)+len(it.Raw)+16 > cap(buf) {
			if err := flush(); err != nil {
				return written, fmt.Errorf("tally: write batch: %w", err)
			}
		}
		buf = types.AppendUint(append(buf, types.MajorArray|2), it.Type)
		buf = types.AppendBytes(buf, it.Raw)
	}
	if err := flush(); err != nil {
		return written, fmt.Errorf("tally: write batch: %w", err)
	}
	return written, nil
}

// Encode returns the encoding of b in one piece.
func (b *Batch) Encode() []byte {
	n := 9
	for i := range b.Items {
		n += len(b.Items[i].Raw) + 7
	}
	buf := bytes.NewBuffer(make([]byte, 0, n))
	b.WriteTo(buf) // a bytes.Buffer takes everything
	return buf.Bytes()
}

// Hash names the batch: SHA-256 of its encoding.
func (b *Batch) Hash() types.Hash {
	h := sha256.New()
	b.WriteTo(h) // a hash takes everything
	return types.Hash(h.Sum(nil))
}

// DecodeBatch reads a batch. Its items share raw, which must not change afterwards. Framing is strict here;
// that the items are in canonical order shows when they are decoded: Apply refuses the batch otherwise.
func DecodeBatch(raw []byte) (*Batch, error) {
	if uint64(len(raw)) > MaxBatchBytes {
		return nil, types.Refuse(types.Oversize, "tally: batch of %d bytes", len(raw))
	}
	c := types.NewCursor(raw)
	n := c.Array(MaxBatchItems)
	if n > len(raw)/3 {
		c.Fail()
		n = 0
	}
	b := &Batch{Items: make([]Item, 0, n)}
	for i := range n {
		if c.Array(2) != 2 {
			c.Fail()
		}
		it := Item{Type: ItemType(c.Uint(uint64(Ask)))}
		it.Raw = c.Bytes()
		if c.Err() != nil || it.Type == 0 {
			return nil, types.Refuse(types.BadEncoding, "tally: batch: item %d", i)
		}
		if len(it.Raw) > it.Type.max() {
			return nil, types.Refuse(types.Oversize, "tally: batch: item %d of %d bytes", i, len(it.Raw))
		}
		b.Items = append(b.Items, it)
	}
	if c.End() != nil {
		return nil, types.Refuse(types.BadEncoding, "tally: batch of %d bytes", len(raw))
	}
	return b, nil
}

// ReadBatch reads a batch from a stream, such as a decompressor, up to its end. It takes no more memory than
// the items it has seen.
func ReadBatch(r io.Reader) (*Batch, error) {
	in := &stream{r: bufio.NewReaderSize(r, 64<<10)}
	n := in.head(types.MajorArray, MaxBatchItems)
	b := &Batch{Items: make([]Item, 0, min(n, 1<<16))}
	var total uint64
	for i := uint64(0); i < n && in.err == nil; i++ {
		if in.head(types.MajorArray, 2) != 2 {
			in.fail()
		}
		t := ItemType(in.head(types.MajorUint, uint64(Ask)))
		size := in.head(types.MajorBytes, uint64(t.max()))
		if total += size; t == 0 || total > MaxBatchBytes {
			in.fail()
		}
		if in.err == nil {
			it := Item{Type: t, Raw: make([]byte, size)}
			_, in.err = io.ReadFull(in.r, it.Raw)
			b.Items = append(b.Items, it)
		}
	}
	if in.err == nil {
		if _, err := in.r.ReadByte(); err != io.EOF {
			in.fail()
		}
	}
	if in.err != nil {
		return nil, fmt.Errorf("tally: batch: item %d: %w", len(b.Items), in.err)
	}
	return b, nil
}

// stream reads heads of CBOR from a reader.
type stream struct {
	r   *bufio.Reader
	err error
}

func (s *stream) fail() {
	if s.err == nil {
		s.err = types.Refuse(types.BadEncoding, "not a batch")
	}
}

// head reads the head of a value of a major type whose number is at most max.
func (s *stream) head(major byte, max uint64) uint64 {
	var b [9]byte
	if s.err != nil {
		return 0
	}
	if b[0], s.err = s.r.ReadByte(); s.err != nil {
		return 0
	}
	size := 0
	if low := b[0] & 31; low >= 24 && low <= 27 {
		size = 1 << (low - 24)
	}
	if _, s.err = io.ReadFull(s.r, b[1:1+size]); s.err != nil {
		return 0
	}
	c := types.NewCursor(b[:1+size])
	n := c.Head(major)
	if c.End() != nil || n > max {
		s.fail()
		return 0
	}
	return n
}
