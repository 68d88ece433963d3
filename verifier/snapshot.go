package verifier

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// served is what a verifier serves by hash: blobs, the pages of its states, and what it made for who asked.
type served struct {
	*store
	made *recent
}

// ReadBlob implements bus.Blobs.
func (s served) ReadBlob(hash types.Hash, p []byte, offset int64) (n int, size int64, err error) {
	if _, ok := s.blobs.where(hash); ok {
		return s.blobs.ReadBlob(hash, p, offset)
	}
	page := s.made.get(hash)
	if page == nil {
		page = s.page(hash)
	}
	if len(page) == 0 {
		return 0, 0, types.Refuse(types.UnknownBlob, "verifier: blob %s", hash)
	}
	size = int64(len(page))
	if offset >= size {
		return 0, size, io.EOF
	}
	n = copy(p, page[offset:])
	if offset+int64(n) >= size {
		err = io.EOF
	}
	return n, size, err
}

const (
	maxPages      = 1 << 22 // of one state
	pageFetchers  = 8
	maxPage       = 8 << 20 // bytes
	stateAttempts = 8       // answers to one question for a state
)

// FetchPages fetches the pages of the state after a header from whoever has it, in order. have returns those that need not be
// fetched, or nil.
func FetchPages(ctx context.Context, b bus.Bus, header types.Hash, h *tally.Header, have func(types.Hash) []byte) ([][]byte, error) {
	list, err := fetchPageList(ctx, b, header, h)
	if err != nil {
		return nil, err
	}
	pages := make([][]byte, len(list))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range pageFetchers {
		wg.Go(func() {
			for i := range next {
				if have != nil {
					if pages[i] = have(list[i]); len(pages[i]) > 0 {
						continue
					}
				}
				var err error
				if pages[i], err = bus.FetchBlob(ctx, b, list[i], maxPage); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range list {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
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
func (v *Verifier) fetchState(ctx context.Context, h *ledger.Header) error {
	if h == nil {
		return types.Refuse(types.NotFinal, "verifier: no final header to start from")
	}
	header, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return err
	}
	pages, err := FetchPages(ctx, v.bus, h.Hash, header, v.store.page)
	if err != nil {
		return err
	}
	st, err := tally.DecodeState(header.State, pages)
	if err != nil {
		return err
	}
	if err := v.store.putState(h.Hash, st); err != nil {
		return err
	}
	v.mu.Lock()
	v.states[h.Hash] = st
	v.mu.Unlock()
	v.log.Info("fetched a state", "epoch", h.Epoch, "pages", len(pages))
	v.messages.wake()
	return nil
}
