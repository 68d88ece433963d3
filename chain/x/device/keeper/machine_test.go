package keeper_test

import (
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/chain/x/device/types"
	core "github.com/cairn-network/cairn/core/types"
)

// TestMachine registers, bonds, transfers, penalizes, unbonds and completes in random order. After every step
// the module's account holds exactly what is locked, a bond plus what was burned of it never changes but by
// AddBond, and a device's line in the log is the last state of its epoch. At the end the state survives export
// and import.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := setup(t)
		owners := []core.Account{f.account(t, 1, 2_000_000_000), f.account(t, 2, 2_000_000_000)}
		paidIn := map[string]uint64{}
		owner := rapid.SampledFrom(owners)
		seed := rapid.ByteRange(0, 4)
		try := func(step func(sdk.Context) error) bool {
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
			"register": func(t *rapid.T) {
				who, s, bond := owner.Draw(t, "owner"), seed.Draw(t, "device"), rapid.Uint64Range(0, 900_000_000).Draw(t, "bond")
				if try(func(ctx sdk.Context) error { return f.register(ctx, who, statement(s, who, nil), bond) }) {
					paidIn[device(s).Public().String()] = bond
				}
			},
			"bond": func(t *rapid.T) {
				key := device(seed.Draw(t, "device")).Public().String()
				who, amount := owner.Draw(t, "owner"), rapid.Uint64Range(1, 900_000_000).Draw(t, "amount")
				if try(func(ctx sdk.Context) error {
					_, err := f.msg.AddBond(ctx, &types.MsgAddBond{Sender: who.String(), Device: key, Amount: coin(amount)})
					return err
				}) {
					paidIn[key] += amount
				}
			},
			"transfer": func(t *rapid.T) {
				key, from, to := device(seed.Draw(t, "device")).Public().String(), owner.Draw(t, "from"), owner.Draw(t, "to")
				try(func(ctx sdk.Context) error {
					_, err := f.msg.TransferDevice(ctx, &types.MsgTransferDevice{Owner: from.String(), NewOwner: to.String(), Device: key})
					return err
				})
			},
			"penalize": func(t *rapid.T) {
				key, penalty := device(seed.Draw(t, "device")).Public(), rapid.Uint64Range(0, 900_000_000).Draw(t, "penalty")
				try(func(ctx sdk.Context) error {
					_, err := f.keeper.Penalize(ctx, key, core.Ustone(penalty))
					return err
				})
			},
			"unbond": func(t *rapid.T) {
				key, who := device(seed.Draw(t, "device")).Public().String(), owner.Draw(t, "owner")
				try(func(ctx sdk.Context) error {
					_, err := f.msg.UnbondDevice(ctx, &types.MsgUnbondDevice{Owner: who.String(), Device: key})
					return err
				})
			},
			"complete": func(t *rapid.T) {
				msg := f.header(f.epoch, owners[0], core.Ustone(rapid.Uint64Range(0, 900_000_000).Draw(t, "penalty")))
				try(func(ctx sdk.Context) error {
					_, err := f.msg.CompleteUnbond(ctx, msg)
					return err
				})
			},
			"epoch": func(t *rapid.T) { f.epoch += core.Epoch(rapid.Uint64Range(1, 3).Draw(t, "epochs")) },
			"": func(t *rapid.T) {
				if err := f.keeper.EndBlock(f.ctx); err != nil {
					t.Fatal(err)
				}
				if err := f.keeper.Audit(f.ctx); err != nil {
					t.Fatal(err)
				}
				check(t, f, paidIn)
			},
		})
		roundTrip(t, f)
	})
}

// check holds every device against what was paid in for it, and the log against the device.
func check(t *rapid.T, f *fixture, paidIn map[string]uint64) {
	list, err := f.query.Devices(f.ctx, &types.QueryDevicesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	logged, err := f.keeper.Changes(f.ctx, f.epoch+1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Devices {
		if d.Status != types.Status_STATUS_REMOVED && d.Bond+d.Slashed != paidIn[d.Device] {
			t.Fatalf("device %s: bond %d and slashed %d of %d", d.Device, d.Bond, d.Slashed, paidIn[d.Device])
		}
		for _, c := range logged {
			if c.Device != nil && c.Device.Key.String() == d.Device && (uint64(c.Device.Bond) != d.Bond || c.Device.Owner.String() != d.Owner) {
				t.Fatalf("device %s is logged as %+v, and is %+v", d.Device, c.Device, d)
			}
		}
	}
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
	kv := f.bank.Store(types.StoreKey).OpenKVStore(f.ctx)
	it, err := kv.Iterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var keys [][]byte
	for ; it.Valid(); it.Next() {
		keys = append(keys, it.Key())
	}
	it.Close()
	for _, k := range keys {
		if err := kv.Delete(k); err != nil {
			t.Fatal(err)
		}
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
