package gateway

import (
	"bytes"
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// TestDevices: a category sees its own devices, by key, and of an owner only the owner's.
func TestDevices(t *testing.T) {
	f := newFixture(t)
	v, reg := counter(f)
	for i := byte(10); i < 16; i++ {
		category := types.IoT
		if i == 12 {
			category = types.Storage
		}
		d := tally.Device{Key: key(i).Public(), Owner: types.Account{i % 2}, Categories: []types.Category{category}}
		reg.devices[d.Key] = ledger.Device{Device: d}
		hears(f.market, d.Key, receipt.Ask{Chain: chain, Device: d.Key, Category: types.IoT, Class: 1, Until: 9}, key(i))
	}
	for owner, want := range map[types.Account]int{{}: 5, {1}: 3, {9}: 0} {
		list, err := v.Devices(t.Context(), owner)
		if err != nil || len(list) != want {
			t.Errorf("owner %v: %d devices, want %d: %v", owner, len(list), want, err)
		}
		for i := range list {
			if i > 0 && bytes.Compare(list[i-1].Key[:], list[i].Key[:]) >= 0 || list[i].Key == key(12).Public() {
				t.Errorf("owner %v: %v", owner, list)
			}
		}
	}
}

// TestLineBeforeAnyTally: before the first tally no device has a line, and nobody has to be asked.
func TestLineBeforeAnyTally(t *testing.T) {
	f := newFixture(t)
	v := &categoryMarket{market: f.market, name: "energy", category: types.Energy}
	if line, err := v.Line(t.Context(), key(10).Public()); err != nil || line.Tallied != 0 || line.State != nil {
		t.Errorf("%+v: %v", line, err)
	}
}
