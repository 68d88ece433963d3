package keeper

import (
	"context"
	"errors"

	"cosmossdk.io/collections"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	core "github.com/cairn-network/cairn/core/types"
)

// Categories' own rules change seldom, and epochs are kept by the thousand: rules are kept once, by hash, as
// long as an epoch names them.

// keepRules takes the rules out of an epoch that begins, which then names them by hash.
func (k Keeper) keepRules(ctx context.Context, e *types.Epoch) error {
	for i := range e.Categories {
		row := &e.Categories[i]
		if len(row.Rules) == 0 {
			continue
		}
		hash := core.Sum(row.Rules)
		if err := k.holdRules(ctx, hash[:], row.Rules); err != nil {
			return err
		}
		row.RulesHash, row.Rules = hash[:], nil
	}
	return nil
}

// holdRules counts that one epoch more names the rules.
func (k Keeper) holdRules(ctx context.Context, hash, raw []byte) error {
	n, err := get(ctx, k.ruleUses, hash)
	if err != nil {
		return err
	}
	if n == 0 {
		if err := k.rules.Set(ctx, hash, raw); err != nil {
			return err
		}
	}
	return k.ruleUses.Set(ctx, hash, n+1)
}

// dropRules counts that an epoch, which is forgotten, names its rules no more.
func (k Keeper) dropRules(ctx context.Context, e *types.Epoch) error {
	for i := range e.Categories {
		hash := e.Categories[i].RulesHash
		if len(hash) == 0 {
			continue
		}
		n, err := get(ctx, k.ruleUses, hash)
		switch {
		case err != nil:
			return err
		case n > 1:
			err = k.ruleUses.Set(ctx, hash, n-1)
		default:
			err = errors.Join(k.ruleUses.Remove(ctx, hash), k.rules.Remove(ctx, hash))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fillRules puts the rules that an epoch names into it.
func (k Keeper) fillRules(ctx context.Context, e *types.Epoch) error {
	for i := range e.Categories {
		row := &e.Categories[i]
		if len(row.RulesHash) == 0 {
			continue
		}
		var err error
		if row.Rules, err = k.rules.Get(ctx, row.RulesHash); err != nil {
			return err
		}
	}
	return nil
}

// importRules takes rules in, as far as epochs name them.
func (k Keeper) importRules(ctx context.Context, g *types.GenesisState) error {
	known := map[core.Hash][]byte{}
	for _, raw := range g.Rules {
		known[core.Sum(raw)] = raw
	}
	for i := range g.Epochs {
		for _, row := range g.Epochs[i].Categories {
			if len(row.RulesHash) == 0 {
				continue
			}
			if len(row.RulesHash) != len(core.Hash{}) || known[core.Hash(row.RulesHash)] == nil {
				return core.Refuse(core.BadEncoding, "rules %x of category %d in epoch %d are missing", row.RulesHash, row.Category, g.Epochs[i].Epoch)
			}
			if err := k.holdRules(ctx, row.RulesHash, known[core.Hash(row.RulesHash)]); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetEpoch removes an epoch's record, with the rules that nobody names any more.
func (k Keeper) forgetEpoch(ctx context.Context, e uint64) error {
	rec, err := k.Epochs.Get(ctx, e)
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(k.dropRules(ctx, &rec), k.Epochs.Remove(ctx, e))
}
