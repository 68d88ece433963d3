package keeper

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// Whoever doubts a tally has to know what the registry changes of its epochs were: that none was left out and
// none made up. There may be many, and a proof of each of them would not show that they are all. So the chain
// adds them up, and one proof shows the sum.

// addedPerBlock is how many registry changes one block adds up at most. Those of an epoch are complete when it
// begins, so an epoch of N blocks has room for N times as many.
const addedPerBlock = 500

// Parts of an epoch's changes, in the order of Changes.
const (
	ofDevices uint32 = iota
	ofCredits
	ofVerifiers
)

// addChanges goes on with the sums of the current epoch's changes.
func (k Keeper) addChanges(ctx sdk.Context) error {
	now, err := k.Now.Get(ctx)
	if err != nil {
		return err
	}
	p, err := k.Params.Get(ctx)
	if err != nil {
		return err
	}
	a, err := k.adding.Get(ctx)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return err
	}
	if a.Epoch == now && a.Region >= p.Regions {
		return nil
	}
	rec, err := k.Epochs.Get(ctx, now)
	if err != nil || rec.Time == 0 {
		return err
	}
	had := len(rec.Changes)
	if a.Epoch != now { // a new epoch, or a chain that starts from an export in the middle of one
		a, rec.Changes = types.Adding{Epoch: now}, nil
	}
	for left := addedPerBlock; left > 0 && a.Region < p.Regions; {
		n, err := k.addSome(ctx, &rec, &a, left)
		if err != nil {
			return err
		}
		left -= n
	}
	if len(rec.Changes) != had {
		err = k.Epochs.Set(ctx, now, rec)
	}
	return errors.Join(err, k.adding.Set(ctx, a))
}

// addSome adds at most limit changes of one part, but all of verifiers, who are few, and returns how many it
// counts for: at least one.
func (k Keeper) addSome(ctx context.Context, rec *types.Epoch, a *types.Adding, limit int) (int, error) {
	var list []tally.Change
	var last []byte
	var err error
	e, r := core.Epoch(a.Epoch), core.Region(a.Region)
	switch a.Part {
	case ofDevices:
		list, last, err = k.late.registry.ChangesAfter(ctx, e, r, a.After, limit)
	case ofCredits:
		list, last, err = k.late.credits.ChangesAfter(ctx, e, r, a.After, limit)
	default:
		list, err = k.verifierChanges(ctx, rec)
	}
	if err != nil {
		return 0, err
	}
	var sum core.Hash
	copy(sum[:], a.Sum)
	sum = tally.AddChanges(sum, list)
	a.Sum, a.After = sum[:], last
	switch {
	case a.Part == ofVerifiers:
		rec.Changes = append(rec.Changes, a.Sum)
		*a = types.Adding{Epoch: a.Epoch, Region: a.Region + 1}
	case len(list) < limit:
		a.Part, a.After = a.Part+1, nil
	}
	return max(1, len(list)), nil
}
