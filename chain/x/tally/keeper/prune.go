package keeper

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"
)

// What pruning comes to next: epochs whose record goes with all but the daily headers, and epochs whose daily
// header goes.
const (
	prunedAll uint32 = iota
	prunedDaily
)

// daily reports whether an epoch's headers are kept for the longer time: one a day.
func daily(e uint64) bool { return e%econ.EpochsPerDay == 0 }

// prune forgets one epoch that is older than each retention, if there is one.
func (k Keeper) prune(ctx sdk.Context) error {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return err
	}
	if err := k.pruneOne(ctx, prunedAll, p.HeaderRetention, &p); err != nil {
		return err
	}
	return k.pruneOne(ctx, prunedDaily, p.DailyRetention, &p)
}

func (k Keeper) pruneOne(ctx context.Context, which uint32, retention uint64, p *types.Params) error {
	now, err := k.Now.Get(ctx)
	if err != nil {
		return err
	}
	last, err := get(ctx, k.pruned, which)
	if err != nil || last+1+retention >= now {
		return err
	}
	e := last + 1
	for r := range p.Regions {
		ok, err := k.prunable(ctx, r, e)
		if err != nil || !ok {
			return err // everything behind waits: it is not much
		}
	}
	for r := range p.Regions {
		key := collections.Join(r, e)
		if which == prunedAll {
			err = errors.Join(err, k.Escrows.Remove(ctx, key))
		}
		if daily(e) == (which == prunedDaily) {
			err = errors.Join(err, k.Headers.Remove(ctx, key))
		}
	}
	if which == prunedAll {
		err = errors.Join(err, k.forgetEpoch(ctx, e), k.Settlements.Remove(ctx, e))
	}
	return errors.Join(err, k.pruned.Set(ctx, which, e))
}

// prunable reports whether nothing needs what is kept of an epoch in a region: it can no longer change, and a
// later header is final. The newest final one stays, however old: if all after it are voided, the next is held
// against it, its settlement is folded, and the epochs since say what changed in the registry. Until there is
// one, nothing goes: the first tally begins with epoch 1.
func (k Keeper) prunable(ctx context.Context, r uint32, e uint64) (bool, error) {
	closed, err := get(ctx, k.closed, r)
	if err != nil {
		return false, err
	}
	final, err := get(ctx, k.finals, r)
	return e <= closed && e < final, err
}
