package keeper_test

import (
	"slices"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/core/econ"
	core "github.com/cairn-network/cairn/core/types"
)

// TestMachine buys, grants, spends, settles and voids in random order. After every step the books balance: the
// vault is what its account holds, what accounts bought is what was sold, supply is genesis + minted − burned,
// and what left the vault is in the escrow or burned. At the end the state survives export and import.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := setup(t, func(p *types.Params) { p.ChangeRetention = 10 })
		f.regions = 2
		var accounts []core.Account
		for i := range byte(3) {
			a, _ := f.account(t, 10+i, 50_000_000_000)
			accounts = append(accounts, a)
		}
		var (
			spent, settled uint64
			escrows        []econ.Allotment
			bought         = map[core.Account]uint64{}
			owner          = map[byte]core.Account{}
		)
		account := rapid.SampledFrom(accounts)
		try := func(step func(sdk.Context) error) bool { // as a transaction: all or nothing
			cached, write := f.ctx.CacheContext()
			if err := step(cached); err != nil {
				if core.ReasonOf(err) == "" {
					t.Fatalf("refused without a reason: %v", err)
				}
				return false
			}
			write()
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"buy": func(t *rapid.T) {
				a, amount := account.Draw(t, "account"), rapid.Uint64Range(1, 60_000_000_000).Draw(t, "ustone")
				region := rapid.Uint32Range(0, 2).Draw(t, "region")
				try(func(ctx sdk.Context) error {
					res, err := f.msg.BuyCredits(ctx, &types.MsgBuyCredits{Buyer: a.String(), Amount: coin(amount), Region: region})
					if err == nil {
						bought[a] += res.Credits
					}
					return err
				})
			},
			"grant": func(t *rapid.T) {
				a, seed := account.Draw(t, "account"), rapid.ByteRange(1, 6).Draw(t, "key")
				k, proof := key(seed, a)
				expiry := uint64(f.epoch) + rapid.Uint64Range(0, 5).Draw(t, "expiry")
				if try(func(ctx sdk.Context) error {
					_, err := f.msg.GrantKey(ctx, &types.MsgGrantKey{Account: a.String(), Key: k.String(), Proof: proof, Limit: 9, Expiry: expiry})
					return err
				}) {
					if o, ok := owner[seed]; ok && o != a {
						t.Fatalf("key %d serves two accounts", seed)
					}
					owner[seed] = a
				}
			},
			"revoke": func(t *rapid.T) {
				a, seed := account.Draw(t, "account"), rapid.ByteRange(1, 6).Draw(t, "key")
				k, _ := key(seed, a)
				if try(func(ctx sdk.Context) error {
					_, err := f.msg.RevokeKey(ctx, &types.MsgRevokeKey{Account: a.String(), Key: k.String()})
					return err
				}) {
					if owner[seed] != a {
						t.Fatalf("key %d was revoked by another", seed)
					}
					if _, err := f.query.Grant(f.ctx, &types.QueryGrantRequest{Key: k.String()}); err != nil { // it came in this epoch
						delete(owner, seed)
					}
				}
			},
			"settle": func(t *rapid.T) {
				var all uint64
				for _, b := range bought {
					all += b
				}
				paid := rapid.Uint64Range(0, all-spent).Draw(t, "paid")
				if !try(func(ctx sdk.Context) error {
					split, err := f.keeper.Settle(ctx, f.epoch, core.Credit(spent+paid-settled), []econ.Paid{{Category: core.Wireless, Amount: core.Credit(paid)}})
					if err != nil {
						return err
					}
					if uint64(split.Settled) > spent+paid-settled {
						t.Fatalf("settled %d of %d owed", split.Settled, spent+paid-settled)
					}
					a, err := econ.Allot(split, econ.Emission{}, split.Owed, nil)
					if err != nil {
						return err
					}
					settled += uint64(split.Settled)
					escrows = append(escrows, a)
					return nil
				}) {
					t.Fatal("a settlement was refused")
				}
				spent += paid
				f.epoch++
			},
			"void": func(t *rapid.T) {
				if len(escrows) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(escrows)-1).Draw(t, "escrow")
				if !try(func(ctx sdk.Context) error {
					_, err := f.keeper.Void(ctx, escrows[i])
					return err
				}) {
					t.Fatal("a void was refused")
				}
				settled -= uint64(escrows[i].Settled)
				escrows = slices.Delete(escrows, i, i+1)
			},
			"day": func(*rapid.T) { f.epoch += econ.EpochsPerDay },
			"": func(t *rapid.T) {
				if err := f.keeper.EndBlock(f.ctx); err != nil {
					t.Fatal(err)
				}
				if err := f.keeper.Audit(f.ctx); err != nil {
					t.Fatal(err)
				}
				for a, want := range bought {
					res, err := f.query.Account(f.ctx, &types.QueryAccountRequest{Account: a.String()})
					if err != nil || res.Bought != want {
						t.Fatalf("account %s: %v, %v; bought %d", a, res, err, want)
					}
				}
			},
		})
		roundTrip(t, f)
	})
}

// roundTrip exports the state, imports it into an emptied store beside the same bank, and exports it again.
func roundTrip(t *rapid.T, f *fixture) {
	g, err := f.keeper.ExportGenesis(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := wipe(f); err != nil {
		t.Fatal(err)
	}
	if err := f.keeper.InitGenesis(f.ctx, g); err != nil {
		t.Fatal(err)
	}
	again, err := f.keeper.ExportGenesis(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(g.String(), again.String()); diff != "" {
		t.Fatalf("export, import, export: %s", diff)
	}
}

// wipe empties the module's store.
func wipe(f *fixture) error {
	kv := f.bank.Store(types.StoreKey).OpenKVStore(f.ctx)
	it, err := kv.Iterator(nil, nil)
	if err != nil {
		return err
	}
	var keys [][]byte
	for ; it.Valid(); it.Next() {
		keys = append(keys, it.Key())
	}
	it.Close()
	for _, k := range keys {
		if err := kv.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
