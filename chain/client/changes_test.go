package client_test

import (
	"context"
	"testing"

	"github.com/cometbft/cometbft/libs/bytes"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"

	"github.com/cairn-network/cairn/chain/app/solo"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// pager is a node that answers a query for registry changes in its own way.
type pager struct {
	*solo.Chain
	edit func(*tallytypes.QueryChangesResponse)
}

func (p *pager) ABCIQueryWithOptions(ctx context.Context, path string, data bytes.HexBytes, o rpcclient.ABCIQueryOptions) (*coretypes.ResultABCIQuery, error) {
	res, err := p.Chain.ABCIQueryWithOptions(ctx, path, data, o)
	if err != nil || path != "/cairn.tally.v1.Query/Changes" {
		return res, err
	}
	var page tallytypes.QueryChangesResponse
	if err := page.Unmarshal(res.Response.Value); err != nil {
		return nil, err
	}
	p.edit(&page)
	res.Response.Value, err = page.Marshal()
	return res, err
}

// TestChanges: registry changes come page by page, and a list that is not what the chain has added up is none.
func TestChanges(t *testing.T) {
	p := newPeriod(t, 1)
	for i := range byte(3) {
		_, err := p.real.Submit(t.Context(), p.made.accounts[i], ledger.Buy{Amount: 1_000 * stone})
		p.must(err)
	}
	p.must(p.chain.AdvanceTo(p.blocks + 5))
	want, err := p.real.Changes(t.Context(), 2, 0)
	p.must(err)
	if len(want) != 3 {
		t.Fatalf("%d changes", len(want))
	}
	for name, edit := range map[string]func(*tallytypes.QueryChangesResponse){
		"one is left out":    func(r *tallytypes.QueryChangesResponse) { r.Changes = r.Changes[1:] },
		"the order differs":  func(r *tallytypes.QueryChangesResponse) { r.Changes[0], r.Changes[1] = r.Changes[1], r.Changes[0] },
		"one is there twice": func(r *tallytypes.QueryChangesResponse) { r.Changes = append(r.Changes, r.Changes[2]) },
		"no end":             func(r *tallytypes.QueryChangesResponse) { r.Next = []byte{1, 2, 3} },
		"empty pages":        func(r *tallytypes.QueryChangesResponse) { r.Changes, r.Next = nil, append(r.Next, 1) },
	} {
		l := p.made.open(t, &pager{p.chain, edit})
		got, err := l.Changes(t.Context(), 2, 0)
		if err == nil {
			t.Errorf("%s: %d changes, no error", name, len(got))
		}
		if ends := types.ReasonOf(err) == types.Oversize; ends != (name == "no end" || name == "empty pages") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
