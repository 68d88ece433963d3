package verifier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Bundle is all that one header was made from: with it, and the rules, anybody can recompute the header offline.
type Bundle struct {
	Previous []byte   // the header before; empty for the region's first
	Header   []byte   // as the chain took it
	Frame    []byte   // tally.DecodeFrame
	Changes  []byte   // tally.DecodeChanges
	Batch    []byte   // tally.DecodeBatch
	Pages    [][]byte // of the state after Previous, in order; none for the region's first
}

// bundleMagic starts a bundle's file. Then come Previous, Header, Frame, Changes, Batch and the number of Pages
// and each of them, every part after its u64 length and every number as u64, big endian.
const bundleMagic = "cairn bundle 1\n"

// BundleName is the name of a bundle's file.
func BundleName(e types.Epoch, region types.Region) string {
	return fmt.Sprintf("tally-%d-%d.bundle", region, e)
}

// section is a part of a bundle's file: how long it is, and what writes it.
type section struct {
	size  int64
	write func(io.Writer) error
}

// inMemory is a section that is in memory.
func inMemory(p []byte) section {
	return section{int64(len(p)), func(w io.Writer) error { _, err := w.Write(p); return err }}
}

// writeBundle writes a bundle's file: Previous, Header, Frame, Changes and Batch, then n pages, one at a time.
func writeBundle(w io.Writer, head [5]section, n int, page func(int) ([]byte, error)) error {
	number := func(n uint64) error { _, err := w.Write(binary.BigEndian.AppendUint64(nil, n)); return err }
	if _, err := io.WriteString(w, bundleMagic); err != nil {
		return err
	}
	for _, p := range head {
		if err := number(uint64(p.size)); err != nil {
			return err
		}
		if err := p.write(w); err != nil {
			return err
		}
	}
	if err := number(uint64(n)); err != nil {
		return err
	}
	for i := range n {
		raw, err := page(i)
		if err != nil {
			return err
		}
		if err := number(uint64(len(raw))); err != nil {
			return err
		}
		if _, err := w.Write(raw); err != nil {
			return err
		}
	}
	return nil
}

// ParseBundle reads a bundle's file. The bundle shares raw.
func ParseBundle(raw []byte) (*Bundle, error) {
	bad := types.Refuse(types.BadEncoding, "verifier: not a bundle")
	rest, ok := bytes.CutPrefix(raw, []byte(bundleMagic))
	if !ok {
		return nil, bad
	}
	number := func() uint64 {
		if len(rest) < 8 {
			ok = false
			return 0
		}
		n := binary.BigEndian.Uint64(rest)
		rest = rest[8:]
		return n
	}
	part := func() []byte {
		n := number()
		if n > uint64(len(rest)) {
			ok = false
			return nil
		}
		p := rest[:n:n]
		rest = rest[n:]
		return p
	}
	b := &Bundle{Previous: part(), Header: part(), Frame: part(), Changes: part(), Batch: part()}
	n := number()
	if n > uint64(len(rest))/8 {
		return nil, bad
	}
	for range n {
		b.Pages = append(b.Pages, part())
	}
	if !ok || len(rest) != 0 {
		return nil, bad
	}
	return b, nil
}

// Check is the outcome of recomputing a header.
type Check struct {
	Expected types.Hash    // the header that the chain took
	Header   types.Hash    // what its inputs give; zero if they give none
	Computed *tally.Header // of hash Header; nil if there is none
	Equal    bool
	Why      string    // if they are not equal
	Checked  []string  // inputs that are the chain's own (Compare); nil if none was held against it
	Differs  []Finding // inputs that are not
}

// Recompute computes a header from a bundle and compares it with the one of hash expected, or with the bundle's
// own if that is zero. Every byte of the bundle counts: whatever is wrong in it shows as not equal, with a
// reason; an error is for what could not be tried.
func Recompute(b *Bundle, expected types.Hash, version uint32, categories []tally.Verifier, workers int) (*Check, error) {
	c := &Check{Expected: expected}
	if c.Expected.IsZero() {
		c.Expected = types.Sum(b.Header)
	}
	rules, err := tally.NewRules(version, categories...)
	if err != nil {
		return nil, err
	}
	if c.Computed, err = b.recompute(rules, workers); err != nil {
		c.Why = err.Error()
		return c, nil
	}
	c.Header = c.Computed.Hash()
	switch {
	case c.Header != c.Expected:
		c.Why = "the inputs give another header"
		if h, err := tally.DecodeHeader(b.Header); err == nil {
			c.Why = difference(c.Computed, h)
		}
	case types.Sum(b.Header) != c.Expected:
		c.Why = "the bundle's own header is another one"
	default:
		c.Equal = true
	}
	return c, nil
}

func (b *Bundle) recompute(rules *tally.Rules, workers int) (*tally.Header, error) {
	frame, err := tally.DecodeFrame(b.Frame)
	if err != nil {
		return nil, err
	}
	changes, err := tally.DecodeChanges(b.Changes)
	if err != nil {
		return nil, err
	}
	batch, err := tally.DecodeBatch(b.Batch)
	if err != nil {
		return nil, err
	}
	base := tally.NewState(frame.Chain, frame.Region)
	if len(b.Previous) == 0 {
		if !frame.Previous.IsZero() || len(b.Pages) != 0 {
			return nil, errors.New("the header before is missing")
		}
	} else {
		if types.Sum(b.Previous) != frame.Previous {
			return nil, errors.New("the header before is another one")
		}
		previous, err := tally.DecodeHeader(b.Previous)
		if err != nil {
			return nil, err
		}
		if base, err = tally.DecodeState(previous.State, b.Pages); err != nil {
			return nil, err
		}
	}
	signed, _, _ := check(batch, frame.Chain, workers, func(types.Hash) bool { return false }, false)
	_, h, _, err := Parallel(workers).Apply(rules, base, frame, batch, changes, signed)
	return h, err
}

// writeBundle is Verifier.WriteBundle.
func (s *query) writeBundle(ctx context.Context, e types.Epoch, w io.Writer) error {
	at, h, prev, before, err := bundleHeaders(ctx, s.ledger, e, s.cfg.Region)
	if err != nil {
		return err
	}
	head := [5]section{inMemory(nil), inMemory(at.Raw)}
	for i, hash := range []types.Hash{h.Frame, h.Registry, h.Batch} {
		_, size, err := s.archive.blobs.ReadBlob(hash, nil, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("verifier: bundle of epoch %d: %w", e, err)
		}
		head[2+i] = section{size, func(w io.Writer) error { return s.archive.blobs.copy(w, hash, size) }}
	}
	var list []types.Hash
	if prev != nil {
		head[0] = inMemory(prev.Raw)
		if list, err = bus.ParseHashes(s.archive.pageList(prev.Hash)); err != nil {
			return err
		}
		if merkle.Root(list) != before.State {
			return types.Refuse(types.UnknownBlob, "verifier: the state after epoch %d", before.Epoch)
		}
	}
	err = writeBundle(w, head, len(list), func(i int) ([]byte, error) {
		raw := s.archive.page(list[i])
		if raw == nil {
			return nil, types.Refuse(types.UnknownBlob, "a page of the state after epoch %d", before.Epoch)
		}
		return raw, nil
	})
	if err != nil {
		return fmt.Errorf("verifier: write the bundle of epoch %d: %w", e, err)
	}
	return nil
}

// bundleHeaders returns the header of an epoch as the chain took it, and the one before: nil for a region's first.
func bundleHeaders(ctx context.Context, l ledger.Reader, e types.Epoch, region types.Region) (at *ledger.Header, h *tally.Header, prev *ledger.Header, before *tally.Header, err error) {
	if at, err = l.Header(ctx, e, region); err != nil {
		return nil, nil, nil, nil, err
	}
	if at.Raw == nil {
		return nil, nil, nil, nil, types.Refuse(types.RegionSkipped, "verifier: epoch %d of region %d is %s", e, region, at.Status)
	}
	if h, err = tally.DecodeHeader(at.Raw); err != nil || h.Previous.IsZero() {
		return at, h, nil, nil, err
	}
	if prev, err = l.Header(ctx, at.Previous, region); err != nil {
		return nil, nil, nil, nil, err
	}
	if types.Sum(prev.Raw) != h.Previous {
		return nil, nil, nil, nil, types.Refuse(types.HeaderLink, "verifier: the header before that of epoch %d is another one", e)
	}
	before, err = tally.DecodeHeader(prev.Raw)
	return at, h, prev, before, err
}
