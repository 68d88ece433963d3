package keeper_test

import (
	"testing"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"

	"github.com/cairn-network/cairn/chain/x/credit/types"
	core "github.com/cairn-network/cairn/core/types"
)

// TestProofs: a proof is a signature and nothing behind it, and looking at it costs gas whatever it says.
func TestProofs(t *testing.T) {
	f := setup(t, nil)
	a, account := f.account(t, 1, 0)
	k, proof := numbered(1, a)
	costs := func(what string, proof []byte, expiry uint64, want core.Reason) uint64 {
		t.Helper()
		ctx := f.ctx.WithGasMeter(storetypes.NewInfiniteGasMeter())
		_, err := f.msg.GrantKey(ctx, &types.MsgGrantKey{Account: account, Key: k.String(), Proof: proof, Limit: 1, Expiry: expiry})
		wantReason(t, what, err, want)
		return ctx.GasMeter().GasConsumed()
	}
	before := costs("an expiry now", proof, 1, core.WrongEpoch)
	for what, bad := range map[string][]byte{"nothing": nil, "a byte less": proof[:63], "a byte more": append(proof[:64:64], 0), "another signature": make([]byte, 64)} {
		// 1,000 for the signature, and 1,000 at least to look the key up.
		if got := costs(what, bad, 10, core.BadSignature); got < before+2000 {
			t.Errorf("%s costs %d gas, what is refused before it %d", what, got, before)
		}
	}
}

// TestExpiredKeys: keys that have expired are no live ones, are revoked no more, and make room.
func TestExpiredKeys(t *testing.T) {
	const most = 64
	f := setup(t, func(p *types.Params) { p.MaxKeys, p.MaxKeyEpochs = most, 100 })
	a, account := f.account(t, 1, 0)
	n := 0
	grant := func(expiry uint64) error {
		n++
		k, proof := numbered(n, a)
		_, err := f.msg.GrantKey(f.ctx, &types.MsgGrantKey{Account: account, Key: k.String(), Proof: proof, Limit: 1, Expiry: expiry})
		return err
	}
	for range most {
		if err := grant(3); err != nil {
			t.Fatal(err)
		}
	}
	cached, _ := f.ctx.CacheContext()
	k, proof := numbered(9999, a)
	_, err := f.msg.GrantKey(cached, &types.MsgGrantKey{Account: account, Key: k.String(), Proof: proof, Limit: 1, Expiry: 3})
	wantReason(t, "one live key too many", err, core.OverQuota)
	f.epoch = 2
	last, _ := numbered(most, a)
	if _, err := f.msg.RevokeKey(f.ctx, &types.MsgRevokeKey{Account: account, Key: last.String()}); err != nil {
		t.Errorf("in the key's last epoch but one: %v", err)
	}
	f.epoch = 3
	first, _ := numbered(1, a)
	_, err = f.msg.RevokeKey(f.ctx, &types.MsgRevokeKey{Account: account, Key: first.String()})
	wantReason(t, "a key in its last epoch revoked", err, core.KeyExpired)
	if err := grant(4); err != nil {
		t.Errorf("when all have expired: %v", err)
	}
}

// TestPrunedKeys: of many expired keys a grant forgets so many and no more, and then there are none.
func TestPrunedKeys(t *testing.T) {
	f := setup(t, func(p *types.Params) { p.MaxKeys, p.MaxKeyEpochs = 1000, 100 })
	a, account := f.account(t, 1, 0)
	n := 0
	grant := func(expiry uint64) uint64 {
		t.Helper()
		n++
		k, proof := numbered(n, a)
		ctx := f.ctx.WithGasMeter(storetypes.NewInfiniteGasMeter())
		if _, err := f.msg.GrantKey(ctx, &types.MsgGrantKey{Account: account, Key: k.String(), Proof: proof, Limit: 1, Expiry: expiry}); err != nil {
			t.Fatal(err)
		}
		return ctx.GasMeter().GasConsumed()
	}
	least := grant(2)
	for range 250 - 1 {
		grant(2)
	}
	f.epoch = 2
	var gas []uint64
	for range 4 {
		gas = append(gas, grant(50))
	}
	if d := max(gas[0], gas[1]) - min(gas[0], gas[1]); d > gas[0]/100 || gas[2] >= gas[1] || gas[3] >= gas[2] || gas[3] > least+least/10 {
		t.Errorf("four grants with 250 expired keys cost %v gas, one without %d", gas, least)
	}
}
