package keeper_test

import (
	"strings"
	"testing"

	"github.com/cairn-network/cairn/chain/x/device/types"
	"github.com/cairn-network/cairn/core/fleet"
	core "github.com/cairn-network/cairn/core/types"
)

// TestSetFleet: a device's owner says which things are behind it, once more or no more, and the next epoch's view
// shows what was said last; other changes of the device keep it. The state with it survives export and import.
func TestSetFleet(t *testing.T) {
	f := setup(t)
	owner, other := f.account(t, 1, 100_000_000), f.account(t, 2, 100_000_000)
	key := device(1).Public()
	if err := f.register(f.ctx, owner, statement(1, owner, nil), 20_000_000); err != nil {
		t.Fatal(err)
	}
	f.epoch++
	view := func() (list []fleet.Fleet) {
		t.Helper()
		changes, err := f.keeper.Changes(f.ctx, f.epoch+1, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			list = append(list, c.Device.Fleet)
		}
		return list
	}
	set := func(who core.Account, root string, count uint64) error {
		_, err := f.msg.SetFleet(f.ctx, &types.MsgSetFleet{Owner: who.String(), Device: key.String(), Root: root, Count: count})
		return err
	}
	one, two := core.Hash{1}, core.Hash{2}
	wantReason(t, "a stranger's", set(other, one.String(), 3), core.NotOwner)
	wantReason(t, "too many", set(owner, one.String(), fleet.MaxCount+1), core.Oversize)
	wantReason(t, "a root of none", set(owner, one.String(), 0), core.BadEncoding)
	wantReason(t, "things without a root", set(owner, "", 3), core.BadEncoding)
	wantReason(t, "no root", set(owner, "xy", 3), core.BadEncoding)
	if got := view(); len(got) != 0 {
		t.Fatalf("refused messages change the view: %v", got)
	}
	for _, c := range []struct {
		root  string
		count uint64
		want  fleet.Fleet
	}{
		{one.String(), 3, fleet.Fleet{Root: one, Count: 3}}, {strings.ToUpper(two.String()), fleet.MaxCount, fleet.Fleet{Root: two, Count: fleet.MaxCount}},
		{"", 0, fleet.Fleet{}}, {one.String(), 3, fleet.Fleet{Root: one, Count: 3}},
	} {
		if err := set(owner, c.root, c.count); err != nil {
			t.Fatal(err)
		}
		if got := view(); len(got) != 1 || got[0] != c.want {
			t.Fatalf("the view shows %v, want %v", got, c.want)
		}
	}
	f.epoch++
	if _, err := f.msg.AddBond(f.ctx, &types.MsgAddBond{Sender: other.String(), Device: key.String(), Amount: coin(1)}); err != nil {
		t.Fatal(err)
	}
	if got := view(); len(got) != 1 || got[0].Root != one {
		t.Fatalf("another change: %v", got)
	}
	state, err := f.keeper.ExportGenesis(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := state.Devices[0]; d.FleetRoot != one.String() || d.FleetCount != 3 || state.Validate() != nil {
		t.Fatalf("exported %+v", d)
	}
	state.Devices[0].FleetCount = 0
	if err := state.Validate(); err == nil {
		t.Fatal("a genesis with a root of no things is taken")
	}
	f.epoch++
	if _, err := f.msg.UnbondDevice(f.ctx, &types.MsgUnbondDevice{Owner: owner.String(), Device: key.String()}); err != nil {
		t.Fatal(err)
	}
	wantReason(t, "of a device that leaves", set(owner, one.String(), 3), core.UnknownAuthor)
}
