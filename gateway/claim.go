package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// claimPatience is how long verifiers have to show one leaf.
const claimPatience = 3 * time.Second

// Claim returns a device's leaf of the region's newest final header with its proof, as any verifier shows it
// and the header that notices name proves it; or of the newest that was taken, with tallied. It is not_final
// where there is no such header yet.
func (g *Gateway) Claim(ctx context.Context, device types.Key, tallied bool) (*ledger.Claim, error) {
	a := g.market.agent
	n := a.Notice()
	if n == nil {
		return nil, types.Refuse(types.BusUnavailable, "gateway: no notice has come yet")
	}
	root := n.Final
	if tallied {
		root = n.Tallied
	}
	if root == (bus.Root{}) {
		return nil, types.Refuse(types.NotFinal, "gateway: no header yet")
	}
	q := a.Quorum()
	q.Wait = claimPatience
	p, err := q.Proof(ctx, device, root, tallied)
	if err != nil {
		return nil, fmt.Errorf("gateway: leaf of %v: %w", device, err)
	}
	return &ledger.Claim{Epoch: p.Epoch, Region: p.Region, Leaf: p.Leaf, Proof: p.Proof}, nil
}

// Connected says what keeps the gateway from the bus; nil for nothing.
func (g *Gateway) Connected() error {
	a := g.market.agent
	switch {
	case a.Bus() != nil:
		return nil
	case a.Problem() != nil:
		return a.Problem()
	}
	return types.Refuse(types.BusUnavailable, "gateway: there is no connection to the bus")
}

// Heard is when the newest notice came; zero before the first.
func (g *Gateway) Heard() time.Time { return g.market.agent.Heard() }

// Wallets is how many API keys it keeps that accounts granted.
func (g *Gateway) Wallets() int {
	payers, err := g.market.store.payers()
	if err != nil {
		return 0
	}
	return len(payers)
}
