package verifier

import (
	"context"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// repeats is in how many blocks a notice's occasion is told: a verifier that was late for the first one signs
// the next.
const repeats = 3

// notices tells devices and gateways what the chain says.
type notices struct {
	*self
	ledger  ledger.Reader
	clock   *clock
	archive *archive
}

// tell publishes the notice of a block, if it is due and all that it says is known. Nobody listens to a
// verifier without power, whom the bus does not let speak: it waits for its seat. One that has lost it is still
// heard by those who believe the epoch before.
func (t *notices) tell(ctx context.Context, head ledger.Block) {
	if !t.clock.member(head.Epoch, t.key) && (head.Epoch == 0 || !t.clock.member(head.Epoch-1, t.key)) {
		return
	}
	n, err := t.notice(ctx, head)
	if err != nil {
		if ctx.Err() == nil {
			t.log.Debug("no notice", "height", head.Height, "why", err)
		}
		return
	}
	if n == nil {
		return
	}
	if err := t.bus.PublishLast(ctx, bus.NoticeSubject(t.key, t.cfg.Region), bus.Seal(t.cfg.Key, n)); err != nil && ctx.Err() == nil {
		t.log.Warn("a notice was not sent", "height", head.Height, "error", err)
	}
}

// due reports whether the verifiers tell devices of a block: the first ones of an epoch, the first ones that
// know its seed, and every so many.
func due(ep *ledger.Epoch, head ledger.Block, seedAt uint64) bool {
	since := head.Height - ep.First
	if since < repeats || since%bus.NoticeEvery(ep.Cut-ep.First+1) == 0 {
		return true
	}
	return seedAt > 0 && head.Height >= seedAt && head.Height < seedAt+repeats
}

// notice returns what the chain says at head, the newest block; nil if no notice is due. It returns an error
// while this verifier does not know the state after the region's newest header, or if the chain has moved on
// meanwhile.
func (t *notices) notice(ctx context.Context, head ledger.Block) (*bus.Notice, error) {
	ep, err := t.ledger.Epoch(ctx, head.Epoch) // not clock.epoch: the seed may have come since
	if err != nil {
		return nil, err
	}
	p, err := readPath(ctx, t.ledger, t.cfg.Region, head.Epoch)
	if err != nil {
		return nil, err
	}
	var seedAt uint64 // the block after which the seed is known
	if !ep.Seed.IsZero() && len(p.all) > 0 && p.all[0].Epoch == ep.Epoch-1 {
		seedAt = p.all[0].Height
	}
	if !due(ep, head, seedAt) {
		return nil, nil
	}
	n := &bus.Notice{
		Chain: t.chain, Region: t.cfg.Region, Epoch: ep.Epoch, Height: head.Height, Hash: head.Hash, Time: uint64(head.Time.Unix()),
		First: ep.First, Cut: ep.Cut, EpochTime: uint64(ep.Time.Unix()), Seed: ep.Seed, Challenged: ep.Challenged, MinOpening: ep.MinOpening,
		Set: bus.SetOf(ep.Verifiers),
	}
	n.Params, n.Rules = bus.RulesOf(ep.Params)
	for i := range ep.Params {
		if len(ep.Params[i].Rules) > 0 { // served before anybody hears of them
			if _, err := t.archive.blobs.put(ep.Epoch, ep.Params[i].Rules); err != nil {
				return nil, err
			}
		}
	}
	var known []tally.BlockHash
	if now := t.clock.now(); now != nil {
		known = now.blocks
	}
	if n.Blocks, err = recentBlocks(ctx, t.ledger, head, bus.MaxBlocks, known); err != nil {
		return nil, err
	}
	if n.Final, err = rootOf(p.final); err != nil {
		return nil, err
	}
	if n.Tallied, err = rootOf(p.tip); err != nil {
		return nil, err
	}
	if p.tip != nil {
		st := t.archive.state(p.tip)
		if st == nil {
			return nil, types.Refuse(types.UnknownBlob, "verifier: the state after epoch %d", p.tip.Epoch)
		}
		for _, params := range ep.Params {
			if sums := st.CategoryTotals(params.Category); sums != nil {
				n.Totals = append(n.Totals, bus.Totals{Category: params.Category, Sums: sums})
			}
		}
	}
	now, err := t.ledger.Head(ctx)
	if err != nil {
		return nil, err
	}
	if now.Height != head.Height {
		return nil, types.Refuse(types.BadAnchor, "verifier: the chain moved on to block %d", now.Height)
	}
	return n, nil
}

// rootOf is what a notice says of a header; its zero value for none.
func rootOf(h *ledger.Header) (bus.Root, error) {
	if h == nil {
		return bus.Root{}, nil
	}
	header, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return bus.Root{}, err
	}
	return bus.Root{Epoch: h.Epoch, Header: h.Hash, Devices: header.Devices, Count: header.Count}, nil
}
