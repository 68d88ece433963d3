package keeper_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/churn"
	"github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/core/evidence"
	core "github.com/cairn-network/cairn/core/types"

	"github.com/cairn-network/cairn/chain/testbank"
)

// numbered makes session key n, and its agreement to serve an account.
func numbered(n int, a core.Account) (core.Key, []byte) {
	private := core.NewPrivateKey([32]byte{0xcc, byte(n), byte(n >> 8)})
	sig := private.Sign("grant", testbank.ChainID, evidence.GrantBytes(a))
	return private.Public(), sig[:]
}

// pair grants a key and revokes it, in one transaction.
func (f *fixture) pair(ctx sdk.Context, a core.Account, n int) error {
	ctx, write := ctx.CacheContext()
	k, proof := numbered(n, a)
	if _, err := f.msg.GrantKey(ctx, &types.MsgGrantKey{Account: a.String(), Key: k.String(), Proof: proof, Limit: 1, Expiry: uint64(f.epoch) + 1}); err != nil {
		return err
	}
	if _, err := f.msg.RevokeKey(ctx, &types.MsgRevokeKey{Account: a.String(), Key: k.String()}); err != nil {
		return err
	}
	write()
	return nil
}

// TestPairs is an account that grants keys and revokes them, as often as the chain lets it, epoch after epoch.
// Once it was 143,678 times in 28 blocks, each left a line that every verifier had to read, and the region
// halted. Now a block has room for fewer than 300, an epoch for 256 of one account, and what came and went is
// in no view: nothing is left of it. Others go on beside.
func TestPairs(t *testing.T) {
	f := setup(t, nil)
	a, _ := f.account(t, 1, 1)
	b, _ := f.account(t, 2, 1)
	metered := f.ctx.WithGasMeter(storetypes.NewInfiniteGasMeter())
	if err := f.pair(metered, a, 0); err != nil {
		t.Fatal(err)
	}
	const block = 300_000_000
	if n := block / metered.GasMeter().GasConsumed(); n >= 300 {
		t.Errorf("a block has room for %d pairs", n)
	}
	for range 3 {
		taken := 1
		if f.epoch > 1 {
			taken = 0
		}
		var err error
		for ; err == nil && taken < 1000; taken++ {
			f.ctx = f.ctx.WithBlockHeight(f.ctx.BlockHeight() + 1)
			err = f.pair(f.ctx, a, taken)
		}
		wantReason(t, "pairs without end", err, core.TooManyChanges)
		if taken--; taken != churn.PerAccount {
			t.Errorf("%d pairs of one account in an epoch", taken)
		}
		if err := f.pair(f.ctx, b, 1000); err != nil {
			t.Errorf("another account's: %v", err)
		}
		changes, err := f.keeper.Changes(f.ctx, f.epoch+1, 0)
		if err != nil || len(changes) != 0 {
			t.Errorf("%d changes for nothing: %v", len(changes), err)
		}
		f.epoch++
	}
	g, err := f.keeper.ExportGenesis(f.ctx)
	if err != nil || len(g.Grants) != 0 {
		t.Errorf("%d keys are kept: %v", len(g.Grants), err)
	}
}

// TestEstimate: a change that takes another's place in an epoch is free, and so is one that takes it back; but
// whoever asks what it costs is told the price of a new one, which it is if the epoch ends before the
// transaction is in a block.
func TestEstimate(t *testing.T) {
	f := setup(t, nil)
	a, _ := f.account(t, 1, 1)
	k, proof := numbered(0, a)
	grant := func(limit uint64) func(sdk.Context) error {
		return func(ctx sdk.Context) error {
			_, err := f.msg.GrantKey(ctx, &types.MsgGrantKey{Account: a.String(), Key: k.String(), Proof: proof, Limit: limit, Expiry: uint64(f.epoch) + 5})
			return err
		}
	}
	revoke := func(ctx sdk.Context) error {
		_, err := f.msg.RevokeKey(ctx, &types.MsgRevokeKey{Account: a.String(), Key: k.String()})
		return err
	}
	gas := func(mode sdk.ExecMode, do func(sdk.Context) error) storetypes.Gas {
		t.Helper()
		ctx, _ := f.ctx.WithExecMode(mode).WithGasMeter(storetypes.NewInfiniteGasMeter()).CacheContext()
		if err := do(ctx); err != nil {
			t.Fatal(err)
		}
		return ctx.GasMeter().GasConsumed()
	}
	if n := gas(sdk.ExecModeFinalize, grant(1)); n < churn.Gas {
		t.Errorf("a new change costs %d", n)
	}
	if err := grant(1)(f.ctx); err != nil {
		t.Fatal(err)
	}
	for what, do := range map[string]func(sdk.Context) error{"one more": grant(2), "taken back": revoke} {
		taken, asked := gas(sdk.ExecModeFinalize, do), gas(sdk.ExecModeSimulate, do)
		if taken >= churn.Gas || asked != taken+churn.Gas {
			t.Errorf("%s: costs %d, and whoever asks is told %d", what, taken, asked)
		}
	}
	f.epoch++
	for what, do := range map[string]func(sdk.Context) error{"one more": grant(2), "taken back": revoke} {
		if n := gas(sdk.ExecModeFinalize, do); n < churn.Gas {
			t.Errorf("%s, in the next epoch: costs %d", what, n)
		}
	}
}

// TestPerBlock: whatever its gas, a block takes so many changes and no more.
func TestPerBlock(t *testing.T) {
	f := setup(t, nil)
	n := 0
	var err error
	for i := byte(1); err == nil && i < 10; i++ {
		a, _ := f.account(t, i, 1)
		for j := 0; err == nil && j < churn.PerAccount; j++ {
			if err = f.pair(f.ctx, a, j); err == nil {
				n++
			}
		}
	}
	wantReason(t, "changes without end", err, core.TooManyChanges)
	if n != churn.PerBlock {
		t.Errorf("%d changes in a block", n)
	}
	f.ctx = f.ctx.WithBlockHeight(f.ctx.BlockHeight() + 1)
	a, _ := f.account(t, 20, 1)
	if err := f.pair(f.ctx, a, 0); err != nil {
		t.Errorf("in the next block: %v", err)
	}
}

// TestNetGrants: the log says by what two views differ, whatever happened in between: a key that is known and
// ends as it was leaves nothing, one that ends differently leaves its end.
func TestNetGrants(t *testing.T) {
	f := setup(t, nil)
	a, account := f.account(t, 1, 1)
	k, proof := numbered(1, a)
	grant := func(limit, expiry uint64) {
		t.Helper()
		if _, err := f.msg.GrantKey(f.ctx, &types.MsgGrantKey{Account: account, Key: k.String(), Proof: proof, Limit: limit, Expiry: expiry}); err != nil {
			t.Fatal(err)
		}
	}
	revoke := func() {
		t.Helper()
		if _, err := f.msg.RevokeKey(f.ctx, &types.MsgRevokeKey{Account: account, Key: k.String()}); err != nil {
			t.Fatal(err)
		}
	}
	logged := func(want ...uint64) {
		t.Helper()
		list, err := f.keeper.Changes(f.ctx, f.epoch+1, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, c := range list {
			got = append(got, uint64(c.Grant.Limit), uint64(c.Grant.Expiry))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("epoch %d: limit and expiry: %s", f.epoch, d)
		}
	}
	grant(5, 10)
	revoke()
	logged()
	grant(5, 10)
	grant(6, 11)
	logged(6, 11)
	f.epoch = 2
	grant(7, 12)
	logged(7, 12)
	grant(6, 11) // as before
	logged()
	revoke()
	logged(6, 2)
	grant(6, 11)
	logged()
	revoke()
	f.epoch = 3 // it is expired in the view
	grant(9, 20)
	logged(9, 20)
	revoke()
	logged()
	res, err := f.query.Grant(f.ctx, &types.QueryGrantRequest{Key: k.String()})
	if err != nil || res.Grant.Expiry != 2 || res.Grant.Limit != 6 {
		t.Errorf("%v, %v", res, err)
	}
	account2, err := f.query.Account(f.ctx, &types.QueryAccountRequest{Account: account})
	if err != nil || account2.LiveKeys != 0 {
		t.Errorf("%v, %v", account2, err)
	}
}
