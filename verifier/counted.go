package verifier

import (
	"context"
	"fmt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Line returns a category's line of a device in the state after the region's tally of an epoch, nil for none;
// unknown_blob if that tally does not stand, or this verifier does not have it.
func (v *Verifier) Line(ctx context.Context, e types.Epoch, c types.Category, device types.Key) ([]byte, error) {
	h, err := v.query.headerOf(ctx, e)
	if err != nil {
		return nil, err
	}
	st, err := v.query.state(h)
	if err != nil {
		return nil, err
	}
	return st.CategoryLine(device, c), nil
}

// Counted returns what of devices' evidence of a kind counted in the region's tally of an epoch, in the order
// of numbers. Devices of which nothing did are not in it. It is unknown_blob if that tally does not stand, or
// this verifier does not have what it was made from. The whole batch is read.
func (v *Verifier) Counted(ctx context.Context, e types.Epoch, c types.Category, kind evidence.Kind, devices []types.Key) (map[types.Key][]*evidence.Envelope, error) {
	return v.query.counted(ctx, e, c, kind, devices)
}

// Reported returns what this verifier has acknowledged of an epoch's envelopes of a kind, from a place among
// all that it has acknowledged on, and the place behind the last one that it looked at. It looks at maxLooked
// of them: more says that there are others. An epoch whose mempool is not open has none.
func (v *Verifier) Reported(e types.Epoch, c types.Category, kind evidence.Kind, from int) (list []*evidence.Envelope, next int, more bool, err error) {
	b := v.mempools.of(e)
	if b == nil {
		return nil, from, false, nil
	}
	raw, next, more, err := b.evidence(from)
	if err != nil {
		return nil, from, false, err
	}
	for _, r := range raw {
		if env, err := evidence.Decode(r, v.chain); err == nil && env.Category == c && env.Kind == kind {
			list = append(list, env)
		}
	}
	return list, next, more, nil
}

// maxLooked bounds how many entries of a mempool one question reads.
const maxLooked = 1024

// headerOf returns the header of an epoch that stands.
func (s *query) headerOf(ctx context.Context, e types.Epoch) (*ledger.Header, error) {
	h := s.find(ctx, func(h *ledger.Header) bool { return h.Epoch == e })
	if h == nil {
		return nil, types.Refuse(types.UnknownBlob, "verifier: region %d has no tally of epoch %d that stands", s.cfg.Region, e)
	}
	return h, nil
}

// counted is Verifier.Counted.
func (s *query) counted(ctx context.Context, e types.Epoch, c types.Category, kind evidence.Kind, devices []types.Key) (map[types.Key][]*evidence.Envelope, error) {
	h, err := s.headerOf(ctx, e)
	if err != nil {
		return nil, err
	}
	report, err := s.report(h.Hash)
	if err != nil {
		return nil, err
	}
	t := s.archive.tally(h.Hash)
	if t == nil {
		return nil, types.Refuse(types.UnknownBlob, "verifier: the tally of header %s", h.Hash)
	}
	raw, err := s.archive.blobs.get(t.Batch)
	if err != nil {
		return nil, err
	}
	batch, err := tally.DecodeBatch(raw)
	if err != nil {
		return nil, fmt.Errorf("verifier: batch of epoch %d: %w", e, err)
	}
	wanted := map[types.Key]bool{}
	for _, d := range devices {
		wanted[d] = true
	}
	refused := map[types.Hash]bool{}
	for i := range report.Refused {
		if wanted[report.Refused[i].Author] {
			refused[report.Refused[i].Item] = true
		}
	}
	out := map[types.Key][]*evidence.Envelope{}
	for _, it := range batch.Items { // by author and number
		if it.Type != tally.Evidence {
			continue
		}
		env, err := evidence.Decode(it.Raw, s.chain)
		if err == nil && wanted[env.Author] && env.Category == c && env.Kind == kind && !refused[env.Hash] {
			out[env.Author] = append(out[env.Author], env)
		}
	}
	return out, nil
}

// evidence reads the envelopes among maxLooked entries from a place on, and returns the place behind the last
// of these.
func (b *mempool) evidence(from int) (list [][]byte, next int, more bool, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if from < 0 || from > b.synced {
		from = 0 // the log is not the one that the place is of
	}
	next = min(from+maxLooked, b.synced)
	for _, e := range b.entries[from:next] {
		if e.Type != tally.Evidence {
			continue
		}
		raw := make([]byte, e.size)
		if _, err := b.file.ReadAt(raw, e.offset); err != nil {
			return nil, from, false, fmt.Errorf("verifier: read the log of epoch %d: %w", b.epoch, err)
		}
		list = append(list, raw)
	}
	return list, next, next < b.synced, nil
}
