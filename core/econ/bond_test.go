package econ

import (
	"errors"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/google/go-cmp/cmp"
)

func TestBond(t *testing.T) {
	p := Six()
	for _, c := range []struct {
		k          types.Category
		quotas, lo uint64
		want       types.Ustone
		reason     types.Reason
	}{
		{types.Wireless, 1, 498_000_000, 6_746_988, ""},
		{types.Wireless, 3, 498_000_000, 20_240_964, ""},
		{types.Wireless, 0, 498_000_000, 0, ""},
		{types.Storage, 1, 498_000_000, 0, ""}, // no quota, no bond
		{types.Compute, 1, dollar, 3_360_000, ""},
		{types.Wireless, 1, 0, 0, types.PricePaused},
		{types.Wireless, 1 << 60, 1, 0, types.EconRange},
	} {
		if got, err := Bond(&p, p.Find(c.k), c.quotas, c.lo); got != c.want && c.reason == "" || types.ReasonOf(err) != c.reason {
			t.Errorf("%d quotas of %s at %d: %d, %v; want %d, %q", c.quotas, c.k, c.lo, got, err, c.want, c.reason)
		}
	}
	if fee, err := DeviceFee(&p, 498_000_000); fee != 10_040_161 || err != nil { // 5/0.498, rounded up
		t.Errorf("the fee is %d, %v", fee, err)
	}
	if _, err := DeviceFee(&p, 0); !errors.Is(err, types.PricePaused) {
		t.Errorf("a fee without a price: %v", err)
	}
}

// TestPenalty follows one bond through proofs, a claim that burns and an equivocation.
func TestPenalty(t *testing.T) {
	const required = 6_746_988
	bond, penalty, slashed := types.Ustone(required), types.Ustone(0), types.Ustone(0)
	penalty += Penalty(required, 336)
	if penalty != 4_819_278 { // 240/336, rounded up
		t.Fatalf("a proof costs %d", penalty)
	}
	if left := EffectiveBond(bond, penalty, slashed); left != required-4_819_278 || Bonded(left, required) {
		t.Errorf("%d are left, bonded %t", left, Bonded(left, required))
	}
	burned := Slash(bond, penalty, slashed)
	bond, slashed = bond-burned, slashed+burned
	if burned != 4_819_278 || EffectiveBond(bond, penalty, slashed) != bond || Slash(bond, penalty, slashed) != 0 {
		t.Errorf("a claim burned %d, then %d more", burned, Slash(bond, penalty, slashed))
	}
	penalty += EquivocationPenalty(bond, penalty, slashed)
	if EffectiveBond(bond, penalty, slashed) != 0 || Slash(bond, penalty, slashed) != bond {
		t.Errorf("equivocation leaves %d", EffectiveBond(bond, penalty, slashed))
	}
	penalty += Penalty(required, 336)
	if Slash(bond, penalty, slashed) != bond {
		t.Errorf("more is burned than there is: %d of %d", Slash(bond, penalty, slashed), bond)
	}
	if Penalty(required, 240) != required || Penalty(required, 0) != required {
		t.Error("a bond of 240 epochs or less is not lost at once")
	}
	if !Bonded(5, 10) || Bonded(4, 10) || !Bonded(6, 11) || Bonded(5, 11) || !Bonded(0, 0) {
		t.Error("half of the bond")
	}
}

func TestVoidSlash(t *testing.T) {
	for _, c := range []struct {
		stake          types.Ustone
		power, signers uint64
		released       types.Ustone
		want           types.Ustone
	}{
		{1_000, 1_000, 4_000, 0, 50},
		{1_000, 1_000, 4_000, 60, 50},
		{1_000, 1_000, 4_000, 400, 300},
		{1_000, 1_000, 4_000, 4_000, 1_000},
		{1_000, 1 << 63, 1, 1 << 63, 1_000},
		{1_000, 0, 0, 4_000, 50},
	} {
		if got := VoidSlash(c.stake, c.power, c.signers, c.released); got != c.want {
			t.Errorf("%+v costs %d", c, got)
		}
	}
}

func TestSignerPay(t *testing.T) {
	for _, c := range []struct {
		power  []uint64
		leader int
		want   []types.Ustone
		rest   types.Ustone
	}{
		{[]uint64{1, 1, 1}, 1, []types.Ustone{301, 401, 301}, 0},
		{[]uint64{1, 1, 1}, -1, []types.Ustone{334, 334, 334}, 1},
		{[]uint64{3, 1}, 5, []types.Ustone{752, 250}, 1},
		{[]uint64{0, 0}, -1, []types.Ustone{0, 0}, 1_003},
		{nil, 0, []types.Ustone{}, 1_003},
	} {
		got, rest, err := SignerPay(1_003, c.power, c.leader)
		if diff := cmp.Diff(c.want, got); diff != "" || rest != c.rest || err != nil {
			t.Errorf("power %v, leader %d: rest %d, %v\n%s", c.power, c.leader, rest, err, diff)
		}
	}
	if _, _, err := SignerPay(1, []uint64{1 << 63, 1 << 63}, 0); !errors.Is(err, types.EconRange) {
		t.Errorf("power beyond its range: %v", err)
	}
}
