package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// tip returns the region's newest header that stands; nil for none.
func (m *market) tip(ctx context.Context) (*tally.Header, error) {
	tallied := m.Notice().Tallied
	if tallied == 0 {
		return nil, nil
	}
	_, h, err := m.header(ctx, tallied)
	return h, err
}

// header reads a region's header. It is nil for one that does not stand.
func (m *market) header(ctx context.Context, e types.Epoch) (*ledger.Header, *tally.Header, error) {
	at, err := m.ledger.Header(ctx, e, m.Region())
	if err != nil {
		return nil, nil, fmt.Errorf("gateway: header of epoch %d: %w", e, err)
	}
	if at.Status != ledger.Accepted && at.Status != ledger.Appealed && at.Status != ledger.Final {
		return at, nil, nil
	}
	h, err := tally.DecodeHeader(at.Raw)
	if err != nil {
		return nil, nil, fmt.Errorf("gateway: header of epoch %d: %w", e, err)
	}
	return at, h, nil
}

// refusal returns why the tallies since an order was kept refused it, as more than two thirds of power say; ""
// if none did.
func (m *market) refusal(ctx context.Context, tip *tally.Header, o *order) (types.Reason, error) {
	first := o.kept
	if tip.Epoch > first+3 {
		first = tip.Epoch - 3 // it was kept in an epoch that was skipped long ago; who looks that late finds it in the newest ones
	}
	for e := first; e <= tip.Epoch; e++ {
		_, h, err := m.header(ctx, e)
		if err != nil {
			return "", err
		}
		if h == nil {
			continue
		}
		refused, err := m.quorum().Refusals(ctx, o.item.Own.Payer, e)
		if err != nil {
			return "", err
		}
		for _, r := range refused.Refused {
			if r.Item == o.item.Hash {
				return r.Reason, nil
			}
		}
	}
	return "", nil
}

// Outputs implements role.Market.
func (m *categoryMarket) Outputs(ctx context.Context, epoch types.Epoch, prefix []byte) ([]role.Output, error) {
	at, h, err := m.header(ctx, epoch)
	switch {
	case errors.Is(err, ledger.ErrNotFound) && epoch+1 < m.Notice().Epoch:
		return nil, types.Refuse(types.UnknownBlob, "gateway: the chain does not keep epoch %d any more", epoch)
	case errors.Is(err, ledger.ErrNotFound):
		return nil, types.Refuse(types.NotFinal, "gateway: epoch %d has no header yet", epoch)
	case err != nil:
		return nil, err
	case at.Status == ledger.Open:
		return nil, types.Refuse(types.NotFinal, "gateway: epoch %d has no header yet", epoch)
	case h == nil:
		return nil, types.Refuse(types.RegionSkipped, "gateway: epoch %d is %s", epoch, at.Status)
	}
	leaves, err := m.quorum().Outputs(ctx, h, m.category, prefix)
	if err != nil {
		return nil, fmt.Errorf("gateway: outputs of epoch %d: %w", epoch, err)
	}
	out := make([]role.Output, len(leaves))
	for i, l := range leaves {
		out[i] = role.Output{Epoch: epoch, Region: h.Region, Final: at.Status == ledger.Final, Index: l.Index, Data: l.Data, Detail: l.Detail, Siblings: l.Siblings}
	}
	return out, nil
}
