package keeper_test

import (
	"testing"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/churn"
	"github.com/cairn-network/cairn/chain/testbank"
	"github.com/cairn-network/cairn/chain/x/device/types"
	"github.com/cairn-network/cairn/core/evidence"
	core "github.com/cairn-network/cairn/core/types"
)

// TestChurn: whoever changes what the next view says of a device pays for it, once for each device and epoch,
// and is counted: the owner that registers, transfers, sets a fleet and takes out, and the stranger that adds
// to a bond. Penalties are nobody's.
func TestChurn(t *testing.T) {
	f := setup(t)
	owner, stranger, next := f.account(t, 1, 5_000_000_000), f.account(t, 2, 5_000_000_000), f.account(t, 3, 0)
	key := device(1).Public()
	changes := func(do func(sdk.Context) error) uint64 {
		t.Helper()
		meter := storetypes.NewInfiniteGasMeter()
		if err := do(f.ctx.WithGasMeter(meter)); err != nil {
			t.Fatal(err)
		}
		return meter.GasConsumed() / churn.Gas
	}
	bond := func(ctx sdk.Context) error {
		_, err := f.msg.AddBond(ctx, &types.MsgAddBond{Sender: stranger.String(), Device: key.String(), Amount: coin(1)})
		return err
	}
	transfer := func(from, to core.Account) func(sdk.Context) error {
		return func(ctx sdk.Context) error {
			_, err := f.msg.TransferDevice(ctx, &types.MsgTransferDevice{Owner: from.String(), NewOwner: to.String(), Device: key.String()})
			return err
		}
	}
	register := func(ctx sdk.Context) error { return f.register(ctx, owner, statement(1, owner, nil), 900_000_000) }
	unbond := func(ctx sdk.Context) error {
		_, err := f.msg.UnbondDevice(ctx, &types.MsgUnbondDevice{Owner: next.String(), Device: key.String()})
		return err
	}
	fleet := func(ctx sdk.Context) error {
		_, err := f.msg.SetFleet(ctx, &types.MsgSetFleet{Owner: next.String(), Device: key.String(), Root: core.Hash{1}.String(), Count: 9})
		return err
	}
	penalize := func(ctx sdk.Context) error { _, err := f.keeper.Penalize(ctx, key, 1_000); return err }
	for i, step := range []struct {
		do    func(sdk.Context) error
		want  uint64
		epoch core.Epoch
	}{
		{register, 1, 0}, {bond, 0, 0}, {transfer(owner, next), 0, 0},
		{bond, 1, 1}, {transfer(next, owner), 0, 0},
		{transfer(owner, next), 1, 1}, {bond, 0, 0}, {fleet, 0, 0},
		{fleet, 1, 1}, {fleet, 0, 0},
		{penalize, 0, 1},
		{unbond, 1, 1},
	} {
		f.epoch += step.epoch
		if got := changes(step.do); got != step.want {
			t.Errorf("step %d: %d changes are paid for, want %d", i, got, step.want)
		}
	}
}

// TestManyBonds: somebody who adds to the bonds of all devices reaches the end of what one account may, and
// others go on.
func TestManyBonds(t *testing.T) {
	f := setup(t)
	owner, stranger := f.account(t, 1, 50_000_000_000), f.account(t, 2, 5_000_000_000)
	other := f.account(t, 3, 5_000_000_000)
	for i := range 2 {
		for j := range 150 {
			f.ctx = f.ctx.WithBlockHeight(f.ctx.BlockHeight() + 1)
			k := core.NewPrivateKey([32]byte{2: byte(i), 3: byte(j)})
			s := evidence.Statement{Chain: testbank.ChainID, Device: k.Public(), Owner: owner, Categories: []core.Category{core.Wireless}, Cell: munich, Expiry: 1000}
			if err := f.register(f.ctx, owner, s.Sign(k).Encode(), 100_000_000); err != nil {
				t.Fatal(err)
			}
		}
		f.epoch++
	}
	var err error
	n := 0
	for i := 0; i < 300 && err == nil; i++ {
		k := core.NewPrivateKey([32]byte{2: byte(i / 150), 3: byte(i % 150)}).Public()
		f.ctx = f.ctx.WithBlockHeight(f.ctx.BlockHeight() + 1)
		ctx, write := f.ctx.CacheContext()
		if _, err = f.msg.AddBond(ctx, &types.MsgAddBond{Sender: stranger.String(), Device: k.String(), Amount: coin(1)}); err == nil {
			write()
			n++
		}
	}
	wantReason(t, "bonds of many", err, core.TooManyChanges)
	if n != churn.PerAccount {
		t.Errorf("%d devices changed by one account", n)
	}
	k := core.NewPrivateKey([32]byte{2: 1, 3: 149}).Public()
	if _, err := f.msg.AddBond(f.ctx, &types.MsgAddBond{Sender: other.String(), Device: k.String(), Amount: coin(1)}); err != nil {
		t.Errorf("another account's: %v", err)
	}
}
