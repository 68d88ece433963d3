package verifier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

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

// bundleMagic starts a bundle's file. Then come Previous, Header, Frame, Changes, Batch and the number of Pages and each of them, every
// part after its u64 length and every number as u64, big endian.
const bundleMagic = "cairn bundle 1\n"

// BundleName is the name of a bundle's file.
func BundleName(e types.Epoch, region types.Region) string {
	return fmt.Sprintf("tally-%d-%d.bundle", region, e)
}

// WriteTo implements io.WriterTo.
func (b *Bundle) WriteTo(w io.Writer) (int64, error) {
	var written int64
	write := func(p []byte) error {
		n, err := w.Write(p)
		written += int64(n)
		return err
	}
	err := write([]byte(bundleMagic))
	part := func(p []byte) {
		if err == nil {
			err = write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		}
		if err == nil {
			err = write(p)
		}
	}
	for _, p := range [][]byte{b.Previous, b.Header, b.Frame, b.Changes, b.Batch} {
		part(p)
	}
	if err == nil {
		err = write(binary.BigEndian.AppendUint64(nil, uint64(len(b.Pages))))
	}
	for _, p := range b.Pages {
		part(p)
	}
	if err != nil {
		return written, fmt.Errorf("verifier: write a bundle: %w", err)
	}
	return written, nil
}

// ParseBundle reads what WriteTo wrote. The bundle shares raw.
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
	Why      string // if they are not equal
}

// Recompute computes a header from a bundle and compares it with the one of hash expected, or with the bundle's own if that is zero. Every
// byte of the bundle counts: whatever is wrong in it shows as not equal, with a reason; an error is for what could not be tried.
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
	signed, _ := verdicts(batch, frame.Chain, workers, func(types.Hash) bool { return false })
	_, h, _, err := Parallel(workers).Apply(rules, base, frame, batch, changes, signed)
	return h, err
}

// RecomputeFile is Recompute for the bundle of one epoch and region in a folder.
func RecomputeFile(dir string, e types.Epoch, region types.Region, expected types.Hash, version uint32, categories []tally.Verifier, workers int) (*Check, error) {
	raw, err := os.ReadFile(filepath.Join(dir, BundleName(e, region)))
	if err != nil {
		return nil, fmt.Errorf("verifier: bundle of epoch %d, region %d: %w", e, region, err)
	}
	b, err := ParseBundle(raw)
	if err != nil {
		return &Check{Expected: expected, Why: err.Error()}, nil
	}
	return Recompute(b, expected, version, categories, workers)
}

// Save writes the bundle into a folder, under BundleName.
func (b *Bundle) Save(dir string, e types.Epoch, region types.Region) error {
	var buf bytes.Buffer
	if _, err := b.WriteTo(&buf); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, BundleName(e, region)), buf.Bytes()); err != nil {
		return fmt.Errorf("verifier: save the bundle of epoch %d: %w", e, err)
	}
	return nil
}

// FetchBundle fetches what the header of an epoch was made from: the headers from the chain, all else over the bus by hash, each
// part held against the header.
func FetchBundle(ctx context.Context, l ledger.Reader, link bus.Bus, e types.Epoch, region types.Region) (*Bundle, error) {
	return gatherBundle(ctx, l, e, region, func(hash types.Hash) ([]byte, error) {
		return bus.FetchBlob(ctx, link, hash, maxBlob)
	}, func(prev types.Hash, h *tally.Header) ([][]byte, error) {
		return FetchPages(ctx, link, prev, h, nil)
	})
}

// Bundle returns what the header of an epoch was made from, out of what this verifier keeps.
func (v *Verifier) Bundle(ctx context.Context, e types.Epoch) (*Bundle, error) {
	return gatherBundle(ctx, v.ledger, e, v.cfg.Region, v.store.blobs.get, func(prev types.Hash, h *tally.Header) ([][]byte, error) {
		list, err := bus.ParseHashes(v.store.pageList(prev))
		if err != nil {
			return nil, err
		}
		if merkle.Root(list) != h.State {
			return nil, types.Refuse(types.UnknownBlob, "verifier: the state after epoch %d", h.Epoch)
		}
		pages := make([][]byte, len(list))
		for i := range list {
			pages[i] = v.store.page(list[i])
		}
		return pages, nil
	})
}

func gatherBundle(ctx context.Context, l ledger.Reader, e types.Epoch, region types.Region, blob func(types.Hash) ([]byte, error), pages func(types.Hash, *tally.Header) ([][]byte, error)) (*Bundle, error) {
	at, err := l.Header(ctx, e, region)
	if err != nil {
		return nil, err
	}
	if at.Raw == nil {
		return nil, types.Refuse(types.RegionSkipped, "verifier: epoch %d of region %d is %s", e, region, at.Status)
	}
	h, err := tally.DecodeHeader(at.Raw)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Header: at.Raw}
	for hash, to := range map[types.Hash]*[]byte{h.Frame: &b.Frame, h.Registry: &b.Changes, h.Batch: &b.Batch} {
		if *to, err = blob(hash); err != nil {
			return nil, fmt.Errorf("verifier: bundle of epoch %d: %w", e, err)
		}
	}
	if h.Previous.IsZero() {
		return b, nil
	}
	prev, err := l.Header(ctx, at.Previous, region)
	if err != nil {
		return nil, err
	}
	if types.Sum(prev.Raw) != h.Previous {
		return nil, types.Refuse(types.HeaderLink, "verifier: the header before that of epoch %d is another one", e)
	}
	before, err := tally.DecodeHeader(prev.Raw)
	if err != nil {
		return nil, err
	}
	b.Previous = prev.Raw
	if b.Pages, err = pages(prev.Hash, before); err != nil {
		return nil, fmt.Errorf("verifier: bundle of epoch %d: %w", e, err)
	}
	return b, nil
}
