package network

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// Summary is what a first round came to: what `cairn up --once --json` prints. Amounts are base units.
type Summary struct {
	ChainID string       `json:"chain_id"`
	Height  uint64       `json:"height"`
	Epochs  types.Epoch  `json:"epochs"` // that have ended
	Devices int          `json:"devices"`
	Header  types.Hash   `json:"header"`  // the final one that was claimed by
	Counted uint64       `json:"counted"` // items, in that header's epoch
	Refused uint64       `json:"refused"`
	Claimed types.Ustone `json:"claimed_ustone,string"` // in this round
	Page    string       `json:"page"`
	API     string       `json:"api"`
	RPC     string       `json:"rpc"`
	REST    string       `json:"rest"`
}

// FirstRound does the first round of real work: the home's customer buys credits and uses every category that has something to
// show; then, once a tally that pays for it is final, all owners claim.
func (n *Network) FirstRound(ctx context.Context) (*Summary, error) {
	customer, err := n.EnsureCustomer(ctx)
	if err != nil {
		return nil, err
	}
	wallet, err := n.gateway.Wallet(ctx, customer.APIKey)
	if err != nil {
		return nil, err
	}
	head, err := n.Ledger().Head(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range n.cfg.Customers {
		starter, ok := c.(role.Starter)
		if !ok {
			continue
		}
		did, err := starter.FirstRound(ctx, wallet)
		if err != nil {
			return nil, fmt.Errorf("network: first round of %v: %w", c.Category(), err)
		}
		n.cfg.Progress(Step{Text: did, Done: true})
	}
	n.cfg.Progress(Step{Text: "an epoch ends, the tally pays, and its appeal window closes"})
	return n.claimWhenFinal(ctx, head.Epoch)
}

// claimWhenFinal waits for a final header that pays for an epoch after since, and has all owners claim by it.
func (n *Network) claimWhenFinal(ctx context.Context, since types.Epoch) (*Summary, error) {
	var told types.Epoch
	for block := range n.Ledger().Watch(ctx) {
		headers, err := n.Ledger().Headers(ctx, 0, 16)
		if err != nil {
			return nil, fmt.Errorf("network: headers: %w", err)
		}
		for i := len(headers) - 1; i >= 0; i-- {
			if h := headers[i]; h.Epoch > max(since, told) && h.Raw != nil {
				told = h.Epoch
				if err := n.tell(h); err != nil {
					return nil, err
				}
			}
		}
		for _, h := range headers {
			if h.Status != ledger.Final {
				continue
			}
			claims, err := n.Claimable(ctx)
			if err != nil {
				return nil, err
			}
			if h.Epoch <= since || len(claims) == 0 {
				break
			}
			return n.claim(ctx, block, h, claims)
		}
	}
	return nil, fmt.Errorf("network: no final tally paid anybody: %w", ctx.Err())
}

// tell reports a tally.
func (n *Network) tell(h *ledger.Header) error {
	decoded, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return err
	}
	t := &decoded.Totals
	n.cfg.Progress(Step{Done: true, Text: fmt.Sprintf("epoch %d: tally %.16s…, %d items counted, %d refused; paid in total $%d.%06d, earned in total %d.%06d STONE",
		h.Epoch, h.Hash, t.Counted, t.Refused, t.Spent/1e6, t.Spent%1e6, t.Amount/1e6, t.Amount%1e6)})
	return nil
}

// Claimable returns a claim for each device that a final header owes something.
func (n *Network) Claimable(ctx context.Context) ([]ledger.Claim, error) {
	devices, err := n.Ledger().Devices(ctx)
	if err != nil {
		return nil, fmt.Errorf("network: devices: %w", err)
	}
	var claims []ledger.Claim
	for _, d := range devices {
		c, err := n.Verifier(0).Proof(ctx, d.Key, false)
		if reason := types.ReasonOf(err); reason == types.NotFinal || reason == types.UnknownAuthor {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("network: proof of %v: %w", d.Key, err)
		}
		claimed, err := n.Ledger().Claimed(ctx, d.Key)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return nil, fmt.Errorf("network: claimed by %v: %w", d.Key, err)
		}
		if c.Leaf.Amount > claimed {
			claims = append(claims, c)
		}
	}
	return claims, nil
}

// claim has all owners paid in one transaction, which anybody may send.
func (n *Network) claim(ctx context.Context, head ledger.Block, h *ledger.Header, claims []ledger.Claim) (*Summary, error) {
	l := n.Ledger()
	from, err := l.Lookup(CustomerName)
	if err != nil {
		return nil, err
	}
	s := &Summary{ChainID: n.layout.ChainID, Epochs: head.Epoch - 1, Devices: len(n.nodes), Header: h.Hash}
	var owed types.Ustone
	for _, c := range claims {
		before, err := l.Claimed(ctx, c.Leaf.Device)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return nil, err
		}
		owed += c.Leaf.Amount - before
	}
	done, err := l.Submit(ctx, from, ledger.Claims{Claims: claims})
	if err != nil {
		return nil, fmt.Errorf("network: claim: %w", err)
	}
	decoded, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return nil, err
	}
	at := n.Addresses()
	s.Height, s.Claimed, s.Counted, s.Refused = done.Height, owed, decoded.Totals.Counted, decoded.Totals.Refused
	s.Page, s.API, s.RPC, s.REST = at.Page, at.API, at.RPC, at.REST
	n.cfg.Progress(Step{Done: true, Text: fmt.Sprintf("%d owners claimed %d.%06d STONE", len(claims), owed/1e6, owed%1e6)})
	return s, nil
}
