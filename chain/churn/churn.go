// Package churn limits how much of the registry may change. Every verifier reads each change before it can
// tally the next epoch, and keeps what it is about for good, so a change costs far more than the transaction
// that makes it.
//
// A module that logs changes has one Log. What is logged for a view the first time (Take) costs Gas, so that a
// block holds some hundreds at most, at the price that all who want room in it pay; of one account, an epoch
// takes PerAccount; and a block takes PerBlock whatever its gas.
package churn

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	sdk "github.com/cosmos/cosmos-sdk/types"

	core "github.com/cairn-network/cairn/core/types"
)

const (
	// Gas is what one change costs beside its transaction: a block of 300,000,000 holds fewer than 300.
	Gas = 1_000_000
	// PerAccount is how many changes an account makes in one epoch at most, in each module: 64 keys in place of
	// 64 others, and some.
	PerAccount = 256
	// PerBlock is how many a module takes in one block.
	PerBlock = 512
)

// Limit counts a module's changes.
type Limit struct {
	accounts collections.Map[[]byte, uint64] // by account: epoch and count
	block    collections.Item[uint64]        // height and count
}

// New returns a Limit that keeps its counts under two prefixes of a module's store.
func New(sb *collections.SchemaBuilder, accounts, block int) Limit {
	return Limit{
		accounts: collections.NewMap(sb, collections.NewPrefix(accounts), "changes_by_account", collections.BytesKey, collections.Uint64Value),
		block:    collections.NewItem(sb, collections.NewPrefix(block), "changes_in_block", collections.Uint64Value),
	}
}

// Take counts and charges one change that an account makes in an epoch, or refuses it with types.TooManyChanges.
func (l Limit) Take(ctx context.Context, e core.Epoch, account []byte) error {
	c := sdk.UnwrapSDKContext(ctx)
	c.GasMeter().ConsumeGas(Gas, "registry change")
	mine, err := l.accounts.Get(ctx, account)
	if err = missing(err); err != nil {
		return err
	}
	if mine, err = next(mine, uint64(e), PerAccount); err != nil {
		return core.Refuse(core.TooManyChanges, "%s changed the registry %d times in epoch %d", sdk.AccAddress(account), PerAccount, e)
	}
	all, err := l.block.Get(ctx)
	if err = missing(err); err != nil {
		return err
	}
	if all, err = next(all, uint64(max(0, c.BlockHeight())), PerBlock); err != nil {
		return core.Refuse(core.TooManyChanges, "the registry changed %d times in block %d", PerBlock, c.BlockHeight())
	}
	return errors.Join(l.accounts.Set(ctx, account, mine), l.block.Set(ctx, all))
}

// Replaced is told of a change that takes the place of one of the same view, or takes one back: that is free.
// Whoever asks what a transaction costs is told the price of a new one all the same: an epoch may end before
// the transaction is in a block, and then it is one.
func Replaced(ctx context.Context) {
	if c := sdk.UnwrapSDKContext(ctx); c.ExecMode() == sdk.ExecModeSimulate {
		c.GasMeter().ConsumeGas(Gas, "registry change, if the epoch ends before")
	}
}

// bits of a stored number that hold the count; the others hold epoch or height.
const bits = 16

var errMost = errors.New("as many as allowed")

// next adds one to what was counted in a time, if that is now, and starts at one otherwise.
func next(stored, now uint64, most uint64) (uint64, error) {
	n := uint64(0)
	if stored>>bits == now {
		n = stored & (1<<bits - 1)
	}
	if n >= most {
		return 0, errMost
	}
	return now<<bits | (n + 1), nil
}

func missing(err error) error {
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	return err
}
