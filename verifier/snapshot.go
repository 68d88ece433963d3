package verifier

import (
	"context"
	"fmt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

const (
	maxPages      = 1 << 22 // of one state
	pageFetchers  = 8
	maxPage       = 8 << 20 // bytes
	stateAttempts = 8       // answers to one question for a state
)

// fetchPages fetches the pages of the state after a header from whoever has it, in order. have returns those
// that need not be fetched.
func fetchPages(ctx context.Context, b bus.Bus, header types.Hash, h *tally.Header, have func(types.Hash) []byte) ([][]byte, error) {
	list, err := fetchPageList(ctx, b, header, h)
	if err != nil {
		return nil, err
	}
	pages := make([][]byte, len(list))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	Parallel(pageFetchers).Run(len(list), func(i int) {
		if pages[i] = have(list[i]); len(pages[i]) > 0 || ctx.Err() != nil {
			return
		}
		var err error
		if pages[i], err = bus.FetchBlob(ctx, b, list[i], maxPage); err != nil {
			cancel(err)
		}
	})
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("verifier: pages of the state after epoch %d: %w", h.Epoch, err)
	}
	return pages, nil
}

// fetchPageList asks for the names of a state's pages and holds them against the header.
func fetchPageList(ctx context.Context, b bus.Bus, header types.Hash, h *tally.Header) ([]types.Hash, error) {
	q := &bus.StateQuery{Chain: h.Chain, Region: h.Region, Header: header}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var list []types.Hash
	last := types.Refuse(types.UnknownBlob, "nobody has the state after epoch %d", h.Epoch)
	tries := 0
	err := b.Gather(ctx, bus.QuerySubject(b.Key(), h.Region, bus.QueryState), bus.Encode(q), func(raw []byte) bool {
		tries++
		at, err := bus.Decode[bus.StateAt](raw, h.Chain)
		if err != nil || at.Header != header {
			return tries < stateAttempts
		}
		data, err := bus.FetchBlob(ctx, b, at.Pages.Hash, maxPages*uint64(len(types.Hash{})))
		if err == nil {
			list, err = bus.ParseHashes(data)
		}
		if err == nil && merkle.Root(list) != h.State {
			err = types.Refuse(types.Mismatch, "verifier: pages of another state")
		}
		if err != nil {
			last, list = err, nil
			return tries < stateAttempts
		}
		return false
	})
	if list != nil {
		return list, nil
	}
	if err != nil && types.ReasonOf(last) == types.UnknownBlob && ctx.Err() == nil {
		last = err
	}
	return nil, fmt.Errorf("verifier: %w", last)
}

// fetchState fetches the state after a final header and keeps it: where a new verifier starts.
func (w *watch) fetchState(ctx context.Context, h *ledger.Header) error {
	if h == nil {
		return types.Refuse(types.NotFinal, "verifier: no final header to start from")
	}
	header, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return err
	}
	pages, err := fetchPages(ctx, w.bus, h.Hash, header, w.archive.page)
	if err != nil {
		return err
	}
	st, err := tally.DecodeState(header.State, pages)
	if err != nil {
		return err
	}
	if err := w.archive.putState(h.Hash, st); err != nil {
		return err
	}
	w.log.Info("fetched a state", "epoch", h.Epoch, "pages", len(pages))
	w.messages.wake()
	return nil
}
