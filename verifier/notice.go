package verifier

import (
	"context"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// repeats is in how many blocks a notice's occasion is told: a verifier that was late for the first one signs the next.
const repeats = 3

// notify publishes the notice of a block, if it is due and all that it says is known.
func (v *Verifier) notify(ctx context.Context, head ledger.Block) {
	n, err := v.Notice(ctx, head)
	if err != nil {
		if ctx.Err() == nil {
			v.log.Debug("no notice", "height", head.Height, "why", err)
		}
		return
	}
	if n == nil {
		return
	}
	if err := v.bus.PublishLast(ctx, bus.NoticeSubject(v.key, v.cfg.Region), bus.Seal(v.cfg.Key, n)); err != nil && ctx.Err() == nil {
		v.log.Warn("a notice was not sent", "height", head.Height, "error", err)
	}
}

// due reports whether the verifiers tell devices of a block: the first ones of an epoch, the first ones that know its seed, and
// every so many.
func due(ep *ledger.Epoch, head ledger.Block, seedAt uint64) bool {
	since := head.Height - ep.First
	if since < repeats || since%bus.NoticeEvery(ep.Cut-ep.First+1) == 0 {
		return true
	}
	return seedAt > 0 && head.Height >= seedAt && head.Height < seedAt+repeats
}

// Notice returns what the chain says at head, the newest block; nil if no notice is due. It returns an error while this verifier
// does not know the state after the region's newest header, or if the chain has moved on meanwhile.
func (v *Verifier) Notice(ctx context.Context, head ledger.Block) (*bus.Notice, error) {
	ep, err := v.ledger.Epoch(ctx, head.Epoch) // not v.epoch: the seed may have come since
	if err != nil {
		return nil, err
	}
	p, err := readPath(ctx, v.ledger, v.cfg.Region, head.Epoch)
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
		Chain: v.chain, Region: v.cfg.Region, Epoch: ep.Epoch, Height: head.Height, Hash: head.Hash, Time: uint64(head.Time.Unix()),
		First: ep.First, Cut: ep.Cut, EpochTime: uint64(ep.Time.Unix()), Seed: ep.Seed, Challenged: ep.Challenged, MinOpening: ep.MinOpening,
		Set: bus.SetOf(ep.Verifiers),
	}
	n.Params, n.Rules = bus.RulesOf(ep.Params)
	for i := range ep.Params {
		if len(ep.Params[i].Rules) > 0 { // served before anybody hears of them
			if _, err := v.store.blobs.put(ep.Epoch, ep.Params[i].Rules); err != nil {
				return nil, err
			}
		}
	}
	if n.Blocks, err = recentBlocks(ctx, v.ledger, head, bus.MaxBlocks, v.knownBlocks()); err != nil {
		return nil, err
	}
	if n.Final, err = rootOf(p.final); err != nil {
		return nil, err
	}
	if n.Tallied, err = rootOf(p.tip); err != nil {
		return nil, err
	}
	if p.tip != nil {
		st := v.stateOf(p.tip)
		if st == nil {
			return nil, types.Refuse(types.UnknownBlob, "verifier: the state after epoch %d", p.tip.Epoch)
		}
		for _, params := range ep.Params {
			if sums := st.CategoryTotals(params.Category); sums != nil {
				n.Totals = append(n.Totals, bus.Totals{Category: params.Category, Sums: sums})
			}
		}
	}
	now, err := v.ledger.Head(ctx)
	if err != nil {
		return nil, err
	}
	if now.Height != head.Height {
		return nil, types.Refuse(types.BadAnchor, "verifier: the chain moved on to block %d", now.Height)
	}
	return n, nil
}

// View returns the registry as of the present epoch's start: what its tally will see. Of another epoch it is wrong_epoch: this verifier has not
// seen the epoch begin yet, or the one after it has begun.
func (v *Verifier) View(_ context.Context, e types.Epoch) (tally.Registry, error) {
	now := v.intake.now.Load()
	if now == nil || now.epoch.Epoch != e {
		return nil, types.Refuse(types.WrongEpoch, "verifier: the registry of epoch %d", e)
	}
	return now.registry, nil
}

// knownBlocks are the block hashes that intake goes by.
func (v *Verifier) knownBlocks() []tally.BlockHash {
	if now := v.intake.now.Load(); now != nil {
		return now.blocks
	}
	return nil
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
